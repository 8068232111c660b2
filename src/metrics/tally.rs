//! Counts by a reason or a code, of which there are few.

use std::borrow::Borrow;

/// Different keys that are counted one by one.
const KEYS_MAX: usize = 32;

/// Counts by key. The first 32 keys have a count each, all others share one: who can choose keys (a
/// peer its close code) cannot make it grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally<K> {
    counts: Vec<(K, u64)>,
    others: u64,
}

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self {
            counts: Vec::new(),
            others: 0,
        }
    }
}

impl<K: PartialEq> Tally<K> {
    /// Counts one.
    pub fn count<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: ?Sized + PartialEq + ToOwned,
        Q::Owned: Into<K>,
    {
        let known = self
            .counts
            .iter_mut()
            .find(|(known, _)| known.borrow() == key);
        if let Some((_, count)) = known {
            *count += 1;
        } else if self.counts.len() < KEYS_MAX {
            self.counts.push((key.to_owned().into(), 1));
        } else {
            self.others += 1;
        }
    }

    /// Keys and counts, in the order in which they were first seen.
    pub fn iter(&self) -> impl Iterator<Item = (&K, u64)> {
        self.counts.iter().map(|(key, count)| (key, *count))
    }

    /// How many had a key that is not listed.
    pub fn others(&self) -> u64 {
        self.others
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Self)
    where
        K: Clone,
    {
        for (key, counted) in &other.counts {
            if let Some((_, count)) = self.counts.iter_mut().find(|(known, _)| known == key) {
                *count += counted;
            } else if self.counts.len() < KEYS_MAX {
                self.counts.push((key.clone(), *counted));
            } else {
                self.others += counted;
            }
        }
        self.others += other.others;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_bound_keys_share_a_count() {
        let mut tally = Tally::default();
        for key in 0..100u16 {
            tally.count(&key);
            tally.count(&key);
        }
        assert_eq!(tally.iter().count(), KEYS_MAX);
        assert!(tally.iter().all(|(_, count)| count == 2));
        assert_eq!(tally.others(), 2 * (100 - KEYS_MAX as u64));

        let mut all = Tally::default();
        all.count(&7u16);
        all.count(&700u16);
        all.merge(&tally);
        assert_eq!(all.iter().next(), Some((&7, 3)));
        assert_eq!(all.iter().count(), KEYS_MAX);
        let counted: u64 = all.iter().map(|(_, count)| count).sum();
        assert_eq!(counted + all.others(), 202);
    }
}
