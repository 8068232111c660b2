// One WebSocket that comes back, and requests that are answered by `id`. Knows no chat.
//
//            open            welcome            close
//   connecting ──► (socket open) ──► connected ──► reconnecting ──► connecting
//                                        └── 44xx ──► closed ── reconnect() ──► connecting

import { backoff, judgeClose, lossText, patience } from "./close-codes.js";

/** Doubling begins anew only after a connection that lasted: one that is closed at once again and
 *  again must not be hammered every second. */
const LASTING_MS = 5000;
/** No welcome after so long: close and try again. */
const WELCOME_TIMEOUT_MS = 10_000;
/** An answer that has not come by then is not waited for. */
const ANSWER_TIMEOUT_MS = 10_000;
/** After so much silence the server is asked whether it is there: a page cannot see a dead network. */
const SILENCE_MS = 25_000;

/** Why a request came to nothing: a `code` of docs/PROTOCOL.md, or `disconnected`: no connection,
 *  before the request or before its answer. */
export class RequestError extends Error {
  constructor(code, message, retryAfterMs) {
    super(message);
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }
}

export class Connection {
  #url;
  #socket = null;
  #timer = 0;
  #attempt = 0;
  #establishedAt = 0;
  #heardAt = 0;
  #askedDelay = null;
  #requests = new Map();
  #requestCount = 0;

  /** `onState(state, { text, delay })`, `onFrame(frame)`: each frame that answers no request. */
  constructor(url, { onState, onFrame }) {
    this.#url = url;
    this.onState = onState;
    this.onFrame = onFrame;
    // A network that is back is worth an attempt at once; one that is gone, or a page that was
    // asleep, a question.
    addEventListener("online", () => (this.connected ? this.#probe() : this.#waits && this.reconnect()));
    addEventListener("offline", () => this.#probe());
    document.addEventListener("visibilitychange", () => document.hidden || this.#probe());
    setInterval(() => Date.now() - this.#heardAt > SILENCE_MS && this.#probe(), SILENCE_MS / 5);
  }

  get connected() {
    return this.#establishedAt > 0;
  }

  get #waits() {
    return this.#timer !== 0 && this.#socket === null;
  }

  /** Connects now, whatever the state: also after a close that was meant to be final. */
  reconnect() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const old = this.#socket;
    this.#socket = null;
    old?.close();
    this.#forget();
    this.#open();
  }

  /** Sends one frame. False if there is no connection; nothing is kept for later. */
  send(frame) {
    if (!this.connected) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  /** Sends a frame and resolves to the frame that answers it. Rejects with a `RequestError`. */
  request(frame, timeout = ANSWER_TIMEOUT_MS) {
    this.#requestCount += 1;
    const id = `r${this.#requestCount}`;
    return new Promise((resolve, reject) => {
      if (!this.send({ ...frame, id })) return reject(new RequestError("disconnected", "not connected"));
      const late = () => {
        this.#requests.delete(id);
        reject(new RequestError("timeout", "no answer came"));
      };
      this.#requests.set(id, { resolve, reject, timer: setTimeout(late, timeout) });
    });
  }

  /** Calls a method of the server; resolves to its result. */
  async call(method, params) {
    const answer = await this.request({ type: "rpc", data: { method, params } });
    return answer.data.result;
  }

  #open() {
    this.onState("connecting", {});
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    this.#askedDelay = null;
    this.#timer = setTimeout(() => this.#lost(socket), WELCOME_TIMEOUT_MS);
    socket.onmessage = ({ data }) => socket === this.#socket && this.#message(data);
    socket.onclose = (event) => socket === this.#socket && this.#closed(event);
  }

  #message(data) {
    this.#heardAt = Date.now();
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      return console.warn("not JSON:", data);
    }
    if (frame.type === "connection-status") this.#status(frame.data ?? {});
    if (!this.#answer(frame)) this.onFrame(frame);
  }

  #answer(frame) {
    const request = this.#requests.get(frame.id);
    if (!request) return false;
    this.#requests.delete(frame.id);
    clearTimeout(request.timer);
    if (frame.type === "error") {
      const { code, error, retry_after_ms } = frame.data ?? {};
      request.reject(new RequestError(code, error, retry_after_ms));
    } else {
      request.resolve(frame);
    }
    return true;
  }

  #status({ status, reconnect_in_ms }) {
    if (status === "established") {
      clearTimeout(this.#timer);
      this.#timer = 0;
      this.#establishedAt = Date.now();
    } else if (status === "draining") {
      this.#askedDelay = patience(reconnect_in_ms);
    }
  }

  /** Asks whether anybody is at the other end. */
  async #probe() {
    if (!this.connected) return;
    const socket = this.#socket;
    try {
      await this.request({ type: "ping" }, 5000);
    } catch (error) {
      if (error.code === "timeout") this.#lost(socket);
    }
  }

  /** Gives a socket up without waiting for its close, which a dead network can put off for minutes. */
  #lost(socket) {
    if (socket !== this.#socket) return;
    socket.close();
    this.#closed({ code: 1006, reason: "" });
  }

  #forget() {
    this.#establishedAt = 0;
    const requests = [...this.#requests.values()];
    this.#requests.clear();
    for (const { reject, timer } of requests) {
      clearTimeout(timer);
      reject(new RequestError("disconnected", "the connection was lost"));
    }
  }

  #closed({ code, reason }) {
    clearTimeout(this.#timer);
    if (this.connected && Date.now() - this.#establishedAt >= LASTING_MS) this.#attempt = 0;
    this.#socket = null;
    this.#forget();
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
