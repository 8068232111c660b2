//! Which shards want which topic, and in which formats: the one map that shards share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use dashmap::DashMap;
use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use smallvec::SmallVec;

use super::format::Formats;
use crate::id::ShardId;

/// The shards that want a topic, ascending; each in a format at least.
type Wanting = SmallVec<[(ShardId, Formats); 4]>;

/// Which shards have subscribers of which topic, and in which formats. It is written at a shard's
/// first and last subscriber (or hold) of a topic in a format, and read on publish.
#[derive(Debug)]
pub struct Interest {
    shards: DashMap<Arc<str>, Wanting, SeedableRandomState>,
    /// Grows with every change, after it. On a line of its own: it is read more often than the map.
    version: CachePadded<AtomicU64>,
}

impl Interest {
    /// An empty directory. `seed` keeps anybody from choosing names that collide.
    pub fn new(seed: u64) -> Self {
        let hasher = SeedableRandomState::with_seed(seed, SharedSeed::global_fixed());
        Self {
            shards: DashMap::with_hasher(hasher),
            version: CachePadded::new(AtomicU64::new(0)),
        }
    }

    /// Notes in which formats `shard` wants `topic` from here on; none: not at all.
    pub(crate) fn set(&self, topic: &Arc<str>, shard: ShardId, formats: Formats) {
        if formats.is_empty() {
            if let Some(mut shards) = self.shards.get_mut(topic) {
                shards.retain(|&mut (other, _)| other != shard);
            }
            self.shards.remove_if(topic, |_, shards| shards.is_empty());
        } else {
            let mut shards = self.shards.entry(Arc::clone(topic)).or_default();
            match shards.binary_search_by_key(&shard, |&(other, _)| other) {
                Ok(place) if shards[place].1 == formats => return,
                Ok(place) => shards[place].1 = formats,
                Err(place) => shards.insert(place, (shard, formats)),
            }
        }
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Changes with every change of the directory: what is read after this call still holds when a
    /// later call returns the same.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The shards that want `topic`, ascending.
    pub fn shards(&self, topic: &str) -> SmallVec<[ShardId; 8]> {
        let mut shards = SmallVec::new();
        self.each(topic, |shard, _| shards.push(shard));
        shards
    }

    /// Names the shards that want `topic`, ascending, and in which formats they want it. A part of
    /// the directory is locked meanwhile: `each` must not come back here.
    pub(crate) fn each(&self, topic: &str, mut each: impl FnMut(ShardId, Formats)) {
        if let Some(shards) = self.shards.get(topic) {
            shards
                .iter()
                .for_each(|&(shard, formats)| each(shard, formats));
        }
    }

    /// The formats in which shards other than `here` want `topic`.
    pub(crate) fn elsewhere(&self, topic: &str, here: ShardId) -> Formats {
        let mut elsewhere = Formats::NONE;
        self.each(topic, |shard, formats| {
            if shard != here {
                elsewhere = elsewhere.union(formats);
            }
        });
        elsewhere
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::Format;

    #[test]
    fn interest_is_there_from_first_to_last_shard_and_format() {
        let interest = Interest::new(7);
        let topic: Arc<str> = "t".into();
        let [zero, two] = [0, 2].map(|number| Formats::from(Format(number)));
        interest.set(&topic, ShardId(3), zero);
        interest.set(&topic, ShardId(1), two);
        interest.set(&topic, ShardId(3), zero.union(two));
        assert_eq!(interest.shards("t").as_slice(), [ShardId(1), ShardId(3)]);
        assert_eq!(interest.elsewhere("t", ShardId(1)), zero.union(two));
        assert_eq!(interest.elsewhere("t", ShardId(3)), two);
        let before = interest.version();
        interest.set(&topic, ShardId(1), two);
        assert_eq!(interest.version(), before, "nothing has changed");
        interest.set(&topic, ShardId(3), Formats::NONE);
        assert_ne!(interest.version(), before);
        interest.set(&topic, ShardId(1), Formats::NONE);
        assert!(interest.shards("t").is_empty());
        assert!(interest.shards.is_empty(), "no name is kept");
    }
}
