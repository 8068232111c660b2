//! What a turn publishes to other shards: gathered by topic, mailed once to each shard concerned.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashTable;

use super::format::Formats;
use super::mail::{Batch, BatchEntry};

/// Mailed batches that are kept for reuse, so that publishing allocates next to nothing and nobody
/// frees what another core has allocated.
const SPARE_MAX: usize = 64;
/// A batch larger than this is not kept, bytes: 1 MiB in all spare ones.
const SPARE_BYTES_MAX: usize = 16 * 1024;

/// A batch that is being gathered.
#[derive(Debug)]
struct Pending {
    /// That of the topic's name.
    hash: u64,
    batch: Batch,
    /// In which formats other shards want the topic, if that was asked; and the version of the
    /// directory that said so.
    wanted: Option<(Formats, u64)>,
}

/// The batches of one turn, in order of their topics' first publication.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    batches: Vec<Pending>,
    /// By the hash of the topic; a turn may publish to very many.
    by_topic: HashTable<u32>,
    /// Mailed, the oldest first. Others may still read them.
    mailed: VecDeque<Arc<Batch>>,
}

/// One message on its way into a batch, writing by writing.
#[derive(Debug)]
pub(crate) struct Writings {
    /// The formats in which other shards want it.
    pub(crate) wanted: Formats,
    version: u64,
    /// The batch, if it is begun, and where in it the message's entries are.
    index: Option<usize>,
    first: usize,
}

impl Outgoing {
    /// Adds a message to the batch of its topic. `hash`: that of the topic's name, the same for the
    /// same name. A batch is only begun if `is_wanted`.
    pub(crate) fn add(
        &mut self,
        (hash, topic): (u64, &str),
        entry: BatchEntry,
        payload: &[u8],
        is_wanted: impl FnOnce() -> bool,
    ) {
        let index = match self.find(hash, topic) {
            Some(index) => index,
            None if is_wanted() => self.begin(hash, topic, None),
            None => return,
        };
        let batch = &mut self.batches[index].batch;
        batch.payloads.extend_from_slice(payload);
        batch.entries.push(entry);
    }

    /// Prepares a message in several writings. `look_up` is asked in which formats it is wanted, unless
    /// it has been for this turn's batch and the directory's version is still the same.
    pub(crate) fn open(
        &mut self,
        (hash, topic): (u64, &str),
        version: u64,
        look_up: impl FnOnce() -> Formats,
    ) -> Writings {
        let index = self.find(hash, topic);
        let pending = index.map(|index| &mut self.batches[index]);
        let first = pending
            .as_ref()
            .map_or(0, |pending| pending.batch.entries.len());
        let wanted = match pending {
            Some(Pending {
                wanted: Some((wanted, asked)),
                ..
            }) if *asked == version => *wanted,
            Some(pending) => pending.wanted.insert((look_up(), version)).0,
            None => look_up(),
        };
        Writings {
            wanted,
            version,
            index,
            first,
        }
    }

    /// Adds one writing of a message. If it has the same bytes as another it becomes one with it.
    pub(crate) fn add_writing(
        &mut self,
        (hash, topic): (u64, &str),
        writings: &mut Writings,
        entry: BatchEntry,
        payload: &[u8],
    ) {
        let index = writings
            .index
            .unwrap_or_else(|| self.begin(hash, topic, Some((writings.wanted, writings.version))));
        writings.index = Some(index);
        let batch = &mut self.batches[index].batch;
        let mut end = batch.payloads.len();
        for other in batch.entries[writings.first..].iter_mut().rev() {
            let start = end - other.bytes;
            if other.opcode == entry.opcode && batch.payloads[start..end] == *payload {
                other.formats = other.formats.union(entry.formats);
                return;
            }
            end = start;
        }
        batch.payloads.extend_from_slice(payload);
        batch.entries.push(entry);
    }

