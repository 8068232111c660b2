//! What the page is told once a second. All counters grow only; rates are the page's affair.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;

use crate::id::ShardId;
use crate::realtime::{Realtime, Stats};
use crate::server::{Busy, ShardStats};
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
    handlers: Vec<HandlerTimes>,
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
    core: ShardStats,
    realtime: Stats,
}

impl Told {
    fn of(app: &Realtime, context: &Context<'_, Realtime>) -> Self {
        Self {
            core: ShardStats {
                users: context.user_count(),
                connections: context.connection_count(),
                pending: context.pending_count(),
                counters: *context.counters(),
            },
            realtime: app.stats(),
        }
    }
}

impl From<Told> for Numbers {
    fn from(Told { core, realtime }: Told) -> Self {
        let counts = serde_json::to_value(realtime.counts).and_then(serde_json::from_value);
        Self {
            connections: core.connections,
            users: core.users,
            pending: core.pending,
            rooms: realtime.rooms,
            members: realtime.members,
            history_messages: realtime.history_messages,
            history_bytes: realtime.history_bytes,
            counters: core.counters.iter().collect(),
            realtime: counts.expect("names and numbers"),
        }
    }
}

/// How long the handler of a type takes, microseconds.
#[derive(Debug, Serialize)]
struct HandlerTimes {
    name: Box<str>,
    calls: u64,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
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
}

impl Asked {
    async fn ask(&mut self, server: &ServerHandle<Realtime>) {
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
                self.last = told.into();
                ShardState::Ok
            }
            Ok(Ok(None)) => ShardState::Stopped,
            Ok(Err(Busy { .. })) => ShardState::Busy,
            Err(_late) => {
                self.under_way = Some(answer);
                ShardState::Late
            }
        };
    }
}

impl Sampler {
    /// `clock` has begun with the server.
    pub(super) fn new(server: ServerHandle<Realtime>, store: Option<Store>, clock: Clock) -> Self {
        let nothing = Told {
            core: ShardStats::default(),
            realtime: Stats::default(),
        };
        let nothing = Numbers::from(nothing);
        let asked = |shard| Asked {
            shard: ShardId(shard),
            under_way: None,
            state: ShardState::Late,
            last: nothing.clone(),
        };
        Self {
            shards: (0..server.shard_count()).map(asked).collect(),
            server,
            store,
            clock,
        }
    }

    /// Takes one snapshot, for so many viewers: the text of a JSON object.
    pub(super) async fn take(&mut self, viewers: usize) -> String {
        let Self { shards, server, .. } = self;
        join_all(shards.iter_mut().map(|asked| asked.ask(server))).await;
        let mut totals = Numbers::default();
        for asked in &self.shards {
            totals.add(&asked.last);
        }
        let now = self.clock.now();
        let time = Timestamp::new(now.unix_ms);
        let mut memory = BTreeMap::from([("history", totals.history_bytes as u64)]);
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
            handlers: Vec::new(),
            store: self.store.as_ref().map(Store::stats),
            broker: Broker { kind: "none" },
        };
        serde_json::to_string(&snapshot).expect("names and numbers")
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
        let mut told = Told {
            core: ShardStats::default(),
            realtime: Stats::default(),
        };
        told.core.connections = 3;
        told.core.counters.opened = 5;
        told.realtime.counts.posted = 7;
        let one = Numbers::from(told);
        let mut totals = Numbers::default();
        totals.add(&one);
        totals.add(&one);
        assert_eq!(totals.connections, 6);
        assert_eq!(totals.counters["opened"], 10);
        assert_eq!(totals.realtime["posted"], 14);
    }
}
