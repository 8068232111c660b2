//! What clients receive, held against what they are due.

use super::peer::Due;
use super::{Channel, EVERYBODY, MessageId, Oracle, Topic, payload};
use crate::shard::SlowPolicy;
use crate::ws::{CloseCode, Opcode, server_header_bytes};

impl Oracle {
    /// Panics unless a client has received the first `place` messages, but for gaps of which the
    /// application was told.
    pub(super) fn assert_got(&self, client: usize, place: u64) {
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

    /// A client has received a message.
    pub(in crate::sim) fn received(&mut self, client: usize, opcode: Opcode, bytes: &[u8]) {
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
    pub(in crate::sim) fn close_seen(&mut self, client: usize, code: Option<CloseCode>) {
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
    pub(in crate::sim) fn settled(&mut self) {
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
