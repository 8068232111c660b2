//! Shards without a kernel: a few of them, their mail carried by hand, and clients made of bytes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures_util::FutureExt;
use serde_json::Value;

use crate::id::{ShardId, Slot};
use crate::realtime::{Realtime, RealtimeOptions};
use crate::shard::{Descriptor, Event, Mail, Options, Outbox, ServiceRequest, Shard, Shared, Sink};
use crate::time::Now;
use crate::ws::{Header, MaskingKey, Opcode, client_frame_into};

/// What a client has got.
#[derive(Default)]
struct Far {
    bytes: Vec<u8>,
    /// The shard and slot of its socket, while there is one.
    place: Option<(usize, Slot)>,
    request: Vec<u8>,
}

/// One shard's driver.
#[derive(Default)]
struct Driver {
    sockets: BTreeMap<Slot, i32>,
    mail: Vec<(ShardId, Mail<Realtime>)>,
    wanted: Vec<Slot>,
    closed: Vec<Slot>,
    sent: Vec<(i32, Vec<u8>)>,
}

impl Outbox<Realtime> for Driver {
    fn adopt(&mut self, slot: Slot, descriptor: Descriptor) {
        self.sockets.insert(slot, descriptor.0);
    }
    fn receive(&mut self, slot: Slot) {
        self.wanted.push(slot);
    }
    fn release(&mut self, slot: Slot) -> Descriptor {
        Descriptor(self.sockets.remove(&slot).expect("it was adopted"))
    }
    fn discard(&mut self, _: Descriptor) {}
    fn promote(&mut self, _: Slot) {}
    fn pause_reading(&mut self, _: Slot) {}
    fn resume_reading(&mut self, _: Slot) {}
    fn send_owned(&mut self, slot: Slot, bytes: Vec<u8>) {
        self.sent.push((self.sockets[&slot], bytes));
    }
    fn shutdown_write(&mut self, slot: Slot) {
        self.closed.push(slot);
    }
    fn close(&mut self, slot: Slot) {
        self.closed.push(slot);
    }
    fn mail(&mut self, to: ShardId, mail: Mail<Realtime>) {
        self.mail.push((to, mail));
    }
    fn service(
        &mut self,
        request: ServiceRequest<Realtime>,
    ) -> Result<(), ServiceRequest<Realtime>> {
        let ServiceRequest::Spawn(work) = request else {
            panic!("no plain HTTP here");
        };
        let mail = work.now_or_never().expect("the test's work does not wait");
        self.mail.push((ShardId(u16::MAX), mail));
        Ok(())
    }
}

struct Collect<'s>(&'s mut Vec<(Slot, Vec<u8>)>);

impl<'a> Sink<'a> for Collect<'_> {
    fn send(&mut self, slot: Slot, pieces: &[&'a [u8]]) {
        self.0.push((slot, pieces.concat()));
    }
}

/// A client of a [`World`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Client(usize);

pub(super) struct World {
    shards: Vec<(Shard<Realtime>, Driver)>,
    shared: Arc<Shared>,
    far: Vec<Far>,
    mail: VecDeque<(ShardId, Mail<Realtime>)>,
    pub(super) now: Now,
}

impl World {
    /// Shards whose users are believed, with the given options and handlers besides.
    pub(super) fn new(
        shards: u16,
        options: RealtimeOptions,
        adapt: impl Fn(Realtime) -> Realtime,
    ) -> Self {
        let core = Options {
            connections_per_user_max: 0,
            compression: None,
            ..Options::default()
        };
        let shared = Shared::new(core, shards, 7);
        let now = Now {
            monotonic_ms: 5_000,
            unix_ms: 1_795_226_400_000,
        };
        let options = Arc::new(options);
        let shard = |id| {
            let app = adapt(Realtime::new(Arc::clone(&options)));
            let shard = Shard::new(ShardId(id), Arc::clone(&shared), app, 4096, now, 1);
            (shard, Driver::default())
        };
        Self {
            shards: (0..shards).map(shard).collect(),
            shared,
            far: Vec::new(),
            mail: VecDeque::new(),
            now,
        }
    }

