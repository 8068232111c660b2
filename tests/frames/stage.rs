//! A server, the clients of one profile on it, and all that they are sent.

use std::cell::Cell;
use std::rc::Rc;

use campanile::auth::Gate;
use campanile::realtime::protocol::{Message, Profile};
use campanile::realtime::{
    Create, Ctx, Handler, HandlerError, HistoryOptions, LimitOptions, Namespace, RealtimeOptions,
    handlers::{Method, Params, Rpc},
};
use campanile::shard::Options;
use campanile::testing::{Client, Payload, Received, Refused, TestServer};
use serde_json::{Value, json};

/// A frame that a client of a profile was sent: its text, or the envelope of a binary message.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) profile: Profile,
    /// The client's user.
    pub(crate) to: String,
    pub(crate) value: Value,
}

/// A server and clients of one profile.
pub(crate) struct Stage {
    pub(crate) profile: Profile,
    pub(crate) server: TestServer,
    players: Vec<Player>,
    collected: Vec<Frame>,
}

/// A client and its user.
#[derive(Clone)]
pub(crate) struct Player {
    user: String,
    client: Client,
    has_left: Rc<Cell<bool>>,
}

/// What the last sentinel is answered with.
const END: &str = "the end";

impl Stage {
    /// With rooms of all kinds that need no store.
    pub(crate) fn new(profile: Profile) -> Self {
        Self::with(profile, |options| {
            options.limits = LimitOptions::without_rates();
        })
    }

    pub(crate) fn with(profile: Profile, adapt: impl FnOnce(&mut RealtimeOptions)) -> Self {
        Self::behind(profile, Gate::trusting(), adapt)
    }

    /// With a gate that does not believe everybody.
    pub(crate) fn behind(
        profile: Profile,
        gate: Gate,
        adapt: impl FnOnce(&mut RealtimeOptions),
    ) -> Self {
        let mut options = RealtimeOptions {
            namespaces: vec![
                Namespace {
                    pattern: "flash*".into(),
                    history: HistoryOptions {
                        size: 0,
                        ..HistoryOptions::default()
                    },
                    ..Namespace::default()
                },
                Namespace {
                    pattern: "made*".into(),
                    create: Create::ApiOnly,
                    ..Namespace::default()
                },
                Namespace {
                    pattern: "two*".into(),
                    members_max: 2,
                    ..Namespace::default()
                },
            ],
            ..RealtimeOptions::default()
        };
        adapt(&mut options);
        let core = Options {
            compression: None,
            topic_window_bytes: 64 << 10,
            queue_bytes_max: 256 << 10,
            ..Options::default()
        };
        let builder = TestServer::builder()
            .options(options)
            .core_options(core)
            .gate(gate);
        let builder = builder.handler(|| Failing).adapt(|realtime| {
            let rpc = Rpc::default().method(Slow);
            realtime.with(rpc)
        });
        Self {
            profile,
            server: builder.start(),
            players: Vec::new(),
            collected: Vec::new(),
        }
    }

    /// Connects a user to the profile's own path; in the profile `room` that is the room `kitchen`'s.
    pub(crate) fn enter(&mut self, user: &str, roles: &str) -> Player {
        let path = match self.profile {
            Profile::V1 => "/v1/connect",
            Profile::Room => "/ws/kitchen",
            Profile::Message => "/api/v1/ws",
            Profile::Flat => "/ws",
        };
        self.enter_by(&format!("{path}?"), user, roles)
            .expect("the client is let in")
    }

    /// Connects a user to a target that ends in `?` or `&`.
    pub(crate) fn enter_by(
        &mut self,
        target: &str,
        user: &str,
        roles: &str,
    ) -> Result<Player, Box<Refused>> {
        let target = format!(
            "{target}profile={}&user_id={user}&roles={roles}",
            self.profile
        );
        self.enter_with(&target, user, &[])
    }

    /// Connects a client with further header fields.
    pub(crate) fn enter_with(
        &mut self,
        target: &str,
        user: &str,
        fields: &[(&str, &str)],
    ) -> Result<Player, Box<Refused>> {
        let fields = [&[("Origin", "http://localhost:8080")], fields].concat();
        let client = self.server.connect_to(target, &fields).map_err(Box::new)?;
        let player = Player {
            user: user.into(),
            client,
            has_left: Rc::default(),
        };
        self.players.push(player.clone());
        Ok(player)
    }

    /// All that the clients have been sent since the last time, each one's in its order.
    pub(crate) fn collect(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        for player in &self.players {
            for value in player.received() {
                frames.push(Frame {
                    profile: self.profile,
                    to: player.user.clone(),
                    value,
                });
            }
        }
        self.collected.extend(frames.iter().cloned());
        frames
    }

    /// All that was ever collected.
    pub(crate) fn finish(mut self) -> Vec<Frame> {
        self.end();
        self.collect();
        self.collected
    }

    /// Waits for what handlers have spawned.
    pub(crate) fn end(&self) {
        self.server.finish_work();
    }

    /// The close codes of the connections that the server has ended.
    pub(crate) fn closes(&self) -> Vec<u16> {
        let closed = self.players.iter().filter_map(|p| p.client.closed());
        closed.map(|(code, _)| code).collect()
    }
}

impl Player {
    pub(crate) fn send(&self, payload: impl Into<Payload>) {
        self.client.send(payload);
    }

    /// Sends a message in a shape that every profile takes.
    pub(crate) fn say(&self, message_type: &str, data: Value) {
        self.send(json!({"type": message_type, "data": data}));
    }

    /// Sends a message that wants an answer.
    pub(crate) fn ask(&self, message_type: &str, data: Value) {
        self.send(json!({"type": message_type, "id": "1", "data": data}));
    }

    /// Calls a method.
    pub(crate) fn call(&self, method: &str, params: Value) {
        self.ask("rpc", json!({"method": method, "params": params}));
    }

    /// Vanishes without a word.
    pub(crate) fn leave(&self) {
        self.has_left.set(true);
        self.client.disconnect();
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    fn received(&self) -> Vec<Value> {
        if self.has_left.get() || self.client.closed().is_some() {
            return self.client.receive_all();
        }
        self.client.send(json!({"type": "heartbeat", "id": END}));
        let mut all = Vec::new();
        loop {
            let value = match self.client.receive_raw() {
                Received::Text(text) => serde_json::from_str(&text).expect("a frame is JSON"),
                Received::Binary(bytes) => envelope(&bytes),
            };
            if value["id"] == END {
                return all;
            }
            match value {
                // What a client gets who takes arrays.
                Value::Array(values) => all.extend(values),
                value => all.push(value),
            }
        }
    }
}

/// The envelope of a binary message.
fn envelope(bytes: &[u8]) -> Value {
    let [1, 0, high, low, rest @ ..] = bytes else {
        panic!("no binary message of ours: {bytes:?}");
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    serde_json::from_slice(&rest[..length]).expect("an envelope is JSON")
}

/// A handler that fails, in words that are nobody's business.
struct Failing;

impl Handler for Failing {
    fn message_type(&self) -> &str {
        "fail"
    }

    fn handle(&mut self, _: &mut Ctx<'_>, _: &Message<'_>) -> Result<(), HandlerError> {
        Err(HandlerError::new("a secret"))
    }
}

/// A method that takes longer than anybody waits.
struct Slow;

impl Method for Slow {
    fn name(&self) -> &str {
        "slow"
    }

    fn call(&mut self, ctx: &mut Ctx<'_>, _: &Params<'_>) -> Result<(), HandlerError> {
        ctx.spawn(std::future::pending::<()>(), |_, ()| Ok(()));
        Ok(())
    }
}
