//! What this machine offers a ring: the facts behind `campanile doctor`.

use std::fs;
use std::io;

use io_uring::{IoUring, Probe, opcode};

use super::buf_ring::BufRing;
use super::{RingConfig, RingError, SetUpCall, descriptor, set_up};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckState {
    /// As it should be.
    Ok,
    /// The server runs, but less well than it could.
    Warn,
    /// The server cannot run.
    Fail,
}

/// One fact about the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it came out.
    pub state: CheckState,
    /// What was found.
    pub found: String,
    /// What is needed, or advised.
    pub needed: String,
    /// What to do about it; empty when all is well.
    pub remedy: String,
}

impl Check {
    fn new(name: &'static str, found: impl Into<String>, needed: impl Into<String>) -> Self {
        Self {
            name,
            state: CheckState::Ok,
            found: found.into(),
            needed: needed.into(),
            remedy: String::new(),
        }
    }

    fn unless(mut self, is_well: bool, state: CheckState, remedy: impl Into<String>) -> Self {
        if !is_well {
            self.state = state;
            self.remedy = remedy.into();
        }
        self
    }
}

/// All checks, in the order in which they make sense to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The checks.
    pub checks: Vec<Check>,
}

impl Report {
    /// The worst state of any check.
    pub fn state(&self) -> CheckState {
        self.checks
            .iter()
            .map(|check| check.state)
            .max()
            .unwrap_or(CheckState::Ok)
    }
}

/// Looks at the machine, and sets a ring up for a moment to see whether it may.
pub fn probe() -> Report {
    let mut checks = vec![check_kernel(&kernel_release()), check_sysctl()];
    checks.push(check_seccomp());
    match set_up(&RingConfig::default()) {
        Ok(uring) => {
            checks.push(Check::new("io_uring", "can be set up", SET_UP_NEEDED));
            checks.push(check_operations(&uring));
            checks.push(check_buffer_ring(&uring));
        }
        Err(error) => {
            let error = RingError::new(SetUpCall::Setup, &error);
            checks.push(
                Check::new(
                    "io_uring",
                    io::Error::from_raw_os_error(error.errno).to_string(),
                    SET_UP_NEEDED,
                )
                .unless(false, CheckState::Fail, error.to_string()),
            );
        }
    }
    checks.push(check_open_files());
    checks.push(check_locked_memory());
    checks.push(check_backlog());
    Report { checks }
}

const SET_UP_NEEDED: &str = "SINGLE_ISSUER, DEFER_TASKRUN, SUBMIT_ALL";

