//! The server in a test's hand.

use std::cell::{Ref, RefCell};
use std::fmt::{self, Write as _};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use serde_json::Value;

use super::work::StillWaiting;
use super::world::{BEGINNING, World};
use super::{Client, Refused};
use crate::auth::Gate;
use crate::id::ShardId;
use crate::metrics::Counters;
use crate::realtime::{Handler, Mail, Realtime, RealtimeOptions};
use crate::shard::{self, Context, Options};
use crate::store::{Store, StoreOptions};
use crate::time::Now;

/// Longest time that presence may hold on to users who are gone, for [`TestServer::end`].
const FAREWELL: Duration = Duration::from_secs(600);

/// Sets up a [`TestServer`].
pub struct Builder {
    shards: u16,
    seed: u64,
    begin: Now,
    options: RealtimeOptions,
    gate: Gate,
    core: Options,
    store: Option<StoreOptions>,
    adapt: Vec<Box<dyn Fn(Realtime) -> Realtime>>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shards, seed, .. } = self;
        write!(f, "Builder({shards} shards, seed {seed})")
    }
}

impl Builder {
    /// How many shards there are, two by default. With more than one, users, rooms and handlers are on
    /// different shards as they are in production.
    #[must_use]
    pub fn shards(mut self, shards: u16) -> Self {
        self.shards = shards;
        self
    }

    /// What the homes of users and rooms, and all random numbers and identifiers, follow from.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// When the server's time begins, milliseconds since 1970 UTC, in place of 2026-11-21 at 02:00.
    #[must_use]
    pub fn unix_ms(mut self, unix_ms: u64) -> Self {
        self.begin.unix_ms = unix_ms;
        self
    }

    /// Keeps persistent rooms in a store, which needs its thread and a disk: see
    /// [`StoreFolder`](super::StoreFolder). What is stored has been by the time that
    /// [`Client::send`](super::Client::send) returns.
    ///
    /// For a server on the store of another that has [stopped](TestServer::stop), give it another
    /// [`seed`](Builder::seed) and a [later time](Builder::unix_ms): two that begin alike give their
    /// messages the same identifiers.
    #[must_use]
    pub fn store(mut self, options: StoreOptions) -> Self {
        self.store = Some(options);
        self
    }

    /// Who is let in, in place of a gate that believes everybody: with another
    /// [`TestServer::connect`] is not believed.
    #[must_use]
    pub fn gate(mut self, gate: Gate) -> Self {
        self.gate = gate;
        self
    }

    /// The options of the application, in place of the defaults.
    #[must_use]
    pub fn options(mut self, options: RealtimeOptions) -> Self {
        self.options = options;
        self
    }

    /// The options of the core, in place of the defaults. Clients offer no compression, whatever they
    /// say.
    #[must_use]
    pub fn core_options(mut self, options: Options) -> Self {
        self.core = options;
        self
    }

    /// Adds a handler: `make` is called once for each shard.
    #[must_use]
    pub fn handler<H: Handler>(self, make: impl Fn() -> H + 'static) -> Self {
        self.adapt(move |realtime| realtime.with(make()))
    }

    /// Adapts each shard's instance of the application, as it is done where the server is made.
    #[must_use]
    pub fn adapt(mut self, adapt: impl Fn(Realtime) -> Realtime + 'static) -> Self {
        self.adapt.push(Box::new(adapt));
        self
    }

    /// The server, without a client.
    ///
    /// Panics if there are no shards, if the store cannot be opened, or where [`Realtime::new`] does.
    pub fn start(self) -> TestServer {
        assert!(self.shards > 0, "a server has a shard");
        let options = Arc::new(self.options);
        let store = self.store.map(|options| match Store::open(&options) {
            Ok(store) => store,
            Err(error) => panic!("{error}"),
        });
        let gate = Arc::new(self.gate);
        let of_shards = store.as_ref().map(|(store, _)| store.clone());
        let app = || {
            let realtime = match &of_shards {
                Some(store) => Realtime::with_store(Arc::clone(&options), store.clone()),
                None => Realtime::new(Arc::clone(&options)),
            };
            let realtime = realtime.with_gate(Arc::clone(&gate));
            self.adapt.iter().fold(realtime, |app, adapt| adapt(app))
        };
        let world = World::new(self.shards, self.core, (self.seed, self.begin), store, app);
        TestServer {
            world: Rc::new(RefCell::new(world)),
        }
    }
}

