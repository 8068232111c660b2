//! A set of small integers, one bit each, for marks that live for one turn.

/// A growable bit set. A million members take 125 KB, so that a walk over them stays in the cache.
#[derive(Clone, Debug, Default)]
pub struct BitSet {
    words: Vec<u64>,
}

impl BitSet {
    /// Adds `bit`; `true` if it was not there before.
    pub fn insert(&mut self, bit: u32) -> bool {
        let (word, mask) = place(bit);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let fresh = self.words[word] & mask == 0;
        self.words[word] |= mask;
        fresh
    }

    /// Takes `bit` out; `true` if it was there.
    pub fn remove(&mut self, bit: u32) -> bool {
        let (word, mask) = place(bit);
        let Some(word) = self.words.get_mut(word) else {
            return false;
        };
        let there = *word & mask != 0;
        *word &= !mask;
        there
    }

    /// Whether `bit` is in the set.
    pub fn contains(&self, bit: u32) -> bool {
        let (word, mask) = place(bit);
        self.words.get(word).is_some_and(|word| word & mask != 0)
    }

    /// The first member that is no less than `bit`. Walks over the words between.
    pub fn next(&self, bit: u32) -> Option<u32> {
        let (first, mask) = place(bit);
        let later = |word: usize| self.words[word] & if word == first { !(mask - 1) } else { !0 };
        let word = (first..self.words.len()).find(|&word| later(word) != 0)?;
        let word_start = u32::try_from(word * 64).expect("members are 32 bits wide");
        Some(word_start + later(word).trailing_zeros())
    }

    /// Whether no bit is set. Walks all words: for assertions.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }
}

fn place(bit: u32) -> (usize, u64) {
    ((bit / 64) as usize, 1 << (bit % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_come_and_go_one_by_one() {
        let mut set = BitSet::default();
        assert!(set.insert(63) && set.insert(64) && set.insert(1000));
        assert!(!set.insert(64), "inserting twice changes nothing");
        assert!(set.contains(63) && set.contains(64) && !set.contains(65) && !set.contains(9999));
        assert_eq!(
            [0, 63, 64, 65, 1000].map(|bit| set.next(bit)),
            [63, 63, 64, 1000, 1000].map(Some)
        );
        assert_eq!([1001, 9999].map(|bit| set.next(bit)), [None; 2]);
        assert!(set.remove(64) && !set.remove(64) && !set.remove(9999));
        assert!(set.contains(63) && !set.contains(64));
        assert!(set.remove(63) && set.remove(1000) && set.is_empty());
    }
}
