// The pairing client of clients/pairing against the built binary, and against its own mock.
//
// Numbers are those of the requirements for this client (0.1 to 0.13).

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { build } from "esbuild";
import WebSocket from "ws";

import { Server } from "./support.mjs";

const FOLDER = fileURLToPath(new URL("clients/pairing", import.meta.url));
const SOON_MS = 10_000;

const bundle = await build({
  entryPoints: [path.join(FOLDER, "index.ts")],
  bundle: true,
  format: "esm",
  platform: "neutral",
  write: false,
});
const { text } = bundle.outputFiles[0];
const client = await import(`data:text/javascript;base64,${Buffer.from(text).toString("base64")}`);
const { ApiError, ApiErrorType, ConnectionStatus, MockConnectionApi } = client;

/** `localStorage` where there is none. */
class Storage extends Map {
  getItem(key) {
    return this.get(key) ?? null;
  }

  setItem(key, value) {
    this.set(key, value);
  }
}

/** One player with everything that the application has, and what it was pushed. */
class Player {
  pushes = [];
  #waiting = [];

  constructor(id, api, url) {
    this.id = id;
    this.storage = new Storage();
    this.local = new client.ConnectionService(this.storage);
    this.sync = new client.ConnectionSync(api, this.local, id);
    this.socket = new client.ConnectionSocket(url, (target) => new WebSocket(target));
  }

  static async connected(id, api, url) {
    const player = new Player(id, api, url);
    for (const event of ["pairing-status", "request-notification", "error"]) {
      player.socket.on(event, (data) => player.#push({ event, data }));
    }
    const established = await player.socket.connect(id);
    assert.deepEqual([established.status, established.user_id], ["established", id]);
    return player;
  }

  #push(push) {
    const waiting = this.#waiting.shift();
    if (waiting) waiting(push);
    else this.pushes.push(push);
  }

  /** The next push. */
  async next(event) {
    const late = AbortSignal.timeout(SOON_MS);
    const push =
      this.pushes.shift() ??
      (await new Promise((resolve, reject) => {
        this.#waiting.push(resolve);
        late.addEventListener("abort", () => reject(new Error(`no ${event} for ${this.id}`)));
      }));
    assert.equal(push.event, event);
    return push.data;
  }
}

/** The value of a call that must succeed. */
function value(result) {
  assert.ok(result.ok, result.error?.message);
  return result.value;
}

/** The error of a call that must not. */
function error(result) {
  assert.ok(!result.ok, JSON.stringify(result.value));
  assert.ok(result.error instanceof ApiError);
  assert.ok(result.error.message.length > 0);
  return result.error;
}

