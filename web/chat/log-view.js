// The messages of the room on the screen: lines out of messages, and where the reader is among them.

import { arrange, avatar, button, byId, dayName, element, Nodes, quoted, timeElement } from "./dom.js";

/** Less than this below the last line shown counts as being at the end. */
const AT_END_PX = 80;
/** Nearer to the first line than this, older ones are fetched. */
const AT_START_PX = 120;
/** Keys by which a reader leaves the end. */
const UP_KEYS = new Set(["Home", "PageUp", "ArrowUp"]);
/** Messages of one person within this time stand under one name. */
const GROUP_MS = 5 * 60_000;

export class LogView {
  #log = byId("log");
  #toEnd = byId("to-end");
  #nodes = new Nodes();
  #room = null;
  #me;
  /** Whether the reader is at the end, and is to stay there when lines come or the window shrinks. */
  #following = true;
  #last = null;
  /** Where the reader was at the last look. */
  #top = 0;

  /** `onDone()`: what was done in the log is done, the reader may go on writing. */
  constructor(me, onDone) {
    this.#me = me;
    this.onDone = onDone;
    this.#toEnd.addEventListener("click", () => {
      this.toEnd();
      onDone();
    });
    this.#log.addEventListener("scroll", () => this.#scrolled());
    // Before anything has moved: a line that comes now must not hold the reader back.
    this.#log.addEventListener("keydown", ({ key }) => UP_KEYS.has(key) && this.#leave());
    this.#log.addEventListener("wheel", ({ deltaY }) => deltaY < 0 && this.#leave(), { passive: true });
    new ResizeObserver(() => this.#following && this.toEnd()).observe(this.#log);
  }

  toEnd() {
    this.#log.scrollTop = this.#log.scrollHeight;
    this.#following = true;
    this.#toEnd.hidden = true;
  }

  #leave() {
    if (this.#log.scrollTop > 0) this.#following = false;
  }

  show(room) {
    if (room !== this.#room) {
      this.#nodes.clear();
      this.#following = true;
      this.#room = room;
    }
    const lines = this.#lines();
    const last = room.messages.all.at(-1);
    const places = this.#visible().map((node) => ({ node, top: node.offsetTop }));
    arrange(this.#log, lines);
    this.#nodes.sweep();
    this.#log.setAttribute("aria-busy", String(room.past.isLoading));
    if (this.#following || (last !== this.#last && last?.state === "sending")) {
      this.toEnd();
    } else {
      const kept = places.find(({ node }) => node.isConnected);
      if (kept) this.#log.scrollTop += kept.node.offsetTop - kept.top;
      if (last !== this.#last) this.#toEnd.hidden = false;
    }
    this.#last = last;
  }

  /** The lines that the reader sees, or could by scrolling down: what stays of them stays in its place. */
  #visible() {
    const { scrollTop } = this.#log;
    return [...this.#log.querySelectorAll(".message")].filter((node) => node.offsetTop >= scrollTop);
  }

  #scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.#log;
    const below = scrollHeight - scrollTop - clientHeight;
    // Who goes up has left, however slowly the page moves.
    const isUp = scrollTop < this.#top;
    this.#top = scrollTop;
    this.#following = below < 1 || (below < AT_END_PX && !isUp);
    if (this.#following) this.#toEnd.hidden = true;
    if (scrollTop < AT_START_PX && !this.#following) this.#room?.past.loadMore();
  }

  #lines() {
    const room = this.#room;
    const lines = [];
    if (room.past.hasMore) lines.push(this.#older());
    let day = "";
    const all = room.messages.all;
    all.forEach((line, place) => {
      const name = dayName(line.at);
      if (name !== day) lines.push(this.#day(name));
      const before = name === day ? all[place - 1] : null;
      day = name;
      lines.push(line.notice ? this.#notice(line) : this.#message(line, before, all[place + 1]));
    });
    if (room.state === "out") lines.push(this.#absence());
    return lines;
  }

  #older() {
    const isLoading = this.#room.past.isLoading;
    return this.#nodes.node("older", isLoading, () => {
      const load = button("quiet", isLoading ? "Loading…" : "Load older messages", "", () => this.#room.past.loadMore());
      return element("li", "older", load);
    });
  }

  #day(name) {
    return this.#nodes.node(`day ${name}`, name, () => element("li", "day", element("span", "", name)));
  }

  #notice({ key, notice, who, text, at }) {
    return this.#nodes.node(key, [who, text], () => {
      const said = who ? [quoted(who), " "] : [];
      return element("li", `notice ${notice}`, element("p", "", ...said, text, " ", timeElement(at)));
    });
  }

  #absence() {
    const { problem } = this.#room;
    return this.#nodes.node("absence", problem, () => {
      const again = button("quiet", "Try to join again", "", () => {
        this.#room.join();
        this.onDone();
      });
      return element("li", "notice error", element("p", "", problem), again);
    });
  }

  #message(message, before, after) {
    const { author, at, state, text } = message;
    const isMine = this.#me.is(author);
    const belongs = (a, b) => a && b && !a.notice && !b.notice && a.author === b.author && b.at - a.at < GROUP_MS;
    const isGrouped = belongs(before, message);
    const name = this.#room.people.name(author, message.name);
    // Of several that have come equally far, the last one says so.
    const status = isMine ? this.#status(message) : "";
    const isCovered = isMine && belongs(message, after) && this.#status(after) === status && state !== "failed";
    const shown = [isMine, isGrouped, name, status, isCovered, at];
    return this.#nodes.node(message.key, shown, () => {
      const line = element("li", isMine ? "message mine" : "message");
      line.classList.toggle("grouped", Boolean(isGrouped));
      if (!isMine && !isGrouped) line.append(avatar(author, name));
      const who = isMine ? element("span", "for-readers", "You") : quoted(name, isGrouped ? "for-readers" : "author");
      who.title = author;
      line.append(element("p", "head", who, " ", timeElement(at)), element("p", "bubble", quoted(text)));
      if (status) line.append(this.#statusLine(message, status, isCovered));
      return line;
    });
  }

  #statusLine(message, status, isCovered) {
    const line = element("p", isCovered ? "status for-readers" : "status", status);
    line.dataset.state = message.state;
    line.title = [...message.read].map((id) => this.#room.people.name(id)).join(", ");
    if (message.state === "failed") {
      const again = () => {
        this.#room.sayAgain(message);
        this.onDone();
      };
      line.append(" ", button("link", "Send again", "", again));
    }
    return line;
  }

  #status({ state, problem, read, counts }) {
    switch (state) {
      case "sending":
        return "Sending…";
      case "waiting":
        return "Waiting for the connection…";
      case "failed":
        return `Not sent. ${problem}`;
      case "sent":
        return "Sent";
      case "delivered":
        return counts ? `Delivered to ${counts.delivered}` : "Delivered";
      case "read":
        if (counts) return `Read by ${counts.read}, delivered to ${counts.delivered}`;
        return read.size > 1 ? `Read by ${read.size}` : `Read by ${this.#room.people.name([...read][0])}`;
    }
    return "";
  }
}
