//! `campanile doctor`: what the server needs of this machine, what it found, what mends it.
//!
//! Each check is a function of the text of a file in `/proc`; [`run`] alone reads them.

use std::fmt::Write;
use std::process::ExitCode;

/// Oldest kernel, major and minor: `IORING_SETUP_DEFER_TASKRUN` is of 6.1.
const KERNEL_MIN: (u32, u32) = (6, 1);
/// Open files below which the server cannot do its own work: listeners, rings, handshakes.
const OPEN_FILES_MIN: u64 = 1024;
/// Open files that leave room: they bound handshakes, plain HTTP, and how many direct descriptors
/// one ring may hold.
const OPEN_FILES_GOOD: u64 = 65_536;
/// Queue of accepted connections that a burst of reconnects does not fill. Linux's own since 5.4.
const BACKLOG_GOOD: u64 = 4096;
/// Open files of the whole system: room for a million connections.
const FILE_MAX_GOOD: u64 = 1_000_000;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// As it should be.
    Ok,
    /// The server starts; something is or may be worse than it could be.
    Warn,
    /// The server does not start.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// What was looked at.
    pub(crate) name: String,
    /// How it came out.
    pub(crate) state: State,
    /// What is there.
    pub(crate) found: String,
    /// What should be there.
    pub(crate) needed: String,
    /// The command that mends it; not printed if there is nothing to mend.
    pub(crate) remedy: String,
}

impl Check {
    fn new(name: &str, found: impl Into<String>, needed: impl Into<String>) -> Self {
        let (found, needed) = (found.into(), needed.into());
        Self {
            name: name.into(),
            state: State::Ok,
            found,
            needed,
            remedy: String::new(),
        }
    }

    fn but(self, state: State, remedy: impl Into<String>) -> Self {
        Self {
            state,
            remedy: remedy.into(),
            ..self
        }
    }
}

/// Looks at everything, prints the table. Exit code 1 if the server could not start.
pub(crate) fn run() -> ExitCode {
    let checks = system_checks();
    let printed = super::print(&table(&checks));
    if checks.iter().any(|check| check.state == State::Fail) {
        ExitCode::FAILURE
    } else {
        printed
    }
}

