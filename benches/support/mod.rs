//! A shard without a kernel: an outbox that takes everything at once, and a sink that counts.
#![allow(dead_code, reason = "each bench uses its own part")]

pub(crate) mod paths;
pub(crate) mod rooms;

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use campanile::id::{ShardId, Slot};
use campanile::shard::{
    App, Descriptor, Event, Mail, Options, Outbox, ServiceRequest, Shard, Shared, Sink,
};
use campanile::time::Now;
use campanile::ws::{Header, MaskingKey, Opcode, client_frame_into};

/// A client's opening handshake.
pub(crate) const HEAD: &[u8] = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A whole client frame, masked with zeros: it is unmasked in place and stays as it is, so that it
/// can be received over and over.
pub(crate) fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let header = Header {
        key: Some(MaskingKey([0; 4])),
        ..Header::whole(opcode, 0)
    };
    client_frame_into(&mut out, header, payload);
    out
}

/// Sixty-four bytes of text.
pub(crate) const TEXT_64: &[u8; 64] =
    b"Sixty-four bytes of text are what the benches send and receive..";

/// Connections that open in one second of the pretend clock: all of them.
pub(crate) const AT_ONCE: usize = usize::MAX;

/// How many of something very large: few, where a bench only shows that it works.
///
/// Cargo passes `--bench` where something is to be measured.
pub(crate) fn at_full_size(count: usize) -> usize {
    let is_given = |option| std::env::args().any(|argument| argument == option);
    match is_given("--bench") && !is_given("--test") {
        true => count,
        false => count / 500,
    }
}

/// The pretend kernel: every socket takes all of every send, unless [`Bench::turn_short`] says
/// otherwise.
#[derive(Debug)]
struct Driver<A: App> {
    adopted: Option<Slot>,
    shut: Vec<Slot>,
    closed: Vec<Slot>,
    owned: Vec<(Slot, Vec<u8>)>,
    mail: Vec<Mail<A>>,
}

impl<A: App> Default for Driver<A> {
    fn default() -> Self {
        Self {
            adopted: None,
            shut: Vec::new(),
            closed: Vec::new(),
            owned: Vec::new(),
            mail: Vec::new(),
        }
    }
}

impl<A: App> Outbox<A> for Driver<A> {
    fn adopt(&mut self, slot: Slot, _: Descriptor) {
        self.adopted = Some(slot);
    }

    fn receive(&mut self, _: Slot) {}

    fn release(&mut self, _: Slot) -> Descriptor {
        unreachable!("guests stay on the shard that accepts them");
    }

    fn discard(&mut self, _: Descriptor) {
        unreachable!("there is room for every connection");
    }

    fn promote(&mut self, _: Slot) {}

    fn pause_reading(&mut self, _: Slot) {}

    fn watch_end(&mut self, _: Slot) {}
    fn resume_reading(&mut self, _: Slot) {}

    fn send_owned(&mut self, slot: Slot, bytes: Vec<u8>) {
        self.owned.push((slot, bytes));
    }

    fn shutdown_write(&mut self, slot: Slot) {
        self.shut.push(slot);
    }

    fn close(&mut self, slot: Slot) {
        self.closed.push(slot);
    }

    /// There are at most two shards, so it is known for whom.
    fn mail(&mut self, _: ShardId, mail: Mail<A>) {
        self.mail.push(mail);
    }

    fn service(&mut self, request: ServiceRequest<A>) -> Result<(), ServiceRequest<A>> {
        Err(request)
    }
}

/// What one turn handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sends {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

impl<'a> Sink<'a> for Sends {
    fn send(&mut self, slot: Slot, pieces: &[&'a [u8]]) {
        self.count += 1;
        self.bytes += pieces.iter().map(|piece| piece.len()).sum::<usize>();
        black_box((slot, pieces));
    }
}

/// Tells who got a send, and of how many bytes.
struct Telling<F>(F);

impl<'a, F: FnMut(Slot, usize)> Sink<'a> for Telling<F> {
    fn send(&mut self, slot: Slot, pieces: &[&'a [u8]]) {
        (self.0)(slot, pieces.iter().map(|piece| piece.len()).sum());
    }
}

/// Takes a half of what it hands to one socket in so many, and all of the rest.
struct Halves<'h> {
    one_in: u32,
    short: &'h mut Vec<(Slot, usize)>,
    sends: Sends,
}

impl<'a> Sink<'a> for Halves<'_> {
    fn send(&mut self, slot: Slot, pieces: &[&'a [u8]]) {
        if slot.0.is_multiple_of(self.one_in) {
            let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
            self.short.push((slot, bytes / 2));
        }
        self.sends.send(slot, pieces);
    }
}

/// One shard and its pretend kernel.
#[derive(Debug)]
pub(crate) struct Bench<A: App> {
    pub(crate) shard: Shard<A>,
    pub(crate) now: Now,
    driver: Driver<A>,
    short: Vec<(Slot, usize)>,
}

/// What a bench's shards share: the defaults, without a limit that guests could reach.
pub(crate) fn shared(shards: u16) -> Arc<Shared> {
    let options = Options {
        connections_per_user_max: 0,
        ..Options::default()
    };
    Shared::new(options, shards, 1)
}

impl<A: App> Bench<A> {
    /// The only shard.
    pub(crate) fn new(app: A) -> Self {
        Self::one_of(&shared(1), ShardId(0), app)
    }

