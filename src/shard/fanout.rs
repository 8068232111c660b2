//! Publish, subscribe, and the end of a turn: who is sent what, from where.
//!
//! At the end of a turn a connection falls in one of three classes:
//! - *plain*: up to date in the one topic that is fresh, nothing else to send. It is sent the log's
//!   bytes without its record being looked at. In a large fan-out that is nearly everybody.
//! - *composed*: it has replies of its own, several fresh topics, frames of its own to skip, or
//!   something to catch up with. Its send is put together from pieces, still by reference.
//! - *blocked*: its socket is full and an owned send is in flight. Nothing is sent; topics wait in
//!   their logs, replies in the private queue.

use std::sync::Arc;

use smallvec::SmallVec;

use super::app::{App, Dropped, Sent};
use super::codes;
use super::connection::{Connection, Phase, Place, Subscription};
use super::core::{Core, EVERYBODY, Turn};
use super::encode::Encoder;
use super::mail::{Batch, BatchEntry};
use super::options::SlowPolicy;
use super::outbox::{Outbox, PIECES_MAX, Sink};
use super::send_queue::SendQueue;
use super::topics::{Laggard, Skip, Topics};
use crate::collections::Slab;
use crate::id::{ConnectionId, Slot};
use crate::limits::TOPIC_BYTES_MAX;
use crate::ws::Opcode;

/// Bytes of one topic that a laggard is sent in one turn, so that what a full socket leaves over,
/// and must be copied, stays small.
const CATCH_UP_BYTES: u64 = 128 * 1024;
/// A private queue larger than this goes out by an owned send at once, bytes: a short send would
/// copy what is left over.
const OWNED_SEND_BYTES: usize = 256 * 1024;

/// What became of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a refused subscription is the caller's to deal with"]
pub enum Subscribed {
    /// The connection is subscribed from here on.
    New,
    /// It was before.
    Already,
    /// It has `subscriptions_max` subscriptions.
    TooMany,
    /// The name is empty or longer than [`TOPIC_BYTES_MAX`] bytes.
    BadTopic,
    /// The connection is closing.
    Closed,
}

impl<A: App> Core<A> {
    pub(crate) fn subscribe(&mut self, slot: Slot, name: &str) -> Subscribed {
        if !is_topic(name) {
            return Subscribed::BadTopic;
        }
        let Some(connection) = self.connection(slot).filter(|c| c.phase == Phase::Open) else {
            return Subscribed::Closed;
        };
        if self.subscription(slot, name).is_some() {
            return Subscribed::Already;
        }
        // One more than asked for: everybody is subscribed to the hidden topic.
        if connection.subscriptions.len() > self.options().subscriptions_max {
            return Subscribed::TooMany;
        }
        self.enlist(slot, name);
        Subscribed::New
    }

    /// Subscribes without asking.
    pub(crate) fn enlist(&mut self, slot: Slot, name: &str) {
        let (topic, fresh_topic) = self.topics.find_or_insert(name);
        if fresh_topic && self.shared.placement.shards() > 1 {
            let name = &self.topics.topics.get(topic).expect("just made").name;
            self.shared.interest.add(name, self.shard);
        }
        let Some(connection) = self.connections.get_mut(slot.0) else {
            return;
        };
        let lane_index = self.topics.lane_for(topic, connection.window_bits);
        let lane = self.topics.lane_mut(lane_index);
        let place = if connection.marks.blocked || lane.is_fresh() {
            // What this turn has published so far is not for the newcomer.
            let head = lane.log.head();
            lane.laggards.push(Laggard {
                slot,
                cursor: head,
                end: head,
                missed: 0,
            });
            Place::laggard(lane.laggards.len() - 1)
        } else {
            lane.live.push(slot);
            Place::live(lane.live.len() - 1)
        };
        connection.subscriptions.push(Subscription {
            lane: lane_index,
            place,
        });
        if place.is_laggard() && !connection.marks.blocked {
            self.compose(slot);
        }
    }

