//! What one peer, and all together, may take.

use std::time::Duration;

use super::{
    Changes, DAY, Entry, HOUR, Kind, MESSAGE_BYTES_MAX, QUEUE_BYTES_MAX, RATE_MAX, Raw, Reload,
    Section,
};
use crate::config::kind::{Bytes, Choice, Count, Percent, Switch, Time};
use crate::config::words::OnUserLimit;
use crate::limits::{CONNECTIONS_PER_SHARD_MAX, SHARDS_MAX};

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
        /// Handshakes a second of the whole process; what is over is answered 503. 0 = no limit.
        handshakes_per_second: u32 = 0, Count(0..=RATE_MAX);
        /// Handshakes a second from one address (IPv6: from one /64), on the long run; what is over is
        /// answered 429. Behind a proxy this is the client's address. 0 = no limit.
        address_handshakes_per_second: u32 = 0, Count(0..=RATE_MAX);
        /// Handshakes that one address may begin at once after it has been quiet.
        address_handshake_burst: u32 = 100, Count(1..=RATE_MAX);
        /// Most connections from one address (IPv6: from one /64); a further one is answered 429.
        /// 0 = no limit.
        max_connections_per_address: usize = 0, Count(0..=CONNECTIONS_PER_SHARD_MAX);
        /// Memory that the server may take. 0 = what its control group allows, or else all of the
        /// machine's.
        memory_limit: usize = 0, Bytes(0..=1 << 50);
        /// Above this share of the memory those connections are no longer read for which most waits.
        memory_soft: u8 = 80, Percent;
        /// Above this share of the memory new connections are refused with 503.
        memory_hard: u8 = 90, Percent;
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