/// The checks that need no more than `/proc`.
fn system_checks() -> Vec<Check> {
    vec![
        kernel(read("/proc/sys/kernel/osrelease").as_deref()),
        io_uring_disabled(read("/proc/sys/kernel/io_uring_disabled").as_deref()),
        seccomp(read("/proc/self/status").as_deref()),
        open_files(read("/proc/self/limits").as_deref()),
        setting(
            "net.core.somaxconn",
            read("/proc/sys/net/core/somaxconn"),
            BACKLOG_GOOD,
        ),
        setting(
            "net.ipv4.tcp_max_syn_backlog",
            read("/proc/sys/net/ipv4/tcp_max_syn_backlog"),
            BACKLOG_GOOD,
        ),
        setting("fs.file-max", read("/proc/sys/fs/file-max"), FILE_MAX_GOOD),
    ]
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// `/proc/sys/kernel/osrelease`, such as `6.18.2-amd64`.
fn kernel(release: Option<&str>) -> Check {
    let (major, minor) = KERNEL_MIN;
    let found = release.unwrap_or("unknown").trim();
    let check = Check::new("kernel", found, format!("{major}.{minor} or newer"));
    match version(found) {
        Some(version) if version >= KERNEL_MIN => check,
        Some(_) => check.but(State::Fail, "boot a newer kernel (Debian 12 has 6.1)"),
        None => check.but(State::Warn, "uname -r"),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// `/proc/sys/kernel/io_uring_disabled`, since Linux 6.6. 1 leaves io_uring to CAP_SYS_ADMIN and to
/// members of `kernel.io_uring_group`.
fn io_uring_disabled(value: Option<&str>) -> Check {
    let needed = "0";
    let name = "kernel.io_uring_disabled";
    let remedy = "sysctl -w kernel.io_uring_disabled=0";
    match value.map(str::trim) {
        None => Check::new(name, "not there, so not disabled", needed),
        Some("0") => Check::new(name, "0", needed),
        Some("1") => Check::new(
            name,
            "1: only for privileged processes and kernel.io_uring_group",
            needed,
        )
        .but(State::Warn, remedy),
        Some(other) => Check::new(name, other, needed).but(State::Fail, remedy),
    }
}

/// The line `Seccomp:` of `/proc/self/status`: 0 off, 1 strict, 2 a filter.
fn seccomp(status: Option<&str>) -> Check {
    let mode = status.and_then(|status| {
        status
            .lines()
            .find_map(|line| line.strip_prefix("Seccomp:"))
            .map(str::trim)
    });
    let check = |found| Check::new("seccomp", found, "no filter, or one that permits io_uring");
    match mode {
        Some("0") => check("no filter"),
        Some("2") => check("a filter; those of Docker and containerd refuse io_uring").but(
            State::Warn,
            "if io_uring is refused: docker run --security-opt seccomp=unconfined",
        ),
        _ => check("unknown").but(State::Warn, "grep Seccomp /proc/self/status"),
    }
}

/// The line `Max open files` of `/proc/self/limits`: soft limit, hard limit.
fn open_files(limits: Option<&str>) -> Check {
    let name = "RLIMIT_NOFILE";
    let needed = OPEN_FILES_GOOD.to_string();
    let limits = limits.and_then(|limits| {
        let line = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max open files"))?;
        let mut words = line.split_whitespace().map(|word| match word {
            "unlimited" => Some(u64::MAX),
            number => number.parse().ok(),
        });
        Some((words.next()??, words.next()??))
    });
    let Some((soft, hard)) = limits else {
        return Check::new(name, "unknown", needed).but(State::Warn, "ulimit -n");
    };
    let check = Check::new(name, format!("{soft} (hard limit {hard})"), needed);
    let remedy = if hard >= OPEN_FILES_GOOD {
        format!("ulimit -n {OPEN_FILES_GOOD}")
    } else {
        "LimitNOFILE=1048576 in the systemd unit, or nofile in /etc/security/limits.conf".into()
    };
    match soft {
        OPEN_FILES_GOOD.. => check,
        OPEN_FILES_MIN.. => check.but(State::Warn, remedy),
        _ => check.but(State::Fail, remedy),
    }
}

/// A number of sysctl that may be too small for many connections.
fn setting(name: &str, value: Option<String>, good: u64) -> Check {
    let found = value.as_deref().unwrap_or("unknown").trim();
    let check = Check::new(name, found, format!("{good} or more"));
    match found.parse::<u64>() {
        Ok(number) if number >= good => check,
        Ok(_) => check.but(State::Warn, format!("sysctl -w {name}={good}")),
        Err(_) => check.but(State::Warn, format!("sysctl {name}")),
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
        State::Ok => return [&check.name, "ok", &check.found, &check.needed, ""],
        State::Warn => "warn",
        State::Fail => "FAIL",
    };
    [
        &check.name,
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
    fn a_kernel_older_than_6_1_fails() {
        for (release, state) in [
            ("6.18.2-amd64\n", State::Ok),
            ("6.1.0", State::Ok),
            ("7.0-rc1", State::Ok),
            ("10.0", State::Ok),
            ("6.0.19", State::Fail),
            ("5.15.0-91-generic", State::Fail),
            ("", State::Warn),
            ("six.one", State::Warn),
            ("6", State::Warn),
        ] {
            assert_eq!(kernel(Some(release)).state, state, "{release:?}");
        }
        assert_eq!(kernel(None).state, State::Warn);
    }

    #[test]
    fn io_uring_switched_off_names_the_sysctl() {
        for (value, state) in [
            (None, State::Ok),
            (Some("0\n"), State::Ok),
            (Some("1\n"), State::Warn),
            (Some("2\n"), State::Fail),
        ] {
            let check = io_uring_disabled(value);
            assert_eq!(check.state, state, "{value:?}");
            assert_eq!(
                check.remedy.contains("kernel.io_uring_disabled=0"),
                state != State::Ok
            );
        }
    }

    #[test]
    fn a_seccomp_filter_is_a_warning() {
        let status = |mode| format!("Name:\tx\nSeccomp:\t{mode}\nSeccomp_filters:\t1\n");
        assert_eq!(seccomp(Some(&status("0"))).state, State::Ok);
        assert_eq!(seccomp(Some(&status("2"))).state, State::Warn);
        assert_eq!(seccomp(Some("Name:\tx\n")).state, State::Warn);
        assert_eq!(seccomp(None).state, State::Warn);
    }

    #[test]
    fn open_files_are_read_with_both_limits() {
        let limits = |soft: &str, hard: &str| {
            let line = format!("Max open files            {soft}    {hard}    files\n");
            open_files(Some(&format!(
                "Limit   Soft Limit   Hard Limit   Units\n{line}"
            )))
        };
        assert_eq!(limits("65536", "65536").state, State::Ok);
        assert_eq!(limits("unlimited", "unlimited").state, State::Ok);
        assert_eq!(limits("1023", "1023").state, State::Fail);
        let raised = limits("1024", "1048576");
        assert_eq!(
            (raised.state, raised.remedy.as_str()),
            (State::Warn, "ulimit -n 65536")
        );
        let capped = limits("4096", "4096");
        assert!(capped.remedy.contains("LimitNOFILE"), "{capped:?}");
        assert_eq!(open_files(Some("nonsense")).state, State::Warn);
        assert_eq!(open_files(None).state, State::Warn);
    }

    #[test]
    fn a_small_setting_is_mended_by_sysctl() {
        let check = |value: &str| setting("net.core.somaxconn", Some(value.into()), 4096);
        assert_eq!(check("4096\n").state, State::Ok);
        assert_eq!(check("9223372036854775807\n").state, State::Ok);
        assert_eq!(check("128\n").remedy, "sysctl -w net.core.somaxconn=4096");
        assert_eq!(check("?").state, State::Warn);
    }

    #[test]
    fn the_table_is_aligned_and_shows_a_remedy_only_where_one_is_needed() {
        let fine = Check {
            remedy: "nothing".into(),
            ..Check::new("a", "1", "1")
        };
        let bad = Check::new("longer", "0", "1 or more").but(State::Fail, "mend it");
        assert_eq!(
            table(&[fine, bad]),
            "CHECK   STATE  FOUND  NEEDED     REMEDY\n\
             a       ok     1      1\n\
             longer  FAIL   0      1 or more  mend it\n"
        );
    }
}
