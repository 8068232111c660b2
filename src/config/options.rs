//! The table of all options. One entry gives the field, its default, its bounds and its text:
//! the parser, the checks, `campanile default-config` and docs/CONFIGURATION.md all read it here.
//!
//! Deadlines have a grain of one second: a shard keeps them in a coarse timer wheel.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::kind::{Bytes, Choice, Count, Kind, Raw, Switch, Time, Word};
use super::lists::{Addresses, OriginList, People};
use super::words::{
    AuthMode, ControlCharacters, Create, DeliveryProof, OnUserLimit, OriginRequire, PlainText,
    Profile, SlowPolicy, Synchronous,
};
use crate::limits::{CONNECTIONS_PER_SHARD_MAX, SHARDS_MAX, TOPIC_BYTES_MAX};
use crate::who::Who;

/// Largest message that may be configured, bytes.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Largest queue or window that may be configured, bytes.
pub const QUEUE_BYTES_MAX: usize = 1 << 30;
/// Port that is listened on when none is named.
pub const DEFAULT_PORT: u16 = 8080;

/// Seconds of an hour.
const HOUR: u64 = 3600;
/// Seconds of a day.
const DAY: u64 = 24 * HOUR;
/// Seconds of a year of 365.25 days, as durations are written.
const YEAR: u64 = 31_557_600;
/// Highest rate and burst that may be configured: beyond any client's reach.
const RATE_MAX: u32 = 1_000_000;

/// How a route's path ends if it names the room.
pub(super) const ROOM_TEMPLATE: &str = "/{room_id}";

const ROUTE_PATH: Word = Word {
    bytes: 1..=256,
    what: "a path that begins with \"/\", of ASCII letters, digits and any of -._~/, which may end in \
           \"/{room_id}\"",
    fits: |path| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
        let fixed = path.strip_suffix(ROOM_TEMPLATE);
        fixed.unwrap_or(path).chars().all(plain) && path.starts_with('/')
    },
};

const ROOM_NAME: Word = Word {
    bytes: 0..=TOPIC_BYTES_MAX,
    what: "a name without control characters",
    fits: |name| !name.contains(char::is_control),
};

const ROOM_PATTERN: Word = Word {
    bytes: 1..=TOPIC_BYTES_MAX,
    what: "a name or pattern without control characters",
    fits: |pattern| !pattern.contains(char::is_control),
};

const FOLDER: Word = Word {
    bytes: 0..=1024,
    what: "a path without control characters",
    fits: |path| !path.contains(char::is_control),
};

/// What is known of an option beside its value.
#[derive(Debug)]
pub(super) struct Entry {
    /// Name inside its section.
    pub(super) key: &'static str,
    /// What it does; lines of plain Markdown.
    pub(super) doc: &'static [&'static str],
    /// Unit and range in words.
    pub(super) expected: fn() -> String,
}

/// A section of the configuration, seen by the names of its options.
pub(super) trait Section {
    /// What the section is about; lines of plain Markdown.
    fn about(&self) -> &'static [&'static str];
    /// Its options, in the order of the table.
    fn entries(&self) -> &'static [Entry];
    /// Sets one option. `None`: no such option. The error says what was expected.
    fn set(&mut self, key: &str, raw: &Raw) -> Option<Result<(), String>>;
    /// Writes one option's value as TOML. `None`: no such option.
    fn show(&self, key: &str) -> Option<String>;
    /// Holds one option's value against its bounds. `None`: no such option.
    fn check(&self, key: &str) -> Option<Result<(), String>>;
}

macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $name:ident {
            $( $(#[doc = $doc:literal])+ $key:ident: $type:ty = $default:expr, $kind:expr; )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $(
                $(#[doc = $doc])+
                #[doc = ""]
                #[doc = concat!("Default: `", stringify!($default), "`. Bounds: `", stringify!($kind), "`.")]
                pub $key: $type,
            )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default,)+ }
            }
        }

        impl Section for $name {
            fn about(&self) -> &'static [&'static str] {
                &[$($about),+]
            }

            fn entries(&self) -> &'static [Entry] {
                &[$(Entry {
                    key: stringify!($key),
                    doc: &[$($doc),+],
                    expected: || $kind.expected(),
                }),+]
            }

            fn set(&mut self, key: &str, raw: &Raw) -> Option<Result<(), String>> {
                match key {
                    $(stringify!($key) => Some($kind.take(raw).map(|value| self.$key = value)),)+
                    _ => None,
                }
            }

            fn show(&self, key: &str) -> Option<String> {
                match key {
                    $(stringify!($key) => Some($kind.write(&self.$key)),)+
                    _ => None,
                }
            }

            fn check(&self, key: &str) -> Option<Result<(), String>> {
                match key {
                    $(stringify!($key) => Some($kind.check(&self.$key)),)+
                    _ => None,
                }
            }
        }
    };
}

section! {
    /// Where the server listens and how many threads it runs.
    Server {
        /// Addresses to listen on. One that is not loopback needs `auth.allow_guests = true` or
        /// `auth.mode = "trust"`, since nobody who connects is asked who they are.
        listen: Vec<SocketAddr> = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT))], Addresses;
        /// Shards: threads that serve connections, one core each.
        /// 0 = one for each core that the process may use.
        shards: usize = 0, Count(0..=SHARDS_MAX);
        /// Most connections of one shard; further ones are refused with 503.
        /// 0 = as many as RLIMIT_NOFILE and the kernel allow.
        max_connections_per_shard: usize = 0, Count(0..=CONNECTIONS_PER_SHARD_MAX);
        /// Log a line for each connection and message (RUST_LOG overrides).
        verbose_logging: bool = false, Switch;
    }
}

section! {
    /// A path that takes WebSocket upgrades. Repeat `[[route]]` for several; routes in a file
    /// replace the four that exist without them.
    Route {
        /// Request path, compared byte by byte, without a query. A path that ends in `/{room_id}`
        /// takes any last segment, which is then the room; paths without it count before those.
        path: String = "/ws".into(), ROUTE_PATH;
        /// How messages are laid out on the wire, unless the client asks for another profile.
        profile: Profile = Profile::Flat, Choice::<Profile>::new();
        /// Room that a connection joins when it opens. "" = none, or the one that the path names.
        room: String = String::new(), ROOM_NAME;
        /// Tell a connection who is in its rooms, unless it asks for the contrary.
        presence: bool = true, Switch;
        /// Largest message from a client on this path, bytes after decompression; a larger one
        /// closes the connection with 1009. 0 = `limits.max_message_size`.
        max_message_size: usize = 0, Bytes(0..=MESSAGE_BYTES_MAX);
    }
}

impl Route {
    /// The routes that are there when no file has others.
    pub fn defaults() -> Vec<Self> {
        let route = |path: &str, profile, room: &str, presence| Self {
            path: path.into(),
            profile,
            room: room.into(),
            presence,
            ..Self::default()
        };
        vec![
            route("/api/v1/ws", Profile::Message, "", false),
            route("/ws/{room_id}", Profile::Room, "", true),
            route("/ws", Profile::Flat, "lobby", true),
            route("/v1/connect", Profile::V1, "", false),
        ]
    }

    /// Whether the path names the room.
    pub fn is_template(&self) -> bool {
        self.path.ends_with(ROOM_TEMPLATE)
    }
}

section! {
    /// Who is let in.
    Auth {
        /// "optional": everybody is a guest with a generated user id.
        /// "trust": `?user_id=` and `?roles=` are believed. Anybody can then be anybody: for development
        /// only.
        mode: AuthMode = AuthMode::Optional, Choice::<AuthMode>::new();
        /// Let guests in on addresses that are not loopback.
        allow_guests: bool = false, Switch;
    }
}

