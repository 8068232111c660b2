//! Rooms of the realtime application, full of people, and somebody who does something in them.

use std::hint::black_box;
use std::sync::Arc;

use campanile::id::{ShardId, Slot};
use campanile::realtime::protocol::Profile;
use campanile::realtime::{
    HistoryOptions, LimitOptions, Namespace, PresenceOptions, Realtime, RealtimeOptions,
};
use campanile::shard::{App, Message, Socket};
use campanile::ws::Opcode;

use super::paths::{TOPIC, said};
use super::{AT_ONCE, Bench, frame, shared};

/// A chat message of 75 bytes, for the room of its route. Its author is told `message-status`.
pub(crate) const CHAT: &str =
    r#"{"type":"chat","id":"c-118","content":"Ten o'clock: who brings the coffee"}"#;
/// The same without an `id`: its author is told nothing.
pub(crate) const UNTOLD: &str = r#"{"type":"chat","content":"Ten o'clock: who brings the coffee"}"#;
/// The same as data to a topic.
pub(crate) const PUBLISH: &str =
    r#"{"type":"publish","topic":"lobby","data":"Ten o'clock: who brings the coffee"}"#;

/// The realtime application as it comes, but for the rates: a bench sends more than a person.
pub(crate) fn realtime_options() -> RealtimeOptions {
    RealtimeOptions {
        limits: LimitOptions::without_rates(),
        ..RealtimeOptions::default()
    }
}

/// The application with [`realtime_options`].
pub(crate) fn realtime() -> Realtime {
    Realtime::new(Arc::new(realtime_options()))
}

/// The application with rooms that keep nothing of what was said.
pub(crate) fn forgetful() -> Realtime {
    let history = HistoryOptions {
        size: 0,
        ..HistoryOptions::default()
    };
    let everywhere = Namespace {
        history,
        ..Namespace::default()
    };
    Realtime::new(RealtimeOptions {
        namespaces: vec![everywhere],
        ..realtime_options()
    })
}

/// The application whose presence names everybody in a room of any size, or only counts them.
fn with_presence(names: bool) -> Realtime {
    let presence = PresenceOptions {
        members_max: if names { usize::MAX } else { 10 },
        ..PresenceOptions::default()
    };
    Realtime::new(RealtimeOptions {
        presence,
        ..realtime_options()
    })
}

