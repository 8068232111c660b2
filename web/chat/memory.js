// What the page remembers: the name and the rooms in this browser, who one has been in this tab. A
// browser that keeps nothing is fine, too.

const ROOMS_MAX = 50;
const IDS_MAX = 50;
const NAME_CHARS_MAX = 40;

function load(storage, key, fallback) {
  try {
    return JSON.parse(window[storage].getItem(`campanile.${key}`)) ?? fallback;
  } catch {
    return fallback;
  }
}

function save(storage, key, value) {
  try {
    window[storage].setItem(`campanile.${key}`, JSON.stringify(value));
  } catch {
    // Full, or forbidden: it is remembered until the page goes.
  }
}

/** A name as it may be shown: one line, not too long; empty if there is none. */
export function tidyName(name) {
  if (typeof name !== "string") return "";
  return [...name.replace(/\s+/g, " ").trim()].slice(0, NAME_CHARS_MAX).join("");
}

/** Of one who is named in the address, apart from others. */
const IDS = `ids${location.search}`;

/** The person at this page. A guest gets a new identifier with each connection. */
export class Me {
  id = "";
  /** Who one has been in this tab. */
  #ids = new Set(load("sessionStorage", IDS, []));
  #name = tidyName(load("localStorage", "name", ""));
  /** A tab that was duplicated has the other's memory: each says who it is, and is nobody else. */
  #tabs = new BroadcastChannel("campanile.tabs");

  constructor() {
    this.#tabs.onmessage = ({ data: { id, asks } }) => {
      if (id !== this.id) this.#ids.delete(id);
      if (asks && this.id) this.#tabs.postMessage({ id: this.id });
    };
  }

  get name() {
    return this.#name;
  }

  set name(name) {
    this.#name = tidyName(name);
    save("localStorage", "name", this.#name);
  }

  /** What the others are told. */
  get info() {
    return this.#name ? { name: this.#name } : {};
  }

  become(id) {
    this.id = id;
    this.#ids.add(id);
    save("sessionStorage", IDS, [...this.#ids].slice(-IDS_MAX));
    this.#tabs.postMessage({ id, asks: true });
  }

  /** Whether that is, or was, this page's person. */
  is(id) {
    return this.#ids.has(id);
  }
}

/** Identifiers of the rooms one is in. */
export function joinedRooms() {
  const rooms = load("localStorage", "rooms", []);
  return Array.isArray(rooms) ? rooms.filter((id) => typeof id === "string").slice(0, ROOMS_MAX) : [];
}

export function saveJoinedRooms(ids) {
  save("localStorage", "rooms", ids.slice(-ROOMS_MAX));
}

/** Up to where a room was read: `{ epoch, offset }`. */
export function readMark(room) {
  return load("localStorage", "read", {})[room];
}

export function saveReadMark(room, mark) {
  const marks = { ...load("localStorage", "read", {}), [room]: mark };
  save("localStorage", "read", Object.fromEntries(Object.entries(marks).slice(-ROOMS_MAX)));
}
