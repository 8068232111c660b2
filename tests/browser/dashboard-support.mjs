// A server with its dashboard, and clients that keep it busy.

import { once } from "node:events";
import http from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

import WebSocket from "ws";

import { freePort, Server } from "./support.mjs";

const SOON_MS = 10_000;

/** The binary with an admin listener. It believes its clients who they are. */
export class Operated extends Server {
  #token;

  /** `token`: what the admin listener asks for. */
  static async start(token) {
    const adminPort = await freePort();
    const environment = { CAMPANILE_AUTH__MODE: "trust" };
    if (token) environment.CAMPANILE_ADMIN__TOKEN = token;
    const server = new Operated(await freePort(), environment, ["--shards", "2"], `127.0.0.1:${adminPort}`);
    server.adminPort = adminPort;
    server.#token = token;
    await server.start();
    return server;
  }

  get page() {
    return `http://127.0.0.1:${this.adminPort}/admin/`;
  }

  /** How many connections it counts. */
  async connections() {
    return JSON.parse((await this.ask("GET", "/api/v1/stats")).text).total_connections;
  }

  /** What the admin listener answers: `{ status, text }`; `more`: further headers. With its token. */
  ask(method, path, more = {}) {
    const known = this.#token ? { Authorization: `Bearer ${this.#token}` } : {};
    return this.askAs({ ...known, ...more }, method, path);
  }

  /** The same, with nothing but these headers. */
  async askAs(headers, method, path) {
    const request = http.request({ host: "127.0.0.1", port: this.adminPort, method, path, headers, agent: false });
    request.end();
    const [response] = await Promise.race([
      once(request, "response"),
      once(request, "upgrade").then(([response, socket]) => (socket.destroy(), [response])),
    ]);
    if (response.statusCode === 101) return { status: 101, text: "" };
    let text = "";
    for await (const part of response.setEncoding("utf8")) text += part;
    return { status: response.statusCode, text };
  }
}

/** Clients. */
export class Crowd {
  clients = [];
  #server;
  #talk = 0;

  constructor(server) {
    this.#server = server;
  }

  /** A connection of `user`, in these rooms. `hears(type, message)` waits until it has heard that. */
  async enter(user, ...rooms) {
    const socket = new WebSocket(`ws://127.0.0.1:${this.#server.port}/v1/connect?user_id=${encodeURIComponent(user)}`);
    const client = { user, rooms: new Set(rooms), socket, heard: [] };
    socket.on("message", (text) => {
      client.heard.push(JSON.parse(text));
      socket.emit("heard");
    });
    client.hears = async (type, message) => {
      const is = (frame) => frame.type === type && frame.data?.message === message;
      while (!client.heard.some(is)) await once(socket, "heard", { signal: AbortSignal.timeout(SOON_MS) });
    };
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

  /** Resolves when the server has no connection any more. */
  async leave() {
    clearInterval(this.#talk);
    const gone = this.clients.map(({ socket }) => once(socket, "close"));
    for (const { socket } of this.clients) socket.terminate();
    await Promise.all(gone);
    while ((await this.#server.connections()) > 0) await sleep(20);
  }
}