section! {
    /// Which web pages may connect. Browsers name the page's origin; other clients need not.
    Origins {
        /// "same-origin": pages whose host and port are those of the request. An exact origin such
        /// as `https://example.com`. "https://*.example.com": all hosts below that one. "*": any page
        /// at all. Others are refused with 403.
        allowed: Vec<String> = vec!["same-origin".into()], OriginList;
        /// Which requests must name an origin. "auto": those on routes whose path names the room.
        /// "always": all. "never": none, but one that is named must still be allowed.
        require: OriginRequire = OriginRequire::Auto, Choice::<OriginRequire>::new();
    }
}

section! {
    /// How a dead or silent peer is found. Deadlines have a grain of one second.
    Heartbeat {
        /// A peer that takes no byte of what waits for it for so long is closed.
        write_wait: Duration = Duration::from_secs(10), Time::seconds(1, HOUR);
        /// A peer from which nothing came for so long, not even a pong, is closed with 4504.
        pong_wait: Duration = Duration::from_secs(60), Time::seconds(2, HOUR);
        /// A ping is sent to a peer after so much silence. Must be shorter than `pong_wait`.
        ping_period: Duration = Duration::from_secs(54), Time::seconds(1, HOUR);
        /// A peer that sends no message for so long is closed with 1001; pongs do not count. "0s" = never.
        idle_timeout: Duration = Duration::ZERO, Time::seconds(0, DAY);
    }
}

section! {
    /// What one peer, and all together, may take.
    Limits {
        /// Largest message from a client, bytes after decompression; a larger one closes the
        /// connection with 1009.
        max_message_size: usize = 32 << 10, Bytes(1..=MESSAGE_BYTES_MAX);
        /// Most connections of the process; further ones are refused with 503.
        /// 0 = bounded by the shards alone.
        max_connections: usize = 0, Count(0..=SHARDS_MAX * CONNECTIONS_PER_SHARD_MAX);
        /// Most connections of one user, exact across shards. 0 = no limit.
        max_connections_per_user: usize = 5, Count(0..=CONNECTIONS_PER_SHARD_MAX);
        /// What gives when a user has too many connections. "reject": the new one, with 429
        /// before the upgrade. "evict_oldest": the oldest, closed with 4409.
        on_user_limit: OnUserLimit = OnUserLimit::Reject, Choice::<OnUserLimit>::new();
        /// Bytes that may wait for one connection beside its topics (replies, direct messages).
        /// While more wait the connection is not read. At least twice the largest message, so
        /// that one message with its envelope always fits.
        queue_bytes: usize = 256 << 10, Bytes(4096..=QUEUE_BYTES_MAX);
        /// Bytes of a topic that are kept for subscribers who fall behind; what happens to those
        /// who fall further is `messaging.slow_policy`. At least twice the largest message.
        topic_window_bytes: usize = 1 << 20, Bytes(4096..=QUEUE_BYTES_MAX);
        /// A peer that has not sent its whole request head after so long is answered 408.
        handshake_timeout: Duration = Duration::from_secs(10), Time::seconds(1, HOUR);
        /// Most rooms that one connection is in; a further one is refused with `conflict`.
        max_rooms_per_connection: usize = 128, Count(1..=65_536);
        /// Most rooms at home on one shard; a further one is refused with `unavailable`.
        max_rooms_per_shard: usize = 1_000_000, Count(1..=100_000_000);
        /// Messages a second that one connection may send, on the long run; what is over is refused
        /// with `rate_limited`. 0 = no limit.
        messages_per_second: u32 = 50, Count(0..=RATE_MAX);
        /// Messages that one connection may send at once after it has been quiet.
        burst: u32 = 100, Count(1..=RATE_MAX);
        /// Messages a second that all connections of one user together may send. 0 = no limit.
        user_messages_per_second: u32 = 0, Count(0..=RATE_MAX);
        /// Messages that all connections of one user may send at once after they have been quiet.
        user_burst: u32 = 100, Count(1..=RATE_MAX);
    }
}