    /// The first of `name-0`, `name-1`, … that is at home on `shard`.
    pub(super) fn at_home(&self, name: &str, shard: u16) -> String {
        let mut names = (0..).map(|number| format!("{name}-{number}"));
        let home = |name: &String| self.shared.placement.home(name) == ShardId(shard);
        names.find(home).expect("there are enough names")
    }

    /// Sends a request for an upgrade and lets things happen.
    pub(super) fn request(&mut self, target: &str, fields: &str) -> Client {
        let client = Client(self.far.len());
        let request = format!(
            "GET {target} HTTP/1.1\r\nhost: localhost:8080\r\nupgrade: websocket\r\n\
             connection: upgrade\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
        );
        self.far.push(Far {
            request: request.into_bytes(),
            ..Far::default()
        });
        let event = Event::Accepted {
            descriptor: Descriptor(i32::try_from(client.0).unwrap()),
            peer: "127.0.0.1:1".parse().unwrap(),
        };
        let (shard, driver) = &mut self.shards[0];
        shard.handle(self.now, event, driver);
        self.run();
        client
    }

    /// Connects a user, who must be let in.
    pub(super) fn connect(&mut self, user: &str) -> Client {
        let client = self.request(&format!("/ws?user_id={user}"), "");
        let head = self.head(client);
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        client
    }

    /// Connects a user and passes over what comes first.
    pub(super) fn enter(&mut self, user: &str) -> Client {
        let client = self.connect(user);
        assert_eq!(self.next(client)["type"], "connection-status");
        client
    }

    /// Takes the HTTP response out of what a client got: its head, and the body of a refusal.
    pub(super) fn head(&mut self, client: Client) -> String {
        let bytes = &mut self.far[client.0].bytes;
        let end = memchr::memmem::find(bytes, b"\r\n\r\n").expect("a response") + 4;
        let head: Vec<u8> = bytes.drain(..end).collect();
        let mut head = String::from_utf8(head).unwrap();
        if !head.starts_with("HTTP/1.1 101") {
            head.push_str(&String::from_utf8(std::mem::take(bytes)).unwrap());
        }
        head
    }

    /// Sends a text and lets things happen.
    pub(super) fn say(&mut self, client: Client, text: &str) {
        self.say_only(client, text);
        self.run();
    }

    /// Sends a text; what follows from it waits for [`World::run`].
    pub(super) fn say_only(&mut self, client: Client, text: &str) {
        self.send(client, Opcode::Text, text.as_bytes());
    }

    pub(super) fn send(&mut self, client: Client, opcode: Opcode, payload: &[u8]) {
        let mut bytes = Vec::new();
        let header = Header {
            key: Some(MaskingKey([1, 2, 3, 4])),
            ..Header::whole(opcode, payload.len())
        };
        client_frame_into(&mut bytes, header, payload);
        let (index, slot) = self.far[client.0].place.expect("connected");
        let (shard, driver) = &mut self.shards[index];
        let event = Event::Received {
            slot,
            bytes: &mut bytes,
        };
        shard.handle(self.now, event, driver);
    }

    /// The client is gone without a word; things happen.
    pub(super) fn leave(&mut self, client: Client) {
        self.leave_only(client);
        self.run();
    }

    pub(super) fn leave_only(&mut self, client: Client) {
        let (index, slot) = self.far[client.0].place.take().expect("connected");
        let (shard, driver) = &mut self.shards[index];
        shard.handle(self.now, Event::EndOfStream { slot }, driver);
    }

