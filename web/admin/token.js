// The token of the one who looks after the server. This tab's memory has it, and nothing else: no
// address, no cookie, no storage that outlives the tab.

import { byId } from "./dom.js";

const KEY = "campanile-admin-token";

export const token = {
  get value() {
    return sessionStorage.getItem(KEY);
  },
  set value(text) {
    if (text) sessionStorage.setItem(KEY, text);
    else sessionStorage.removeItem(KEY);
  },
};

/** The form that asks for it. */
export class Login {
  #form = byId("login-form");
  #problem = byId("login-problem");

  /** `onToken()`: there is one to try. */
  constructor(onToken) {
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      token.value = this.#form.elements.token.value;
      this.#problem.textContent = "";
      onToken();
    });
  }

  show(problem = "") {
    const field = this.#form.elements.token;
    byId("login").hidden = false;
    this.#problem.textContent = problem;
    field.setAttribute("aria-invalid", String(problem !== ""));
    field.focus();
    field.select();
  }

  hide() {
    byId("login").hidden = true;
    this.#form.reset();
  }
}
