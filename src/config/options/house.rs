//! What the process itself keeps, writes and does at its end.

use std::time::Duration;

use super::{Changes, Entry, HOUR, Kind, PATH, QUEUE_BYTES_MAX, Raw, Reload, Section};
use crate::config::kind::{Bytes, Choice, Count, Time};
use crate::config::words::Synchronous;

section! {
    /// Where pairings, revocations, persistent rooms and their messages are kept. Without a configuration file
    /// it is opened only if a namespace has `persist = true`.
    Store {
        /// Folder of the store, made if it is not there. "" = no store: pairings and
        /// revocations last as long as the process.
        path: String = "data".into(), PATH;
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
    /// What is written down, beside the log on stderr.
    Log {
        /// File to which security events are appended, one JSON object a line: who was refused, revoked,
        /// forbidden or limited, with reason and address. "" = they stand in the log with all else.
        security_file: String = String::new(), PATH;
        /// A turn of a shard that takes longer is warned of, with the handler that took the time.
        /// "0s" = never.
        slow_turn: Duration = Duration::from_millis(50), Time(Duration::ZERO..=Duration::from_secs(60));
    }
}

section! {
    /// How the process ends after SIGTERM or Ctrl-C.
    Shutdown {
        /// Longest time for taking leave of all clients; what is left is then cut off.
        drain: Duration = Duration::from_secs(30), Time::seconds(0, HOUR);
    }
}
