// The class WebSocketManager in Chromium, as it was written, against the built binary.
//
// Numbers are those of the requirements for this client: its path and port (2.1), authentication
// (2.4), envelopes (2.5 to 2.13), reconnecting (2.14), and its defects, which the server must survive.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { after, afterEach, before, describe, test } from "node:test";

import { launchFor, ManagerPage, ORIGIN, SAME_SITE_ORIGIN } from "./manager.mjs";
import { BINARY, Server } from "./support.mjs";

const ALLOWED = { CAMPANILE_ORIGIN__ALLOWED: ORIGIN };
const SECRET = "a secret of thirty-two bytes, ok";
const KEYED = {
  CAMPANILE_ORIGIN__ALLOWED: `${ORIGIN},${SAME_SITE_ORIGIN}`,
  CAMPANILE_AUTH__JWT__SECRET: SECRET,
};
const REQUIRED = { ...KEYED, CAMPANILE_AUTH__MODE: "required" };
const RFC_3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** Members beside those that differ every time. */
function without(object, ...names) {
  return Object.fromEntries(Object.entries(object).filter(([name]) => !names.includes(name)));
}

describe("the manager against a server that lets guests in", () => {
  let server;
  let browser;
  let ann;
  let bob;

  before(async () => {
    server = await Server.start({ ...ALLOWED, CAMPANILE_MESSAGING__NOTIFY: "anyone" });
    browser = await launchFor(server);
    [ann, bob] = await Promise.all([ManagerPage.connected(browser), ManagerPage.connected(browser)]);
  });

  afterEach(async () => {
    for (const page of [ann, bob]) {
      await isSound(page);
      page.forget();
    }
  });

  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  /** No handler of the class has thrown, and each frame was one object of a type that it may know. */
  async function isSound(page) {
    assert.deepEqual(page.exceptions, []);
    const types = await page.page.evaluate(() => Object.values(globalThis.MessageType));
    for (const frame of page.received) {
      assert.ok(!Array.isArray(frame));
      if (!types.includes(frame.type)) continue;
      assert.equal(typeof frame.message, "object", frame.type);
      assert.deepEqual(Object.keys(without(frame, "id")), ["type", "message"]);
    }
  }

  test("req 2.1, 2.8: is connected and told so", async () => {
    await ann.next("connected");
    assert.equal(ann.welcome.status, "established");
    assert.match(ann.welcome.timestamp, RFC_3339);
    assert.match(ann.id, /^guest-/);
  });

  test("req 2.4: its token, sent while it connects, is never sent", async () => {
    await ann.send({ type: "ping", message: {} });
    assert.deepEqual(ann.sent.map((frame) => frame.type), ["ping"]);
    assert.equal(ann.sockets, 1);
  });

  test("req 2.4: a token sent later is answered with an error that it can read", async () => {
    await ann.send({ type: "authentication", token: "a.jwt.token" });
    const error = await ann.next("server-error");
    assert.equal(typeof error.error, "string");
    assert.match(error.timestamp, RFC_3339);
    assert.equal(error.code, "conflict");
  });

  test("req 2.5, 2.6, 2.9: two pages chat", async () => {
    await bob.chat("7", "anybody there?", "b1");
    await bob.next("message-status");
    await ann.chat("7", "I am! 🔔", "a1");
    const heard = await bob.next("chat-message");
    assert.deepEqual(without(heard, "message_id", "sent_at", "recipients", "client_message_id"), {
      chat_id: "7",
      sender_id: ann.id,
      content: "I am! 🔔",
    });
    assert.match(heard.message_id, UUID_V7);
    assert.match(heard.sent_at, RFC_3339);
    assert.deepEqual(heard.recipients, [
      { message_id: heard.message_id, recipient_id: bob.id, status: "sent", updated_at: heard.sent_at },
    ]);
    await bob.chat("7", "how nice", "b2");
    assert.equal((await ann.next("chat-message")).content, "how nice");
    assert.equal(ann.count("chat-message") + bob.count("chat-message"), 0, "nobody hears itself");
  });

  test("req 2.10: an author sees sent, then delivered, then read", async () => {
    await bob.subscribe("status");
    await ann.chat("status", "hi", "a1");
    // Those of the chats of other tests may still come in.
    const isHere = ({ chat_id }) => chat_id === "status";
    const about = { client_message_id: "a1", chat_id: "status", sender_id: ann.id };
    const sent = await ann.next("message-status", isHere);
    assert.deepEqual(without(sent, "message_id", "timestamp"), { ...about, status: "sent" });
    const heard = await bob.next("chat-message", isHere);
    assert.equal(heard.message_id, sent.message_id);
    const delivered = await ann.next("message-status", isHere);
    const ofBob = { ...about, message_id: heard.message_id, recipient_id: bob.id };
    assert.deepEqual(without(delivered, "timestamp"), { ...ofBob, status: "delivered" });
    const read = { message_id: heard.message_id, chat_id: "status", status: "read" };
    await bob.send({ type: "message-status", message: read });
    const told = await ann.next("message-status", isHere);
    assert.deepEqual(without(told, "timestamp"), { ...ofBob, status: "read" });
    assert.match(told.timestamp, RFC_3339);
    // Once more, and backwards, is no news.
    await bob.send({ type: "message-status", message: { ...read, status: "delivered" } });
    await bob.send({ type: "message-status", message: read });
    await bob.send({ type: "message-status", message: { ...read, status: "no such" } });
    await bob.next("server-error");
    assert.equal(ann.count("message-status", isHere), 0);
  });

  test("req 2.6: what is sent again with its client_message_id is answered as before", async () => {
    const isSent = ({ chat_id, status }) => chat_id === "again" && status === "sent";
    await bob.subscribe("again");
    await ann.chat("again", "once", "a1");
    const first = await ann.next("message-status", isSent);
    await ann.chat("again", "once", "a1");
    const second = await ann.next("message-status", isSent);
    assert.deepEqual(without(second, "timestamp"), without(first, "timestamp"));
    await ann.chat("again", "other", "a2");
    assert.equal((await bob.next("chat-message")).content, "once");
    assert.equal((await bob.next("chat-message")).content, "other");
  });

  test("req 2.12: members are told of a chat that is made, changed and deleted", async () => {
    const call = (method, params) => ann.send({ type: "rpc", message: { method, params } });
    await call("room.create", { chat_id: "team", name: "Team", members: [bob.id] });
    const expected = { chat_id: "team", creator_id: ann.id, name: "Team", is_group: false };
    for (const page of [ann, bob]) {
      const made = await page.next("chat-notification");
      assert.match(made.timestamp, RFC_3339);
      assert.deepEqual(without(made, "timestamp", "members"), { ...expected, action: "created" });
      assert.deepEqual(made.members.toSorted(), [ann.id, bob.id].toSorted());
    }
    await call("room.update", { chat_id: "team", name: "Bells" });
    const changed = await bob.next("chat-notification");
    assert.deepEqual([changed.action, changed.name], ["updated", "Bells"]);
    await call("room.close", { chat_id: "team" });
    assert.equal((await bob.next("chat-notification")).action, "deleted");
  });

  test("req 2.11: a request-notification is a friend request", async () => {
    const message = { request_id: "r1", receiver_id: bob.id };
    await ann.send({ type: "request-notification", message });
    const request = await bob.next("friend-request");
    assert.deepEqual([request.request_id, request.status], ["r1", "pending"]);
    assert.deepEqual([request.sender_id, request.receiver_id], [ann.id, bob.id]);
    assert.match(request.timestamp, RFC_3339);
    assert.equal(ann.count("friend-request"), 0);
  });

  test("req 2.7: a notification, which the class does not know, is a warning and no more", async () => {
    const notice = { receiver_id: bob.id, title: "News", body: "It is noon" };
    await ann.send({ type: "notification", message: notice });
    await ann.send({ type: "request-notification", message: { request_id: "r2", receiver_id: bob.id } });
    await bob.next("friend-request");
    const { message } = await bob.frame("notification");
    assert.deepEqual([message.title, message.body], ["News", "It is noon"]);
    assert.match(message.notification_id, UUID_V7);
    assert.match(message.timestamp, RFC_3339);
    assert.deepEqual(bob.warnings, ["Unknown message type: notification"]);
  });

  test("req 2.13: errors are strings in objects", async () => {
    const codes = [];
    for (const frame of [
      { type: "no-such-type", message: {} },
      { type: "chat", message: { content: "nowhere" } },
      { type: "chat", message: { chat_id: "7" } },
      { type: "chat", message: "7" },
      { message: {} },
    ]) {
      await ann.send(frame);
      const error = await ann.next("server-error");
      assert.equal(typeof error.error, "string");
      assert.match(error.timestamp, RFC_3339);
      codes.push(error.code);
    }
    const invalid = "invalid_message";
    assert.deepEqual(codes, ["unknown_type", "room_required", invalid, "room_required", invalid]);
  });

  test("req 2.14: it leaves with 1000, and its own handler connects it again", async () => {
    const page = await ManagerPage.open(browser, { stopsClock: true });
    try {
      await page.connect();
      const { connection_id } = await page.next("connection-established");
      await page.disconnect();
      const closed = await page.next("disconnected");
      assert.deepEqual([closed.code, closed.wasClean], [1000, true]);
      await page.wait(999);
      assert.equal(page.sockets, 1);
      await page.wait(1);
      const again = await page.next("connection-established");
      assert.notEqual(again.connection_id, connection_id);
      await isSound(page);
    } finally {
      await page.close();
    }
  });
});

