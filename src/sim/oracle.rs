//! What must be true. The oracle hears of everything that is published, sent and received, keeps the
//! exact list of what each client is still due, and panics at the first thing that is wrong.
//!
//! On one shard a topic has one order: that in which its messages reach the shard, by a local
//! publish or by mail. Each subscriber is due exactly the messages that reach its shard while it is
//! subscribed, in that order, once. Order per publisher and order per topic follow from it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use super::payload;
use crate::id::{ConnectionId, ShardId};
use crate::shard::{Format, Formats, Options, Proof, SlowPolicy, codes};
use crate::ws::{CloseCode, Opcode, server_header_bytes};

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

/// A message that a client is due.
#[derive(Clone, Copy, Debug)]
struct Due {
    message: MessageId,
    /// How many messages had become due to the client before it.
    place: u64,
    /// Which of the client's subscriptions to the topic it belongs to.
    subscription: usize,
    /// It may be missing, because the connection was slow or is gone.
    optional: bool,
}

/// What is known of one client's subscription, present or past.
#[derive(Debug, Default)]
struct Lag {
    /// `lagged` callbacks, each of which allows one gap.
    reports: usize,
    missed_bytes: u64,
    gaps: usize,
    gap_bytes: u64,
}

/// A barrier of which the application has not been told.
#[derive(Clone, Copy, Debug)]
struct Barrier {
    proof: Proof,
    /// How many messages had become due to the client before it.
    place: u64,
}

/// A subscription by way of the topic's home: all that the home publishes from some message on.
#[derive(Clone, Copy, Debug)]
struct Joined {
    home: ShardId,
    /// So many of the home's publications are not for it any more.
    next: usize,
}

/// What is known of one client's connection.
#[derive(Debug)]
struct Peer {
    id: ConnectionId,
    user: String,
    compressed: bool,
    open: bool,
    closing: bool,
    close: Option<CloseCode>,
    /// An owned send is in flight.
    blocked: bool,
    /// It was, at some time.
    was_blocked: bool,
    topics: BTreeSet<Topic>,
    joined: BTreeMap<Topic, Joined>,
    due: BTreeMap<Channel, VecDeque<Due>>,
    /// How many messages have become due.
    due_count: u64,
    /// By token.
    barriers: BTreeMap<u64, Barrier>,
    /// So many of the first messages were taken by the kernel: not even a slow peer may miss them.
    written: u64,
    /// Published on another shard while subscribed here: the mail is due.
    on_its_way: BTreeSet<(Topic, MessageId)>,
    lags: BTreeMap<Topic, Lag>,
    /// Subscriptions that have ended.
    ended: BTreeMap<Topic, usize>,
    /// Sequence number of the client's last message that was handled.
    heard: u64,
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

