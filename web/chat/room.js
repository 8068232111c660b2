// One room that this page is in, or wants to be in: joins it, recovers what was missed, loads its
// past, sends to it and tells what was read.

import { explain, explainAbsence } from "./errors.js";
import { readMark, saveReadMark } from "./memory.js";
import { Messages, moment } from "./messages.js";
import { Past } from "./past.js";
import { People } from "./people.js";

/** Reading is told at most so often. */
const READ_EVERY_MS = 300;

export class Room {
  id;
  /** What `room.get` or `room.list` say: name, owner, capacity. */
  meta = {};
  /** `joining`, `joined`, `away` (no connection) or `out` (`problem` says why). */
  state = "away";
  problem = null;
  unread = 0;
  messages = new Messages();
  people;
  past;
  #connection;
  #me;
  #onChange;
  /** Up to where the messages are known, for the recovery after a lost connection. */
  #epoch = null;
  #offset = 0;
  /** Messages of a replay that are still to come before one's own go out again. */
  #replayUntil = 0;
  #readTimer = 0;
  #readId = null;
  #joins = 0;
  #isOpened = false;

  constructor(id, { connection, me, onChange }) {
    this.id = id;
    this.#connection = connection;
    this.#me = me;
    this.#onChange = onChange;
    this.people = new People(onChange);
    this.past = new Past(this, connection, { onMessage: (frame) => this.#take(frame), onChange });
  }

  get name() {
    return this.meta.name || this.id;
  }

  get isMine() {
    return this.meta.created_by != null && this.meta.created_by === this.#me.id;
  }

  // ---- being in it --------------------------------------------------------------------------------

  /** Joins, and has what was missed since the last time sent again. */
  async join() {
    this.state = "joining";
    this.#joins += 1;
    this.#replayUntil = 0;
    const data = { topic: this.id, presence: true, info: this.#me.info };
    if (this.#epoch) data.recover = { epoch: this.#epoch, offset: this.#offset };
    try {
      const said = JSON.stringify(data.info);
      const answer = await this.#connection.request({ type: "subscribe", data });
      // A name that was given meanwhile has been told to the rooms that one was in by then.
      if (JSON.stringify(this.#me.info) !== said) this.introduce();
      await this.#joined(answer.data);
    } catch (error) {
      if (error.code === "disconnected") this.state = "away";
      else if (error.code === "rate_limited") setTimeout(() => this.join(), error.retryAfterMs ?? 1000);
      else this.expelled(error);
    }
    this.#onChange();
  }

  /** Tells the room what one is called now. */
  introduce() {
    const data = { action: "update", info: this.#me.info };
    this.#connection.send({ type: "presence", room_id: this.id, data });
  }

  async #joined({ epoch, offset, recovered, members }) {
    const join = this.#joins;
    this.state = "joined";
    this.problem = null;
    this.people.count = members ?? this.people.count;
    if (recovered) {
      this.#replayUntil = offset;
      if (this.#offset >= offset) this.#sendWaiting();
      if (this.#isOpened && !this.past.isKnown) this.past.reload();
    } else {
      if (this.#epoch === null) this.#countUnread(epoch, offset);
      [this.#epoch, this.#offset] = [epoch ?? null, offset ?? 0];
      this.past.forget();
      // What is shown is now of unknown age: it comes anew, in one piece.
      if (this.#isOpened || this.messages.waiting.length) await this.past.reload();
      if (join === this.#joins) this.#sendWaiting();
    }
    if (this.#isOpened) this.#describe();
  }

  /** What came since this browser last showed the room. */
  #countUnread(epoch, offset) {
    const read = readMark(this.id);
    if (read && read.epoch === epoch) this.unread = Math.max(0, offset - read.offset);
  }

  /** Asks what it is called and who made it. */
  async #describe() {
    try {
      this.meta = await this.#connection.call("room.get", { room_id: this.id });
      this.#onChange();
    } catch {
      // It is called by its identifier then.
    }
  }

  /** The connection is lost. What is on the page stays. */
  suspend() {
    if (this.state !== "out") this.state = "away";
    this.people.clear();
    this.messages.suspend();
  }

  /** Out of the room, by the server's word. */
  expelled(why) {
    this.state = "out";
    this.problem = explainAbsence(why);
    this.people.clear();
    this.messages.suspend();
    [this.#epoch, this.#offset] = [null, 0];
  }

  async leave() {
    if (this.state === "joined") {
      await this.#connection.request({ type: "unsubscribe", data: { topic: this.id } }).catch(() => {});
    }
  }

  /** The room is on the screen: its newest messages are wanted. */
  opened() {
    this.#isOpened = true;
    if (this.state !== "joined") return;
    if (!this.past.isKnown) this.past.reload();
    this.#describe();
  }

  // ---- what is said -------------------------------------------------------------------------------

  /** A frame about this room. Gives the message, if it is one of somebody else that is new. */
  receive(frame) {
    let message = null;
    switch (frame.type) {
      case "chat":
        message = this.#take(frame);
        this.past.trim();
        this.people.types(frame.user_id, false);
        break;
      case "presence":
        this.#presence(frame);
        break;
      case "typing":
        if (!this.#me.is(frame.user_id)) this.people.types(frame.user_id, frame.data.is_typing);
        break;
      case "message-status":
        this.messages.status(frame.data);
        break;
      case "unsubscribed":
        this.expelled(frame.data);
        break;
      case "system":
        this.#system(frame);
        break;
    }
    if (frame.offset > this.#offset) this.#offset = frame.offset;
    if (this.#replayUntil && this.#offset >= this.#replayUntil) this.#sendWaiting();
    return message && !this.#me.is(message.author) ? message : null;
  }

  #take(frame) {
    if (frame.type !== "chat") return null;
    this.people.signed(frame.user_id, frame.data.name);
    return this.messages.add(frame);
  }

  #presence(frame) {
    const news = this.people.presence(frame);
    if (!news || this.#me.is(frame.user_id)) return;
    const text = news === "join" ? "joined" : "left";
    this.messages.note(news, this.people.name(frame.user_id), text, moment(frame.timestamp));
  }

  #system({ data, timestamp }) {
    if (data.event === "gap") return this.past.reload();
    if (data.event === "room_closed" || data.event === "kicked") return;
    this.messages.note("announcement", "", String(data.message), moment(timestamp));
  }

  say(text) {
    this.#post(this.messages.begin(text, this.#me.id, this.#me.name));
  }

  /** Sends a message that failed once more, under the same identifier: it is never there twice. */
  sayAgain(message) {
    message.state = "sending";
    this.#post(message);
  }

  async #post(message) {
    const data = { content: message.text, client_message_id: message.clientMessageId };
    if (message.name) data.name = message.name;
    message.problem = null;
    if (!this.#connection.connected || this.state !== "joined") {
      message.state = this.state === "out" ? "failed" : "waiting";
      message.problem = this.state === "out" ? this.problem : null;
      return this.#onChange();
    }
    this.#onChange();
    try {
      const answer = await this.#connection.request({ type: "chat", room_id: this.id, data });
      if (!message.id) this.messages.sent(message, answer.data.message_id, moment(answer.data.timestamp));
    } catch (error) {
      if (message.id) return; // it has come back by another way
      message.state = error.code === "disconnected" ? "waiting" : "failed";
      message.problem = error.code === "disconnected" ? null : explain(error);
    }
    this.#onChange();
  }

  /** What could not be sent goes out, now that it is known what has arrived all the same. */
  #sendWaiting() {
    this.#replayUntil = 0;
    for (const message of this.messages.waiting) this.sayAgain(message);
  }

  // ---- what is read -------------------------------------------------------------------------------

  /** The person sees the newest messages. */
  seen() {
    this.unread = 0;
    if (this.#readTimer || this.state !== "joined") return;
    const newest = this.messages.newestOfOthers((id) => this.#me.is(id));
    if (!newest || newest.id === this.#readId) return;
    this.#readId = newest.id;
    if (this.#epoch) saveReadMark(this.id, { epoch: this.#epoch, offset: this.#offset });
    // Without waiting for an answer: a message too old for the server's memory is read all the same.
    const data = { up_to: newest.id, chat_id: this.id, status: "read" };
    this.#connection.send({ type: "message-status", id: "read", data });
    this.#readTimer = setTimeout(() => {
      this.#readTimer = 0;
      this.#onChange();
    }, READ_EVERY_MS);
  }
}
