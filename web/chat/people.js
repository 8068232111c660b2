// Who is in a room, what they are called, and who types. Frames in, sets out.

import { tidyName } from "./memory.js";

/** Typing that is not repeated is believed so long. */
const TYPING_EXPIRES_MS = 6000;

export class People {
  /** Those who are here: identifier to what they say about themselves. */
  #here = new Map();
  /** Names of those who were here or have written. */
  #names = new Map();
  #typists = new Map();
  /** How many are here: more than `here` knows of in a room that is too large for names. */
  count = 0;

  constructor(onChange) {
    this.onChange = onChange;
  }

  /** Identifiers of those who are here. */
  get here() {
    return [...this.#here.keys()];
  }

  isHere(id) {
    return this.#here.has(id);
  }

  /** What somebody is called: as they say now, as they said in a message, or their identifier. */
  name(id, said) {
    return tidyName(this.#here.get(id)?.name) || tidyName(said) || this.#names.get(id) || id;
  }

  get typing() {
    return [...this.#typists.keys()];
  }

  /** Notes the name that somebody has written under. */
  signed(id, name) {
    if (tidyName(name)) this.#names.set(id, tidyName(name));
  }

  /** A `presence` frame. Gives `join` or `leave` if that is news. */
  presence({ user_id, data }) {
    const id = user_id ?? data.user?.user_id;
    const wasHere = this.#here.has(id);
    let news = null;
    switch (data.action) {
      case "snapshot":
        this.#here.clear();
        for (const user of data.users ?? []) this.#enter(user.user_id, user.info);
        break;
      case "join":
        this.#enter(id, data.user?.info);
        if (!wasHere) news = "join";
        break;
      case "update":
        this.#enter(id, data.user?.info);
        break;
      case "leave":
        if (wasHere) news = "leave";
        this.#here.delete(id);
        this.types(id, false);
        break;
      case "count":
        this.#here.clear();
        break;
    }
    this.count = data.count ?? Math.max(this.count, this.#here.size);
    return news;
  }

  types(id, isTyping) {
    clearTimeout(this.#typists.get(id));
    this.#typists.delete(id);
    if (!isTyping) return;
    const forget = () => {
      this.types(id, false);
      this.onChange();
    };
    this.#typists.set(id, setTimeout(forget, TYPING_EXPIRES_MS));
  }

  /** The connection is lost: nothing is known of anybody. */
  clear() {
    this.#here.clear();
    this.count = 0;
    for (const id of this.typing) this.types(id, false);
  }

  #enter(id, info) {
    this.#here.set(id, info ?? {});
    this.signed(id, info?.name);
  }
}
