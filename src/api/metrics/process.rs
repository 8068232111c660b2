//! What the system says about the process, from `/proc/self`.

use std::fs;
use std::io;

/// Clock ticks of a second in `/proc`: `USER_HZ`, which is 100 on every architecture that io_uring and
/// Rust are on together.
const TICKS: f64 = 100.0;

/// What the system says about the process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Process {
    /// Processor time, of the user and the system, seconds.
    pub cpu_seconds: f64,
    /// Memory that is in RAM, bytes.
    pub resident_bytes: u64,
    /// Addresses in use, bytes.
    pub virtual_bytes: u64,
    /// Open descriptors. Sockets that speak WebSocket are none: they are in the rings' own tables.
    pub open_fds: u64,
    /// Threads.
    pub threads: u64,
    /// When it started, seconds since 1970 UTC.
    pub start_seconds: f64,
}

impl Process {
    /// Reads it.
    ///
    /// Errors: `/proc` is not there or not as expected.
    pub fn read() -> io::Result<Self> {
        let stat = fs::read_to_string("/proc/self/stat")?;
        let status = fs::read_to_string("/proc/self/status")?;
        let booted = fs::read_to_string("/proc/stat")?;
        Self::parse(&stat, &status, &booted, open_fds()?)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc is not as expected"))
    }

    fn parse(stat: &str, status: &str, booted: &str, open_fds: u64) -> Option<Self> {
        // The program's name, in parentheses, may hold anything; the third field follows it.
        let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
        let ticks = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
        let line = |text: &str, name: &str| {
            let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
            rest.split_whitespace().next()?.parse::<u64>().ok()
        };
        let booted = line(booted, "btime ")?;
        Some(Self {
            cpu_seconds: (ticks(14)? + ticks(15)?) / TICKS,
            resident_bytes: line(status, "VmRSS:")? * 1024,
            virtual_bytes: line(status, "VmSize:")? * 1024,
            open_fds,
            threads: line(status, "Threads:")?,
            start_seconds: super::families::number(booted) + ticks(22)? / TICKS,
        })
    }
}

/// How many descriptors are open. Since Linux 6.2 the folder's size says so; before they are listed.
fn open_fds() -> io::Result<u64> {
    match fs::metadata("/proc/self/fd")?.len() {
        0 => Ok(fs::read_dir("/proc/self/fd")?.count() as u64),
        count => Ok(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_words_are_understood() {
        let stat = "4711 (odd) name) S 1 4711 4711 0 -1 4194560 10 0 0 0 150 50 0 0 20 0 5 0 \
                    12345 1000000 500 18446744073709551615";
        let status = "Name:\tx\nVmSize:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t5\n";
        let process = Process::parse(stat, status, "cpu 1 2\nbtime 1795000000\n", 9).unwrap();
        let expected = Process {
            cpu_seconds: 2.0,
            resident_bytes: 1 << 20,
            virtual_bytes: 2 << 20,
            open_fds: 9,
            threads: 5,
            start_seconds: 1_795_000_123.45,
        };
        assert_eq!(process, expected);
        assert!(Process::parse("no name", status, "btime 1\n", 9).is_none());

        let own = Process::read().unwrap();
        assert!(own.open_fds >= 3 && own.threads >= 1 && own.resident_bytes > 1 << 20);
        assert!(own.start_seconds > 1.7e9, "{own:?}");
    }
}
