//! The topic log: frames appended once, sent to every subscriber by reference.
//!
//! ```text
//!   tail                                                   head   (positions, u64, in bytes)
//!    │ chunk            │ chunk            │ chunk           │
//!    ▼ f1 f2 f3 …       │ f7 f8 …          │ f11 f12         ▼
//!   ─────────────────────────────────────────────────────────►
//!        ▲ a laggard's cursor                 ▲ where this turn began
//! ```
//!
//! A frame never straddles two chunks, so that the start of every chunk is a frame boundary and the
//! oldest chunk can be dropped whole.

use std::collections::VecDeque;

/// Bytes of one chunk. A frame larger than this has a chunk of its own.
const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks that one shard keeps for reuse: 4 MiB.
const POOLED_CHUNKS_MAX: usize = 64;

/// Spare chunks, shared by all logs of a shard, so that a quiet topic holds no memory.
#[derive(Debug, Default)]
pub struct ChunkPool {
    spare: Vec<Vec<u8>>,
    /// What the chunks in logs have allocated, bytes.
    lent: usize,
}

impl ChunkPool {
    fn take(&mut self, bytes: usize) -> Vec<u8> {
        let chunk = if bytes > CHUNK_BYTES {
            Vec::with_capacity(bytes)
        } else {
            let spare = self.spare.pop();
            spare.unwrap_or_else(|| Vec::with_capacity(CHUNK_BYTES))
        };
        self.lent += chunk.capacity();
        chunk
    }

    fn give(&mut self, mut chunk: Vec<u8>) {
        self.lent -= chunk.capacity();
        if chunk.capacity() == CHUNK_BYTES && self.spare.len() < POOLED_CHUNKS_MAX {
            chunk.clear();
            self.spare.push(chunk);
        }
    }

    /// Frees all spare chunks.
    pub fn clear(&mut self) {
        self.spare = Vec::new();
    }

    /// What the logs have allocated, bytes.
    pub fn lent_bytes(&self) -> usize {
        self.lent
    }

    /// What the spare chunks have allocated, bytes.
    pub fn spare_bytes(&self) -> usize {
        self.spare.len() * CHUNK_BYTES
    }
}

#[derive(Debug)]
struct Chunk {
    start: u64,
    bytes: Vec<u8>,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// Encoded frames in order of publication, addressed by byte position.
#[derive(Debug, Default)]
pub struct Log {
    chunks: VecDeque<Chunk>,
    head: u64,
}

impl Log {
    /// The position after the last byte: where the next frame will begin.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// The oldest position that can still be read. A frame boundary.
    pub fn tail(&self) -> u64 {
        self.chunks.front().map_or(self.head, |chunk| chunk.start)
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.head - self.tail()
    }

    /// Appends one frame of exactly `bytes` bytes that `write` puts at the end of the vector.
    ///
    /// Panics if `write` appended another number of bytes: positions would lie.
    pub fn append(&mut self, pool: &mut ChunkPool, bytes: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let fits = self
            .chunks
            .back()
            .is_some_and(|chunk| chunk.bytes.capacity() - chunk.bytes.len() >= bytes);
        if !fits {
            self.chunks.push_back(Chunk {
                start: self.head,
                bytes: pool.take(bytes),
            });
        }
        let chunk = self
            .chunks
            .back_mut()
            .expect("a chunk was just made sure of");
        let before = chunk.bytes.len();
        write(&mut chunk.bytes);
        assert_eq!(
            chunk.bytes.len() - before,
            bytes,
            "a frame has the size it announced"
        );
        self.head += bytes as u64;
    }

    /// The bytes of `start..end` in order, as few slices as there are chunks.
    ///
    /// Panics if the range is not within `tail..head`.
    pub fn slices(&self, start: u64, end: u64) -> impl Iterator<Item = &[u8]> {
        assert!(self.tail() <= start && start <= end && end <= self.head);
        let first = self.chunks.partition_point(|chunk| chunk.end() <= start);
        self.chunks
            .range(first..)
            .take_while(move |chunk| chunk.start < end)
            .map(move |chunk| {
                let from = start.saturating_sub(chunk.start);
                let to = end.min(chunk.end()) - chunk.start;
                &chunk.bytes[offset(from)..offset(to)]
            })
            .filter(|slice| !slice.is_empty())
    }

