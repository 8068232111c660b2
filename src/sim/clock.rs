//! Pretend time: it passes when the world says so.

use std::time::Duration;

use crate::time::Now;

/// The world's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) now: Now,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self {
            now: Now {
                monotonic_ms: 0,
                // 2026-01-01, for time stamps in refusals.
                unix_ms: 1_767_225_600_000,
            },
        }
    }

    pub(super) fn advance_ms(&mut self, ms: u64) {
        self.now = self.now.after(Duration::from_millis(ms));
    }
}
