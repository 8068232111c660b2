//! The table of all options. One entry gives the field, its default, its bounds and its text:
//! the parser, the checks, `campanile default-config` and docs/CONFIGURATION.md all read it here.
//!
//! Deadlines have a grain of one second: a shard keeps them in a coarse timer wheel.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::kind::{
    Addresses, Bytes, Choice, Count, Kind, Named, OriginList, Raw, Switch, Time, Word,
};
use crate::limits::{CONNECTIONS_PER_SHARD_MAX, SHARDS_MAX};

/// Largest message that may be configured, bytes.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Largest queue or window that may be configured, bytes.
pub const QUEUE_BYTES_MAX: usize = 1 << 30;
/// Port that is listened on when none is named.
pub const DEFAULT_PORT: u16 = 8080;

/// Seconds of an hour.
const HOUR: u64 = 3600;

const ROUTE_PATH: Word = Word {
    bytes_max: 256,
    what: "a path that begins with \"/\", of ASCII letters, digits and any of -._~/",
    start: "/",
    allowed: |c| c.is_ascii_alphanumeric() || "-._~/".contains(c),
};

const ROOM_NAME: Word = Word {
    bytes_max: 128,
    what: "a name without control characters",
    start: "",
    allowed: |c| !c.is_control(),
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
    /// replace the one that exists without them.
    Route {
        /// Request path, compared byte by byte, without a query.
        path: String = "/ws".into(), ROUTE_PATH;
        /// How messages are laid out on the wire.
        profile: Profile = Profile::Flat, Choice::<Profile>::new();
        /// Room that a connection joins when it opens.
        room: String = "lobby".into(), ROOM_NAME;
        /// Largest message from a client on this path, bytes after decompression; a larger one
        /// closes the connection with 1009. 0 = `limits.max_message_size`.
        max_message_size: usize = 0, Bytes(0..=MESSAGE_BYTES_MAX);
    }
}

section! {
    /// Who is let in.
    Auth {
        /// "optional": everybody is a guest with a generated user id.
        /// "trust": `?user_id=` is believed. Anybody can then be anybody: for development only.
        mode: AuthMode = AuthMode::Optional, Choice::<AuthMode>::new();
        /// Let guests in on addresses that are not loopback.
        allow_guests: bool = false, Switch;
    }
}

section! {
    /// Which web pages may connect. Browsers name the page's origin; other clients need not.
    Origins {
        /// "same-origin": pages whose host and port are those of the request. An exact origin such
        /// as `https://example.com`. "*": any page at all. Others are refused with 403.
        allowed: Vec<String> = vec!["same-origin".into()], OriginList;
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
        idle_timeout: Duration = Duration::ZERO, Time::seconds(0, 24 * HOUR);
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

/// How messages are laid out on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Members of the payload stand beside `type`.
    Flat,
}

impl Named for Profile {
    const NAMES: &'static [(&'static str, Self)] = &[("flat", Self::Flat)];
    const NOT_YET: &'static [&'static str] = &["v1", "room", "message"];
}

/// Who is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// Everybody is a guest with a generated user id.
    Optional,
    /// The user id in the request is believed.
    Trust,
}

impl Named for AuthMode {
    const NAMES: &'static [(&'static str, Self)] =
        &[("optional", Self::Optional), ("trust", Self::Trust)];
    const NOT_YET: &'static [&'static str] = &["required", "first_message"];
}

/// What gives when a user has too many connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUserLimit {
    /// The new connection: 429 before the upgrade.
    Reject,
    /// The oldest connection: close code 4409.
    EvictOldest,
}

impl Named for OnUserLimit {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("reject", Self::Reject),
        ("evict_oldest", Self::EvictOldest),
    ];
}

/// What a subscriber gets who fell out of a topic's window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlowPolicy {
    /// What the window still holds; what fell out of it is missing.
    Gap,
    /// Only what comes next.
    Latest,
    /// Close code 4508.
    Disconnect,
}

impl Named for SlowPolicy {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("gap", Self::Gap),
        ("latest", Self::Latest),
        ("disconnect", Self::Disconnect),
    ];
}