    /// Unsubscribes. What was published before still goes out. `false` if there was nothing to end.
    ///
    /// A connection whose socket is full gives up what it was not sent yet.
    pub(crate) fn unsubscribe(&mut self, slot: Slot, name: &str) -> bool {
        let Some(place) = self.subscription(slot, name) else {
            return false;
        };
        self.settle(slot, Some(place));
        self.withdraw(slot, place);
        true
    }

    /// Ends all subscriptions, after settling them.
    pub(crate) fn unsubscribe_all(&mut self, slot: Slot) {
        self.settle(slot, None);
        while self
            .connection(slot)
            .is_some_and(|c| !c.subscriptions.is_empty())
        {
            self.withdraw(slot, 0);
        }
    }

    /// The place of a subscription in the connection's list. The hidden topic is nobody's to find.
    pub(crate) fn subscription(&self, slot: Slot, name: &str) -> Option<usize> {
        if !is_topic(name) {
            return None;
        }
        let topic = self.topics.find(name)?;
        let connection = self.connection(slot)?;
        connection
            .subscriptions
            .iter()
            .position(|s| self.topics.lane(s.lane).topic == topic)
    }

    /// The names of the topics a connection is subscribed to.
    pub(crate) fn subscriptions(&self, slot: Slot) -> impl Iterator<Item = &str> {
        let subscriptions = self.connection(slot).map_or(&[][..], |c| &c.subscriptions);
        let topics = &self.topics;
        subscriptions
            .iter()
            .filter_map(|s| topics.topics.get(topics.lane(s.lane).topic))
            .map(|topic| &*topic.name)
            .filter(|&name| name != EVERYBODY)
    }

    fn withdraw(&mut self, slot: Slot, place: usize) {
        let Some(connection) = self.connections.get_mut(slot.0) else {
            return;
        };
        let subscription = connection.subscriptions.swap_remove(place);
        vacate(&mut self.topics, &mut self.connections, subscription);
        // Looked at after the turn: the last one out may end the lane.
        self.topics.touch(subscription.lane);
    }

    /// Publishes to all subscribers of a topic, on all shards.
    pub(crate) fn publish(
        &mut self,
        name: &str,
        opcode: Opcode,
        payload: &[u8],
        exclude: Option<ConnectionId>,
    ) {
        self.counters.published += 1;
        if self.shared.placement.shards() > 1 {
            self.publish_elsewhere(name, opcode, payload, exclude);
        }
        self.publish_here(name, opcode, payload, exclude);
    }

    fn publish_elsewhere(
        &mut self,
        name: &str,
        opcode: Opcode,
        payload: &[u8],
        exclude: Option<ConnectionId>,
    ) {
        let batch = match self
            .turn
            .outgoing
            .iter_mut()
            .find(|batch| &*batch.topic == name)
        {
            Some(batch) => batch,
            None => {
                let shards = self.shared.interest.shards(name);
                if shards.iter().all(|&shard| shard == self.shard) {
                    return;
                }
                let topic = name.into();
                self.turn.outgoing.push(Batch {
                    topic,
                    payloads: Vec::new(),
                    entries: Vec::new(),
                });
                self.turn.outgoing.last_mut().expect("just pushed")
            }
        };
        batch.payloads.extend_from_slice(payload);
        batch.entries.push(BatchEntry {
            opcode,
            bytes: payload.len(),
            exclude,
        });
    }

    /// Appends to the logs of this shard what another has published.
    pub(crate) fn publish_batch(&mut self, batch: &Batch) {
        let mut rest = &batch.payloads[..];
        for entry in &batch.entries {
            let (payload, after) = rest.split_at(entry.bytes);
            rest = after;
            self.publish_here(&batch.topic, entry.opcode, payload, entry.exclude);
        }
    }

