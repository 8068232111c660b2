//! `load connect`: very many connections, which are opened, do nothing, do something, and are closed.

use std::sync::Arc;
use std::time::Duration;

use super::crowd::{Command, Crowd};
use super::fault::Fault;
use super::message::Payloads;
use super::process;
use super::relay::{Pace, Pattern, Relay, Style};
use super::report::Report;
use super::traffic::arrive;
use super::{Common, ConnectArgs};

/// Longest rest between the two halves of the connections.
const HALF_REST_MAX: Duration = Duration::from_secs(10);
/// How long a server has to take in that connections are gone, at least.
const CLOSED_REST: Duration = Duration::from_millis(500);
/// A server that takes less processor time than this in one look has come to rest, microseconds.
const REST_LOOK: Duration = Duration::from_millis(50);
const REST_CPU_US: f64 = 2_500.0;
/// Looks until it is given up to wait for that.
const REST_LOOKS_MAX: usize = 1200;

pub(crate) fn run(args: &ConnectArgs, common: &Common, report: &mut Report) -> Result<(), Fault> {
    let is_exchange = args.broadcasts == 0 && args.directs == 0;
    let style = Style {
        pattern: if is_exchange {
            Pattern::Echo
        } else {
            Pattern::FanOut { senders: 1 }
        },
        pace: Pace::InFlight(1),
        messages: args.exchange.then_some(args.connections as u64),
        connections: args.connections,
        total_order: false,
        is_greeted: args.greeted,
    };
    let bytes = common.payload_bytes(64);
    let payloads = Arc::new(Payloads::new(bytes));
    let plan = common.plan(args.connections, bytes)?;
    let mut crowd = Crowd::start(plan, common.handshakes()?, |share, capacity, _| {
        Relay::new(style, Arc::clone(&payloads), share, capacity)
    })?;
    let warm = args.warm_connections.min(args.connections);
    if warm > 0 {
        crowd.open(warm, None)?;
        crowd.close()?;
        crowd.rest(CLOSED_REST)?;
    }
    let before = open(&mut crowd, args, report)?;
    if args.exchange {
        exchange(&mut crowd, args, &before, report)?;
    }
    if args.broadcasts > 0 {
        broadcasts(&mut crowd, args.broadcasts, report)?;
    }
    if args.directs > 0 {
        directs(&mut crowd, args, report)?;
    }
    close(&mut crowd, report)?;
    crowd.end()
}

/// Memory before the connections came, and once they were idle.
struct Before {
    server_rss: Option<u64>,
    idle_slab: u64,
    /// Of a pair of sockets, where it could be measured.
    slab_per_pair: Option<f64>,
}

fn server_rss(crowd: &Crowd) -> Result<Option<u64>, Fault> {
    let rss = crowd.plan.server.map(process::resident_bytes).transpose();
    Ok(rss?)
}

fn per(after: u64, before: u64, count: usize) -> f64 {
    (after as f64 - before as f64) / count as f64
}

/// Opens all connections, in two halves if they are held: the kernel's memory is taken from the
/// second, for the first uses up what was lying about.
fn open(crowd: &mut Crowd, args: &ConnectArgs, report: &mut Report) -> Result<Before, Fault> {
    let count = args.connections;
    let is_held = !args.hold.is_zero();
    let server_rss_before = server_rss(crowd)?;
    let resumed_before = crowd.shared.totals().resumed;
    let mut connect_s = 0.0;
    let mut spent = Spent::default();
    let mut half_slab = None;
    let half = count / 2;
    if is_held && half > 0 {
        connect_s += spent.on(crowd, |crowd| crowd.open(half, args.rate))?;
        crowd.rest(args.hold.min(HALF_REST_MAX))?;
        half_slab = Some(process::slab_bytes()?);
    }
    connect_s += spent.on(crowd, |crowd| crowd.open(count, args.rate))?;
    report.count("connections", count as u64);
    report.number("connect_s", connect_s);
    report.number("handshakes_per_s", count as f64 / connect_s);
    let resumed = crowd.shared.totals().resumed - resumed_before;
    report.perhaps("tls_resumed", (resumed > 0).then_some(resumed as f64));
    let per_handshake = |us: f64| us / count as f64;
    report.perhaps(
        "server_cpu_us_per_handshake",
        spent.server_us.map(per_handshake),
    );
    report.perhaps(
        "core_busy_us_per_handshake",
        spent.core_us.map(per_handshake),
    );
    report.perhaps(
        "server_cpu_share",
        spent.server_us.map(|us| us / spent.wall_us),
    );
    report.number("load_cpu_share", spent.load_us / spent.wall_us);
    report.perhaps(
        "server_rss_before_bytes",
        server_rss_before.map(|rss| rss as f64),
    );
    let mut before = Before {
        server_rss: server_rss_before,
        idle_slab: 0,
        slab_per_pair: None,
    };
    if is_held {
        report.number("hold_s", args.hold.as_secs_f64());
        crowd.rest(args.hold)?;
        before.idle_slab = process::slab_bytes()?;
        before.slab_per_pair = half_slab.map(|slab| per(before.idle_slab, slab, count - half));
    }
    if let (Some(rss), Some(rss_before)) = (server_rss(crowd)?, before.server_rss) {
        report.count("server_rss_after_bytes", rss);
        report.number(
            "server_rss_bytes_per_connection",
            per(rss, rss_before, count),
        );
    }
    report.perhaps("slab_bytes_per_pair", before.slab_per_pair);
    Ok(before)
}