    /// One of several shards.
    pub(crate) fn one_of(shared: &Arc<Shared>, id: ShardId, app: A) -> Self {
        let now = Now {
            monotonic_ms: 0,
            unix_ms: 1_700_000_000_000,
        };
        Self {
            shard: Shard::new(id, Arc::clone(shared), app, 1 << 20, now, 1),
            now,
            driver: Driver::default(),
            short: Vec::new(),
        }
    }

    pub(crate) fn handle(&mut self, event: Event<'_, A>) {
        self.shard.handle(self.now, event, &mut self.driver);
    }

    pub(crate) fn receive(&mut self, slot: Slot, bytes: &mut [u8]) {
        self.handle(Event::Received { slot, bytes });
    }

    /// Ends a turn, with every send taken whole.
    pub(crate) fn turn(&mut self) -> Sends {
        let mut sends = Sends::default();
        self.shard.prepare(&mut self.driver);
        self.shard.flush(&mut sends);
        self.shard.flushed(&mut self.driver);
        sends
    }

    /// Ends a turn in which one socket in `one_in` takes only half of what it is sent, and then the
    /// rest: the next turn finds it ready, and behind.
    pub(crate) fn turn_short(&mut self, one_in: u32) -> Sends {
        let mut halves = Halves {
            one_in,
            short: &mut self.short,
            sends: Sends::default(),
        };
        self.shard.prepare(&mut self.driver);
        self.shard.flush(&mut halves);
        let sends = halves.sends;
        for (slot, taken) in self.short.drain(..) {
            self.shard.short(slot, taken, &mut self.driver);
        }
        self.shard.flushed(&mut self.driver);
        while let Some((slot, buffer)) = self.driver.owned.pop() {
            self.handle(Event::Sent { slot, buffer });
        }
        sends
    }

    /// What the shard has mailed to the other one since this was last asked.
    pub(crate) fn take_mail(&mut self) -> impl Iterator<Item = Mail<A>> {
        self.driver.mail.drain(..)
    }

    /// Takes in mail.
    pub(crate) fn take_in(&mut self, mail: impl Iterator<Item = Mail<A>>) {
        mail.for_each(|mail| self.handle(Event::Mail(mail)));
    }

    /// Ends a turn; `slots` is filled with those that were sent something.
    pub(crate) fn turn_telling(&mut self, slots: &mut Vec<Slot>) {
        slots.clear();
        self.turn_seeing(|slot, _| slots.push(slot));
    }

    /// Ends a turn, and tells who was sent how many bytes.
    pub(crate) fn turn_seeing(&mut self, sent: impl FnMut(Slot, usize)) {
        self.shard.prepare(&mut self.driver);
        self.shard.flush(&mut Telling(sent));
        self.shard.flushed(&mut self.driver);
    }

    /// Accepts a socket and receives its request head; the 101 is on its way out.
    pub(crate) fn connect(&mut self) -> Slot {
        let mut head = [0; HEAD.len()];
        head.copy_from_slice(HEAD);
        self.connect_by(&mut head)
    }

    /// The same with another request target than `/ws`.
    pub(crate) fn connect_to(&mut self, target: &str) -> Slot {
        let rest = HEAD.strip_prefix(b"GET /ws").expect("so it begins");
        self.connect_by(&mut [b"GET ", target.as_bytes(), rest].concat())
    }

    fn connect_by(&mut self, head: &mut [u8]) -> Slot {
        self.handle(Event::Accepted {
            descriptor: Descriptor::plain(3),
            peer: SocketAddr::from(([127, 0, 0, 1], 40_000)),
        });
        let slot = self.driver.adopted.take().expect("the socket was adopted");
        self.receive(slot, head);
        slot
    }

    /// Opens `count` connections, `per_second` in each second of the pretend clock.
    pub(crate) fn open(&mut self, count: usize, per_second: usize) -> Vec<Slot> {
        let slots: Vec<Slot> = (0..count)
            .map(|index| {
                if index > 0 && index % per_second == 0 {
                    self.now = self.now.after(Duration::from_secs(1));
                }
                let slot = self.connect();
                self.turn();
                slot
            })
            .collect();
        assert_eq!(self.shard.open_count(), count);
        slots
    }

    /// One connection from accept to free slot; `close` is its client's close frame.
    pub(crate) fn come_and_go(&mut self, close: &mut [u8]) {
        let slot = self.connect();
        self.turn();
        self.receive(slot, close);
        self.turn();
        self.finish_closing();
    }

    /// Does what the far end and the kernel do once a connection is half-closed or closed.
    pub(crate) fn finish_closing(&mut self) {
        while let Some(slot) = self.driver.shut.pop() {
            self.handle(Event::EndOfStream { slot });
        }
        while let Some(slot) = self.driver.closed.pop() {
            self.handle(Event::Released { slot });
        }
    }
}
