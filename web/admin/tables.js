// What stands beside the plots: the numbers of now, and tables of what is counted.

import { byId, element, setText, table } from "./dom.js";
import { bytes, count, duration, microseconds, plural, rate, size, title } from "./format.js";

/** Tiles: title, value with unit, and a line below. */
const TILES = [
  ["Connections", ({ connections }) => [count(connections)], ({ pending }) => `${count(pending)} coming or going`],
  ["Users", ({ users }) => [count(users)], perUser],
  ["Rooms", ({ rooms }) => [count(rooms)], ({ members }) => plural(members, "membership")],
  ["Received", ({ rates }) => [rate(rates.messages_in), "/s"], ({ rates }) => `${bytes(rates.bytes_in)}/s`],
  ["Sent", ({ rates }) => [rate(rates.sent), "/s"], sentMore],
  ["Memory", (_, { rss }) => Object.values(size(rss)), memoryLeft],
];
/** What being short of memory means. */
const PRESSURES = { soft: "short: reading is held back", hard: "short: nobody is let in" };

function memoryLeft(_, { pressure, limit }) {
  return PRESSURES[pressure] ?? `of ${bytes(limit)}`;
}

function perUser({ users, connections }) {
  return users > 0 ? `${(connections / users).toFixed(1)} per user` : "nobody is here";
}

function sentMore({ rates }) {
  return "bytes_out" in rates ? `${bytes(rates.bytes_out)}/s` : `${rate(rates.published)}/s published`;
}

/** Counters that say that somebody was refused, held back or sent away: name, and what it means. */
const CORE_REFUSALS = {
  refused: "Handshakes refused",
  refused_memory: "Handshakes refused for want of memory",
  violations: "Closed: broke the protocol or a limit of it",
  timed_out: "Closed: nothing heard of them",
  too_slow: "Closed: took nothing",
  evicted: "Closed in favour of a newer connection",
  dropped_backpressure: "Messages dropped: too much was waiting",
  lagged: "Subscribers who missed messages",
  read_pauses: "Reading paused: too much was waiting",
  pressed: "Reading paused for want of memory",
  service_busy: "HTTP requests refused: too many",
  accept_pauses: "Accepting paused",
  slow_turns: "Slow turns",
};
const REALTIME_REFUSALS = {
  refused: "Messages refused, for whatever reason",
  rate_limited: "… sent too fast",
  content_refused: "… not let through by the content rules",
  too_many_rooms: "… in too many rooms",
  room_full: "… the room was full",
  forbidden: "… not allowed",
  unavailable: "… store or shard could not take it",
  rate_closed: "Closed: went on sending too fast",
  handler_errors: "Handlers that failed",
  handler_panics: "Handlers that panicked",
};

const SECURITY_EVENTS = {
  refused: "Security: not let in",
  forbidden: "Security: asked for what they may not",
  limit: "Security: held off by a limit",
  revoked: "Security: revoked",
  expired: "Security: expired",
};
/** Close codes by what they mean; of others the number has to do. */
const CLOSE_CODES = {
  1000: "the client was done",
  1001: "the page was left, or the server stopped",
  1002: "broke the protocol",
  1005: "no code given",
  1006: "broke off",
  1007: "not Unicode",
  1008: "against a rule",
  1009: "message too large",
  1011: "the server’s fault",
  1012: "the server restarts",
  1013: "try again later",
  4401: "not known any more",
  4403: "sent away",
  4408: "no credentials in time",
  4429: "sent too fast",
};

const SHARD_STATES = {
  ok: ["good", "in time"],
  busy: ["wait", "queue full"],
  late: ["bad", "late"],
  stopped: ["bad", "stopped"],
};

function tag([kind, text]) {
  return element("span", `tag ${kind}`, text);
}

/** A card whose table is made anew when what it shows has changed. */
class Card {
  #body = element("div", "");
  #shown = "";

