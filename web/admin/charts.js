// Plots over time, each with a legend that tells the newest values (or those under the pointer) and a
// table for those who do not see lines. uPlot draws; it is loaded as a script and knows no modules.

import { byId, element, setText, table } from "./dom.js";
import { bytes, count, rate, title } from "./format.js";
import { colours } from "./theme.js";

const uPlot = globalThis.uPlot;
const SERIES = Array.from({ length: 8 }, (_, place) => `series-${place + 1}`);
const HEIGHT = 190;
/** Shortest time that is shown, seconds. */
const SPAN_MIN = 30;
/** Steps of a scale: whole numbers, and for bytes powers of two. */
const STEPS = Array.from({ length: 16 }, (_, power) => [1, 2, 5].map((step) => step * 10 ** power)).flat();
const BYTE_STEPS = Array.from({ length: 44 }, (_, power) => 2 ** power);
/** All plots show the time under the pointer of one. */
const cursors = uPlot.sync("dashboard");

/** What can be shown of each shard: title, unit, how it is written, where it is. */
const BY_SHARD = {
  sent: ["Messages sent", "/s", rate, (shard) => shard.rates.sent],
  messages_in: ["Messages received", "/s", rate, (shard) => shard.rates.messages_in],
  published: ["Messages published", "/s", rate, (shard) => shard.rates.published],
  connections: ["Connections", "", count, (shard) => shard.connections],
  users: ["Users", "", count, (shard) => shard.users],
  rooms: ["Rooms", "", count, (shard) => shard.rooms],
};

const line = (name, read) => ({ name, read });
/** Lines of a plot from what the newest sample has. */
const fixed = (lines) => () => lines;

function shardLines(read) {
  const at = (place) => (sample) => read(sample.shards[place] ?? { rates: {} });
  return (newest) => newest.shards.map(({ shard }, place) => line(`Shard ${shard}`, at(place)));
}

function memoryLines(sample) {
  // By name: each keeps its place and colour, however much it is.
  const kinds = Object.keys(sample.memory).filter((kind) => kind !== "rss").sort();
  const known = kinds.map((kind) => line(title(kind), ({ memory }) => memory[kind] ?? null));
  return [line("Resident, all", ({ memory }) => memory.rss ?? null), ...known];
}

/** One plot: its frame, its lines, and how its numbers are written. */
class Plot {
  #write;
  #lines;
  #title;
  #canvas = element("div", "canvas");
  #legend = element("ul", "legend");
  #names = [];
  #amounts = [];
  #details = element("details", "", element("summary", "", "As a table"));
  #tableFrame = element("div", "");
  #chart = null;
  #shownLines = "";
  #columns = null;
  #seconds = 300;

