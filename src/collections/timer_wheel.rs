//! Coarse deadlines for very many owners, a few bytes each and no system call.
//!
//! The wheel does not know when an owner's deadline really is: it holds *checks*. When a check comes
//! due the owner looks at its own deadline and, if that has moved on meanwhile, asks for another
//! check. A connection that is busy thus never touches the wheel: it writes one integer of its own.
//! The alternative, moving an entry at each packet, costs two cache misses per message.

/// Seconds that one revolution holds. Later checks are asked for again at the horizon.
const BUCKETS: u32 = 256;

/// Owners for which an empty bucket has room.
const KEPT: usize = 16;

/// A wheel of one-second buckets that hold owners of type `T`.
#[derive(Debug)]
pub struct TimerWheel<T> {
    buckets: Vec<Vec<T>>,
    /// The second up to which all buckets were emptied.
    now: u32,
}

impl<T> TimerWheel<T> {
    /// A wheel that stands at second `now`.
    pub fn new(now: u32) -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| Vec::new()).collect(),
            now,
        }
    }

    /// Asks for a check of `owner` at second `at`, or sooner if `at` is beyond the horizon. Returns
    /// the second of the check: at least one second ahead.
    pub fn schedule(&mut self, owner: T, at: u32) -> u32 {
        let at = at.clamp(
            self.now.saturating_add(1),
            self.now.saturating_add(BUCKETS - 1),
        );
        self.buckets[(at % BUCKETS) as usize].push(owner);
        at
    }

    /// Moves the wheel on to second `now` and appends every owner whose check came due to `due`.
    ///
    /// `due` is the caller's to reuse, so that a tick allocates nothing in the steady state.
    pub fn advance(&mut self, now: u32, due: &mut Vec<T>) {
        let steps = now.saturating_sub(self.now).min(BUCKETS);
        for step in 1..=steps {
            let second = now - (steps - step);
            let bucket = &mut self.buckets[(second % BUCKETS) as usize];
            due.append(bucket);
            // A bucket comes round in minutes: its memory is better used by the next one.
            if bucket.capacity() > KEPT {
                bucket.shrink_to(KEPT);
            }
        }
        self.now = self.now.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(wheel: &mut TimerWheel<char>, now: u32) -> Vec<char> {
        let mut due = Vec::new();
        wheel.advance(now, &mut due);
        due
    }

    #[test]
    fn a_check_comes_due_in_its_second_and_only_once() {
        let mut wheel = TimerWheel::new(10);
        assert_eq!(wheel.schedule('a', 12), 12);
        assert_eq!(
            wheel.schedule('b', 5),
            11,
            "the past is checked in the next second"
        );
        assert_eq!(due(&mut wheel, 10), [] as [char; 0]);
        assert_eq!(due(&mut wheel, 11), ['b']);
        assert_eq!(due(&mut wheel, 12), ['a']);
        assert_eq!(due(&mut wheel, 10_000), [] as [char; 0]);
    }

    #[test]
    fn a_check_beyond_the_horizon_comes_at_the_horizon() {
        let mut wheel = TimerWheel::new(0);
        assert_eq!(wheel.schedule('a', 100_000), BUCKETS - 1);
        assert_eq!(due(&mut wheel, BUCKETS - 2), [] as [char; 0]);
        assert_eq!(due(&mut wheel, BUCKETS - 1), ['a']);
    }

    #[test]
    fn a_leap_over_many_seconds_loses_no_check() {
        let mut wheel = TimerWheel::new(0);
        for at in 1..BUCKETS {
            wheel.schedule('x', at);
        }
        assert_eq!(due(&mut wheel, 1_000_000).len(), BUCKETS as usize - 1);
    }
}
