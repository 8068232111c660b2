//! What is measured: `campanile load` with these arguments, against these servers.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value};

use crate::server::{Cores, Server};

/// A workload's name, its server and its load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    example: &'static str,
    shards: usize,
    load: &'static str,
}

const fn on(
    (example, shards): (&'static str, usize),
    name: &'static str,
    what: &'static str,
    load: &'static str,
) -> Workload {
    Workload {
        name,
        what,
        example,
        shards,
        load,
    }
}

const ECHO: (&str, usize) = ("echo", 1);
const BROADCAST: (&str, usize) = ("broadcast", 1);

pub(crate) const WORKLOADS: [Workload; 10] = [
    on(
        ECHO,
        "E1",
        "echo, 64 connections, 1 in flight",
        "echo --connections 64 --in-flight 1",
    ),
    on(
        ECHO,
        "E2",
        "echo, 64 connections, 32 in flight",
        "echo --connections 64 --in-flight 32",
    ),
    on(
        ECHO,
        "E3",
        "echo, 10,000 connections, 1 in flight",
        "echo --connections 10000 --in-flight 1",
    ),
    on(
        BROADCAST,
        "F1",
        "32 publishers, 32 subscribers",
        "fanout --total-order --publishers 32 --subscribers 32",
    ),
    on(
        BROADCAST,
        "F2",
        "1 publisher, 1,000 subscribers",
        "fanout --total-order --publishers 1 --subscribers 1000",
    ),
    on(
        BROADCAST,
        "F3",
        "1 publisher, 10,000 subscribers",
        "fanout --total-order --publishers 1 --subscribers 10000",
    ),
    on(
        BROADCAST,
        "F4",
        "32 publishers with 16 in flight, 1,000 subscribers",
        "fanout --total-order --publishers 32 --subscribers 1000 --in-flight 16",
    ),
    on(
        ECHO,
        "C1",
        "opening handshakes, 10,000 connections",
        "connect --connections 10000 --warm-connections 2048 --hold 0s",
    ),
    on(
        ECHO,
        "D1",
        "15,000 idle connections",
        "connect --connections 15000 --warm-connections 2048 --hold 10s --exchange",
    ),
    on(
        ("echo", 8),
        "D2",
        "100,000 idle connections in one process, 8 shards",
        "connect --connections 100000 --warm-connections 2048 --hold 10s --exchange",
    ),
];

/// Shows that everything works, and measures nothing: these replace what a workload asks for.
const TINY: [(&str, &str); 7] = [
    ("--connections", "96"),
    ("--subscribers", "96"),
    ("--warm-connections", "32"),
    ("--hold", "50ms"),
    ("--in-flight", "4"),
    ("--warm-up", "20ms"),
    ("--duration", "80ms"),
];

/// What one run gave, by name. The name ends in the unit.
pub(crate) type Values = BTreeMap<String, f64>;

/// The arguments of `campanile load` for a workload.
fn arguments(workload: &Workload, tiny: bool) -> Vec<String> {
    let mut words: Vec<String> = workload.load.split(' ').map(str::to_owned).collect();
    if !tiny {
        return words;
    }
    for (option, value) in TINY {
        if let Some(place) = words.iter().position(|word| word == option) {
            value.clone_into(&mut words[place + 1]);
        } else if !workload.load.starts_with("connect") && option.ends_with(['p', 'n']) {
            words.extend([option, value].map(str::to_owned));
        }
    }
    words
}

/// Runs a workload once against a fresh server.
pub(crate) fn run(
    workload: &Workload,
    tiny: bool,
    examples: &Path,
    cores: Cores,
) -> io::Result<Values> {
    let server = Server::start(&examples.join(workload.example), workload.shards, cores)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_campanile"));
    command
        .arg("load")
        .args(arguments(workload, tiny))
        .args(["--json", "-", "--quiet", "--timeout", "300s"])
        .args(["--url", &format!("ws://{}/", server.address)])
        .args(["--server-pid", &server.process().to_string()]);
    if let Some((server, load)) = cores.numbers() {
        command.args(["--server-core", &server.to_string()]);
        command.args(["--core", &load.to_string()]);
    }
    let output = command.output()?;
    if !output.status.success() {
        return Err(io::Error::other(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ));
    }
    let figures: Map<String, Value> = serde_json::from_slice(&output.stdout)?;
    let numbers = figures.into_iter();
    Ok(numbers
        .filter_map(|(name, value)| Some((name, value.as_f64()?)))
        .collect())
}
