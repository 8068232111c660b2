//! The hot paths, each set up and ready to be gone again and again: `instructions` counts what they
//! execute, and `tests/allocations.rs` what they allocate.

use std::hint::black_box;
use std::sync::Arc;

use campanile::http;
use campanile::id::{ShardId, Slot};
use campanile::realtime::protocol::{Profile, scan};
use campanile::shard::{
    App, Batch, BatchEntry, Encode, Event, Format, Formats, Mail, Message, Socket,
};
use campanile::ws::handshake::accept_key;
use campanile::ws::utf8::Utf8Stream;
use campanile::ws::{Decoder, Header, MaskingKey, Opcode, Rules};

use super::rooms::{self, CHAT, PUBLISH, UNTOLD};
use super::{AT_ONCE, Bench, HEAD, TEXT_64, frame, shared};

/// Where everybody is subscribed.
pub(crate) const TOPIC: &str = "everybody";

/// One path: a name, `layer/operation/variant/size`, and what makes a ready traveller of it.
pub(crate) struct Path {
    pub(crate) name: &'static str,
    /// Everything that comes before the steady state; what it returns goes the path once.
    pub(crate) prepare: fn() -> Box<dyn FnMut()>,
}

const fn path(name: &'static str, prepare: fn() -> Box<dyn FnMut()>) -> Path {
    Path { name, prepare }
}

/// All of them, from the codec up.
pub(crate) const PATHS: &[Path] = &[
    path("codec/decode/text/64", decode),
    path("codec/encode/header/64", encode_header),
    path("codec/mask/aligned/64", mask::<64>),
    path("codec/mask/aligned/4096", mask::<4096>),
    path("codec/utf8/stream/64", utf8),
    path("json/scan/chat/75", scan_chat),
    path("http/upgrade/head-and-101/1", upgrade),
    path("shard/turn/nothing/1", nothing),
    path("shard/echo/text/64", echo),
    path("shard/ping/pong/0", pong),
    path("shard/publish/home/100", publish::<100>),
    path("shard/publish/home/1000", publish::<1000>),
    path("shard/publish/elsewhere/100", || {
        publish_elsewhere(Broadcast)
    }),
    path("shard/publish/elsewhere-encoded/100", || {
        publish_elsewhere(InFormats)
    }),
    path("shard/deliver/from-elsewhere/100", deliver),
    path("shard/connect/open-and-close/1", open_and_close),
    path("shard/publish/bytes-of-chat/2", rooms::bare),
    path("realtime/chat/flat/2", || rooms::told(2)),
    path("realtime/chat/flat/100", || rooms::told(100)),
    path("realtime/chat/home-elsewhere/2", rooms::home_elsewhere),
    path("realtime/chat/untold/2", || rooms::alone(Profile::Flat)),
    path("realtime/chat/v1/2", || rooms::alone(Profile::V1)),
    path("realtime/chat/room/2", || rooms::alone(Profile::Room)),
    path("realtime/chat/message/2", || rooms::alone(Profile::Message)),
    path("realtime/chat/without-history/2", || {
        rooms::without_history(UNTOLD)
    }),
    path("realtime/chat/one-profile/4", || rooms::mixed(1)),
    path("realtime/chat/two-profiles/4", || rooms::mixed(2)),
    path("realtime/chat/four-profiles/4", || rooms::mixed(4)),
    path("realtime/publish/history/2", rooms::publish),
    path("realtime/publish/without-history/2", || {
        rooms::without_history(PUBLISH)
    }),
    path("realtime/ping/pong/1", rooms::ping),
    path("realtime/typing/coalesced/2", rooms::typing),
    path("realtime/presence/names/100", || {
        rooms::come_and_go(100, true)
    }),
    path("realtime/presence/counts/100", || {
        rooms::come_and_go(100, false)
    }),
];

/// Sends every message back.
#[derive(Debug)]
pub(crate) struct Echo;

impl App for Echo {
    type Data = ();
    type Mail = ();

    fn message(&mut self, socket: &mut Socket<'_, Self>, message: Message<'_>) {
        let _ = socket.send(message);
    }
}

/// Publishes every message to everybody.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Broadcast;

impl App for Broadcast {
    type Data = ();
    type Mail = ();

    fn open(&mut self, socket: &mut Socket<'_, Self>) {
        let _ = socket.subscribe(TOPIC);
    }

    fn message(&mut self, socket: &mut Socket<'_, Self>, message: Message<'_>) {
        socket.context().publish(TOPIC, message, None);
    }
}

/// Publishes every message to everybody, to each in its format.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InFormats;

/// A message that is the same in every format.
struct Same<'a>(Message<'a>);

impl Encode for Same<'_> {
    fn encode(&mut self, _format: Format) -> Option<Message<'_>> {
        Some(self.0)
    }
}

impl App for InFormats {
    type Data = ();
    type Mail = ();

    fn open(&mut self, socket: &mut Socket<'_, Self>) {
        let format = Format(u8::from(socket.context().random().is_multiple_of(2)));
        let _ = socket.subscribe_as(TOPIC, format);
    }

    fn message(&mut self, socket: &mut Socket<'_, Self>, message: Message<'_>) {
        let context = &mut socket.context();
        context.publish_encoded(TOPIC, &mut Same(message), None);
    }
}

