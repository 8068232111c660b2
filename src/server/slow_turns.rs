//! Warnings of turns that took long.

use std::time::Duration;

use crate::id::ShardId;
use crate::shard::SlowTurn;

/// The slow turns of one shard: a line a second at most.
#[derive(Debug, Default)]
pub(super) struct SlowTurns {
    /// The second of the last line.
    warned_s: Option<u32>,
    /// Slow turns since then, of which nothing was said.
    unsaid: u64,
}

impl SlowTurns {
    /// Tells of a slow turn, and how many there were of which it was not told; or counts it as one.
    pub(super) fn warn(&mut self, shard: ShardId, second: u32, slow: &SlowTurn) {
        let Some(others) = self.note(second) else {
            return;
        };
        let took = Duration::from_nanos(slow.took_ns);
        let (part, part_took) = (&slow.part, Duration::from_nanos(slow.part_ns));
        tracing::warn!(
            %shard, ?took, part, ?part_took, others,
            "a slow turn: nobody else on this shard was served meanwhile"
        );
    }

    /// How many were left out since the last line, if another may be written.
    fn note(&mut self, second: u32) -> Option<u64> {
        if self.warned_s == Some(second) {
            self.unsaid += 1;
            return None;
        }
        self.warned_s = Some(second);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_tells_how_many_were_left_out() {
        let mut turns = SlowTurns::default();
        let seconds = [0, 0, 0, 1, 7, 7, 8];
        let said = seconds.map(|second| turns.note(second));
        let expected = [Some(0), None, None, Some(2), Some(0), None, Some(1)];
        assert_eq!(said, expected);
    }
}
