//! Time for measurements, and where it is spent waiting.

use std::time::{Duration, Instant};

/// A moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time(Instant);

impl Time {
    #[expect(
        clippy::disallowed_methods,
        reason = "a bench measures; the product takes time as an argument"
    )]
    pub(crate) fn now() -> Self {
        Self(Instant::now())
    }

    /// Microseconds since this moment.
    pub(crate) fn elapsed_us(self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Waits for the kernel or a child to come to rest, where there is no event to wait for.
#[expect(
    clippy::disallowed_methods,
    reason = "nothing tells when memory has settled"
)]
pub(crate) fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// How often each latency occurred, in buckets a sixteenth of a power of two wide.
#[derive(Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
}

const MANTISSA_BITS: u32 = 4;

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            counts: vec![0; 64 << MANTISSA_BITS],
        }
    }

    pub(crate) fn clear(&mut self) {
        self.counts.fill(0);
    }

    pub(crate) fn record(&mut self, us: u64) {
        let exponent = us.max(1).ilog2().saturating_sub(MANTISSA_BITS);
        let index = (u64::from(exponent) << MANTISSA_BITS) + (us >> exponent);
        self.counts[usize::try_from(index).expect("a few hundred buckets")] += 1;
    }

    /// The latency, microseconds, that `share` of all did not exceed; 0 if there are none.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let total: u64 = self.counts.iter().sum();
        let wanted = (total as f64 * share).ceil().max(1.0);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen as f64 >= wanted {
                let index = index as u64;
                let exponent = (index >> MANTISSA_BITS).saturating_sub(1);
                return ((index - (exponent << MANTISSA_BITS)) << exponent) as f64;
            }
        }
        0.0
    }
}
