//! What must be true, and what was said, kept and read so far.

mod kept;
mod reading;
mod telling;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use serde_json::Value;

use crate::realtime::DeliveryProof;
use crate::shard::SlowPolicy;
use crate::sim::realtime::Tally;
use crate::sim::realtime::frame::Frame;
use crate::sim::realtime::guest::{Ask, Guest};
use crate::sim::realtime::person::Known;
use crate::sim::realtime::settings::{DRY_ROOM, Settings};

/// Events that a failure tells.
const TOLD_MAX: usize = 150;
const RECENT_MAX: usize = 12;

/// A message as its author gave it away.
#[derive(Clone, Debug)]
pub(in crate::sim::realtime) struct Said {
    pub(in crate::sim::realtime) client: usize,
    /// The how-manieth of all it is: the judge counts.
    pub(in crate::sim::realtime) number: u64,
    pub(in crate::sim::realtime) user: String,
    pub(in crate::sim::realtime) room: String,
    /// To be read by the client itself, too.
    pub(in crate::sim::realtime) echo: bool,
    pub(in crate::sim::realtime) client_message_id: Option<String>,
}

/// A message that a room keeps.
#[derive(Clone, Debug)]
struct Entry {
    tag: String,
}

/// The messages of a room from its making to its end, from offset 1 on.
#[derive(Debug)]
pub(in crate::sim::realtime) struct Life {
    pub(in crate::sim::realtime) epoch: String,
    entries: Vec<Entry>,
}

impl Life {
    pub(in crate::sim::realtime) fn head(&self) -> u64 {
        self.entries.len() as u64
    }
}

/// How far a user says that it has got in a room.
#[derive(Clone, Copy, Debug, Default)]
struct Word {
    delivered: u64,
    read: u64,
}

/// All that is known.
#[derive(Debug)]
pub(in crate::sim::realtime) struct Judge {
    echo: bool,
    proof: DeliveryProof,
    disconnects: bool,
    history: u64,
    /// The lives of each room.
    pub(in crate::sim::realtime) rooms: BTreeMap<String, Vec<Life>>,
    /// Where a message is: room, life, offset.
    places: BTreeMap<String, (String, usize, u64)>,
    said: BTreeMap<String, Said>,
    /// The identifier of each message, by tag, and back.
    ids: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
    /// Which users have read which messages.
    got: BTreeSet<(String, String)>,
    words: BTreeMap<(String, String, usize), Word>,
    /// What authors were told of whom, by client, message and recipient.
    told: BTreeMap<(usize, String, String), u8>,
    /// Users who were put on a room's list, at any time.
    pub(in crate::sim::realtime) listed: BTreeSet<(String, String)>,
    /// Rooms that somebody has asked to be closed.
    pub(in crate::sim::realtime) closed: BTreeSet<String>,
    pub(in crate::sim::realtime) guests: BTreeMap<usize, Guest>,
    pub(in crate::sim::realtime) tally: Tally,
    events: VecDeque<String>,
}

impl Judge {
    pub(in crate::sim::realtime) fn new(settings: &Settings) -> Self {
        let namespace = settings.app.namespaces.last().expect("there are some");
        Self {
            echo: settings.app.echo_to_sender,
            proof: settings.app.delivery.proof,
            disconnects: settings.core.slow_policy == SlowPolicy::Disconnect,
            history: u64::from(namespace.history.size),
            rooms: BTreeMap::new(),
            places: BTreeMap::new(),
            said: BTreeMap::new(),
            ids: BTreeMap::new(),
            tags: BTreeMap::new(),
            got: BTreeSet::new(),
            words: BTreeMap::new(),
            told: BTreeMap::new(),
            listed: BTreeSet::new(),
            closed: BTreeSet::new(),
            guests: BTreeMap::new(),
            tally: Tally::default(),
            events: VecDeque::new(),
        }
    }

