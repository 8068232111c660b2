// The command line of every peer: --port N --app echo|broadcast|chat

export function parse() {
  const given = { port: "9001", app: "echo" };
  const words = process.argv.slice(2);
  for (let i = 0; i + 1 < words.length; i += 2) given[words[i].replace(/^--/, "")] = words[i + 1];
  return { port: Number(given.port), app: given.app };
}
