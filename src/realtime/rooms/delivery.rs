//! How far each member of a room has received and read its messages.
//!
//! Two marks per member, whatever the number of messages: everything up to `delivered` has reached
//! one of the member's connections, everything up to `read` has been read. Marks only go forward, so
//! that a status never goes back.

use std::ops::RangeInclusive;

use crate::realtime::protocol::Status;

/// The marks of one member. Offsets begin at 1, so zero is before all messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// All up to here were delivered.
    delivered: u64,
    /// All up to here were read: `read <= delivered`.
    read: u64,
}

impl Marks {
    /// The marks of somebody who comes when `offset` is the newest, and owes no past.
    pub(super) fn at(offset: u64) -> Self {
        Self {
            delivered: offset,
            read: offset,
        }
    }

    /// Marks that a store has kept. A read message was delivered, whatever the store says.
    pub(super) fn restore(delivered: u64, read: u64) -> Self {
        Self {
            delivered: delivered.max(read),
            read,
        }
    }

    /// The offset up to which all was delivered.
    pub(super) fn delivered(self) -> u64 {
        self.delivered
    }

    /// The offset up to which all was read.
    pub(super) fn read(self) -> u64 {
        self.read
    }

    /// All up to an offset was delivered. Gives the offsets for which that is news.
    ///
    /// The caller lets nobody go beyond the room's head: a message to come would be read before it
    /// is written.
    pub(super) fn deliver(&mut self, up_to: u64) -> Option<RangeInclusive<u64>> {
        advance(&mut self.delivered, up_to)
    }

    /// All up to an offset was read, and so delivered. Gives the offsets for which that is news, of
    /// which those that were not delivered before pass that status over.
    ///
    /// The caller lets nobody go beyond the room's head.
    pub(super) fn mark_read(&mut self, up_to: u64) -> Option<RangeInclusive<u64>> {
        self.deliver(up_to);
        advance(&mut self.read, up_to)
    }

    /// What has become of the message of an offset.
    pub(super) fn status(self, offset: u64) -> Status {
        if offset <= self.read {
            Status::Read
        } else if offset <= self.delivered {
            Status::Delivered
        } else {
            Status::Sent
        }
    }
}

fn advance(mark: &mut u64, up_to: u64) -> Option<RangeInclusive<u64>> {
    let before = *mark;
    *mark = before.max(up_to);
    (up_to > before).then(|| before + 1..=up_to)
}

/// How many have received a message, where they are too many to be named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Recipients it was delivered to, those included who have read it.
    pub(super) delivered: u64,
    /// Recipients who have read it.
    pub(super) read: u64,
}

impl Counts {
    /// The counts for `offsets`, in their order, from the marks of all recipients: the author is not
    /// among them. n offsets, m marks: O((n + m) log n) time, O(n) memory.
    pub(super) fn of(offsets: &[u64], marks: impl IntoIterator<Item = Marks>) -> Vec<Self> {
        let mut sorted: Vec<usize> = (0..offsets.len()).collect();
        sorted.sort_unstable_by_key(|&i| offsets[i]);
        // How many marks reach the i-th smallest offset and not the next; after the sums below, how
        // many reach it.
        let mut reached = vec![Self::default(); sorted.len()];
        for mark in marks {
            let passed = |offset: u64| sorted.partition_point(|&i| offsets[i] <= offset);
            if let Some(last) = passed(mark.delivered).checked_sub(1) {
                reached[last].delivered += 1;
            }
            if let Some(last) = passed(mark.read).checked_sub(1) {
                reached[last].read += 1;
            }
        }
        let mut counts = vec![Self::default(); offsets.len()];
        let mut sum = Self::default();
        for (&i, reached) in sorted.iter().zip(&reached).rev() {
            sum.delivered += reached.delivered;
            sum.read += reached.read;
            counts[i] = sum;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reading_delivers_and_nothing_is_news_twice() {
        let mut marks = Marks::at(10);
        assert_eq!(marks.deliver(10), None);
        assert_eq!(marks.deliver(12), Some(11..=12));
        assert_eq!(marks.mark_read(15), Some(11..=15));
        assert_eq!(marks.deliver(15), None);
        assert_eq!(marks.deliver(16), Some(16..=16));
        assert_eq!(marks.mark_read(3), None);
        assert_eq!((marks.delivered(), marks.read()), (16, 15));
        assert_eq!(Marks::restore(3, 5), Marks::at(5));
        assert_eq!(Marks::default().mark_read(u64::MAX), Some(1..=u64::MAX));
    }

    proptest! {
        /// The model has a status for each message, and raises it one by one.
        #[test]
        fn marks_are_a_status_per_message_that_only_rises(
            steps in prop::collection::vec((any::<bool>(), 0u64..30), 0..40),
        ) {
            let mut marks = Marks::default();
            let mut model = [Status::Sent; 31];
            for (is_read, up_to) in steps {
                let to = if is_read { Status::Read } else { Status::Delivered };
                let news: Vec<u64> = (1..=up_to).filter(|&i| model[usize::try_from(i).unwrap()] < to).collect();
                for &i in &news {
                    model[usize::try_from(i).unwrap()] = to;
                }
                let told = if is_read { marks.mark_read(up_to) } else { marks.deliver(up_to) };
                prop_assert_eq!(told.into_iter().flatten().collect::<Vec<_>>(), news);
                for (i, &status) in (0..).zip(&model).skip(1) {
                    prop_assert_eq!(marks.status(i), status);
                }
            }
        }

        #[test]
        fn counts_are_what_counting_each_gives(
            offsets in prop::collection::vec(1u64..40, 0..20),
            marks in prop::collection::vec((0u64..45, 0u64..45), 0..50),
        ) {
            let marks: Vec<Marks> = marks.into_iter().map(|(a, b)| Marks::restore(a, b)).collect();
            let counted = Counts::of(&offsets, marks.iter().copied());
            let count = |offset: u64, least: Status| {
                marks.iter().filter(|marks| marks.status(offset) >= least).count() as u64
            };
            let each: Vec<Counts> = offsets
                .iter()
                .map(|&offset| Counts {
                    delivered: count(offset, Status::Delivered),
                    read: count(offset, Status::Read),
                })
                .collect();
            prop_assert_eq!(counted, each);
        }
    }
}
