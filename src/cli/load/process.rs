//! What `/proc` tells of the server, of the load and of the machine: processor time and memory.

use std::fs;
use std::io;

/// A field of `/proc/meminfo` or `/proc/PID/status`, kibibytes.
fn kibibytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(field))?;
    line[field.len()..].split_whitespace().next()?.parse().ok()
}

fn missing(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{what} is not in /proc"))
}

/// Processor time of all threads of a process since it began, nanoseconds.
///
/// The scheduler's own clock: what `utime + stime` of `/proc/PID/stat` show in ticks of 10 ms. A
/// thread that ends takes its time with it.
pub(crate) fn cpu_ns(process: u32) -> io::Result<u64> {
    let mut total = 0;
    let threads = fs::read_dir(format!("/proc/{process}/task"))
        .map_err(|error| io::Error::new(error.kind(), format!("process {process}: {error}")))?;
    for thread in threads {
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else {
            // It has ended since the directory was read.
            continue;
        };
        let on_cpu = text.split_whitespace().next().map(str::parse::<u64>);
        total += on_cpu
            .and_then(Result::ok)
            .ok_or_else(|| missing("schedstat"))?;
    }
    Ok(total)
}

/// Time that a core was not idle since the machine started, microseconds, in steps of 10 ms.
pub(crate) fn core_busy_us(core: usize) -> io::Result<u64> {
    const TICK_US: u64 = 10_000;
    let text = fs::read_to_string("/proc/stat")?;
    let name = format!("cpu{core} ");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&name))
        .ok_or_else(|| missing(&name))?;
    // user nice system idle iowait irq softirq steal
    let fields = line.split_whitespace().take(8).enumerate();
    let busy = fields.filter(|&(place, _)| place != 3 && place != 4);
    let ticks: u64 = busy
        .filter_map(|(_, ticks)| ticks.parse::<u64>().ok())
        .sum();
    Ok(ticks * TICK_US)
}

/// Resident memory of a process, bytes.
pub(crate) fn resident_bytes(process: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status"))?;
    Ok(kibibytes(&text, "VmRSS:").ok_or_else(|| missing("VmRSS"))? * 1024)
}

/// Slab memory of the kernel, bytes: sockets of both ends, polls, files.
pub(crate) fn slab_bytes() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    Ok(kibibytes(&text, "Slab:").ok_or_else(|| missing("Slab"))? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_time_and_memory() {
        let process = std::process::id();
        assert!(cpu_ns(process).unwrap() > 0);
        assert!(resident_bytes(process).unwrap() > 1 << 16);
        assert!(slab_bytes().unwrap() > 0);
        assert!(core_busy_us(0).unwrap() > 0);
    }

    #[test]
    fn no_process_is_an_error_that_names_it() {
        let error = cpu_ns(u32::MAX).unwrap_err();
        assert!(error.to_string().contains("4294967295"), "{error}");
    }
}
