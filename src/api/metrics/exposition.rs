//! Which numbers are shown, under which names.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::families::{Families, Labels, number};
use super::{Process, Report, ShardReport, Source};
use crate::metrics::{Counters, Histogram, Tally};
use crate::server::Answered;
use crate::store::StoreStats;

/// Writes a report, and what others have to tell.
pub(super) fn write(report: Report, sources: Vec<Source>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { report, sources }));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

struct Scrape {
    report: Report,
    sources: Vec<Source>,
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.report.fmt(f)
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families::new(encoder);
        let out = &mut families;
        let report = &self.report;
        server(report, out)?;
        core_gauges(report, out)?;
        core_counters(report, out)?;
        tls_failures(report, out)?;
        by_reason(report, out)?;
        times(report, out)?;
        realtime(report, out)?;
        memory(report, out)?;
        if let Some(stats) = &report.store {
            store(stats, out)?;
        }
        if let Some(of_system) = &report.process {
            process(of_system, out)?;
        }
        self.sources.iter().try_for_each(|source| source(out))
    }
}

fn plain(value: f64) -> [(Labels, f64); 1] {
    [(Vec::new(), value)]
}

fn count(value: usize) -> f64 {
    number(value as u64)
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

fn shard_label(shard: usize) -> Labels {
    vec![("shard", shard.to_string())]
}

/// One sample for each shard that has answered.
fn by_shard(
    report: &Report,
    value: impl Fn(&ShardReport) -> f64,
) -> impl Iterator<Item = (Labels, f64)> {
    let shards = report.shards.iter().enumerate();
    shards.filter_map(move |(shard, answered)| {
        let report = &answered.as_ref()?.value;
        Some((shard_label(shard), value(report)))
    })
}

/// The reports of the shards that have answered.
fn answers(report: &Report) -> impl Iterator<Item = &ShardReport> {
    report
        .shards
        .iter()
        .flatten()
        .map(|answered| &answered.value)
}

fn server(report: &Report, out: &mut Families<'_>) -> fmt::Result {
    let build = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    out.gauge(
        "campanile_build_info",
        "Always 1; says the version.",
        [(build, 1.0)],
    )?;
    let help = "Whether the server was told to shut down.";
    out.gauge("campanile_draining", help, plain(flag(report.is_draining)))?;
    let shards = || report.shards.iter().enumerate();
    let help = "Whether the shard answered this scrape within a second.";
    let up = shards().map(|(shard, answered)| (shard_label(shard), flag(answered.is_some())));
    out.gauge("campanile_shard_up", help, up)?;
    let help = "How long the shard took to answer this scrape: what mail from outside waits.";
    let took = shards().filter_map(|(shard, answered)| {
        let Answered { took, .. } = answered.as_ref()?;
        Some((shard_label(shard), Duration::as_secs_f64(took)))
    });
    out.gauge("campanile_shard_answer_seconds", help, took)?;
    let help = "Whether the shard takes new sockets: 0 if its table of sockets is full.";
    let accepting = by_shard(report, |shard| flag(shard.figures.is_accepting));
    out.gauge("campanile_shard_accepting", help, accepting)
}

fn core_gauges(report: &Report, out: &mut Families<'_>) -> fmt::Result {
    type Gauge = (&'static str, &'static str, fn(&ShardReport) -> usize);
    let gauges: [Gauge; 8] = [
        ("connections", "Open connections.", |shard| {
            shard.figures.connections
        }),
        (
            "connections_pending",
            "Handshakes under way and connections closing.",
            |shard| shard.figures.pending,
        ),
        (
            "users",
            "Users with an open connection, each on one shard.",
            |shard| shard.figures.users,
        ),
        (
            "topics",
            "Topics that have a subscriber on the shard.",
            |shard| shard.figures.topics,
        ),
        (
            "memory_paused_connections",
            "Connections not read from for want of memory.",
            |shard| shard.figures.pressed,
        ),
        ("rooms", "Rooms at home on the shard.", |shard| {
            shard.realtime.rooms
        }),
        (
            "room_members",
            "Members of these rooms; a user counts once per room.",
            |shard| shard.realtime.members,
        ),
        (
            "history_messages",
            "Messages that rooms keep in memory.",
            |shard| shard.realtime.history_messages,
        ),
    ];
    gauges.iter().try_for_each(|(name, help, value)| {
        let samples = by_shard(report, |shard| count(value(shard)));
        out.gauge(&format!("campanile_{name}"), help, samples)
    })
}

/// The name under which a counter of the core is shown, without prefix and `_total`. `None`: it is
/// shown by reason or code instead.
fn core_name(field: &str) -> Option<&'static str> {
    Some(match field {
        "accepted" => "sockets_accepted",
        "opened" => "connections_opened",
        "http_requests" => "http_requests_handed_over",
        "moved" => "connections_moved",
        "messages_in" => "messages_received",
        "bytes_in" => "messages_received_bytes",
        "messages_out" => "messages_sent_direct",
        "published" => "messages_published",
        "appended" => "messages_appended",
        "fanned_out" => "messages_fanned_out",
        "bytes_out" => "frames_sent_bytes",
        "short_sends" => "sends_short",
        "dropped_backpressure" => "messages_dropped",
        "lagged" => "subscribers_lagged",
        "violations" => "protocol_violations",
        "timed_out" => "connections_timed_out",
        "too_slow" => "connections_too_slow",
        "evicted" => "connections_evicted",
        "read_pauses" => "read_pauses",
        "pressed" => "memory_read_pauses",
        "refused_memory" => "memory_handshakes_refused",
        "slow_turns" => "slow_turns",
        "service_busy" => "service_busy",
        "mail_undeliverable" => "mail_undeliverable",
        "mail_sent" => "mail_sent",
        "mail_delayed" => "mail_delayed",
        "receive_buffers_exhausted" => "receive_buffers_exhausted",
        "completion_overflows" => "completion_overflows",
        "accept_pauses" => "accept_pauses",
        "enters" => "ring_enters",
        "sends" => "ring_sends",
        "wakes" => "ring_wakes",
        "tls_handshakes" => "tls_handshakes",
        "tls_resumed" => "tls_handshakes_resumed",
        "proxy_refused" => "proxy_protocol_refused",
        _ => return None,
    })
}

