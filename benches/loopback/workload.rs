//! What is measured: the shapes of load, and one run of each.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::clients::{Clients, Pattern};
use crate::clock::{Time, pause};
use crate::handshake;
use crate::machine;
use crate::server::{Cores, Server};

/// Clients of one ring, whose table RLIMIT_NOFILE bounds.
const CLIENTS_PER_RING: usize = 17_000;
/// Connections that make a server touch what it holds however many there are, and are closed again.
const WARM_UP_CONNECTIONS: usize = 2_048;
/// How long a server may take over the connections that are gone.
const CLOSED_WITHIN_MS: u64 = 500;
/// How long an exchange may take to end.
const FINISH_WITHIN_US: u64 = 20_000_000;

/// A workload's name and shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    shape: Shape,
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    /// `senders` clients of `clients` keep so many messages in flight.
    Messages {
        clients: usize,
        pattern: Pattern,
        in_flight: usize,
    },
    /// So many connections are opened, as fast as they go, and closed.
    Handshakes { clients: usize },
    /// So many connections do nothing.
    Idle { clients: usize, shards: usize },
}

const fn echo(
    name: &'static str,
    what: &'static str,
    clients: usize,
    in_flight: usize,
) -> Workload {
    let shape = Shape::Messages {
        clients,
        pattern: Pattern::Echo,
        in_flight,
    };
    Workload { name, what, shape }
}

const fn fan_out(
    name: &'static str,
    what: &'static str,
    (senders, in_flight): (usize, usize),
    clients: usize,
) -> Workload {
    let shape = Shape::Messages {
        clients,
        pattern: Pattern::FanOut { senders },
        in_flight,
    };
    Workload { name, what, shape }
}

pub(crate) const WORKLOADS: [Workload; 10] = [
    echo("E1", "echo, 64 connections, 1 in flight", 64, 1),
    echo("E2", "echo, 64 connections, 32 in flight", 64, 32),
    echo("E3", "echo, 10,000 connections, 1 in flight", 10_000, 1),
    fan_out("F1", "32 publishers, 32 subscribers", (32, 1), 32),
    fan_out("F2", "1 publisher, 1,000 subscribers", (1, 1), 1_000),
    fan_out("F3", "1 publisher, 10,000 subscribers", (1, 1), 10_000),
    fan_out(
        "F4",
        "32 publishers with 16 in flight, 1,000 subscribers",
        (32, 16),
        1_000,
    ),
    Workload {
        name: "C1",
        what: "opening handshakes, 10,000 connections",
        shape: Shape::Handshakes { clients: 10_000 },
    },
    Workload {
        name: "D1",
        what: "15,000 idle connections",
        shape: Shape::Idle {
            clients: 15_000,
            shards: 1,
        },
    },
    Workload {
        name: "D2",
        what: "100,000 idle connections in one process, 8 shards",
        shape: Shape::Idle {
            clients: 100_000,
            shards: 8,
        },
    },
];

/// How long everything takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Most clients.
    pub(crate) clients_max: usize,
    /// Before the measurement begins.
    pub(crate) warm_up_ms: u64,
    /// The measurement.
    pub(crate) measure_ms: u64,
    /// After the last handshake, until an idle server is looked at.
    pub(crate) settle_ms: u64,
}

impl Scale {
    pub(crate) const FULL: Self = Self {
        clients_max: usize::MAX,
        warm_up_ms: 1_000,
        measure_ms: 4_000,
        settle_ms: 10_000,
    };
    /// Shows that everything works, and measures nothing.
    pub(crate) const TINY: Self = Self {
        clients_max: 96,
        warm_up_ms: 20,
        measure_ms: 80,
        settle_ms: 50,
    };
}

/// What one run gave, by name. The name ends in the unit.
pub(crate) type Values = BTreeMap<&'static str, f64>;

