//! Topic → subscribers. A topic has one *lane* per encoding that its subscribers need: a format of
//! the application's, plain or compressed with some deflate window size. Each lane has a log of
//! encoded frames and a dense array of the slots that are up to date with it; whoever is not has a
//! cursor.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::{HashMap, HashTable};
use smallvec::SmallVec;

use super::connection::Place;
use super::format::{Format, Formats};
use super::log::{ChunkPool, Log};
use super::users::Placement;
use crate::collections::Slab;
use crate::id::Slot;
use crate::ws::WindowBits;

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
    pub(crate) format: Format,
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

/// A format in which a topic is held, and how many times: at least once.
type Hold = (Format, usize);

/// The topics that have a subscriber on this shard, or are held.
#[derive(Debug)]
pub(crate) struct Topics {
    placement: Placement,
    by_name: HashTable<u32>,
    pub(crate) topics: Slab<Topic>,
    pub(crate) lanes: Slab<Lane>,
    /// By topic: of nearly all nobody holds any.
    holds: HashMap<u32, SmallVec<[Hold; 1]>>,
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
            holds: HashMap::new(),
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

    /// Finds a topic or makes it.
    pub(crate) fn find_or_insert(&mut self, name: &str) -> u32 {
        if let Some(index) = self.find(name) {
            return index;
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
        index
    }

    /// Finds or makes the lane of a topic for one encoding; `true` if it is new.
    pub(crate) fn lane_for(
        &mut self,
        topic: u32,
        window_bits: Option<WindowBits>,
        format: Format,
    ) -> (u32, bool) {
        let lanes = &self
            .topics
            .get(topic)
            .expect("the caller has just found it")
            .lanes;
        let same = |&&lane: &&u32| {
            self.lanes
                .get(lane)
                .is_some_and(|lane| (lane.window_bits, lane.format) == (window_bits, format))
        };
        if let Some(&lane) = lanes.iter().find(same) {
            return (lane, false);
        }
        let lane = Lane {
            topic,
            window_bits,
            format,
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
        (lane, true)
    }

    /// The formats in which a topic has lanes.
    pub(crate) fn lane_formats(&self, topic: u32) -> Formats {
        let lanes = self.topics.get(topic).map_or(&[][..], |topic| &topic.lanes);
        let formats = lanes.iter().map(|&lane| self.lane(lane).format.into());
        formats.collect()
    }

    /// The formats in which a topic is wanted on this shard: by subscribers, or because it is held.
    pub(crate) fn formats(&self, topic: u32) -> Formats {
        let holds = self.holds.get(&topic).map_or(&[][..], |holds| holds);
        let held: Formats = holds.iter().map(|&(format, _)| format.into()).collect();
        held.union(self.lane_formats(topic))
    }

    /// Holds a topic once more in a format. `true` if it was not held in it.
    pub(crate) fn hold(&mut self, topic: u32, format: Format) -> bool {
        let holds = self.holds.entry(topic).or_default();
        let Some((_, count)) = holds.iter_mut().find(|(held, _)| *held == format) else {
            holds.push((format, 1));
            return true;
        };
        *count += 1;
        false
    }

    /// Takes back one hold, if there is one. `true` if it was the last in this format.
    pub(crate) fn release(&mut self, topic: u32, format: Format) -> bool {
        let Some(holds) = self.holds.get_mut(&topic) else {
            return false;
        };
        let Some(place) = holds.iter().position(|&(held, _)| held == format) else {
            return false;
        };
        holds[place].1 -= 1;
        if holds[place].1 > 0 {
            return false;
        }
        holds.swap_remove(place);
        if holds.is_empty() {
            self.holds.remove(&topic);
        }
        true
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

    /// Removes a lane without subscribers, and its topic if nothing else wants it. If the lane is gone:
    /// the topic's name, and the formats in which it is still wanted.
    pub(crate) fn remove_empty_lane(&mut self, lane: u32) -> Option<(Arc<str>, Formats)> {
        let record = self.lanes.get(lane)?;
        if !record.live.is_empty() || !record.laggards.is_empty() {
            return None;
        }
        let mut record = self.lanes.remove(lane)?;
        record.log.trim(&mut self.pool, record.log.head(), 0);
        let topic = self.topics.get_mut(record.topic)?;
        topic.lanes.retain(|other| *other != lane);
        let name = Arc::clone(&topic.name);
        Some((name, self.remove_unwanted(record.topic)))
    }

    /// Removes a topic that nobody subscribes to or holds. Else: the formats in which it is wanted.
    pub(crate) fn remove_unwanted(&mut self, index: u32) -> Formats {
        let formats = self.formats(index);
        if formats.is_empty()
            && let Some(topic) = self.topics.remove(index)
        {
            let hash = self.placement.hash(&topic.name);
            if let Ok(entry) = self.by_name.find_entry(hash, |&other| other == index) {
                entry.remove();
            }
        }
        formats
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
    fn a_topic_is_there_as_long_as_it_is_subscribed_to_or_held() {
        let mut topics = Topics::new(Placement::new(1, 0));
        let topic = topics.find_or_insert("t");
        let (lane, _) = topics.lane_for(topic, None, Format(1));
        assert_eq!(topics.lane_for(topic, None, Format(1)), (lane, false));
        assert!(topics.lane_for(topic, None, Format(2)).1);
        assert!(topics.hold(topic, Format(1)) && !topics.hold(topic, Format(1)));
        for &lane in &*topics.topics.get(topic).unwrap().lanes.clone() {
            assert!(topics.remove_empty_lane(lane).is_some());
        }
        assert_eq!(topics.formats(topic), Format(1).into());
        assert!(!topics.release(topic, Format(2)) && !topics.release(topic, Format(1)));
        assert!(topics.release(topic, Format(1)) && !topics.release(topic, Format(1)));
        assert!(topics.remove_unwanted(topic).is_empty());
        assert!(topics.find("t").is_none() && topics.holds.is_empty());
    }

    #[test]
    fn a_publisher_skips_its_own_frames_only() {
        let mut topics = Topics::new(Placement::new(1, 0));
        let topic = topics.find_or_insert("t");
        let (lane, _) = topics.lane_for(topic, None, Format::default());
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
