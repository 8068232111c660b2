//! What clients tell the application under test to do: a line of words, and filler.

use super::oracle::Topic;
use super::prng::Prng;
use super::settings::Settings;
use crate::shard::Proof;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Subscribe(Topic),
    /// Subscribes by way of the topic's home.
    Join(Topic),
    Unsubscribe(Topic),
    /// As the client: it may be left out itself.
    Publish {
        topic: Topic,
        bytes: usize,
        count: usize,
    },
    /// As the server: the client is not left out.
    PublishToAll {
        topic: Topic,
        bytes: usize,
    },
    /// As the client and as the server by turns, so that what the client is left out of lies
    /// between what it gets.
    Alternate {
        topic: Topic,
        count: usize,
    },
    Reply {
        bytes: usize,
        count: usize,
    },
    ToUser {
        user: String,
        bytes: usize,
    },
    ToClient {
        client: usize,
        bytes: usize,
    },
    CloseClient {
        client: usize,
    },
    Close,
    CloseSilently,
    Terminate,
    Ping,
    /// To find out whether everything so far is written or has arrived.
    Prove(Proof),
    Spawn {
        bytes: usize,
    },
    Mail {
        shard: usize,
        topic: Topic,
        bytes: usize,
    },
}

#[derive(Clone, Copy)]
enum Verb {
    Subscribe,
    Join,
    Unsubscribe,
    Publish,
    PublishToAll,
    Alternate,
    Reply,
    ToUser,
    ToClient,
    CloseClient,
    Close,
    CloseSilently,
    Terminate,
    Ping,
    Prove,
    Spawn,
    Mail,
}

impl Command {
    /// Something at random, among so many clients.
    pub(super) fn draw(prng: &mut Prng, settings: &Settings, clients: usize) -> Self {
        let verb = prng.weighted(&[
            (18, Verb::Subscribe),
            (9, Verb::Join),
            (8, Verb::Unsubscribe),
            (30, Verb::Publish),
            (8, Verb::PublishToAll),
            (2, Verb::Alternate),
            (10, Verb::Reply),
            (6, Verb::ToUser),
            (6, Verb::ToClient),
            (1, Verb::CloseClient),
            (1, Verb::Close),
            (1, Verb::CloseSilently),
            (1, Verb::Terminate),
            (3, Verb::Ping),
            (12, Verb::Prove),
            (4, Verb::Spawn),
            (6, Verb::Mail),
        ]);
        let flood = prng.chance(settings.weights.flood);
        let count = if flood {
            prng.number(1..300)
        } else {
            prng.pick(&[1, 1, 1, 3])
        };
        let bytes = prng.size(settings.payload_bytes_max);
        // A flood is of many or of large messages, not of both: half a megabyte.
        let count = count.min(1 + (512 << 10) / (bytes + 1));
        let topic = prng.number(1..settings.topics + 1);
        let topic_or_everybody = if prng.chance(10) { 0 } else { topic };
        match verb {
            Verb::Subscribe => Self::Subscribe(topic),
            Verb::Join => Self::Join(topic),
            Verb::Unsubscribe => Self::Unsubscribe(topic),
            Verb::Publish => Self::Publish {
                topic: topic_or_everybody,
                bytes,
                count,
            },
            Verb::PublishToAll => Self::PublishToAll {
                topic: topic_or_everybody,
                bytes,
            },
            Verb::Alternate => Self::Alternate {
                topic: topic_or_everybody,
                count: prng.number(1..100),
            },
            Verb::Reply => Self::Reply { bytes, count },
            Verb::ToUser => Self::ToUser {
                user: user_name(prng.number(0..settings.users)),
                bytes,
            },
            Verb::ToClient => Self::ToClient {
                client: prng.number(0..clients),
                bytes,
            },
            Verb::CloseClient => Self::CloseClient {
                client: prng.number(0..clients),
            },
            Verb::Close => Self::Close,
            Verb::CloseSilently => Self::CloseSilently,
            Verb::Terminate => Self::Terminate,
            Verb::Ping => Self::Ping,
            Verb::Prove => Self::Prove(prng.pick(&[Proof::Pong, Proof::Pong, Proof::Written])),
            Verb::Spawn => Self::Spawn { bytes },
            Verb::Mail => Self::Mail {
                shard: prng.number(0..4),
                topic: topic_or_everybody,
                bytes,
            },
        }
    }

