//! The newest messages of a room, by offset: what a page is read from, and what a client that lost
//! its connection recovers from.
//!
//! ```text
//!   1 … 117       118      119      120      121        122
//!   dropped     oldest ───── the window ──── head       the next
//! ```
//!
//! Offsets begin at 1 and leave nothing out, so that a window which reaches back to an offset holds
//! all that came after it. That is what recovery stands on: all of it, or nothing.

use std::collections::VecDeque;

/// What an allocator adds to a record's own bytes, about.
const ALLOCATION_BYTES: usize = 16;
/// A queue of so few places is not made smaller before it is empty.
const PLACES_MIN: usize = 16;

/// What the window must know of a record.
pub(in crate::realtime) trait Dated {
    /// When it was published, milliseconds since 1970 UTC.
    fn unix_ms(&self) -> u64;
    /// The memory it has besides its own size, bytes.
    fn bytes(&self) -> usize;
}

/// How much of its past a room keeps. What exceeds one of them goes, the oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Most records. Zero: none is kept.
    pub(super) size: usize,
    /// The age at which a record goes, milliseconds. Zero: age is no reason to go.
    pub(super) ttl_ms: u64,
    /// Most bytes of all records, their overhead included. A record that alone is larger is not kept, nor
    /// is what came before it.
    pub(super) bytes: usize,
}

/// Consecutive records up to the newest.
#[derive(Debug)]
pub(super) struct Window<R> {
    records: VecDeque<R>,
    /// The offset of the next record: `next > records.len()`.
    next: u64,
    /// The cost of all records: the sum of [`Self::cost`].
    bytes: usize,
}

impl<R: Dated> Window<R> {
    /// What a record costs besides the bytes it speaks of.
    pub(super) const OVERHEAD_BYTES: usize = size_of::<R>() + ALLOCATION_BYTES;

    /// An empty window whose first record will have the offset `next_offset`: 1 in a new room.
    ///
    /// Panics if that is 0, which is no record's offset.
    pub(super) fn new(next_offset: u64) -> Self {
        assert!(next_offset > 0, "offsets begin at 1");
        Self {
            records: VecDeque::new(),
            next: next_offset,
            bytes: 0,
        }
    }

    /// A window with what a store has, `records` by ascending offset.
    ///
    /// Only the last of them that follow each other up to `next_offset` are taken: after a hole, or
    /// if the newest are missing, the window would give away a part for the whole.
    ///
    /// Panics like [`new`](Self::new).
    pub(super) fn restore(
        next_offset: u64,
        records: impl IntoIterator<Item = (u64, R)>,
        now_ms: u64,
        bounds: &Bounds,
    ) -> Self {
        let mut window = Self::new(next_offset);
        for (offset, record) in records {
            if offset == 0 || offset >= next_offset {
                continue;
            }
            if offset != window.next {
                window = Self::new(offset);
            }
            window.push(record, now_ms, bounds);
        }
        if window.next != next_offset {
            window = Self::new(next_offset);
        }
        window
    }

    /// Appends a record and gives its offset, by which it is found unless the bounds let nothing of
    /// its kind in. Drops what they ask for. Amortised constant time.
    pub(super) fn push(&mut self, record: R, now_ms: u64, bounds: &Bounds) -> u64 {
        let offset = self.next;
        self.bytes += Self::cost(&record);
        self.records.push_back(record);
        self.next += 1;
        while self.records.len() > bounds.size || self.bytes > bounds.bytes {
            self.drop_oldest();
        }
        self.expire(now_ms, bounds);
        offset
    }

    /// Drops what has reached its age; to be called before the window is read.
    ///
    /// Time is the wall clock's. If that was set back, a record may outlive its age behind an older
    /// one with a later stamp, for there is never a hole; size and bytes bound the window even then.
    pub(super) fn expire(&mut self, now_ms: u64, bounds: &Bounds) {
        while self.next_expiry_ms(bounds).is_some_and(|at| at <= now_ms) {
            self.drop_oldest();
        }
        self.give_back();
    }

    /// When the oldest record reaches its age, milliseconds since 1970 UTC. None: never.
    pub(super) fn next_expiry_ms(&self, bounds: &Bounds) -> Option<u64> {
        let oldest = self.records.front().filter(|_| bounds.ttl_ms > 0)?;
        oldest.unix_ms().checked_add(bounds.ttl_ms)
    }

    /// The offset of the newest record that ever was, kept or not; 0 before the first.
    pub(super) fn head(&self) -> u64 {
        self.next - 1
    }

