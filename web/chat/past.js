// What was said in a room before one came: pages of its history, and where they go on.

import { explain } from "./errors.js";

/** Messages of a page. */
const PAGE = 50;

export class Past {
  #room;
  #connection;
  #onMessage;
  #onChange;
  /** Where older messages go on; null: there are none, undefined: not known yet. */
  #older = undefined;
  #loading = null;

  /** `onMessage(frame)` takes a message into the room. */
  constructor(room, connection, { onMessage, onChange }) {
    this.#room = room;
    this.#connection = connection;
    this.#onMessage = onMessage;
    this.#onChange = onChange;
  }

  /** Whether the newest messages have been asked for. */
  get isKnown() {
    return this.#older !== undefined;
  }

  /** Whether there are older messages than those on the page. */
  get hasMore() {
    return this.#older != null;
  }

  get isLoading() {
    return this.#loading !== null;
  }

  /** What is shown may have holes from here on: it will be loaded when it is wanted. */
  forget() {
    this.#older = undefined;
  }

  /** Lets the oldest messages go if there are too many: they can be loaded again. */
  trim() {
    this.#older = this.#room.messages.trim()?.toString() ?? this.#older;
  }

  /** Loads the newest messages, of which there may be some already. */
  async reload() {
    const { messages } = this.#room;
    const before = messages.settled;
    const page = await this.#load({});
    if (!page) return;
    const overlaps = page.messages.some(({ id }) => messages.has(id));
    const isAll = page.next_cursor === null;
    // Between what is shown and the page is a hole. It can be filled by scrolling up, unless the page
    // is all that the server has.
    if (!overlaps && !isAll) messages.drop(before);
    if (!overlaps && isAll && before.some((line) => !line.notice)) {
      messages.note("again", "", "Some messages may be missing here.", before.at(-1).at);
    }
    page.messages.forEach(this.#onMessage);
    this.#older = (overlaps && this.#older) || page.next_cursor;
    this.#onChange();
  }

  /** Loads a page of older messages. */
  async loadMore() {
    if (!this.hasMore || this.isLoading) return;
    const page = await this.#load({ cursor: this.#older });
    if (!page) return;
    page.messages.forEach(this.#onMessage);
    this.#older = page.next_cursor;
    this.#onChange();
  }

  /** A page of history; null if there is none, or a later request for one has begun. */
  async #load(params) {
    const all = { room_id: this.#room.id, limit: PAGE, ...params };
    const loading = this.#connection.call("room.history", all);
    this.#loading = loading;
    this.#onChange();
    try {
      const page = await loading;
      return this.#loading === loading ? page : null;
    } catch (error) {
      if (this.#loading === loading) this.#failed(error);
      return null;
    } finally {
      if (this.#loading === loading) this.#loading = null;
    }
  }

  #failed(error) {
    if (error.code === "disconnected") return; // it is asked for again with the next connection
    this.#older = null;
    if (error.code !== "not_found") {
      this.#room.messages.note("error", "", `Earlier messages could not be loaded. ${explain(error)}`);
    }
    this.#onChange();
  }
}
