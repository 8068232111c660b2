//! What can be set about the realtime application.

mod namespace;
mod route;

use std::time::Duration;

pub(super) use crate::who::{Roles, Standing, Who};
pub use namespace::{Create, HistoryOptions, Namespace, Namespaces, RetentionOptions};
pub use route::Route;

/// Options of [`Realtime`](super::Realtime). Those of sockets, connections per user and queues are
/// the core's: [`shard::Options`](crate::shard::Options).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealtimeOptions {
    /// Paths that take upgrades, each once, at most 65,535. Another path is refused with 404.
    pub routes: Vec<Route>,
    /// What holds for which rooms: the first whose pattern matches a room's name. A room that none
    /// matches has [`Namespace::default`].
    pub namespaces: Vec<Namespace>,
    /// What is told about who is in a room.
    pub presence: PresenceOptions,
    /// What one connection, one user and one shard may take.
    pub limits: LimitOptions,
    /// Whether and how authors hear what became of their messages.
    pub delivery: DeliveryOptions,
    /// For how long a `client_message_id` is remembered: a message that comes again within it is
    /// answered as the first one was, and published once. Zero: not at all.
    pub dedupe_window: Duration,
    /// What becomes of a text that does not begin like JSON.
    pub plain_text: PlainText,
    /// How long a remote procedure may take until its caller is told `timeout`.
    pub rpc_timeout: Duration,
    /// Who may send a message to everybody who is connected.
    pub may_broadcast: Vec<Who>,
    /// Who may send a notification to another user.
    pub may_notify: Vec<Who>,
    /// Who may make a room by request. What joining an absent room does, its namespace says.
    pub may_create_rooms: Vec<Who>,
    /// Publish a chat message to the connection that sent it, too. Off by default: it goes to
    /// everybody else in the room, the sender's other connections included.
    pub echo_to_sender: bool,
    /// Log each connection and message at level `info` rather than `debug`. Never their content.
    pub verbose_logging: bool,
}

/// What is told about who is in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresenceOptions {
    /// Most members that presence names. A room with more is told their number only, at most once a
    /// second, until they are a tenth fewer than this.
    pub members_max: usize,
    /// How long after its last connection a user is still shown in a room: one who comes back
    /// within it has neither left nor joined. Grain: one second.
    pub leave_delay: Duration,
    /// Largest `info` that a member may show of itself, bytes of JSON.
    pub info_bytes_max: usize,
}

/// What one connection, one user and one shard may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitOptions {
    /// Most rooms that one connection is in; a message to a further one is refused with `conflict`.
    pub rooms_per_connection_max: usize,
    /// Most rooms at home on one shard; a further one is not made: `unavailable`.
    pub rooms_max: usize,
    /// Messages a second that one connection may send, on the long run. 0: no limit.
    pub messages_per_second: u32,
    /// Messages that one connection may send at once after it has been quiet; at least 1 where
    /// `messages_per_second` is not 0.
    pub burst: u32,
    /// Messages a second that all connections of one user together may send. 0: no limit.
    pub user_messages_per_second: u32,
    /// Messages that all connections of one user may send at once after they have been quiet; at
    /// least 1 where `user_messages_per_second` is not 0.
    pub user_burst: u32,
}

/// Whether and how authors hear what became of their messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryOptions {
    /// Tell authors when messages are delivered and read.
    pub enabled: bool,
    /// What counts as delivered.
    pub proof: DeliveryProof,
    /// Most recipients of which each one's state is told; where more are, their numbers are.
    pub recipients_max: usize,
    /// Send a user who comes back the messages that were not delivered meanwhile, unless the
    /// client resumes on its own.
    pub replay_on_connect: bool,
    /// Least time between two pings that prove delivery to one connection. Grain: one second.
    pub ping_interval: Duration,
}

/// What counts as proof that a connection has got a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryProof {
    /// The pong to a ping that was sent behind it.
    Pong,
    /// The client's own acknowledgement, a `message-status` with `delivered`.
    Ack,
    /// The kernel took its bytes.
    Write,
}

/// What becomes of a text message that does not begin like JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainText {
    /// A chat in the `flat` profile; in the others it is refused with `invalid_json`.
    Profile,
    /// A chat in every profile.
    Chat,
    /// Refused with `invalid_json` in every profile.
    Reject,
}

impl Default for RealtimeOptions {
    fn default() -> Self {
        let admins = vec![Who::Role("admin".into())];
        Self {
            routes: Route::defaults(),
            namespaces: Vec::new(),
            presence: PresenceOptions::default(),
            limits: LimitOptions::default(),
            delivery: DeliveryOptions::default(),
            dedupe_window: Duration::from_secs(5 * 60),
            plain_text: PlainText::Profile,
            rpc_timeout: Duration::from_secs(10),
            may_broadcast: admins.clone(),
            may_notify: admins,
            may_create_rooms: vec![Who::Anyone],
            echo_to_sender: false,
            verbose_logging: false,
        }
    }
}

impl Default for PresenceOptions {
    fn default() -> Self {
        Self {
            members_max: 1000,
            leave_delay: Duration::ZERO,
            info_bytes_max: 1024,
        }
    }
}

impl LimitOptions {
    /// The defaults, but for how fast anybody may send: for load tests, and where a proxy counts.
    pub fn without_rates() -> Self {
        Self {
            messages_per_second: 0,
            user_messages_per_second: 0,
            ..Self::default()
        }
    }
}

impl Default for LimitOptions {
    fn default() -> Self {
        Self {
            rooms_per_connection_max: 128,
            rooms_max: 1_000_000,
            messages_per_second: 50,
            burst: 100,
            user_messages_per_second: 0,
            user_burst: 100,
        }
    }
}

impl Default for DeliveryOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            proof: DeliveryProof::Pong,
            recipients_max: 50,
            replay_on_connect: true,
            ping_interval: Duration::from_secs(1),
        }
    }
}