/// A chat in the shape that is natural in a profile, without an `id`.
pub(crate) fn chat_of(profile: Profile) -> Vec<u8> {
    const CONTENT: &str = r#"{"content":"Ten o'clock: who brings the coffee"}"#;
    let text = match profile {
        Profile::V1 | Profile::Room => format!(r#"{{"type":"chat","data":{CONTENT}}}"#),
        Profile::Message => format!(r#"{{"type":"chat","message":{CONTENT}}}"#),
        Profile::Flat => UNTOLD.to_owned(),
    };
    frame(Opcode::Text, text.as_bytes())
}

/// A room in which there is one connection of each of these profiles.
pub(crate) fn seated(
    app: Realtime,
    profiles: impl IntoIterator<Item = Profile>,
) -> (Bench<Realtime>, Vec<Slot>) {
    let mut bench = Bench::new(app);
    let seat = |profile| {
        let slot = bench.connect_to(&format!("/ws?profile={profile}"));
        bench.turn();
        slot
    };
    let slots = profiles.into_iter().map(seat).collect();
    (bench, slots)
}

/// So many readers, an equal number of each of so many profiles. The first is always `flat`.
pub(crate) fn readers(count: usize, profiles: usize) -> impl Iterator<Item = Profile> {
    const ORDER: [Profile; 4] = [Profile::Flat, Profile::V1, Profile::Message, Profile::Room];
    ORDER[..profiles].iter().copied().cycle().take(count)
}

/// A room of so many members, one of whom says something and is told that it was sent.
pub(super) fn told(members: usize) -> Box<dyn FnMut()> {
    let mut bench = Bench::new(realtime());
    let slots = bench.open(members, AT_ONCE);
    said(
        bench,
        slots[0],
        frame(Opcode::Text, CHAT.as_bytes()),
        members,
    )
}

/// A reader and an author, both of one profile. In `message` the author is told `message-status`.
pub(super) fn alone(profile: Profile) -> Box<dyn FnMut()> {
    let (bench, slots) = seated(realtime(), [profile; 2]);
    let sends = 1 + usize::from(profile == Profile::Message);
    said(bench, slots[0], chat_of(profile), sends)
}

/// A message to a room that keeps none.
pub(super) fn without_history(text: &str) -> Box<dyn FnMut()> {
    let (bench, slots) = seated(forgetful(), [Profile::Flat; 2]);
    said(bench, slots[0], frame(Opcode::Text, text.as_bytes()), 1)
}

/// Four readers of so many profiles in all, and an author.
pub(super) fn mixed(profiles: usize) -> Box<dyn FnMut()> {
    let everybody = [Profile::Flat].into_iter().chain(readers(4, profiles));
    let (bench, slots) = seated(realtime(), everybody);
    said(bench, slots[0], chat_of(Profile::Flat), 4)
}

pub(super) fn publish() -> Box<dyn FnMut()> {
    let (bench, slots) = seated(realtime(), [Profile::Flat; 2]);
    said(bench, slots[0], frame(Opcode::Text, PUBLISH.as_bytes()), 1)
}

pub(super) fn ping() -> Box<dyn FnMut()> {
    let (bench, slots) = seated(realtime(), [Profile::Flat]);
    let ping = br#"{"type":"ping","id":"c-118"}"#;
    said(bench, slots[0], frame(Opcode::Text, ping), 1)
}

/// Somebody types on within the second in which the room was told so.
pub(super) fn typing() -> Box<dyn FnMut()> {
    let (mut bench, slots) = seated(realtime(), [Profile::Flat; 2]);
    let mut typing = frame(Opcode::Text, br#"{"type":"typing","is_typing":true}"#);
    bench.receive(slots[0], &mut typing);
    bench.turn();
    said(bench, slots[0], typing, 0)
}

/// Somebody comes into a room of so many others and leaves it: each of them is told both, and the
/// newcomer who they are; or all are told their number, which is not counted here, once a second.
pub(crate) fn come_and_go(others: usize, names: bool) -> Box<dyn FnMut()> {
    let mut bench = Bench::new(with_presence(names));
    bench.open(others, AT_ONCE);
    let mut close = frame(Opcode::Close, &1000_u16.to_be_bytes());
    Box::new(move || bench.come_and_go(&mut close))
}

/// Publishes every message to everybody else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Others;

impl App for Others {
    type Data = ();
    type Mail = ();

    fn open(&mut self, socket: &mut Socket<'_, Self>) {
        let _ = socket.subscribe(TOPIC);
    }

    fn message(&mut self, socket: &mut Socket<'_, Self>, message: Message<'_>) {
        let sender = socket.id();
        socket.context().publish(TOPIC, message, Some(sender));
    }
}

/// A frame as long as that which the readers of [`UNTOLD`] get in a profile.
pub(crate) fn as_long_as_chat(profile: Profile) -> Vec<u8> {
    const HEADER_BYTES: usize = 4;
    let (mut bench, slots) = seated(realtime(), [profile; 2]);
    bench.receive(slots[1], &mut chat_of(profile));
    let mut bytes = 0;
    bench.turn_seeing(|slot, sent| {
        if slot == slots[0] {
            bytes = sent;
        }
    });
    frame(Opcode::Text, &vec![b'x'; bytes - HEADER_BYTES])
}

/// What the core alone does for a chat of two: the same bytes, published to all but the sender.
pub(super) fn bare() -> Box<dyn FnMut()> {
    let mut bench = Bench::new(Others);
    let slots = bench.open(2, AT_ONCE);
    said(bench, slots[0], as_long_as_chat(Profile::Flat), 1)
}

/// Sender and hearer on one shard, the home of their room on the other: there by mail, and back in
/// the batch of the home's turn, with word for the sender.
pub(super) fn home_elsewhere() -> Box<dyn FnMut()> {
    let shared = shared(2);
    let home = shared.placement.home("lobby");
    let away = ShardId(1 - home.0);
    let mut home = Bench::one_of(&shared, home, realtime());
    let mut here = Bench::one_of(&shared, away, realtime());
    let slots: Vec<Slot> = here.open(2, AT_ONCE);
    let mut text = frame(Opcode::Text, CHAT.as_bytes());
    // The home lets them in.
    there_and_back(&mut here, &mut home);
    Box::new(move || {
        here.receive(slots[0], black_box(&mut text));
        assert_eq!(there_and_back(&mut here, &mut home), 2);
    })
}

/// A turn of each shard, with their mail between them. Returns how many sends ended it.
fn there_and_back<A: App>(here: &mut Bench<A>, home: &mut Bench<A>) -> usize {
    here.turn();
    home.take_in(here.take_mail());
    home.turn();
    here.take_in(home.take_mail());
    here.turn().count
}
