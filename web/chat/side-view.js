// What stands beside the messages: the rooms on one side, the people on the other.

import { arrange, avatar, button, byId, element, Nodes, quoted } from "./dom.js";
import { linkTo, LOBBY } from "./rooms.js";

/** Members listed by name; of a larger room the rest is a number. */
const LISTED_MAX = 200;
/** People listed who have written and are gone. */
const AWAY_MAX = 20;

export class RoomsView {
  #nodes = new Nodes();

  /** `onLeave(room)` */
  constructor(onLeave) {
    this.onLeave = onLeave;
  }

  show(rooms) {
    arrange(byId("room-list"), rooms.joined.map((room) => this.#joined(room, room === rooms.current)));
    const others = rooms.others.map((meta) => this.#other(meta));
    arrange(byId("other-list"), others);
    byId("others").hidden = others.length === 0;
    this.#nodes.sweep();
    const total = rooms.unread;
    const badge = byId("unread-total");
    badge.hidden = total === 0;
    badge.textContent = total;
  }

  #joined(room, isCurrent) {
    const { id, name, unread, state, meta } = room;
    return this.#nodes.node(`in ${id}`, [name, unread, isCurrent, state === "out", meta.is_private], () => {
      const link = this.#link(id, name, meta.is_private);
      if (isCurrent) link.setAttribute("aria-current", "page");
      if (unread) link.append(" ", badge(unread));
      const item = element("li", state === "out" ? "out" : "", link);
      if (id !== LOBBY) {
        item.append(button("icon", "×", `Leave ${name}`, () => this.onLeave(room)));
      }
      return item;
    });
  }

  #other({ id, name, members, is_private, max_clients }) {
    return this.#nodes.node(`other ${id}`, [name, members, is_private, max_clients], () => {
      const link = this.#link(id, name, is_private);
      const count = max_clients ? `${members} / ${max_clients}` : members;
      link.append(" ", element("span", "count", count, element("span", "for-readers", " here")));
      return element("li", "", link);
    });
  }

  #link(id, name, isPrivate) {
    const link = element("a", "", quoted(name, "name"));
    link.href = linkTo(id);
    link.title = name;
    if (isPrivate) link.prepend(element("span", "lock", "🔒", element("span", "for-readers", "private ")));
    return link;
  }
}

function badge(count) {
  return element("span", "badge", count > 99 ? "99+" : count, element("span", "for-readers", " unread"));
}

export class MembersView {
  #nodes = new Nodes();
  #me;

  /** `onRemove(room, user)` */
  constructor(me, onRemove) {
    this.#me = me;
    this.onRemove = onRemove;
  }

  show(room) {
    const { people } = room;
    const byName = (a, b) =>
      (b === this.#me.id) - (a === this.#me.id) || people.name(a).localeCompare(people.name(b));
    const here = people.here.sort(byName).slice(0, LISTED_MAX);
    arrange(byId("member-list"), here.map((id) => this.#member(room, id, true)));
    const authors = new Set(room.messages.all.map(({ author }) => author));
    const isAway = (id) => id && !people.isHere(id) && !this.#me.is(id);
    const away = people.count > here.length ? [] : [...authors].filter(isAway).slice(-AWAY_MAX);
    arrange(byId("away-list"), away.map((id) => this.#member(room, id, false)));
    byId("away").hidden = away.length === 0;
    this.#nodes.sweep();
    for (const count of document.querySelectorAll("[data-count]")) count.textContent = people.count;
    const more = people.count - here.length;
    const note = byId("member-note");
    note.hidden = more <= 0;
    note.textContent = here.length === 0 ? `${more} people` : `and ${more} more`;
  }

  #member(room, id, isHere) {
    const name = room.people.name(id);
    const canRemove = isHere && room.isMine && id !== this.#me.id;
    return this.#nodes.node(`${room.id} ${id}`, [name, isHere, canRemove, id === this.#me.id], () => {
      const shown = quoted(name, "name");
      shown.title = id;
      const item = element("li", isHere ? "here" : "gone", avatar(id, name), shown);
      if (id === this.#me.id) item.append(" ", element("span", "tag", "you"));
      if (canRemove) item.append(button("icon", "×", `Remove ${name}`, () => this.onRemove(room, id)));
      return item;
    });
  }
}

/** What the owner of a room can do, to the owner. `known` are people of all rooms: [identifier, name]. */
export function showOwner(room, known) {
  byId("owner").hidden = !room.isMine;
  const invitees = known.filter(([id]) => !room.people.isHere(id));
  byId("invite").hidden = !room.meta.is_private || invitees.length === 0;
  const options = invitees.map(([id, name]) => Object.assign(element("option", "", name), { value: id }));
  const shown = JSON.stringify(invitees);
  const list = byId("invitee");
  if (list.dataset.shown !== shown) list.replaceChildren(...options);
  list.dataset.shown = shown;
}

/** Who is typing in a room. */
export function showTyping(line, { people }) {
  const names = people.typing.map((id) => quoted(people.name(id)));
  const text = {
    0: [],
    1: [names[0], " is typing"],
    2: [names[0], " and ", names[1], " are typing"],
  }[names.length] ?? [`${names.length} people are typing`];
  const wanted = text.map((part) => part.textContent ?? part).join("");
  if (line.textContent !== wanted) line.replaceChildren(...text);
}
