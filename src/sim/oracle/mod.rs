//! What must be true. The oracle hears of everything that is published, sent and received, keeps the
//! exact list of what each client is still due, and panics at the first thing that is wrong.
//!
//! On one shard a topic has one order: that in which its messages reach the shard, by a local
//! publish or by mail. Each subscriber is due exactly the messages that reach its shard while it is
//! subscribed, in that order, once. Order per publisher and order per topic follow from it.

mod arrivals;
mod peer;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::payload;
use crate::id::{ConnectionId, ShardId};
use crate::shard::{Formats, Options, Proof, SlowPolicy, codes};
use crate::ws::{CloseCode, Opcode};
use peer::{Barrier, Joined, Peer, forgive};

/// The oracle, as the world, the applications and the drivers share it.
pub(super) type SharedOracle = Rc<RefCell<Oracle>>;

/// A topic by number; 0 is the hidden topic of everybody.
pub(super) type Topic = usize;
pub(super) const EVERYBODY: Topic = 0;

/// Where a message goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Channel {
    /// To one connection.
    Private,
    /// To a topic's subscribers.
    Topic(Topic),
}

/// A message by number.
pub(super) type MessageId = usize;

#[derive(Clone, Copy, Debug)]
struct Message {
    channel: Channel,
    opcode: Opcode,
    bytes: usize,
    /// Of a topic's: the shard that has published it, and the how-manieth there of this topic it is.
    published: Option<(ShardId, usize)>,
    /// It acknowledges that a subscription has ended: topic, and which of its client's it was.
    ends: Option<(Topic, usize)>,
}

/// All that is known.
#[derive(Debug)]
pub(super) struct Oracle {
    options: Options,
    roomy_queues: bool,
    messages: Vec<Message>,
    /// What each shard has published to each topic.
    published: BTreeMap<(ShardId, Topic), Vec<MessageId>>,
    peers: BTreeMap<usize, Peer>,
    /// Mails that were sent through a context and have not been delivered.
    mails_due: i64,
    pub(super) messages_in: Vec<u64>,
    pub(super) received: u64,
    pub(super) gaps: u64,
    pub(super) passed: u64,
    /// The newest token of a barrier.
    token: u64,
}

impl Oracle {
    pub(super) fn new(options: Options, roomy_queues: bool, shards: u16) -> Self {
        Self {
            options,
            roomy_queues,
            messages: Vec::new(),
            published: BTreeMap::new(),
            peers: BTreeMap::new(),
            mails_due: 0,
            messages_in: vec![0; usize::from(shards)],
            received: 0,
            gaps: 0,
            passed: 0,
            token: 0,
        }
    }

    fn peer(&mut self, client: usize) -> &mut Peer {
        self.peers
            .get_mut(&client)
            .unwrap_or_else(|| panic!("client {client} was never opened"))
    }

    pub(super) fn publishes_to_self(&self) -> bool {
        self.options.publish_to_self
    }

    pub(super) fn subscriptions_max(&self) -> usize {
        self.options.subscriptions_max
    }

    /// Makes a message with a payload of `bytes` bytes or a few more.
    pub(super) fn compose(
        &mut self,
        channel: Channel,
        bytes: usize,
    ) -> (MessageId, Opcode, Vec<u8>) {
        let id = self.messages.len();
        let (opcode, payload) = payload::compose(id, bytes);
        self.messages.push(Message {
            channel,
            opcode,
            bytes,
            published: None,
            ends: None,
        });
        (id, opcode, payload)
    }

    /// Makes the acknowledgement of an unsubscription that was just done.
    pub(super) fn compose_end(
        &mut self,
        client: usize,
        topic: Topic,
    ) -> (MessageId, Opcode, Vec<u8>) {
        let composed = self.compose(Channel::Private, 0);
        let subscription = self.peer(client).ended[&topic];
        self.messages[composed.0].ends = Some((topic, subscription));
        composed
    }

    /// A connection has opened.
    pub(super) fn opened(&mut self, client: usize, id: ConnectionId, user: &str, compressed: bool) {
        let peer = Peer {
            id,
            user: user.to_owned(),
            compressed,
            open: true,
            closing: false,
            close: None,
            blocked: false,
            was_blocked: false,
            topics: BTreeSet::from([EVERYBODY]),
            joined: BTreeMap::new(),
            due: BTreeMap::new(),
            due_count: 0,
            barriers: BTreeMap::new(),
            written: 0,
            on_its_way: BTreeSet::new(),
            lags: BTreeMap::new(),
            ended: BTreeMap::new(),
            heard: 0,
        };
        let before = self.peers.insert(client, peer);
        assert!(before.is_none(), "client {client} is opened twice");
        let of_user = |peer: &&Peer| peer.open && peer.user == user;
        let count = self.peers.values().filter(of_user).count();
        let limit = self.options.connections_per_user_max as usize;
        assert!(
            limit == 0 || count <= limit,
            "{user} has {count} connections"
        );
        let open = self.peers.values().filter(|peer| peer.open).count();
        let limit = self.options.connections_max;
        assert!(limit == 0 || open <= limit, "{open} connections are open");
    }