section! {
    /// How messages reach subscribers.
    Messaging {
        /// Deliver a message to the connection that sent it, too.
        echo_to_sender: bool = false, Switch;
        /// What a subscriber gets who fell further behind than `limits.topic_window_bytes`.
        /// "gap": what is still there. "latest": only what comes next. "disconnect": close 4508.
        slow_policy: SlowPolicy = SlowPolicy::Gap, Choice::<SlowPolicy>::new();
        /// What becomes of a text that does not begin like JSON. "profile": a chat in the flat
        /// profile, refused with `invalid_json` in the others. "chat": a chat in every profile.
        /// "reject": refused in every profile.
        plain_text: PlainText = PlainText::Profile, Choice::<PlainText>::new();
        /// For how long a `client_message_id` is remembered: a message that comes again within it is
        /// answered as before and published once. "0s" = not at all.
        dedupe_window: Duration = Duration::from_secs(300), Time::seconds(0, DAY);
        /// Who may send a message to everybody who is connected.
        broadcast: Vec<Who> = vec![Who::Role("admin".into())], People;
        /// Who may send a notification to another user.
        notify: Vec<Who> = vec![Who::Role("admin".into())], People;
        /// Who may make a room by request. Whether joining an absent room makes it, its namespace says.
        create_rooms: Vec<Who> = vec![Who::Anyone], People;
    }
}

section! {
    /// What is told about who is in a room.
    Presence {
        /// Most members that are named. A room with more is told their number only, at most once a
        /// second.
        max_members: usize = 1000, Count(1..=100_000);
        /// How long after its last connection a user is still shown in a room: who comes back within
        /// it has neither left nor joined.
        leave_delay: Duration = Duration::ZERO, Time::seconds(0, HOUR);
        /// Largest `info` that a member may show of itself, bytes of JSON.
        max_info_size: usize = 1024, Bytes(2..=65_536);
    }
}

section! {
    /// Whether and how authors hear what became of their messages.
    Delivery {
        /// Tell authors when their messages are delivered and read.
        enabled: bool = true, Switch;
        /// What counts as delivered. "pong": the answer to a ping that was sent behind the message.
        /// "ack": the client's own acknowledgement. "write": the kernel took the bytes.
        proof: DeliveryProof = DeliveryProof::Pong, Choice::<DeliveryProof>::new();
        /// Most recipients of which each one's state is told; where more are, their numbers are.
        max_recipients: usize = 50, Count(0..=1000);
        /// Send a user who comes back what was not delivered meanwhile, unless the client resumes on
        /// its own.
        replay_on_connect: bool = true, Switch;
        /// Least time between two pings that prove delivery to one connection.
        ping_interval: Duration = Duration::from_secs(1), Time::seconds(1, HOUR);
    }
}

