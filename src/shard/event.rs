//! All that can happen to a shard.

use std::fmt;
use std::net::SocketAddr;

use super::app::App;
use super::mail::Mail;
use crate::id::Slot;
use crate::tls::Passage;

/// A socket on its way between listener, shards and service thread. Ownership passes with it.
#[derive(Debug)]
pub struct Descriptor {
    /// The driver's own number of the socket: a file descriptor, or a pretend one in the simulator.
    pub number: i32,
    /// What its bytes pass through, if anything: the keys of TLS move with the socket.
    pub passage: Option<Box<Passage>>,
}

impl Descriptor {
    /// A socket whose bytes are those of HTTP and WebSocket.
    pub fn plain(number: i32) -> Self {
        Self {
            number,
            passage: None,
        }
    }
}

/// One thing that happened. Sockets are addressed by the slot that the shard gave them.
pub enum Event<'a, A: App> {
    /// The listener accepted a socket.
    Accepted {
        /// The new socket.
        descriptor: Descriptor,
        /// Its far end.
        peer: SocketAddr,
    },
    /// A trusted proxy says whose connection it passes on. Before anything is received.
    Proxied {
        /// The proxy's connection.
        slot: Slot,
        /// The far end in place of the proxy.
        peer: SocketAddr,
    },
    /// A connection to a port that speaks TLS has begun with a plain request. It is told so, in plain
    /// text: from here on nothing stands between the socket and the shard. In place of a `Received`.
    NotTls {
        /// Whose.
        slot: Slot,
    },
    /// Bytes came in. The shard unmasks them in place and keeps no reference.
    Received {
        /// Whose bytes.
        slot: Slot,
        /// At least one byte.
        bytes: &'a mut [u8],
    },
    /// The peer has sent its last byte.
    EndOfStream {
        /// Whose.
        slot: Slot,
    },
    /// The peer of a paused socket has sent its last byte, or the connection broke, and not all that
    /// came before has been read. Only if [`Outbox::watch_end`](super::Outbox::watch_end) asked for it.
    Ending {
        /// Whose.
        slot: Slot,
    },
    /// The connection broke: reset, timed out. Nothing more comes in or goes out.
    Failed {
        /// Whose.
        slot: Slot,
    },
    /// The peer took part of an owned send, and it goes on. Wanted now and then while it does.
    Progress {
        /// Whose.
        slot: Slot,
    },
    /// An owned send has been written whole.
    Sent {
        /// Whose.
        slot: Slot,
        /// The buffer, back for reuse.
        buffer: Vec<u8>,
    },
    /// The driver has closed the socket and nothing of it is in flight: the slot is free.
    Released {
        /// Whose.
        slot: Slot,
    },
    /// Mail came in.
    Mail(Mail<A>),
    /// Time has passed; wanted at least once a second.
    Tick,
}

impl<A: App> fmt::Debug for Event<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted { descriptor, peer } => write!(f, "Accepted({descriptor:?}, {peer})"),
            Self::Proxied { slot, peer } => write!(f, "Proxied({slot:?}, {peer})"),
            Self::NotTls { slot } => write!(f, "NotTls({slot:?})"),
            Self::Received { slot, bytes } => write!(f, "Received({slot:?}, {} B)", bytes.len()),
            Self::EndOfStream { slot } => write!(f, "EndOfStream({slot:?})"),
            Self::Ending { slot } => write!(f, "Ending({slot:?})"),
            Self::Failed { slot } => write!(f, "Failed({slot:?})"),
            Self::Progress { slot } => write!(f, "Progress({slot:?})"),
            Self::Sent { slot, .. } => write!(f, "Sent({slot:?})"),
            Self::Released { slot } => write!(f, "Released({slot:?})"),
            Self::Mail(mail) => write!(f, "Mail({mail:?})"),
            Self::Tick => f.write_str("Tick"),
        }
    }
}
