//! What is kept of the runs, and how they are summed up.

use std::collections::BTreeMap;
use std::process::Command;

use serde::Serialize;

use crate::machine::Machine;
use crate::workload::Values;

/// One run of one workload.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) workload: &'static str,
    pub(crate) what: &'static str,
    /// 1-based.
    pub(crate) run: usize,
    pub(crate) values: Values,
}

/// Median and spread of one value over the runs.
#[derive(Debug, Serialize)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

/// Everything, as it goes to the file.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    commit: String,
    clean: bool,
    command: Vec<String>,
    settings_below_what_a_million_wants: Vec<String>,
    summary: BTreeMap<&'static str, BTreeMap<String, Spread>>,
    pub(crate) runs: Vec<Run>,
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

impl Report {
    pub(crate) fn new(machine: Machine, settings: Vec<String>) -> Self {
        Self {
            machine,
            commit: git(&["rev-parse", "HEAD"]).unwrap_or_else(|| "unknown".to_owned()),
            clean: git(&["status", "--porcelain", "--untracked-files=no"])
                .is_some_and(|changes| changes.is_empty()),
            // The program's own path says nothing to anybody else.
            command: ["cargo", "bench", "--bench", "loopback", "--"]
                .into_iter()
                .map(str::to_owned)
                .chain(std::env::args().skip(1).filter(|name| name != "--bench"))
                .collect(),
            settings_below_what_a_million_wants: settings,
            summary: BTreeMap::new(),
            runs: Vec::new(),
        }
    }

    /// Works out the summary from the runs.
    pub(crate) fn sum_up(&mut self) {
        let mut all: BTreeMap<_, BTreeMap<_, Vec<f64>>> = BTreeMap::new();
        for run in &self.runs {
            for (name, &value) in &run.values {
                let values = all.entry(run.workload).or_default();
                values.entry(name.clone()).or_default().push(value);
            }
        }
        self.summary = all
            .into_iter()
            .map(|(workload, values)| {
                let values = values.into_iter();
                (workload, values.map(|(n, v)| (n, spread(v))).collect())
            })
            .collect();
    }

    /// Prints the summary as a table of Markdown.
    pub(crate) fn print(&self) {
        println!("\n| workload | value | median | min | max |\n|---|---|---|---|---|");
        for (workload, values) in &self.summary {
            for (name, spread) in values {
                let [median, min, max] = [spread.median, spread.min, spread.max].map(figure);
                println!("| {workload} | {name} | {median} | {min} | {max} |");
            }
        }
    }
}

fn spread(mut values: Vec<f64>) -> Spread {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let median = match values.len().is_multiple_of(2) {
        true => f64::midpoint(values[middle - 1], values[middle]),
        false => values[middle],
    };
    Spread {
        median,
        min: values[0],
        max: values[values.len() - 1],
    }
}

/// Three significant digits, or all that stand before the point.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