section! {
    /// What holds for the rooms whose names match a pattern. Repeat `[[namespace]]` for several: the
    /// first that matches holds, and a room that none matches has the defaults.
    Namespace {
        /// Names of rooms. `*` stands for any run of characters and may stand anywhere.
        pattern: String = "*".into(), ROOM_PATTERN;
        /// What joining an absent room does. "on_demand": makes it. "api_only": is refused with
        /// `not_found`; rooms are made by request.
        create: Create = Create::OnDemand, Choice::<Create>::new();
        /// Most members of a room, unless the room says otherwise; a further one is refused with
        /// `room_full`. 0 = no limit.
        max_clients: u32 = 0, Count(0..=100_000_000);
        /// Let in only whom the room's access list names, unless the room says otherwise.
        private: bool = false, Switch;
        /// Messages of a room that are kept for those who come later. 0 = none.
        history_size: u32 = 100, Count(0..=1_000_000);
        /// For how long a message is kept. "0s" = as long as the room. In a persistent room
        /// `retention_age` says so instead.
        history_ttl: Duration = Duration::from_secs(600), Time::seconds(0, YEAR);
        /// Bytes of a room's messages that are kept. At least the largest message.
        history_bytes: usize = 1 << 20, Bytes(1024..=QUEUE_BYTES_MAX);
        /// Rooms and their messages outlive the process. Needs `store.path`.
        persist: bool = false, Switch;
        /// Messages of a persistent room that the store keeps. 0 = no bound by number.
        retention_messages: u64 = 10_000, Count(0u64..=1_000_000_000_000);
        /// For how long the store keeps a message. "0s" = no bound by age.
        retention_age: Duration = Duration::ZERO, Time::seconds(0, 100 * YEAR);
        /// Bytes of a persistent room's messages that the store keeps. 0 = no bound by bytes.
        retention_bytes: usize = 0, Bytes(0..=1 << 50);
        /// Rooms have presence at all.
        presence: bool = true, Switch;
        /// Presence says who joins and leaves; without, there are snapshots only.
        join_leave: bool = true, Switch;
        /// How long after its last member has left a room that is not persistent is removed.
        /// "0s" = never.
        cleanup_after: Duration = Duration::from_secs(60), Time::seconds(0, YEAR);
        /// Who may publish.
        publish: Vec<Who> = vec![Who::Member], People;
        /// Longest text of a chat, characters; a longer one is refused with `invalid_message`.
        /// 0 = as long as a message may be.
        max_content_chars: usize = 0, Count(0..=MESSAGE_BYTES_MAX);
        /// What becomes of control characters in the text of a chat, tab and line ends aside.
        /// "reject": refused with `invalid_message`.
        control_characters: ControlCharacters = ControlCharacters::Allow, Choice::<ControlCharacters>::new();
    }
}

section! {
    /// Remote procedures.
    Rpc {
        /// How long a procedure may take until its caller is told `timeout`.
        timeout: Duration = Duration::from_secs(10), Time::seconds(1, HOUR);
    }
}

section! {
    /// Where persistent rooms and their messages are kept. Opened only if a namespace has
    /// `persist = true`.
    Store {
        /// Folder of the store, made if it is not there. "" = no store.
        path: String = "data".into(), FOLDER;
        /// When the disk has to confirm. "full": before a message is acknowledged, so that it outlives
        /// a loss of power. "normal": now and then; the last messages may be lost with the power.
        synchronous: Synchronous = Synchronous::Full, Choice::<Synchronous>::new();
        /// Requests that may wait for the store; a further one is refused with `unavailable`.
        max_queued_requests: usize = 65_536, Count(1..=1 << 24);
        /// Bytes that may wait for the store; a request beyond is refused with `unavailable`. At
        /// least the largest message.
        queue_bytes: usize = 64 << 20, Bytes(65_536..=QUEUE_BYTES_MAX);
        /// Largest file of the store, bytes, beside its write-ahead log; messages beyond it are refused
        /// with `unavailable`. 0 = as large as the disk allows.
        max_file_size: usize = 0, Bytes(0..=1 << 50);
    }
}

section! {
    /// permessage-deflate (RFC 7692), for clients that offer it.
    Compression {
        /// Accept the offer.
        enabled: bool = true, Switch;
        /// Smallest message that is compressed, bytes; a smaller one gains nothing.
        min_size: usize = 1024, Bytes(0..=MESSAGE_BYTES_MAX);
        /// 1 is fast, 9 is small.
        level: u32 = 1, Count(1..=9);
    }
}

section! {
    /// How the process ends after SIGTERM or Ctrl-C.
    Shutdown {
        /// Longest time for taking leave of all clients; what is left is then cut off.
        drain: Duration = Duration::from_secs(30), Time::seconds(0, HOUR);
    }
}