    /// The offset of the oldest record here.
    pub(super) fn oldest(&self) -> Option<u64> {
        (!self.records.is_empty()).then(|| self.first())
    }

    /// How many records are here.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// What they cost, bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The record of an offset, if it is here.
    pub(super) fn get(&self, offset: u64) -> Option<&R> {
        self.records.get(self.index(offset)?)
    }

    /// Changes the record of an offset, if it is here. It may change its size; should it grow, the
    /// bounds are kept again from the next record on.
    #[cfg(test)]
    pub(super) fn update<T>(&mut self, offset: u64, change: impl FnOnce(&mut R) -> T) -> Option<T> {
        let index = self.index(offset)?;
        let record = self.records.get_mut(index)?;
        self.bytes -= Self::cost(record);
        let changed = change(record);
        self.bytes += Self::cost(record);
        Some(changed)
    }

    /// The newest record that `is_it` takes. Looks at all of them, if need be.
    pub(super) fn rfind(&self, mut is_it: impl FnMut(&R) -> bool) -> Option<(u64, &R)> {
        self.range(0, self.records.len())
            .rfind(|(_, record)| is_it(record))
    }

    /// All records after an offset, ascending: what somebody who has seen it has missed.
    ///
    /// None: the window does not reach back so far, or the offset is none that was ever given. Both
    /// mean that the client must load the room anew.
    pub(super) fn since(
        &self,
        offset: u64,
    ) -> Option<impl DoubleEndedIterator<Item = (u64, &R)> + ExactSizeIterator> {
        let is_whole = offset <= self.head() && offset + 1 >= self.first();
        is_whole.then(|| self.after(offset, usize::MAX))
    }

    /// A page back in time: the newest `limit` records before an offset, or of all, ascending.
    ///
    /// A page of fewer may have its rest in the store, see [`is_complete_before`](Self::is_complete_before).
    pub(super) fn before(
        &self,
        offset: Option<u64>,
        limit: usize,
    ) -> impl DoubleEndedIterator<Item = (u64, &R)> + ExactSizeIterator {
        let end = self.place(offset.unwrap_or(self.next));
        self.range(end.saturating_sub(limit), end)
    }

    /// A page forth in time: the oldest `limit` records after an offset, ascending.
    ///
    /// Begins later than it should if the store has what follows the offset, see
    /// [`is_complete_after`](Self::is_complete_after).
    pub(super) fn after(
        &self,
        offset: u64,
        limit: usize,
    ) -> impl DoubleEndedIterator<Item = (u64, &R)> + ExactSizeIterator {
        let start = self.place(offset.saturating_add(1));
        let end = start.saturating_add(limit).min(self.records.len());
        self.range(start, end)
    }

    /// Whether all that ever came before an offset is here.
    pub(super) fn is_complete_before(&self, offset: u64) -> bool {
        self.first() == 1 || offset <= 1
    }

    /// Whether all that ever came after an offset is here.
    pub(super) fn is_complete_after(&self, offset: u64) -> bool {
        offset.saturating_add(1) >= self.first()
    }

    fn cost(record: &R) -> usize {
        record.bytes() + Self::OVERHEAD_BYTES
    }

    /// The offset of the oldest record, or of the next one if there is none.
    fn first(&self) -> u64 {
        self.next - self.records.len() as u64
    }

    fn index(&self, offset: u64) -> Option<usize> {
        usize::try_from(offset.checked_sub(self.first())?).ok()
    }

    /// How many records come before an offset.
    fn place(&self, offset: u64) -> usize {
        let before = offset.saturating_sub(self.first());
        usize::try_from(before).map_or(self.records.len(), |before| before.min(self.records.len()))
    }

    fn range(
        &self,
        start: usize,
        end: usize,
    ) -> impl DoubleEndedIterator<Item = (u64, &R)> + ExactSizeIterator {
        let offset = self.first() + start as u64;
        let records = self.records.range(start..end).enumerate();
        records.map(move |(i, record)| (offset + i as u64, record))
    }

    fn drop_oldest(&mut self) {
        let oldest = self.records.pop_front();
        self.bytes -= oldest.as_ref().map_or(0, Self::cost);
    }

