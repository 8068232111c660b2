// The WebSocket that tells the numbers, and comes back.
//
//   connecting ──► live ◄──► stale (silence)
//       ▲            │ close
//       └── wait ◄── lost          locked: the server wants a token (again)

import { token } from "./token.js";

const DELAY_MIN_MS = 1000;
const DELAY_MAX_MS = 30_000;
/** Intervals without a snapshot after which the numbers are called old. */
const STALE_INTERVALS = 3;
/** And after which the connection is given up: a page cannot see a dead network. */
const DEAD_INTERVALS = 12;
/** A connection that is not there by then is given up. */
const HELLO_TIMEOUT_MS = 10_000;
const WHY_LOCKED = {
  4401: "That token is not the right one.",
  4429: "Too many wrong tokens have come from here. Try again in a minute.",
};
const WHY_LOST = {
  1001: "The server is going away.",
  1012: "The server restarts.",
  1013: "Too many dashboards are open.",
};

export class Live {
  #socket = null;
  #timer = 0;
  #attempt = 0;
  #interval = 1000;
  #heardAt = 0;
  #isFirst = true;

  /** `onState(state, { text, delay })`, `onSnapshot(snapshot)`. States are those above. */
  constructor({ onState, onSnapshot }) {
    this.onState = onState;
    this.onSnapshot = onSnapshot;
    this.needsToken = false;
    addEventListener("online", () => this.#socket ?? this.connect());
    setInterval(() => this.#check(), 500);
  }

  /** Connects now, whatever the state. */
  connect() {
    this.close();
    this.onState("connecting", {});
    const socket = new WebSocket(new URL("live", document.baseURI.replace(/^http/, "ws")));
    this.#socket = socket;
    this.#heardAt = 0;
    this.#isFirst = true;
    this.#timer = setTimeout(() => this.#lost(1006), HELLO_TIMEOUT_MS);
    socket.onmessage = ({ data }) => socket === this.#socket && this.#message(JSON.parse(data));
    socket.onclose = ({ code }) => socket === this.#socket && this.#lost(code);
  }

  /** Ends it; nothing comes back by itself. */
  close() {
    clearTimeout(this.#timer);
    const old = this.#socket;
    this.#socket = null;
    old?.close();
  }

  #message(message) {
    clearTimeout(this.#timer);
    if (message.type === "hello") return this.#hello(message);
    if (message.type !== "snapshot") return;
    const wasStale = Date.now() - this.#heardAt > this.#interval * STALE_INTERVALS;
    this.#heardAt = Date.now();
    this.#attempt = 0;
    if (this.#isFirst || wasStale) this.onState("live", {});
    this.onSnapshot(message, this.#isFirst);
    this.#isFirst = false;
  }

  #hello({ authentication, interval_ms }) {
    this.#interval = interval_ms;
    this.needsToken = authentication === "token";
    if (!this.needsToken) return;
    if (token.value) {
      this.#socket.send(JSON.stringify({ type: "authentication", token: token.value }));
      this.#timer = setTimeout(() => this.#lost(1006), HELLO_TIMEOUT_MS);
    } else {
      this.close();
      this.onState("locked", { text: "" });
    }
  }

  #check() {
    if (this.#socket === null || this.#heardAt === 0) return;
    const silence = Date.now() - this.#heardAt;
    if (silence > this.#interval * DEAD_INTERVALS) this.#lost(1006);
    else if (silence > this.#interval * STALE_INTERVALS) this.onState("stale", { silence });
  }

  #lost(code) {
    this.close();
    if (code in WHY_LOCKED) {
      token.value = null;
      return this.onState("locked", { text: WHY_LOCKED[code] });
    }
    const doubled = Math.min(DELAY_MAX_MS, DELAY_MIN_MS * 2 ** this.#attempt);
    // Not all pages at once.
    const delay = doubled * (0.75 + Math.random() / 2);
    this.#attempt += 1;
    this.#timer = setTimeout(() => this.connect(), delay);
    this.onState("lost", { text: WHY_LOST[code] ?? "The server does not answer.", delay });
  }
}
