// The rooms that one is in, those that one could be in, and which of them is on the screen.

import { joinedRooms, saveJoinedRooms } from "./memory.js";
import { Room } from "./room.js";

export const LOBBY = "lobby";
/** Rooms listed that one is not in. */
const LISTED_MAX = 100;
const LIST_EVERY_MS = 10_000;

/** A room's identifier from its name, as it stands in a link. */
function slug(name) {
  return [...name.trim().toLowerCase().replace(/[\s/#?]+/gu, "-")].slice(0, 60).join("");
}

/** The fragment of the room's address. */
export function linkTo(id) {
  return `#${encodeURIComponent(id)}`;
}

function roomInLink(hash) {
  try {
    return decodeURIComponent(hash.replace(/^#/, "")) || LOBBY;
  } catch {
    return LOBBY; // not what we have written
  }
}

export class Rooms {
  #connection;
  #me;
  #onChange;
  #rooms = new Map();
  #listed = [];
  current = null;

  /** `onChange()` when anything is different, `onOpen(room)` when another room is on the screen,
   *  `onMessage(room, message)` when somebody else has said something. */
  constructor(connection, me, { onChange, onOpen, onMessage }) {
    this.#connection = connection;
    this.#me = me;
    this.#onChange = onChange;
    this.onOpen = onOpen;
    this.onMessage = onMessage;
    for (const id of [LOBBY, ...joinedRooms()]) this.#add(id);
    addEventListener("hashchange", () => this.#open(roomInLink(location.hash)));
    setInterval(() => document.hidden || this.refresh(), LIST_EVERY_MS);
  }

  /** Rooms that one is in: the lobby, then in the order in which one came. */
  get joined() {
    return [...this.#rooms.values()];
  }

  /** What is known of rooms that one is not in. */
  get others() {
    return this.#listed.filter(({ id }) => !this.#rooms.has(id));
  }

  get unread() {
    return this.joined.reduce((sum, room) => sum + room.unread, 0);
  }

  /** Everybody in one's rooms but oneself: identifier and name. */
  get known() {
    const everybody = this.joined.flatMap(({ people }) => people.here.map((id) => [id, people.name(id)]));
    return [...new Map(everybody.filter(([id]) => !this.#me.is(id)))];
  }

  /** Opens the room that the address names. */
  start() {
    this.#open(roomInLink(location.hash));
  }

  #add(id) {
    const known = this.#rooms.get(id);
    if (known) return known;
    const room = new Room(id, { connection: this.#connection, me: this.#me, onChange: this.#onChange });
    room.meta = this.#listed.find((listed) => listed.id === id) ?? {};
    this.#rooms.set(id, room);
    return room;
  }

  #open(id) {
    const isNew = !this.#rooms.has(id);
    const room = this.#add(id);
    this.current = room;
    this.#remember();
    if (this.#connection.connected && (isNew || room.state === "out")) room.join();
    room.opened();
    this.onOpen(room);
    this.#onChange();
  }

  #remember() {
    saveJoinedRooms([...this.#rooms.keys()].filter((id) => id !== LOBBY));
  }

  /** There is a connection: back into all rooms, the one on the screen first. */
  connected() {
    const rooms = this.joined.filter((room) => room !== this.current && room.state !== "out");
    for (const room of [this.current, ...rooms]) room.join();
    this.refresh();
  }

  disconnected() {
    for (const room of this.joined) room.suspend();
    this.#onChange();
  }

  /** Makes a room and opens it. Rejects with a `RequestError`. */
  async create({ name, isPrivate, capacity }) {
    const params = { id: slug(name), name, is_private: isPrivate, max_clients: capacity };
    const meta = await this.#connection.call("room.create", params);
    this.#listed.push(meta);
    location.hash = linkTo(meta.id);
  }

  /** Leaves a room and opens the lobby, if it was on the screen. */
  leave(room) {
    room.leave().then(() => this.refresh());
    this.#rooms.delete(room.id);
    this.#remember();
    if (room === this.current) location.hash = linkTo(LOBBY);
    this.#onChange();
  }

  /** Does an owner's work; rejects with a `RequestError`. */
  async rule(method, room, params = {}) {
    await this.#connection.call(method, { room_id: room.id, ...params });
  }

  /** Tells all rooms what one is called now. */
  renamed() {
    for (const room of this.joined.filter(({ state }) => state === "joined")) {
      room.introduce();
    }
  }

  /** Asks which rooms there are. */
  async refresh() {
    if (!this.#connection.connected) return;
    try {
      const { rooms } = await this.#connection.call("room.list", { limit: LISTED_MAX });
      this.#listed = rooms;
      for (const meta of rooms) if (this.#rooms.has(meta.id)) this.#rooms.get(meta.id).meta = meta;
      this.#onChange();
    } catch {
      // The list stays as it was until the next time.
    }
  }

  /** Something has happened to a room that one may enter. */
  #notified({ chat_id, action, creator_id, name }) {
    this.refresh();
    if (action !== "member_added" || this.#me.is(creator_id) || this.#rooms.has(chat_id)) return;
    this.current.messages.note("announcement", "", `You may enter the room “${name || chat_id}” now.`);
    this.#onChange();
  }

  /** Takes a frame to its room. */
  receive(frame) {
    if (frame.type === "chat-notification") this.#notified(frame.data);
    const room = this.#rooms.get(frame.room_id ?? frame.data?.chat_id ?? frame.data?.topic);
    const message = room?.receive(frame);
    if (message) {
      room.unread += 1; // until the page is seen, which may be at once
      this.onMessage(room, message);
    }
    if (room) this.#onChange();
  }
}
