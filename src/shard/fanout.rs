//! Publish and subscribe: messages into logs and private queues, connections into lanes. What goes
//! out of them is decided at the end of the turn.

use std::sync::Arc;

use super::app::{App, Dropped, Message, Sent};
use super::codes;
use super::connection::{Connection, Phase, Place, Subscription};
use super::core::{Core, EVERYBODY, Staged};
use super::encode::Encoder;
use super::format::{Encode, Format, Formats};
use super::mail::{Batch, BatchEntry, Mail};
use super::topics::{Laggard, Skip, Topics};
use crate::collections::Slab;
use crate::id::{ConnectionId, ShardId, Slot};
use crate::limits::TOPIC_BYTES_MAX;
use crate::ws::Opcode;

/// What became of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a refused subscription is the caller's to deal with"]
pub enum Subscribed {
    /// The connection is subscribed from here on.
    New,
    /// It was before, in whatever format; it stays in that.
    Already,
    /// It has `subscriptions_max` subscriptions.
    TooMany,
    /// The name is empty or longer than [`TOPIC_BYTES_MAX`] bytes.
    BadTopic,
    /// The connection is closing.
    Closed,
}

impl<A: App> Core<A> {
    pub(crate) fn subscribe(&mut self, slot: Slot, name: &str, format: Format) -> Subscribed {
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
        self.enlist(slot, name, format);
        Subscribed::New
    }

