//! A table of small records at indices that somebody else hands out.

/// Records of one chunk. Fewer than in the [`Slab`](super::Slab) that such a table lies beside: a
/// small server does not pay for a thousand.
const CHUNK: usize = 256;

/// Records by dense index, for which there is memory where they differ from a default.
///
/// Like a slab it grows in chunks and moves nothing. A chunk is freed when its last record is
/// [removed](Table::remove).
#[derive(Debug)]
pub struct Table<T> {
    chunks: Vec<Chunk<T>>,
}

#[derive(Debug)]
struct Chunk<T> {
    /// Empty, or `CHUNK` records.
    records: Box<[T]>,
    /// Records that were inserted and not removed.
    taken: usize,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T: Copy> Table<T> {
    /// Puts a record at `index`, where none is; what lies around it is `vacant`.
    pub fn insert(&mut self, index: usize, record: T, vacant: T) {
        let number = index / CHUNK;
        while self.chunks.len() <= number {
            self.chunks.push(Chunk {
                records: Box::default(),
                taken: 0,
            });
        }
        let chunk = &mut self.chunks[number];
        if chunk.taken == 0 {
            chunk.records = vec![vacant; CHUNK].into();
        }
        chunk.taken += 1;
        chunk.records[index % CHUNK] = record;
    }

    /// Makes the record at `index`, which was inserted, `vacant`.
    ///
    /// Panics if its whole chunk is vacant.
    pub fn remove(&mut self, index: usize, vacant: T) {
        let chunk = &mut self.chunks[index / CHUNK];
        assert!(chunk.taken > 0);
        chunk.records[index % CHUNK] = vacant;
        chunk.taken -= 1;
        if chunk.taken == 0 {
            chunk.records = Box::default();
        }
    }

    /// The record at `index`; perhaps `None` if it is vacant.
    pub fn get(&self, index: usize) -> Option<&T> {
        self.chunks.get(index / CHUNK)?.records.get(index % CHUNK)
    }

    /// The record at `index`, to change; perhaps `None` if it is vacant.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        let chunk = self.chunks.get_mut(index / CHUNK)?;
        chunk.records.get_mut(index % CHUNK)
    }

    /// All records, and vacant ones among them, by index.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        let chunks = (0..).step_by(CHUNK).zip(&self.chunks);
        chunks.flat_map(|(first, chunk)| (first..).zip(&chunk.records))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_stay_where_they_are_put_and_empty_chunks_go() {
        let mut table = Table::default();
        for index in [3, CHUNK, 9 * CHUNK - 1] {
            table.insert(index, 'x', '-');
        }
        let there: Vec<usize> = table
            .iter()
            .filter(|(_, c)| **c == 'x')
            .map(|(i, _)| i)
            .collect();
        assert_eq!(there, [3, CHUNK, 9 * CHUNK - 1]);
        assert_eq!(table.get(4), Some(&'-'));
        assert_eq!(table.get(5 * CHUNK), None);
        assert_eq!(table.get(100 * CHUNK), None);
        *table.get_mut(CHUNK).unwrap() = 'y';
        table.remove(3, '-');
        assert_eq!(table.get(3), None, "the chunk is freed");
        assert_eq!(table.get(CHUNK), Some(&'y'));
    }
}