    /// The application hears that a connection is closing.
    pub(super) fn closed(&mut self, client: usize, code: CloseCode) {
        let disconnects = self.options.slow_policy == SlowPolicy::Disconnect;
        let peer = self.peer(client);
        assert!(peer.open, "client {client} is closed twice");
        peer.open = false;
        peer.close = Some(code);
        let is_passed = disconnects && code == codes::TOO_SLOW;
        peer.end_subscriptions(is_passed);
    }

    /// The connections of a shard of whose close nothing was heard yet.
    pub(super) fn open_on(&self, shard: ShardId) -> Vec<ConnectionId> {
        let here = self
            .peers
            .values()
            .filter(|peer| peer.open && peer.id.shard() == shard);
        here.map(|peer| peer.id).collect()
    }

    /// A connection is closing, and the application will hear of it.
    pub(super) fn closing(&mut self, id: ConnectionId) {
        for peer in self
            .peers
            .values_mut()
            .filter(|peer| peer.id == id && !peer.closing)
        {
            peer.closing = true;
            peer.end_subscriptions(false);
        }
    }

    /// An owned send began, or was written whole.
    pub(super) fn blocked(&mut self, client: usize, blocked: bool) {
        // Refusals are sent like this, too, to clients that never open.
        if let Some(peer) = self.peers.get_mut(&client) {
            peer.blocked = blocked;
            peer.was_blocked |= blocked;
        }
    }

    pub(super) fn subscribed(&mut self, client: usize, topic: Topic) {
        let fresh = self.peer(client).topics.insert(topic);
        assert!(fresh, "client {client} was subscribed to {topic} already");
    }

    /// A client is subscribed by way of the topic's home, which had published `next` messages.
    pub(super) fn joined(&mut self, client: usize, topic: Topic, home: ShardId, next: usize) {
        self.subscribed(client, topic);
        self.peer(client)
            .joined
            .insert(topic, Joined { home, next });
    }

    pub(super) fn unsubscribed(&mut self, client: usize, topic: Topic) {
        let peer = self.peer(client);
        assert!(peer.topics.remove(&topic));
        peer.joined.remove(&topic);
        *peer.ended.entry(topic).or_default() += 1;
        peer.on_its_way.retain(|&(other, _)| other != topic);
        if peer.blocked
            && let Some(due) = peer.due.get_mut(&Channel::Topic(topic))
        {
            forgive(due, peer.written);
        }
    }

    pub(super) fn is_subscribed(&self, client: usize, topic: Topic) -> bool {
        self.peers[&client].topics.contains(&topic)
    }

    pub(super) fn subscription_count(&self, client: usize) -> usize {
        self.peers[&client].topics.len() - 1
    }

    /// A message was published on `shard`.
    pub(super) fn published(
        &mut self,
        shard: ShardId,
        topic: Topic,
        message: MessageId,
        exclude: Option<ConnectionId>,
    ) {
        let published = self.published.entry((shard, topic)).or_default();
        self.messages[message].published = Some((shard, published.len()));
        published.push(message);
        let formats = payload::formats_of(message);
        self.appended(shard, topic, message, formats, exclude);
        for (&client, peer) in &mut self.peers {
            let is_for = formats.contains(payload::format_of(client, topic));
            let is_elsewhere = peer.id.shard() != shard && peer.topics.contains(&topic);
            if is_for && is_elsewhere && Some(peer.id) != exclude {
                peer.on_its_way.insert((topic, message));
            }
        }
    }

    /// How many messages a shard has published to a topic.
    pub(super) fn published_count(&self, shard: ShardId, topic: Topic) -> usize {
        self.published.get(&(shard, topic)).map_or(0, Vec::len)
    }

    /// A message has reached `shard`, for subscribers in `formats`: it is due to those there.
    pub(super) fn appended(
        &mut self,
        shard: ShardId,
        topic: Topic,
        message: MessageId,
        formats: Formats,
        exclude: Option<ConnectionId>,
    ) {
        let Self {
            published, peers, ..
        } = self;
        for (&client, peer) in peers {
            let format = payload::format_of(client, topic);
            let is_here = peer.id.shard() == shard && peer.topics.contains(&topic);
            if !is_here || !formats.contains(format) {
                continue;
            }
            if let Some(joined) = peer.joined.get_mut(&topic)
                && let Some((home, place)) = self.messages[message].published
                && joined.home == home
            {
                let next = joined.next_of(&published[&(home, topic)], format);
                assert_eq!(
                    next,
                    Some(place),
                    "client {client} has joined {topic} at {home}: a gap, or a message twice"
                );
                joined.next = place + 1;
            }
            if Some(peer.id) != exclude {
                peer.on_its_way.remove(&(topic, message));
                peer.push(Channel::Topic(topic), message, false);
            }
        }
    }

