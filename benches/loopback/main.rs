//! End to end over loopback: the example servers on one core, `campanile load` on another.
//!
//! ```text
//!   cargo bench --bench loopback -- [WORKLOAD..] [--runs N] [--json FILE] [--tune] [--test]
//! ```
//! Without names all workloads run. Every run has a fresh server, and the runs of all workloads are
//! interleaved, so that what the machine does meanwhile falls on all alike. The load checks every
//! message; docs/LOAD.md says how, and what the figures mean. `--tune` sets the kernel's limits for
//! very many connections where that is permitted.
//! With `--test`, or without `--bench` (as `cargo test` starts benches), everything is tiny.
//!
//! The principal figure is the server's processor time per message, handshake or delivery.

use std::io;
use std::path::PathBuf;

use machine::Machine;
use report::{Report, Run, figure};
use server::Cores;
use workload::{WORKLOADS, Workload};

struct Arguments {
    workloads: Vec<&'static Workload>,
    runs: usize,
    json: Option<PathBuf>,
    tune: bool,
    tiny: bool,
}

impl Arguments {
    fn parse() -> Result<Self, String> {
        let mut parsed = Self {
            workloads: Vec::new(),
            runs: 3,
            json: None,
            tune: false,
            tiny: true,
        };
        let mut test = false;
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} takes a value"));
            match argument.as_str() {
                "--bench" => parsed.tiny = false,
                "--test" => test = true,
                "--tune" => parsed.tune = true,
                "--json" => parsed.json = Some(value()?.into()),
                "--runs" => {
                    let runs = value()?.parse().ok().filter(|&runs| runs > 0);
                    parsed.runs = runs.ok_or("--runs takes a number from 1")?;
                }
                name => {
                    let found = WORKLOADS.iter().find(|workload| workload.name == name);
                    let names = WORKLOADS.map(|workload| workload.name).join(" ");
                    let unknown = || format!("{name} is none of {names}");
                    parsed.workloads.push(found.ok_or_else(unknown)?);
                }
            }
        }
        if test || parsed.tiny {
            (parsed.tiny, parsed.runs) = (true, 1);
        }
        if parsed.workloads.is_empty() {
            parsed.workloads = WORKLOADS.iter().collect();
        }
        Ok(parsed)
    }
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse().map_err(io::Error::other)?;
    let examples = server::build_examples()?;
    let settings = machine::settings_wanted(arguments.tune);
    if !arguments.tiny {
        for command in &settings {
            println!("a million connections would want: {command}");
        }
    }
    let cores = Cores::choose();
    let mut report = Report::new(Machine::read()?, settings);
    for run in 1..=arguments.runs {
        for workload in &arguments.workloads {
            let values = workload::run(workload, arguments.tiny, &examples, cores)
                .map_err(|error| io::Error::other(format!("{}: {error}", workload.name)))?;
            println!(
                "{} {run}/{}: {}",
                workload.name, arguments.runs, workload.what
            );
            if arguments.tiny {
                continue;
            }
            for (name, value) in &values {
                println!("    {name:40} {}", figure(*value));
            }
            report.runs.push(Run {
                workload: workload.name,
                what: workload.what,
                run,
                values,
            });
        }
    }
    report.sum_up();
    if !arguments.tiny {
        report.print();
    }
    if let Some(path) = arguments.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    Ok(())
}

mod machine;
mod report;
mod server;
mod workload;
