// What the end of a connection means: docs/PROTOCOL.md, "Close codes". 44xx says "do not come back with
// the same input", everything else "come back", after `retry_in_ms` if the reason names it.

const FIRST_DELAY_MS = 1000;
const LONGEST_DELAY_MS = 30_000;
/** A server may ask for more patience than we have by ourselves, but not for ever. */
const LONGEST_ASKED_DELAY_MS = 300_000;

const FINAL = new Map([
  [4400, "The server could not make sense of this page's request."],
  [4401, "You are signed out. Sign in, then reconnect."],
  [4403, "You have been removed, or may not enter."],
  [4404, "This room does not exist."],
  [4408, "Signing in took too long."],
  [4409, "This chat was opened somewhere else, and that newer window took over."],
  [4410, "This room was closed."],
  [4413, "This room is full."],
  [4429, "You are connected too many times. Close another window first."],
]);

/** Delay before attempt `attempt` (0 is the first): doubling, and half of it left to chance so that
 *  the clients of a restarted server do not come back all at once. */
export function backoff(attempt, random = Math.random) {
  const ceiling = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** attempt);
  return Math.round(ceiling / 2 + random() * (ceiling / 2));
}

/** A delay that the server asks for, as we keep to it. */
export function patience(ms) {
  return Math.min(Number(ms) || 0, LONGEST_ASKED_DELAY_MS);
}

/** Reads a close: `{ final }` with a text for people, or `{ delay }` (null: choose one). */
export function judgeClose(code, reason) {
  if (code >= 4400 && code < 4500) {
    return { final: FINAL.get(code) ?? "The server ended this connection for good." };
  }
  const asked = /retry_in_ms=(\d+)/.exec(reason);
  return { delay: asked ? patience(asked[1]) : null };
}

/** Why the connection was lost, for people. */
export function lossText(code) {
  switch (code) {
    case 1001:
    case 1012:
    case 4503:
      return "The server is restarting.";
    case 1009:
      return "The message was too long for the server.";
    case 1013:
      return "The server is busy.";
    case 4508:
      return "This connection was too slow.";
    case 4529:
      return "That was too much at once.";
    default:
      return navigator.onLine ? "The server cannot be reached." : "You are offline.";
  }
}