    fn find(&self, hash: u64, topic: &str) -> Option<usize> {
        let same = |&index: &u32| self.batches[index as usize].batch.topic == topic;
        self.by_topic.find(hash, same).map(|&index| index as usize)
    }

    fn begin(&mut self, hash: u64, topic: &str, wanted: Option<(Formats, u64)>) -> usize {
        let mut batch = self.recycled();
        batch.topic.push_str(topic);
        let index = self.batches.len();
        self.batches.push(Pending {
            hash,
            batch,
            wanted,
        });
        let number = u32::try_from(index).expect("a turn is bounded by its mails and receives");
        let batches = &self.batches;
        self.by_topic
            .insert_unique(hash, number, |&index| batches[index as usize].hash);
        index
    }

    /// An empty batch: one whose last reader has let go, or a new one.
    fn recycled(&mut self) -> Batch {
        let Some(oldest) = self.mailed.pop_front() else {
            return Batch::default();
        };
        match Arc::try_unwrap(oldest) {
            Ok(mut batch) => {
                batch.topic.clear();
                batch.payloads.clear();
                batch.entries.clear();
                batch
            }
            Err(oldest) => {
                self.mailed.push_front(oldest);
                Batch::default()
            }
        }
    }

    /// Ends the batch of one topic before the turn ends. What is published to the topic from here on
    /// begins another.
    pub(crate) fn take(&mut self, (hash, topic): (u64, &str)) -> Option<Arc<Batch>> {
        let same = |&index: &u32| self.batches[index as usize].batch.topic == topic;
        let (index, _) = self.by_topic.find_entry(hash, same).ok()?.remove();
        // Its place stays, empty: the others are found by theirs.
        let batch = std::mem::take(&mut self.batches[index as usize].batch);
        Some(share(batch, &mut self.mailed))
    }

    /// Ends the turn: hands out each batch, in order.
    pub(crate) fn mail(&mut self, mut mail: impl FnMut(&Arc<Batch>)) {
        if self.batches.is_empty() {
            return;
        }
        self.by_topic.clear();
        for Pending { batch, .. } in self.batches.drain(..) {
            if !batch.entries.is_empty() {
                mail(&share(batch, &mut self.mailed));
            }
        }
    }
}