  constructor({ title, unit = "", write, lines, head = null }) {
    this.#title = title;
    this.#write = write;
    this.#lines = lines;
    const heading = element("h3", "", title);
    if (unit) heading.append(element("span", "unit", unit));
    this.heading = heading;
    this.#canvas.setAttribute("role", "img");
    this.#details.append(this.#tableFrame);
    this.#details.addEventListener("toggle", () => this.#fillTable());
    const top = element("div", "plot-head", heading, head);
    this.node = element("article", "plot card", top, this.#canvas, this.#legend, this.#details);
    new ResizeObserver(() => this.#fit()).observe(this.#canvas);
  }

  /** Shows something else from now on. */
  become({ title, write, lines }) {
    [this.#title, this.#write, this.#lines] = [title, write, lines];
    this.restyle();
  }

  /** The colours have changed: the next drawing takes the new ones. */
  restyle() {
    this.#shownLines = "";
  }

  draw(samples, seconds) {
    this.#seconds = seconds;
    const newest = samples.findLast(({ isGap }) => !isGap);
    if (!newest) return;
    const lines = this.#lines(newest);
    const value = (read) => (sample) => (sample.isGap ? null : (read(sample) ?? null));
    this.#columns = [samples.map(({ time }) => time), ...lines.map(({ read }) => samples.map(value(read)))];
    this.#names = lines.map(({ name }) => name);
    const signature = JSON.stringify(this.#names);
    if (signature !== this.#shownLines) this.#make(lines);
    this.#shownLines = signature;
    this.#chart.batch(() => {
      this.#chart.setData(this.#columns, false);
      // A plot that has just begun is not a thin stripe at its right end.
      const shown = Math.max(SPAN_MIN, Math.min(seconds, newest.time - samples[0].time));
      this.#chart.setScale("x", { min: newest.time - shown, max: newest.time });
    });
    this.#fillLegend(this.#chart.cursor.idx);
    this.#fillTable();
  }

  #ticks = (_, splits) => splits.map((value) => this.#write(value));

  #make(lines) {
    const colour = colours([...SERIES, "muted", "grid", "panel"]);
    const tint = (place) => colour[SERIES[place % SERIES.length]];
    this.#chart?.destroy();
    this.#amounts = lines.map(() => element("span", "amount"));
    this.#legend.replaceChildren(
      ...lines.map(({ name }, place) => {
        const swatch = element("span", place < SERIES.length ? "swatch" : "swatch dashed");
        swatch.style.setProperty("--swatch", tint(place));
        return element("li", "", swatch, element("span", "", name), this.#amounts[place]);
      }),
    );
    const font = `11px ${getComputedStyle(document.body).fontFamily}`;
    const grid = { stroke: colour.grid, width: 1 };
    const axis = { stroke: colour.muted, font, grid, ticks: { show: false } };
    const options = {
      width: Math.max(200, this.#canvas.clientWidth),
      height: HEIGHT,
      legend: { show: false },
      padding: [8, 26, 0, 0],
      cursor: { sync: { key: cursors.key }, drag: { x: false, y: false }, points: { size: 6 } },
      scales: { y: { range: (_, __, most) => [0, ceiling(most)] } },
      axes: [
        { ...axis, space: 70, size: 28, values: (_, splits) => splits.map(clock) },
        { ...axis, size: 62, space: 34, incrs: this.#write === bytes ? BYTE_STEPS : STEPS, values: this.#ticks },
      ],
      series: [{}, ...lines.map((_, place) => series(tint(place), place, lines.length))],
      hooks: { setCursor: [(chart) => this.#fillLegend(chart.cursor.idx)] },
    };
    this.#chart = new uPlot(options, this.#columns, this.#canvas);
  }

  #fit() {
    const width = this.#canvas.clientWidth;
    if (width > 0 && this.#chart && width !== this.#chart.width) this.#chart.setSize({ width, height: HEIGHT });
  }

  #fillLegend(pointed) {
    const [times, ...columns] = this.#columns;
    const at = pointed ?? times.length - 1;
    this.#amounts.forEach((amount, place) => setText(amount, this.#write(columns[place]?.[at] ?? null)));
    if (pointed != null) return;
    const values = this.#amounts.map((amount, place) => `${this.#names[place]} ${amount.textContent}`);
    this.#canvas.setAttribute("aria-label", `${this.#title} over time. Now: ${values.slice(0, 12).join(", ")}`);
  }

  /** The table is only kept up while it is open. */
  #fillTable() {
    if (!this.#details.open || !this.#columns) return;
    const from = this.#columns[0].at(-1) - this.#seconds;
    const rows = this.#columns.slice(1).map((column, place) => {
      const values = column.filter((value, at) => value !== null && this.#columns[0][at] >= from);
      const sum = values.reduce((all, value) => all + value, 0);
      const known = values.length > 0;
      return [
        this.#names[place],
        this.#write(column.at(-1)),
        this.#write(known ? sum / values.length : null),
        this.#write(known ? Math.min(...values) : null),
        this.#write(known ? Math.max(...values) : null),
      ];
    });
    const numbers = ["Now", "Average", "Lowest", "Highest"].map((title) => ({ title, isNumber: true }));
    this.#tableFrame.replaceChildren(table(`${this.#title}, in the time shown`, [{ title: "" }, ...numbers], rows));
  }
}

const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB");

/** Where the scale ends: a little above the highest value, and never so low that noise fills the plot. */
function ceiling(most) {
  return Math.max(4, (most ?? 0) * 1.1);
}

/** A line. The first of a few has its area filled; where there are more than colours, dashes tell. */
function series(colour, place, lines) {
  return {
    stroke: colour,
    width: 2,
    fill: place === 0 && lines <= 4 ? colour.replace("rgb(", "rgba(").replace(")", ", 0.1)") : undefined,
    dash: place < SERIES.length ? undefined : [4, 3],
    points: { show: false },
    spanGaps: false,
  };
}

/** All plots of the page. */
export class Plots {
  #plots;
  #byShard;

  constructor() {
    const choice = element("select", "");
    choice.id = "by-shard";
    choice.setAttribute("aria-label", "What is shown of each shard");
    for (const [key, [title]] of Object.entries(BY_SHARD)) choice.append(new Option(title, key));
    const shown = (key) => {
      const [title, , write, read] = BY_SHARD[key];
      return { title: `${title} by shard`, write, lines: shardLines(read) };
    };
    this.#byShard = new Plot({ ...shown("sent"), title: "By shard", head: choice });
    choice.addEventListener("change", () => {
      this.#byShard.become(shown(choice.value));
      this.onChange?.();
    });
    this.#plots = [
      new Plot({
        title: "Connections and users",
        write: count,
        lines: fixed([
          line("Connections", ({ totals }) => totals.connections),
          line("Users", ({ totals }) => totals.users),
        ]),
      }),
      new Plot({
        title: "Messages",
        unit: "per second",
        write: rate,
        lines: fixed([
          line("Sent", ({ totals }) => totals.rates.sent),
          line("Received", ({ totals }) => totals.rates.messages_in),
          line("Published", ({ totals }) => totals.rates.published),
        ]),
      }),
      this.#byShard,
      new Plot({
        title: "Rooms and members",
        write: count,
        lines: fixed([
          line("Rooms", ({ totals }) => totals.rooms),
          line("Members", ({ totals }) => totals.members),
        ]),
      }),
      new Plot({ title: "Memory by kind", write: bytes, lines: memoryLines }),
      new Plot({
        title: "Connections opened and closed",
        unit: "per second",
        write: rate,
        lines: fixed([
          line("Opened", ({ totals }) => totals.rates.opened),
          line("Closed", ({ totals }) => totals.rates.closed),
        ]),
      }),
    ];
    byId("plots").append(...this.#plots.map(({ node }) => node));
  }

  draw(samples, seconds) {
    for (const plot of this.#plots) plot.draw(samples, seconds);
  }

  restyle() {
    for (const plot of this.#plots) plot.restyle();
  }
}
