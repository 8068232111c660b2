//! What the page is told once a second. All counters grow only; rates are the page's affair.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;

use crate::id::ShardId;
use crate::metrics::{HANDLERS_MAX, Histogram, Memory, Pressure, Tally};
use crate::realtime::{Realtime, Stats};
use crate::security;
use crate::server::{Busy, MemoryReading};
use crate::shard::Figures;
use crate::store::{Store, StoreStats};
use crate::time::{Clock, Timestamp};
use crate::{Context, ServerHandle};

/// How long a shard may take to answer. A late answer counts for the next snapshot; until it has come
/// the shard is not asked again, so that questions to a shard that hangs do not pile up.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// One snapshot.
#[derive(Debug, Serialize)]
struct Snapshot<'s> {
    #[serde(rename = "type")]
    kind: &'static str,
    time: &'s str,
    time_ms: u64,
    uptime_ms: u64,
    version: &'static str,
    viewers: usize,
    shards: Vec<Shard<'s>>,
    totals: Numbers,
    /// Bytes by what they are used for. `rss` is all that the process has, the others are parts of it.
    memory: BTreeMap<&'static str, u64>,
    budget: Budget,
    /// Handshakes that were refused, by the code in the answer's body.
    refusals: BTreeMap<String, u64>,
    /// Open connections that ended, by close code; `other` where there are many codes.
    closings: BTreeMap<String, u64>,
    /// Events of the security log, by kind, of the whole process.
    security: BTreeMap<&'static str, u64>,
    handlers: Vec<HandlerTimes<'s>>,
    store: Option<StoreStats>,
    broker: Broker,
}

/// One shard: the numbers it has told last, and whether that was just now.
#[derive(Debug, Serialize)]
struct Shard<'s> {
    shard: u16,
    state: ShardState,
    #[serde(flatten)]
    numbers: &'s Numbers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum ShardState {
    Ok,
    /// Its queue is full, so it could not be asked.
    Busy,
    /// It has not answered in time.
    Late,
    /// It has ended: the server shuts down.
    Stopped,
}

/// What one shard has and has counted, or all of them together.
#[derive(Clone, Debug, Default, Serialize)]
struct Numbers {
    connections: usize,
    users: usize,
    pending: usize,
    rooms: usize,
    members: usize,
    history_messages: usize,
    history_bytes: usize,
    counters: BTreeMap<&'static str, u64>,
    realtime: BTreeMap<String, u64>,
}

impl Numbers {
    fn add(&mut self, other: &Self) {
        self.connections += other.connections;
        self.users += other.users;
        self.pending += other.pending;
        self.rooms += other.rooms;
        self.members += other.members;
        self.history_messages += other.history_messages;
        self.history_bytes += other.history_bytes;
        for (&name, value) in &other.counters {
            *self.counters.entry(name).or_default() += value;
        }
        for (name, value) in &other.realtime {
            *self.realtime.entry(name.clone()).or_default() += value;
        }
    }
}

/// What a shard answers: plain copies, which become names and numbers on the service thread.
struct Told {
    figures: Figures,
    realtime: Stats,
    /// The types of messages by their handlers' numbers, of the first shard: all have the same.
    names: Option<Vec<Box<str>>>,
}

impl Told {
    fn of(app: &Realtime, context: &Context<'_, Realtime>) -> Self {
        let is_first = context.shard() == ShardId(0);
        Self {
            figures: context.figures(),
            realtime: app.stats(),
            names: is_first.then(|| app.handler_names().to_vec()),
        }
    }
}

impl Numbers {
    fn of(figures: &Figures, realtime: &Stats) -> Self {
        let counts = serde_json::to_value(realtime.counts).and_then(serde_json::from_value);
        Self {
            connections: figures.connections,
            users: figures.users,
            pending: figures.pending,
            rooms: realtime.rooms,
            members: realtime.members,
            history_messages: realtime.history_messages,
            history_bytes: realtime.history_bytes,
            counters: figures.counters.iter().collect(),
            realtime: counts.expect("names and numbers"),
        }
    }
}

