// Small pieces of the page. What people wrote becomes text nodes, each in its own <bdi>: it is never
// markup, and its direction is its own affair.

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const fullDate = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const dayFormat = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });

export const byId = (id) => document.getElementById(id);

export function element(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

export function button(className, text, label, onClick) {
  const node = element("button", className, text);
  node.type = "button";
  if (label) node.setAttribute("aria-label", label);
  node.addEventListener("click", onClick);
  return node;
}

/** What somebody else has written, apart from the text around it. */
export function quoted(text, className = "") {
  return element("bdi", className, text);
}

export function timeElement(at) {
  const time = element("time", "", clock.format(at));
  time.dateTime = at.toISOString();
  time.title = fullDate.format(at);
  return time;
}

export function dayName(at) {
  const days = Math.round((new Date().setHours(0, 0, 0, 0) - new Date(at).setHours(0, 0, 0, 0)) / 86_400_000);
  return { 0: "Today", 1: "Yesterday" }[days] ?? dayFormat.format(at);
}

/** A hue for an identifier, the same on every page. */
function hue(id) {
  let hash = 7;
  for (const character of id) hash = (hash * 31 + character.codePointAt(0)) % 65521;
  return (hash * 137.508) % 360; // the golden angle: neighbours come to lie far apart
}

export function avatar(id, name) {
  const isGuest = name.startsWith("guest-");
  const initials = [...name.replace(/^guest-/, "")].slice(0, isGuest ? 2 : 1);
  const node = element("span", "avatar", initials.join("").toUpperCase());
  node.style.setProperty("--hue", hue(id));
  node.setAttribute("aria-hidden", "true");
  return node;
}

/** Makes `parent`'s children these, moving only what is not in its place: what has the focus keeps it. */
export function arrange(parent, children) {
  const wanted = new Set(children);
  for (const child of [...parent.childNodes]) if (!wanted.has(child)) child.remove();
  children.forEach((child, place) => {
    if (parent.childNodes[place] !== child) parent.insertBefore(child, parent.childNodes[place] ?? null);
  });
}

/** Nodes by key, made anew only if what they show has changed. */
export class Nodes {
  #nodes = new Map();
  #used = new Set();

  /** The node for `key`, which `make` makes; `shown` is all that it depends on. */
  node(key, shown, make) {
    this.#used.add(key);
    const signature = JSON.stringify(shown);
    const known = this.#nodes.get(key);
    if (known?.signature === signature) return known.node;
    const node = make();
    this.#nodes.set(key, { signature, node });
    return node;
  }

  /** Forgets the nodes that were not asked for since the last time. */
  sweep() {
    for (const key of this.#nodes.keys()) if (!this.#used.has(key)) this.#nodes.delete(key);
    this.#used.clear();
  }

  clear() {
    this.#nodes.clear();
  }
}
