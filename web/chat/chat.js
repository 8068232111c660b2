// The chat page: frames of the `flat` profile in, DOM out. What people wrote reaches the page only
// as text nodes.

import { Connection } from "./connection.js";

/** Lines kept in the log; older ones go as new ones come. */
const LINES_MAX = 500;
/** Less than this below the last line shown counts as being at the end. */
const AT_END_PX = 80;
/** Members listed by name; of a larger room the rest is a number. */
const MEMBERS_LISTED_MAX = 200;
/** Messages of one person within this time stand under one name. */
const GROUP_MS = 5 * 60_000;
/** "typing" is sent at most so often, taken back after a pause of so long, and believed so long. */
const TYPING_EVERY_MS = 1000;
const TYPING_PAUSE_MS = 3000;
const TYPING_EXPIRES_MS = 6000;
const TITLE = document.title;

const byId = (id) => document.getElementById(id);
const [state, me, log, draft, sendButton, typingLine, banner, toEnd] = [
  "state", "me", "log", "draft", "send", "typing", "banner", "to-end",
].map(byId);

let myId = "";

// ---- the log ------------------------------------------------------------------------------------

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const fullDate = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
/** Who wrote the last line and when, if a further message may stand under the same name. */
let last = { author: null, at: 0 };
let unread = 0;
/** Whether the reader is at the end, and is to stay there when lines come or the window shrinks. */
let following = true;