fn core_counters(report: &Report, out: &mut Families<'_>) -> fmt::Result {
    for (place, (field, _)) in Counters::default().iter().enumerate() {
        let (Some(name), Some(help)) = (core_name(field), Counters::describe(field)) else {
            continue;
        };
        let value = |shard: &ShardReport| shard.figures.counters.iter().nth(place);
        let samples = by_shard(report, |shard| value(shard).map_or(0.0, |(_, n)| number(n)));
        out.counter(&format!("campanile_{name}"), help, samples)?;
    }
    Ok(())
}

/// Samples of a tally, by `label`; those without a place of their own are `other`.
fn tallied<K: ToString + PartialEq>(tally: &Tally<K>, label: &'static str) -> Vec<(Labels, f64)> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for (key, count) in tally.iter() {
        counts.insert(key.to_string(), count);
    }
    if tally.others() > 0 {
        *counts.entry("other".to_owned()).or_default() += tally.others();
    }
    let samples = counts.into_iter();
    samples
        .map(|(key, count)| (vec![(label, key)], number(count)))
        .collect()
}

/// TLS handshakes that failed, by the class of what was wrong.
fn tls_failures(report: &Report, out: &mut Families<'_>) -> fmt::Result {
    let mut sum = Counters::default();
    for shard in answers(report) {
        sum.merge(&shard.figures.counters);
    }
    let samples = [
        ("plain", sum.tls_failed_plain),
        ("refused", sum.tls_failed_refused),
        ("protocol", sum.tls_failed_protocol),
        ("unfinished", sum.tls_failed_unfinished),
    ];
    let samples =
        samples.map(|(reason, count)| (vec![("reason", reason.to_owned())], number(count)));
    let help = "TLS handshakes that failed: no TLS at all, refused by the client, a breach of the protocol \
                or nothing in common, left before it was done.";
    out.counter("campanile_tls_handshakes_failed", help, samples)
}

fn by_reason(report: &Report, out: &mut Families<'_>) -> fmt::Result {
    let mut refusals: Tally<Box<str>> = Tally::default();
    let mut closings: Tally<u16> = Tally::default();
    for shard in answers(report) {
        refusals.merge(&shard.figures.refusals);
        closings.merge(&shard.figures.closings);
    }
    let help = "Handshakes refused by HTTP status, by the code in the answer's body.";
    out.counter(
        "campanile_handshakes_refused",
        help,
        tallied(&refusals, "reason"),
    )?;
    let help = "Open connections that ended, by close code: the peer's, ours, or 1006 for none.";
    out.counter(
        "campanile_connections_closed",
        help,
        tallied(&closings, "code"),
    )
}

