//! Time as the load needs it: microseconds since one origin that all threads share, and pacing.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since the run began. Copies share their origin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    instant: Instant,
    since_unix: Duration,
}

impl Origin {
    #[expect(
        clippy::disallowed_methods,
        reason = "a load generator measures; the server takes time as an argument"
    )]
    pub(crate) fn now() -> Self {
        Self {
            instant: Instant::now(),
            since_unix: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
        }
    }

    /// Microseconds since the origin.
    pub(crate) fn us(self) -> u64 {
        micros(self.instant.elapsed())
    }

    /// A time since the origin as one since 1970, seconds, by the clock as it was at the origin.
    pub(crate) fn unix_s(self, us: u64) -> f64 {
        (self.since_unix + Duration::from_micros(us)).as_secs_f64()
    }
}

/// Whole microseconds of a duration.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Lets time pass where there is no event to wait for.
#[expect(
    clippy::disallowed_methods,
    reason = "nothing tells when a server has come to rest"
)]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// An evenly spaced schedule: the `n`-th thing is due at `began + n / rate`, however late those
/// before it were.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pacer {
    began_us: f64,
    spacing_us: f64,
    taken: u64,
}

impl Pacer {
    /// The share of one of `of` threads, numbered `index`, in `per_s` things a second: every `of`-th
    /// of the common schedule.
    pub(crate) fn new(began_us: u64, per_s: f64, index: usize, of: usize) -> Self {
        let common_us = 1e6 / per_s;
        Self {
            began_us: began_us as f64 + common_us * index as f64,
            spacing_us: common_us * of as f64,
            taken: 0,
        }
    }

    /// When the next is due, microseconds.
    pub(crate) fn next_us(&self) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a time of this run, which is bounded"
        )]
        let due = (self.began_us + self.spacing_us * self.taken as f64) as u64;
        due
    }

    /// Takes the next if it is due, and tells since when.
    pub(crate) fn take(&mut self, now_us: u64) -> Option<u64> {
        let due = self.next_us();
        (due <= now_us).then(|| {
            self.taken += 1;
            due
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_even_and_catches_up_after_a_stall() {
        let mut pacer = Pacer::new(1_000, 1_000.0, 0, 1);
        assert_eq!(pacer.take(999), None);
        assert_eq!(pacer.take(1_000), Some(1_000));
        assert_eq!(pacer.take(1_999), None);
        // Three are due at once, each with the time at which it was due.
        let late: Vec<u64> = std::iter::from_fn(|| pacer.take(4_500)).collect();
        assert_eq!(late, [2_000, 3_000, 4_000]);
    }

    #[test]
    fn threads_share_a_schedule() {
        let mut due: Vec<u64> = (0..3)
            .flat_map(|index| {
                let mut pacer = Pacer::new(0, 100.0, index, 3);
                std::iter::from_fn(move || pacer.take(59_999)).collect::<Vec<_>>()
            })
            .collect();
        due.sort_unstable();
        assert_eq!(due, [0, 10_000, 20_000, 30_000, 40_000, 50_000]);
    }
}
