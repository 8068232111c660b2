//! Latencies: counted by the thread that sees them, gathered by the one that reports.

use hdrhistogram::Histogram;

use super::series::{self, Periods};

/// One hour. What takes longer counts as this.
const LONGEST_US: u64 = 3_600_000_000;
/// Figures that are kept: a value is right to one part in a thousand.
const SIGNIFICANT: u8 = 3;

pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_US, SIGNIFICANT).expect("the bounds are in order")
}

/// What a thread has handed over.
#[derive(Debug)]
pub(crate) struct Published {
    /// Since the last progress line.
    pub(crate) recent: Histogram<u64>,
    /// Since measuring began.
    pub(crate) measured: Histogram<u64>,
    /// The longest since measuring began, to the microsecond.
    pub(crate) longest_us: u64,
    /// By the time at which messages have come, where that is wanted.
    pub(crate) periods: Option<Periods>,
}

impl Published {
    pub(crate) fn new() -> Self {
        Self {
            recent: histogram(),
            measured: histogram(),
            longest_us: 0,
            periods: None,
        }
    }
}

/// A thread's own count.
#[derive(Debug)]
pub(crate) struct Latencies {
    counts: Histogram<u64>,
    longest_us: u64,
    /// A latency and how often it was seen in a row: what comes in one receive was often sent at one
    /// time.
    run: (u64, u64),
    handed_over_us: u64,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        Self {
            counts: histogram(),
            longest_us: 0,
            run: (0, 0),
            handed_over_us: 0,
        }
    }

    #[inline]
    pub(crate) fn record(&mut self, us: u64) {
        if us == self.run.0 {
            self.run.1 += 1;
        } else {
            self.end_run();
            self.run = (us, 1);
        }
    }

    fn end_run(&mut self) {
        let (us, count) = std::mem::take(&mut self.run);
        if count > 0 {
            self.counts.saturating_record_n(us.max(1), count);
            self.longest_us = self.longest_us.max(us);
        }
    }

    /// Whether a new period has begun. Nothing of it may have been recorded yet.
    pub(crate) fn is_due(&self, now_us: u64) -> bool {
        series::period(now_us) != series::period(self.handed_over_us)
    }

    /// Adds everything to `published`, and forgets it.
    pub(crate) fn hand_over(&mut self, now_us: u64, published: &mut Published, measuring: bool) {
        self.end_run();
        let period = series::period(self.handed_over_us);
        self.handed_over_us = now_us;
        if self.counts.is_empty() {
            return;
        }
        published.recent += &self.counts;
        if let Some(periods) = &mut published.periods {
            *periods.entry(period).or_insert_with(histogram) += &self.counts;
        }
        if measuring {
            published.measured += &self.counts;
            published.longest_us = published.longest_us.max(self.longest_us);
        }
        self.counts.reset();
        self.longest_us = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_is_handed_over_once() {
        let mut latencies = Latencies::new();
        let mut published = Published::new();
        for us in [0, 5, 5, 5, 70, 5] {
            latencies.record(us);
        }
        latencies.hand_over(1, &mut published, false);
        assert_eq!((published.recent.len(), published.measured.len()), (6, 0));
        latencies.record(1_234_567);
        latencies.hand_over(2, &mut published, true);
        latencies.hand_over(3, &mut published, true);
        assert_eq!((published.recent.len(), published.measured.len()), (7, 1));
        assert_eq!(published.longest_us, 1_234_567);
    }

    #[test]
    fn latencies_belong_to_the_period_in_which_they_were_recorded() {
        let mut latencies = Latencies::new();
        let mut published = Published::new();
        published.periods = Some(Periods::new());
        latencies.record(5);
        assert!(!latencies.is_due(249_999));
        // The thread slept through a whole period.
        assert!(latencies.is_due(500_001));
        latencies.hand_over(500_001, &mut published, true);
        latencies.record(6);
        latencies.record(7);
        latencies.hand_over(600_000, &mut published, true);
        let periods = published.periods.unwrap();
        let counts: Vec<_> = (periods.iter())
            .map(|(&period, all)| (period, all.len()))
            .collect();
        assert_eq!(counts, [(0, 1), (2, 2)]);
    }
}
