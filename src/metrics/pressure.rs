//! How short of memory the process is.

/// Memory falls below a mark by this part of it, one in so many, before the mark counts as left: so
/// that a process at the mark does not change its mind every second.
const SLACK: u64 = 20;

/// How short of memory the process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Pressure {
    /// There is enough.
    #[default]
    None = 0,
    /// Shards stop reading from the connections that hold most, and give back what they keep for
    /// reuse.
    Soft = 1,
    /// Besides, handshakes are refused with 503.
    Hard = 2,
}

impl Pressure {
    /// From what `as u8` gives. Anything larger is the hardest.
    pub fn from_u8(level: u8) -> Self {
        match level {
            0 => Self::None,
            1 => Self::Soft,
            _ => Self::Hard,
        }
    }
}

/// From which use of memory on the process is short of it, bytes. `u64::MAX`: never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// At which shards begin to hold back.
    pub soft: u64,
    /// At which nobody else is let in.
    pub hard: u64,
}

impl Budget {
    /// No limits.
    pub const NONE: Self = Self {
        soft: u64::MAX,
        hard: u64::MAX,
    };

    /// How short of memory a process is that uses so many bytes. It is less short than it was before
    /// only when it uses a twentieth less than the mark.
    pub fn pressure(&self, used: u64, before: Pressure) -> Pressure {
        let left = |mark: u64| mark.saturating_sub(mark / SLACK);
        let reached =
            |mark: u64, level: Pressure| used >= if before >= level { left(mark) } else { mark };
        if reached(self.hard, Pressure::Hard) {
            Pressure::Hard
        } else if reached(self.soft, Pressure::Soft) {
            Pressure::Soft
        } else {
            Pressure::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_rises_at_once_and_falls_with_slack() {
        let budget = Budget {
            soft: 1000,
            hard: 2000,
        };
        let mut pressure = Pressure::None;
        for (used, expected) in [
            (999, Pressure::None),
            (1000, Pressure::Soft),
            (951, Pressure::Soft),
            (950, Pressure::Soft),
            (949, Pressure::None),
            (2000, Pressure::Hard),
            (1901, Pressure::Hard),
            (1899, Pressure::Soft),
            (1999, Pressure::Soft),
            (5000, Pressure::Hard),
            (0, Pressure::None),
        ] {
            pressure = budget.pressure(used, pressure);
            assert_eq!(pressure, expected, "at {used}");
            assert_eq!(Pressure::from_u8(pressure as u8), pressure);
        }
        assert_eq!(
            Budget::NONE.pressure(u64::MAX - 1, Pressure::None),
            Pressure::None
        );
    }
}
