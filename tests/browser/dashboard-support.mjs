// A server with its dashboard, clients that keep it busy, and what stands in for the HTTP API.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import WebSocket from "ws";

import { ROOT } from "./support.mjs";

const PROGRAM =
  process.env.CAMPANILE_DASHBOARD ??
  path.join(process.env.CARGO_TARGET_DIR ?? path.join(ROOT, "target"), "debug/examples/dashboard");
const READY_MS = 10_000;

async function freePort() {
  const listener = net.createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address();
  listener.close();
  await once(listener, "close");
  return port;
}

async function listens(port) {
  const socket = net.connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/** The example `dashboard`: a listener for clients, and one for the page. */
export class Program {
  #process = null;
  #arguments;

  static async start(...more) {
    const program = new Program();
    [program.port, program.adminPort] = [await freePort(), await freePort()];
    program.#arguments = ["--listen", `127.0.0.1:${program.port}`, "--admin", `127.0.0.1:${program.adminPort}`];
    program.#arguments.push("--shards", "2", ...more);
    await program.start();
    return program;
  }

  get page() {
    return `http://127.0.0.1:${this.adminPort}/admin/`;
  }

  /** Starts it again on its ports. */
  async start() {
    this.#process = spawn(PROGRAM, this.#arguments, { stdio: ["ignore", "inherit", "inherit"] });
    await once(this.#process, "spawn"); // throws if there is no such program
    for (const end = Date.now() + READY_MS; Date.now() < end; await sleep(20)) {
      assert.equal(this.#process.exitCode, null, `${PROGRAM} has ended`);
      if ((await listens(this.port)) && (await listens(this.adminPort))) return;
    }
    throw new Error(`${PROGRAM} does not listen`);
  }

  async stop() {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exit = once(this.#process, "exit");
    this.#process.kill("SIGKILL");
    await exit;
  }
}

/** Real clients. */
export class Crowd {
  clients = [];
  #port;
  #talk = 0;

  constructor(port) {
    this.#port = port;
  }

  /** A connection of `user`, in these rooms. */
  async enter(user, ...rooms) {
    const socket = new WebSocket(`ws://127.0.0.1:${this.#port}/v1/connect?user_id=${encodeURIComponent(user)}`);
    const client = { user, rooms: new Set(rooms), socket, heard: [], id: `c${this.clients.length + 1}` };
    socket.on("message", (text) => client.heard.push(JSON.parse(text)));
    socket.on("error", () => {});
    socket.on("close", () => (this.clients = this.clients.filter((other) => other !== client)));
    await once(socket, "open");
    for (const room of rooms) socket.send(JSON.stringify({ type: "subscribe", data: { topic: room, presence: true } }));
    this.clients.push(client);
    return client;
  }

  /** From now on everybody says something in its rooms, so many times a second. */
  talk(perSecond) {
    clearInterval(this.#talk);
    let number = 0;
    const all = () => {
      number += 1;
      for (const { socket, rooms } of this.clients) {
        for (const room of rooms) {
          socket.send(JSON.stringify({ type: "chat", id: number, room_id: room, data: { content: `line ${number}` } }));
        }
      }
    };
    this.#talk = setInterval(all, 1000 / perSecond);
  }

  async leave() {
    clearInterval(this.#talk);
    const gone = this.clients.map(({ socket }) => once(socket, "close"));
    for (const { socket } of this.clients) socket.terminate();
    await Promise.all(gone);
  }
}

const since = new Date(Date.now() - 754_000).toISOString();

/** Stands in for the HTTP API: it knows what the clients of the test are, and does to them what the server
 *  would. Remembers what it was asked. */
export class FakeApi {
  asked = [];

  constructor(crowd) {
    this.crowd = crowd;
  }

  serve(page) {
    return page.route("**/api/v1/**", (route) => this.#answer(route));
  }

  async #answer(route) {
    const request = route.request();
    const url = new URL(request.url());
    const [resource, id, part] = url.pathname.split("/api/v1/")[1].split("/").map(decodeURIComponent);
    const body = request.postDataJSON();
    this.asked.push({ method: request.method(), resource, id, part, body, headers: request.headers() });
    const prefix = url.searchParams.get("prefix") ?? "";
    const answer = this[`${request.method()} ${[resource, id && "*", part].filter(Boolean).join("/")}`]({ id, body, prefix });
    if (answer) return route.fulfill({ json: answer });
    const error = { error: "there is no such room", code: "not_found", status: 404 };
    return route.fulfill({ status: 404, json: error });
  }

  #rooms() {
    const rooms = new Map();
    for (const { user, rooms: joined } of this.crowd.clients) {
      for (const room of joined) rooms.set(room, (rooms.get(room) ?? new Map()).set(user, (rooms.get(room)?.get(user) ?? 0) + 1));
    }
    return rooms;
  }

  #room(id) {
    const members = this.#rooms().get(id);
    if (!members) return null;
    return { id, name: `The ${id}`, created_at: since, created_by: "ann", max_clients: 0, is_private: false, metadata: {}, members: members.size };
  }

  "GET rooms"({ prefix }) {
    const found = [...this.#rooms().keys()].filter((id) => id.startsWith(prefix)).sort();
    return { rooms: found.map((id) => this.#room(id)), next_cursor: null };
  }

  "GET rooms/*"({ id }) {
    return this.#room(id);
  }

  "GET rooms/*/participants"({ id }) {
    const members = [...(this.#rooms().get(id) ?? [])].sort();
    return {
      count: members.length,
      members: members.map(([user_id, connections]) => ({ user_id, connections, since, info: null })),
      next_cursor: null,
    };
  }

  "DELETE rooms/*"({ id }) {
    const room = this.#room(id);
    for (const { rooms, socket } of this.crowd.clients) {
      if (rooms.delete(id)) socket.send(JSON.stringify({ type: "unsubscribe", data: { topic: id } }));
    }
    return room;
  }

  "GET users"() {
    const users = new Map();
    for (const { user } of this.crowd.clients) users.set(user, (users.get(user) ?? 0) + 1);
    return { users: [...users].map(([user_id, connections]) => ({ user_id, connections })), next_cursor: null };
  }

  "GET users/*/connections"({ id }) {
    const connections = this.crowd.clients.filter(({ user }) => user === id);
    const described = connections.map((client) => ({
      connection_id: client.id,
      remote_address: "127.0.0.1:50000",
      profile: "v1",
      roles: [],
      rooms: [...client.rooms],
      buffered_bytes: 0,
    }));
    return { user_id: id, connections: described };
  }

  "POST users/*/disconnect"({ id, body }) {
    const isMeant = (client) => client.user === id && (!body.connection_id || body.connection_id === client.id);
    const closed = this.crowd.clients.filter(isMeant);
    for (const { socket } of closed) socket.close(4403);
    this.crowd.clients = this.crowd.clients.filter((client) => !closed.includes(client));
    return { closed: closed.length };
  }

  "POST users/*/send"({ id, body }) {
    const reached = this.crowd.clients.filter(({ user }) => user === id);
    for (const { heard } of reached) heard.push(body);
    return { connections: reached.length };
  }

  "POST broadcast"({ body }) {
    for (const { heard } of this.crowd.clients) heard.push(body);
    return { connections: this.crowd.clients.length };
  }
}