/// A server in the test's own thread. Clones are the same server.
///
/// A handler must not use the server or a client that it runs in: that panics.
#[derive(Clone)]
pub struct TestServer {
    world: Rc<RefCell<World>>,
}

impl fmt::Debug for TestServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.world.try_borrow() {
            Ok(world) => {
                let (shards, clients) = (world.nodes.len(), world.peers.len());
                write!(f, "TestServer({shards} shards, {clients} clients)")
            }
            Err(_) => f.write_str("TestServer(at work)"),
        }
    }
}

impl TestServer {
    /// A server of two shards that believes who its clients say they are, with the handlers that come
    /// with Campanile, to be added to.
    pub fn builder() -> Builder {
        Builder {
            shards: 2,
            seed: 7,
            begin: BEGINNING,
            options: RealtimeOptions::default(),
            gate: Gate::trusting(),
            core: Options {
                compression: None,
                ..Options::default()
            },
            store: None,
            adapt: Vec::new(),
        }
    }

    /// Connects a user to `/ws`.
    ///
    /// Panics if the server refuses.
    #[track_caller]
    pub fn connect(&self, user: &str) -> Client {
        match self.connect_to(&format!("/ws?user_id={}", percent_encoded(user)), &[]) {
            Ok(client) => client,
            Err(refused) => panic!("{user} is refused: {} {}", refused.status, refused.body),
        }
    }

    /// Sends a request for an upgrade, with the header fields besides those of the handshake, and lets
    /// all happen that follows from it. Work that the answer needs is waited for.
    ///
    /// Errors: the server's refusal.
    /// Panics if there is no answer.
    #[track_caller]
    pub fn connect_to(&self, target: &str, headers: &[(&str, &str)]) -> Result<Client, Refused> {
        let mut request = format!(
            "GET {target} HTTP/1.1\r\nHost: localhost:8080\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        for (name, value) in headers {
            let _ = write!(request, "{name}: {value}\r\n");
        }
        request.push_str("\r\n");
        let number = self.world.borrow_mut().accept(request.into_bytes());
        self.run();
        while self.world.borrow().peers[number].head.is_none() {
            let waited = self.world.borrow_mut().wait();
            match waited {
                Ok(true) => {}
                Ok(false) => panic!("the upgrade of {target} was not answered"),
                Err(waiting) => panic!("the upgrade of {target} waits: {waiting}"),
            }
        }
        let world = self.world.borrow();
        let peer = &world.peers[number];
        if !peer.is_upgraded() {
            return Err(refused(
                peer.head.as_deref().unwrap_or_default(),
                &peer.bytes,
            ));
        }
        Ok(Client {
            world: Rc::clone(&self.world),
            number,
        })
    }

    /// Lets all happen that follows from what clients have [written](Client::write).
    pub fn run(&self) {
        self.world.borrow_mut().run();
    }

    /// Lets time pass, for the server as for timers in spawned work: second by second, and all that
    /// happens in it. Whole milliseconds.
    pub fn advance(&self, elapsed: Duration) {
        self.world.borrow_mut().advance(elapsed);
    }

    /// The server's time: milliseconds since 1970 UTC. It begins on 2026-11-21 at 02:00 UTC.
    pub fn unix_ms(&self) -> u64 {
        self.world.borrow().now.unix_ms
    }

    /// Has the service thread's queue count as full, or not any more: what handlers spawn is refused
    /// meanwhile, as it is by a real server that is behind.
    pub fn refuse_spawned_work(&self, is_refused: bool) {
        self.world.borrow_mut().refuse_work(is_refused);
    }

    /// Waits until all spawned work has ended and its answers have had their effect.
    ///
    /// Panics if some has not in ten seconds of real time: it may wait for a timer, which only
    /// [`advance`](TestServer::advance) lets pass.
    #[track_caller]
    pub fn finish_work(&self) {
        loop {
            let waited = self.world.borrow_mut().wait();
            match waited {
                Ok(true) => {}
                Ok(false) => return,
                Err(waiting) => panic!("{waiting}"),
            }
        }
    }

    /// Passes over all messages that lie with the clients.
    pub fn forget(&self) {
        let mut world = self.world.borrow_mut();
        world
            .peers
            .iter_mut()
            .for_each(|peer| peer.messages.clear());
    }

