//! How long things take: counts in buckets of fixed width.

use std::fmt;

/// Durations below `2^FIRST` nanoseconds (1.024 µs) share the first bucket.
const FIRST: u32 = 10;
/// Durations of `2^LAST` nanoseconds (68.7 s) and more share the last one.
const LAST: u32 = 36;
/// Each power of two is divided into this many buckets of equal width.
const PARTS: u32 = 4;
const BUCKETS: usize = ((LAST - FIRST) * PARTS) as usize + 2;

/// Durations, counted in log-linear buckets: powers of two, each cut in four.
///
/// A duration read out of it ([`quantile`](Histogram::quantile)) is too long by less than a quarter of
/// itself, between 1.024 µs and 68.7 s; shorter ones count as 1.024 µs. The sum is exact. Recording
/// takes some ten instructions and never allocates; the whole is 856 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
    sum_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: [0; BUCKETS],
            sum_ns: 0,
        }
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Histogram({} in {} ns)", self.count(), self.sum_ns)
    }
}

impl Histogram {
    /// Counts a duration, nanoseconds.
    pub fn record(&mut self, ns: u64) {
        self.buckets[bucket(ns)] += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Self) {
        for (own, others) in self.buckets.iter_mut().zip(&other.buckets) {
            *own += others;
        }
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All durations together, nanoseconds.
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// The duration that `share` of all do not exceed, nanoseconds: the upper end of its bucket.
    /// `u64::MAX` if it is 68.7 s or more, 0 if nothing was counted. `share`: `0.0..=1.0`.
    pub fn quantile(&self, share: f64) -> u64 {
        let count = self.count();
        if count == 0 {
            return 0;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rank among what was counted; a share is within 0 and 1"
        )]
        let rank = ((count as f64 * share.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0;
        let reaches = |&counted: &u64| {
            seen += counted;
            seen >= rank
        };
        let place = self.buckets.iter().position(reaches);
        place.map_or(u64::MAX, upper_end)
    }

    /// Upper ends, nanoseconds, and how many durations lie below each but not below the one before:
    /// a power of two each, and at last all the rest, up to `u64::MAX`.
    pub fn powers(&self) -> impl Iterator<Item = (u64, u64)> {
        let (first, others) = self.buckets.split_at(1);
        let (middle, last) = others.split_at(others.len() - 1);
        let of_power = |part: &[u64]| part.iter().sum();
        let powers = middle.chunks(PARTS as usize).map(of_power);
        let ends = (FIRST..=LAST).map(|power| 1 << power).chain([u64::MAX]);
        ends.zip(
            first
                .iter()
                .copied()
                .chain(powers)
                .chain(last.iter().copied()),
        )
    }
}

fn bucket(ns: u64) -> usize {
    if ns < 1 << FIRST {
        return 0;
    }
    let power = ns.ilog2();
    if power >= LAST {
        return BUCKETS - 1;
    }
    // The two bits below the highest say in which quarter of the power it lies.
    let part = (ns >> (power - PARTS.ilog2())) & u64::from(PARTS - 1);
    1 + ((power - FIRST) * PARTS) as usize + part as usize
}

/// The smallest duration that lies beyond a bucket.
fn upper_end(bucket: usize) -> u64 {
    if bucket == 0 {
        return 1 << FIRST;
    }
    if bucket == BUCKETS - 1 {
        return u64::MAX;
    }
    let place = (bucket - 1) as u64;
    let (power, part) = (place / u64::from(PARTS), place % u64::from(PARTS));
    let power = power + u64::from(FIRST);
    (1 << power) + ((part + 1) << (power - u64::from(PARTS.ilog2())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(durations: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        durations.iter().for_each(|&ns| histogram.record(ns));
        histogram
    }

    #[test]
    fn the_ends_of_the_range_are_counted_and_an_empty_one_says_zero() {
        let histogram = of(&[0, 1023, 1024, (1 << LAST) - 1, 1 << LAST, u64::MAX]);
        assert_eq!((histogram.buckets[0], histogram.buckets[1]), (2, 1));
        assert_eq!(histogram.buckets[BUCKETS - 2..], [1, 2]);
        assert_eq!(histogram.quantile(1.0), u64::MAX);
        assert_eq!(histogram.quantile(0.0), 1024);
        assert_eq!(histogram.sum_ns(), u64::MAX, "and it does not wrap");
        assert_eq!(Histogram::default().quantile(0.5), 0);
        assert_eq!(size_of::<Histogram>(), 856, "as the documentation says");
    }

    #[test]
    fn powers_add_up_to_the_count() {
        let histogram = of(&[5, 1024, 2047, 2048, 1 << 20, u64::MAX]);
        let powers: Vec<_> = histogram.powers().filter(|&(_, count)| count > 0).collect();
        let expected = [(1024, 1), (2048, 2), (4096, 1), (1 << 21, 1), (u64::MAX, 1)];
        assert_eq!(powers, expected);
        assert_eq!(histogram.powers().count(), (LAST - FIRST) as usize + 2);
    }

    proptest! {
        #[test]
        fn a_duration_is_read_out_less_than_a_quarter_too_long(ns in 1u64 << FIRST..1 << LAST) {
            let read = of(&[ns]).quantile(0.5);
            prop_assert!(read > ns && read - ns <= ns / 4 + 1, "{ns}: {read}");
        }

        #[test]
        fn merging_is_counting_together(
            left in prop::collection::vec(any::<u64>(), 0..20),
            right in prop::collection::vec(any::<u64>(), 0..20),
        ) {
            let mut merged = of(&left);
            merged.merge(&of(&right));
            prop_assert_eq!(merged, of(&[left, right].concat()));
        }
    }
}
