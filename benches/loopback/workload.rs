//! What is measured: the shapes of `GOALS.md`, and one run of each.

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
    handshake::open(server.address, count, |_, stream| clients.adopt(stream))?;
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

    let mut values = Values::new();
    values.insert("messages_per_s", messages / passed.wall_us * 1e6);
    values.insert("server_cpu_us_per_message", passed.server_us / messages);
    values.insert("server_core_busy_us_per_message", passed.core_us / messages);
    values.insert("server_cpu_share", passed.server_us / passed.wall_us);
    values.insert("load_cpu_share", passed.load_us / passed.wall_us);
    values.insert("latency_p50_us", latencies[0]);
    values.insert("latency_p99_us", latencies[1]);
    Ok(values)
}

fn handshakes(server: &Server, cores: Cores, count: usize) -> io::Result<Values> {
    // The first ones make the server touch its memory.
    handshake::open(
        server.address,
        count.min(WARM_UP_CONNECTIONS),
        |_, _| Ok(()),
    )?;
    pause(100);
    let mut streams = Vec::with_capacity(count);
    let began = Reading::take(server, cores)?;
    handshake::open(server.address, count, |_, stream| {
        streams.push(stream);
        Ok(())
    })?;
    let passed = began.until_now(server, cores)?;
    let count = count as f64;
    let mut values = Values::new();
    values.insert("handshakes_per_s", count / passed.wall_us * 1e6);
    values.insert("server_cpu_us_per_handshake", passed.server_us / count);
    values.insert("server_core_busy_us_per_handshake", passed.core_us / count);
    values.insert("server_cpu_share", passed.server_us / passed.wall_us);

    let began = Reading::take(server, cores)?;
    drop(streams);
    pause(500);
    let passed = began.until_now(server, cores)?;
    values.insert("server_cpu_us_per_close", passed.server_us / count);
    Ok(values)
}

fn idle(server: &Server, count: usize, scale: Scale) -> io::Result<Values> {
    let rings = count.div_ceil(CLIENTS_PER_RING);
    let mut all = (0..rings)
        .map(|_| Clients::new(count.div_ceil(rings), Pattern::Echo))
        .collect::<io::Result<Vec<_>>>()?;
    let started = server.resident_bytes()?;
    handshake::open(
        server.address,
        count.min(WARM_UP_CONNECTIONS),
        |_, _| Ok(()),
    )?;
    rest(&mut all, scale.settle_ms / 5)?;
    let warm = server.resident_bytes()?;
    let slab = machine::slab_bytes()?;

    let began = Time::now();
    let cpu = server.cpu_ns()?;
    handshake::open(server.address, count, |index, stream| {
        all[index % rings].adopt(stream)
    })?;
    let opened_us = began.elapsed_us() as f64;
    let opened_cpu = server.cpu_ns()?;
    rest(&mut all, scale.settle_ms)?;

    let per_connection = |after: u64, before: u64| (after as f64 - before as f64) / count as f64;
    let mut values = Values::new();
    values.insert("handshakes_per_s", count as f64 / opened_us * 1e6);
    values.insert(
        "server_cpu_us_per_handshake",
        (opened_cpu - cpu) as f64 / 1e3 / count as f64,
    );
    values.insert("rss_at_start_mib", started as f64 / f64::from(1 << 20));
    values.insert("rss_warm_mib", warm as f64 / f64::from(1 << 20));
    let resident = server.resident_bytes()?;
    values.insert("rss_idle_mib", resident as f64 / f64::from(1 << 20));
    values.insert(
        "rss_bytes_per_connection_since_start",
        per_connection(resident, started),
    );
    values.insert(
        "rss_bytes_per_connection_since_warm",
        per_connection(resident, warm),
    );
    values.insert(
        "slab_bytes_per_pair",
        per_connection(machine::slab_bytes()?, slab),
    );

    // Each says something, and all go quiet again: nothing of that may stay.
    for clients in &mut all {
        clients.start(1);
        clients.finish(FINISH_WITHIN_US)?;
        if clients.len() as u64 != clients.received {
            return Err(io::Error::other("an idle client got more than its echo"));
        }
    }
    rest(&mut all, scale.settle_ms)?;
    values.insert(
        "rss_bytes_per_connection_after_echo",
        per_connection(server.resident_bytes()?, warm),
    );
    values.insert(
        "slab_bytes_per_pair_after_echo",
        per_connection(machine::slab_bytes()?, slab),
    );
    Ok(values)
}

/// Lets everything come to rest; pings are answered meanwhile.
fn rest(all: &mut [Clients], ms: u64) -> io::Result<()> {
    let began = Time::now();
    while began.elapsed_us() < ms * 1000 {
        for clients in all.iter_mut() {
            clients.turn(std::time::Duration::ZERO)?;
        }
        pause(ms.div_ceil(20).min(50));
    }
    Ok(())
}
