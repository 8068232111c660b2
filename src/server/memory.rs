//! The memory budget: reads once a second what the process uses, and tells the shards when it is much.
//!
//! What is read is what the process would be killed for. If a cgroup limits it (version 2, its own or
//! one above), that is the group's memory without the cache of files, which the kernel drops before it
//! kills: so do Kubernetes and its like reckon, and it includes what sockets hold in the kernel. Else
//! it is the process's resident memory, against a limit that was set or all memory of the machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::metrics::{Budget, Pressure};
use crate::ring;
use crate::shard::Shared;

/// Between two readings.
const PERIOD: Duration = Duration::from_secs(1);
/// Readings under pressure between two times that the heap's free memory is given back.
const TRIM_EVERY: u64 = 5;
/// Where cgroups of version 2 are.
const CGROUPS: &str = "/sys/fs/cgroup";

/// When the server holds back, and when it lets nobody else in, for want of memory.
#[derive(Clone, Debug)]
pub struct MemoryOptions {
    /// Most memory that the process is to use, bytes. 0: the limit of its cgroup, or all memory of the
    /// machine if there is none.
    pub limit: u64,
    /// The part of the limit from which on shards stop reading from the connections that hold most.
    /// 0: never.
    pub soft: f64,
    /// The part of the limit from which on handshakes are refused with 503. 0: never.
    pub hard: f64,
    /// How it is found out what is used.
    pub used: MemoryUse,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            limit: 0,
            soft: 0.8,
            hard: 0.95,
            used: MemoryUse::Measured,
        }
    }
}

/// How it is found out what memory the process uses.
#[derive(Clone, Debug)]
pub enum MemoryUse {
    /// From `/proc` or the cgroup.
    Measured,
    /// As somebody says, bytes: for tests.
    Set(Arc<AtomicU64>),
}

/// What memory the process used when it was last looked at: at most about a second ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryReading {
    /// Bytes in use.
    pub used: u64,
    /// Bytes that it may use.
    pub limit: u64,
    /// From which use on it is how short of memory.
    pub budget: Budget,
    /// How short of memory it is.
    pub pressure: Pressure,
}

/// What the watch has seen, for everybody.
#[derive(Debug)]
pub(crate) struct MemoryGauge {
    used: AtomicU64,
    limit: u64,
    budget: Budget,
}

impl MemoryGauge {
    pub(crate) fn reading(&self, pressure: Pressure) -> MemoryReading {
        MemoryReading {
            used: self.used.load(Ordering::Relaxed),
            limit: self.limit,
            budget: self.budget,
            pressure,
        }
    }
}

/// Where the use of memory is read.
#[derive(Debug)]
enum Source {
    Resident,
    Cgroup(PathBuf),
    Set(Arc<AtomicU64>),
}

/// Looks at the process's memory.
#[derive(Debug)]
pub(crate) struct MemoryWatch {
    source: Source,
    gauge: Arc<MemoryGauge>,
}

impl MemoryOptions {
    /// Finds out what the limit is, and reads for the first time.
    ///
    /// Errors: `/proc` or the cgroup cannot be read.
    pub(crate) fn watch(&self) -> io::Result<MemoryWatch> {
        let cgroup = match self.limit {
            0 => tightest_cgroup(
                Path::new(CGROUPS),
                &fs::read_to_string("/proc/self/cgroup")?,
            ),
            _ => None,
        };
        let (limit, source) = match (self.limit, cgroup) {
            (0, Some((limit, folder))) => (limit, Source::Cgroup(folder)),
            (0, None) => (machine_memory()?, Source::Resident),
            (limit, _) => (limit, Source::Resident),
        };
        let source = match &self.used {
            MemoryUse::Measured => source,
            MemoryUse::Set(used) => Source::Set(Arc::clone(used)),
        };
        let budget = self.budget(limit);
        tracing::debug!(limit, ?budget, ?source, "memory budget");
        let used = AtomicU64::new(source.read()?);
        let gauge = Arc::new(MemoryGauge {
            used,
            limit,
            budget,
        });
        Ok(MemoryWatch { source, gauge })
    }

    fn budget(&self, limit: u64) -> Budget {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a part of a number of bytes; to the byte it does not matter"
        )]
        let mark = |part: f64| match part > 0.0 {
            true => (limit as f64 * part) as u64,
            false => u64::MAX,
        };
        Budget {
            soft: mark(self.soft),
            hard: mark(self.hard),
        }
    }
}

impl MemoryWatch {
    /// Where others see what was read.
    pub(crate) fn gauge(&self) -> Arc<MemoryGauge> {
        Arc::clone(&self.gauge)
    }

    /// Reads once a second and tells the shards, for ever.
    pub(crate) async fn run(self, shared: Arc<Shared>) {
        let mut period = tokio::time::interval(PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut short = 0;
        loop {
            period.tick().await;
            if self.look(&shared) == Pressure::None {
                short = 0;
                continue;
            }
            // The first time when the shards have had their tick and have freed what they can.
            short += 1;
            if short % TRIM_EVERY == 2 {
                // Nobody waits for it; an error would be a panic in it, and there is none.
                drop(tokio::task::spawn_blocking(ring::trim_heap));
            }
        }
    }

    /// Reads, and tells the shards what follows.
    fn look(&self, shared: &Shared) -> Pressure {
        let before = shared.pressure();
        let used = match self.source.read() {
            Ok(used) => used,
            Err(error) => {
                tracing::warn!(%error, "the use of memory cannot be read");
                return before;
            }
        };
        let MemoryGauge { limit, budget, .. } = *self.gauge;
        self.gauge.used.store(used, Ordering::Relaxed);
        let pressure = budget.pressure(used, before);
        shared.set_pressure(pressure);
        match pressure {
            _ if pressure == before => {}
            Pressure::None => tracing::info!(used, limit, "memory is enough again"),
            Pressure::Soft => {
                tracing::warn!(
                    used,
                    limit,
                    "memory is short: the fattest are not read from"
                );
            }
            Pressure::Hard => {
                tracing::warn!(used, limit, "memory is used up: handshakes are refused");
            }
        }
        pressure
    }
}

impl Source {
    /// Bytes in use.
    fn read(&self) -> io::Result<u64> {
        match self {
            Self::Resident => resident(&fs::read_to_string("/proc/self/status")?),
            Self::Cgroup(folder) => {
                let current = fs::read_to_string(folder.join("memory.current"))?;
                working_set(&current, &fs::read_to_string(folder.join("memory.stat"))?)
            }
            Self::Set(used) => Ok(used.load(Ordering::Relaxed)),
        }
    }
}

fn unreadable(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{what} has no such line"),
    )
}

