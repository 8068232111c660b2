// Puts the page together: what comes over the WebSocket goes to plots and tables, what people do to the API.

import { announceForm } from "./actions.js";
import { Plots } from "./charts.js";
import { Details } from "./details.js";
import { byId, setText } from "./dom.js";
import { duration } from "./format.js";
import { History } from "./history.js";
import { Live } from "./live.js";
import { searchForm } from "./search.js";
import { Tables } from "./tables.js";
import { themeSwitch } from "./theme.js";
import { Login, token } from "./token.js";

const STATES = {
  connecting: "Connecting…",
  live: "Live",
  stale: "No news",
  lost: "Disconnected",
  locked: "Signed out",
};

const history = new History();
const plots = new Plots();
const tables = new Tables();
const login = new Login(() => live.connect());
const live = new Live({ onState: showState, onSnapshot });
let seconds = 300;
/** The samples that are shown while it is paused. */
let paused = null;
let countdown = 0;

function onSnapshot(snapshot, isFirst) {
  history.add(snapshot, isFirst);
  login.hide();
  byId("board").hidden = false;
  byId("sign-out").hidden = !live.needsToken;
  tables.show(snapshot, history.newest);
  if (!paused) draw();
}

function draw() {
  const samples = paused ?? history.samples;
  const newest = samples.at(-1)?.time ?? 0;
  plots.draw(samples.filter(({ time }) => time >= newest - seconds), seconds);
}

function showState(state, { text = "", delay, silence }) {
  const node = byId("state");
  node.dataset.state = state;
  setText(node, STATES[state]);
  byId("board").dataset.fresh = String(state === "live");
  if (state === "locked") {
    byId("board").hidden = true;
    byId("sign-out").hidden = true;
    for (const open of document.querySelectorAll("dialog[open]")) open.close();
    login.show(text);
  }
  clearInterval(countdown);
  const isTrouble = state === "lost" || state === "stale";
  const wasTrouble = byId("banner-text").textContent !== "";
  byId("banner").hidden = !isTrouble && !(state === "connecting" && wasTrouble);
  if (state === "lost") {
    setText(byId("banner-text"), text);
    const until = Date.now() + delay;
    const tick = () => {
      const left = Math.max(1, Math.ceil((until - Date.now()) / 1000));
      setText(byId("countdown"), `Next try in ${left} s.`);
    };
    tick();
    countdown = setInterval(tick, 500);
  } else if (state === "stale") {
    setText(byId("banner-text"), "No news of the server. These numbers are old.");
    setText(byId("countdown"), `${duration(silence / 1000)} ago.`);
  } else {
    setText(byId("countdown"), "");
    if (state !== "connecting") setText(byId("banner-text"), "");
  }
}

const details = new Details(() => search.again());
const search = searchForm(details);
announceForm(() => history.newest.totals);
plots.onChange = draw;

byId("span").addEventListener("change", (event) => {
  seconds = Number(event.target.value);
  draw();
});
byId("pause").addEventListener("click", () => {
  paused = paused ? null : [...history.samples];
  byId("pause").setAttribute("aria-pressed", String(paused !== null));
  draw();
});
byId("reconnect").addEventListener("click", () => live.connect());
byId("sign-out").addEventListener("click", () => {
  token.value = null;
  live.close();
  showState("locked", {});
});
themeSwitch(() => {
  plots.restyle();
  draw();
});
live.connect();