    /// The message that says so: a sequence number, the command and its numbers, then filler.
    pub(super) fn encode(&self, sequence: u64, filler: &str) -> String {
        let words = match self {
            Self::Subscribe(topic) => format!("subscribe {topic}"),
            Self::Join(topic) => format!("join {topic}"),
            Self::Unsubscribe(topic) => format!("unsubscribe {topic}"),
            Self::Publish {
                topic,
                bytes,
                count,
            } => format!("publish {topic} {bytes} {count}"),
            Self::PublishToAll { topic, bytes } => format!("publish-to-all {topic} {bytes}"),
            Self::Alternate { topic, count } => format!("alternate {topic} {count}"),
            Self::Reply { bytes, count } => format!("reply {bytes} {count}"),
            Self::ToUser { user, bytes } => format!("to-user {user} {bytes}"),
            Self::ToClient { client, bytes } => format!("to-client {client} {bytes}"),
            Self::CloseClient { client } => format!("close-client {client}"),
            Self::Close => "close".to_owned(),
            Self::CloseSilently => "close-silently".to_owned(),
            Self::Terminate => "terminate".to_owned(),
            Self::Ping => "ping".to_owned(),
            Self::Prove(Proof::Written) => "prove-written".to_owned(),
            Self::Prove(Proof::Pong) => "prove-pong".to_owned(),
            Self::Spawn { bytes } => format!("spawn {bytes}"),
            Self::Mail {
                shard,
                topic,
                bytes,
            } => format!("mail {shard} {topic} {bytes}"),
        };
        format!("{sequence} {words}|{filler}")
    }

    /// Reads what [`Command::encode`] wrote.
    ///
    /// Panics if the bytes are none of that: then they were damaged on their way.
    pub(super) fn decode(bytes: &[u8]) -> (u64, Self) {
        let text = std::str::from_utf8(bytes).expect("commands are text");
        let (line, _) = text
            .split_once('|')
            .expect("a command ends before its filler");
        let mut words = line.split(' ');
        let mut word = || words.next().expect("no word is missing");
        let number = |word: &str| word.parse::<usize>().expect("a number");
        let sequence = word().parse().expect("a sequence number");
        let command = match word() {
            "subscribe" => Self::Subscribe(number(word())),
            "join" => Self::Join(number(word())),
            "unsubscribe" => Self::Unsubscribe(number(word())),
            "publish" => Self::Publish {
                topic: number(word()),
                bytes: number(word()),
                count: number(word()),
            },
            "publish-to-all" => Self::PublishToAll {
                topic: number(word()),
                bytes: number(word()),
            },
            "alternate" => Self::Alternate {
                topic: number(word()),
                count: number(word()),
            },
            "reply" => Self::Reply {
                bytes: number(word()),
                count: number(word()),
            },
            "to-user" => Self::ToUser {
                user: word().to_owned(),
                bytes: number(word()),
            },
            "to-client" => Self::ToClient {
                client: number(word()),
                bytes: number(word()),
            },
            "close-client" => Self::CloseClient {
                client: number(word()),
            },
            "close" => Self::Close,
            "close-silently" => Self::CloseSilently,
            "terminate" => Self::Terminate,
            "ping" => Self::Ping,
            "prove-written" => Self::Prove(Proof::Written),
            "prove-pong" => Self::Prove(Proof::Pong),
            "spawn" => Self::Spawn {
                bytes: number(word()),
            },
            "mail" => Self::Mail {
                shard: number(word()),
                topic: number(word()),
                bytes: number(word()),
            },
            other => panic!("no command {other:?}"),
        };
        (sequence, command)
    }
}

/// The name of a user by number.
pub(super) fn user_name(user: usize) -> String {
    format!("user-{user}")
}
