// Bun.serve: echo, broadcast and the chat, with the publish and subscribe of its own.

import type { Server, ServerWebSocket } from "bun";
import { parse } from "./arguments.mjs";
import { Chat, newMember, roomOf } from "./chat.mjs";

type Member = ReturnType<typeof newMember>;

const { port, app } = parse();
const EVERYBODY = "everybody";
// Neither echo nor a fan-out may lose a message because a limit meant for browsers is small.
const limits = { maxPayloadLength: 64 << 20, backpressureLimit: 256 << 20, perMessageDeflate: false };

const upgrade = (request: Request, server: Server) =>
  server.upgrade(request) ? undefined : new Response("a WebSocket server", { status: 426 });

function echo() {
  Bun.serve({
    hostname: "127.0.0.1",
    port,
    fetch: upgrade,
    websocket: {
      ...limits,
      message(ws, message) {
        ws.send(message);
      },
    },
  });
}

function broadcast() {
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port,
    fetch: upgrade,
    websocket: {
      ...limits,
      open(ws) {
        ws.subscribe(EVERYBODY);
      },
      message(_, message) {
        server.publish(EVERYBODY, message);
      },
    },
  });
}

function chat() {
  type Socket = ServerWebSocket<Member>;
  const application = new Chat({
    member: (ws: Socket) => ws.data,
    join: (ws: Socket) => ws.subscribe(ws.data.room),
    send: (ws: Socket, text: string) => ws.send(text),
    toRoom: (room: string, text: string) => server.publish(room, text),
    toOthers: (ws: Socket, text: string) => ws.publish(ws.data.room, text),
  });
  const server = Bun.serve<Member>({
    hostname: "127.0.0.1",
    port,
    fetch(request, server) {
      const room = roomOf(new URL(request.url).pathname);
      if (room && server.upgrade(request, { data: newMember(room) })) return;
      return new Response("no such endpoint", { status: 404 });
    },
    websocket: {
      ...limits,
      open: (ws) => application.open(ws),
      message: (ws, message) => application.message(ws, message),
      close: (ws) => application.close(ws),
    },
  });
}

const applications: Record<string, () => void> = { echo, broadcast, chat };
applications[app]();
