//! A [`TestServer`] with clients that are numbers, and words for what these tests do most.

use std::cell::Ref;
use std::time::Duration;

use serde_json::{Value, json};

use crate::realtime::{Realtime, RealtimeOptions};
use crate::shard::Options;
use crate::testing::{self, Refused, TestServer};

/// A client of a [`World`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Client(usize);

/// What came of a client's request.
struct Far {
    outcome: Result<testing::Client, Refused>,
    /// Its close frame has been seen.
    is_closed: bool,
}

pub(super) struct World {
    server: TestServer,
    far: Vec<Far>,
}

impl World {
    /// Shards with the given options and handlers besides, and any number of connections per user.
    pub(super) fn new(
        shards: u16,
        options: RealtimeOptions,
        adapt: impl Fn(Realtime) -> Realtime + 'static,
    ) -> Self {
        let core = Options {
            connections_per_user_max: 0,
            compression: None,
            ..Options::default()
        };
        let builder = TestServer::builder().shards(shards).options(options);
        Self {
            server: builder.core_options(core).adapt(adapt).start(),
            far: Vec::new(),
        }
    }

    /// The first of `name-0`, `name-1`, … that is at home on `shard`.
    pub(super) fn at_home(&self, name: &str, shard: u16) -> String {
        self.server.name_at(name, shard)
    }

    /// The shard that a room is at home on.
    pub(super) fn home(&self, room: &str) -> u16 {
        self.server.home(room)
    }

    /// Whether spawned work finds no room on the service thread.
    pub(super) fn refuse_spawned_work(&self, is_refused: bool) {
        self.server.refuse_spawned_work(is_refused);
    }

    /// Sends a request for an upgrade, with further lines of its head.
    pub(super) fn request(&mut self, target: &str, fields: &str) -> Client {
        let fields: Vec<_> = fields.lines().filter_map(|f| f.split_once(": ")).collect();
        self.far.push(Far {
            outcome: self.server.connect_to(target, &fields),
            is_closed: false,
        });
        Client(self.far.len() - 1)
    }

    /// Connects a user, who must be let in.
    pub(super) fn connect(&mut self, user: &str) -> Client {
        self.far.push(Far {
            outcome: Ok(self.server.connect(user)),
            is_closed: false,
        });
        Client(self.far.len() - 1)
    }

    /// Connects a user and forgets what comes first.
    pub(super) fn enter(&mut self, user: &str) -> Client {
        let client = self.connect(user);
        assert_eq!(self.next(client)["type"], "connection-status");
        client
    }

    /// The HTTP response that a client got: its head, and the body of a refusal.
    pub(super) fn head(&mut self, client: Client) -> String {
        match &self.far[client.0].outcome {
            Ok(client) => client.response_head(),
            Err(refused) => format!("{}{}", refused.head, refused.body),
        }
    }

    /// Sends a text and lets things happen.
    pub(super) fn say(&mut self, client: Client, text: &str) {
        self.client(client).send(text);
    }

    /// Sends bytes and lets things happen.
    pub(super) fn say_bytes(&mut self, client: Client, bytes: &[u8]) {
        self.client(client).send(bytes);
    }

    /// Sends a text; what follows from it waits for [`World::run`].
    pub(super) fn say_only(&mut self, client: Client, text: &str) {
        self.client(client).write(text);
    }

    /// The client is gone without a word; things happen.
    pub(super) fn leave(&mut self, client: Client) {
        self.client(client).disconnect();
    }

    pub(super) fn leave_only(&mut self, client: Client) {
        self.client(client).hang_up();
    }

    /// Lets a number of seconds pass.
    pub(super) fn pass(&mut self, seconds: u64) {
        self.server.advance(Duration::from_secs(seconds));
    }

    /// Lets things happen.
    pub(super) fn run(&mut self) {
        self.server.run();
    }

    /// Takes all text messages that a client has got; a close frame is `{"close": code}`.
    pub(super) fn all(&mut self, client: Client) -> Vec<Value> {
        let mut all = self.client(client).receive_all();
        let closed = self.client(client).closed();
        let far = &mut self.far[client.0];
        if let Some((code, _)) = closed.filter(|_| !far.is_closed) {
            far.is_closed = true;
            all.push(json!({"close": code}));
        }
        all
    }

    /// Takes the messages of one type, and forgets the others.
    pub(super) fn of_type(&mut self, client: Client, message_type: &str) -> Vec<Value> {
        self.client(client).receive_all_of(message_type)
    }

    /// Takes the first message, and forgets the others.
    pub(super) fn next(&mut self, client: Client) -> Value {
        let mut all = self.all(client);
        assert!(!all.is_empty(), "{client:?} has got nothing");
        all.remove(0)
    }

    /// Forgets what all clients have got.
    pub(super) fn forget(&mut self) {
        self.server.forget();
    }

    pub(super) fn app(&self, shard: u16) -> Ref<'_, Realtime> {
        self.server.app(shard)
    }

    /// Disconnects everybody and checks that nothing is left.
    pub(super) fn end(self) {
        self.server.end();
        // Rooms are removed when nobody has been there for a minute.
        self.server.advance(Duration::from_secs(62));
        for shard in 0..self.server.shard_count() {
            assert_eq!(self.app(shard).stats().rooms, 0);
        }
    }

    fn client(&self, client: Client) -> &testing::Client {
        let outcome = self.far[client.0].outcome.as_ref();
        outcome.expect("a client that was let in")
    }
}