  constructor(title, className = "") {
    this.title = title;
    this.node = element("section", `card ${className}`, element("h2", "", title), this.#body);
    this.node.setAttribute("aria-label", title);
  }

  /** `shown`: all that `make` depends on. */
  show(shown, make) {
    const signature = JSON.stringify(shown);
    // A reader who is in it is not thrown out of it.
    if (signature === this.#shown || this.#body.contains(document.activeElement)) return;
    this.#shown = signature;
    this.#body.replaceChildren(make());
  }

  empty(text) {
    this.show(text, () => element("p", "empty", text));
  }
}

const column = (title) => ({ title });
const numbers = (...titles) => titles.map((title) => ({ title, isNumber: true }));

export class Tables {
  #values = [];
  #shards = new Card("Shards", "full");
  #handlers = new Card("Slowest handlers");
  #store = new Card("Store and broker", "full");
  #refusals = new Card("Refusals and limits");
  #endings = new Card("Ended connections");
  /** What was counted a minute ago, or when the page was opened. */
  #past = [];

  constructor() {
    for (const [title] of TILES) {
      const [value, more] = [element("span", ""), element("span", "unit")];
      const below = element("dd", "more");
      const node = element("div", "tile", element("dt", "", title), element("dd", "value", value, more), below);
      byId("tiles").append(node);
      this.#values.push([value, more, below, node]);
    }
    const times = element("div", "stack", this.#handlers.node, this.#endings.node);
    byId("tables").append(this.#shards.node, this.#refusals.node, times, this.#store.node);
  }

  show(snapshot, sample) {
    TILES.forEach(([, read, below], place) => {
      const [value, unit, more] = this.#values[place];
      const [amount, measure = ""] = read(sample.totals, sample.memory);
      setText(value, amount);
      setText(unit, measure);
      setText(more, below(sample.totals, snapshot.budget));
    });
    this.#values.at(-1).at(-1).dataset.pressure = snapshot.budget.pressure;
    setText(byId("about"), `Version ${snapshot.version} · up ${duration(snapshot.uptime_ms / 1000)}`);
    this.#showShards(sample);
    this.#showHandlers(snapshot.handlers);
    this.#showStore(snapshot);
    this.#remember(snapshot);
    this.#showRefusals(snapshot);
    this.#showEndings(snapshot);
  }

  #showShards({ shards }) {
    const rows = shards.map(({ shard, state, rates, history_bytes, ...gauges }) => [
      `Shard ${shard}`,
      state,
      ...["connections", "pending", "users", "rooms", "members"].map((name) => count(gauges[name])),
      rate(rates.messages_in),
      rate(rates.sent),
      bytes(history_bytes),
    ]);
    const titles = ["Connections", "Coming or going", "Users", "Rooms", "Members", "Received/s", "Sent/s", "History"];
    const columns = [column("Shard"), column("Answers"), ...numbers(...titles)];
    const cells = ([name, state, ...rest]) => [name, tag(SHARD_STATES[state] ?? ["wait", state]), ...rest];
    this.#shards.show(rows, () => table("Shards", columns, rows.map(cells)));
  }

  #showHandlers(handlers) {
    if (handlers.length === 0) return this.#handlers.empty("No handler has been timed yet.");
    const slowest = handlers.toSorted((one, other) => other.p99_us - one.p99_us).slice(0, 12);
    const rows = slowest.map(({ name, calls, p50_us, p99_us, max_us }) => {
      return [name, count(calls), ...[p50_us, p99_us, max_us].map(microseconds)];
    });
    const columns = [column("Type"), ...numbers("Calls", "Median", "99 %", "Longest")];
    this.#handlers.show(rows, () => table("Slowest handlers", columns, rows));
  }

  #showStore({ store, broker }) {
    const pairs = [
      ["Broker", broker.kind === "none" ? "None: alone" : broker.kind],
      ["Store", store === null ? "None" : store.is_failing ? "failing" : "writing"],
    ];
    if (store !== null) {
      const { is_failing, queued_bytes, queued, ...counted } = store;
      pairs.push(["Waiting", `${plural(queued, "request")}, ${bytes(queued_bytes)}`]);
      for (const [name, value] of Object.entries(counted)) pairs.push([title(name), count(value)]);
    }
    const tags = { writing: "good", failing: "bad" };
    const value = (text) => element("dd", "", text in tags ? tag([tags[text], text]) : text);
    const pair = ([name, text]) => element("div", "", element("dt", "", name), value(text));
    this.#store.show(pairs, () => element("dl", "pairs", ...pairs.map(pair)));
  }

  #remember({ time_ms, uptime_ms, totals, refusals, closings, security }) {
    const begun = time_ms - uptime_ms;
    // Another process counts from zero.
    if (this.#past.length > 0 && Math.abs(this.#past[0].begun - begun) > 5000) this.#past = [];
    const { counters, realtime } = totals;
    this.#past.push({ begun, time_ms, counters, realtime, refusals, closings, security });
    while (this.#past[0].time_ms < time_ms - 60_000) this.#past.shift();
  }

  /** Rows of what was counted in a group: meaning, in the last minute, since the start. `names`: by name of
   *  the counter. */
  #rowsOf(group, names) {
    const [before, now] = [this.#past[0][group], this.#past.at(-1)[group]];
    return Object.entries(names)
      .filter(([name]) => now[name] > 0)
      .map(([name, meaning]) => [meaning, count(now[name] - (before[name] ?? 0)), count(now[name])]);
  }

  #showRefusals({ refusals }) {
    const codes = Object.fromEntries(Object.keys(refusals).map((code) => [code, `… ${code}`]));
    const { refused, ...others } = CORE_REFUSALS;
    const rows = [
      ...this.#rowsOf("counters", { refused }),
      ...this.#rowsOf("refusals", codes),
      ...this.#rowsOf("counters", others),
      ...this.#rowsOf("realtime", REALTIME_REFUSALS),
      ...this.#rowsOf("security", SECURITY_EVENTS),
    ];
    if (rows.length === 0) return this.#refusals.empty("Nothing has been refused since the start.");
    const columns = [column("What"), ...numbers("Last minute", "Since the start")];
    this.#refusals.show(rows, () => table("Refusals and limits", columns, rows));
  }

  #showEndings({ closings }) {
    const codes = Object.keys(closings).map((code) => [code, [code, CLOSE_CODES[code]].filter(Boolean).join(": ")]);
    const rows = this.#rowsOf("closings", Object.fromEntries(codes));
    if (rows.length === 0) return this.#endings.empty("No connection has ended since the start.");
    const columns = [column("Close code"), ...numbers("Last minute", "Since the start")];
    this.#endings.show(rows, () => table("Ended connections", columns, rows));
  }
}