/// Runs a workload once against a fresh server.
pub(crate) fn run(
    workload: &Workload,
    scale: Scale,
    examples: &Path,
    cores: Cores,
) -> io::Result<Values> {
    let small = |clients: usize| clients.min(scale.clients_max);
    match workload.shape {
        Shape::Messages {
            clients,
            pattern,
            in_flight,
        } => {
            let example = match pattern {
                Pattern::Echo => "echo",
                Pattern::FanOut { .. } => "broadcast",
            };
            let server = Server::start(&examples.join(example), 1, cores)?;
            messages(&server, cores, small(clients), pattern, in_flight, scale)
        }
        Shape::Handshakes { clients } => {
            let server = Server::start(&examples.join("echo"), 1, cores)?;
            handshakes(&server, cores, small(clients))
        }
        Shape::Idle { clients, shards } => {
            let server = Server::start(&examples.join("echo"), shards, cores)?;
            idle(&server, small(clients), scale)
        }
    }
}

/// Clocks of the server, of its core and of the load, read together.
struct Reading {
    time: Time,
    server_ns: u64,
    load_ns: u64,
    core_s: f64,
}

/// What passed between two readings, microseconds.
struct Passed {
    wall_us: f64,
    server_us: f64,
    load_us: f64,
    core_us: f64,
}

impl Reading {
    fn take(server: &Server, cores: Cores) -> io::Result<Self> {
        Ok(Self {
            server_ns: server.cpu_ns()?,
            load_ns: machine::cpu_ns(std::process::id())?,
            core_s: machine::core_busy_s(cores.server.map_or(0, |core| core.id))?,
            time: Time::now(),
        })
    }

    fn until_now(&self, server: &Server, cores: Cores) -> io::Result<Passed> {
        let wall_us = self.time.elapsed_us() as f64;
        let now = Self::take(server, cores)?;
        Ok(Passed {
            wall_us,
            server_us: (now.server_ns - self.server_ns) as f64 / 1e3,
            load_us: (now.load_ns - self.load_ns) as f64 / 1e3,
            core_us: (now.core_s - self.core_s) * 1e6,
        })
    }
}

fn messages(
    server: &Server,
    cores: Cores,
    count: usize,
    pattern: Pattern,
    in_flight: usize,
    scale: Scale,
) -> io::Result<Values> {
    let pattern = match pattern {
        Pattern::FanOut { senders } => Pattern::FanOut {
            senders: senders.min(count),
        },
        Pattern::Echo => Pattern::Echo,
    };
    let mut clients = Clients::new(count, pattern)?;
    handshake::open(server.address, count, |stream| clients.adopt(stream))?;
    clients.start(in_flight);
    clients.run(scale.warm_up_ms * 1000)?;

    clients.latency.clear();
    let received = clients.received;
    let began = Reading::take(server, cores)?;
    clients.run(scale.measure_ms * 1000)?;
    let passed = began.until_now(server, cores)?;
    let messages = (clients.received - received) as f64;
    let latencies = [0.5, 0.99].map(|share| clients.latency.quantile(share));
    clients.finish(FINISH_WITHIN_US)?;
    clients.close()?;

    Ok(Values::from([
        ("messages_per_s", messages / passed.wall_us * 1e6),
        ("server_cpu_us_per_message", passed.server_us / messages),
        ("core_busy_us_per_message", passed.core_us / messages),
        ("server_cpu_share", passed.server_us / passed.wall_us),
        ("load_cpu_share", passed.load_us / passed.wall_us),
        ("latency_p50_us", latencies[0]),
        ("latency_p99_us", latencies[1]),
    ]))
}