    /// Lets a number of seconds pass.
    pub(super) fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now = self.now.after(std::time::Duration::from_secs(1));
            for (shard, driver) in &mut self.shards {
                shard.handle(self.now, Event::Tick, driver);
            }
            self.run();
        }
    }

    /// Runs turns until nothing is left to do.
    pub(super) fn run(&mut self) {
        loop {
            let mut is_busy = false;
            for index in 0..self.shards.len() {
                is_busy |= self.turn(index);
            }
            if !is_busy && self.mail.is_empty() {
                return;
            }
        }
    }

    fn turn(&mut self, index: usize) -> bool {
        let Self {
            shards, far, now, ..
        } = self;
        let (shard, driver) = &mut shards[index];
        let id = ShardId(u16::try_from(index).unwrap());
        let mut is_busy = false;
        let (mine, others) = self.mail.drain(..).partition(|(to, _)| *to == id);
        self.mail = others;
        let mine: VecDeque<_> = mine;
        for (_, mail) in mine {
            is_busy = true;
            shard.handle(*now, Event::Mail(mail), driver);
        }
        for slot in std::mem::take(&mut driver.wanted) {
            let Some(&number) = driver.sockets.get(&slot) else {
                continue;
            };
            let mut bytes = std::mem::take(&mut far[usize::try_from(number).unwrap()].request);
            if !bytes.is_empty() {
                is_busy = true;
                let bytes = &mut bytes[..];
                shard.handle(*now, Event::Received { slot, bytes }, driver);
            }
        }
        shard.prepare(driver);
        let mut sends = Vec::new();
        shard.flush(&mut Collect(&mut sends));
        shard.flushed(driver);
        let sends = sends
            .into_iter()
            .map(|(slot, bytes)| (driver.sockets[&slot], bytes));
        for (number, bytes) in sends.chain(std::mem::take(&mut driver.sent)) {
            is_busy = true;
            far[usize::try_from(number).unwrap()].bytes.extend(bytes);
        }
        for slot in std::mem::take(&mut driver.closed) {
            is_busy = true;
            shard.handle(*now, Event::EndOfStream { slot }, driver);
            if driver.closed.contains(&slot) {
                continue;
            }
            if driver.sockets.remove(&slot).is_some() {
                shard.handle(*now, Event::Released { slot }, driver);
            }
        }
        for (&slot, &number) in &driver.sockets {
            far[usize::try_from(number).unwrap()].place = Some((index, slot));
        }
        for (to, mail) in driver.mail.drain(..) {
            let to = if to == ShardId(u16::MAX) { id } else { to };
            is_busy = true;
            self.mail.push_back((to, mail));
        }
        is_busy
    }

    /// Takes all text messages that a client has got; a close frame is `{"close": code}`.
    pub(super) fn all(&mut self, client: Client) -> Vec<Value> {
        let mut found = Vec::new();
        let bytes = std::mem::take(&mut self.far[client.0].bytes);
        let mut rest = &bytes[..];
        while let [first, length, after @ ..] = rest {
            let (length, after) = match length {
                126 => (
                    usize::from(u16::from_be_bytes([after[0], after[1]])),
                    &after[2..],
                ),
                127 => {
                    let length = u64::from_be_bytes(after[..8].try_into().unwrap());
                    (usize::try_from(length).unwrap(), &after[8..])
                }
                &short => (usize::from(short), after),
            };
            let (payload, after) = after.split_at(length);
            rest = after;
            match first & 0x0F {
                1 => found.push(serde_json::from_slice(payload).expect("we send JSON")),
                8 => found.push(
                    serde_json::json!({"close": u16::from_be_bytes([payload[0], payload[1]])}),
                ),
                opcode => panic!("unexpected opcode {opcode}"),
            }
        }
        found
    }

    /// Takes the messages of one type, and forgets the others.
    pub(super) fn of_type(&mut self, client: Client, message_type: &str) -> Vec<Value> {
        let mut all = self.all(client);
        all.retain(|message| message["type"] == message_type);
        all
    }

    /// Takes the first message, and forgets the others.
    pub(super) fn next(&mut self, client: Client) -> Value {
        let mut all = self.all(client);
        assert!(!all.is_empty(), "{client:?} has got nothing");
        all.remove(0)
    }

    /// Forgets what all clients have got.
    pub(super) fn forget(&mut self) {
        for far in &mut self.far {
            far.bytes.clear();
        }
    }

    pub(super) fn app(&self, shard: u16) -> &Realtime {
        self.shards[usize::from(shard)].0.app()
    }

    /// Disconnects everybody and checks that nothing is left.
    pub(super) fn end(mut self) {
        for client in (0..self.far.len()).map(Client) {
            let place = self.far[client.0].place;
            let is_there = |(index, slot): (usize, Slot)| {
                let number = i32::try_from(client.0).unwrap();
                self.shards[index].1.sockets.get(&slot) == Some(&number)
            };
            if place.is_some_and(is_there) {
                self.leave(client);
            }
        }
        self.run();
        for (shard, _) in &self.shards {
            shard.assert_quiet();
            let stats = shard.app().stats();
            assert_eq!((stats.rooms, stats.members), (0, 0));
        }
    }
}
