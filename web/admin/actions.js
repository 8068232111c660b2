// What is done to others is asked about once, by its name and with what it will touch.

import * as api from "./api.js";
import { byId, element, quoted, tell } from "./dom.js";
import { plural } from "./format.js";

/** What a disconnect is not. */
const NOT_BARRED = "Its client is told not to come back by itself; nothing keeps it from doing so.";

/** Asks, does it if the answer is yes, and resolves to whether it was done. `lines`: what is affected. */
export function confirm({ title, lines, verb, act }) {
  const box = byId("confirm");
  const form = box.querySelector("form");
  const [yes, no, problem] = ["confirm-yes", "confirm-no", "confirm-problem"].map(byId);
  byId("confirm-title").replaceChildren(...title);
  byId("confirm-text").replaceChildren(...lines.map((line) => element("p", "", ...[line].flat())));
  yes.textContent = verb;
  yes.disabled = false;
  problem.textContent = "";
  const ended = new Promise((resolve) => {
    let isDone = false;
    form.onsubmit = async (event) => {
      event.preventDefault();
      yes.disabled = true;
      try {
        const news = await act();
        isDone = true;
        box.close();
        tell(news);
      } catch (error) {
        problem.textContent = error.message;
        yes.disabled = false;
      }
    };
    no.onclick = () => box.close();
    box.onclose = () => resolve(isDone);
  });
  box.showModal();
  return ended;
}

export function disconnectUser(user, connections) {
  const several = connections === 1 ? "Its connection is" : `Its ${plural(connections, "connection")} are`;
  return confirm({
    title: ["Disconnect ", quoted(user), "?"],
    lines: [`${several} closed, and it leaves every room it is in.`, NOT_BARRED],
    verb: "Disconnect",
    act: async () => {
      const { closed } = await api.disconnect(user);
      return `${user} was disconnected (${plural(closed ?? connections, "connection")}).`;
    },
  });
}

export function closeConnection(user, connection) {
  return confirm({
    title: ["Close one connection of ", quoted(user), "?"],
    lines: [["Connection ", quoted(connection), " is closed. The user’s other connections stay."], NOT_BARRED],
    verb: "Close connection",
    act: async () => {
      await api.disconnect(user, connection);
      return `A connection of ${user} was closed.`;
    },
  });
}

export function closeRoom(id, members) {
  return confirm({
    title: ["Close room ", quoted(id), "?"],
    lines: [
      members === 0 ? "Nobody is in it." : `${plural(members, "member")} are told and sent out; connections stay.`,
      "Nothing of it is kept, its messages included.",
    ],
    verb: "Close room",
    act: async () => {
      await api.closeRoom(id);
      return `Room ${id} was closed.`;
    },
  });
}

/** The form that speaks to everybody. `now()`: the newest totals. */
export function announceForm(now) {
  const form = byId("announce-form");
  const field = byId("announcement");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const message = field.value.trim();
    if (message === "") return field.focus();
    const { connections, users } = now();
    const reach = `${plural(connections, "connection")} of ${plural(users, "user")}`;
    const isDone = await confirm({
      title: ["Announce this?"],
      lines: [quoted(`“${message}”`), `It reaches ${reach}, in whatever rooms. It cannot be taken back.`],
      verb: "Announce",
      act: async () => {
        const reached = await api.announce(message);
        return `The announcement is out to ${plural(reached.connections, "connection")}.`;
      },
    });
    if (isDone) form.reset();
  });
}