    fn publish_here(
        &mut self,
        name: &str,
        opcode: Opcode,
        payload: &[u8],
        exclude: Option<ConnectionId>,
    ) {
        let Some(topic) = self.topics.find(name) else {
            return;
        };
        let excluded = exclude.and_then(|id| self.resolve(id));
        let lanes = self
            .topics
            .topics
            .get(topic)
            .map(|topic| topic.lanes.clone());
        for index in lanes.unwrap_or_default() {
            let Topics { lanes, pool, .. } = &mut self.topics;
            let lane = lanes.get_mut(index).expect("a topic's lanes are there");
            let frame = self.encoder.encode(opcode, payload, lane.window_bits);
            let start = lane.log.head();
            lane.log.append(pool, frame.len(), |out| frame.write(out));
            self.counters.appended += 1;
            let end = lane.log.head();
            self.topics.touch(index);
            let Some(slot) = excluded else { continue };
            let subscribed = |c: &Connection<_>| c.subscriptions.iter().any(|s| s.lane == index);
            if self.connection(slot).is_some_and(subscribed) {
                self.topics
                    .lane_mut(index)
                    .skips
                    .push_back(Skip { slot, start, end });
                self.compose(slot);
            }
        }
    }

    /// Puts a message frame into a connection's private queue.
    pub(crate) fn send(&mut self, slot: Slot, opcode: Opcode, payload: &[u8]) -> Sent {
        let limit = self.options().queue_bytes_max;
        let Some(connection) = self.connections.get_mut(slot.0) else {
            return Sent::Dropped(Dropped::Closed);
        };
        if connection.phase != Phase::Open {
            return Sent::Dropped(Dropped::Closed);
        }
        let buffered = connection.buffered();
        if buffered > 0 && buffered.saturating_add(payload.len()) > limit {
            self.counters.dropped_backpressure += 1;
            if self.options().close_on_backpressure_limit {
                self.counters.too_slow += 1;
                self.begin_close(slot, codes::TOO_SLOW, "backpressure limit");
            }
            return Sent::Dropped(Dropped::Backpressure);
        }
        let frame = self.encoder.encode(opcode, payload, connection.window_bits);
        let bytes = frame.len();
        let queue = connection.queue.get_or_insert_with(|| self.queues.take());
        frame.write(&mut queue.data);
        self.counters.messages_out += 1;
        let blocked = connection.marks.blocked;
        if blocked {
            connection.marks.drain = true;
            Sent::Queued(buffered + bytes)
        } else {
            self.compose(slot);
            Sent::Written(bytes)
        }
    }

    /// Puts a control frame into a connection's private queue, ahead of messages.
    pub(crate) fn send_control(&mut self, slot: Slot, opcode: Opcode, payload: &[u8]) {
        let Some(connection) = self.connections.get_mut(slot.0) else {
            return;
        };
        let queue = connection.queue.get_or_insert_with(|| self.queues.take());
        Encoder::plain(opcode, payload).write(&mut queue.control);
        if !connection.marks.blocked {
            self.compose(slot);
        }
    }

    /// Copies what the connection's topics still owe it (of one subscription, or of all) into its
    /// private queue. A blocked connection is left alone: what it is owed waits in the logs.
    fn settle(&mut self, slot: Slot, only: Option<usize>) {
        let Some(connection) = self.connections.get_mut(slot.0) else {
            return;
        };
        if connection.marks.blocked || connection.phase == Phase::Released {
            return;
        }
        let places = only.map_or(0..connection.subscriptions.len(), |place| place..place + 1);
        let mut queue = connection.queue.take();
        for place in places {
            let Some(connection) = self.connections.get(slot.0) else {
                break;
            };
            let subscription = connection.subscriptions[place];
            let lane = self.topics.lane(subscription.lane);
            let (start, head) = (lane.owed_from(subscription.place), lane.log.head());
            if start < head {
                let queue = queue.get_or_insert_with(|| self.queues.take());
                lane.pieces_for(slot, start, head, |piece| {
                    queue.data.extend_from_slice(piece)
                });
                self.fall_behind(
                    slot,
                    place,
                    Laggard {
                        slot,
                        cursor: head,
                        end: head,
                        missed: 0,
                    },
                );
            }
        }
        if let Some(connection) = self.connections.get_mut(slot.0) {
            connection.queue = queue;
        }
        self.compose(slot);
    }

