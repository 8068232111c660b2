//! What shards say to each other, and what other threads say to a shard.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use super::app::{Accept, App};
use super::context::Context;
use super::event::Descriptor;
use super::format::Formats;
use super::interest::Interest;
use crate::http::Refusal;
use crate::id::{ConnectionId, ShardId};
use crate::ws::{CloseCode, Opcode};

/// Something to be done on a shard, with its application.
pub type Work<A> = Box<dyn FnOnce(&mut A, &mut Context<'_, A>) + Send>;

/// One item of mail.
pub enum Mail<A: App> {
    /// A connection comes home: its handshake is done, its 101 is not yet written.
    Arrival(Box<Arrival<A::Data>>),
    /// The answer to a handshake that waits for one.
    Answer(ConnectionId, Box<Result<Accept<A::Data>, Refusal>>),
    /// What one turn of another shard published to one topic.
    Publish(Arc<Batch>),
    /// A message to all connections of a user who is at home here.
    ToUser(Arc<str>, Arc<Frame>),
    /// A message to one connection.
    ToConnection(ConnectionId, Arc<Frame>),
    /// Closes one connection.
    Close(ConnectionId, CloseCode, Box<str>),
    /// For the application.
    App(A::Mail),
    /// Runs on the shard, between two events.
    Run(Work<A>),
    /// No new connections; close 1001 to all.
    Shutdown,
}

impl<A: App> fmt::Debug for Mail<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Arrival(_) => "Arrival",
            Self::Answer(..) => "Answer",
            Self::Publish(_) => "Publish",
            Self::ToUser(..) => "ToUser",
            Self::ToConnection(..) => "ToConnection",
            Self::Close(..) => "Close",
            Self::App(_) => "App",
            Self::Run(_) => "Run",
            Self::Shutdown => "Shutdown",
        })
    }
}

/// A connection on its way to its user's home shard.
#[derive(Debug)]
pub struct Arrival<D> {
    /// The socket; nothing of it is in flight.
    pub descriptor: Descriptor,
    /// Its far end.
    pub peer: SocketAddr,
    /// The millisecond at which the socket was accepted, modulo 2^32.
    pub accepted_ms: u32,
    /// What the application decided.
    pub accept: Accept<D>,
    /// What the 101 will say.
    pub handshake: Handshake,
    /// Bytes that came in after the request head, or after the message that said whose the
    /// connection is: the first frames.
    pub early: Vec<u8>,
    /// What was to be sent to it and is not: the 101 and what follows, if it was asked whose it is.
    pub unsent: Vec<u8>,
}

/// The parts of the 101 that follow from the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handshake {
    /// Value of `Sec-WebSocket-Accept`.
    pub accept: String,
    /// The 101 is written already: the first messages were asked whose the connection is.
    pub is_answered: bool,
    /// LZ77 window bits of compressed messages to this peer; `None`: not negotiated.
    pub deflate: Option<crate::ws::Negotiated>,
}

/// One encoded message, uncompressed, shared between shards.
#[derive(Debug)]
pub struct Frame {
    /// Text or binary.
    pub opcode: Opcode,
    /// The payload.
    pub payload: Vec<u8>,
}

/// What one turn published to one topic, in order.
#[derive(Debug, Default)]
pub struct Batch {
    /// The topic.
    pub topic: String,
    /// The payloads, one after the other.
    pub payloads: Vec<u8>,
    /// One entry a message; of a message in several writings one each, in a row.
    pub entries: Vec<BatchEntry>,
}

impl Batch {
    /// The formats of all of its messages.
    pub(crate) fn formats(&self) -> Formats {
        let mut formats = Formats::NONE;
        for entry in &self.entries {
            formats = formats.union(entry.formats);
            if formats == Formats::ALL {
                break;
            }
        }
        formats
    }

    /// Names the shards other than `here` that want something of it, ascending.
    pub(crate) fn each_reader(
        &self,
        interest: &Interest,
        here: ShardId,
        mut reader: impl FnMut(ShardId),
    ) {
        let formats = self.formats();
        interest.each(&self.topic, |shard, wanted| {
            if shard != here && wanted.intersects(formats) {
                reader(shard);
            }
        });
    }
}

/// One message of a [`Batch`], or one writing of it.
#[derive(Clone, Copy, Debug)]
pub struct BatchEntry {
    /// Text or binary.
    pub opcode: Opcode,
    /// Payload length, bytes.
    pub bytes: usize,
    /// Only subscribers in these formats are to have it.
    pub formats: Formats,
    /// The connection that is not to have it.
    pub exclude: Option<ConnectionId>,
}

/// What a shard asks of the service thread.
pub enum ServiceRequest<A: App> {
    /// A plain HTTP request: the socket and what was read from it.
    Http {
        /// The socket.
        descriptor: Descriptor,
        /// Its far end.
        peer: SocketAddr,
        /// The request head and whatever followed it.
        bytes: Vec<u8>,
    },
    /// Work whose result is mailed back to the shard that asked.
    Spawn(Pin<Box<dyn Future<Output = Mail<A>> + Send>>),
}

impl<A: App> fmt::Debug for ServiceRequest<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http {
                descriptor,
                peer,
                bytes,
            } => {
                write!(f, "Http({descriptor:?}, {peer}, {} B)", bytes.len())
            }
            Self::Spawn(_) => f.write_str("Spawn"),
        }
    }
}
