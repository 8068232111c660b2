//! Instructions of the hot paths, counted by callgrind: the same on a busy machine as on a quiet one,
//! so that a path which got dearer shows. What they allocate is told by `tests/allocations.rs`.
//!
//! ```text
//! cargo bench --bench instructions                        counts and prints a table
//! cargo bench --bench instructions -- --json FILE         and writes it down
//! cargo bench --bench instructions -- --against FILE      and compares with what was written down
//! ```
//!
//! Each path (`benches/support/paths.rs`) runs in a process of its own under `valgrind`, which alone
//! is needed. `gungraun`, formerly `iai-callgrind`, does more and wants a runner of its own version
//! installed before `cargo bench` runs at all.

use std::fs;
use std::process::ExitCode;

use clap::Parser;
use report::{Counted, Report};
use support::paths::{PATHS, Path};

mod callgrind;
mod report;
#[path = "../support/mod.rs"]
mod support;

/// Times a path is gone before anything is counted: by then every buffer has its size.
const WARM_UP: usize = 300;
/// Times it is gone while instructions are counted. What is reported is one of them, on average.
const RUNS: u32 = 100;
/// Exit status where nothing could be compared: neither passed nor failed.
const SKIPPED: u8 = 77;

/// Counts the instructions of the hot paths.
#[derive(Parser)]
struct Arguments {
    /// Counts only the paths whose names contain this.
    filter: Option<String>,
    /// Writes what was counted to this file.
    #[arg(long)]
    json: Option<String>,
    /// Compares with this file; exit status 1 if a path got dearer, 77 if they do not compare.
    #[arg(long, conflicts_with = "filter")]
    against: Option<String>,
    /// Goes one path, to be counted from outside.
    #[arg(long, hide = true)]
    path: Option<String>,
    /// Goes each path once and counts nothing.
    #[arg(long, hide = true)]
    test: bool,
    /// What cargo passes to benches, and does not pass to tests.
    #[arg(long, hide = true)]
    bench: bool,
}

/// All that is counted: from this call to its return. Callgrind finds it by its name.
#[inline(never)]
fn instructions_counted_here(run: &mut dyn FnMut()) {
    for _ in 0..RUNS {
        run();
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(name) = &arguments.path {
        let path = PATHS.iter().find(|path| path.name == name);
        let mut run = (path.expect("a path of that name").prepare)();
        (0..WARM_UP).for_each(|_| run());
        instructions_counted_here(&mut *run);
        return ExitCode::SUCCESS;
    }
    let is_wanted = |path: &&Path| {
        let filter = arguments.filter.as_deref();
        filter.is_none_or(|filter| path.name.contains(filter))
    };
    let paths = PATHS.iter().filter(is_wanted);
    if arguments.test || !arguments.bench {
        paths.for_each(|path| (path.prepare)()());
        return ExitCode::SUCCESS;
    }
    let Some(versions) = report::versions() else {
        println!("instructions: nothing is counted without valgrind (apt-get install valgrind)");
        return ExitCode::from(if arguments.against.is_some() {
            SKIPPED
        } else {
            0
        });
    };
    let before = arguments.against.as_deref().map(read);
    if let Some(before) = &before
        && before.versions != versions
    {
        println!("instructions: what was counted before does not compare with this machine");
        println!("  then: {:?}\n  now:  {versions:?}", before.versions);
        return ExitCode::from(SKIPPED);
    }
    let count = |path: &Path| {
        let total = callgrind::count(path.name, "instructions_counted_here");
        Counted::new(path.name, total, RUNS)
    };
    let report = Report {
        versions,
        paths: paths.map(count).collect(),
    };
    if let Some(file) = &arguments.json {
        fs::write(file, report.to_json()).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
    match before {
        Some(before) => ExitCode::from(u8::from(report.print_against(&before))),
        None => {
            report.print();
            ExitCode::SUCCESS
        }
    }
}

/// Panics if the file cannot be read or is no report.
fn read(file: &str) -> Report {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"));
    Report::from_json(&text)
}