    /// The farthest frame boundary that one portion of about `bytes` bytes from `start` reaches: at
    /// least the end of the chunk in which `start` lies.
    pub fn portion_end(&self, start: u64, bytes: u64) -> u64 {
        let first = self.chunks.partition_point(|chunk| chunk.end() <= start);
        let mut end = start;
        for chunk in self.chunks.range(first..) {
            if end > start && chunk.end() - start > bytes {
                break;
            }
            end = chunk.end();
        }
        end
    }

    /// Drops the chunks that lie wholly before `keep`, and those that must go for the log to hold
    /// at most `bytes_max` bytes. The tail may stay before `keep`; it never passes the head.
    pub fn trim(&mut self, pool: &mut ChunkPool, keep: u64, bytes_max: u64) {
        while let Some(chunk) = self.chunks.front() {
            let over = self.head - chunk.start > bytes_max && chunk.end() < self.head;
            if chunk.end() > keep && !over {
                break;
            }
            if let Some(chunk) = self.chunks.pop_front() {
                pool.give(chunk.bytes);
            }
        }
    }
}

fn offset(position: u64) -> usize {
    usize::try_from(position).expect("an offset within a chunk fits")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn append(log: &mut Log, pool: &mut ChunkPool, frame: &[u8]) {
        log.append(pool, frame.len(), |out| out.extend_from_slice(frame));
    }

    fn read(log: &Log, start: u64, end: u64) -> Vec<u8> {
        log.slices(start, end).collect::<Vec<_>>().concat()
    }

    #[test]
    fn a_log_that_everybody_has_read_holds_nothing() {
        let (mut log, mut pool) = (Log::default(), ChunkPool::default());
        append(&mut log, &mut pool, b"hello");
        assert_eq!(read(&log, 0, 5), b"hello");
        log.trim(&mut pool, log.head(), u64::MAX);
        assert_eq!((log.tail(), log.head(), log.bytes()), (5, 5, 0));
        append(&mut log, &mut pool, b"again");
        assert_eq!(read(&log, 5, 10), b"again");
        assert_eq!(pool.spare.len(), 0, "the chunk was used again");
        assert_eq!((pool.lent_bytes(), pool.spare_bytes()), (CHUNK_BYTES, 0));
        log.trim(&mut pool, log.head(), u64::MAX);
        assert_eq!((pool.lent_bytes(), pool.spare_bytes()), (0, CHUNK_BYTES));
        pool.clear();
        assert_eq!(pool.spare_bytes(), 0);
    }

    #[test]
    fn the_window_drops_whole_chunks_and_keeps_the_newest() {
        let (mut log, mut pool) = (Log::default(), ChunkPool::default());
        let frame = vec![7; CHUNK_BYTES / 2];
        for _ in 0..10 {
            append(&mut log, &mut pool, &frame);
        }
        log.trim(&mut pool, 0, 2 * CHUNK_BYTES as u64);
        assert_eq!(log.bytes(), 2 * CHUNK_BYTES as u64);
        append(&mut log, &mut pool, &vec![8; 3 * CHUNK_BYTES]);
        log.trim(&mut pool, 0, 1);
        assert_eq!(
            log.bytes(),
            3 * CHUNK_BYTES as u64,
            "the newest chunk outlives any window"
        );
    }

    proptest! {
        #[test]
        fn any_range_reads_what_was_appended(
            frames in prop::collection::vec(1usize..200_000, 1..20), cut in 0.0f64..1.0, end in 0.0f64..1.0,
        ) {
            let (mut log, mut pool) = (Log::default(), ChunkPool::default());
            let mut all = Vec::new();
            for (i, &len) in frames.iter().enumerate() {
                let frame = vec![u8::try_from(i).unwrap(); len];
                append(&mut log, &mut pool, &frame);
                all.extend_from_slice(&frame);
            }
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a fraction")]
            let cut = (all.len() as f64 * cut) as usize;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a fraction")]
            let end = cut + ((all.len() - cut) as f64 * end) as usize;
            prop_assert_eq!(read(&log, cut as u64, end as u64), &all[cut..end]);
            log.trim(&mut pool, cut as u64, u64::MAX);
            prop_assert!(log.tail() <= cut as u64);
            prop_assert_eq!(read(&log, cut as u64, end as u64), &all[cut..end]);
        }
    }
}