describe("two players and a server that believes them", () => {
  let server;
  let api;
  let url;
  let ann;
  let bob;

  before(async () => {
    server = await Server.start({ CAMPANILE_AUTH__MODE: "trust" });
    url = server.url.replace(/\/$/, "");
    api = new client.ConnectionApiService(url);
    [ann, bob] = [await Player.connected("ann", api, url), await Player.connected("bob", api, url)];
  });

  after(async () => {
    ann?.socket.disconnect();
    bob?.socket.disconnect();
    assert.equal(await server?.stop(), 0);
  });

  test("req 0.1 to 0.4, 0.7, 0.8: create, join and expire, each push seen by both", async () => {
    const made = value(await ann.sync.create("Game with Bob", { metadata: { level: 3 } }));
    assert.equal(made.status, ConnectionStatus.PENDING);
    assert.match(made.code, /^[2-9A-HJKMNP-Z]{6}$/);
    assert.deepEqual([made.name, made.playerIds, made.metadata], ["Game with Bob", ["ann"], { level: 3 }]);
    assert.ok(made.expiresAt > made.createdAt);
    assert.deepEqual(ann.local.get(made.id), made);
    assert.equal((await ann.next("pairing-status")).status, "pending");

    const joined = value(await bob.sync.join(made.code.toLowerCase(), "Game with Ann"));
    assert.deepEqual([joined.status, joined.playerIds], [ConnectionStatus.ACTIVE, ["ann", "bob"]]);
    assert.deepEqual(bob.local.get(made.id), joined);
    for (const player of [ann, bob]) {
      const push = await player.next("pairing-status");
      assert.deepEqual([push.id, push.status, push.partner_id], [made.id, "active", "bob"]);
    }

    const stop = ann.sync.follow(ann.socket);
    value(await bob.sync.expire(made.id));
    for (const player of [ann, bob]) {
      assert.equal((await player.next("pairing-status")).status, "expired");
    }
    stop();
    const local = ann.local.get(made.id);
    assert.deepEqual([local.status, local.name], [ConnectionStatus.EXPIRED, "Game with Bob"]);
  });

  test("a friend request: the target is asked, the sender is told", async () => {
    const made = value(await ann.sync.create("Friend", { targetPlayerId: "bob" }));
    await ann.next("pairing-status");
    assert.equal((await bob.next("pairing-status")).code, null);
    const request = await bob.next("request-notification");
    assert.deepEqual([request.sender_id, request.receiver_id, request.status], ["ann", "bob", "pending"]);
    assert.equal(request.request_id, made.id);
    const stranger = error(await api.joinConnectionById(made.id, "cid"));
    assert.equal(stranger.type, ApiErrorType.NOT_FOUND);
    value(await bob.sync.accept(request.request_id, "Ann"));
    await ann.next("pairing-status");
    await bob.next("pairing-status");
    assert.equal((await ann.next("request-notification")).status, "active");
  });

  test("it expires by itself, and both are told", async () => {
    const made = value(await ann.sync.create("Soon over", { targetPlayerId: "bob", expiresInS: 1 }));
    assert.equal((await ann.next("pairing-status")).status, "pending");
    assert.equal((await bob.next("pairing-status")).status, "pending");
    assert.equal((await bob.next("request-notification")).status, "pending");
    assert.equal((await ann.next("pairing-status")).status, "expired");
    assert.equal((await bob.next("pairing-status")).status, "expired");
    assert.equal((await ann.next("request-notification")).status, "expired");
    const late = error(await bob.sync.join(made.code, "Too late"));
    assert.deepEqual([late.type, late.status, late.code], [ApiErrorType.EXPIRED, 410, "expired"]);
    assert.equal(bob.local.get(made.id), null, "nothing is stored that the server has not confirmed");
  });

  test("req 0.5, 0.6: every refusal has its type, and none is thrown", async () => {
    const made = value(await api.createConnection("dan"));
    const cases = [
      [await api.joinConnection("222222", "eve"), ApiErrorType.NOT_FOUND, 404],
      [await api.joinConnection(made.code, "dan"), ApiErrorType.CONFLICT, 409],
      [await api.updateStatus(made.id, ConnectionStatus.ACTIVE, "dan"), ApiErrorType.CONFLICT, 409],
      [await api.getConnection(made.id, "eve"), ApiErrorType.NOT_FOUND, 404],
      [await api.createConnection("dan", { expiresInS: 0 }), ApiErrorType.VALIDATION, 422],
      [await api.createConnection("dan", { metadata: { x: "x".repeat(100_000) } }), ApiErrorType.TOO_LARGE, 413],
    ];
    for (const [result, type, status] of cases) {
      const { type: given, status: answered } = error(result);
      assert.deepEqual([given, answered], [type, status]);
    }
    for (let tries = 0; tries < 4; tries++) await api.joinConnection("333333", "eve");
    const limited = error(await api.joinConnection(made.code, "eve"));
    assert.equal(limited.type, ApiErrorType.RATE_LIMITED);
    assert.ok(limited.retryAfterMs > 0);
    const nobody = new client.ConnectionApiService("http://127.0.0.1:9");
    assert.equal(error(await nobody.createConnection("dan")).type, ApiErrorType.NETWORK);
  });

  test("a list has all pages, by status", async () => {
    const made = [];
    for (let count = 0; count < 3; count++) made.unshift(value(await api.createConnection("flo")));
    value(await api.updateStatus(made[1].id, ConnectionStatus.EXPIRED, "flo"));
    const pending = value(await api.listConnections("flo", ConnectionStatus.PENDING));
    assert.deepEqual(new Set(pending.map(({ id }) => id)), new Set([made[0].id, made[2].id]));
    assert.equal(value(await api.listConnections("flo")).length, 3);
  });
});

describe("req 0.12: the mock", () => {
  test("keeps the same rules, and fails when it is told to", async () => {
    const api = new MockConnectionApi();
    const [ann, bob] = ["ann", "bob"].map((id) => new Player(id, api, "http://mock"));
    const made = value(await ann.sync.create("Ours"));
    assert.equal(error(await ann.sync.join(made.code, "Mine")).type, ApiErrorType.CONFLICT);
    api.failNext(ApiError.network("no cable"));
    assert.equal(error(await bob.sync.join(made.code, "Ours")).type, ApiErrorType.NETWORK);
    assert.equal(bob.storage.size, 0, "the server first");
    assert.equal(value(await bob.sync.join(made.code, "Ours")).status, ConnectionStatus.ACTIVE);
    assert.equal(error(await new Player("cid", api, "").sync.join(made.code, "")).type, ApiErrorType.CONFLICT);
    value(await bob.sync.expire(made.id));
    assert.equal(error(await bob.sync.expire(made.id)).type, ApiErrorType.EXPIRED);
    assert.deepEqual(api.calls, ["create", "join", "join", "join", "join", "update", "update"]);
  });
});

describe("the client's sources", () => {
  test("req 0.9: what is no status or no date is not taken for one", () => {
    const connection = { player_ids: [], created_at: "2026-11-21T02:12:29.123Z", status: "pending" };
    assert.throws(() => client.fromServer({ ...connection, status: "done" }), TypeError);
    assert.throws(() => client.fromServer({ ...connection, updated_at: "yesterday" }), TypeError);
    for (const status of Object.values(ConnectionStatus)) {
      assert.equal(client.statusFromServer(client.statusToServer(status)), status);
    }
  });

  test("req 0.11, 0.13: the types hold, and no file has 500 lines", async () => {
    const compiler = fileURLToPath(new URL("node_modules/typescript/bin/tsc", import.meta.url));
    const project = path.join(FOLDER, "tsconfig.json");
    const checked = promisify(execFile)(process.execPath, [compiler, "--project", project]);
    await checked.catch(({ stdout }) => assert.fail(stdout));
    for (const file of await readdir(FOLDER)) {
      const lines = (await readFile(path.join(FOLDER, file), "utf8")).split("\n").length;
      assert.ok(lines < 500, `${file} has ${lines} lines`);
    }
  });
});
