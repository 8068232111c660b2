// Pages that run the class WebSocketManager as it was written, see clients/README.md.
//
// It connects to ws://localhost:8080/api/v1/ws and nowhere else, so Chromium is told that this host
// and port are those of the server under test.

import { once } from "node:events";
import { readFile } from "node:fs/promises";
import http from "node:http";

import { transform } from "esbuild";

import { launchChromium } from "./support.mjs";

const ADDRESS = "localhost:8080";
/** All events that the class emits, and that its users may listen to. */
const EVENTS = [
  "connected",
  "disconnected",
  "error",
  "connection-established",
  "chat-message",
  "message-status",
  "friend-request",
  "chat-notification",
  "server-error",
  "reconnection-failed",
];
const SOON_MS = 10_000;

/** A client's source without its types; `names` become global. */
async function compiled(file, ...names) {
  const source = await readFile(new URL(`clients/${file}`, import.meta.url), "utf8");
  const footer = names.map((name) => `globalThis.${name} = ${name};`).join("\n");
  const { code } = await transform(source, { loader: "ts", footer });
  return code;
}

const SCRIPTS = await Promise.all([
  compiled("websocket-manager.ts", "WebSocketManager"),
  compiled("data-models.ts", "MessageType", "MessageStatus", "ConnectionStatus"),
]);

// The application is not served by the server that it connects to.
const pages = http.createServer((_, response) => {
  response.setHeader("content-type", "text/html").end("<!doctype html><title>An application</title>");
});
pages.listen(0, "127.0.0.1").unref();
await once(pages, "listening");

/** The origin of all pages: a server must allow it. */
export const ORIGIN = `http://127.0.0.1:${pages.address().port}`;

/** That of the same pages where they are of the same site as the server: its cookies go along. */
export const SAME_SITE_ORIGIN = `http://localhost:${pages.address().port}`;

export function launchFor(server) {
  return launchChromium(`--host-resolver-rules=MAP ${ADDRESS} 127.0.0.1:${server.port}`);
}

/** A page with one manager, and all that it has told, sent and been sent. */
export class ManagerPage {
  /** What was emitted and not yet waited for: `{ event, data }`. */
  #emitted = [];
  #wake = () => {};
  sent = [];
  received = [];
  warnings = [];
  exceptions = [];
  /** Attempts to connect. */
  sockets = 0;

  constructor(page) {
    this.page = page;
    page.on("pageerror", (error) => this.exceptions.push(String(error)));
    page.on("console", (message) => {
      if (message.type() === "warning") this.warnings.push(message.text());
    });
    page.on("websocket", (socket) => {
      this.sockets += 1;
      socket.on("framesent", ({ payload }) => this.sent.push(JSON.parse(payload)));
      socket.on("framereceived", ({ payload }) => {
        this.received.push(JSON.parse(payload));
        this.#wake();
      });
    });
  }

  /**
   * Opens a page. Its clock stands still if `stopsClock`: see `wait`. `cookie` is one of the server's host,
   * which the browser sends from pages of the same site.
   */
  static async open(browser, { stopsClock = false, origin = ORIGIN, cookie = null } = {}) {
    const context = await browser.newContext();
    if (cookie) {
      const scope = { domain: "localhost", path: "/", httpOnly: true, sameSite: "Strict" };
      await context.addCookies([{ ...cookie, ...scope }]);
    }
    const page = await context.newPage();
    const self = new ManagerPage(page);
    if (stopsClock) await page.clock.install();
    await page.goto(origin);
    if (stopsClock) await page.clock.pauseAt(Date.now() + 1000);
    await page.exposeFunction("told", (event, data) => {
      self.#emitted.push({ event, data });
      self.#wake();
    });
    for (const content of SCRIPTS) await page.addScriptTag({ content });
    await page.evaluate((events) => {
      globalThis.manager = new globalThis.WebSocketManager("a.jwt.token");
      for (const event of events) {
        globalThis.manager.on(event, (data) => {
          const isClose = data instanceof CloseEvent;
          if (isClose) data = { code: data.code, reason: data.reason, wasClean: data.wasClean };
          else if (data instanceof Event) data = {};
          globalThis.told(event, data);
        });
      }
    }, EVENTS);
    return self;
  }

  /** Opens a page and waits for the welcome; `id` is the user that the server made of it. */
  static async connected(browser, options = {}) {
    const self = await ManagerPage.open(browser, options);
    await self.connect();
    self.welcome = await self.next("connection-established");
    self.id = self.welcome.user_id;
    return self;
  }

  connect() {
    return this.page.evaluate(() => globalThis.manager.connect());
  }

  send(frame) {
    return this.page.evaluate((data) => globalThis.manager.send(data), frame);
  }

  disconnect() {
    return this.page.evaluate(() => globalThis.manager.disconnect());
  }

  /** A chat as the application around the class sends it. */
  chat(chat_id, content, client_message_id) {
    return this.send({ type: "chat", message: { chat_id, content, client_message_id } });
  }

  /** Lets the page's stopped clock go on. */
  wait(milliseconds) {
    return this.page.clock.runFor(milliseconds);
  }

  /** Subscribes to a chat, and waits for the answer, of which the class knows nothing. */
  async subscribe(chat_id) {
    await this.send({ type: "subscribe", message: { chat_id } });
    await this.frame("subscribed");
  }

  /** What is told with the next event of this name that passes; those before it are kept. */
  next(event, passes = () => true) {
    return this.#until(event, () => {
      const place = this.#emitted.findIndex((told) => told.event === event && passes(told.data));
      return place >= 0 && { found: this.#emitted.splice(place, 1)[0].data };
    });
  }

  /** The first frame of this type that was received since the last `forget`. */
  frame(type) {
    return this.#until(type, () => {
      const found = this.received.find((frame) => frame.type === type);
      return found && { found };
    });
  }

  /** What `look` finds, as soon as it does. */
  async #until(what, look) {
    const deadline = AbortSignal.timeout(SOON_MS);
    for (;;) {
      const woken = new Promise((resolve) => (this.#wake = resolve));
      const result = look();
      if (result) return result.found;
      if (deadline.aborted) throw new Error(`no ${what} but ${JSON.stringify(this.#emitted)}`);
      await Promise.race([woken, once(deadline, "abort")]);
    }
  }

  /** How often an event that passes has been emitted and not been waited for. */
  count(event, passes = () => true) {
    return this.#emitted.filter((told) => told.event === event && passes(told.data)).length;
  }

  /** Forgets what it was told, sent and been sent. */
  forget() {
    this.#emitted = [];
    for (const list of [this.sent, this.received, this.warnings, this.exceptions]) list.length = 0;
  }

  close() {
    return this.page.context().close();
  }
}