    /// Gives memory back: all of it when the window is empty, much of it when three quarters
    /// are unused.
    fn give_back(&mut self) {
        let (len, places) = (self.records.len(), self.records.capacity());
        if len == 0 {
            self.records = VecDeque::new();
        } else if places > PLACES_MIN && len <= places / 4 {
            self.records.shrink_to(2 * len);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Record {
        at_ms: u64,
        bytes: usize,
    }

    impl Dated for Record {
        fn unix_ms(&self) -> u64 {
            self.at_ms
        }

        fn bytes(&self) -> usize {
            self.bytes
        }
    }

    const UNBOUNDED: Bounds = Bounds {
        size: usize::MAX,
        ttl_ms: 0,
        bytes: usize::MAX,
    };

    fn record(at_ms: u64) -> Record {
        Record { at_ms, bytes: 10 }
    }

    fn filled(count: u64, bounds: &Bounds) -> Window<Record> {
        let mut window = Window::new(1);
        for i in 1..=count {
            assert_eq!(window.push(record(i), i, bounds), i);
        }
        window
    }

    fn offsets<'a>(records: impl Iterator<Item = (u64, &'a Record)>) -> Vec<u64> {
        records
            .map(|(offset, record)| {
                assert_eq!(record.at_ms, offset, "the record belongs to its offset");
                offset
            })
            .collect()
    }

    #[test]
    fn recovery_is_whole_or_refused() {
        let size = 3;
        let window = filled(10, &Bounds { size, ..UNBOUNDED });
        assert_eq!((window.oldest(), window.head()), (Some(8), 10));
        assert_eq!(window.since(7).map(offsets), Some(vec![8, 9, 10]));
        assert_eq!(window.since(10).map(offsets), Some(vec![]));
        assert!(window.since(6).is_none(), "7 is gone");
        assert!(window.since(11).is_none(), "an offset from another past");
        assert!(window.since(u64::MAX).is_none());
    }

    #[test]
    fn a_new_window_recovers_from_the_very_beginning() {
        let window = Window::<Record>::new(1);
        assert_eq!((window.head(), window.oldest()), (0, None));
        assert_eq!(window.since(0).map(offsets), Some(vec![]));
        assert!(window.since(1).is_none());
        assert_eq!(
            filled(2, &UNBOUNDED).since(0).map(offsets),
            Some(vec![1, 2])
        );
    }

    #[test]
    fn pages_go_both_ways_and_say_when_the_store_is_needed() {
        let size = 5;
        let window = filled(10, &Bounds { size, ..UNBOUNDED });
        assert_eq!(offsets(window.before(None, 2)), [9, 10]);
        assert_eq!(offsets(window.before(Some(9), 2)), [7, 8]);
        assert_eq!(offsets(window.before(Some(7), 9)), [6]);
        assert_eq!(offsets(window.before(Some(6), 9)), [0u64; 0]);
        assert_eq!(offsets(window.before(Some(u64::MAX), 1)), [10]);
        assert_eq!(offsets(window.after(7, 2)), [8, 9]);
        assert_eq!(offsets(window.after(0, 2)), [6, 7]);
        assert_eq!(offsets(window.after(u64::MAX, 2)), [0u64; 0]);
        assert!(!window.is_complete_before(9) && window.is_complete_before(1));
        assert!(!window.is_complete_after(4) && window.is_complete_after(5));
        let whole = filled(3, &UNBOUNDED);
        assert!(whole.is_complete_before(3) && whole.is_complete_after(0));
    }

    #[test]
    fn a_record_that_exceeds_the_bytes_alone_is_not_kept_but_counted() {
        let bytes = Window::<Record>::OVERHEAD_BYTES + 10;
        let bounds = Bounds { bytes, ..UNBOUNDED };
        let mut window = filled(2, &bounds);
        assert_eq!((window.len(), window.bytes()), (1, bytes));
        let large = Record {
            at_ms: 3,
            bytes: 11,
        };
        assert_eq!(window.push(large, 3, &bounds), 3);
        assert_eq!(
            (window.head(), window.oldest(), window.bytes()),
            (3, None, 0)
        );
        assert!(
            window.since(2).is_none(),
            "3 was published, and is not here"
        );
        assert_eq!(window.since(3).map(offsets), Some(vec![]));
    }

