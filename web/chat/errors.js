// What went wrong, as people understand it.

const TEXTS = {
  disconnected: "You are not connected.",
  timeout: "No answer came.",
  forbidden: "You are not allowed to do that.",
  not_found: "There is no such thing any more.",
  room_full: "This room is full.",
  already_exists: "There is a room of that name already.",
  conflict: "That does not go together with what is there already.",
  payload_too_large: "This is too long.",
  not_subscribed: "You are not in this room.",
  unavailable: "The server is too busy just now.",
  internal: "The server made a mistake.",
};

function wait(retryAfterMs) {
  return retryAfterMs > 0 ? ` Try again in ${Math.ceil(retryAfterMs / 1000)} s.` : "";
}

/** A `RequestError`, or the data of an error frame in its shape. */
export function explain({ code, message, retryAfterMs }) {
  if (code === "rate_limited") return `That was too much at once.${wait(retryAfterMs) || " Wait a little."}`;
  const text = TEXTS[code] ?? `The server did not take that: ${message}`;
  return text + wait(retryAfterMs);
}

/** Why one is not in a room: a refused request, or the reason of an `unsubscribed`. */
export function explainAbsence({ code, reason, message, retryAfterMs }) {
  switch (reason ?? code) {
    case "kicked":
      return "You have been removed from this room.";
    case "room_closed":
      return "This room was closed.";
    case "forbidden":
      return "This room is private, or you have been removed from it. Its owner can let you in.";
    case "not_found":
      return "There is no such room.";
    case "conflict":
      return "You are in too many rooms. Leave another one first.";
    default:
      return explain({ code, message, retryAfterMs });
  }
}
