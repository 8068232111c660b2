//! The end of a turn: who is sent what, from where, and what follows from what sockets took.
//!
//! A connection falls in one of three classes:
//! - *plain*: up to date in the one topic that is fresh, nothing else to send. It is sent the log's
//!   bytes without its record being looked at. In a large fan-out that is nearly everybody.
//! - *composed*: it has replies of its own, several fresh topics, frames of its own to skip, or
//!   something to catch up with. Its send is put together from pieces, still by reference.
//! - *blocked*: its socket is full and an owned send is in flight. Nothing is sent; topics wait in
//!   their logs, replies in the private queue.

use std::sync::Arc;

use smallvec::SmallVec;

use super::app::App;
use super::codes;
use super::connection::{Connection, Phase, Place, Reading, Subscription};
use super::core::{Core, EVERYBODY, Turn};
use super::options::SlowPolicy;
use super::outbox::{Outbox, PIECES_MAX, Sink};
use super::send_queue::SendQueue;
use super::topics::{Laggard, Lane, Topics};
use crate::id::Slot;

/// Bytes of one topic that a laggard is sent in one turn, so that what a full socket leaves over,
/// and must be copied, stays small.
const CATCH_UP_BYTES: u64 = 128 * 1024;
/// A private queue larger than this goes out by an owned send at once, bytes: a short send would
/// copy what is left over.
const OWNED_SEND_BYTES: usize = 256 * 1024;

impl<A: App> Core<A> {
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
        if self.topics.dirty.is_empty() {
            return;
        }
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

