//! What is known of one client.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Channel, MessageId, Topic, payload};
use crate::id::{ConnectionId, ShardId};
use crate::shard::{Format, Proof};
use crate::ws::CloseCode;

/// A message that a client is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    pub(super) message: MessageId,
    /// How many messages had become due to the client before it.
    pub(super) place: u64,
    /// Which of the client's subscriptions to the topic it belongs to.
    pub(super) subscription: usize,
    /// It may be missing, because the connection was slow or is gone.
    pub(super) optional: bool,
}

/// What is known of one client's subscription, present or past.
#[derive(Debug, Default)]
pub(super) struct Lag {
    /// `lagged` callbacks, each of which allows one gap.
    pub(super) reports: usize,
    pub(super) missed_bytes: u64,
    pub(super) gaps: usize,
    pub(super) gap_bytes: u64,
}

/// A barrier of which the application has not been told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Barrier {
    pub(super) proof: Proof,
    /// How many messages had become due to the client before it.
    pub(super) place: u64,
}

/// A subscription by way of the topic's home: all that the home publishes from some message on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Joined {
    pub(super) home: ShardId,
    /// So many of the home's publications are not for it any more.
    pub(super) next: usize,
}

/// What is known of one client's connection.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) id: ConnectionId,
    pub(super) user: String,
    pub(super) compressed: bool,
    pub(super) open: bool,
    pub(super) closing: bool,
    pub(super) close: Option<CloseCode>,
    /// An owned send is in flight.
    pub(super) blocked: bool,
    /// It was, at some time.
    pub(super) was_blocked: bool,
    pub(super) topics: BTreeSet<Topic>,
    pub(super) joined: BTreeMap<Topic, Joined>,
    pub(super) due: BTreeMap<Channel, VecDeque<Due>>,
    /// How many messages have become due.
    pub(super) due_count: u64,
    /// By token.
    pub(super) barriers: BTreeMap<u64, Barrier>,
    /// So many of the first messages were taken by the kernel: not even a slow peer may miss them.
    pub(super) written: u64,
    /// Published on another shard while subscribed here: the mail is due.
    pub(super) on_its_way: BTreeSet<(Topic, MessageId)>,
    pub(super) lags: BTreeMap<Topic, Lag>,
    /// Subscriptions that have ended.
    pub(super) ended: BTreeMap<Topic, usize>,
    /// Sequence number of the client's last message that was handled.
    pub(super) heard: u64,
}

impl Joined {
    /// The place, among what the home has published, of the next message that is due in `format`.
    pub(super) fn next_of(&self, published: &[MessageId], format: Format) -> Option<usize> {
        let is_for = |&place: &usize| payload::formats_of(published[place]).contains(format);
        (self.next..published.len()).find(is_for)
    }
}

impl Peer {
    /// What a slow peer's topics still owe it is dropped with the subscriptions.
    pub(super) fn end_subscriptions(&mut self, is_passed: bool) {
        self.on_its_way.clear();
        self.topics.clear();
        self.joined.clear();
        if self.blocked || is_passed {
            let topics = self
                .due
                .iter_mut()
                .filter(|(channel, _)| **channel != Channel::Private);
            topics.for_each(|(_, due)| forgive(due, self.written));
        }
    }

    pub(super) fn push(&mut self, channel: Channel, message: MessageId, optional: bool) {
        let subscription = match channel {
            Channel::Private => 0,
            Channel::Topic(topic) => self.ended.get(&topic).copied().unwrap_or_default(),
        };
        let due = Due {
            message,
            place: self.due_count,
            subscription,
            optional,
        };
        self.due_count += 1;
        self.due.entry(channel).or_default().push_back(due);
    }
}

/// Lets messages be missing, but for those that are written.
pub(super) fn forgive(due: &mut VecDeque<Due>, written: u64) {
    let unwritten = due.iter_mut().filter(|due| due.place >= written);
    unwritten.for_each(|due| due.optional = true);
}
