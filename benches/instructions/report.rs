//! What was counted, as a table, as a file, and against what was counted before.

use std::process::Command;

use serde::{Deserialize, Serialize};

/// A path is dearer if it executes more by more than this, percent, ...
const DEARER_PERCENT: f64 = 3.0;
/// ... and by more than this, instructions: less is the noise of the shortest paths.
const DEARER_INSTRUCTIONS: f64 = 1.5;

/// What the counts depend on. With anything else they do not compare.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Versions {
    pub(crate) rustc: String,
    pub(crate) valgrind: String,
    pub(crate) libc: String,
    /// Vector instructions that libraries choose by, at run time. Valgrind knows none above AVX2.
    pub(crate) avx2: bool,
}

/// One path, once.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Counted {
    path: String,
    instructions: f64,
}

/// Everything that was counted.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) versions: Versions,
    pub(crate) paths: Vec<Counted>,
}

/// The versions here; `None` without valgrind.
pub(crate) fn versions() -> Option<Versions> {
    let first_line = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        Some(text.lines().next()?.trim().to_owned())
    };
    Some(Versions {
        valgrind: first_line("valgrind", "--version")?,
        rustc: first_line("rustc", "--version").unwrap_or_default(),
        libc: first_line("getconf", "GNU_LIBC_VERSION").unwrap_or_default(),
        avx2: has_avx2(),
    })
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx2() -> bool {
    false
}

impl Counted {
    /// `total` instructions in so many runs.
    pub(crate) fn new(path: &str, total: u64, runs: u32) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let average = total as f64 / f64::from(runs);
        Self {
            path: path.to_owned(),
            instructions: (average * 10.0).round() / 10.0,
        }
    }

    fn is_dearer_than(&self, before: &Self) -> bool {
        let more = self.instructions - before.instructions;
        more > DEARER_INSTRUCTIONS && more > before.instructions * DEARER_PERCENT / 100.0
    }
}

impl Report {
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and strings") + "\n"
    }

    /// Panics if the text is no report.
    pub(crate) fn from_json(text: &str) -> Self {
        serde_json::from_str(text).expect("a file that `--json` wrote")
    }

    /// Prints a table.
    pub(crate) fn print(&self) {
        println!("| path | instructions |\n|---|---|");
        for Counted { path, instructions } in &self.paths {
            println!("| {path} | {instructions:.1} |");
        }
    }

    /// Prints what has changed; `true` if a path got dearer, or is gone.
    pub(crate) fn print_against(&self, before: &Self) -> bool {
        let mut is_worse = false;
        println!("{:34} {:>10} {:>10}", "path", "before", "now");
        for now in &self.paths {
            let (path, count) = (&now.path, now.instructions);
            let Some(then) = before.paths.iter().find(|then| then.path == now.path) else {
                println!("{path:34} {:>10} {count:>10.1}", "new");
                continue;
            };
            let is_dearer = now.is_dearer_than(then);
            is_worse |= is_dearer;
            let then = then.instructions;
            let percent = (count / then - 1.0) * 100.0;
            let verdict = if is_dearer { "DEARER" } else { "" };
            println!("{path:34} {then:>10.1} {count:>10.1} {percent:>+7.2} % {verdict}");
        }
        for then in &before.paths {
            if !self.paths.iter().any(|now| now.path == then.path) {
                println!(
                    "{:34} {:>10.1} {:>10}",
                    then.path, then.instructions, "gone"
                );
                is_worse = true;
            }
        }
        is_worse
    }
}
