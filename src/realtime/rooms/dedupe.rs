//! What a room was told lately, so that a message sent again is answered again and not published again.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use hashbrown::HashTable;
use smol_str::SmolStr;

use crate::id::UserId;

/// Most messages that one room remembers: at 200 a second those of five minutes.
const COUNT_MAX: usize = 65_536;
/// Most bytes of their senders' identifiers, which are as long as a client likes: 64 of each.
const ID_BYTES_MAX: usize = 64 * COUNT_MAX;
/// A queue of so few places is not made smaller before it is empty.
const PLACES_MIN: usize = 16;

// Positions count round in 32 bits.
const _: () = assert!(COUNT_MAX < 1 << 31);

#[derive(Debug)]
struct Entry<T> {
    user: UserId,
    id: SmolStr,
    hash: u64,
    at_ms: u64,
    value: T,
}

/// (user, `client_message_id`) → what was answered, for as long as the dedupe window says.
///
/// The names themselves are kept and compared. A hash of 128 bits in their place would save half of
/// the memory, and lose a message whenever somebody finds two names with the same one.
///
/// Bounded in count and bytes: the oldest goes before its time then, and is counted. Whoever sends
/// it once more after that publishes it once more.
#[derive(Debug)]
pub(super) struct Recent<T> {
    window_ms: u64,
    hasher: SeedableRandomState,
    /// By age. Those that were forgotten stay here until they are old, and are not in `places`.
    entries: VecDeque<Entry<T>>,
    /// Positions of entries: that of `entries[i]` is `first + i`, modulo 2^32.
    places: HashTable<u32>,
    first: u32,
    /// The bytes of all entries' ids.
    id_bytes: usize,
    evicted: u64,
}

impl<T: Copy> Recent<T> {
    /// Remembers for `window_ms`; zero: not at all. `seed` keeps anybody from choosing names that
    /// collide. No memory is taken before the first message.
    pub(super) fn new(window_ms: u64, seed: u64) -> Self {
        Self {
            window_ms,
            hasher: SeedableRandomState::with_seed(seed, SharedSeed::global_fixed()),
            entries: VecDeque::new(),
            places: HashTable::new(),
            first: 0,
            id_bytes: 0,
            evicted: 0,
        }
    }

    /// What was remembered of a user's message. `now_ms` never goes back, here and below.
    pub(super) fn get(&self, user: &str, id: &str, now_ms: u64) -> Option<T> {
        let place = self.find(self.hash(user, id), user, id)?;
        let entry = &self.entries[self.index(place)];
        (!self.is_old(entry, now_ms)).then_some(entry.value)
    }

    /// Remembers what a user's message was answered. If there is something already the new value
    /// replaces it and its time stays. Drops what is old: amortised constant time.
    pub(super) fn insert(&mut self, user: &UserId, id: &str, value: T, now_ms: u64) {
        self.expire(now_ms);
        if self.window_ms == 0 || id.len() > ID_BYTES_MAX {
            return;
        }
        let hash = self.hash(user, id);
        if let Some(place) = self.find(hash, user, id) {
            let index = self.index(place);
            self.entries[index].value = value;
            return;
        }
        while self.entries.len() >= COUNT_MAX || self.id_bytes + id.len() > ID_BYTES_MAX {
            self.evicted += u64::from(self.drop_oldest());
        }
        self.id_bytes += id.len();
        self.entries.push_back(Entry {
            user: user.clone(),
            id: id.into(),
            hash,
            at_ms: now_ms,
            value,
        });
        let (first, entries) = (self.first, &self.entries);
        let place = first.wrapping_add(narrow(entries.len() - 1));
        let rehash = |&place: &u32| entries[widen(place.wrapping_sub(first))].hash;
        self.places.insert_unique(hash, place, rehash);
    }

    /// Forgets a message that came to nothing, so that it may be sent again.
    #[cfg(test)]
    pub(super) fn forget(&mut self, user: &str, id: &str) {
        let hash = self.hash(user, id);
        if let Some(place) = self.find(hash, user, id) {
            self.unlist(hash, place);
        }
    }