    /// Gives a subscriber a cursor of its own, or another one.
    fn fall_behind(&mut self, slot: Slot, place: usize, laggard: Laggard) {
        let Some(connection) = self.connections.get(slot.0) else {
            return;
        };
        let subscription = connection.subscriptions[place];
        if subscription.place.is_laggard() {
            let lane = self.topics.lane_mut(subscription.lane);
            lane.laggards[subscription.place.index()] = laggard;
            return;
        }
        vacate(&mut self.topics, &mut self.connections, subscription);
        let lane = self.topics.lane_mut(subscription.lane);
        lane.laggards.push(laggard);
        let at = Place::laggard(lane.laggards.len() - 1);
        if let Some(connection) = self.connections.get_mut(slot.0) {
            connection.subscriptions[place].place = at;
        }
    }

    /// Makes a laggard whose cursor is at the head an ordinary subscriber again.
    fn catch_up(&mut self, slot: Slot, place: usize) {
        let Some(connection) = self.connections.get(slot.0) else {
            return;
        };
        let subscription = connection.subscriptions[place];
        vacate(&mut self.topics, &mut self.connections, subscription);
        let lane = self.topics.lane_mut(subscription.lane);
        lane.live.push(slot);
        let at = Place::live(lane.live.len() - 1);
        if let Some(connection) = self.connections.get_mut(slot.0) {
            connection.subscriptions[place].place = at;
        }
    }

    /// Decides who is composed and how far laggards get. Call before [`Core::flush`].
    pub(crate) fn prepare(&mut self, outbox: &mut impl Outbox<A>) {
        self.turn.more = false;
        self.compose_overlaps();
        let mut at = 0;
        while let Some(&slot) = self.turn.composed_slots.get(at) {
            self.plan(slot, outbox);
            at += 1;
        }
    }

    /// Marks the connections that have more than one fresh topic, so that nobody gets two sends.
    fn compose_overlaps(&mut self) {
        let fresh = |lane: &&u32| self.topics.lane(**lane).is_fresh();
        let fresh: SmallVec<[u32; 8]> = self.topics.dirty.iter().filter(fresh).copied().collect();
        let Turn {
            composed,
            composed_slots,
            seen,
            ..
        } = &mut self.turn;
        for &lane in &fresh {
            let lane = self.topics.lane(lane);
            let slices = lane.log.slices(lane.turn_start, lane.log.head()).count();
            for &slot in &lane.live {
                // A turn that appended more than one send can carry is taken in portions.
                let twice = fresh.len() > 1 && !seen.insert(slot.0);
                if (twice || slices > PIECES_MAX) && composed.insert(slot.0) {
                    composed_slots.push(slot);
                }
            }
        }
        if fresh.len() > 1 {
            for &lane in &fresh {
                for slot in &self.topics.lane(lane).live {
                    seen.remove(slot.0);
                }
            }
        }
    }

    fn plan(&mut self, slot: Slot, outbox: &mut impl Outbox<A>) {
        let Some(connection) = self.connections.get_mut(slot.0) else {
            return;
        };
        if connection.marks.blocked || connection.phase == Phase::Released {
            return;
        }
        if connection
            .queue
            .as_ref()
            .is_some_and(|queue| queue.data.len() > OWNED_SEND_BYTES)
        {
            return self.send_queue_owned(slot, outbox);
        }
        // What follows the send (half-closing, reading on, `drain`) must not wait for a next event.
        let marks = connection.marks;
        let is_ending = matches!(connection.phase, Phase::Closing | Phase::Refused);
        self.turn.more |= marks.drain || marks.paused || (is_ending && !marks.shut);
        self.plan_laggards(slot);
        let mut pieces = 0;
        self.compose_pieces(slot, |_| pieces += 1);
        if pieces > PIECES_MAX {
            self.settle(slot, None);
        }
    }