    /// Something happened that a failure is to tell.
    pub(in crate::sim::realtime) fn note(&mut self, event: impl fmt::Display) {
        if self.events.len() == TOLD_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event.to_string());
    }

    #[track_caller]
    pub(in crate::sim::realtime) fn fail(&self, why: impl fmt::Display) -> ! {
        let events: Vec<&str> = self.events.iter().map(|event| &**event).collect();
        panic!("{why}\nWhat happened last:\n  {}", events.join("\n  "));
    }

    #[track_caller]
    pub(in crate::sim::realtime) fn check(&self, is_right: bool, why: impl Fn() -> String) {
        if !is_right {
            self.fail(why());
        }
    }

    pub(in crate::sim::realtime) fn guest(&mut self, client: usize) -> &mut Guest {
        self.guests
            .get_mut(&client)
            .expect("every client is a guest")
    }

    /// A client says something to a room: the word by which it is known again.
    pub(in crate::sim::realtime) fn say(&mut self, said: Said) -> String {
        let number = self.said.len() as u64;
        let tag = format!("m{}-{number}", said.client);
        let echo = said.echo || self.echo;
        let said = Said {
            number,
            echo,
            ..said
        };
        self.said.insert(tag.clone(), said);
        tag
    }

    /// A client is going to say that its user has got or read a message.
    pub(in crate::sim::realtime) fn word(&mut self, client: usize, id: &str, is_read: bool) {
        let user = self.guest(client).user.clone();
        let Some((room, life, offset)) = self.tags.get(id).and_then(|tag| self.places.get(tag))
        else {
            return;
        };
        let word = self.words.entry((user, room.clone(), *life)).or_default();
        word.delivered = word.delivered.max(*offset);
        if is_read {
            word.read = word.read.max(*offset);
        }
    }

    /// A connection has ended.
    pub(in crate::sim::realtime) fn gone(&mut self, client: usize) {
        self.note(format_args!("{client} is gone"));
        self.guest(client).is_gone = true;
    }

    /// A client has read a message.
    pub(in crate::sim::realtime) fn hear(&mut self, client: usize, text: &str, known: &mut Known) {
        self.note(format_args!("{client} reads {text}"));
        let value: Value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(error) => self.fail(format_args!("{client} reads no JSON: {error}: {text}")),
        };
        let frame = Frame::read(&value, self.guest(client).profile);
        match &*frame.kind {
            "connection-status" => {
                let guest = self.guest(client);
                guest.connection = frame.str("connection_id").map(String::from);
                let (said, user) = (frame.str("user_id").map(String::from), guest.user.clone());
                self.check(said.as_ref() == Some(&user), || {
                    format!("{user} is called {said:?}")
                });
            }
            "subscribed" => self.subscribed(client, &frame, known),
            "unsubscribed" => self.unsubscribed(client, &frame),
            "chat" | "publish" => self.message(client, &frame, known),
            "ack" => self.posted(client, &frame),
            "message-status"
                if frame.data.get("recipient_id").is_none()
                    && frame.data.get("counts").is_none() =>
            {
                self.posted(client, &frame)
            }
            "message-status" => self.status(client, &frame),
            "presence" if frame.data.get("next_cursor").is_some() => self.answered(client, &frame),
            "presence" => self.presence(client, &frame),
            "typing" => self.come_in(client, &frame),
            "system" => self.system(client, &frame),
            "rpc" | "pong" | "worked" => self.answered(client, &frame),
            "error" => self.refused(client, &frame),
            "chat-notification" => self.notified(client, &frame),
            other => self.fail(format_args!("{client} reads a {other}")),
        }
    }

    /// Takes the request that a frame answers.
    fn take(&mut self, client: usize, frame: &Frame) -> (u64, Ask) {
        let asked = frame
            .id
            .as_ref()
            .and_then(|id| self.guest(client).asks.remove(id));
        match asked {
            Some(ask) => ask,
            None => self.fail(format_args!(
                "{client} has not asked, or was answered: {frame:?}"
            )),
        }
    }

    fn answered(&mut self, client: usize, frame: &Frame) {
        let (_, ask) = self.take(client, frame);
        self.check(matches!(ask, Ask::Call), || {
            format!("{ask:?} is answered {frame:?}")
        });
    }

    /// A frame of a room: its client is in the room, or has just been let in.
    fn come_in(&mut self, client: usize, frame: &Frame) {
        let Some(room) = &frame.room else {
            self.fail(format_args!("of which room? {frame:?}"));
        };
        let guest = &self.guests[&client];
        let is_in = guest.stays.get(room).is_some_and(|stay| stay.is_in);
        let is_listed = self.listed.contains(&(room.clone(), guest.user.clone()));
        self.check(is_in || is_listed || guest.may_come_in(room), || {
            format!("{client} is not in {room} and reads {frame:?}")
        });
        self.guest(client).stay(room).is_in = true;
    }

    fn unsubscribed(&mut self, client: usize, frame: &Frame) {
        let room = frame.str("topic").unwrap_or_default().to_owned();
        if frame.str("reason").is_some() {
            // By the server's own doing: what the client has asked since is open.
            self.tally.expelled += 1;
            let stay = self.guest(client).stay(&room);
            return stay.end();
        }
        let (asked, ask) = self.take(client, frame);
        let is_it = matches!(&ask, Ask::Unsubscribe { room: other } if *other == room);
        self.check(is_it, || format!("{ask:?} is answered {frame:?}"));
        self.guest(client).left(&room, asked);
    }

    fn refused(&mut self, client: usize, frame: &Frame) {
        if frame.str("code") == Some("room_full") {
            self.tally.full += 1;
        }
        let code = frame.str("code").unwrap_or_default();
        self.check(!["internal", "handler_error"].contains(&code), || {
            format!("{frame:?}")
        });
        if frame.id.is_none() {
            // The room of the client's path, or a text without an envelope.
            return;
        }
        let (asked, ask) = self.take(client, frame);
        let guest = self.guest(client);
        match ask {
            Ask::Subscribe { room, .. } => {
                guest.superseded(&room, asked);
                guest.stay(&room).end();
            }
            Ask::Unsubscribe { room } => {
                let is_in = guest.stay(&room).is_in;
                self.check(!is_in, || format!("{client} is in {room}: {frame:?}"));
            }
            Ask::Post { .. } | Ask::Call | Ask::Quiet => {}
        }
    }

    /// A client is told of its message that it has its place.
    fn posted(&mut self, client: usize, frame: &Frame) {
        let (asked, ask) = self.take(client, frame);
        let Ask::Post { room, tag } = ask else {
            self.fail(format_args!("{ask:?} is answered {frame:?}"));
        };
        if !room.is_empty() {
            // Or it was taken for the user's other connections, who are in the room.
            let stay = self.guest(client).stay(&room);
            stay.hopes_since = stay.hopes_since.max(Some(asked));
        }
        let id = frame.str("message_id").unwrap_or_default().to_owned();
        let said = self.said[&tag].clone();
        // A room that is closed at once is gone before anybody has looked, though others may have read
        // what was said there.
        let is_unseen = said.room.starts_with(DRY_ROOM) || self.closed.contains(&said.room);
        let Some(first) = self.tags.get(&id).cloned() else {
            return self.check(is_unseen, || format!("nothing kept: {frame:?}"));
        };
        if let Some(offset) = frame.number("offset") {
            let place = self.places.get(&first).map(|(_, _, offset)| *offset);
            self.check(
                place == Some(offset) || place.is_none() && is_unseen,
                || format!("{first} is at {place:?}: {frame:?}"),
            );
        }
        if first != tag {
            self.tally.repeats += 1;
            let other = &self.said[&first];
            let is_repeat = said.client_message_id.is_some()
                && (&other.user, &other.room, &other.client_message_id)
                    == (&said.user, &said.room, &said.client_message_id);
            self.check(is_repeat, || {
                format!("{tag} is no repeat of {first}: {frame:?}")
            });
        }
    }
}
