//! `--series`: what came in each quarter of a second, one JSON object a line.
//!
//! ```text
//!   {"unix_s":1763729000.25,"received":5000,"p50_us":180,"p99_us":310,"max_us":402,"server_rss_bytes":6553600}
//! ```
//! A message counts in the quarter in which it has come, with its whole latency; where none came the
//! latencies are null. So in an open loop a stall is seen twice: as nothing that comes, and then as
//! messages that are as late as it was long.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use hdrhistogram::Histogram;
use serde_json::json;

use super::latency;
use super::process;
use super::shared::Shared;

/// Length of one line's time, microseconds.
const PERIOD_US: u64 = 250_000;
/// Periods until all threads have handed over what came in one: a turn takes a period at most.
const PERIODS_LATE: u64 = 3;

/// In which period a time is.
pub(crate) fn period(us: u64) -> u64 {
    us / PERIOD_US
}

/// Latencies by the period in which messages have come.
pub(crate) type Periods = BTreeMap<u64, Histogram<u64>>;

/// The file, and what is yet to be written to it.
#[derive(Debug)]
pub(crate) struct Series {
    out: BufWriter<File>,
    /// The first period that is not written.
    next: u64,
    /// Memory of the server at the end of each period that is not written, bytes.
    rss: BTreeMap<u64, u64>,
}

impl Series {
    /// Writes to a new file, from the present period on.
    pub(crate) fn create(path: &Path, shared: &Shared) -> io::Result<Self> {
        let file = File::create(path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        for gauge in &shared.gauges {
            gauge.published().periods = Some(Periods::new());
        }
        Ok(Self {
            out: BufWriter::new(file),
            next: period(shared.origin.us()),
            rss: BTreeMap::new(),
        })
    }

    /// Writes the periods that are complete. To be called several times in each of them.
    pub(crate) fn look(&mut self, shared: &Shared, server: Option<u32>) -> io::Result<()> {
        let now = period(shared.origin.us());
        if let Some(server) = server
            && !self.rss.contains_key(&now)
        {
            self.rss.insert(now, process::resident_bytes(server)?);
        }
        self.write(shared, now.saturating_sub(PERIODS_LATE))
    }

    /// Writes all that is left. Nothing may come any more.
    pub(crate) fn end(mut self, shared: &Shared) -> io::Result<()> {
        self.write(shared, period(shared.origin.us()) + 1)
    }

    /// Writes the periods before `end`.
    fn write(&mut self, shared: &Shared, end: u64) -> io::Result<()> {
        while self.next < end {
            let mut all = latency::histogram();
            for gauge in &shared.gauges {
                let mut published = gauge.published();
                let periods = published.periods.as_mut();
                if let Some(periods) = periods {
                    // What a thread that did not get to run has handed over late counts here.
                    while let Some(part) = periods.first_entry()
                        && *part.key() <= self.next
                    {
                        all += part.remove();
                    }
                }
            }
            let rss = self.rss.remove(&self.next);
            let unix_s = shared.origin.unix_s(self.next * PERIOD_US);
            writeln!(self.out, "{}", line(unix_s, &all, rss))?;
            self.next += 1;
        }
        self.out.flush()
    }
}

fn line(unix_s: f64, latencies: &Histogram<u64>, rss: Option<u64>) -> serde_json::Value {
    let quantile =
        |quantile| (!latencies.is_empty()).then(|| latencies.value_at_quantile(quantile));
    json!({
        "unix_s": unix_s,
        "received": latencies.len(),
        "p50_us": quantile(0.5),
        "p99_us": quantile(0.99),
        "max_us": quantile(1.0),
        "server_rss_bytes": rss,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_nothing_has_no_latencies() {
        let nothing = line(1.25, &latency::histogram(), Some(4096));
        let expected = json!({
            "unix_s": 1.25, "received": 0, "p50_us": null, "p99_us": null, "max_us": null,
            "server_rss_bytes": 4096
        });
        assert_eq!(nothing, expected);
    }

    #[test]
    fn a_line_has_what_came_in_its_time() {
        let mut latencies = latency::histogram();
        latencies.record_n(100, 99).unwrap();
        latencies.record(900).unwrap();
        let written = line(0.0, &latencies, None);
        let expected = json!({
            "unix_s": 0.0, "received": 100, "p50_us": 100, "p99_us": 100, "max_us": 900,
            "server_rss_bytes": null
        });
        assert_eq!(written, expected);
    }
}
