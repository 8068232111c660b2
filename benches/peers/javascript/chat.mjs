// The chat: messages, members and rules are those of Campanile's profile `flat`
// (docs/PROTOCOL.md), as far as the workload A1 uses them. Bun and Node share it; how a text gets
// to one socket or to a room is the runtime's own.

const CONTENT_LENGTH_MAX = 4096;
/** `typing` is told at most once in so many milliseconds, for each member. */
const TYPING_MS = 1000;

const timestamp = () => new Date().toISOString();

/** `/ws/{room}`, or nothing if the path is another. */
export function roomOf(path) {
  return path.startsWith("/ws/") && path.length > 4 ? path.slice(4) : undefined;
}

/** What a connection is to the chat. */
export function newMember(room) {
  const random = crypto.randomUUID();
  return {
    room,
    connection: random.slice(0, 8) + random.slice(9, 13) + random.slice(14, 18),
    user: "guest-" + random.slice(24),
    since: timestamp(),
    typing: { told: false, toldAt: 0, now: false, later: undefined },
  };
}

/**
 * The chat over a transport of
 * `member(socket)`: what `newMember` made for it; `join(socket)`: it gets from now on what its room gets;
 * `send(socket, text)`; `toRoom(room, text)`; `toOthers(socket, text)`: its room but the socket.
 */
export class Chat {
  rooms = new Map();

  constructor(transport) {
    this.transport = transport;
  }

  open(socket) {
    const member = this.transport.member(socket);
    const { room, user, connection } = member;
    const at = timestamp();
    this.transport.send(
      socket,
      JSON.stringify({
        type: "connection-status",
        status: "established",
        timestamp: at,
        connection_id: connection,
        user_id: user,
      }),
    );
    let members = this.rooms.get(room);
    if (!members) this.rooms.set(room, (members = new Map()));
    members.set(user, member);
    const users = Array.from(members.values(), ({ user, since }) => {
      return { user_id: user, connections: 1, since, info: {} };
    });
    this.transport.send(
      socket,
      JSON.stringify({
        type: "presence",
        room_id: room,
        timestamp: at,
        action: "snapshot",
        count: users.length,
        users,
      }),
    );
    this.transport.join(socket);
    this.transport.toOthers(
      socket,
      JSON.stringify({
        type: "presence",
        room_id: room,
        user_id: user,
        timestamp: at,
        action: "join",
        count: users.length,
        user: { user_id: user, info: {} },
      }),
    );
  }

  close(socket) {
    const { room, user, typing } = this.transport.member(socket);
    clearTimeout(typing.later);
    const members = this.rooms.get(room);
    if (!members?.delete(user)) return;
    if (members.size === 0) this.rooms.delete(room);
    else
      this.transport.toRoom(
        room,
        JSON.stringify({
          type: "presence",
          room_id: room,
          user_id: user,
          timestamp: timestamp(),
          action: "leave",
          count: members.size,
        }),
      );
  }

  message(socket, text) {
    if (typeof text !== "string") return this.refuse(socket, "invalid_message", "binary messages are not taken");
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return this.refuse(socket, "invalid_json", "not JSON");
    }
    switch (message?.type) {
      case "chat":
        return this.chat(socket, message);
      case "typing":
        return this.typing(socket, message);
      case "ping":
        return this.pong(socket, message);
      default:
        return this.refuse(socket, "unknown_type", "nobody handles this type");
    }
  }

  pong(socket, message) {
    this.transport.send(socket, JSON.stringify({ type: "pong", id: message.id, timestamp: timestamp() }));
  }

  chat(socket, message) {
    const { content } = message;
    if (typeof content !== "string" || content.length === 0 || content.length > CONTENT_LENGTH_MAX)
      return this.refuse(socket, "invalid_message", "content is a string of 1 to 4096 characters");
    const { room, user } = this.transport.member(socket);
    this.transport.toRoom(
      room,
      JSON.stringify({
        type: "chat",
        id: crypto.randomUUID(),
        room_id: room,
        user_id: user,
        timestamp: timestamp(),
        content,
      }),
    );
  }

  typing(socket, message) {
    if (typeof message.is_typing !== "boolean")
      return this.refuse(socket, "invalid_message", "is_typing is true or false");
    const { typing } = this.transport.member(socket);
    typing.now = message.is_typing;
    if (typing.later) return;
    const wait = typing.toldAt + TYPING_MS - Date.now();
    if (wait <= 0) this.tellTyping(socket);
    else typing.later = setTimeout(() => this.tellTyping(socket), wait);
  }

  tellTyping(socket) {
    const { room, user, typing } = this.transport.member(socket);
    typing.later = undefined;
    if (!typing.now && !typing.told) return;
    typing.told = typing.now;
    typing.toldAt = Date.now();
    this.transport.toOthers(
      socket,
      JSON.stringify({
        type: "typing",
        room_id: room,
        user_id: user,
        timestamp: timestamp(),
        is_typing: typing.now,
      }),
    );
  }

  refuse(socket, code, error) {
    this.transport.send(socket, JSON.stringify({ type: "error", error, code, timestamp: timestamp() }));
  }
}