    /// Sets how far each of the connection's laggard subscriptions gets this turn.
    fn plan_laggards(&mut self, slot: Slot) {
        let Some(connection) = self.connections.get(slot.0) else {
            return;
        };
        for subscription in connection
            .subscriptions
            .iter()
            .filter(|s| s.place.is_laggard())
        {
            let lane = self.topics.lane_mut(subscription.lane);
            let head = lane.log.head();
            let laggard = &mut lane.laggards[subscription.place.index()];
            laggard.end = lane.log.portion_end(laggard.cursor, CATCH_UP_BYTES);
            self.turn.more |= laggard.end < head;
        }
    }

    /// Sends a large private queue without the copy that a short send would make.
    fn send_queue_owned(&mut self, slot: Slot, outbox: &mut impl Outbox<A>) {
        let subscriptions = self.connection(slot).map_or(0, |c| c.subscriptions.len());
        for place in 0..subscriptions {
            let Some(connection) = self.connections.get(slot.0) else {
                return;
            };
            let subscription = connection.subscriptions[place];
            let cursor = self
                .topics
                .lane(subscription.lane)
                .owed_from(subscription.place);
            self.fall_behind(
                slot,
                place,
                Laggard {
                    slot,
                    cursor,
                    end: cursor,
                    missed: 0,
                },
            );
        }
        let Some(connection) = self.connections.get_mut(slot.0) else {
            return;
        };
        let Some(queue) = connection.queue.take() else {
            return;
        };
        let SendQueue { mut control, data } = *queue;
        let bytes = if control.is_empty() {
            data
        } else {
            control.extend_from_slice(&data);
            control
        };
        self.block(slot, bytes, outbox);
    }