    /// Panics unless a client has received the first `place` messages, but for gaps of which the
    /// application was told.
    fn assert_got(&self, client: usize, place: u64) {
        let peer = &self.peers[&client];
        for (&channel, due) in &peer.due {
            let is_missed = |due: &&Due| due.place < place && !due.optional;
            let Some(missed) = due.iter().find(is_missed) else {
                continue;
            };
            let may_be_missed = match channel {
                Channel::Private => false,
                _ if self.options.slow_policy == SlowPolicy::Disconnect => false,
                Channel::Topic(EVERYBODY) => peer.was_blocked,
                // The gap itself is counted when something behind it arrives.
                Channel::Topic(topic) => {
                    let lag = peer.lags.get(&topic);
                    lag.is_some_and(|lag| lag.gaps < lag.reports)
                }
            };
            assert!(
                may_be_missed,
                "client {client} is said to have got message {missed:?} of {channel:?}"
            );
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

    /// A client has received a message.
    pub(super) fn received(&mut self, client: usize, opcode: Opcode, bytes: &[u8]) {
        self.received += 1;
        let id = payload::id_of(bytes);
        let message = self.messages[id];
        let channel = message.channel;
        let mut expected = payload::compose(id, message.bytes).1;
        if let Channel::Topic(topic) = channel
            && payload::is_encoded(id)
        {
            expected.push(payload::mark_of(payload::format_of(client, topic)));
        }
        assert_eq!(
            (message.opcode, &*expected),
            (opcode, bytes),
            "message {id} is not what was sent"
        );
        let due = self.peer(client).due.entry(channel).or_default();
        let next = due.front().copied();
        let Some(place) = due.iter().position(|due| due.message == id) else {
            panic!(
                "client {client} got message {id} of {channel:?}, which is not due; next due: {next:?}"
            );
        };
        let got = due[place];
        let mut skipped: Vec<Due> = due.drain(..=place).take(place).collect();
        if channel != Channel::Private && got.optional {
            // What a slow peer gives up is the end of a subscription, never something before it.
            let same = skipped
                .iter_mut()
                .filter(|due| due.subscription == got.subscription);
            same.for_each(|due| due.optional = false);
        }
        self.allow_gap(client, channel, &skipped);
        if let Some((topic, ended)) = message.ends {
            self.subscription_ended(client, topic, ended);
        }
    }

    /// A client has seen that its subscription has ended: nothing of it is due any more.
    fn subscription_ended(&mut self, client: usize, topic: Topic, ended: usize) {
        let due = self
            .peer(client)
            .due
            .entry(Channel::Topic(topic))
            .or_default();
        let count = due.partition_point(|due| due.subscription < ended);
        let missing: Vec<Due> = due.drain(..count).collect();
        self.allow_gap(client, Channel::Topic(topic), &missing);
    }

    /// A client has received the close frame: nothing is due any more.
    pub(super) fn close_seen(&mut self, client: usize, code: Option<CloseCode>) {
        let peer = self.peer(client);
        let said = peer
            .close
            .expect("the application hears of a close before the peer");
        assert_eq!(said.is_sendable().then_some(said), code);
        let channels: Vec<Channel> = peer.due.keys().copied().collect();
        for channel in channels {
            self.nothing_due(client, channel);
        }
    }

    /// All that was sent has been read by everybody.
    pub(super) fn settled(&mut self) {
        let open = self.peers.iter().filter(|(_, peer)| peer.open);
        let open: Vec<usize> = open.map(|(&client, _)| client).collect();
        for client in open {
            let channels: Vec<Channel> = self.peers[&client].due.keys().copied().collect();
            for channel in channels {
                self.nothing_due(client, channel);
            }
            let barriers = &self.peers[&client].barriers;
            assert!(
                barriers.is_empty(),
                "client {client} never passes {barriers:?}"
            );
            let on_its_way = &self.peers[&client].on_its_way;
            assert!(
                on_its_way.is_empty(),
                "never mailed to client {client}: {on_its_way:?}"
            );
            for (&topic, joined) in &self.peers[&client].joined {
                let published = self.published.get(&(joined.home, topic));
                let format = payload::format_of(client, topic);
                let next = published.and_then(|published| joined.next_of(published, format));
                assert_eq!(
                    next, None,
                    "client {client} has joined {topic} and misses it"
                );
            }
        }
        assert_eq!(self.mails_due, 0, "mails are lost");
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

    fn nothing_due(&mut self, client: usize, channel: Channel) {
        let due = self.peer(client).due.remove(&channel).unwrap_or_default();
        self.allow_gap(client, channel, Vec::from(due).as_slice());
    }

    /// Panics unless the client may miss these messages.
    fn allow_gap(&mut self, client: usize, channel: Channel, skipped: &[Due]) {
        let required: Vec<MessageId> = skipped
            .iter()
            .filter(|due| !due.optional)
            .map(|due| due.message)
            .collect();
        if required.is_empty() {
            return;
        }
        let Channel::Topic(topic) = channel else {
            panic!("client {client} misses private messages {required:?}");
        };
        assert_ne!(
            self.options.slow_policy,
            SlowPolicy::Disconnect,
            "client {client} misses {required:?} of topic {topic}"
        );
        self.gaps += 1;
        let bytes = required.iter().map(|&id| {
            let mark = usize::from(payload::is_encoded(id));
            let bytes = payload::bytes_of(id, self.messages[id].bytes) + mark;
            (server_header_bytes(bytes) + bytes) as u64
        });
        let bytes: u64 = bytes.sum();
        let peer = self.peer(client);
        if topic == EVERYBODY {
            assert!(
                peer.was_blocked,
                "client {client}, never slow, misses {required:?} of everybody"
            );
            return;
        }
        let lag = peer.lags.entry(topic).or_default();
        lag.gaps += 1;
        lag.gap_bytes += bytes;
        assert!(
            lag.gaps <= lag.reports && (peer.compressed || lag.gap_bytes <= lag.missed_bytes),
            "client {client} misses {required:?} of topic {topic}, unreported: {lag:?}"
        );
    }
}

impl Joined {
    /// The place, among what the home has published, of the next message that is due in `format`.
    fn next_of(&self, published: &[MessageId], format: Format) -> Option<usize> {
        let is_for = |&place: &usize| payload::formats_of(published[place]).contains(format);
        (self.next..published.len()).find(is_for)
    }
}

impl Peer {
    /// What a slow peer's topics still owe it is dropped with the subscriptions.
    fn end_subscriptions(&mut self, is_passed: bool) {
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

    fn push(&mut self, channel: Channel, message: MessageId, optional: bool) {
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
fn forgive(due: &mut VecDeque<Due>, written: u64) {
    let unwritten = due.iter_mut().filter(|due| due.place >= written);
    unwritten.for_each(|due| due.optional = true);
}

/// To whom a private message is sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target<'a> {
    User(&'a str),
    Connection(ConnectionId),
}