fn times(report: &Report, out: &mut Families<'_>) -> fmt::Result {
    let shards = report.shards.iter().enumerate();
    let turns = shards.filter_map(|(shard, answered)| {
        let figures = &answered.as_ref()?.value.figures;
        Some((shard_label(shard), &figures.turns))
    });
    let help = "Turns of a shard, from waking up to the wait. Their sum is how long it was busy.";
    out.histogram("campanile_turn_seconds", help, turns)?;

    let mut handshakes = Histogram::default();
    // By name: nothing says that all shards have the same handlers.
    let mut handlers: BTreeMap<&str, Histogram> = BTreeMap::new();
    for shard in answers(report) {
        handshakes.merge(&shard.figures.handshakes);
        for (name, times) in shard.handler_times().filter(|(_, times)| times.count() > 0) {
            handlers.entry(name).or_default().merge(times);
        }
    }
    let help = "From a socket's acceptance to its opening; to the millisecond.";
    out.histogram(
        "campanile_handshake_seconds",
        help,
        [(Vec::new(), &handshakes)],
    )?;
    let help = "Handling a message on the shard where it came in, by its type.";
    let samples = handlers.iter();
    let samples = samples.map(|(name, times)| (vec![("handler", (*name).to_owned())], times));
    out.histogram("campanile_handler_seconds", help, samples)
}

fn realtime(report: &Report, out: &mut Families<'_>) -> fmt::Result {
    type Counter = (&'static str, &'static str, fn(&ShardReport) -> u64);
    let counters: [Counter; 8] = [
        (
            "room_messages",
            "Messages that rooms gave a place in their order.",
            |shard| shard.realtime.counts.posted,
        ),
        (
            "room_messages_repeated",
            "Messages that came again with the same client_message_id.",
            { |shard| shard.realtime.counts.repeats },
        ),
        (
            "recoveries",
            "Subscriptions that recovered all they had missed.",
            |shard| shard.realtime.counts.recovered,
        ),
        (
            "recoveries_failed",
            "Subscriptions that asked to recover and could not.",
            |shard| shard.realtime.counts.unrecovered,
        ),
        (
            "messages_replayed",
            "Messages replayed to those who had missed them.",
            |shard| shard.realtime.counts.replayed,
        ),
        (
            "presence_messages",
            "Snapshots, joins, leaves, updates and counts told to rooms.",
            { |shard| shard.realtime.counts.presence },
        ),
        (
            "message_encodings",
            "Messages written, once for each profile that reads them.",
            |shard| shard.realtime.counts.encodings,
        ),
        (
            "rate_closed",
            "Connections closed because they went on sending too much.",
            |shard| shard.realtime.counts.rate_closed,
        ),
    ];
    for (name, help, value) in counters {
        let samples = by_shard(report, |shard| number(value(shard)));
        out.counter(&format!("campanile_{name}"), help, samples)?;
    }
    let total = |value: fn(&ShardReport) -> u64| answers(report).map(value).sum::<u64>();
    let named = [
        (
            "rate_limited",
            total(|shard| shard.realtime.counts.rate_limited),
        ),
        (
            "content",
            total(|shard| shard.realtime.counts.content_refused),
        ),
        (
            "too_many_rooms",
            total(|shard| shard.realtime.counts.too_many_rooms),
        ),
        ("room_full", total(|shard| shard.realtime.counts.room_full)),
        ("forbidden", total(|shard| shard.realtime.counts.forbidden)),
        (
            "unavailable",
            total(|shard| shard.realtime.counts.unavailable),
        ),
    ];
    let refused = total(|shard| shard.realtime.counts.refused);
    let other = refused.saturating_sub(named.iter().map(|(_, count)| count).sum());
    let reasons = named.into_iter().chain([("other", other)]);
    let samples = |reasons: &mut dyn Iterator<Item = (&str, u64)>| -> Vec<(Labels, f64)> {
        let sample =
            |(reason, count): (&str, u64)| (vec![("reason", reason.to_owned())], number(count));
        reasons.map(sample).collect()
    };
    let help = "Messages refused for the sender's fault, or for want of room.";
    let refusals = samples(&mut reasons.into_iter());
    out.counter("campanile_messages_refused", help, refusals)?;
    let failures = [
        ("error", total(|shard| shard.realtime.counts.handler_errors)),
        ("panic", total(|shard| shard.realtime.counts.handler_panics)),
    ];
    let help = "Messages whose handler failed.";
    out.counter(
        "campanile_handler_failures",
        help,
        samples(&mut failures.into_iter()),
    )
}

