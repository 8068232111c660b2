//! The only reader of the system's clocks.
//!
//! Everything below the workers takes [`Now`] as an argument, so that a shard can be driven through
//! a year in a second by the simulator.

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
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the clock"
    )]
    pub fn now(&self) -> Now {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Now {
            monotonic_ms: u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX),
            unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
        }
    }
}
