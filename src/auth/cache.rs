//! A bounded map that forgets what was not asked for lately.

use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;

/// Two generations: what is found in the old one moves to the young one, and when that is full, the
/// old one is forgotten and the young one grows old. So at most `2 * capacity` entries are held, and
/// whatever was asked for among the last `capacity` others is there. A list of the least recently used
/// would be more exact, and two pointers an entry larger.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    capacity: usize,
    generations: Mutex<Generations<K, V>>,
}

#[derive(Debug)]
struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    /// An empty cache that surely holds the last `capacity` entries.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            generations: Mutex::new(Generations {
                young: HashMap::new(),
                old: HashMap::new(),
            }),
        }
    }

    /// What is kept for a key.
    pub(super) fn find(&self, key: &K) -> Option<V> {
        let mut generations = self.lock();
        if let Some(value) = generations.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = generations.old.remove_entry(key)?;
        self.put(&mut generations, key, value.clone());
        Some(value)
    }

    /// Keeps a value, instead of the one before.
    pub(super) fn insert(&self, key: K, value: V) {
        let mut generations = self.lock();
        generations.old.remove(&key);
        self.put(&mut generations, key, value);
    }

    /// Forgets one.
    pub(super) fn remove(&self, key: &K) {
        let mut generations = self.lock();
        generations.young.remove(key);
        generations.old.remove(key);
    }

    /// Forgets all.
    pub(super) fn clear(&self) {
        let mut generations = self.lock();
        generations.young.clear();
        generations.old.clear();
    }

    fn put(&self, generations: &mut Generations<K, V>, key: K, value: V) {
        if generations.young.len() >= self.capacity && !generations.young.contains_key(&key) {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(key, value);
    }

    fn lock(&self) -> MutexGuard<'_, Generations<K, V>> {
        // Each change is one call of a map, so that a panic elsewhere left nothing half done.
        self.generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_rest_is_forgotten() {
        let cache = Cache::new(2);
        for key in 0..100 {
            cache.insert(key, key * 10);
            assert_eq!(cache.find(&0), Some(0), "asked for each time: {key}");
        }
        assert_eq!(cache.find(&99), Some(990));
        assert_eq!(cache.find(&50), None);
        let generations = cache.lock();
        assert!(generations.young.len() + generations.old.len() <= 4);
        drop(generations);
        cache.insert(99, 1);
        assert_eq!(cache.find(&99), Some(1), "the newer value");
        cache.remove(&99);
        assert_eq!(cache.find(&99), None);
        cache.clear();
        assert_eq!(cache.find(&0), None);
    }
}
