// Users and rooms by how their identifiers begin.

import * as api from "./api.js";
import { button, byId, element, quoted, setText } from "./dom.js";
import { plural } from "./format.js";

/** Time without a key after which a search begins. */
const PATIENCE_MS = 200;
const HINT = "Type how its name begins.";

const isTyping = (node) => node.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(node.tagName);

/** `details`: shows one of what was found. */
export function searchForm(details) {
  const field = byId("search");
  let timer = 0;
  /** Ends the search that is under way. What it finds then is not shown. */
  let last = new AbortController();

  const search = async () => {
    clearTimeout(timer);
    last.abort();
    last = new AbortController();
    const { signal } = last;
    const prefix = field.value.trim();
    if (prefix === "") return show(HINT, []);
    try {
      const [users, rooms] = await Promise.all([api.users(prefix, signal), api.rooms(prefix)]);
      if (!signal.aborted) showFound(users, rooms, details);
    } catch (error) {
      if (!signal.aborted) show(error.message, []);
    }
  };

  const go = () => {
    field.focus();
    field.select();
  };

  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, PATIENCE_MS);
  });
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && field.value !== "") {
      event.preventDefault();
      field.value = "";
      search();
    } else if (event.key === "ArrowDown") {
      event.preventDefault();
      byId("results").querySelector("button")?.focus();
    }
  });
  byId("search-form").addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  byId("results").addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const entries = [...byId("results").querySelectorAll("button")];
    const next = entries.indexOf(document.activeElement) + step;
    (next < 0 ? field : entries[Math.min(next, entries.length - 1)]).focus();
  });
  document.addEventListener("keydown", (event) => {
    const isPlain = event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey;
    const isElsewhere = document.querySelector("dialog[open]") || byId("board").hidden;
    if (!isPlain || isElsewhere || isTyping(event.target)) return;
    event.preventDefault();
    go();
  });
  byId("to-search").addEventListener("click", go);
  return { again: () => field.value.trim() && search() };
}

function showFound({ users, hasMore }, { rooms, hasMore: hasMoreRooms }, details) {
  const ofUser = ({ user_id, connections }) =>
    entry(user_id, plural(connections, "connection"), () => details.user(user_id));
  const ofRoom = ({ id, members }) => entry(id, plural(members, "member"), () => details.room(id));
  const amount = users.length + rooms.length;
  const more = hasMore || hasMoreRooms ? ", and there may be more" : "";
  show(amount === 0 ? `Nobody and no room is called that${more}.` : `${amount} found${more}.`, [
    ["Users", users.map(ofUser)],
    ["Rooms", rooms.map(ofRoom)],
  ]);
}

function entry(name, more, onClick) {
  const node = button("", "", onClick);
  node.append(quoted(name), element("span", "more", more));
  return element("li", "", node);
}

function show(text, groups) {
  setText(byId("search-note"), text);
  const shown = groups.filter(([, entries]) => entries.length > 0);
  const nodes = shown.flatMap(([title, entries]) => [element("h3", "", title), element("ul", "", ...entries)]);
  byId("results").replaceChildren(...nodes);
}
