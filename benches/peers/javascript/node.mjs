// Node.js with `ws`: echo, broadcast and the chat, the last two as its documentation does it: a loop over
// the sockets.

import { createServer } from "node:http";
import { WebSocketServer } from "ws";
import { parse } from "./arguments.mjs";
import { Chat, newMember, roomOf } from "./chat.mjs";

const { port, app } = parse();
const server = createServer();
const sockets = new WebSocketServer({ server, perMessageDeflate: false, maxPayload: 64 << 20 });

function echo(ws) {
  ws.on("message", (data, binary) => ws.send(data, { binary }));
}

function broadcast(ws) {
  ws.on("message", (data, binary) => {
    for (const client of sockets.clients) client.send(data, { binary });
  });
}

const rooms = new Map();
const application = new Chat({
  member: (ws) => ws.member,
  join(ws) {
    const room = rooms.get(ws.member.room);
    if (room) room.add(ws);
    else rooms.set(ws.member.room, new Set([ws]));
  },
  send: (ws, text) => ws.send(text),
  toRoom(room, text) {
    const bytes = Buffer.from(text);
    for (const client of rooms.get(room)) client.send(bytes, { binary: false });
  },
  toOthers(ws, text) {
    const bytes = Buffer.from(text);
    for (const client of rooms.get(ws.member.room)) if (client !== ws) client.send(bytes, { binary: false });
  },
});

function chat(ws, request) {
  const room = roomOf(request.url);
  if (!room) return ws.close(1008);
  ws.member = newMember(room);
  ws.on("message", (data, binary) => application.message(ws, binary ? data : data.toString()));
  ws.on("close", () => {
    rooms.get(room).delete(ws);
    application.close(ws);
    if (rooms.get(room).size === 0) rooms.delete(room);
  });
  application.open(ws);
}

sockets.on("connection", { echo, broadcast, chat }[app]);
server.listen({ port, host: "127.0.0.1", backlog: 4096 });