describe("the manager against a server that refuses it", () => {
  /** Its delays, each after an attempt that failed. */
  const DELAYS_MS = [1000, 2000, 4000, 8000, 16000];
  const OTHER_ROUTE = '[[route]]\npath = "/elsewhere"\nprofile = "message"\n';

  for (const [why, code, environment, file] of [
    ["with 403 for its origin", "forbidden", {}, ""],
    ["with 404 for its path", "not_found", ALLOWED, OTHER_ROUTE],
    ["with 401 for it shows no token", "unauthorized", REQUIRED, ""],
  ]) {
    test(`req 2.14: ${why} it tries five times more, and says that it gives up`, async () => {
      const folder = await mkdtemp(path.join(os.tmpdir(), "campanile-"));
      const config = path.join(folder, "campanile.toml");
      await writeFile(config, file);
      const server = await Server.start(environment, "--config", config, "--verbose");
      const browser = await launchFor(server);
      try {
        const page = await ManagerPage.open(browser, { stopsClock: true });
        await page.connect();
        for (const [attempt, delay] of DELAYS_MS.entries()) {
          await page.next("disconnected");
          assert.equal(page.sockets, attempt + 1);
          await page.wait(delay);
        }
        const last = await page.next("disconnected");
        assert.equal(last.code, 1006);
        await page.next("reconnection-failed");
        await page.wait(100_000);
        assert.equal(page.sockets, 6);
        assert.equal(page.count("connected"), 0);
        const refused = server.log.split("\n").filter((line) => line.includes("upgrade refused"));
        assert.equal(refused.filter((line) => line.includes(code)).length, 6, server.log);
        assert.deepEqual(page.exceptions, []);
      } finally {
        await browser.close();
        await server.stop();
        await rm(folder, { recursive: true });
      }
    });
  }

  test("req 2.14: with 503 it finds a place once there is one", async () => {
    const server = await Server.start({ ...ALLOWED, CAMPANILE_LIMITS__MAX_CONNECTIONS: "1" });
    const browser = await launchFor(server);
    try {
      const first = await ManagerPage.connected(browser);
      const second = await ManagerPage.open(browser, { stopsClock: true });
      await second.connect();
      await second.next("disconnected");
      await second.wait(1000);
      await second.next("disconnected");
      await first.close();
      await second.wait(2000);
      await second.next("connection-established");
    } finally {
      await browser.close();
      await server.stop();
    }
  });
});

