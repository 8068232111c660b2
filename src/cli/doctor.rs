//! `campanile doctor`: what the server needs of this machine, what it found, what mends it.

use std::fmt::Write;
use std::process::ExitCode;

use campanile::ring::{Check, CheckState, probe};

/// Connections that may wait to be accepted, so that a burst of reconnects fits. Linux's own for
/// `somaxconn` since 5.4.
const BACKLOG_GOOD: u64 = 4096;
/// Open files of the whole system: room for a million connections.
const FILE_MAX_GOOD: u64 = 1_000_000;

/// Looks at everything, prints the table. Exit code 1 if the server could not start.
pub(crate) fn run() -> ExitCode {
    let mut checks = probe().checks;
    checks.push(setting("net.ipv4.tcp_max_syn_backlog", BACKLOG_GOOD));
    checks.push(setting("fs.file-max", FILE_MAX_GOOD));
    let printed = super::print(&table(&checks));
    if checks.iter().any(|check| check.state == CheckState::Fail) {
        ExitCode::FAILURE
    } else {
        printed
    }
}

/// A number of sysctl that may be too small for many connections.
fn setting(name: &'static str, good: u64) -> Check {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    judge(name, std::fs::read_to_string(path).ok().as_deref(), good)
}

fn judge(name: &'static str, value: Option<&str>, good: u64) -> Check {
    let found = value.unwrap_or("unknown").trim().to_owned();
    let (state, remedy) = match found.parse::<u64>() {
        Ok(number) if number >= good => (CheckState::Ok, String::new()),
        Ok(_) => (CheckState::Warn, format!("sysctl -w {name}={good}")),
        Err(_) => (CheckState::Warn, format!("sysctl {name}")),
    };
    Check {
        name,
        state,
        found,
        needed: format!("{good} or more"),
        remedy,
    }
}

/// The checks as aligned columns: name, state, found, and for what is not well, needed and remedy.
fn table(checks: &[Check]) -> String {
    let rows: Vec<[&str; 5]> = std::iter::once(["CHECK", "STATE", "FOUND", "NEEDED", "REMEDY"])
        .chain(checks.iter().map(row))
        .collect();
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or_default()
    };
    let [name, state, found, needed] = [0, 1, 2, 3].map(width);
    let mut out = String::new();
    for [a, b, c, d, e] in &rows {
        let line = format!("{a:name$}  {b:state$}  {c:found$}  {d:needed$}  {e}");
        writeln!(out, "{}", line.trim_end()).expect("a String takes all that is written to it");
    }
    out
}

fn row(check: &Check) -> [&str; 5] {
    let state = match check.state {
        CheckState::Ok => return [check.name, "ok", &check.found, &check.needed, ""],
        CheckState::Warn => "warn",
        CheckState::Fail => "FAIL",
    };
    [
        check.name,
        state,
        &check.found,
        &check.needed,
        &check.remedy,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_setting_is_mended_by_sysctl() {
        let check = |value: &str| judge("net.core.somaxconn", Some(value), 4096);
        assert_eq!(check("4096\n").state, CheckState::Ok);
        assert_eq!(check("9223372036854775807\n").state, CheckState::Ok);
        assert_eq!(check("128\n").remedy, "sysctl -w net.core.somaxconn=4096");
        assert_eq!(check("?").state, CheckState::Warn);
    }

    #[test]
    fn the_table_is_aligned_and_shows_a_remedy_only_where_one_is_needed() {
        let check = |name, state, found: &str, needed: &str, remedy: &str| Check {
            name,
            state,
            found: found.into(),
            needed: needed.into(),
            remedy: remedy.into(),
        };
        let fine = check("a", CheckState::Ok, "1", "1", "nothing");
        let bad = check("longer", CheckState::Fail, "0", "1 or more", "mend it");
        assert_eq!(
            table(&[fine, bad]),
            "CHECK   STATE  FOUND  NEEDED     REMEDY\n\
             a       ok     1      1\n\
             longer  FAIL   0      1 or more  mend it\n"
        );
    }
}
