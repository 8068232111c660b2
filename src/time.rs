//! The only reader of the system's clocks.
//!
//! Everything below the workers takes [`Now`] as an argument, so that a shard can be driven through
//! a year in a second by the simulator.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One reading of both clocks, taken once a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic milliseconds since the process (or the simulation) began.
    pub monotonic_ms: u64,
    /// Wall clock, milliseconds since 1970 UTC. For time stamps, never for deadlines.
    pub unix_ms: u64,
}

impl Now {
    /// Monotonic whole seconds since the process began: the grain of the timer wheel.
    pub fn seconds(self) -> u32 {
        u32::try_from(self.monotonic_ms / 1000).unwrap_or(u32::MAX)
    }

    /// This reading moved on by `elapsed`, on both clocks.
    #[must_use]
    pub fn after(self, elapsed: Duration) -> Self {
        let elapsed = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        Self {
            monotonic_ms: self.monotonic_ms.saturating_add(elapsed),
            unix_ms: self.unix_ms.saturating_add(elapsed),
        }
    }
}

/// Reads the clocks. All shards share one origin, so their readings compare.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// Starts a clock at zero monotonic milliseconds.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the clock"
    )]
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    /// Reads both clocks.
    pub fn now(&self) -> Now {
        self.read().0
    }

    /// Reads both clocks; also the monotonic one in nanoseconds, as this clock's
    /// [stopwatch](Clock::stopwatch) would. The same two readings as [`now`](Clock::now).
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the clock"
    )]
    pub fn read(&self) -> (Now, u64) {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let elapsed = self.origin.elapsed();
        let now = Now {
            monotonic_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
        };
        (now, nanoseconds(elapsed))
    }

    /// A stopwatch that counts from this clock's beginning.
    pub fn stopwatch(&self) -> Stopwatch {
        Stopwatch::Running(*self)
    }
}

fn nanoseconds(elapsed: Duration) -> u64 {
    // 2^64 ns are 584 years.
    elapsed.as_secs() * 1_000_000_000 + u64::from(elapsed.subsec_nanos())
}

/// Measures how long something takes, for whoever must not read a clock: a shard is given one.
///
/// What it says goes into metrics and warnings and decides nothing, so that a shard does the same
/// whichever it has.
#[derive(Clone, Debug, Default)]
pub enum Stopwatch {
    /// Stands at zero.
    #[default]
    Still,
    /// Runs.
    Running(Clock),
    /// Stands where somebody has put it: for tests.
    Set(Arc<AtomicU64>),
}

impl Stopwatch {
    /// Nanoseconds since the beginning. Never goes back.
    pub fn read(&self) -> u64 {
        match self {
            Self::Still => 0,
            Self::Running(clock) => nanoseconds(clock.origin.elapsed()),
            Self::Set(at) => at.load(Ordering::Relaxed),
        }
    }
}

/// An RFC 3339 time in UTC with milliseconds: `2026-11-21T02:12:29.123Z`.
///
/// Made once a turn and shared by the frames of that turn, which is all the caching it needs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp([u8; 24]);

/// The last millisecond of the year 9999: RFC 3339 has four digits for the year.
const UNIX_MS_MAX: u64 = 253_402_300_799_999;

impl Timestamp {
    /// The stamp of a time, in milliseconds since 1970 UTC. Times after the year 9999 are its end.
    pub fn new(unix_ms: u64) -> Self {
        let unix_ms = unix_ms.min(UNIX_MS_MAX);
        let (days, of_day) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
        let (year, month, day) = civil(days);
        let mut stamp = *b"0000-00-00T00:00:00.000Z";
        let fields = [
            (0..4, year),
            (5..7, month),
            (8..10, day),
            (11..13, of_day / 3_600_000),
            (14..16, of_day / 60_000 % 60),
            (17..19, of_day / 1000 % 60),
            (20..23, of_day % 1000),
        ];
        for (place, mut number) in fields {
            for digit in stamp[place].iter_mut().rev() {
                *digit += u8::try_from(number % 10).expect("one decimal digit");
                number /= 10;
            }
        }
        Self(stamp)
    }

    /// The stamp's 24 characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("digits and punctuation")
    }
}

/// Year, month and day of a day counted from 1970-01-01.
///
/// Counts in eras of 400 years that begin on 1 March, so that the leap day is a year's last. After
/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stamps_are_rfc_3339_in_utc_with_milliseconds() {
        let known = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_795_227_149_123, "2026-11-21T02:12:29.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (UNIX_MS_MAX, "9999-12-31T23:59:59.999Z"),
            (UNIX_MS_MAX + 1, "9999-12-31T23:59:59.999Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ];
        for (unix_ms, stamp) in known {
            assert_eq!(Timestamp::new(unix_ms).to_string(), stamp);
        }
    }

    proptest! {
        #[test]
        fn stamps_are_what_a_calendar_says(unix_ms in 0..=UNIX_MS_MAX) {
            let at = i64::try_from(unix_ms).unwrap();
            let calendar = jiff::Timestamp::from_millisecond(at).unwrap();
            prop_assert_eq!(Timestamp::new(unix_ms).to_string(), format!("{calendar:.3}"));
        }
    }
}
