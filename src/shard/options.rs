//! What can be set about the core, with its defaults. The configuration file's sections
//! `[heartbeat]`, `[limits]` and `[compression]` end here.

use std::time::Duration;

/// What happens to a user's connection beyond `connections_per_user_max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnUserLimit {
    /// The newcomer is refused with 429 before the upgrade.
    #[default]
    Reject,
    /// The user's oldest connection is closed with 4409.
    EvictOldest,
}

/// What happens to a subscriber whom a topic's window has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SlowPolicy {
    /// Goes on with the oldest message that is still there; [`App::lagged`](super::App::lagged).
    #[default]
    Gap,
    /// Goes on with the next message published; [`App::lagged`](super::App::lagged).
    Latest,
    /// Is closed with 4508.
    Disconnect,
}

/// permessage-deflate (RFC 7692), always without context takeover, so that an idle connection
/// holds no window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// Smallest payload that is compressed, bytes.
    pub bytes_min: usize,
    /// zlib level, `1..=9`.
    pub level: u32,
}

impl Default for Compression {
    fn default() -> Self {
        Self {
            bytes_min: 1024,
            level: 1,
        }
    }
}

/// Options of the core. Bun's names, where it has one, stand in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Largest message, bytes, before and after inflating; more closes 1009 (`maxPayloadLength`).
    pub message_bytes_max: usize,
    /// Most fragments of one message; more closes 1008. `None`: any number.
    pub fragments_max: Option<u32>,
    /// Time for the request head, and for a deferred answer; then 408 or 503.
    pub handshake_timeout: Duration,
    /// Silence after which the server pings (`sendPings`). Whole seconds; 0: never.
    pub ping_period: Duration,
    /// Silence after which the connection is closed 4504. Whole seconds; 0: never.
    pub pong_wait: Duration,
    /// How long a peer may take nothing that is written to it; then it is closed 4508. 0: for ever.
    pub write_wait: Duration,
    /// Time without a message after which the connection is closed 1001 (`idleTimeout`). 0: never.
    pub idle_timeout: Duration,
    /// How long a closing connection may take before it is cut.
    pub close_timeout: Duration,
    /// Most connections of the process; more are refused 503. 0: no limit but memory.
    pub connections_max: usize,
    /// Most connections of one user, exact across shards. 0: no limit.
    pub connections_per_user_max: u32,
    /// What happens beyond it.
    pub on_user_limit: OnUserLimit,
    /// Most bytes that wait for one slow peer, besides topics, which use cursors
    /// (`backpressureLimit`). A message that finds nothing waiting is taken whatever its size.
    pub queue_bytes_max: usize,
    /// Closes 4508 instead of dropping a message (`closeOnBackpressureLimit`).
    pub close_on_backpressure_limit: bool,
    /// Most topics that one connection subscribes to.
    pub subscriptions_max: usize,
    /// How far a slow subscriber may fall behind in a topic, bytes per topic and shard.
    pub topic_window_bytes: u64,
    /// What happens beyond it.
    pub slow_policy: SlowPolicy,
    /// Whether [`Socket::publish`](super::Socket::publish) reaches the publisher (`publishToSelf`).
    pub publish_to_self: bool,
    /// permessage-deflate; `None`: not offered (`perMessageDeflate`).
    pub compression: Option<Compression>,
    /// A turn that takes longer is counted and a warning tells what took longest in it. 0: never.
    pub slow_turn: Duration,
    /// Longest spread of reconnects that a shutdown suggests (`retry_in_ms` in the close reason).
    pub reconnect_spread: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            message_bytes_max: 32_768,
            fragments_max: None,
            handshake_timeout: Duration::from_secs(10),
            ping_period: Duration::from_secs(54),
            pong_wait: Duration::from_secs(60),
            write_wait: Duration::from_secs(10),
            idle_timeout: Duration::ZERO,
            close_timeout: Duration::from_secs(2),
            connections_max: 0,
            connections_per_user_max: 5,
            on_user_limit: OnUserLimit::default(),
            queue_bytes_max: 262_144,
            close_on_backpressure_limit: false,
            subscriptions_max: 1024,
            topic_window_bytes: 1 << 20,
            slow_policy: SlowPolicy::default(),
            publish_to_self: false,
            compression: Some(Compression::default()),
            slow_turn: Duration::from_millis(50),
            reconnect_spread: Duration::from_secs(5),
        }
    }
}