fn handshakes(server: &Server, cores: Cores, count: usize) -> io::Result<Values> {
    // The first ones make the server touch its memory.
    handshake::open(server.address, count.min(WARM_UP_CONNECTIONS), |_| Ok(()))?;
    pause(CLOSED_WITHIN_MS);
    let mut streams = Vec::with_capacity(count);
    let began = Reading::take(server, cores)?;
    handshake::open(server.address, count, |stream| {
        streams.push(stream);
        Ok(())
    })?;
    let opened = began.until_now(server, cores)?;
    let began = Reading::take(server, cores)?;
    drop(streams);
    pause(CLOSED_WITHIN_MS);
    let closed = began.until_now(server, cores)?;
    let count = count as f64;
    Ok(Values::from([
        ("handshakes_per_s", count / opened.wall_us * 1e6),
        ("server_cpu_us_per_handshake", opened.server_us / count),
        ("core_busy_us_per_handshake", opened.core_us / count),
        ("server_cpu_share", opened.server_us / opened.wall_us),
        ("server_cpu_us_per_close", closed.server_us / count),
    ]))
}

fn idle(server: &Server, count: usize, scale: Scale) -> io::Result<Values> {
    let rings = count.div_ceil(CLIENTS_PER_RING);
    let mut all = (0..rings)
        .map(|_| Clients::new(count.div_ceil(rings), Pattern::Echo))
        .collect::<io::Result<Vec<_>>>()?;
    let started = server.resident_bytes()?;
    handshake::open(server.address, count.min(WARM_UP_CONNECTIONS), |_| Ok(()))?;
    rest(&mut all, scale.settle_ms / 5)?;
    let warm = server.resident_bytes()?;

    // The kernel's memory is taken from the second half: the first uses up what was lying about.
    let mut opened = 0;
    let mut opened_us = 0;
    let mut opened_ns = 0;
    let mut slab = [0; 2];
    let halves = [count / 2, count - count / 2];
    for (half, slab) in halves.into_iter().zip(&mut slab) {
        let (began, cpu_ns) = (Time::now(), server.cpu_ns()?);
        handshake::open(server.address, half, |stream| {
            opened += 1;
            all[opened % rings].adopt(stream)
        })?;
        opened_us += began.elapsed_us();
        opened_ns += server.cpu_ns()? - cpu_ns;
        rest(&mut all, scale.settle_ms)?;
        *slab = machine::slab_bytes()?;
    }
    let resident = server.resident_bytes()?;

    // Each says something, and all go quiet again: nothing of that may stay.
    for clients in &mut all {
        clients.start(1);
        clients.finish(FINISH_WITHIN_US)?;
        if clients.len() as u64 != clients.received {
            return Err(io::Error::other("an idle client got more than its echo"));
        }
    }
    rest(&mut all, scale.settle_ms)?;
    let resident_again = server.resident_bytes()?;
    let slab_again = machine::slab_bytes()?;
    all.into_iter().try_for_each(Clients::close)?;

    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let per = |after: u64, before: u64, of: usize| (after as f64 - before as f64) / of as f64;
    let slab_per_pair = per(slab[1], slab[0], halves[1]);
    Ok(Values::from([
        ("handshakes_per_s", count as f64 / opened_us as f64 * 1e6),
        (
            "server_cpu_us_per_handshake",
            opened_ns as f64 / 1e3 / count as f64,
        ),
        ("rss_at_start_mib", mib(started)),
        ("rss_warm_mib", mib(warm)),
        ("rss_idle_mib", mib(resident)),
        (
            "rss_bytes_per_connection_since_start",
            per(resident, started, count),
        ),
        (
            "rss_bytes_per_connection_since_warm",
            per(resident, warm, count),
        ),
        (
            "rss_bytes_per_connection_after_echo",
            per(resident_again, warm, count),
        ),
        ("slab_bytes_per_pair", slab_per_pair),
        (
            "slab_bytes_per_pair_after_echo",
            slab_per_pair + per(slab_again, slab[1], count),
        ),
    ]))
}

/// Lets everything come to rest; pings are answered meanwhile.
fn rest(all: &mut [Clients], ms: u64) -> io::Result<()> {
    let began = Time::now();
    while began.elapsed_us() < ms * 1000 {
        for clients in all.iter_mut() {
            clients.catch_up()?;
        }
        pause(ms.div_ceil(20).min(50));
    }
    Ok(())
}
