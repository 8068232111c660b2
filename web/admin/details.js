// One user or one room, in a dialog: what it is, who is there, what can be done.

import * as actions from "./actions.js";
import * as api from "./api.js";
import { button, byId, element, facts, quoted, table, tell } from "./dom.js";
import { count, plural, when, words } from "./format.js";

export class Details {
  #box = byId("details");
  #problem = byId("details-problem");
  /** Shows what is shown anew. */
  #again = () => {};
  #number = 0;

  /** `onChange()`: something was done, lists may be old. */
  constructor(onChange) {
    this.onChange = onChange;
    this.#box.querySelector("[data-close]").addEventListener("click", () => this.#box.close());
  }

  user(id) {
    return this.#show("User", id, () => api.connections(id), (answer) => this.#user(id, answer));
  }

  room(id) {
    const ask = () => Promise.all([api.room(id), api.participants(id)]);
    return this.#show("Room", id, ask, (answers) => this.#room(id, ...answers));
  }

  async #show(kind, id, ask, fill) {
    this.#again = () => this.#show(kind, id, ask, fill);
    this.#number += 1;
    const own = this.#number;
    byId("details-kind").textContent = kind;
    byId("details-title").replaceChildren(quoted(id));
    this.#problem.textContent = "";
    if (!this.#box.open) {
      this.#fill([element("p", "note", "Asking…")], []);
      this.#box.showModal();
    }
    try {
      const answer = await ask();
      if (own === this.#number) fill(answer);
    } catch (error) {
      if (own !== this.#number) return;
      this.#fill([], []);
      this.#problem.textContent = error.message;
    }
  }

  #fill(body, buttons) {
    byId("details-body").replaceChildren(...body);
    byId("details-actions").replaceChildren(...buttons);
  }

  /** After something was done: shows what is left, or nothing if there is nothing left. */
  async #after(done, isGone) {
    if (!(await done)) return;
    this.onChange();
    if (isGone) this.#box.close();
    else await this.#again();
  }

  #user(id, { connections, rooms }) {
    const columns = [{ title: "Connection" }, { title: "Since" }, { title: "More" }, { title: "" }];
    const rows = connections.map((connection) => {
      const { connection_id, since, ...more } = typeof connection === "string" ? { connection_id: connection } : connection;
      const close = () => this.#after(actions.closeConnection(id, connection_id), connections.length === 1);
      const text = Object.entries(more).filter(([, value]) => value !== null && typeof value !== "object").map(([name, value]) => `${words(name)} ${value}`);
      return [quoted(connection_id), since ? when(since) : "", quoted(text.join(", ")), button("danger-quiet", "Close…", close, `Close connection ${connection_id}`)];
    });
    const isHere = connections.length > 0;
    const parts = [element("h3", "", isHere ? plural(connections.length, "connection") : "Not connected")];
    if (isHere) parts.push(table("Connections", columns, rows), this.#composer(id));
    if (rooms?.length) parts.push(element("h3", "", "Rooms"), element("ul", "", ...rooms.map((room) => element("li", "", this.#link(room, () => this.room(room))))));
    const disconnect = () => this.#after(actions.disconnectUser(id, connections.length), true);
    this.#fill(parts, isHere ? [button("danger", "Disconnect user…", disconnect)] : []);
  }

  #room(id, room, { count: present, members }) {
    const { name, created_at, created_by, max_clients, is_private, metadata } = room;
    const hasMetadata = metadata && Object.keys(metadata).length > 0;
    const about = facts([
      ["Name", name && name !== id ? quoted(name) : null],
      ["Made", created_at && when(created_at)],
      ["By", created_by && quoted(created_by)],
      ["Takes", max_clients > 0 ? plural(max_clients, "user") : "as many as come"],
      ["Open to", is_private ? "those on its list" : "everybody"],
      ["Metadata", hasMetadata ? quoted(JSON.stringify(metadata)) : null],
    ]);
    const columns = [{ title: "User" }, { title: "Since" }, { title: "Connections", isNumber: true }, { title: "" }];
    const rows = members.map(({ user_id, connections, since }) => {
      const act = () => this.#after(actions.disconnectUser(user_id, connections));
      const disconnect = button("danger-quiet", "Disconnect…", act, `Disconnect ${user_id}`);
      return [this.#link(user_id, () => this.user(user_id)), since ? when(since) : "", count(connections), disconnect];
    });
    const title = present === 0 ? "Nobody is here" : plural(present, "member");
    const rest = present > members.length ? element("p", "note", `The first ${count(members.length)} are shown.`) : null;
    const parts = [about, element("h3", "", title), members.length > 0 ? table("Members", columns, rows) : null, rest];
    const close = () => this.#after(actions.closeRoom(id, present), true);
    this.#fill(parts.filter(Boolean), [button("danger", "Close room…", close)]);
  }

  #link(name, onClick) {
    const node = button("link", "", onClick);
    node.append(quoted(name));
    return node;
  }

  /** A line to this user alone. */
  #composer(user) {
    const field = element("input", "");
    field.id = "to-user";
    field.required = true;
    field.maxLength = 1000;
    field.dir = "auto";
    const label = element("label", "", "Announcement to this user alone");
    label.htmlFor = field.id;
    const send = element("button", "quiet", "Send");
    const form = element("form", "", label, element("div", "composer", field, send));
    form.autocomplete = "off";
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      this.#problem.textContent = "";
      try {
        const { connections } = await api.sendTo(user, field.value.trim());
        form.reset();
        tell(`Sent to ${plural(connections ?? 1, "connection")}.`);
      } catch (error) {
        this.#problem.textContent = error.message;
      }
    });
    return form;
  }
}
