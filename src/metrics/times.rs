//! Where a turn's time goes.

use super::Histogram;

/// Handlers whose time is kept apart; the rest share one more place.
pub const HANDLERS_MAX: usize = 64;

/// A part of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What came from sockets, apart from messages with a handler and handshakes.
    Completions,
    /// A message, by its handler's number.
    Message(u8),
    /// What a handler had begun and goes on with, in a room or when its work elsewhere is done, by the
    /// handler's number.
    Resumed(u8),
    /// A request head and what followed from it.
    Handshake,
    /// Mail from other shards and threads.
    Mail,
    /// What is done once a second.
    Tick,
    /// Handing the turn's sends to the kernel.
    Sends,
}

/// How long a shard's turns, messages and handshakes take.
///
/// A chain of laps: whatever ends says so with one reading of the clock, and has taken the time since
/// the lap before. So a message costs one reading, not two, and nothing is counted twice.
#[derive(Clone, Debug)]
pub struct Times {
    began_ns: u64,
    lapped_ns: u64,
    /// The longest lap of this turn.
    longest: (Part, u64),
    turns: Histogram,
    handshakes: Histogram,
    /// By number; the last of all [`HANDLERS_MAX`] and one is everybody else's.
    handlers: Vec<Histogram>,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            began_ns: 0,
            lapped_ns: 0,
            longest: (Part::Completions, 0),
            turns: Histogram::default(),
            handshakes: Histogram::default(),
            handlers: Vec::new(),
        }
    }
}

impl Times {
    /// A turn begins: the shard has woken up.
    pub fn begin_turn(&mut self, now_ns: u64) {
        (self.began_ns, self.lapped_ns) = (now_ns, now_ns);
        self.longest = (Part::Completions, 0);
    }

    /// All that took time since the last lap was `part`.
    pub fn lap(&mut self, part: Part, now_ns: u64) {
        let took_ns = now_ns.saturating_sub(self.lapped_ns);
        self.lapped_ns = now_ns;
        if took_ns > self.longest.1 {
            self.longest = (part, took_ns);
        }
        if let Part::Message(handler) = part {
            let place = usize::from(handler).min(HANDLERS_MAX);
            if place >= self.handlers.len() {
                self.handlers.resize_with(place + 1, Histogram::default);
            }
            self.handlers[place].record(took_ns);
        }
    }

    /// The turn ends; what was not lapped was `rest`. Returns how long the turn took, nanoseconds.
    pub fn end_turn(&mut self, rest: Part, now_ns: u64) -> u64 {
        self.lap(rest, now_ns);
        let took_ns = now_ns.saturating_sub(self.began_ns);
        self.turns.record(took_ns);
        took_ns
    }

    /// The part that took longest in this turn so far, and how long, nanoseconds.
    pub fn longest(&self) -> (Part, u64) {
        self.longest
    }

    /// A handshake took so many milliseconds.
    pub fn handshake(&mut self, ms: u64) {
        self.handshakes.record(ms.saturating_mul(1_000_000));
    }

    /// Of the turns, each from waking up to the wait.
    pub fn turns(&self) -> &Histogram {
        &self.turns
    }

    /// From a socket's acceptance to its opening, in whole milliseconds.
    pub fn handshakes(&self) -> &Histogram {
        &self.handshakes
    }

    /// Of the messages, by their handlers' numbers; at [`HANDLERS_MAX`] all others.
    pub fn handlers(&self) -> &[Histogram] {
        &self.handlers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_the_sum_of_its_laps_and_the_longest_is_known() {
        let mut times = Times::default();
        times.begin_turn(1_000_000);
        times.lap(Part::Message(3), 1_010_000);
        times.lap(Part::Message(200), 1_050_000);
        times.lap(Part::Mail, 1_070_000);
        assert_eq!(times.end_turn(Part::Sends, 1_080_000), 80_000);
        assert_eq!(times.longest(), (Part::Message(200), 40_000));
        assert_eq!((times.turns().count(), times.turns().sum_ns()), (1, 80_000));
        let sums: Vec<u64> = times.handlers().iter().map(Histogram::sum_ns).collect();
        assert_eq!(sums.len(), HANDLERS_MAX + 1);
        assert_eq!((sums[3], sums[HANDLERS_MAX]), (10_000, 40_000));

        times.begin_turn(2_000_000);
        assert_eq!(times.end_turn(Part::Completions, 2_000_005), 5);
        assert_eq!(times.longest(), (Part::Completions, 5));
    }

    #[test]
    fn a_clock_that_goes_back_does_no_harm() {
        let mut times = Times::default();
        times.begin_turn(50);
        times.lap(Part::Tick, 40);
        assert_eq!(times.end_turn(Part::Sends, 10), 0);
    }
}