    /// Drops what is old. [`insert`](Self::insert) does so too; this is for a room that is quiet.
    pub(super) fn expire(&mut self, now_ms: u64) {
        while (self.entries.front()).is_some_and(|entry| self.is_old(entry, now_ms)) {
            self.drop_oldest();
        }
        self.give_back();
    }

    /// How many messages are remembered, some of which may be old.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether nothing is held, and [`expire`](Self::expire) has nothing to do.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many have gone before their time, since the start.
    #[cfg(test)]
    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    fn hash(&self, user: &str, id: &str) -> u64 {
        self.hasher.hash_one((user, id))
    }

    fn is_old(&self, entry: &Entry<T>, now_ms: u64) -> bool {
        now_ms.saturating_sub(entry.at_ms) >= self.window_ms
    }

    fn index(&self, place: u32) -> usize {
        widen(place.wrapping_sub(self.first))
    }

    fn find(&self, hash: u64, user: &str, id: &str) -> Option<u32> {
        let is_it = |&place: &u32| {
            let entry = &self.entries[self.index(place)];
            &*entry.user == user && entry.id == id
        };
        self.places.find(hash, is_it).copied()
    }

    /// Takes a position out of the table. False: it was forgotten before.
    fn unlist(&mut self, hash: u64, place: u32) -> bool {
        let entry = self.places.find_entry(hash, |&it| it == place);
        entry.is_ok_and(|entry| entry.remove().0 == place)
    }

    /// False: it was forgotten before.
    fn drop_oldest(&mut self) -> bool {
        let Some(entry) = self.entries.pop_front() else {
            return false;
        };
        let place = self.first;
        self.first = place.wrapping_add(1);
        self.id_bytes -= entry.id.len();
        self.unlist(entry.hash, place)
    }

    /// Gives memory back: all of it when empty, much of it when three quarters are unused.
    fn give_back(&mut self) {
        let (len, places) = (self.entries.len(), self.entries.capacity());
        if len == 0 {
            self.entries = VecDeque::new();
            self.places = HashTable::new();
        } else if places > PLACES_MIN && len <= places / 4 {
            self.entries.shrink_to(2 * len);
            let (first, entries) = (self.first, &self.entries);
            let rehash = |&place: &u32| entries[widen(place.wrapping_sub(first))].hash;
            self.places.shrink_to(2 * len, rehash);
        }
    }
}

fn narrow(index: usize) -> u32 {
    u32::try_from(index).expect("there are at most COUNT_MAX")
}

