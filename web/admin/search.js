// Users and rooms by how their identifiers begin.

import * as api from "./api.js";
import { button, byId, element, quoted, setText } from "./dom.js";
import { plural } from "./format.js";

/** Time without a key after which a search begins. */
const PATIENCE_MS = 200;
const HINT = "Type how an identifier begins.";

const isTyping = (node) => node.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(node.tagName);

/** `details`: shows one of what was found. */
export function searchForm(details) {
  const field = byId("search");
  let timer = 0;
  /** Answers of a search that is not the last one are not shown. */
  let number = 0;

  const search = async () => {
    clearTimeout(timer);
    number += 1;
    const [own, prefix] = [number, field.value.trim()];
    if (prefix === "") return show(HINT, []);
    const found = await Promise.allSettled([api.users(prefix), api.rooms(prefix)]);
    if (own !== number) return;
    const failed = found.find(({ status }) => status === "rejected");
    if (failed) return show(failed.reason.message, []);
    const [users, rooms] = found.map(({ value }) => value);
    const userEntries = users.users.map(({ user_id, connections }) => entry(user_id, plural(connections, "connection"), () => details.user(user_id)));
    const roomEntries = rooms.rooms.map(({ id, members }) => entry(id, plural(members ?? 0, "member"), () => details.room(id)));
    const amount = userEntries.length + roomEntries.length;
    const hasMore = users.next_cursor || rooms.next_cursor;
    const text = amount === 0 ? "Nobody and no room is called that." : `${amount} found${hasMore ? ", and there are more" : ""}.`;
    show(text, [["Users", userEntries], ["Rooms", roomEntries]]);
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
    if (!isPlain || isTyping(event.target) || document.querySelector("dialog[open]") || byId("board").hidden) return;
    event.preventDefault();
    field.focus();
    field.select();
  });
  return { again: () => field.value.trim() && search() };
}

function entry(name, more, onClick) {
  const node = button("", "", onClick);
  node.append(quoted(name), element("span", "more", more));
  return element("li", "", node);
}

function show(text, groups) {
  setText(byId("search-note"), text);
  const shown = groups.filter(([, entries]) => entries.length > 0);
  byId("results").replaceChildren(...shown.flatMap(([title, entries]) => [element("h3", "", title), element("ul", "", ...entries)]));
}