describe("the manager against a server that knows its users by a cookie", () => {
  const token = execFileSync(BINARY, ["gen-token", "--user", "ann", "--secret", SECRET], { encoding: "utf8" });
  const good = { name: "campanile_token", value: token.trim() };
  const forged = { name: "campanile_token", value: `${token.trim().slice(0, -4)}AAAA` };
  const here = { origin: SAME_SITE_ORIGIN };

  /** Runs with a server of this environment and a browser. */
  async function against(environment, run) {
    const server = await Server.start(environment);
    const browser = await launchFor(server);
    try {
      await run(browser, server);
    } finally {
      await browser.close();
      await server.stop();
    }
  }

  async function isTurnedAway(browser, options) {
    const page = await ManagerPage.open(browser, { stopsClock: true, ...options });
    await page.connect();
    assert.equal((await page.next("disconnected")).code, 1006);
    assert.equal(page.count("connected"), 0);
  }

  test("req 2.3, 2.4: a same-site cookie lets it in where a token is required", () =>
    against(REQUIRED, async (browser) => {
      const page = await ManagerPage.connected(browser, { ...here, cookie: good });
      assert.equal(page.id, "ann");
      await page.send({ type: "ping", message: {} });
      assert.deepEqual(page.sent.map((frame) => frame.type), ["ping"], "its own token was not sent");
      assert.deepEqual(page.exceptions, []);
      await isTurnedAway(browser, { ...here, cookie: forged });
      await isTurnedAway(browser, here);
      // From a page of another site the browser leaves the cookie out.
      await isTurnedAway(browser, { cookie: good });
    }));

  test("req 2.3, 2.4: with mode optional it is a guest without the cookie, and itself with it", () =>
    against({ ...KEYED, CAMPANILE_AUTH__MODE: "optional" }, async (browser) => {
      assert.match((await ManagerPage.connected(browser)).id, /^guest-/);
      assert.equal((await ManagerPage.connected(browser, { ...here, cookie: good })).id, "ann");
      await isTurnedAway(browser, { ...here, cookie: forged });
    }));
});
