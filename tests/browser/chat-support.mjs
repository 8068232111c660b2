// What the tests of the chat page do beside the page.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import { Tab } from "./support.mjs";

/** Runs in the page: somebody else says so many lines in a room. */
export function seed({ room, count }) {
  const socket = new WebSocket("/v1/connect");
  socket.onopen = () => {
    for (let line = 0; line < count; line += 1) {
      socket.send(JSON.stringify({ type: "chat", id: line, room_id: room, data: { content: `line ${line}` } }));
    }
  };
  return new Promise((resolve) => {
    socket.onmessage = ({ data }) => JSON.parse(data).id === count - 1 && resolve();
  }).finally(() => socket.close());
}

/** A page whose connections go through the test, which can cut them. */
export class Wire {
  /** Frames that the page has sent and got, over all its connections. */
  sent = [];
  received = [];
  /** Lets what the page sends through, and nothing of what it is told, which is kept here. */
  isDeaf = false;
  unheard = [];
  #page = null;
  #server = null;

  static async open(browser, url, options) {
    const wire = new Wire();
    const context = await browser.newContext({ reducedMotion: "reduce", ...options });
    wire.tab = new Tab(await context.newPage());
    await wire.tab.page.routeWebSocket("**/v1/connect*", (page) => wire.#connect(page));
    await wire.tab.page.goto(url);
    await wire.tab.connected();
    return wire;
  }

  #connect(page) {
    const server = page.connectToServer();
    [this.#page, this.#server] = [page, server];
    page.onMessage((text) => {
      this.sent.push(JSON.parse(text));
      server.send(text);
    });
    server.onMessage((text) => {
      (this.isDeaf ? this.unheard : this.received).push(JSON.parse(text));
      if (this.isDeaf) return;
      page.send(text);
    });
  }

  /** Ends the connection; the page is to wait until it is told to reconnect. */
  async cut() {
    await this.#page.close({ code: 4508, reason: "too slow; retry_in_ms=200000" });
    await this.#server.close();
    this.isDeaf = false;
  }

  /** Waits until the page has not heard a frame of this type. */
  async misses(type) {
    const isMissed = () => this.unheard.some((frame) => frame.type === type);
    for (let tries = 0; tries < 400 && !isMissed(); tries += 1) await sleep(50);
    assert.ok(isMissed(), `no ${type} has come that was not heard`);
  }

  /** Tells the page something that the server has not said. */
  inject(frame) {
    this.#page.send(JSON.stringify(frame));
  }
}
