// A client that knows users, flat frames and plain text, by the library `ws`.
//
// Numbers are those of the requirements for such clients: the path (4.1), welcome and user list
// (4.2), flat frames (4.3), plain text (4.4), chat, typing and ping (4.5), types of an application
// (4.6), several connections of one user (4.7), their number and echo (4.8), to all, to others and to
// one user (4.10), the last connection (4.11), errors that are survived (4.12), roles (4.13).

import assert from "node:assert/strict";
import { once } from "node:events";
import { afterEach, beforeEach, describe, test } from "node:test";

import WebSocket from "ws";

import { Server } from "./support.mjs";

const SOON_MS = 10_000;

/** One tab of one user. */
class Tab {
  #frames = [];
  #wake = () => {};

  constructor(socket) {
    this.socket = socket;
    socket.on("message", (data, isBinary) => {
      assert.ok(!isBinary);
      this.#frames.push(JSON.parse(data));
      this.#wake();
    });
    socket.on("error", () => {});
  }

  send(message) {
    this.socket.send(typeof message === "string" ? message : JSON.stringify(message));
  }

  /** The next frame. */
  async frame() {
    const deadline = AbortSignal.timeout(SOON_MS);
    while (this.#frames.length === 0) {
      assert.ok(!deadline.aborted, "nothing comes");
      const heard = new Promise((resolve) => (this.#wake = resolve));
      await Promise.race([heard, once(deadline, "abort")]);
    }
    return this.#frames.shift();
  }

  /** The next frame of a type; those before it are dropped. */
  async until(type) {
    for (;;) {
      const frame = await this.frame();
      if (frame.type === type) return frame;
    }
  }

  /** All that came before the answer to a ping that is sent now. */
  async before() {
    this.send({ type: "ping", id: "so far" });
    const frames = [];
    for (;;) {
      const frame = await this.frame();
      if (frame.type === "pong" && frame.id === "so far") return frames;
      frames.push(frame);
    }
  }

  async close() {
    this.socket.close();
    await once(this.socket, "close");
  }
}

let server;
let tabs;

async function start(environment) {
  tabs = [];
  server = await Server.start({ CAMPANILE_AUTH__MODE: "trust", ...environment });
}

async function stop() {
  for (const tab of tabs) tab.socket.terminate();
  await server.stop();
}

function socket(user, query = "") {
  const url = `ws://127.0.0.1:${server.port}/ws?user_id=${encodeURIComponent(user)}${query}`;
  return new WebSocket(url);
}

/** A tab that has had nothing yet. */
async function open(user, query) {
  const tab = new Tab(socket(user, query));
  tabs.push(tab);
  await once(tab.socket, "open");
  return tab;
}

/** A tab that has had its welcome and the user list. */
async function join(user, query) {
  const tab = await open(user, query);
  tab.welcome = await tab.frame();
  tab.list = await tab.frame();
  return tab;
}

/** The status of the answer that refuses an upgrade, and its body. */
async function refusal(user) {
  const [, response] = await once(socket(user), "unexpected-response");
  const pieces = await response.toArray();
  return { status: response.statusCode, body: JSON.parse(Buffer.concat(pieces)) };
}

describe("a client of flat frames", () => {
  beforeEach(() => start({}));
  afterEach(stop);

  test("req 4.1, 4.2: is welcomed, and told who is there", async () => {
    await join("ann@example.org");
    const { welcome, list } = await join("bob@example.org");
    assert.equal(welcome.type, "connection-status");
    assert.deepEqual([welcome.status, welcome.user_id], ["established", "bob@example.org"]);
    assert.deepEqual([list.type, list.action, list.count], ["presence", "snapshot", 2]);
    const users = list.users.map(({ user_id }) => user_id);
    assert.deepEqual(users, ["ann@example.org", "bob@example.org"]);
  });

  test("req 4.3, 4.4: chats with properties beside the type, and in plain text", async () => {
    const [ann, bob] = [await join("ann"), await join("bob")];
    ann.send({ type: "chat", content: "hi", data: { mood: 1 }, tags: ["a"] });
    const { id, timestamp, ...rest } = await bob.until("chat");
    assert.equal(id.length, 36);
    assert.ok(Math.abs(Date.now() - Date.parse(timestamp)) < 60_000);
    const whose = { type: "chat", room_id: "lobby", user_id: "ann" };
    assert.deepEqual(rest, { ...whose, content: "hi", data: { mood: 1 }, tags: ["a"] });
    ann.send("just text, 100 % of it 🔔");
    assert.equal((await bob.until("chat")).content, "just text, 100 % of it 🔔");
    assert.deepEqual((await ann.before()).filter(({ type }) => type === "chat"), []);
  });

  test("req 4.5: typing and ping", async () => {
    const [ann, bob] = [await join("ann"), await join("bob")];
    ann.send({ type: "typing", is_typing: true });
    const typing = await bob.until("typing");
    assert.deepEqual([typing.user_id, typing.is_typing], ["ann", true]);
    ann.send({ type: "ping" });
    assert.equal((await ann.until("pong")).type, "pong");
    ann.socket.ping("RFC 6455");
    const [payload] = await once(ann.socket, "pong");
    assert.equal(payload.toString(), "RFC 6455");
  });

  test("req 4.7, 4.11: a second tab is no news, neither when it comes nor when it goes", async () => {
    const ann = await join("ann");
    const first = await join("bob");
    const joined = await ann.frame();
    assert.deepEqual([joined.action, joined.user_id, joined.count], ["join", "bob", 2]);
    const second = await join("bob");
    assert.deepEqual(second.list.users.map(({ connections }) => connections), [1, 2]);
    await first.close();
    ann.send("for both tabs");
    assert.equal((await second.until("chat")).content, "for both tabs");
    assert.deepEqual(await ann.before(), []);
    await second.close();
    const left = await ann.frame();
    assert.deepEqual([left.type, left.action, left.user_id], ["presence", "leave", "bob"]);
    assert.equal(left.count, 1);
  });

  test("req 4.8: a user's sixth connection is refused with 429 until another is closed", async () => {
    const own = [];
    while (own.length < 5) own.push(await join("ann"));
    const { status, body } = await refusal("ann");
    assert.deepEqual([status, body.status, body.code], [429, 429, "connection_limit"]);
    assert.equal(body.details.limit, 5);
    await join("bob");
    await own[0].close();
    await own[1].before();
    const again = await join("ann");
    assert.equal(again.list.users.find(({ user_id }) => user_id === "ann").connections, 5);
  });

  test("req 4.6, 4.12: what fails is answered, and the connection and all others go on", async () => {
    const [ann, bob] = [await join("ann"), await join("bob")];
    const codes = [];
    for (const message of [
      { type: "custom_message", content: "x" },
      { type: "chat" },
      { type: "typing" },
      { content: "x" },
      "{",
      "[1]",
    ]) {
      ann.send(message);
      const error = await ann.until("error");
      assert.equal(typeof error.error, "string");
      codes.push(error.code);
    }
    const invalid = "invalid_message";
    assert.deepEqual(codes, ["unknown_type", invalid, invalid, invalid, "invalid_json", invalid]);
    ann.send("still here");
    assert.equal((await bob.until("chat")).content, "still here");
    assert.equal(bob.socket.readyState, WebSocket.OPEN);
  });

  test("req 4.10, 4.13: an admin's announcement reaches everybody, another's nobody", async () => {
    const admin = await join("root", "&roles=editor,admin");
    const ann = await join("ann");
    const elsewhere = await open("bob", "&profile=v1");
    const announcement = { type: "announcement", message: "Server maintenance in 5 minutes" };
    ann.send({ ...announcement, id: "1" });
    const error = await ann.until("error");
    assert.deepEqual([error.code, error.id], ["forbidden", "1"]);
    admin.send(announcement);
    for (const tab of [admin, ann]) {
      const { type, message } = await tab.until("announcement");
      assert.deepEqual({ type, message }, announcement);
    }
    assert.equal((await elsewhere.until("announcement")).data.message, announcement.message);
    for (const tab of [admin, ann, elsewhere]) {
      assert.deepEqual((await tab.before()).filter(({ type }) => type === "announcement"), []);
    }
  });

  test("req 4.10: a notification reaches all tabs of one user and nobody else", async () => {
    const admin = await join("root", "&roles=admin");
    const own = [await join("ann"), await join("ann")];
    const bob = await join("bob");
    admin.send({ type: "notification", receiver_id: "ann", title: "News", body: "It is noon" });
    for (const tab of own) {
      const { title, body } = await tab.until("notification");
      assert.deepEqual([title, body], ["News", "It is noon"]);
    }
    assert.deepEqual(await bob.before(), []);
  });

  test("req 4.11: who is torn away has left", async () => {
    const [ann, bob] = [await join("ann"), await join("bob")];
    await ann.until("presence");
    bob.socket.terminate();
    const left = await ann.until("presence");
    assert.deepEqual([left.action, left.user_id], ["leave", "bob"]);
    assert.equal((await join("bob")).list.count, 2);
  });
});

test("req 4.8: with echo_to_sender a sender hears itself, with the options' own limit", async () => {
  await start({
    CAMPANILE_MESSAGING__ECHO_TO_SENDER: "true",
    CAMPANILE_LIMITS__MAX_CONNECTIONS_PER_USER: "1",
  });
  try {
    const ann = await join("ann");
    ann.send("to all");
    assert.equal((await ann.until("chat")).content, "to all");
    assert.equal((await refusal("ann")).status, 429);
  } finally {
    await stop();
  }
});
