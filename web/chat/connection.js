// One WebSocket that comes back: connecting, connected, reconnecting, closed. Knows no chat.
//
//            open            welcome            close
//   connecting ──► (socket open) ──► connected ──► reconnecting ──► connecting
//                                        └── 44xx ──► closed ── reconnect() ──► connecting
//
// Close codes are those of docs/PROTOCOL.md: 44xx means "do not come back with the same input",
// everything else "come back", after `retry_in_ms` if the reason names it.

const FIRST_DELAY_MS = 1000;
const LONGEST_DELAY_MS = 30_000;
/** A server may ask for more patience than we have by ourselves, but not for ever. */
const LONGEST_ASKED_DELAY_MS = 300_000;
/** Doubling begins anew only after a connection that lasted: one that is closed at once again and
 *  again must not be hammered every second. */
const LASTING_MS = 5000;
/** No welcome after so long: close and try again. */
const WELCOME_TIMEOUT_MS = 10_000;

const FINAL = new Map([
  [4400, "The server could not make sense of this page's request."],
  [4401, "You are signed out. Sign in, then reconnect."],
  [4403, "You have been removed from this room, or may not enter it."],
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

/** Reads a close: `{ final }` with a text for people, or `{ delay }` (null: choose one). */
export function judgeClose(code, reason) {
  if (code >= 4400 && code < 4500) {
    return { final: FINAL.get(code) ?? "The server ended this connection for good." };
  }
  const asked = /retry_in_ms=(\d+)/.exec(reason);
  return { delay: asked ? Math.min(Number(asked[1]), LONGEST_ASKED_DELAY_MS) : null };
}

export class Connection {
  #url;
  #socket = null;
  #timer = 0;
  #attempt = 0;
  #establishedAt = 0;
  #askedDelay = null;

  /** `onState(state, { text, delay })`, `onFrame(frame)`: one parsed JSON object for each message. */
  constructor(url, { onState, onFrame }) {
    this.#url = url;
    this.onState = onState;
    this.onFrame = onFrame;
    // A network that is back is worth an attempt at once.
    addEventListener("online", () => this.#timer && !this.#socket && this.reconnect());
  }

  get connected() {
    return this.#establishedAt > 0;
  }

  /** Connects now, whatever the state: also after a close that was meant to be final. */
  reconnect() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#socket?.close();
    this.#open();
  }

  /** Sends one frame. False if there is no connection; nothing is kept for later. */
  send(frame) {
    if (!this.connected) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  #open() {
    this.onState("connecting", {});
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    this.#establishedAt = 0;
    this.#askedDelay = null;
    this.#timer = setTimeout(() => socket.close(), WELCOME_TIMEOUT_MS);
    socket.onmessage = ({ data }) => socket === this.#socket && this.#message(data);
    socket.onclose = (event) => socket === this.#socket && this.#closed(event);
  }

  #message(data) {
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      return console.warn("not JSON:", data);
    }
    if (frame.type === "connection-status") this.#status(frame);
    this.onFrame(frame);
  }

  #status(frame) {
    if (frame.status === "established") {
      clearTimeout(this.#timer);
      this.#timer = 0;
      this.#establishedAt = Date.now();
      this.onState("connected", {});
    } else if (frame.status === "draining") {
      this.#askedDelay = Math.min(frame.reconnect_in_ms ?? 0, LONGEST_ASKED_DELAY_MS);
    }
  }

  #closed({ code, reason }) {
    clearTimeout(this.#timer);
    if (this.connected && Date.now() - this.#establishedAt >= LASTING_MS) this.#attempt = 0;
    this.#establishedAt = 0;
    this.#socket = null;
    const { final, delay: asked } = judgeClose(code, reason);
    if (final) {
      this.#timer = 0;
      return this.onState("closed", { text: final });
    }
    const delay = asked ?? this.#askedDelay ?? backoff(this.#attempt);
    this.#attempt += 1;
    this.#timer = setTimeout(() => this.#open(), delay);
    this.onState("reconnecting", { text: lossText(code), delay });
  }
}

function lossText(code) {
  switch (code) {
    case 1001:
    case 1012:
    case 4503:
      return "The server is restarting.";
    case 1009:
      return "The message was too long for the server.";
    case 1013:
      return "The server is busy.";
    case 4529:
      return "That was too much at once.";
    default:
      return navigator.onLine ? "The server cannot be reached." : "You are offline.";
  }
}
