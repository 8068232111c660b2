//! What must be true, and what was said, kept and read so far.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use serde_json::Value;

use super::Tally;
use super::frame::{Frame, text};
use super::guest::{Ask, Guest, Place, View};
use super::person::Known;
use super::settings::{DRY_ROOM, OWN_ROOM, OWN_ROOM_MAX, Settings};
use crate::realtime::seam::RoomView;
use crate::realtime::{DeliveryProof, Realtime};
use crate::shard::SlowPolicy;

/// Events that a failure tells.
const TOLD_MAX: usize = 150;
const RECENT_MAX: usize = 12;

/// A message as its author gave it away.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) client: usize,
    /// The how-manieth of all it is: the judge counts.
    pub(super) number: u64,
    pub(super) user: String,
    pub(super) room: String,
    /// To be read by the client itself, too.
    pub(super) echo: bool,
    pub(super) client_message_id: Option<String>,
}

/// A message that a room keeps.
#[derive(Clone, Debug)]
struct Entry {
    tag: String,
}

/// The messages of a room from its making to its end, from offset 1 on.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) epoch: String,
    entries: Vec<Entry>,
}

impl Life {
    pub(super) fn head(&self) -> u64 {
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
pub(super) struct Judge {
    echo: bool,
    proof: DeliveryProof,
    disconnects: bool,
    history: u64,
    /// The lives of each room.
    pub(super) rooms: BTreeMap<String, Vec<Life>>,
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
    pub(super) listed: BTreeSet<(String, String)>,
    /// Rooms that somebody has asked to be closed.
    pub(super) closed: BTreeSet<String>,
    pub(super) guests: BTreeMap<usize, Guest>,
    pub(super) tally: Tally,
    events: VecDeque<String>,
}

impl Judge {
    pub(super) fn new(settings: &Settings) -> Self {
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
    pub(super) fn note(&mut self, event: impl fmt::Display) {
        if self.events.len() == TOLD_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event.to_string());
    }

    #[track_caller]
    pub(super) fn fail(&self, why: impl fmt::Display) -> ! {
        let events: Vec<&str> = self.events.iter().map(|event| &**event).collect();
        panic!("{why}\nWhat happened last:\n  {}", events.join("\n  "));
    }

    #[track_caller]
    pub(super) fn check(&self, is_right: bool, why: impl Fn() -> String) {
        if !is_right {
            self.fail(why());
        }
    }

    pub(super) fn guest(&mut self, client: usize) -> &mut Guest {
        self.guests
            .get_mut(&client)
            .expect("every client is a guest")
    }

    /// A client says something to a room: the word by which it is known again.
    pub(super) fn say(&mut self, said: Said) -> String {
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
    pub(super) fn word(&mut self, client: usize, id: &str, is_read: bool) {
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

    /// A shard has done something: what its rooms keep is looked at.
    pub(super) fn look(&mut self, app: &Realtime) {
        for view in app.room_views() {
            let limit = match &view.name {
                name if name.starts_with("two-") => 2,
                name if name.starts_with("three-") => 3,
                name if name.starts_with(OWN_ROOM) => OWN_ROOM_MAX,
                _ => usize::MAX,
            };
            self.check(view.members.len() <= limit, || {
                format!(
                    "{} has more members than {limit}: {:?}",
                    view.name, view.members
                )
            });
            self.look_at(app, &view);
        }
    }

    fn look_at(&mut self, app: &Realtime, view: &RoomView) {
        let lives = self.rooms.entry(view.name.clone()).or_default();
        if lives.last().is_none_or(|life| life.epoch != view.epoch) {
            lives.push(Life {
                epoch: view.epoch.clone(),
                entries: Vec::new(),
            });
        }
        let number = lives.len() - 1;
        let head = lives[number].head();
        if view.head <= head {
            return;
        }
        for (offset, kept) in app.kept(&view.name, head) {
            let value: Value = serde_json::from_str(&kept).expect("what is kept is JSON");
            let frame = Frame::read(&value, super::frame::Profile::V1);
            let tag = frame.tag().expect("what is kept was said").to_owned();
            let id = frame.id.expect("what is kept has an identifier");
            self.note(format_args!("{} keeps {tag} at {offset}", view.name));
            let lives = self.rooms.get_mut(&view.name).expect("just made");
            let head = lives[number].head();
            if head + 1 != offset {
                self.fail(format_args!("{} goes from {head} to {offset}", view.name));
            }
            self.assert_new(&view.name, number, &tag);
            let entry = Entry { tag: tag.clone() };
            let lives = self.rooms.get_mut(&view.name).expect("just made");
            lives[number].entries.push(entry);
            self.name(&tag, &id);
            let place = (view.name.clone(), number, offset);
            if self.places.insert(tag.clone(), place).is_some() {
                self.fail(format_args!("{tag} is kept twice"));
            }
        }
    }

    /// Panics if a message of the same author and name is kept already.
    fn assert_new(&self, room: &str, life: usize, tag: &str) {
        let said = &self.said[tag];
        if said.client_message_id.is_none() {
            return;
        }
        let is_same = |entry: &&Entry| {
            let other = &self.said[&entry.tag];
            (&other.user, &other.client_message_id) == (&said.user, &said.client_message_id)
        };
        let same = self.rooms[room][life].entries.iter().find(is_same);
        if let Some(same) = same {
            self.fail(format_args!("{tag} repeats {} and is published", same.tag));
        }
    }

    /// A message has an identifier, and always the same.
    fn name(&mut self, tag: &str, id: &str) {
        let known = self
            .ids
            .entry(tag.to_owned())
            .or_insert_with(|| id.to_owned());
        if known != id {
            let known = known.clone();
            self.fail(format_args!("{tag} is {known}, and {id}"));
        }
        self.tags.insert(id.to_owned(), tag.to_owned());
    }

    /// A connection has ended.
    pub(super) fn gone(&mut self, client: usize) {
        self.note(format_args!("{client} is gone"));
        self.guest(client).is_gone = true;
    }

    /// A client has read a message.
    pub(super) fn hear(&mut self, client: usize, text: &str, known: &mut Known) {
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

    fn subscribed(&mut self, client: usize, frame: &Frame, known: &mut Known) {
        let (asked, ask) = self.take(client, frame);
        let Ask::Subscribe {
            room,
            recover,
            presence,
        } = ask
        else {
            self.fail(format_args!("{client} has asked for {ask:?}: {frame:?}"));
        };
        self.check(frame.str("topic") == Some(&room), || {
            format!("not {room}: {frame:?}")
        });
        let recovered = frame.data["recovered"].as_bool();
        let replayed = frame.number("replayed");
        let mut place = None;
        let mut is_due = false;
        if !room.starts_with(DRY_ROOM) {
            let (epoch, head) = (frame.str("epoch"), frame.number("offset"));
            let lives = self.rooms.get(&room).map_or(&[][..], |lives| lives);
            let life = lives.iter().position(|life| Some(&*life.epoch) == epoch);
            let (Some(life), Some(head)) = (life, head) else {
                self.fail(format_args!("{room} has no such life: {frame:?}"));
            };
            let since = recover
                .as_ref()
                .filter(|(known, _)| Some(&**known) == epoch);
            let since = since.map(|(_, offset)| *offset);
            is_due = since.is_some_and(|since| since <= head && head - since <= self.history);
            let first = since.filter(|_| recovered == Some(true)).unwrap_or(head);
            let expected = recovered.map(|_| head - first.min(head));
            self.check(replayed == expected, || {
                format!("not {expected:?}: {frame:?}")
            });
            place = Some(Place {
                life,
                next: first + 1,
                replay_until: head,
            });
            known.insert(room.clone(), (epoch.unwrap_or_default().to_owned(), first));
        }
        let expected = recover.as_ref().map(|_| is_due);
        self.check(recovered == expected, || {
            format!("not {expected:?}: {recover:?}, {frame:?}")
        });
        match recovered {
            Some(true) => self.tally.recovered += 1,
            Some(false) => self.tally.unrecovered += 1,
            None => {}
        }
        self.tally.replayed += replayed.unwrap_or_default();
        let guest = self.guest(client);
        guest.superseded(&room, asked);
        let stay = guest.stay(&room);
        stay.end();
        stay.is_in = true;
        stay.place = place;
        stay.wants_presence = Some(presence);
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
        let (_, ask) = self.take(client, frame);
        let Ask::Post { room, tag } = ask else {
            self.fail(format_args!("{ask:?} is answered {frame:?}"));
        };
        if !room.is_empty() {
            self.guest(client).stay(&room).is_in = true;
        }
        let id = frame.str("message_id").unwrap_or_default().to_owned();
        let said = self.said[&tag].clone();
        let Some(first) = self.tags.get(&id).cloned() else {
            // A room that is closed at once is gone before anybody has looked.
            let is_unseen = said.room.starts_with(DRY_ROOM) || self.closed.contains(&said.room);
            return self.check(is_unseen, || format!("nothing kept: {frame:?}"));
        };
        if let Some(offset) = frame.number("offset") {
            let place = self.places.get(&first).map(|(_, _, offset)| *offset);
            self.check(place == Some(offset), || {
                format!("{first} is at {place:?}: {frame:?}")
            });
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

    /// A client reads a message of a room.
    fn message(&mut self, client: usize, frame: &Frame, known: &mut Known) {
        self.come_in(client, frame);
        self.tally.read += 1;
        let room = frame.room.clone().expect("just looked at");
        let Some((tag, said)) = frame.tag().and_then(|tag| self.said.get_key_value(tag)) else {
            self.fail(format_args!("nobody has said {frame:?}"));
        };
        let (tag, said) = (tag.clone(), said.clone());
        let is_right = said.room == room && frame.user.as_ref() == Some(&said.user);
        self.check(is_right, || format!("{said:?} is read as {frame:?}"));
        let id = frame.id.clone().unwrap_or_default();
        self.name(&tag, &id);
        let guest = self
            .guests
            .get_mut(&client)
            .expect("every client is a guest");
        self.got.insert((guest.user.clone(), tag.clone()));
        guest.recent.push((room.clone(), id));
        if guest.recent.len() > RECENT_MAX {
            guest.recent.remove(0);
        }
        let is_own = said.client == client && !said.echo;
        if room.starts_with(DRY_ROOM) {
            let stay = guest.stay(&room);
            let newest = stay.newest.insert(said.client, said.number);
            let is_next = newest.is_none_or(|newest| newest < said.number) && !is_own;
            return self.check(is_next, || format!("{client} reads {tag} after {newest:?}"));
        }
        let Some((_, life, offset)) = self.places.get(&tag).cloned() else {
            // A room that is closed at once is gone before anybody has looked.
            let is_unseen = self.closed.contains(&room);
            return self.check(is_unseen, || {
                format!("{client} reads {tag}, which nobody keeps")
            });
        };
        if frame.offset.is_some_and(|told| told != offset) {
            self.fail(format_args!("{tag} is at {offset}: {frame:?}"));
        }
        self.advance(client, &room, (life, offset), is_own);
        if self.guests[&client].profile.has_offsets() {
            let epoch = self.rooms[&room][life].epoch.clone();
            known.insert(room, (epoch, offset));
        }
    }

    /// A client reads what is at an offset: that which comes next, unless it was told of a gap.
    fn advance(&mut self, client: usize, room: &str, (life, offset): (usize, u64), is_own: bool) {
        let Some(place) = self.guests[&client].stays[room].place else {
            self.check(!is_own, || {
                format!("{client} reads its own {offset} of {room}")
            });
            let place = Place {
                life,
                next: offset + 1,
                replay_until: offset,
            };
            self.guest(client).stay(room).place = Some(place);
            return;
        };
        let is_new = life == place.life && offset >= place.next;
        self.check(is_new, || {
            format!("{client} reads {offset} of {room} (life {life}) at {place:?}")
        });
        let is_replayed = offset <= place.replay_until;
        self.check(!is_own || is_replayed, || {
            format!("{client} reads its own {offset} of {room}")
        });
        let next = self.next_for(client, room, place);
        let is_gap = offset > next;
        // A replay has no gaps.
        self.check(!is_gap || next > place.replay_until, || {
            format!("{client} misses {next} of {room} in the replay and reads {offset}")
        });
        self.check(!is_gap || !self.disconnects, || {
            format!("{client} misses {next} of {room} and reads {offset}")
        });
        let stay = self.guest(client).stay(room);
        stay.place = Some(Place {
            next: offset + 1,
            ..place
        });
        if is_gap && stay.gaps_told > 0 {
            stay.gaps_told -= 1;
        } else if is_gap {
            stay.gaps_untold += 1;
            self.note(format_args!("{client} misses {next} to {offset} of {room}"));
        }
    }

    /// The next offset that is for a client: its own words are not, but in a replay.
    pub(super) fn next_for(&self, client: usize, room: &str, place: Place) -> u64 {
        let life = &self.rooms[room][place.life];
        let is_for = |&offset: &u64| {
            let index = usize::try_from(offset - 1).expect("few messages");
            life.entries.get(index).is_none_or(|entry| {
                let said = &self.said[&entry.tag];
                offset <= place.replay_until || said.echo || said.client != client
            })
        };
        (place.next..).find(is_for).expect("there is always a next")
    }

    fn system(&mut self, client: usize, frame: &Frame) {
        if frame.str("event") != Some("gap") {
            return self.come_in(client, frame);
        }
        self.tally.gaps += 1;
        let room = frame.room.clone().unwrap_or_default();
        self.check(!self.disconnects, || {
            format!("{client} has a gap in {room}")
        });
        let stay = self.guest(client).stay(&room);
        stay.is_view_lost = true;
        stay.view = None;
        match stay.gaps_untold {
            0 => stay.gaps_told += 1,
            _ => stay.gaps_untold -= 1,
        }
    }

    fn presence(&mut self, client: usize, frame: &Frame) {
        self.come_in(client, frame);
        let room = frame.room.clone().expect("just looked at");
        let stay = self.guest(client).stay(&room);
        let is_unwanted = stay.wants_presence == Some(false);
        let count = frame
            .number("count")
            .and_then(|count| usize::try_from(count).ok());
        let info = |user: &Value| user["info"].to_string();
        match (frame.str("action").unwrap_or_default(), &mut stay.view) {
            ("snapshot", view) => {
                stay.is_view_lost = false;
                let users = frame.data["users"]
                    .as_array()
                    .map_or(&[][..], |users| users);
                let users = users.iter().filter_map(|user| {
                    let name = text(&user["user_id"])?;
                    Some((name, info(user)))
                });
                *view = Some(View::Names(users.collect()));
            }
            ("count", view) => {
                stay.is_view_lost = false;
                *view = count.map(View::Count);
            }
            ("join" | "update", Some(View::Names(names))) => {
                let user = &frame.data["user"];
                let name = text(&user["user_id"]).unwrap_or_default();
                names.insert(name, info(user));
            }
            ("leave", Some(View::Names(names))) => {
                names.remove(frame.user.as_deref().unwrap_or_default());
            }
            _ => {}
        }
        let is_right = match (&stay.view, count) {
            (Some(View::Names(names)), Some(count)) => names.len() == count,
            _ => true,
        };
        let view = stay.view.clone();
        self.check(is_right, || {
            format!("{client} knows {view:?} of {room}: {frame:?}")
        });
        self.check(!is_unwanted, || {
            format!("{client} has not asked for {frame:?}")
        });
    }

    fn status(&mut self, client: usize, frame: &Frame) {
        self.tally.statuses += 1;
        let user = self.guest(client).user.clone();
        self.check(frame.str("sender_id") == Some(&user), || {
            format!("{user} reads {frame:?}")
        });
        let id = frame.str("message_id").unwrap_or_default().to_owned();
        let Some(recipient) = frame.data.get("recipient_id").and_then(text) else {
            return;
        };
        let rank = match frame.str("status") {
            Some("delivered") => 1,
            Some("read") => 2,
            other => self.fail(format_args!("{other:?} of {recipient}: {frame:?}")),
        };
        let key = (client, id.clone(), recipient.clone());
        let before = self.told.insert(key, rank).unwrap_or_default();
        self.check(before < rank, || {
            format!("a status goes from {before} to {rank}: {frame:?}")
        });
        let Some((tag, (room, life, offset))) = self
            .tags
            .get(&id)
            .and_then(|tag| self.places.get_key_value(tag))
        else {
            self.fail(format_args!("nobody keeps {frame:?}"));
        };
        let word = self.words.get(&(recipient.clone(), room.clone(), *life));
        let word = word.copied().unwrap_or_default();
        let is_got = self.got.contains(&(recipient.clone(), tag.clone()));
        let is_true = match rank {
            1 => is_got || word.delivered >= *offset || self.proof == DeliveryProof::Write,
            _ => word.read >= *offset,
        };
        self.check(is_true, || {
            format!("{recipient} has not got {tag} at {offset}: {frame:?}")
        });
    }

    fn notified(&self, client: usize, frame: &Frame) {
        let chat = frame.str("chat_id").unwrap_or_default().to_owned();
        let user = &self.guests[&client].user;
        // Who came in on its own is told as well.
        let mut others = self.guests.values().filter(|guest| guest.user == *user);
        let was_there =
            others.any(|guest| guest.stays.contains_key(&chat) || guest.may_come_in(&chat));
        let is_for = was_there || self.listed.contains(&(chat, user.clone()));
        self.check(is_for, || format!("{client} reads {frame:?}"));
    }
}