/// How long the handler of a type takes, microseconds, rounded up as its histogram rounds.
#[derive(Debug, Serialize)]
struct HandlerTimes<'s> {
    name: &'s str,
    calls: u64,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
}

/// How short of memory the process is.
#[derive(Debug, Serialize)]
struct Budget {
    pressure: &'static str,
    /// Bytes: in use, from which on shards hold back, from which on nobody is let in, and that there are.
    /// `null`: no limit.
    used: u64,
    soft: Option<u64>,
    hard: Option<u64>,
    limit: u64,
}

impl Budget {
    fn of(reading: &MemoryReading) -> Self {
        let limit = |bytes: u64| (bytes < u64::MAX).then_some(bytes);
        Self {
            pressure: match reading.pressure {
                Pressure::None => "none",
                Pressure::Soft => "soft",
                Pressure::Hard => "hard",
            },
            used: reading.used,
            soft: limit(reading.budget.soft),
            hard: limit(reading.budget.hard),
            limit: reading.limit,
        }
    }
}

/// Counts by name.
fn named<K: ToString + PartialEq>(tally: &Tally<K>) -> BTreeMap<String, u64> {
    let mut counts: BTreeMap<_, _> = tally.iter().map(|(key, n)| (key.to_string(), n)).collect();
    if tally.others() > 0 {
        *counts.entry("other".to_owned()).or_default() += tally.others();
    }
    counts
}

/// What stands between the servers of a cluster.
#[derive(Debug, Serialize)]
struct Broker {
    kind: &'static str,
}

type Answer = Pin<Box<dyn Future<Output = Result<Option<Told>, Busy>> + Send>>;

/// Asks the shards, and remembers what they said last.
pub(super) struct Sampler {
    server: ServerHandle<Realtime>,
    store: Option<Store>,
    clock: Clock,
    shards: Vec<Asked>,
    /// The types of messages by their handlers' numbers, once they have been told.
    names: Vec<Box<str>>,
}

impl fmt::Debug for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sampler({} shards)", self.shards.len())
    }
}

/// What one shard was asked and has said.
struct Asked {
    shard: ShardId,
    under_way: Option<Answer>,
    state: ShardState,
    last: Numbers,
    memory: Memory,
    handlers: Vec<Histogram>,
    refusals: Tally<Box<str>>,
    closings: Tally<u16>,
}

impl Asked {
    /// Asks, and gives the handlers' names if the shard tells them.
    async fn ask(&mut self, server: &ServerHandle<Realtime>) -> Option<Vec<Box<str>>> {
        let mut names = None;
        let shard = self.shard;
        let mut answer = self.under_way.take().unwrap_or_else(|| {
            let server = server.clone();
            Box::pin(async move {
                server
                    .ask(shard, |app, context| Told::of(app, context))
                    .await
            })
        });
        self.state = match tokio::time::timeout(ANSWER_TIMEOUT, &mut answer).await {
            Ok(Ok(Some(told))) => {
                self.last = Numbers::of(&told.figures, &told.realtime);
                self.memory = told.figures.memory;
                self.handlers = told.figures.handlers;
                self.refusals = told.figures.refusals;
                self.closings = told.figures.closings;
                names = told.names;
                ShardState::Ok
            }
            Ok(Ok(None)) => ShardState::Stopped,
            Ok(Err(Busy { .. })) => ShardState::Busy,
            Err(_late) => {
                self.under_way = Some(answer);
                ShardState::Late
            }
        };
        names
    }
}

impl Sampler {
    /// `clock` has begun with the server.
    pub(super) fn new(server: ServerHandle<Realtime>, store: Option<Store>, clock: Clock) -> Self {
        let nothing = Numbers::of(&Figures::default(), &Stats::default());
        let asked = |shard| Asked {
            shard: ShardId(shard),
            under_way: None,
            state: ShardState::Late,
            last: nothing.clone(),
            memory: Memory::default(),
            handlers: Vec::new(),
            refusals: Tally::default(),
            closings: Tally::default(),
        };
        Self {
            shards: (0..server.shard_count()).map(asked).collect(),
            server,
            store,
            clock,
            names: Vec::new(),
        }
    }