    #[test]
    fn memory_comes_back() {
        let mut window = filled(1000, &UNBOUNDED);
        let ttl_ms = 100;
        window.expire(
            1010,
            &Bounds {
                ttl_ms,
                ..UNBOUNDED
            },
        );
        assert_eq!(offsets(window.before(None, 1000)).len(), 90);
        assert!(window.records.capacity() <= 4 * 90);
        assert_eq!(
            window.next_expiry_ms(&Bounds {
                ttl_ms,
                ..UNBOUNDED
            }),
            Some(1011)
        );
        window.expire(
            1100,
            &Bounds {
                ttl_ms,
                ..UNBOUNDED
            },
        );
        assert_eq!((window.len(), window.records.capacity()), (0, 0));
        assert_eq!((window.bytes(), window.head()), (0, 1000));
    }

    #[test]
    fn a_changed_record_is_weighed_again() {
        let mut window = filled(3, &UNBOUNDED);
        let before = window.bytes();
        assert_eq!(window.update(2, |record| record.bytes += 7), Some(()));
        assert_eq!(window.bytes(), before + 7);
        assert_eq!(window.get(2).map(|record| record.bytes), Some(17));
        assert_eq!(window.update(4, |_| ()), None);
        assert_eq!(window.update(0, |_| ()), None);
        assert_eq!(
            window
                .rfind(|record| record.bytes == 10)
                .map(|(offset, _)| offset),
            Some(3)
        );
        assert_eq!(window.rfind(|record| record.bytes == 9), None);
    }

    #[test]
    fn what_a_store_gives_is_taken_from_the_last_hole_on() {
        let restore = |next, offsets: &[u64]| {
            let records = offsets.iter().map(|&offset| (offset, record(offset)));
            Window::restore(next, records, 0, &UNBOUNDED)
        };
        let window = restore(7, &[1, 2, 4, 5, 6]);
        assert_eq!((window.oldest(), window.head()), (Some(4), 6));
        assert_eq!(offsets(window.before(None, 9)), [4, 5, 6]);
        let window = restore(8, &[4, 5, 6]);
        assert_eq!((window.oldest(), window.head()), (None, 7));
        let window = restore(5, &[3, 4, 5, 6]);
        assert_eq!((window.oldest(), window.head()), (Some(3), 4));
        assert_eq!(restore(1, &[]).head(), 0);
    }

    proptest! {
        /// The model keeps everything for ever, and remembers which of it may be seen.
        #[test]
        fn the_window_is_the_end_of_all_that_was_published(
            size in 0usize..20, ttl_ms in prop_oneof![Just(0u64), 1u64..2000], room in 0usize..2000,
            start in 1u64..5,
            steps in prop::collection::vec((0usize..200, -50i64..300, any::<bool>()), 1..150),
        ) {
            let bounds = Bounds { size, ttl_ms, bytes: room };
            let mut window = Window::new(start);
            let (mut all, mut kept, mut now_ms) = (Vec::<Record>::new(), 0, 10_000u64);
            for (bytes, passed, is_push) in steps {
                now_ms = now_ms.saturating_add_signed(passed);
                if is_push {
                    let record = Record { at_ms: now_ms, bytes };
                    let offset = window.push(record.clone(), now_ms, &bounds);
                    all.push(record);
                    prop_assert_eq!(offset, start + all.len() as u64 - 1);
                    let weigh = |count: usize| -> usize {
                        let end = all.iter().rev().take(count);
                        end.map(|record| record.bytes + Window::<Record>::OVERHEAD_BYTES).sum()
                    };
                    kept = (0..=size.min(kept + 1)).rfind(|&count| weigh(count) <= room).unwrap();
                } else {
                    window.expire(now_ms, &bounds);
                }
                while kept > 0 && ttl_ms > 0 && now_ms.saturating_sub(all[all.len() - kept].at_ms) >= ttl_ms {
                    kept -= 1;
                }
                let end = &all[all.len() - kept..];
                prop_assert_eq!(window.len(), kept);
                prop_assert_eq!(window.bytes(), end.iter().map(Window::cost).sum::<usize>());
                prop_assert!(window.records.capacity() <= PLACES_MIN.max(4 * kept));
                let first = start + (all.len() - kept) as u64;
                for offset in start.saturating_sub(2)..=window.head() + 2 {
                    let past = offset.checked_sub(start).and_then(|i| all.get(usize::try_from(i).unwrap()));
                    prop_assert_eq!(window.get(offset), past.filter(|_| offset >= first));
                    let missed = window.since(offset).map(|missed| missed.map(|(_, it)| it.clone()).collect());
                    let whole = (offset + 1 >= first && offset <= window.head())
                        .then(|| all[usize::try_from(offset + 1 - start).unwrap()..].to_vec());
                    prop_assert_eq!(missed, whole);
                }
            }
        }
    }
}