fn memory(report: &Report, out: &mut Families<'_>) -> fmt::Result {
    let shards = report.shards.iter().enumerate();
    let samples = shards.flat_map(|(shard, answered)| {
        let kinds = answered.iter().flat_map(|answered| {
            let ShardReport {
                figures, realtime, ..
            } = &answered.value;
            let history = ("history", realtime.history_bytes as u64);
            figures.memory.iter().chain([history])
        });
        kinds.map(move |(kind, bytes)| {
            let labels = vec![("shard", shard.to_string()), ("kind", kind.to_owned())];
            (labels, number(bytes))
        })
    });
    let help = "Bytes that a shard holds, by what they are for.";
    out.gauge("campanile_memory_bytes", help, samples)?;
    let reading = report.memory;
    let help = "Memory that the process, or its cgroup, uses, against its limit.";
    out.gauge(
        "campanile_memory_used_bytes",
        help,
        plain(number(reading.used)),
    )?;
    let help = "Most memory that the process is to use.";
    out.gauge(
        "campanile_memory_limit_bytes",
        help,
        plain(number(reading.limit)),
    )?;
    let help = "How short of memory the process is: 0 not, 1 the fattest are not read from, \
                2 handshakes are refused.";
    out.gauge(
        "campanile_memory_pressure",
        help,
        plain(f64::from(reading.pressure as u8)),
    )
}

fn store(stats: &StoreStats, out: &mut Families<'_>) -> fmt::Result {
    let gauges = [
        (
            "queued_requests",
            "Requests to the store that are not answered yet.",
            count(stats.queued),
        ),
        (
            "queued_bytes",
            "Bytes of these requests, roughly.",
            count(stats.queued_bytes),
        ),
        (
            "group_largest",
            "Most requests written in one commit.",
            count(stats.group_largest),
        ),
        (
            "failing",
            "Whether the last attempt to write failed.",
            flag(stats.is_failing),
        ),
    ];
    for (name, help, value) in gauges {
        out.gauge(&format!("campanile_store_{name}"), help, plain(value))?;
    }
    let counters = [
        ("messages", "Messages stored.", stats.appended),
        ("repeats", "Messages not stored again.", stats.repeats),
        (
            "commits",
            "Groups of requests written and committed.",
            stats.commits,
        ),
        ("failures", "Writing requests that failed.", stats.failed),
        (
            "busy",
            "Requests refused because the store's queue was full.",
            stats.busy,
        ),
        (
            "pruned_messages",
            "Messages deleted by retention or with their room.",
            stats.pruned,
        ),
    ];
    counters.into_iter().try_for_each(|(name, help, value)| {
        out.counter(
            &format!("campanile_store_{name}"),
            help,
            plain(number(value)),
        )
    })
}

/// Under the names that every Prometheus client uses for them.
fn process(process: &Process, out: &mut Families<'_>) -> fmt::Result {
    let help = "Processor time of the process, seconds.";
    out.counter("process_cpu_seconds", help, plain(process.cpu_seconds))?;
    let gauges = [
        (
            "resident_memory_bytes",
            "Memory in RAM.",
            number(process.resident_bytes),
        ),
        (
            "virtual_memory_bytes",
            "Addresses in use.",
            number(process.virtual_bytes),
        ),
        (
            "open_fds",
            "Open descriptors; WebSockets need none.",
            number(process.open_fds),
        ),
        ("threads", "Threads.", number(process.threads)),
        (
            "start_time_seconds",
            "When it started, since 1970 UTC.",
            process.start_seconds,
        ),
    ];
    gauges.into_iter().try_for_each(|(name, help, value)| {
        out.gauge(&format!("process_{name}"), help, plain(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_series_is_shown_twice() {
        let mut tally: Tally<Box<str>> = Tally::default();
        tally.count("other");
        (0..100).for_each(|n| tally.count(format!("reason-{n}").as_str()));
        let samples = tallied(&tally, "reason");
        let labels: std::collections::BTreeSet<_> = samples.iter().map(|(l, _)| l).collect();
        assert_eq!(labels.len(), samples.len());
        let counted: f64 = samples.iter().map(|(_, count)| count).sum();
        assert!((counted - 101.0).abs() < f64::EPSILON);
    }

    #[test]
    fn every_counter_of_the_core_is_shown_once() {
        // Those that a family of their own shows, by reason.
        let by_reason = |field: &str| {
            ["refused", "closed"].contains(&field) || field.starts_with("tls_failed_")
        };
        let mut names = std::collections::BTreeSet::new();
        for (field, _) in Counters::default().iter() {
            match core_name(field) {
                Some(name) => assert!(names.insert(name), "{name} twice"),
                None => assert!(by_reason(field), "{field} has no name"),
            }
            assert!(Counters::describe(field).is_some_and(|help| help.ends_with('.')));
        }
    }
}
