// The field that one writes in: a draft for each room, and who is told that one is typing.

import { byId } from "./dom.js";

/** "typing" is sent at most so often, and taken back after a pause of so long. */
const TYPING_EVERY_MS = 1000;
const TYPING_PAUSE_MS = 3000;

export class Composer {
  #field = byId("draft");
  #drafts = new Map();
  #room = null;
  #isTyping = false;
  #sentAt = 0;
  #pause = 0;

  /** `onSend(text)`, `onTyping(room, isTyping)`: gives whether it could be told. */
  constructor({ onSend, onTyping }) {
    this.onSend = onSend;
    this.onTyping = onTyping;
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
      this.focus();
    });
    this.#field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#send();
    });
    this.#field.addEventListener("input", () => {
      this.#fit();
      this.#typed();
    });
    this.#field.addEventListener("blur", () => this.#stopTyping());
  }

  focus() {
    this.#field.focus();
  }

  /** Goes on with the draft of another room. */
  open(room) {
    if (this.#room) {
      this.#stopTyping();
      this.#drafts.set(this.#room.id, this.#field.value);
    }
    this.#room = room;
    this.#field.value = this.#drafts.get(room.id) ?? "";
    this.#fit();
  }

  #send() {
    const text = this.#field.value.trim();
    if (text === "") return;
    this.#field.value = "";
    this.#fit();
    this.#stopTyping();
    this.onSend(text);
  }

  /** Grows the field with its text; the style sheet says how far. */
  #fit() {
    this.#field.style.height = "auto";
    this.#field.style.height = `${this.#field.scrollHeight + 2}px`;
  }

  #typed() {
    clearTimeout(this.#pause);
    if (this.#field.value.trim() === "") return this.#stopTyping();
    this.#pause = setTimeout(() => this.#stopTyping(), TYPING_PAUSE_MS);
    if (Date.now() - this.#sentAt < TYPING_EVERY_MS) return;
    this.#isTyping = this.onTyping(this.#room, true);
    this.#sentAt = Date.now();
  }

  #stopTyping() {
    clearTimeout(this.#pause);
    if (this.#isTyping) this.onTyping(this.#room, false);
    this.#isTyping = false;
  }
}