    /// Hands every send of the turn to `sink`, by reference.
    pub(crate) fn flush<'a>(&'a self, sink: &mut impl Sink<'a>) {
        for &lane in &self.topics.dirty {
            let lane = self.topics.lane(lane);
            if !lane.is_fresh() {
                continue;
            }
            let slices: SmallVec<[&[u8]; 8]> =
                lane.log.slices(lane.turn_start, lane.log.head()).collect();
            for &slot in &lane.live {
                if !self.turn.composed.contains(slot.0) {
                    sink.send(slot, &slices);
                }
            }
        }
        let mut pieces: SmallVec<[&[u8]; PIECES_MAX]> = SmallVec::new();
        for &slot in &self.turn.composed_slots {
            pieces.clear();
            self.compose_pieces(slot, |piece| pieces.push(piece));
            if !pieces.is_empty() {
                sink.send(slot, &pieces);
            }
        }
    }

    /// What one connection is sent this turn: its own queue, then its topics.
    fn compose_pieces<'a>(&'a self, slot: Slot, mut piece: impl FnMut(&'a [u8])) {
        let Some(connection) = self.connection(slot) else {
            return;
        };
        if connection.marks.blocked || connection.phase == Phase::Released {
            return;
        }
        if let Some(queue) = &connection.queue {
            [&queue.control, &queue.data]
                .into_iter()
                .filter(|b| !b.is_empty())
                .for_each(|b| piece(b));
        }
        for subscription in &connection.subscriptions {
            let lane = self.topics.lane(subscription.lane);
            let (start, end) = if subscription.place.is_laggard() {
                let laggard = &lane.laggards[subscription.place.index()];
                (laggard.cursor, laggard.end)
            } else {
                (lane.turn_start, lane.log.head())
            };
            if start < end {
                lane.pieces_for(slot, start, end, &mut piece);
            }
        }
    }

    /// A socket took only `taken` bytes of this turn's send. The rest is copied and written by the
    /// driver; from here on the connection's topics wait in their logs.
    pub(crate) fn short(&mut self, slot: Slot, taken: usize, outbox: &mut impl Outbox<A>) {
        self.counters.short_sends += 1;
        let mut rest = Vec::new();
        let mut skip = taken;
        self.compose_pieces(slot, |piece| {
            let taken = skip.min(piece.len());
            skip -= taken;
            rest.extend_from_slice(&piece[taken..]);
        });
        let Some(connection) = self.connections.get_mut(slot.0) else {
            return;
        };
        if rest.is_empty() || connection.marks.blocked {
            return;
        }
        if let Some(queue) = connection.queue.take() {
            self.queues.give(queue);
        }
        let subscriptions = connection.subscriptions.len();
        for place in 0..subscriptions {
            let Some(connection) = self.connections.get(slot.0) else {
                return;
            };
            let subscription = connection.subscriptions[place];
            let lane = self.topics.lane(subscription.lane);
            let (cursor, missed) = if subscription.place.is_laggard() {
                let laggard = &lane.laggards[subscription.place.index()];
                (laggard.end, laggard.missed)
            } else {
                (lane.log.head(), 0)
            };
            self.fall_behind(
                slot,
                place,
                Laggard {
                    slot,
                    cursor,
                    end: cursor,
                    missed,
                },
            );
        }
        self.block(slot, rest, outbox);
    }

    fn block(&mut self, slot: Slot, bytes: Vec<u8>, outbox: &mut impl Outbox<A>) {
        let second = self.now.seconds();
        let Some(connection) = self.connections.get_mut(slot.0) else {
            return;
        };
        connection.in_flight_bytes = bytes.len();
        connection.marks.blocked = true;
        connection.marks.drain = true;
        connection.written_s = second;
        outbox.send_owned(slot, bytes);
        self.schedule(slot);
        self.watch_backpressure(slot, outbox);
    }

    /// The peer has taken something: its time for taking the next begins anew.
    pub(crate) fn progressed(&mut self, slot: Slot) {
        let second = self.now.seconds();
        if let Some(connection) = self.connections.get_mut(slot.0) {
            connection.written_s = second;
        }
    }

    /// The driver has written an owned send whole.
    pub(crate) fn unblock(&mut self, slot: Slot, buffer: Vec<u8>) {
        drop(buffer);
        let Some(connection) = self.connections.get_mut(slot.0) else {
            return;
        };
        connection.in_flight_bytes = 0;
        connection.marks.blocked = false;
        self.compose(slot);
    }

    /// The turn's sends are done and the driver holds none of their bytes: forgets them.
    pub(crate) fn flushed(&mut self, outbox: &mut impl Outbox<A>) {
        let slots = std::mem::take(&mut self.turn.composed_slots);
        for &slot in &slots {
            self.turn.composed.remove(slot.0);
        }
        for &slot in &slots {
            self.conclude(slot, outbox);
        }
        if self.turn.composed_slots.is_empty() {
            self.turn.composed_slots = slots;
            self.turn.composed_slots.clear();
        }
        let mut dirty = std::mem::take(&mut self.topics.dirty);
        for &lane in &dirty {
            self.conclude_lane(lane);
        }
        dirty.clear();
        self.topics.dirty = dirty;
        if self.options().slow_policy == SlowPolicy::Disconnect {
            self.disconnect_passed();
        }
    }

    /// Closes those whom a window has passed. Not before all lanes are concluded: to close is to
    /// copy what the lanes still owe, and before that they seem to owe what this turn has sent.
    fn disconnect_passed(&mut self) {
        let mut passed = std::mem::take(&mut self.turn.passed);
        for slot in passed.drain(..) {
            if self.in_phase(slot, Phase::Open) {
                self.counters.too_slow += 1;
                self.begin_close(slot, codes::TOO_SLOW, "slow subscriber");
            }
        }
        self.turn.passed = passed;
    }

    fn conclude(&mut self, slot: Slot, outbox: &mut impl Outbox<A>) {
        let Some(connection) = self.connections.get_mut(slot.0) else {
            return;
        };
        if connection.marks.blocked || connection.phase == Phase::Released {
            return;
        }
        if let Some(queue) = connection.queue.take() {
            self.queues.give(queue);
        }
        let mut behind = false;
        for place in 0..connection.subscriptions.len() {
            let Some(connection) = self.connections.get(slot.0) else {
                return;
            };
            let subscription = connection.subscriptions[place];
            if !subscription.place.is_laggard() {
                continue;
            }
            self.topics.touch(subscription.lane);
            let lane = self.topics.lane_mut(subscription.lane);
            let laggard = &mut lane.laggards[subscription.place.index()];
            laggard.cursor = laggard.end;
            if laggard.cursor == lane.log.head() {
                self.catch_up(slot, place);
            } else {
                behind = true;
            }
        }
        if behind {
            self.compose(slot);
        }
        self.after_flush(slot, outbox);
    }

    /// Lets go of what a lane's subscribers have all been sent, and of lanes without subscribers.
    fn conclude_lane(&mut self, index: u32) {
        let window = self.options().topic_window_bytes;
        let policy = self.options().slow_policy;
        let Topics { lanes, pool, .. } = &mut self.topics;
        let Some(lane) = lanes.get_mut(index) else {
            return;
        };
        lane.dirty = false;
        let head = lane.log.head();
        lane.turn_start = head;
        let keep = lane
            .laggards
            .iter()
            .map(|laggard| laggard.cursor)
            .min()
            .unwrap_or(head);
        lane.log.trim(pool, keep, window);
        let tail = lane.log.tail();
        while lane.skips.front().is_some_and(|skip| skip.end <= tail) {
            lane.skips.pop_front();
        }
        for laggard in lane
            .laggards
            .iter_mut()
            .filter(|laggard| laggard.cursor < tail)
        {
            let to = if policy == SlowPolicy::Latest {
                head
            } else {
                tail
            };
            laggard.missed += to - laggard.cursor;
            (laggard.cursor, laggard.end) = (to, to);
            self.counters.lagged += 1;
            self.turn.passed.push(laggard.slot);
        }
        if let Some(topic) = self.topics.remove_empty_lane(index)
            && self.shared.placement.shards() > 1
        {
            self.shared.interest.remove(&topic, self.shard);
        }
    }

    /// Takes note of the bytes that a connection's topics have dropped: topic and count, once.
    pub(crate) fn take_missed(&mut self, slot: Slot) -> SmallVec<[(Arc<str>, u64); 2]> {
        let mut all = SmallVec::new();
        let Some(connection) = self.connections.get(slot.0) else {
            return all;
        };
        for subscription in connection
            .subscriptions
            .iter()
            .filter(|s| s.place.is_laggard())
        {
            let lane = self
                .topics
                .lanes
                .get_mut(subscription.lane)
                .expect("subscribed");
            let missed = std::mem::take(&mut lane.laggards[subscription.place.index()].missed);
            let Some(topic) = self.topics.topics.get(lane.topic) else {
                continue;
            };
            if missed > 0 && &*topic.name != EVERYBODY {
                all.push((Arc::clone(&topic.name), missed));
            }
        }
        all
    }
}

/// Whether an application may use this name. [`EVERYBODY`] is longer.
pub(crate) fn is_topic(name: &str) -> bool {
    (1..=TOPIC_BYTES_MAX).contains(&name.len())
}

/// Takes a subscriber out of its lane's array, and tells the one who moves into the gap.
fn vacate<D>(
    topics: &mut Topics,
    connections: &mut Slab<Connection<D>>,
    subscription: Subscription,
) {
    let Subscription {
        lane: lane_index,
        place,
    } = subscription;
    let lane = topics.lane_mut(lane_index);
    let index = place.index();
    let (moved, from) = if place.is_laggard() {
        lane.laggards.swap_remove(index);
        let from = Place::laggard(lane.laggards.len());
        (lane.laggards.get(index).map(|laggard| laggard.slot), from)
    } else {
        lane.live.swap_remove(index);
        (lane.live.get(index).copied(), Place::live(lane.live.len()))
    };
    let Some(moved) = moved.and_then(|slot| connections.get_mut(slot.0)) else {
        return;
    };
    let entry = moved
        .subscriptions
        .iter_mut()
        .find(|s| s.lane == lane_index && s.place == from);
    entry.expect("a lane and its subscribers agree").place = place;
}