    /// Settles what one connection is sent, and how far each of its laggard subscriptions gets.
    fn plan(&mut self, slot: Slot, outbox: &mut impl Outbox<A>) {
        let Some(connection) = self.connections.get(slot.0) else {
            return;
        };
        if connection.marks.blocked || connection.phase == Phase::Released {
            self.turn.more |= self.is_decoded_blocked(slot);
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
        let is_read_on = marks.reading == Reading::Paused || connection.unread().is_some();
        self.turn.more |= marks.drain || is_read_on || (is_ending && !marks.shut);
        let laggards = connection
            .subscriptions
            .iter()
            .filter(|s| s.place.is_laggard());
        for subscription in laggards {
            let lane = self.topics.lane_mut(subscription.lane);
            let head = lane.log.head();
            let laggard = &mut lane.laggards[subscription.place.index()];
            laggard.end = lane.log.portion_end(laggard.cursor, CATCH_UP_BYTES);
            self.turn.more |= laggard.end < head;
        }
        // One for a barrier's ping.
        let mut pieces = 1;
        self.pieces_of(connection, slot, |_| pieces += 1);
        if pieces > PIECES_MAX {
            self.settle(slot, None);
        }
        self.plan_barrier(slot);
    }

    /// Sends a large private queue without the copy that a short send would make.
    fn send_queue_owned(&mut self, slot: Slot, outbox: &mut impl Outbox<A>) {
        self.all_fall_behind(slot, Lane::owed_from);
        let Some(connection) = self.connections.get_mut(slot.0) else {
            return;
        };
        let Some(queue) = connection.queue.take() else {
            return;
        };
        self.held.queues -= queue.len() as u64;
        let SendQueue { mut control, data } = *queue;
        let bytes = if control.is_empty() {
            data
        } else {
            control.extend_from_slice(&data);
            control
        };
        self.block(slot, bytes, outbox);
    }

    /// Gives each of the connection's subscriptions a cursor of its own. What it has missed stays
    /// noted.
    fn all_fall_behind(&mut self, slot: Slot, cursor: impl Fn(&Lane, Place) -> u64) {
        let subscriptions = self.connection(slot).map_or(0, |c| c.subscriptions.len());
        for index in 0..subscriptions {
            let Some(connection) = self.connection(slot) else {
                return;
            };
            let Subscription { lane, place } = connection.subscriptions[index];
            let lane = self.topics.lane(lane);
            let cursor = cursor(lane, place);
            let missed = lane.laggard(place).map_or(0, |laggard| laggard.missed);
            let end = cursor;
            self.fall_behind(
                slot,
                index,
                Laggard {
                    slot,
                    cursor,
                    end,
                    missed,
                },
            );
        }
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

    /// What one connection is sent this turn: its own queue, then its topics, then a barrier's ping.
    fn compose_pieces<'a>(&'a self, slot: Slot, piece: impl FnMut(&'a [u8])) {
        if let Some(connection) = self.connection(slot) {
            self.pieces_of(connection, slot, piece);
        }
    }

    fn pieces_of<'a>(
        &'a self,
        connection: &'a Connection<A::Data>,
        slot: Slot,
        mut piece: impl FnMut(&'a [u8]),
    ) {
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
        if let Some(ping) = self.barriers.planned_ping(slot) {
            piece(ping);
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
        self.leave_behind(slot);
        self.block(slot, rest, outbox);
    }

    /// Like [`Core::short`], where the driver has made other bytes of what it was handed and sends the
    /// rest of those by itself: so many.
    pub(crate) fn taken_over(&mut self, slot: Slot, bytes: usize, outbox: &mut impl Outbox<A>) {
        self.counters.short_sends += 1;
        let is_blocked = |connection: &Connection<_>| connection.marks.blocked;
        if self.connection(slot).is_none_or(is_blocked) {
            return;
        }
        self.leave_behind(slot);
        self.mark_blocked(slot, bytes);
        self.watch_backpressure(slot, outbox);
    }

    /// All that a connection was to be sent this turn is with the driver.
    fn leave_behind(&mut self, slot: Slot) {
        let queue = self.connection_mut(slot).and_then(|c| c.queue.take());
        if let Some(queue) = queue {
            self.held.queues -= queue.len() as u64;
            self.queues.give(queue);
        }
        self.all_fall_behind(slot, |lane, place| match lane.laggard(place) {
            Some(laggard) => laggard.end,
            None => lane.log.head(),
        });
        self.barriers.ping_sent(slot);
    }

    fn block(&mut self, slot: Slot, bytes: Vec<u8>, outbox: &mut impl Outbox<A>) {
        if self.connection(slot).is_none() {
            return;
        }
        self.mark_blocked(slot, bytes.len());
        outbox.send_owned(slot, bytes);
        self.watch_backpressure(slot, outbox);
    }

    fn mark_blocked(&mut self, slot: Slot, bytes: usize) {
        let second = self.now.seconds();
        let Some(connection) = self.connections.get_mut(slot.0) else {
            return;
        };
        // Never more than the driver sends at once, which is less than 4 GiB.
        connection.in_flight_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.held.in_flight += u64::from(connection.in_flight_bytes);
        connection.marks.blocked = true;
        connection.marks.drain = true;
        connection.written_s = second;
        self.schedule(slot);
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
        self.held.in_flight -= u64::from(connection.in_flight_bytes);
        connection.in_flight_bytes = 0;
        connection.marks.blocked = false;
        self.compose(slot);
    }

    /// The turn's sends are done and the driver holds none of their bytes: forgets them.
    pub(crate) fn flushed(&mut self, outbox: &mut impl Outbox<A>) {
        self.turn.full = false;
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

    /// Whether a connection whose socket is full has bytes that are decoded all the same: they waited
    /// because the turn was full, and not because of what it is owed.
    fn is_decoded_blocked(&self, slot: Slot) -> bool {
        let has_unread = |c: &Connection<_>| c.phase == Phase::Open && c.unread().is_some();
        self.connection(slot).is_some_and(has_unread) && !self.is_over_watermark(slot)
    }

    fn conclude(&mut self, slot: Slot, outbox: &mut impl Outbox<A>) {
        let Some(connection) = self.connections.get_mut(slot.0) else {
            return;
        };
        if connection.marks.blocked || connection.phase == Phase::Released {
            if self.is_decoded_blocked(slot) {
                self.readable.push(slot);
            }
            return;
        }
        if let Some(queue) = connection.queue.take() {
            self.held.queues -= queue.len() as u64;
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
        } else {
            self.conclude_barrier(slot);
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
            let to = match policy {
                SlowPolicy::Gap => tail,
                // To one who is closed nothing more may go out: behind a gap of which nobody told
                // them they would take it for all that there was.
                SlowPolicy::Latest | SlowPolicy::Disconnect => head,
            };
            laggard.missed += to - laggard.cursor;
            (laggard.cursor, laggard.end) = (to, to);
            self.counters.lagged += 1;
            self.turn.passed.push(laggard.slot);
        }
        if let Some((topic, formats)) = self.topics.remove_empty_lane(index)
            && self.shared.placement.shards() > 1
        {
            self.shared.interest.set(&topic, self.shard, formats);
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
