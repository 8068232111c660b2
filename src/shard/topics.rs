//! Topic → subscribers. A topic has one *lane* per encoding that its subscribers need: the plain
//! one, and one per deflate window size. Each lane has a log of encoded frames and a dense array of
//! the slots that are up to date with it; whoever is not has a cursor.

use std::collections::VecDeque;
use std::sync::Arc;

use dashmap::DashMap;
use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use hashbrown::HashTable;
use smallvec::SmallVec;

use super::connection::Place;
use super::log::{ChunkPool, Log};
use super::users::Placement;
use crate::collections::Slab;
use crate::id::{ShardId, Slot};
use crate::ws::WindowBits;

/// Which shards have subscribers of which topic: the one map that shards share. It is written at a
/// shard's first and last subscriber of a topic and read on publish.
#[derive(Debug)]
pub struct Interest {
    shards: DashMap<Arc<str>, SmallVec<[ShardId; 8]>, SeedableRandomState>,
}

impl Interest {
    /// An empty directory. `seed` keeps anybody from choosing names that collide.
    pub fn new(seed: u64) -> Self {
        let hasher = SeedableRandomState::with_seed(seed, SharedSeed::global_fixed());
        Self {
            shards: DashMap::with_hasher(hasher),
        }
    }

    pub(crate) fn add(&self, topic: &Arc<str>, shard: ShardId) {
        let mut shards = self.shards.entry(Arc::clone(topic)).or_default();
        if let Err(place) = shards.binary_search(&shard) {
            shards.insert(place, shard);
        }
    }

    pub(crate) fn remove(&self, topic: &str, shard: ShardId) {
        if let Some(mut shards) = self.shards.get_mut(topic) {
            shards.retain(|&mut other| other != shard);
        }
        self.shards.remove_if(topic, |_, shards| shards.is_empty());
    }

    /// The shards with subscribers of `topic`, ascending.
    pub fn shards(&self, topic: &str) -> SmallVec<[ShardId; 8]> {
        let mut shards = SmallVec::new();
        self.each(topic, |shard| shards.push(shard));
        shards
    }

    /// Names the shards with subscribers of `topic`, ascending. A part of the directory is locked
    /// meanwhile: `each` must not come back here.
    pub(crate) fn each(&self, topic: &str, each: impl FnMut(ShardId)) {
        if let Some(shards) = self.shards.get(topic) {
            shards.iter().copied().for_each(each);
        }
    }
}

/// A subscriber with a cursor of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Laggard {
    pub(crate) slot: Slot,
    /// Everything before it was sent, or is in the connection's owned send. A frame boundary.
    pub(crate) cursor: u64,
    /// Up to where this turn's send goes: `cursor <= end <= head`. A frame boundary.
    pub(crate) end: u64,
    /// Bytes that the window has dropped before the cursor reached them.
    pub(crate) missed: u64,
}

/// A part of the log that one subscriber must not get, because it published it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Skip {
    pub(crate) slot: Slot,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// One encoding of a topic and the subscribers who take it.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) topic: u32,
    /// `None`: plain; else compressed with this LZ77 window.
    pub(crate) window_bits: Option<WindowBits>,
    pub(crate) log: Log,
    /// Up to date up to `turn_start`, and not blocked.
    pub(crate) live: Vec<Slot>,
    pub(crate) laggards: Vec<Laggard>,
    /// Where this turn's frames begin.
    pub(crate) turn_start: u64,
    /// In order of position; all of them end after the log's tail.
    pub(crate) skips: VecDeque<Skip>,
    /// Whether the lane is in the turn's list of lanes to look at.
    pub(crate) dirty: bool,
}

impl Lane {
    /// Whether this turn has appended anything.
    pub(crate) fn is_fresh(&self) -> bool {
        self.turn_start < self.log.head()
    }

    /// The laggard at `place`, if there it is one.
    pub(crate) fn laggard(&self, place: Place) -> Option<&Laggard> {
        place.is_laggard().then(|| &self.laggards[place.index()])
    }

    /// Where begins what the subscriber at `place` has not been sent.
    pub(crate) fn owed_from(&self, place: Place) -> u64 {
        self.laggard(place)
            .map_or(self.turn_start, |laggard| laggard.cursor)
    }

    /// The pieces of `start..end` without what `slot` itself has published.
    pub(crate) fn pieces_for<'a>(
        &'a self,
        slot: Slot,
        start: u64,
        end: u64,
        mut piece: impl FnMut(&'a [u8]),
    ) {
        let mut from = start;
        let first = self.skips.partition_point(|skip| skip.end <= start);
        for skip in self.skips.range(first..) {
            if skip.start >= end {
                break;
            }
            if skip.slot == slot {
                self.log
                    .slices(from, skip.start.max(from))
                    .for_each(&mut piece);
                from = skip.end;
            }
        }
        if from < end {
            self.log.slices(from, end).for_each(piece);
        }
    }
}

#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) lanes: SmallVec<[u32; 2]>,
}

/// The topics that have a subscriber on this shard.
#[derive(Debug)]
pub(crate) struct Topics {
    placement: Placement,
    by_name: HashTable<u32>,
    pub(crate) topics: Slab<Topic>,
    pub(crate) lanes: Slab<Lane>,
    pub(crate) pool: ChunkPool,
    /// The lanes that this turn has touched.
    pub(crate) dirty: Vec<u32>,
}

