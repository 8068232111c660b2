// Light, dark, or as the system is.

import { byId } from "./dom.js";

const KEY = "campanile-theme";
const NAMES = { auto: "Auto", light: "Light", dark: "Dark" };
const ORDER = Object.keys(NAMES);
const dark = matchMedia("(prefers-color-scheme: dark)");

/** Calls `onChange` whenever colours change. */
export function themeSwitch(onChange) {
  let chosen = localStorage.getItem(KEY);
  if (!ORDER.includes(chosen)) chosen = "auto";
  const apply = () => {
    if (chosen === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = chosen;
    byId("theme-name").textContent = NAMES[chosen];
    onChange();
  };
  byId("theme").addEventListener("click", () => {
    chosen = ORDER[(ORDER.indexOf(chosen) + 1) % ORDER.length];
    localStorage.setItem(KEY, chosen);
    apply();
  });
  dark.addEventListener("change", apply);
  apply();
}

/** Colours of the style sheet by the names of their properties, as a canvas wants them. */
export function colours(names) {
  const probe = document.body.appendChild(document.createElement("span"));
  const resolve = (name) => {
    probe.style.color = `var(--${name})`;
    return [name, getComputedStyle(probe).color];
  };
  const found = Object.fromEntries(names.map(resolve));
  probe.remove();
  return found;
}
