// The two small forms: what one is called, and a new room.

import { byId } from "./dom.js";
import { explain } from "./errors.js";

/** Opens a dialog by a button, and runs `submit(form)` when it is filled in. What that rejects with is
 *  shown in it, and it stays. Escape and "Cancel" close it; the focus goes back by itself. */
function dialog(name, opener, { fill = () => {}, submit }) {
  const box = byId(name);
  const form = box.querySelector("form");
  const problem = box.querySelector(".problem");
  opener.addEventListener("click", () => {
    problem.textContent = "";
    fill(form);
    box.showModal();
  });
  box.querySelector("[data-cancel]").addEventListener("click", () => box.close());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await submit(form.elements);
      box.close();
    } catch (error) {
      problem.textContent = explain(error);
    }
  });
}

export function nameDialog(me, onNamed) {
  dialog("name-dialog", byId("me-button"), {
    fill: (form) => (form.elements.name.value = me.name),
    submit: ({ name }) => {
      me.name = name.value;
      onNamed();
    },
  });
}

export function roomDialog(create) {
  dialog("room-dialog", byId("new-room"), {
    fill: (form) => form.reset(),
    submit: async ({ name, capacity, isPrivate }) =>
      create({ name: name.value.trim(), capacity: Number(capacity.value) || 0, isPrivate: isPrivate.checked }),
  });
}