fn widen(index: u32) -> usize {
    usize::try_from(index).expect("an address has at least 32 bits")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn recent(window_ms: u64) -> Recent<u64> {
        Recent::new(window_ms, 7)
    }

    #[test]
    fn a_message_is_remembered_for_the_window_and_no_longer() {
        let mut recent = recent(100);
        let ann = UserId::from("ann");
        recent.insert(&ann, "c1", 1, 1000);
        assert_eq!(recent.get("ann", "c1", 1099), Some(1));
        assert_eq!(recent.get("ann", "c1", 1100), None);
        assert_eq!(recent.get("bob", "c1", 1000), None, "it is the user's own");
        assert_eq!(
            recent.get("an", "nc1", 1000),
            None,
            "nor is it the text of both"
        );
        recent.insert(&ann, "c1", 2, 1050);
        assert_eq!(recent.get("ann", "c1", 1099), Some(2));
        assert_eq!(
            recent.get("ann", "c1", 1100),
            None,
            "its time has not changed"
        );
        recent.expire(1100);
        assert!(recent.is_empty());
        assert_eq!(recent.entries.capacity() + recent.places.capacity(), 0);
    }

    #[test]
    fn without_a_window_nothing_is_remembered() {
        let mut recent = recent(0);
        recent.insert(&"ann".into(), "c1", 1, 1000);
        assert_eq!(recent.get("ann", "c1", 1000), None);
        assert!(recent.is_empty());
    }

    #[test]
    fn what_was_forgotten_may_come_again() {
        let mut recent = recent(100);
        let ann = UserId::from("ann");
        recent.insert(&ann, "c1", 1, 0);
        recent.forget("ann", "c1");
        recent.forget("ann", "c1");
        assert_eq!((recent.get("ann", "c1", 0), recent.len()), (None, 0));
        recent.insert(&ann, "c1", 2, 50);
        recent.expire(100);
        assert_eq!(
            recent.get("ann", "c1", 100),
            Some(2),
            "the first one's end is not its own"
        );
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many_and_is_counted() {
        let mut recent = recent(1000);
        let ann = UserId::from("ann");
        for i in 0..COUNT_MAX as u64 + 10 {
            recent.insert(&ann, &i.to_string(), i, 0);
        }
        assert_eq!((recent.len(), recent.evicted()), (COUNT_MAX, 10));
        assert_eq!(recent.get("ann", "9", 0), None);
        assert_eq!(recent.get("ann", "10", 0), Some(10));
        recent.expire(1000);
        assert_eq!((recent.len(), recent.evicted()), (0, 10));
    }

    #[test]
    fn long_identifiers_crowd_out_the_oldest() {
        let mut recent = recent(1000);
        let ann = UserId::from("ann");
        let half = |last: char| "x".repeat(ID_BYTES_MAX / 2 - 1) + &last.to_string();
        for (value, last) in ['a', 'b', 'c'].into_iter().enumerate() {
            recent.insert(&ann, &half(last), value as u64, 0);
        }
        assert_eq!((recent.len(), recent.evicted()), (2, 1));
        assert_eq!(recent.get("ann", &half('a'), 0), None);
        assert_eq!(recent.get("ann", &half('c'), 0), Some(2));
        let larger = "x".repeat(ID_BYTES_MAX + 1);
        recent.insert(&ann, &larger, 3, 0);
        assert_eq!((recent.len(), recent.get("ann", &larger, 0)), (2, None));
    }

    proptest! {
        #[test]
        fn it_remembers_what_a_list_of_all_messages_does(
            window_ms in 1u64..500, first in prop_oneof![any::<u32>(), u32::MAX - 50..=u32::MAX],
            steps in prop::collection::vec((0u8..3, 0u8..20, 0u64..60, 0u8..4), 1..200),
        ) {
            let mut recent = recent(window_ms);
            recent.first = first;
            let mut model = Vec::<(u8, u8, u64, u64)>::new();
            let mut now_ms = 0;
            for (value, (user, id, passed, action)) in (0u64..).zip(steps) {
                now_ms += passed;
                model.retain(|&(.., at_ms)| now_ms - at_ms < window_ms);
                let (name, client_id) = (format!("u{user}"), format!("c{id}"));
                let known = model.iter().position(|it| (it.0, it.1) == (user, id));
                match action {
                    0 | 1 => {
                        recent.insert(&name.as_str().into(), &client_id, value, now_ms);
                        match known {
                            Some(known) => model[known].2 = value,
                            None => model.push((user, id, value, now_ms)),
                        }
                        prop_assert_eq!(recent.len(), model.len());
                    }
                    2 => {
                        recent.forget(&name, &client_id);
                        model.retain(|it| (it.0, it.1) != (user, id));
                    }
                    _ => {
                        recent.expire(now_ms);
                        prop_assert_eq!(recent.len(), model.len());
                        prop_assert!(recent.entries.capacity() <= PLACES_MIN.max(4 * recent.entries.len()));
                    }
                }
                for user in 0..3u8 {
                    for id in 0..20u8 {
                        let known = model.iter().find(|it| (it.0, it.1) == (user, id)).map(|it| it.2);
                        prop_assert_eq!(recent.get(&format!("u{user}"), &format!("c{id}"), now_ms), known);
                    }
                }
            }
            prop_assert_eq!(recent.evicted(), 0);
        }
    }
}
