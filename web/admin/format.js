// Numbers with their units, as short as they can be and no shorter.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 });
const dateTime = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** What is not known. */
export const NOTHING = "–";

export function count(value) {
  if (value == null) return NOTHING;
  return value >= 1e6 ? compact.format(value) : whole.format(value);
}

/** Something per second: a decimal where it is slow. */
export const rate = (value) => (value == null ? NOTHING : value < 10 ? fine.format(value) : count(value));

const SIZES = ["B", "KiB", "MiB", "GiB", "TiB"];

/** Bytes as amount and unit. */
export function size(bytes) {
  if (bytes == null) return { amount: NOTHING, unit: "" };
  const power = Math.min(SIZES.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, bytes)) / 10)));
  const amount = bytes / 1024 ** power;
  return { amount: (amount < 100 && power > 0 ? fine : whole).format(amount), unit: SIZES[power] };
}

export function bytes(value) {
  const { amount, unit } = size(value);
  return unit ? `${amount} ${unit}` : amount;
}

export function microseconds(value) {
  if (value == null) return NOTHING;
  if (value < 1000) return `${whole.format(value)} µs`;
  if (value < 1e6) return `${fine.format(value / 1e3)} ms`;
  return `${fine.format(value / 1e6)} s`;
}

export function duration(seconds) {
  const units = Object.entries({ d: 86400, h: 3600, min: 60, s: 1 });
  const first = units.findIndex(([, length]) => seconds >= length);
  if (first < 0) return "0 s";
  let rest = Math.floor(seconds);
  const parts = units.slice(first, first + 2).map(([unit, length]) => {
    const amount = Math.floor(rest / length);
    rest %= length;
    return amount > 0 ? `${amount} ${unit}` : "";
  });
  return parts.filter(Boolean).join(" ");
}

/** `n` things: `plural(2, "connection")`. */
export const plural = (amount, noun) => `${count(amount)} ${noun}${amount === 1 ? "" : "s"}`;

/** A time stamp of the server in the reader's own terms. */
export const when = (stamp) => dateTime.format(new Date(stamp));

/** How long ago it was, to be read at a glance. */
export function age(stamp) {
  const [amount, unit] = duration(Math.max(0, (Date.now() - Date.parse(stamp)) / 1000)).split(" ");
  return `${amount} ${unit}`;
}

/** `receive_buffers` and `tls` as people write them. */
export const title = (name) => (name === "tls" ? "TLS" : (name[0].toUpperCase() + name.slice(1)).replaceAll("_", " "));
