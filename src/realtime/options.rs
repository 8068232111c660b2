//! What can be set about the realtime application.

/// A path that takes upgrades, and what its connections get. Its profile is `flat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The path of the request target, compared byte by byte, without a query.
    pub path: String,
    /// The room that a connection joins when it opens, and that a message goes to which names none.
    /// 1 to [`TOPIC_BYTES_MAX`](crate::limits::TOPIC_BYTES_MAX) bytes.
    pub room: Option<String>,
    /// Largest message, bytes, in place of the core's limit.
    pub message_bytes_max: Option<usize>,
}

impl Route {
    /// A route whose connections join `room`.
    pub fn new(path: impl Into<String>, room: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            room: Some(room.into()),
            message_bytes_max: None,
        }
    }
}

/// Options of [`Realtime`](super::Realtime). Those of sockets, limits per user and queues are the
/// core's: [`shard::Options`](crate::shard::Options).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealtimeOptions {
    /// Paths that take upgrades, each once. Another path is refused with 404.
    pub routes: Vec<Route>,
    /// Publish a chat message to the connection that sent it, too. Off by default: it goes to
    /// everybody else in the room, the sender's other connections included.
    pub echo_to_sender: bool,
    /// Believe the user identifier that a request names (`?user_id=`, `?player_id=`, `X-User-Id`).
    /// Anybody can then be anybody: for development, or behind a proxy that sets the header and
    /// drops what the client says. Off by default: everybody is a guest.
    pub trust_user_ids: bool,
    /// Log each connection and message at level `info` rather than `debug`. Never their content.
    pub verbose_logging: bool,
    /// Most members that presence names. A room with more is told their number only, at most once a
    /// second, until they are a tenth fewer than this.
    pub presence_members_max: usize,
    /// Most rooms that one connection is in; a message to a further one is refused with `conflict`.
    pub rooms_per_connection_max: usize,
    /// What a request's `Origin` may be, if it has one: `same-origin` (its host and port are those
    /// of `Host`), an exact origin such as `https://example.com`, or `*` for any. Another origin is
    /// refused with 403; a request without the field comes from no browser and is let in.
    pub allowed_origins: Vec<String>,
}

impl Default for RealtimeOptions {
    fn default() -> Self {
        Self {
            routes: vec![Route::new("/ws", "lobby")],
            echo_to_sender: false,
            trust_user_ids: false,
            verbose_logging: false,
            presence_members_max: 1000,
            rooms_per_connection_max: 128,
            allowed_origins: vec!["same-origin".into()],
        }
    }
}