/// The number behind `name` at the start of a line.
fn number(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Resident memory from `/proc/self/status`, bytes: there it is in KiB, whatever the size of a page.
fn resident(status: &str) -> io::Result<u64> {
    let kib = number(status, "VmRSS:").ok_or_else(|| unreadable("/proc/self/status"))?;
    Ok(kib * 1024)
}

fn machine_memory() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let kib = number(&text, "MemTotal:").ok_or_else(|| unreadable("/proc/meminfo"))?;
    Ok(kib * 1024)
}

/// A group's memory without the file cache that is not in use, bytes.
fn working_set(current: &str, stat: &str) -> io::Result<u64> {
    let current: u64 = current
        .trim()
        .parse()
        .map_err(|_| unreadable("memory.current"))?;
    let inactive = number(stat, "inactive_file").ok_or_else(|| unreadable("memory.stat"))?;
    Ok(current.saturating_sub(inactive))
}

/// Of the cgroup that `/proc/self/cgroup` names and those above it the one with the lowest limit:
/// bytes and folder. `None`: none of them has one, or there is no version 2 here.
fn tightest_cgroup(root: &Path, own: &str) -> Option<(u64, PathBuf)> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let folder = root.join(path);
    let limited = folder
        .ancestors()
        .take_while(|folder| folder.starts_with(root));
    let limited = limited.filter_map(|folder| {
        // A group above may be out of sight in a container, and the root has no such file.
        let limit = fs::read_to_string(folder.join("memory.max")).ok()?;
        Some((limit.trim().parse().ok()?, folder.to_owned()))
    });
    limited.min_by_key(|&(limit, _)| limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::Options;

    #[test]
    fn what_the_kernel_says_is_understood() {
        let status = "Name:\tcampanile\nVmPeak:\t  9000 kB\nVmRSS:\t    2048 kB\nThreads:\t4\n";
        assert_eq!(resident(status).unwrap(), 2 << 20);
        assert!(resident("Name:\tx\n").is_err());
        let stat = "anon 700\nfile 250\ninactive_anon 9\ninactive_file 200\nactive_file 50\n";
        assert_eq!(working_set("1000\n", stat).unwrap(), 800);
        assert_eq!(working_set("100\n", stat).unwrap(), 0);
        assert!(working_set("max\n", stat).is_err() && working_set("1\n", "anon 1\n").is_err());
        assert!(machine_memory().unwrap() > 1 << 20);
        assert!(Source::Resident.read().unwrap() > 1 << 20);
    }

    #[test]
    fn the_tightest_of_the_groups_above_counts() {
        let root = std::env::temp_dir().join(format!("campanile-cgroup-{}", std::process::id()));
        let group = |path: &str, limit: &str| {
            fs::create_dir_all(root.join(path)).unwrap();
            fs::write(root.join(path).join("memory.max"), limit).unwrap();
        };
        group("a", "5000\n");
        group("a/b", "9000\n");
        group("a/b/c", "max\n");
        let tightest = |own: &str| tightest_cgroup(&root, own);
        assert_eq!(tightest("0::/a/b/c\n"), Some((5000, root.join("a"))));
        assert_eq!(tightest("0::/a/x\n"), Some((5000, root.join("a"))));
        assert_eq!(tightest("0::/\n"), None);
        assert_eq!(tightest("12:memory:/a\n"), None, "version 1");
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn parts_of_the_limit_become_bytes_and_zero_is_never() {
        let options = |soft, hard| MemoryOptions {
            soft,
            hard,
            ..MemoryOptions::default()
        };
        let budget = options(0.5, 0.75).budget(1000);
        assert_eq!((budget.soft, budget.hard), (500, 750));
        assert_eq!(options(0.0, 0.0).budget(1000), Budget::NONE);
        let budget = options(0.0, 0.75).budget(1000);
        assert_eq!((budget.soft, budget.hard), (u64::MAX, 750));
    }

    #[test]
    fn shards_are_told_what_is_read() {
        let used = Arc::new(AtomicU64::new(10));
        let options = MemoryOptions {
            limit: 1000,
            used: MemoryUse::Set(Arc::clone(&used)),
            ..MemoryOptions::default()
        };
        let watch = options.watch().unwrap();
        let shared = Shared::new(Options::default(), 1, 1);
        for (bytes, pressure) in [
            (10, Pressure::None),
            (800, Pressure::Soft),
            (960, Pressure::Hard),
            (10, Pressure::None),
        ] {
            used.store(bytes, Ordering::Relaxed);
            assert_eq!(watch.look(&shared), pressure);
            assert_eq!(shared.pressure(), pressure);
            let reading = watch.gauge().reading(pressure);
            assert_eq!((reading.used, reading.limit), (bytes, 1000));
        }
    }
}