fn decode() -> Box<dyn FnMut()> {
    let mut frame = frame(Opcode::Text, TEXT_64);
    let mut decoder = Decoder::default();
    let rules = Rules::server(1 << 20);
    Box::new(move || {
        let mut bytes = black_box(&mut frame[..]);
        while let Some(incoming) = decoder
            .next(&mut bytes, &rules, None)
            .expect("the frame is valid")
        {
            black_box(incoming);
        }
    })
}

fn encode_header() -> Box<dyn FnMut()> {
    Box::new(|| {
        black_box(Header::whole(Opcode::Text, black_box(64)).encode());
    })
}

fn mask<const BYTES: usize>() -> Box<dyn FnMut()> {
    let mut payload = vec![b'x'; BYTES];
    Box::new(move || MaskingKey([1, 2, 3, 4]).apply(black_box(&mut payload)))
}

fn utf8() -> Box<dyn FnMut()> {
    Box::new(|| {
        let valid = Utf8Stream::default().push(black_box(TEXT_64));
        assert_eq!(valid, Ok(()));
    })
}

fn scan_chat() -> Box<dyn FnMut()> {
    assert_eq!(CHAT.len(), 75);
    Box::new(|| assert!(scan(black_box(CHAT), Profile::Flat).is_ok()))
}

/// A request head in, the bytes of the 101 out; no connection.
fn upgrade() -> Box<dyn FnMut()> {
    let mut out = Vec::new();
    Box::new(move || {
        let head = http::parse(black_box(HEAD)).expect("a request head");
        let head = head.expect("a whole one");
        let upgrade = http::check(&head).expect("an opening handshake");
        let answer = http::SwitchingProtocols::new(&accept_key(upgrade.key.as_bytes()), None, None);
        out.clear();
        answer.expect("base64").write(&mut out);
        black_box(&out);
    })
}

fn nothing() -> Box<dyn FnMut()> {
    let mut bench = Bench::new(Broadcast);
    bench.open(100, AT_ONCE);
    Box::new(move || assert_eq!(bench.turn().count, 0))
}

/// A frame from one of so many connections, and so many sends.
fn answered<A: App>(
    mut bench: Bench<A>,
    connections: usize,
    frame: Vec<u8>,
    sends: usize,
) -> Box<dyn FnMut()> {
    let slots: Vec<Slot> = bench.open(connections, AT_ONCE);
    said(bench, slots[0], frame, sends)
}

/// A frame from one connection, and so many sends.
pub(super) fn said<A: App>(
    mut bench: Bench<A>,
    from: Slot,
    mut frame: Vec<u8>,
    sends: usize,
) -> Box<dyn FnMut()> {
    Box::new(move || {
        bench.receive(from, black_box(&mut frame));
        assert_eq!(bench.turn().count, sends);
    })
}

fn echo() -> Box<dyn FnMut()> {
    answered(Bench::new(Echo), 1, frame(Opcode::Text, TEXT_64), 1)
}

fn pong() -> Box<dyn FnMut()> {
    answered(Bench::new(Echo), 1, frame(Opcode::Ping, b""), 1)
}

fn publish<const SUBSCRIBERS: usize>() -> Box<dyn FnMut()> {
    let text = frame(Opcode::Text, TEXT_64);
    answered(Bench::new(Broadcast), SUBSCRIBERS, text, SUBSCRIBERS)
}

/// The publisher's side of a topic that has a hundred subscribers on another shard and one here.
fn publish_elsewhere<A: App + Copy>(app: A) -> Box<dyn FnMut()> {
    let shared = shared(2);
    let mut there = Bench::one_of(&shared, ShardId(1), app);
    there.open(100, AT_ONCE);
    let mut here = Bench::one_of(&shared, ShardId(0), app);
    let slots = here.open(1, AT_ONCE);
    let mut text = frame(Opcode::Text, TEXT_64);
    Box::new(move || {
        here.receive(slots[0], black_box(&mut text));
        assert_eq!(here.turn().count, 1);
        assert_eq!(here.take_mail().count(), 1);
        // It keeps its subscribers in the directory.
        black_box(&there);
    })
}

/// The subscribers' side of the same.
fn deliver() -> Box<dyn FnMut()> {
    let mut bench = Bench::one_of(&shared(2), ShardId(1), Broadcast);
    bench.open(100, AT_ONCE);
    let batch = Arc::new(Batch {
        topic: TOPIC.into(),
        payloads: TEXT_64.to_vec(),
        entries: vec![BatchEntry {
            opcode: Opcode::Text,
            bytes: TEXT_64.len(),
            formats: Formats::ALL,
            exclude: None,
        }],
    });
    Box::new(move || {
        bench.handle(Event::Mail(Mail::Publish(Arc::clone(&batch))));
        assert_eq!(bench.turn().count, 100);
    })
}

/// Accept, request head, 101, close frame both ways, end of stream, slot free again; beside somebody
/// who stays.
fn open_and_close() -> Box<dyn FnMut()> {
    let mut bench = Bench::new(Echo);
    bench.open(1, AT_ONCE);
    let mut close = frame(Opcode::Close, &1000_u16.to_be_bytes());
    Box::new(move || bench.come_and_go(&mut close))
}
