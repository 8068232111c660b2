// One user or one room, in a dialog: what it is, who is there, what can be done.

import * as actions from "./actions.js";
import * as api from "./api.js";
import { button, byId, element, facts, quoted, table, tell } from "./dom.js";
import { age, bytes, count, plural, when } from "./format.js";

/** Rooms that are named of each connection. */
const ROOMS_SHOWN = 8;

function ago(stamp) {
  const time = element("time", "", age(stamp));
  time.dateTime = stamp;
  time.title = when(stamp);
  return time;
}

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

  #user(id, { connections }) {
    const columns = ["Connection", "From", "Profile", "Rooms"].map((title) => ({ title }));
    columns.push({ title: "Waiting", isNumber: true }, { title: "" });
    const rows = connections.map(({ connection_id, remote_address, profile, rooms, buffered_bytes }) => {
      const act = () => this.#after(actions.closeConnection(id, connection_id), connections.length === 1);
      const close = button("danger-quiet", "Close…", act, `Close connection ${connection_id}`);
      const name = element("code", "", connection_id);
      return [name, quoted(remote_address), profile, this.#rooms(rooms), bytes(buffered_bytes), close];
    });
    const title = connections.length > 0 ? plural(connections.length, "connection") : "Not connected";
    const roles = [...new Set(connections.flatMap((connection) => connection.roles))].join(", ");
    const about = facts([["Roles", roles && quoted(roles)]]);
    if (connections.length === 0) return this.#fill([about, element("h3", "", title)], []);
    const disconnect = () => this.#after(actions.disconnectUser(id, connections.length), true);
    this.#fill(
      [about, element("h3", "", title), table("Connections", columns, rows), this.#composer(id)],
      [button("danger", "Disconnect user…", disconnect)],
    );
  }

  /** The first few rooms of a connection, each a way to it. */
  #rooms(rooms) {
    const cell = element("span", "links");
    for (const room of rooms.slice(0, ROOMS_SHOWN)) cell.append(this.#link(room, () => this.room(room)), " ");
    if (rooms.length > ROOMS_SHOWN) cell.append(`and ${count(rooms.length - ROOMS_SHOWN)} more`);
    return cell;
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
    const columns = [{ title: "User" }, { title: "Here for" }, { title: "Connections", isNumber: true }, { title: "" }];
    const rows = members.map(({ user_id, connections, since }) => {
      const act = () => this.#after(actions.disconnectUser(user_id, connections));
      const disconnect = button("danger-quiet", "Disconnect…", act, `Disconnect ${user_id}`);
      return [this.#link(user_id, () => this.user(user_id)), ago(since), count(connections), disconnect];
    });
    const title = present === 0 ? "Nobody is here" : plural(present, "member");
    const parts = [about, element("h3", "", title)];
    if (members.length > 0) parts.push(table("Members", columns, rows));
    if (present > members.length) parts.push(element("p", "note", `The first ${count(members.length)} are shown.`));
    const close = () => this.#after(actions.closeRoom(id, present), true);
    this.#fill(parts, [button("danger", "Close room…", close)]);
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
        tell(`Sent to ${plural(connections, "connection")}.`);
      } catch (error) {
        this.#problem.textContent = error.message;
      }
    });
    return form;
  }
}