/// What was spent over several stretches of time, microseconds.
#[derive(Default)]
struct Spent {
    wall_us: f64,
    server_us: Option<f64>,
    core_us: Option<f64>,
    load_us: f64,
}

impl Spent {
    fn on<T>(
        &mut self,
        crowd: &mut Crowd,
        what: impl FnOnce(&mut Crowd) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let began = crowd.reading()?;
        let result = what(crowd)?;
        let passed = began.until(&crowd.reading()?);
        let add = |sum: &mut Option<f64>, more: Option<f64>| {
            *sum = more.map(|more| sum.unwrap_or_default() + more);
        };
        self.wall_us += passed.wall_us;
        self.load_us += passed.load_us;
        add(&mut self.server_us, passed.server_us);
        add(&mut self.core_us, passed.core_us);
        Ok(result)
    }
}

/// Each connection says something and gets it back, and all go quiet again: nothing of that may stay.
fn exchange(
    crowd: &mut Crowd,
    args: &ConnectArgs,
    before: &Before,
    report: &mut Report,
) -> Result<(), Fault> {
    let count = args.connections;
    crowd.order(Command::Start);
    let sent = |totals: &super::shared::Totals| totals.sent >= count as u64;
    crowd.wait("everybody has sent", sent)?;
    arrive(crowd)?;
    crowd.order(Command::Stop);
    if args.hold.is_zero() {
        return Ok(());
    }
    crowd.rest(args.hold)?;
    if let (Some(rss), Some(rss_before)) = (server_rss(crowd)?, before.server_rss) {
        let per_connection = per(rss, rss_before, count);
        report.number("server_rss_bytes_per_connection_after_echo", per_connection);
    }
    let more = per(process::slab_bytes()?, before.idle_slab, count);
    let after = before.slab_per_pair.map(|pair| pair + more);
    report.perhaps("slab_bytes_per_pair_after_echo", after);
    Ok(())
}

/// One message to everybody at a time.
fn broadcasts(crowd: &mut Crowd, count: u32, report: &mut Report) -> Result<(), Fault> {
    crowd.begin_latencies()?;
    let began = crowd.reading()?;
    let before = crowd.shared.totals();
    for number in 1..=u64::from(count) {
        crowd.order(Command::Broadcast);
        let sent = before.sent + number;
        crowd.wait("a broadcast is sent", |totals| totals.sent >= sent)?;
        let due = crowd.plan.connections as u64 * number;
        crowd.wait("everybody has the broadcast", |totals| {
            totals.received >= before.received + due
        })?;
    }
    arrive(crowd)?;
    let passed = began.until(&crowd.reading()?);
    let published = crowd.end_latencies()?;
    let deliveries = (crowd.plan.connections as u64 * u64::from(count)) as f64;
    report.count("broadcasts", u64::from(count));
    report.number("broadcast_s", published.longest_us as f64 / 1e6);
    report.count(
        "broadcast_p50_us",
        published.measured.value_at_quantile(0.5),
    );
    let server_us = passed.server_us.map(|us| us / deliveries);
    report.perhaps("broadcast_server_cpu_us_per_delivery", server_us);
    Ok(())
}

/// Single users are written to.
fn directs(crowd: &mut Crowd, args: &ConnectArgs, report: &mut Report) -> Result<(), Fault> {
    let arrived = std::iter::repeat_with(std::sync::atomic::AtomicBool::default);
    let arrived = arrived.take(args.directs as usize).collect();
    crowd
        .shared
        .directs
        .set(arrived)
        .expect("this is the only place that sets it");
    let before = crowd.shared.totals();
    crowd.begin_latencies()?;
    crowd.order(Command::Directs {
        messages: args.directs,
        per_s: args.direct_rate,
    });
    let sent = before.sent + u64::from(args.directs);
    crowd.wait("every direct message is sent", |totals| totals.sent >= sent)?;
    arrive(crowd)?;
    let published = crowd.end_latencies()?;
    report.count("directs", u64::from(args.directs));
    report.latencies(&published);
    Ok(())
}

/// Closes all and waits until the server has come to rest.
fn close(crowd: &mut Crowd, report: &mut Report) -> Result<(), Fault> {
    let count = crowd.plan.connections as f64;
    let began = crowd.reading()?;
    crowd.close()?;
    let mut rested = crowd.reading()?;
    let mut last = rested;
    for _ in 0..REST_LOOKS_MAX {
        crowd.rest(REST_LOOK)?;
        last = crowd.reading()?;
        let spent_us = rested.until(&last).server_us;
        if spent_us.is_none_or(|us| us < REST_CPU_US) {
            break;
        }
        rested = last;
    }
    report.number("close_s", began.until(&rested).wall_us / 1e6);
    // To the very end: few connections may be closed with less work than counts as none.
    let server_us = began.until(&last).server_us.map(|us| us / count);
    report.perhaps("server_cpu_us_per_close", server_us);
    crowd.rest(CLOSED_REST)?;
    let rss = server_rss(crowd)?;
    report.perhaps("server_rss_closed_bytes", rss.map(|rss| rss as f64));
    Ok(())
}