    /// A message was put into one connection's queue.
    pub(super) fn sent(&mut self, client: usize, message: MessageId) {
        self.peer(client).push(Channel::Private, message, false);
    }

    /// A message for one connection, or all of a user's, has reached its shard. Whether it found
    /// room cannot be told unless there always is.
    pub(super) fn sent_to(&mut self, shard: ShardId, target: &Target<'_>, message: MessageId) {
        let optional = !self.roomy_queues;
        for peer in self.peers.values_mut() {
            let is_meant = match *target {
                Target::User(user) => peer.user == user,
                Target::Connection(id) => peer.id == id,
            };
            if peer.open && !peer.closing && peer.id.shard() == shard && is_meant {
                peer.push(Channel::Private, message, optional);
            }
        }
    }

    pub(super) fn lagged(&mut self, client: usize, topic: Topic, bytes: u64) {
        assert!(bytes > 0);
        assert_ne!(self.options.slow_policy, SlowPolicy::Disconnect);
        assert!(self.is_subscribed(client, topic));
        let lag = self.peer(client).lags.entry(topic).or_default();
        lag.reports += 1;
        lag.missed_bytes += bytes;
    }

    /// The application asks to be told when a client was sent, or has got, all that it is due: a
    /// token.
    pub(super) fn barrier(&mut self, client: usize, proof: Proof) -> u64 {
        self.token += 1;
        let token = self.token;
        let peer = self.peer(client);
        let place = peer.due_count;
        peer.barriers.insert(token, Barrier { proof, place });
        token
    }

    /// The application is told so.
    pub(super) fn passed(&mut self, client: usize, token: u64) {
        self.passed += 1;
        let peer = self.peer(client);
        assert!(
            peer.open && !peer.closing,
            "client {client} passes barrier {token}: {peer:?}"
        );
        let barrier = peer.barriers.remove(&token);
        let Barrier { proof, place } = barrier
            .unwrap_or_else(|| panic!("client {client} passes {token}, which is not its to pass"));
        let is_other =
            |&other: &u64, barrier: &mut Barrier| other > token || barrier.proof != proof;
        peer.barriers.retain(is_other);
        match proof {
            Proof::Written => {
                assert!(!peer.blocked, "client {client} passes {token}, unwritten");
                peer.written = peer.written.max(place);
            }
            Proof::Pong => self.assert_got(client, place),
        }
    }

    /// The server handles a client's message.
    pub(super) fn heard(&mut self, client: usize, shard: ShardId, sequence: u64) {
        self.messages_in[shard.index()] += 1;
        let peer = self.peer(client);
        assert!(peer.open, "a message of client {client} after its close");
        assert_eq!(
            peer.heard + 1,
            sequence,
            "messages of client {client} are out of order"
        );
        peer.heard = sequence;
    }

    /// Nobody is left.
    pub(super) fn finish(&self) {
        for (client, peer) in &self.peers {
            assert!(!peer.open, "client {client} was opened and never closed");
        }
        assert_eq!(self.mails_due, 0, "mails are lost");
    }

    pub(super) fn mail_posted(&mut self) {
        self.mails_due += 1;
    }

    pub(super) fn mail_delivered(&mut self) {
        self.mails_due -= 1;
    }

    /// Open connections and users of a shard.
    pub(super) fn population(&self, shard: ShardId) -> (usize, usize) {
        let here = |peer: &&Peer| peer.open && peer.id.shard() == shard;
        let users: BTreeSet<&str> = self.peers.values().filter(here).map(|p| &*p.user).collect();
        (self.peers.values().filter(here).count(), users.len())
    }

    /// How many of a shard's connections are subscribed to a topic.
    pub(super) fn subscriber_count(&self, shard: ShardId, topic: Topic) -> usize {
        let here = |peer: &&Peer| peer.id.shard() == shard && peer.topics.contains(&topic);
        self.peers.values().filter(here).count()
    }

    /// The open connection of a client.
    pub(super) fn connection(&self, client: usize) -> Option<ConnectionId> {
        self.peers
            .get(&client)
            .filter(|peer| peer.open)
            .map(|peer| peer.id)
    }

    pub(super) fn opened_count(&self) -> usize {
        self.peers.len()
    }
}

/// To whom a private message is sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target<'a> {
    User(&'a str),
    Connection(ConnectionId),
}