    /// Subscribes without asking.
    pub(crate) fn enlist(&mut self, slot: Slot, name: &str, format: Format) {
        let Some(window_bits) = self.connection(slot).map(|c| c.window_bits) else {
            return;
        };
        let topic = self.topics.find_or_insert(name);
        let (lane_index, is_fresh_lane) = self.topics.lane_for(topic, window_bits, format);
        if is_fresh_lane {
            self.tell_interest(topic);
        }
        let Some(connection) = self.connections.get_mut(slot.0) else {
            return;
        };
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

    /// Tells the other shards in which formats this one wants a topic.
    fn tell_interest(&self, topic: u32) {
        if self.shared.placement.shards() > 1
            && let Some(record) = self.topics.topics.get(topic)
        {
            let formats = self.topics.formats(topic);
            self.shared.interest.set(&record.name, self.shard, formats);
        }
    }

    /// Keeps this shard among those that are mailed what is published to a topic, in a format.
    pub(crate) fn hold(&mut self, name: &str, format: Format) {
        if self.shared.placement.shards() > 1 && is_topic(name) {
            let topic = self.topics.find_or_insert(name);
            if self.topics.hold(topic, format) {
                self.tell_interest(topic);
            }
        }
    }

    /// Takes back one [`Core::hold`], if there is one.
    pub(crate) fn release(&mut self, name: &str, format: Format) {
        if let Some(topic) = self.topics.find(name)
            && self.topics.release(topic, format)
        {
            self.tell_interest(topic);
            self.topics.remove_unwanted(topic);
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

    /// Publishes the same bytes to all subscribers of a topic, on all shards.
    pub(crate) fn publish(
        &mut self,
        name: &str,
        message: Message<'_>,
        exclude: Option<ConnectionId>,
    ) {
        self.counters.published += 1;
        let payload = message.as_bytes();
        let entry = BatchEntry {
            opcode: message.opcode(),
            bytes: payload.len(),
            formats: Formats::ALL,
            exclude,
        };
        let (shared, here) = (&self.shared, self.shard);
        if shared.placement.shards() > 1 {
            let topic = (shared.placement.hash(name), name);
            self.turn.outgoing.add(topic, entry, payload, || {
                !shared.interest.elsewhere(name, here).is_empty()
            });
        }
        if let Some(topic) = self.topics.find(name) {
            self.append(topic, &entry, payload);
        }
    }

    /// Publishes a message to all subscribers of a topic, on all shards, to each in its format.
    pub(crate) fn publish_encoded(
        &mut self,
        name: &str,
        message: &mut impl Encode,
        exclude: Option<ConnectionId>,
    ) {
        self.counters.published += 1;
        let topic = self.topics.find(name);
        let here = topic.map_or(Formats::NONE, |topic| self.topics.lane_formats(topic));
        let shared = &self.shared;
        let key = (shared.placement.hash(name), name);
        let mut writings = (shared.placement.shards() > 1).then(|| {
            // Read before the directory, so that what it says is at least as new.
            let version = shared.interest.version();
            let look_up = || shared.interest.elsewhere(name, self.shard);
            self.turn.outgoing.open(key, version, look_up)
        });
        let elsewhere = writings.as_ref().map_or(Formats::NONE, |w| w.wanted);
        for format in here.union(elsewhere).iter() {
            let Some(written) = message.encode(format) else {
                continue;
            };
            let payload = written.as_bytes();
            let entry = BatchEntry {
                opcode: written.opcode(),
                bytes: payload.len(),
                formats: format.into(),
                exclude,
            };
            if elsewhere.contains(format)
                && let Some(writings) = &mut writings
            {
                self.turn
                    .outgoing
                    .add_writing(key, writings, entry, payload);
            }
            if here.contains(format)
                && let Some(topic) = topic
            {
                self.append(topic, &entry, payload);
            }
        }
    }

    /// Mails the application on another shard, or on this one, behind what was published to a topic.
    pub(crate) fn mail_in_order(&mut self, shard: ShardId, name: &str, mail: A::Mail) {
        // To this shard itself nothing is under way: what it publishes it appends at once.
        if shard != self.shard {
            self.mail_batch_now(name);
        }
        self.staged.push(Staged::Mail(shard, Mail::App(mail)));
    }

    /// Mails what this turn has published to a topic so far to those who want it, not only to one
    /// of them: then the topic's batches reach all in the same order.
    fn mail_batch_now(&mut self, name: &str) {
        let topic = (self.shared.placement.hash(name), name);
        let Some(batch) = self.turn.outgoing.take(topic) else {
            return;
        };
        let (staged, here) = (&mut self.staged, self.shard);
        batch.each_reader(&self.shared.interest, here, |shard| {
            staged.push(Staged::Mail(shard, Mail::Publish(Arc::clone(&batch))));
        });
    }

    /// Appends to the logs of this shard what another has published.
    pub(crate) fn publish_batch(&mut self, batch: &Batch) {
        let Some(topic) = self.topics.find(&batch.topic) else {
            return;
        };
        let mut rest = &batch.payloads[..];
        for entry in &batch.entries {
            let (payload, after) = rest.split_at(entry.bytes);
            rest = after;
            self.append(topic, entry, payload);
        }
    }

    /// Appends a message to the logs of those lanes of a topic whose format it is in.
    fn append(&mut self, topic: u32, entry: &BatchEntry, payload: &[u8]) {
        let excluded = entry.exclude.and_then(|id| self.resolve(id));
        // By place, not a copy of the list: there may be a lane for every format.
        for place in 0.. {
            let Topics {
                topics,
                lanes,
                pool,
                ..
            } = &mut self.topics;
            let index = topics.get(topic).and_then(|topic| topic.lanes.get(place));
            let Some(&index) = index else { break };
            let lane = lanes.get_mut(index).expect("a topic's lanes are there");
            if !entry.formats.contains(lane.format) {
                continue;
            }
            let frame = self.encoder.encode(entry.opcode, payload, lane.window_bits);
            let start = lane.log.head();
            lane.log.append(pool, frame.len(), |out| frame.write(out));
            let end = lane.log.head();
            let subscribers = (lane.live.len() + lane.laggards.len()) as u64;
            self.counters.appended += 1;
            self.counters.fanned_out += subscribers;
            self.counters.bytes_out += (end - start).saturating_mul(subscribers);
            self.turn.full |= is_full(end - lane.turn_start, lane.live.len());
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
        self.held.queues += bytes as u64;
        self.counters.messages_out += 1;
        self.counters.bytes_out += bytes as u64;
        let blocked = connection.marks.blocked;
        if blocked {
            connection.marks.drain = true;
            Sent::Queued(buffered + bytes)
        } else {
            self.compose(slot);
            Sent::Written(bytes)
        }
    }

    /// Sends to a connection that is asked whose it is.
    pub(crate) fn send_asked(&mut self, slot: Slot, opcode: Opcode, payload: &[u8]) {
        self.queue_last(slot, |out| Encoder::plain(opcode, payload).write(out));
        self.counters.messages_out += 1;
    }

    /// Puts a control frame into a connection's private queue, ahead of messages.
    pub(crate) fn send_control(&mut self, slot: Slot, opcode: Opcode, payload: &[u8]) {
        let Some(connection) = self.connections.get_mut(slot.0) else {
            return;
        };
        let queue = connection.queue.get_or_insert_with(|| self.queues.take());
        let frame = Encoder::plain(opcode, payload);
        self.held.queues += frame.len() as u64;
        frame.write(&mut queue.control);
        if !connection.marks.blocked {
            self.compose(slot);
        }
    }

    /// Copies what the connection's topics still owe it (of one subscription, or of all) into its
    /// private queue. A blocked connection is left alone: what it is owed waits in the logs.
    pub(super) fn settle(&mut self, slot: Slot, only: Option<usize>) {
        let Some(connection) = self.connections.get_mut(slot.0) else {
            return;
        };
        if connection.marks.blocked || connection.phase == Phase::Released {
            return;
        }
        let places = only.map_or(0..connection.subscriptions.len(), |place| place..place + 1);
        let mut queue = connection.queue.take();
        self.held.queues -= queue.as_ref().map_or(0, |queue| queue.len()) as u64;
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
        self.held.queues += queue.as_ref().map_or(0, |queue| queue.len()) as u64;
        if let Some(connection) = self.connections.get_mut(slot.0) {
            connection.queue = queue;
        }
        self.compose(slot);
    }

    /// Gives a subscriber a cursor of its own, or another one.
    pub(super) fn fall_behind(&mut self, slot: Slot, place: usize, laggard: Laggard) {
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
    pub(super) fn catch_up(&mut self, slot: Slot, place: usize) {
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
}

/// What a turn publishes to one topic may take to send: so many bytes to each subscriber, or so many to
/// all of them, whichever is more. So the others wait for a bounded time, and a send is still long
/// enough to be worth its system call.
const TURN_SEND_BYTES: u64 = 16 * 1024;
const TURN_FANOUT_BYTES: u64 = 1 << 20;

fn is_full(bytes: u64, subscribers: usize) -> bool {
    bytes > TURN_SEND_BYTES && bytes.saturating_mul(subscribers as u64) > TURN_FANOUT_BYTES
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
