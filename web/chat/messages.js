// The messages of one room, in their order and each once. Knows neither the page nor the network.
//
//   own:  sending ──► sent ──► delivered ──► read        what the server says, never back
//            │ ▲
//            ▼ │ connected again       failed: until sent again by hand
//         waiting

/** Kept in a room; beyond it the oldest go, and can be loaded again. */
const KEPT_MAX = 1200;
const KEPT_AFTER_TRIM = 1000;

const clientId = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/** A frame's timestamp; now, if it has none that can be read. */
export function moment(timestamp) {
  const at = new Date(timestamp ?? Date.now());
  return Number.isNaN(at.getTime()) ? new Date() : at;
}

/** The text of a chat, whichever client wrote it. */
function textOf(data) {
  const text = data.content ?? data.text ?? data.message;
  return typeof text === "string" ? text : JSON.stringify(data);
}

/** Before or after: by time, then by offset where both have one. */
function order(a, b) {
  return a.at - b.at || (a.offset ?? Infinity) - (b.offset ?? Infinity) || 0;
}

const isUnsent = (line) => line.state !== undefined && line.id === undefined;

export class Messages {
  /** Messages and notices that the server has ordered, then own ones that it has not. */
  #list = [];
  #byId = new Map();
  #own = new Map();

  /** In the order in which they are shown. */
  get all() {
    return this.#list;
  }

  get #messages() {
    return this.#list.filter((line) => !line.notice);
  }

  /** The newest message that somebody else wrote. */
  newestOfOthers(isMe) {
    return this.#messages.findLast((message) => message.id && !isMe(message.author));
  }

  /** Own messages that must go out again now that there is a connection. */
  get waiting() {
    return this.#messages.filter((message) => message.state === "waiting");
  }

  /** A message that is being written to the room. */
  begin(text, author, name) {
    const message = {
      key: clientId(), author, name, text, at: new Date(), state: "sending",
      delivered: new Set(), read: new Set(), counts: null, problem: null,
    };
    message.clientMessageId = message.key;
    this.#own.set(message.key, message);
    this.#list.push(message);
    return message;
  }

  /** The server has it: it takes its place in the order. */
  sent(message, id, at, offset) {
    this.#byId.set(id, message);
    Object.assign(message, { id, at, offset: offset ?? message.offset, problem: null });
    // A receipt may have been faster than the answer.
    if (!["delivered", "read"].includes(message.state)) message.state = "sent";
    this.#list.splice(this.#list.indexOf(message), 1);
    this.#insert(message);
  }

  /** A chat from the server, live or from history. Null if it is here already: nothing is shown twice. */
  add({ id, user_id: author, timestamp, offset, data }) {
    if (this.#byId.has(id)) return null;
    const own = this.#own.get(data.client_message_id);
    if (own) {
      // One's own, of which the answer was lost with the connection.
      if (!own.id) this.sent(own, id, moment(timestamp), offset);
      return null;
    }
    const message = {
      key: id, id, author, name: data.name, text: textOf(data), at: moment(timestamp), offset,
      clientMessageId: data.client_message_id, delivered: new Set(), read: new Set(), counts: null,
    };
    this.#byId.set(id, message);
    this.#insert(message);
    return message;
  }

  /** A line that nobody wrote: joins and leaves, announcements, errors. `who` is a name, or "". */
  note(kind, who, text, at = new Date()) {
    this.#insert({ key: clientId(), notice: kind, who, text, at });
  }

  /** What became of an own message: `message-status`. */
  status({ message_id, client_message_id, status, recipient_id, counts }) {
    const message = this.#byId.get(message_id) ?? this.#own.get(client_message_id);
    if (!message) return;
    if (counts) message.counts = counts;
    if (recipient_id && status === "read") message.read.add(recipient_id);
    if (recipient_id) message.delivered.add(recipient_id);
    const rank = ["failed", "waiting", "sending", "sent", "delivered", "read"];
    if (rank.indexOf(status) > rank.indexOf(message.state)) message.state = status;
  }

  /** The connection is lost: what was on its way waits. */
  suspend() {
    for (const message of this.#messages) if (message.state === "sending") message.state = "waiting";
  }

  has(id) {
    return this.#byId.has(id);
  }

  /** All that is not waiting for the server. */
  get settled() {
    return this.#list.filter((line) => !isUnsent(line));
  }

  drop(lines) {
    const gone = new Set(lines);
    this.#list = this.#list.filter((line) => !gone.has(line));
    for (const { id, clientMessageId } of gone) {
      this.#byId.delete(id);
      this.#own.delete(clientMessageId);
    }
  }

  /** Lets the oldest go if there are too many. Gives the offset before which there are more then. */
  trim() {
    if (this.#list.length <= KEPT_MAX) return null;
    this.drop(this.settled.slice(0, this.#list.length - KEPT_AFTER_TRIM));
    return this.#list.find((line) => line.offset)?.offset ?? null;
  }

  #insert(line) {
    let place = this.#list.length;
    while (place > 0) {
      const before = this.#list[place - 1];
      if (!isUnsent(before) && order(before, line) <= 0) break;
      place -= 1;
    }
    this.#list.splice(place, 0, line);
  }
}