impl Topics {
    pub(crate) fn new(placement: Placement) -> Self {
        Self {
            placement,
            by_name: HashTable::new(),
            topics: Slab::with_capacity_max(u32::MAX),
            lanes: Slab::with_capacity_max(u32::MAX),
            pool: ChunkPool::default(),
            dirty: Vec::new(),
        }
    }

    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        let same = |&index: &u32| {
            self.topics
                .get(index)
                .is_some_and(|topic| &*topic.name == name)
        };
        self.by_name.find(self.placement.hash(name), same).copied()
    }

    /// Finds a topic or makes it; `true` if it is new.
    pub(crate) fn find_or_insert(&mut self, name: &str) -> (u32, bool) {
        if let Some(index) = self.find(name) {
            return (index, false);
        }
        let topic = Topic {
            name: name.into(),
            lanes: SmallVec::new(),
        };
        let index = self
            .topics
            .insert(topic)
            .expect("subscriptions are bounded")
            .index;
        let (topics, placement) = (&self.topics, &self.placement);
        self.by_name
            .insert_unique(placement.hash(name), index, |&index| {
                topics
                    .get(index)
                    .map_or(0, |topic| placement.hash(&topic.name))
            });
        (index, true)
    }

    /// Finds or makes the lane of a topic for one encoding.
    pub(crate) fn lane_for(&mut self, topic: u32, window_bits: Option<WindowBits>) -> u32 {
        let lanes = &self
            .topics
            .get(topic)
            .expect("the caller has just found it")
            .lanes;
        let same = |&&lane: &&u32| {
            self.lanes
                .get(lane)
                .is_some_and(|lane| lane.window_bits == window_bits)
        };
        if let Some(&lane) = lanes.iter().find(same) {
            return lane;
        }
        let lane = Lane {
            topic,
            window_bits,
            log: Log::default(),
            live: Vec::new(),
            laggards: Vec::new(),
            turn_start: 0,
            skips: VecDeque::new(),
            dirty: false,
        };
        let lane = self
            .lanes
            .insert(lane)
            .expect("subscriptions are bounded")
            .index;
        self.topics
            .get_mut(topic)
            .expect("just found")
            .lanes
            .push(lane);
        lane
    }

    /// The lane, which a subscription or the turn's list keeps alive.
    pub(crate) fn lane(&self, lane: u32) -> &Lane {
        self.lanes
            .get(lane)
            .expect("a lane lives as long as its subscribers")
    }

    /// The lane, to change.
    pub(crate) fn lane_mut(&mut self, lane: u32) -> &mut Lane {
        self.lanes
            .get_mut(lane)
            .expect("a lane lives as long as its subscribers")
    }

    /// Puts a lane on the turn's list.
    pub(crate) fn touch(&mut self, lane: u32) {
        let record = self
            .lanes
            .get_mut(lane)
            .expect("a lane lives as long as its subscribers");
        if !record.dirty {
            record.dirty = true;
            self.dirty.push(lane);
        }
    }

    /// Removes a lane without subscribers, and its topic with the last lane: then its name.
    pub(crate) fn remove_empty_lane(&mut self, lane: u32) -> Option<Arc<str>> {
        let record = self.lanes.get(lane)?;
        if !record.live.is_empty() || !record.laggards.is_empty() {
            return None;
        }
        let mut record = self.lanes.remove(lane)?;
        record.log.trim(&mut self.pool, record.log.head(), 0);
        let topic = self.topics.get_mut(record.topic)?;
        topic.lanes.retain(|other| *other != lane);
        if !topic.lanes.is_empty() {
            return None;
        }
        let index = record.topic;
        let topic = self.topics.remove(index)?;
        let hash = self.placement.hash(&topic.name);
        if let Ok(entry) = self.by_name.find_entry(hash, |&other| other == index) {
            entry.remove();
        }
        Some(topic.name)
    }

    /// Subscribers of a topic on this shard.
    pub(crate) fn subscriber_count(&self, name: &str) -> usize {
        let Some(topic) = self.find(name).and_then(|index| self.topics.get(index)) else {
            return 0;
        };
        let lanes = topic.lanes.iter().map(|&lane| self.lane(lane));
        lanes
            .map(|lane| lane.live.len() + lane.laggards.len())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interest_is_there_from_first_to_last_shard() {
        let interest = Interest::new(7);
        let topic: Arc<str> = "t".into();
        interest.add(&topic, ShardId(3));
        interest.add(&topic, ShardId(1));
        interest.add(&topic, ShardId(3));
        assert_eq!(interest.shards("t").as_slice(), [ShardId(1), ShardId(3)]);
        interest.remove("t", ShardId(3));
        interest.remove("t", ShardId(1));
        assert!(interest.shards("t").is_empty());
        assert!(interest.shards.is_empty(), "no name is kept");
    }

    #[test]
    fn a_publisher_skips_its_own_frames_only() {
        let mut topics = Topics::new(Placement::new(1, 0));
        let (topic, _) = topics.find_or_insert("t");
        let lane = topics.lane_for(topic, None);
        let Topics { lanes, pool, .. } = &mut topics;
        let lane = lanes.get_mut(lane).unwrap();
        for (slot, frame) in [(1, b"aa"), (2, b"bb"), (1, b"cc"), (1, b"dd")] {
            let start = lane.log.head();
            lane.log.append(pool, 2, |out| out.extend_from_slice(frame));
            lane.skips.push_back(Skip {
                slot: Slot(slot),
                start,
                end: start + 2,
            });
        }
        let read = |slot: u32, start, end| {
            let mut all = Vec::new();
            lane.pieces_for(Slot(slot), start, end, |piece| all.extend_from_slice(piece));
            String::from_utf8(all).unwrap()
        };
        assert_eq!(read(1, 0, 8), "bb");
        assert_eq!(read(2, 0, 8), "aaccdd");
        assert_eq!(read(3, 0, 8), "aabbccdd");
        assert_eq!(read(1, 4, 8), "");
        assert_eq!(read(2, 2, 6), "cc");
    }
}