    /// Takes one snapshot, for so many viewers: the text of a JSON object.
    pub(super) async fn take(&mut self, viewers: usize) -> String {
        let Self { shards, server, .. } = self;
        let told = join_all(shards.iter_mut().map(|asked| asked.ask(server))).await;
        if let Some(names) = told.into_iter().flatten().next() {
            self.names = names;
        }
        let (mut totals, mut kinds) = (Numbers::default(), Memory::default());
        let (mut refusals, mut closings) = (Tally::default(), Tally::default());
        for asked in &self.shards {
            refusals.merge(&asked.refusals);
            closings.merge(&asked.closings);
            totals.add(&asked.last);
            kinds.merge(&asked.memory);
        }
        let now = self.clock.now();
        let time = Timestamp::new(now.unix_ms);
        let mut memory: BTreeMap<_, _> = kinds.iter().collect();
        memory.insert("history", totals.history_bytes as u64);
        memory.extend(resident_bytes().map(|bytes| ("rss", bytes)));
        let snapshot = Snapshot {
            kind: "snapshot",
            time: time.as_str(),
            time_ms: now.unix_ms,
            uptime_ms: now.monotonic_ms,
            version: env!("CARGO_PKG_VERSION"),
            viewers,
            shards: self.shards.iter().map(Asked::shown).collect(),
            totals,
            memory,
            budget: Budget::of(&self.server.memory()),
            refusals: named(&refusals),
            closings: named(&closings),
            security: security::counts()
                .map(|(kind, n)| (kind.as_str(), n))
                .into(),
            handlers: self.handlers(),
            store: self.store.as_ref().map(Store::stats),
            broker: Broker { kind: "none" },
        };
        serde_json::to_string(&snapshot).expect("names and numbers")
    }

    /// The type of a handler's messages; all beyond the last number that has its own times are others.
    fn name(&self, number: usize) -> &str {
        let name = self.names.get(number).filter(|_| number < HANDLERS_MAX);
        name.map_or("other", |name| name)
    }

    /// The times of the handlers that have been called, all shards together.
    fn handlers(&self) -> Vec<HandlerTimes<'_>> {
        let mut all: Vec<Histogram> = Vec::new();
        for asked in &self.shards {
            all.resize_with(all.len().max(asked.handlers.len()), Histogram::default);
            for (sum, times) in all.iter_mut().zip(&asked.handlers) {
                sum.merge(times);
            }
        }
        let times = |(number, times): (usize, &Histogram)| {
            let micros = |share| times.quantile(share).div_ceil(1000);
            (times.count() > 0).then(|| HandlerTimes {
                name: self.name(number),
                calls: times.count(),
                p50_us: micros(0.5),
                p99_us: micros(0.99),
                max_us: micros(1.0),
            })
        };
        all.iter().enumerate().filter_map(times).collect()
    }
}

impl Asked {
    fn shown(&self) -> Shard<'_> {
        Shard {
            shard: self.shard.0,
            state: self.state,
            numbers: &self.last,
        }
    }
}

/// Memory of the process that is in RAM, bytes. `None` where there is no `/proc`.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim_end().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resident_memory_of_a_process_is_known() {
        let bytes = resident_bytes().unwrap();
        assert!((1 << 20..1 << 40).contains(&bytes), "{bytes}");
    }

    #[test]
    fn totals_are_the_sums_of_the_shards() {
        let (mut figures, mut realtime) = (Figures::default(), Stats::default());
        figures.connections = 3;
        figures.counters.opened = 5;
        realtime.counts.posted = 7;
        let one = Numbers::of(&figures, &realtime);
        let mut totals = Numbers::default();
        totals.add(&one);
        totals.add(&one);
        assert_eq!(totals.connections, 6);
        assert_eq!(totals.counters["opened"], 10);
        assert_eq!(totals.realtime["posted"], 14);
    }
}