    /// A shard's instance of the application: for its `stats` and `members`. To be let go of before
    /// the server or a client is used again.
    ///
    /// Panics if there is no such shard.
    pub fn app(&self, shard: u16) -> Ref<'_, Realtime> {
        let shard = usize::from(shard);
        Ref::map(self.world.borrow(), |world| world.nodes[shard].shard.app())
    }

    /// What all shards have counted.
    pub fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        let world = self.world.borrow();
        let each = world.nodes.iter().map(|node| node.shard.counters());
        each.for_each(|shard| counters.merge(shard));
        counters
    }

    /// How many shards there are.
    pub fn shard_count(&self) -> u16 {
        let count = self.world.borrow().nodes.len();
        u16::try_from(count).expect("set as a u16")
    }

    /// The shard where a user's connections are, or where a room is decided about.
    pub fn home(&self, name: &str) -> u16 {
        self.world.borrow().shared.placement.home(name).0
    }

    /// The first of `name-0`, `name-1`, … that is at home on `shard`: for users and rooms that are to
    /// be on the same shard, or on different ones.
    ///
    /// Panics if there is no such shard.
    pub fn name_at(&self, name: &str, shard: u16) -> String {
        assert!(shard < self.shard_count(), "there is no shard {shard}");
        let mut names = (0..).map(|number: u64| format!("{name}-{number}"));
        let found = names.find(|name| self.home(name) == shard);
        found.expect("every shard is some name's home")
    }

    /// Runs `work` on a shard between two events, as
    /// [`ServerHandle::ask`](crate::ServerHandle::ask) does, and lets all happen that follows from it.
    ///
    /// Panics if there is no such shard.
    pub fn ask<T: Send + 'static>(
        &self,
        shard: u16,
        work: impl FnOnce(&mut Realtime, &mut Context<'_, Realtime>) -> T + Send + 'static,
    ) -> T {
        let (answer, answered) = mpsc::channel();
        let run = shard::Mail::Run(Box::new(move |app: &mut _, context: &mut _| {
            // The receiver waits below.
            let _ = answer.send(work(app, context));
        }));
        self.post(shard, run);
        answered.recv().expect("a shard runs what it is mailed")
    }

    /// Mails a shard's instance of the application, as a server's handle does, and lets all happen that
    /// follows from it.
    ///
    /// Panics if there is no such shard.
    pub fn mail(&self, shard: u16, mail: Mail) {
        self.post(shard, shard::Mail::App(mail));
    }

    /// Disconnects everybody who is there, waits until their users have left their rooms, and checks
    /// that the server holds nothing: no connection, subscription or member. A good last line of a
    /// test.
    ///
    /// Panics if anything is left, or where [`finish_work`](TestServer::finish_work) does.
    #[track_caller]
    pub fn end(&self) {
        let mut world = self.world.borrow_mut();
        world.peers.iter_mut().for_each(|peer| peer.vanish());
        world.run();
        drop(world);
        self.finish_work();
        let mut world = self.world.borrow_mut();
        let is_empty = |world: &World| {
            let mut apps = world.nodes.iter().map(|node| node.shard.app());
            apps.all(|app| app.stats().members == 0)
        };
        let end = world.now.after(FAREWELL).monotonic_ms;
        while !is_empty(&world) {
            assert!(
                world.now.monotonic_ms < end,
                "rooms have members who are gone"
            );
            world.advance(Duration::from_secs(1));
        }
        world
            .nodes
            .iter()
            .for_each(|node| node.shard.assert_quiet());
    }

    /// Ends the store, and so what the server is good for: as when a process is killed, nobody is told,
    /// and what was on its way to the store may be in it. Another server may have the store then.
    pub fn stop(self) {
        self.world.borrow_mut().stop_store();
    }

    fn post(&self, shard: u16, mail: shard::Mail<Realtime>) {
        assert!(shard < self.shard_count(), "there is no shard {shard}");
        let mut world = self.world.borrow_mut();
        world.mail(ShardId(shard), mail);
        world.run();
    }
}

impl fmt::Display for StillWaiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "work that a handler has spawned has not ended in ten seconds; timers pass by `advance` only",
        )
    }
}

fn refused(head: &str, body: &[u8]) -> Refused {
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let body = match body {
        [] => Value::Null,
        body => serde_json::from_slice(body).expect("the body of a refusal is JSON"),
    };
    Refused {
        status: status.expect("a response has a status"),
        head: head.to_owned(),
        body,
    }
}

/// RFC 3986 section 2.1.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(byte.into());
            }
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}
