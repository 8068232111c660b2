// The chat page, put together: one connection, the rooms, and what is seen of them.

import { Composer } from "./composer.js";
import { Connection } from "./connection.js";
import { nameDialog, roomDialog } from "./dialogs.js";
import { byId } from "./dom.js";
import { explain } from "./errors.js";
import { LogView } from "./log-view.js";
import { Me } from "./memory.js";
import { moment } from "./messages.js";
import { Rooms } from "./rooms.js";
import { MembersView, RoomsView, showOwner, showTyping } from "./side-view.js";

const TITLE = "Campanile";

const me = new Me();

function socketUrl() {
  const url = new URL("/v1/connect", location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  url.hash = "";
  // Believed only by a server in trust mode.
  const user = new URLSearchParams(location.search).get("user");
  if (user) url.searchParams.set("user_id", user);
  return url.href;
}

const connection = new Connection(socketUrl(), { onState: stateChanged, onFrame: received });
const rooms = new Rooms(connection, me, { onChange: changed, onOpen: opened, onMessage: announced });
const composer = new Composer({ onSend: (text) => rooms.current.say(text), onTyping: tellTyping });
const log = new LogView(me, () => composer.focus());
const roomsView = new RoomsView((room) => {
  rooms.leave(room);
  composer.focus();
});
const membersView = new MembersView(me, (room, user) => rule("room.kick", room, { user_id: user }));

// ---- what comes ---------------------------------------------------------------------------------

function received(frame) {
  const { type, data = {} } = frame;
  if (type === "connection-status") {
    if (data.status === "established") welcome(data.user_id);
  } else if (type === "announcement") {
    rooms.current.messages.note("announcement", "", String(data.message), moment(frame.timestamp));
    changed();
  } else if (type === "error") {
    // About nothing that one has asked for; a mark that came too late is nobody's concern.
    const { ref_type, code, error: message, retry_after_ms: retryAfterMs } = data;
    if (ref_type !== "message-status") complain({ code, message, retryAfterMs });
  } else {
    rooms.receive(frame);
  }
}

function welcome(userId) {
  me.become(userId);
  stateShown("connected", {});
  rooms.connected();
  changed();
}

/** Reads a message of the room on the screen aloud, to those who have it read to them. */
function announced(room, message) {
  if (room !== rooms.current) return;
  byId("announcer").textContent = `${room.people.name(message.author, message.name)}: ${message.text}`;
}

function complain(error) {
  rooms.current.messages.note("error", "", explain(error));
  changed();
}

function rule(method, room, params) {
  rooms.rule(method, room, params).catch(complain);
}

function tellTyping(room, isTyping) {
  if (room.state !== "joined") return false;
  return connection.send({ type: "typing", room_id: room.id, data: { is_typing: isTyping } });
}

// ---- what is seen -------------------------------------------------------------------------------

let isChanged = false;

/** Something is different: the page follows, once for all that happens at a time. */
function changed() {
  if (isChanged) return;
  isChanged = true;
  queueMicrotask(() => {
    isChanged = false;
    show();
  });
}

function show() {
  const room = rooms.current;
  if (!document.hidden) room.seen();
  byId("room-name").textContent = room.name;
  byId("draft").labels[0].textContent = `Message to ${room.name}`;
  byId("me").textContent = me.name || me.id;
  byId("me-button").hidden = !me.id;
  const unread = rooms.unread;
  document.title = `${unread ? `(${unread}) ` : ""}${room.name} · ${TITLE}`;
  roomsView.show(rooms);
  membersView.show(room);
  showOwner(room, rooms.known);
  showTyping(byId("typing"), room);
  log.show(room);
}

function opened(room) {
  composer.open(room);
  showDrawer(null);
  composer.focus();
}

// ---- the connection -----------------------------------------------------------------------------

let countdownTimer = 0;

function stateChanged(now, details) {
  if (now !== "connecting") rooms.disconnected();
  stateShown(now, details);
}

function stateShown(now, { text, delay }) {
  clearInterval(countdownTimer);
  const state = byId("state");
  state.dataset.state = now;
  state.textContent = {
    connecting: "Connecting…",
    connected: "Connected",
    reconnecting: "Reconnecting",
    closed: "Disconnected",
  }[now];
  if (now === "connecting") return; // what is in the banner stays until this came out
  byId("banner").hidden = now === "connected";
  byId("banner-text").textContent = text ?? "";
  byId("countdown").textContent = "";
  if (now === "reconnecting") countDown(Date.now() + delay);
}

function countDown(until) {
  const tick = () => {
    const seconds = Math.max(0, Math.ceil((until - Date.now()) / 1000));
    byId("countdown").textContent = `Trying again in ${seconds} s.`;
  };
  tick();
  countdownTimer = setInterval(tick, 500);
}

byId("reconnect").addEventListener("click", () => {
  connection.reconnect();
  composer.focus();
});

// ---- rooms and members as drawers, where it is narrow ---------------------------------------------

const drawers = ["rooms", "members"];

/** Opens one of them, or none. */
function showDrawer(open) {
  for (const name of drawers) {
    byId(`${name}-toggle`).setAttribute("aria-expanded", String(name === open));
    byId(name).classList.toggle("open", name === open);
  }
}

const openDrawer = () => drawers.find((name) => byId(name).classList.contains("open")) ?? null;

for (const name of drawers) {
  byId(`${name}-toggle`).addEventListener("click", () => showDrawer(openDrawer() === name ? null : name));
}
addEventListener("keydown", (event) => {
  const open = openDrawer();
  if (event.key !== "Escape" || !open || document.querySelector("dialog[open]")) return;
  showDrawer(null);
  byId(`${open}-toggle`).focus();
});

// ---- the rest -----------------------------------------------------------------------------------

nameDialog(me, () => {
  rooms.renamed();
  changed();
});
roomDialog((wishes) => rooms.create(wishes));
byId("invite").addEventListener("submit", (event) => {
  event.preventDefault();
  rule("room.add_member", rooms.current, { user_id: byId("invitee").value });
});
byId("close-room").addEventListener("click", () => {
  const room = rooms.current;
  if (confirm(`Close ${room.name} for everybody? Its messages are gone then.`)) rule("room.close", room);
  composer.focus();
});
document.addEventListener("visibilitychange", () => document.hidden || changed());

rooms.start();
connection.reconnect();
