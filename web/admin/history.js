// Snapshots become samples: what there is now, and what has happened per second since the one before.

/** Samples kept: a quarter of an hour. */
const KEPT = 900;
/** Longest time between two snapshots over which a rate is taken, seconds. */
const GAP_S = 5;
/** Counters of which rates are wanted. A server that does not count one has no line for it. */
const COUNTED = [
  "messages_in", "messages_out", "fanned_out", "published", "bytes_in", "bytes_out", "opened", "closed",
];

/** Differences per second; `null` where there is none. */
function rates(now, before, seconds) {
  const found = {};
  for (const name of COUNTED) {
    if (!(name in now)) continue;
    const difference = before && name in before ? now[name] - before[name] : -1;
    // Counters only grow: what has shrunk belongs to another process.
    found[name] = difference < 0 ? null : difference / seconds;
  }
  const { messages_out: direct, fanned_out: fanned } = found;
  found.sent = direct == null ? null : direct + (fanned ?? 0);
  return found;
}

export class History {
  #samples = [];
  #before = null;

  get samples() {
    return this.#samples;
  }

  get newest() {
    return this.#samples.at(-1) ?? null;
  }

  /** Takes a snapshot in. `isFirst`: the first of a connection. */
  add(snapshot, isFirst) {
    const before = this.#before;
    const seconds = before ? (snapshot.time_ms - before.time_ms) / 1000 : 0;
    const isSame = before && snapshot.uptime_ms >= before.uptime_ms;
    const follows = isSame && seconds > 0 && seconds <= GAP_S;
    if (before && seconds <= 0) this.#samples = []; // a clock that was set back
    // A line is not drawn across a time of which nothing is known.
    const isGap = isFirst || seconds > GAP_S;
    if (isGap && this.newest) this.#samples.push({ time: this.newest.time + 0.5, isGap });
    const sample = ({ counters, realtime, ...gauges }, then) => {
      return { ...gauges, rates: rates(counters, follows ? then?.counters : null, seconds) };
    };
    this.#samples.push({
      time: snapshot.time_ms / 1000,
      totals: sample(snapshot.totals, before?.totals),
      shards: snapshot.shards.map((shard, place) => sample(shard, before?.shards[place])),
      memory: snapshot.memory,
    });
    this.#samples.splice(0, this.#samples.length - KEPT);
    this.#before = snapshot;
  }
}