/// Makes a batch one that others can read, and keeps a reference for its reuse.
fn share(batch: Batch, mailed: &mut VecDeque<Arc<Batch>>) -> Arc<Batch> {
    let is_small = batch.payloads.capacity() <= SPARE_BYTES_MAX;
    let batch = Arc::new(batch);
    if is_small && mailed.len() < SPARE_MAX {
        mailed.push_back(Arc::clone(&batch));
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::Format;
    use crate::ws::Opcode;

    const fn entry(bytes: usize) -> BatchEntry {
        BatchEntry {
            opcode: Opcode::Text,
            bytes,
            formats: Formats::ALL,
            exclude: None,
        }
    }

    fn mailed(outgoing: &mut Outgoing) -> Vec<(String, Vec<u8>, usize)> {
        let mut all = Vec::new();
        outgoing.mail(|batch| {
            let payloads = batch.payloads.clone();
            all.push((batch.topic.clone(), payloads, batch.entries.len()));
        });
        all
    }

    #[test]
    fn a_topic_has_one_batch_a_turn_in_order_of_first_publication() {
        let mut outgoing = Outgoing::default();
        // The same hash for all: only the name tells topics apart.
        for (topic, payload) in [("b", "1"), ("a", "2"), ("b", "33"), ("nobody", "4")] {
            let bytes = payload.len();
            outgoing.add((7, topic), entry(bytes), payload.as_bytes(), || {
                topic != "nobody"
            });
        }
        let expected = [
            ("b".into(), b"133".to_vec(), 2),
            ("a".into(), b"2".to_vec(), 1),
        ];
        assert_eq!(mailed(&mut outgoing), expected);
        assert!(mailed(&mut outgoing).is_empty());
    }

    #[test]
    fn a_batch_that_is_taken_begins_anew() {
        let mut outgoing = Outgoing::default();
        assert!(outgoing.take((7, "t")).is_none());
        outgoing.add((7, "t"), entry(1), b"1", || true);
        outgoing.add((7, "other"), entry(1), b"2", || true);
        let taken = outgoing.take((7, "t")).expect("one was begun");
        assert_eq!((&*taken.topic, &*taken.payloads), ("t", &b"1"[..]));
        assert!(outgoing.take((7, "t")).is_none());
        outgoing.add((7, "t"), entry(1), b"3", || true);
        let expected = [
            ("other".into(), b"2".to_vec(), 1),
            ("t".into(), b"3".to_vec(), 1),
        ];
        assert_eq!(mailed(&mut outgoing), expected);
    }

    /// Writes a message in formats 0 to 3, of which only 0 and 2 are wanted; they are the same.
    fn write(outgoing: &mut Outgoing, version: u64, wanted: impl FnOnce() -> Formats) {
        let mut writings = outgoing.open((7, "t"), version, wanted);
        for (format, payload) in [(0, b"even"), (1, b"odd "), (2, b"even"), (3, b"odd ")] {
            let formats = Format(format).into();
            if writings.wanted.intersects(formats) {
                let entry = BatchEntry {
                    formats,
                    ..entry(4)
                };
                outgoing.add_writing((7, "t"), &mut writings, entry, payload);
            }
        }
    }

    #[test]
    fn writings_that_nobody_wants_are_left_out_and_equal_ones_are_one() {
        let mut outgoing = Outgoing::default();
        let [zero, one, two] = [0, 1, 2].map(|format| Formats::from(Format(format)));
        write(&mut outgoing, 1, || Formats::NONE);
        assert!(outgoing.batches.is_empty());
        write(&mut outgoing, 1, || zero.union(two));
        write(&mut outgoing, 1, || {
            panic!("it was asked, and nothing has changed")
        });
        write(&mut outgoing, 2, || zero.union(one).union(two));
        let batch = outgoing.take((7, "t")).expect("one was begun");
        let formats: Vec<Formats> = batch.entries.iter().map(|entry| entry.formats).collect();
        let even = zero.union(two);
        assert_eq!(formats, [even, even, even, one]);
        assert_eq!(batch.payloads, b"evenevenevenodd ");
        assert_eq!(batch.formats(), even.union(one));
    }

    #[test]
    fn a_batch_that_is_still_read_is_left_alone() {
        let mut outgoing = Outgoing::default();
        let mut reader = None;
        for (turn, payload) in [b"x", b"y", b"z"].into_iter().enumerate() {
            outgoing.add((7, "t"), entry(1), payload, || true);
            outgoing.mail(|batch| {
                assert_eq!(
                    (&batch.payloads[..], batch.entries.len()),
                    (&payload[..], 1)
                );
                reader.get_or_insert_with(|| Arc::clone(batch));
            });
            assert_eq!(reader.as_ref().expect("the first turn's").payloads, b"x");
            assert!(outgoing.mailed.len() <= turn + 1);
        }
        reader = None;
        assert!(reader.is_none());
        outgoing.add((7, "t"), entry(1), b"w", || true);
        assert_eq!(outgoing.mailed.len(), 2, "the oldest is used again");
    }

    #[test]
    fn neither_many_nor_large_batches_are_kept() {
        let mut outgoing = Outgoing::default();
        let large = vec![0; SPARE_BYTES_MAX + 1];
        outgoing.add((7, "t"), entry(large.len()), &large, || true);
        outgoing.mail(|_| ());
        assert!(outgoing.mailed.is_empty());
        for number in 0..2 * SPARE_MAX as u64 {
            outgoing.add((number, &number.to_string()), entry(1), b"x", || true);
        }
        outgoing.mail(|_| ());
        assert_eq!(outgoing.mailed.len(), SPARE_MAX);
    }
}
