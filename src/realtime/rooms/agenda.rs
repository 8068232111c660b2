//! When rooms are to be looked at again.

use std::collections::BTreeMap;

use super::Room;

/// Rooms by the second at which they want to be looked at. A room that wants it sooner than it had
/// said is listed twice; it knows which of the two counts.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    due: BTreeMap<u32, Vec<Room>>,
}

impl Agenda {
    pub(super) fn add(&mut self, second: u32, room: Room) {
        self.due.entry(second).or_default().push(room);
    }

    /// Takes out a room whose second has come, and says which second that was.
    pub(super) fn next(&mut self, second: u32) -> Option<(u32, Room)> {
        let mut first = self.due.first_entry()?;
        let at = *first.key();
        if at > second {
            return None;
        }
        let room = first.get_mut().pop();
        if first.get().is_empty() {
            first.remove();
        }
        Some((at, room.expect("a second is listed with its rooms")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_come_up_at_their_second_and_not_before() {
        let mut agenda = Agenda::default();
        for (second, name) in [(7, "b"), (5, "a"), (7, "c")] {
            agenda.add(second, Room::new(name));
        }
        assert!(agenda.next(4).is_none());
        assert_eq!(agenda.next(5), Some((5, Room::new("a"))));
        assert!(agenda.next(6).is_none());
        let mut rest = [agenda.next(9).unwrap(), agenda.next(9).unwrap()];
        rest.sort();
        assert_eq!(rest, [(7, Room::new("b")), (7, Room::new("c"))]);
        assert!(agenda.next(u32::MAX).is_none());
        assert!(agenda.due.is_empty());
    }
}
