//! Which sessions keep their ciphers between turns.
//!
//! A cipher is made of its key with the first record that needs it. Two of them take nearly four times
//! what is left of a session without, and whoever speaks often should not pay for them each time. So they
//! stay with a session that reads or writes in two turns within a second or two, until it has been quiet
//! as long; with any other they go at the end of the turn.
//!
//! ```text
//!            first use                 another use soon
//!   Resting ───────────► Drowsy (end of turn: Resting) ──► Awake ──► (quiet) Resting
//! ```

use crate::collections::BitSet;
use crate::id::Slot;

/// Sessions that one tick looks at, so that it stays short.
pub(super) const LOOKS_PER_TICK_MAX: usize = 16 * 1024;

/// The sessions that are not resting.
#[derive(Debug, Default)]
pub(super) struct Resting {
    /// Counts ticks, and begins anew now and then: a session may pass for used that has not been for 256
    /// of them, and stays awake for two more.
    tick: u8,
    awake: BitSet,
    /// From here on the current round over `awake` goes on.
    from: u32,
    drowsy: Vec<Slot>,
}

/// When a session has been used, and what that has led to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Use {
    tick: u8,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// It has not been used.
    #[default]
    Fresh,
    Resting,
    Drowsy,
    Awake,
}

impl Resting {
    /// A session has read or written, or may have.
    pub(super) fn note(&mut self, slot: Slot, last: &mut Use) {
        let is_soon = !self.is_quiet(last);
        last.tick = self.tick;
        match last.state {
            State::Drowsy | State::Awake => {}
            State::Resting if is_soon => {
                last.state = State::Awake;
                self.awake.insert(slot.0);
            }
            State::Fresh | State::Resting => {
                last.state = State::Drowsy;
                self.drowsy.push(slot);
            }
        }
    }

    /// The turn is over: whoever is drowsy may rest now, if it still [goes to
    /// rest](Resting::goes_to_rest), since slots may have changed hands.
    pub(super) fn drowsy(&mut self) -> Vec<Slot> {
        std::mem::take(&mut self.drowsy)
    }

    /// Takes the memory of [`drowsy`](Resting::drowsy) back.
    pub(super) fn recycle(&mut self, mut drowsy: Vec<Slot>) {
        if drowsy.capacity() <= LOOKS_PER_TICK_MAX {
            drowsy.clear();
            self.drowsy = drowsy;
        }
    }

    /// A second has passed.
    pub(super) fn tick(&mut self) {
        self.tick = self.tick.wrapping_add(1);
    }

    /// The next one that is awake. `None` at the end of a round; then a new one begins.
    pub(super) fn next_awake(&mut self) -> Option<Slot> {
        let next = self.awake.next(self.from);
        self.from = next.map_or(0, |bit| bit + 1);
        next.map(Slot)
    }

    /// Whether a session that is not to be awake any more goes to rest now; if so it is noted.
    pub(super) fn goes_to_rest(&mut self, slot: Slot, last: &mut Use) -> bool {
        match last.state {
            State::Awake if self.is_quiet(last) => self.forget(slot),
            State::Drowsy => {}
            State::Awake | State::Fresh | State::Resting => return false,
        }
        last.state = State::Resting;
        true
    }

    /// The slot has nobody any more who is awake.
    pub(super) fn forget(&mut self, slot: Slot) {
        self.awake.remove(slot.0);
    }

    fn is_quiet(&self, last: &Use) -> bool {
        self.tick.wrapping_sub(last.tick) > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_used_twice_soon_stays_awake_until_quiet() {
        let (mut resting, mut last, slot) = (Resting::default(), Use::default(), Slot(70));
        // In one turn, however often.
        resting.note(slot, &mut last);
        resting.note(slot, &mut last);
        assert_eq!(resting.drowsy(), [slot]);
        assert!(resting.goes_to_rest(slot, &mut last) && !resting.goes_to_rest(slot, &mut last));
        assert_eq!(resting.next_awake(), None);
        // Much later again.
        (0..5).for_each(|_| resting.tick());
        resting.note(slot, &mut last);
        assert_eq!(resting.drowsy(), [slot]);
        assert!(resting.goes_to_rest(slot, &mut last));
        // And soon after.
        resting.tick();
        resting.note(slot, &mut last);
        assert_eq!(resting.drowsy(), []);
        resting.tick();
        assert_eq!(
            (resting.next_awake(), resting.next_awake()),
            (Some(slot), None)
        );
        assert!(!resting.goes_to_rest(slot, &mut last));
        resting.tick();
        assert!(resting.goes_to_rest(slot, &mut last));
        assert_eq!(resting.next_awake(), None);
    }

    #[test]
    fn rounds_go_over_all_who_are_awake() {
        let mut resting = Resting::default();
        let slots = [0, 63, 64, 1000].map(Slot);
        for slot in slots {
            let mut last = Use::default();
            resting.note(slot, &mut last);
            resting.goes_to_rest(slot, &mut last);
            resting.note(slot, &mut last);
        }
        for _ in 0..2 {
            assert_eq!(slots.map(|_| resting.next_awake()), slots.map(Some));
            assert_eq!(resting.next_awake(), None);
        }
        resting.forget(slots[2]);
        assert_eq!((0..4).filter_map(|_| resting.next_awake()).count(), 3);
    }
}