/// The running kernel, as `uname -r` has it; "unknown" without /proc.
pub(super) fn kernel_release() -> String {
    read_trimmed("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned())
}

/// Major and minor version out of a release.
pub(super) fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn read_trimmed(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn check_kernel(release: &str) -> Check {
    Check::new("kernel", release, "6.1 or newer").unless(
        kernel_version(release) >= Some((6, 1)),
        CheckState::Fail,
        "Run a kernel of the 6.1 series or newer (DEFER_TASKRUN).",
    )
}

fn check_sysctl() -> Check {
    // The switch came with 6.6; without it io_uring is allowed.
    let found = read_trimmed("/proc/sys/kernel/io_uring_disabled");
    let state = match found.as_deref() {
        None | Some("0") => CheckState::Ok,
        Some("1") => CheckState::Warn,
        Some(_) => CheckState::Fail,
    };
    Check::new(
        "io_uring_disabled",
        found.unwrap_or_else(|| "no such switch".to_owned()),
        "0",
    )
    .unless(
        state == CheckState::Ok,
        state,
        "sysctl kernel.io_uring_disabled=0 (1 allows it to the group kernel.io_uring_group only).",
    )
}

fn check_seccomp() -> Check {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mode = status
        .lines()
        .find_map(|line| line.strip_prefix("Seccomp:"))
        .map_or("unknown", str::trim);
    let found = match mode {
        "0" => "none",
        "1" => "strict",
        "2" => "filter",
        other => other,
    };
    Check::new("seccomp", found, "none, or a filter that allows io_uring").unless(
        mode == "0",
        CheckState::Warn,
        "A filter is in force. If io_uring is refused below, use a container profile that allows \
         io_uring_setup, io_uring_enter and io_uring_register.",
    )
}

/// Every operation that the ring submits.
const OPERATIONS: [(&str, u8); 10] = [
    ("POLL_ADD", opcode::PollAdd::CODE),
    ("ACCEPT", opcode::Accept::CODE),
    ("RECV", opcode::Recv::CODE),
    ("SEND", opcode::Send::CODE),
    ("SENDMSG", opcode::SendMsg::CODE),
    ("ASYNC_CANCEL", opcode::AsyncCancel::CODE),
    ("SHUTDOWN", opcode::Shutdown::CODE),
    ("CLOSE", opcode::Close::CODE),
    ("FILES_UPDATE", opcode::FilesUpdate::CODE),
    ("MSG_RING", opcode::MsgRingData::CODE),
];

fn check_operations(uring: &IoUring) -> Check {
    const NAME: &str = "operations";
    let mut supported = Probe::new();
    let needed = OPERATIONS.map(|(name, _)| name).join(", ");
    if let Err(error) = uring.submitter().register_probe(&mut supported) {
        return Check::new(NAME, error.to_string(), needed).unless(
            false,
            CheckState::Fail,
            "IORING_REGISTER_PROBE was refused: allow io_uring_register.",
        );
    }
    let missing: Vec<&str> = OPERATIONS
        .iter()
        .filter(|(_, code)| !supported.is_supported(*code))
        .map(|(name, _)| *name)
        .collect();
    let found = if missing.is_empty() {
        "all supported".to_owned()
    } else {
        format!("without {}", missing.join(", "))
    };
    Check::new(NAME, found, needed).unless(
        missing.is_empty(),
        CheckState::Fail,
        "Run a kernel of the 6.1 series or newer.",
    )
}

fn check_buffer_ring(uring: &IoUring) -> Check {
    let config = RingConfig::default();
    let needed = format!(
        "{} buffers of {} bytes",
        config.recv_buffers, config.recv_buffer_bytes
    );
    let registered =
        BufRing::map(config.recv_buffers, config.recv_buffer_bytes).and_then(|buffers| {
            buffers.register(&uring.submitter())?;
            uring
                .submitter()
                .unregister_buf_ring(super::op::BUFFER_GROUP)
        });
    let found = match &registered {
        Ok(()) => "can be registered".to_owned(),
        Err(error) => error.to_string(),
    };
    Check::new("buffer ring", found, needed).unless(
        registered.is_ok(),
        CheckState::Fail,
        "Provided buffer rings need kernel 5.19 and memory that may be pinned (ulimit -l).",
    )
}

/// Soft limits of open files below this are worth a word: each shard's table is bounded by it.
const OPEN_FILES_ADVISED: u64 = 65_536;

fn check_open_files() -> Check {
    const NAME: &str = "RLIMIT_NOFILE";
    let needed = format!("hard limit {OPEN_FILES_ADVISED} or more");
    match descriptor::open_files() {
        Ok(limit) => Check::new(
            NAME,
            format!("soft {}, hard {}", limit.soft, limit.hard),
            needed,
        )
        .unless(
            limit.hard >= OPEN_FILES_ADVISED,
            CheckState::Warn,
            "Raise it (ulimit -Hn, LimitNOFILE): it bounds the connections of each shard.",
        ),
        Err(error) => Check::new(NAME, error.to_string(), needed).unless(
            false,
            CheckState::Warn,
            "The limit could not be read.",
        ),
    }
}

/// What one ring pins at most, bytes: before 5.12 rings were charged to this limit, and pinned
/// buffers still are without CAP_IPC_LOCK.
const LOCKED_BYTES_ADVISED: u64 = 8 * 1024 * 1024;

fn check_locked_memory() -> Check {
    const NAME: &str = "RLIMIT_MEMLOCK";
    let needed = format!("{LOCKED_BYTES_ADVISED} bytes or more");
    match descriptor::rlimit(libc::RLIMIT_MEMLOCK) {
        Ok(limit) if limit.rlim_cur == libc::RLIM_INFINITY => Check::new(NAME, "unlimited", needed),
        Ok(limit) => Check::new(NAME, format!("{} bytes", limit.rlim_cur), needed).unless(
            limit.rlim_cur >= LOCKED_BYTES_ADVISED,
            CheckState::Warn,
            "Raise it (ulimit -l, LimitMEMLOCK) if a ring cannot be set up with ENOMEM.",
        ),
        Err(error) => Check::new(NAME, error.to_string(), needed).unless(
            false,
            CheckState::Warn,
            "The limit could not be read.",
        ),
    }
}

/// Connections that may wait to be accepted.
const BACKLOG_ADVISED: u32 = 4096;

fn check_backlog() -> Check {
    let found = read_trimmed("/proc/sys/net/core/somaxconn");
    let is_well = found
        .as_ref()
        .and_then(|text| text.parse::<u32>().ok())
        .is_some_and(|entries| entries >= BACKLOG_ADVISED);
    Check::new(
        "net.core.somaxconn",
        found.unwrap_or_else(|| "unknown".to_owned()),
        format!("{BACKLOG_ADVISED} or more"),
    )
    .unless(
        is_well,
        CheckState::Warn,
        "sysctl net.core.somaxconn=4096: a burst of connections overflows a short backlog.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_release_gives_its_version() {
        assert_eq!(kernel_version("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(kernel_version("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(kernel_version("7.0-rc1"), Some((7, 0)));
        assert_eq!(kernel_version("unknown"), None);
    }

    #[test]
    fn kernels_below_the_floor_fail() {
        for (release, state) in [
            ("5.15.0", CheckState::Fail),
            ("6.0.19", CheckState::Fail),
            ("6.1.0", CheckState::Ok),
            ("unknown", CheckState::Fail),
        ] {
            let check = check_kernel(release);
            assert_eq!(check.state, state, "{release}");
            assert_eq!(check.remedy.is_empty(), state == CheckState::Ok);
        }
    }

    #[test]
    fn this_machine_passes_and_is_reported_in_full() {
        let report = probe();
        assert_ne!(report.state(), CheckState::Fail, "{report:?}");
        let names: Vec<&str> = report.checks.iter().map(|check| check.name).collect();
        for name in [
            "kernel",
            "io_uring",
            "operations",
            "buffer ring",
            "RLIMIT_NOFILE",
        ] {
            assert!(names.contains(&name), "{name}");
        }
    }
}
