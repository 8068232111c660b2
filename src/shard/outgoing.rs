//! What a turn publishes to other shards: gathered by topic, mailed once to each shard concerned.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashTable;

use super::mail::{Batch, BatchEntry};

/// Mailed batches that are kept for reuse, so that publishing allocates next to nothing and nobody
/// frees what another core has allocated.
const SPARE_MAX: usize = 64;
/// A batch larger than this is not kept, bytes: 1 MiB in all spare ones.
const SPARE_BYTES_MAX: usize = 16 * 1024;

/// The batches of one turn, in order of their topics' first publication.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    batches: Vec<(u64, Batch)>,
    /// By the hash of the topic; a turn may publish to very many.
    by_topic: HashTable<u32>,
    /// Mailed, the oldest first. Others may still read them.
    mailed: VecDeque<Arc<Batch>>,
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
        let batches = &self.batches;
        let same = |&index: &u32| batches[index as usize].1.topic == topic;
        let index = match self.by_topic.find(hash, same) {
            Some(&index) => index as usize,
            None if is_wanted() => self.begin(hash, topic),
            None => return,
        };
        let batch = &mut self.batches[index].1;
        batch.payloads.extend_from_slice(payload);
        batch.entries.push(entry);
    }

    fn begin(&mut self, hash: u64, topic: &str) -> usize {
        let mut batch = self.recycled();
        batch.topic.push_str(topic);
        let index = self.batches.len();
        self.batches.push((hash, batch));
        let number = u32::try_from(index).expect("a turn is bounded by its mails and receives");
        let batches = &self.batches;
        self.by_topic
            .insert_unique(hash, number, |&index| batches[index as usize].0);
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

    /// Ends the turn: hands out each batch, in order.
    pub(crate) fn mail(&mut self, mut mail: impl FnMut(&Arc<Batch>)) {
        self.by_topic.clear();
        for (_, batch) in self.batches.drain(..) {
            let is_small = batch.payloads.capacity() <= SPARE_BYTES_MAX;
            let batch = Arc::new(batch);
            mail(&batch);
            if is_small && self.mailed.len() < SPARE_MAX {
                self.mailed.push_back(batch);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::Opcode;

    const fn entry(bytes: usize) -> BatchEntry {
        BatchEntry {
            opcode: Opcode::Text,
            bytes,
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