function element(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

function timeElement(at) {
  const time = element("time", "", clock.format(at));
  time.dateTime = at.toISOString();
  time.title = fullDate.format(at);
  return time;
}

/** A frame's timestamp; now, if it has none that can be read. */
function moment(timestamp) {
  const at = new Date(timestamp ?? Date.now());
  return Number.isNaN(at.getTime()) ? new Date() : at;
}

function scrollToEnd() {
  log.scrollTop = log.scrollHeight;
  following = true;
  toEnd.hidden = true;
}

function append(line) {
  log.append(line);
  while (log.childElementCount > LINES_MAX) log.firstElementChild.remove();
  if (following) scrollToEnd();
  else toEnd.hidden = false;
}

function showMessage(author, content, at) {
  const mine = author === myId;
  const grouped = last.author === author && at - last.at < GROUP_MS;
  last = { author, at };
  const line = element("li", mine ? "message mine" : "message");
  line.classList.toggle("grouped", grouped);
  if (!mine && !grouped) line.append(avatar(author));
  const name = element("span", grouped || mine ? "for-readers" : "author", mine ? "You" : author);
  const head = element("p", "head", name, " ", timeElement(at));
  line.append(head, element("p", "bubble", content));
  following ||= mine;
  append(line);
  if (document.hidden) {
    unread += 1;
    document.title = `(${unread}) ${TITLE}`;
  }
}

/** A line that nobody wrote: joins and leaves, announcements, errors. */
function showNote(kind, text, at = new Date()) {
  last = { author: null, at: 0 };
  append(element("li", `notice ${kind}`, element("p", "", text, " ", timeElement(at))));
}

// ---- people -------------------------------------------------------------------------------------

const members = new Map();
/** How many are there: more than `members` knows of in a room that is too large for names. */
let memberCount = 0;

/** A hue for a name, the same on every page. */
function hue(name) {
  let hash = 7;
  for (const character of name) hash = (hash * 31 + character.codePointAt(0)) % 65521;
  return (hash * 137.508) % 360; // the golden angle: neighbours come to lie far apart
}

function avatar(name) {
  const initials = [...name.replace(/^guest-/, "")].slice(0, name.startsWith("guest-") ? 2 : 1);
  const node = element("span", "avatar", initials.join("").toUpperCase());
  node.style.setProperty("--hue", hue(name));
  node.setAttribute("aria-hidden", "true");
  return node;
}

function memberItem(user) {
  const name = element("span", "name", user.user_id);
  name.title = user.user_id;
  const item = element("li", "", avatar(user.user_id), name);
  if (user.user_id === myId) item.append(" ", element("span", "tag", "you"));
  return item;
}

function showMembers() {
  const listed = [...members.values()]
    .sort((a, b) => (b.user_id === myId) - (a.user_id === myId) || a.user_id.localeCompare(b.user_id))
    .slice(0, MEMBERS_LISTED_MAX);
  byId("member-list").replaceChildren(...listed.map(memberItem));
  for (const count of document.querySelectorAll("[data-count]")) count.textContent = memberCount;
  const more = memberCount - listed.length;
  const note = byId("member-note");
  note.hidden = more <= 0;
  note.textContent = listed.length === 0 ? `${more} people` : `and ${more} more`;
}

function presence(frame) {
  const id = frame.user_id ?? frame.user?.user_id;
  switch (frame.action) {
    case "snapshot":
      members.clear();
      for (const user of frame.users ?? []) members.set(user.user_id, user);
      break;
    case "join":
      if (id !== myId && !members.has(id)) showNote("join", `${id} joined`, moment(frame.timestamp));
      members.set(id, frame.user ?? { user_id: id });
      break;
    case "leave":
      if (id !== myId && members.has(id)) showNote("leave", `${id} left`, moment(frame.timestamp));
      members.delete(id);
      setTyping(id, false);
      break;
    case "count":
      members.clear();
      break;
  }
  memberCount = frame.count ?? members.size;
  showMembers();
}

// ---- typing -------------------------------------------------------------------------------------

/** Who is typing, each with the timer after which it is no longer believed. */
const typists = new Map();
let typingShown = false;
let typingSentAt = 0;
let typingPause = 0;

function setTyping(id, isTyping) {
  clearTimeout(typists.get(id));
  typists.delete(id);
  if (isTyping && id !== myId) {
    typists.set(id, setTimeout(() => setTyping(id, false), TYPING_EXPIRES_MS));
  }
  const names = [...typists.keys()];
  typingLine.textContent = {
    0: "",
    1: `${names[0]} is typing`,
    2: `${names[0]} and ${names[1]} are typing`,
  }[names.length] ?? `${names.length} people are typing`;
}

function typed() {
  clearTimeout(typingPause);
  if (draft.value.trim() === "") return stopTyping();
  typingPause = setTimeout(stopTyping, TYPING_PAUSE_MS);
  if (Date.now() - typingSentAt < TYPING_EVERY_MS) return;
  typingShown = connection.send({ type: "typing", is_typing: true });
  typingSentAt = Date.now();
}

function stopTyping() {
  clearTimeout(typingPause);
  if (typingShown) connection.send({ type: "typing", is_typing: false });
  typingShown = false;
}

// ---- the connection -----------------------------------------------------------------------------

/** Marks what this page sent, should the server echo it: it is on the page already. */
const pageId = Math.random().toString(36).slice(2);
let sentCount = 0;

function received(frame) {
  const at = moment(frame.timestamp);
  switch (frame.type) {
    case "connection-status":
      if (frame.status === "established") welcome(frame.user_id);
      break;
    case "presence":
      presence(frame);
      break;
    case "chat":
      if (String(frame.client_message_id).startsWith(`${pageId}.`)) break;
      setTyping(frame.user_id, false);
      showMessage(frame.user_id, String(frame.content), at);
      break;
    case "typing":
      setTyping(frame.user_id, frame.is_typing);
      break;
    case "announcement":
      showNote("announcement", String(frame.message), at);
      break;
    case "error":
      showNote("error", `The server did not take that: ${frame.error}`, at);
      break;
  }
}

function welcome(userId) {
  if (myId) showNote("again", "Connected again. What was said meanwhile is not shown here.");
  myId = userId;
  me.textContent = userId;
  me.title = userId;
  me.parentElement.hidden = false;
}

let countdownTimer = 0;

function stateChanged(now, { text, delay }) {
  clearInterval(countdownTimer);
  state.dataset.state = now;
  state.textContent = {
    connecting: "Connecting…",
    connected: "Connected",
    reconnecting: "Reconnecting",
    closed: "Disconnected",
  }[now];
  sendButton.disabled = now !== "connected";
  if (now === "connecting") return; // what is in the banner stays until this came out
  banner.hidden = now === "connected";
  byId("banner-text").textContent = text ?? "";
  byId("countdown").textContent = "";
  if (now === "reconnecting") countDown(Date.now() + delay);
  if (now !== "connected") [...typists.keys()].forEach((id) => setTyping(id, false));
}

function countDown(until) {
  const show = () => {
    const seconds = Math.max(0, Math.ceil((until - Date.now()) / 1000));
    byId("countdown").textContent = `Trying again in ${seconds} s.`;
  };
  show();
  countdownTimer = setInterval(show, 500);
}

function socketUrl() {
  const url = new URL("/ws", location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  // Believed only by a server in trust mode.
  const user = new URLSearchParams(location.search).get("user");
  if (user) url.searchParams.set("user_id", user);
  return url.href;
}

const connection = new Connection(socketUrl(), { onState: stateChanged, onFrame: received });

// ---- hands on keys ------------------------------------------------------------------------------

/** Grows the field with its text; the style sheet says how far. */
function fitDraft() {
  draft.style.height = "auto";
  draft.style.height = `${draft.scrollHeight + 2}px`;
}

function sendDraft() {
  const content = draft.value.trim();
  if (content === "") return;
  sentCount += 1;
  const client_message_id = `${pageId}.${sentCount}`;
  if (!connection.send({ type: "chat", content, client_message_id })) return; // the draft stays
  showMessage(myId, content, new Date());
  draft.value = "";
  fitDraft();
  stopTyping();
}

byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  sendDraft();
  draft.focus();
});
draft.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  sendDraft();
});
draft.addEventListener("input", () => {
  fitDraft();
  typed();
});
draft.addEventListener("blur", stopTyping);

byId("reconnect").addEventListener("click", () => {
  connection.reconnect();
  draft.focus();
});

toEnd.addEventListener("click", () => {
  scrollToEnd();
  draft.focus();
});
log.addEventListener("scroll", () => {
  following = log.scrollHeight - log.scrollTop - log.clientHeight < AT_END_PX;
  if (following) toEnd.hidden = true;
});
new ResizeObserver(() => following && scrollToEnd()).observe(log);

const toggle = byId("members-toggle");
function showDrawer(open) {
  toggle.setAttribute("aria-expanded", open);
  byId("members").classList.toggle("open", open);
}
toggle.addEventListener("click", () => showDrawer(toggle.getAttribute("aria-expanded") !== "true"));
addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || toggle.getAttribute("aria-expanded") !== "true") return;
  showDrawer(false);
  toggle.focus();
});

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  unread = 0;
  document.title = TITLE;
});

connection.reconnect();
