//! One connection's record: small, plain, and the same for a million of them.
//!
//! ```text
//!   Accepted ─► Head ─► (Asked) ─► (Deferred) ─► Open ─► Closing ─► Released ─► gone
//!                 │          │                   ▲
//!                 └──────────┴──► Refused ───────┘
//! ```

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use smallvec::SmallVec;

use super::format::Format;
use super::mail::Handshake;
use super::send_queue::SendQueue;
use super::users::Links;
use crate::id::UserId;
use crate::ws::{Decoder, WindowBits};

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The request head is being read.
    Head,
    /// The 101 is written, and the first messages are to say whose the connection is.
    Asked,
    /// The request is in order, or a message has said whose the connection is, and the answer is
    /// awaited from the service thread.
    Deferred,
    /// An HTTP refusal, or a close frame in its place, is being written; the rest of what comes in is thrown away.
    Refused,
    /// The 101 is queued or sent: messages pass.
    Open,
    /// A close frame is queued or sent; what comes in is thrown away until the peer ends.
    Closing,
    /// The driver was told to close.
    Released,
}

/// Whether what a peer sends is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reading {
    #[default]
    On,
    /// Not while so much waits for the peer, or to be decoded.
    Paused,
    /// Not while memory is short and the connection holds much of it, nor while the other reason is
    /// there.
    Pressed,
    /// To its end, though memory is short: the peer has sent its last byte.
    Ending,
}

/// Marks of a connection, a byte each.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Marks {
    /// An owned send is in flight: topics wait in their logs, replies in the private queue.
    pub(crate) blocked: bool,
    /// HTTP phase: a receive was asked for and has not completed. There may be only one.
    pub(crate) receiving: bool,
    /// Whether what the peer sends is read.
    pub(crate) reading: Reading,
    /// A keepalive ping was sent since anything came in.
    pub(crate) pinged: bool,
    /// The socket was half-closed after the last byte.
    pub(crate) shut: bool,
    /// The peer has ended its stream.
    pub(crate) ended: bool,
    /// The application is to hear of [`App::drain`](super::App::drain).
    pub(crate) drain: bool,
}

/// One subscription: a lane of a topic, and the place in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscription {
    pub(crate) lane: u32,
    pub(crate) place: Place,
}

/// Where a lane keeps a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u32);

const LAGGARD: u32 = 1 << 31;

impl Place {
    /// Among those who are up to date.
    pub(crate) fn live(index: usize) -> Self {
        Self(u32::try_from(index).expect("slots are 24 bits wide"))
    }

    /// Among those who have a cursor of their own.
    pub(crate) fn laggard(index: usize) -> Self {
        Self(u32::try_from(index).expect("slots are 24 bits wide") | LAGGARD)
    }

    pub(crate) fn is_laggard(self) -> bool {
        self.0 & LAGGARD != 0
    }

    pub(crate) fn index(self) -> usize {
        (self.0 & !LAGGARD) as usize
    }
}

/// A peer's address in 18 bytes rather than 32.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    ip: [u8; 16],
    port: [u8; 2],
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Self {
            ip: ip.octets(),
            port: address.port().to_be_bytes(),
        }
    }
}

impl From<Peer> for SocketAddr {
    fn from(peer: Peer) -> Self {
        let ip = Ipv6Addr::from(peer.ip).to_canonical();
        Self::new(ip, u16::from_be_bytes(peer.port))
    }
}

/// What is known of a connection before it is open.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    /// The part of the request head that has come in, and what follows it.
    pub(crate) bytes: Vec<u8>,
    /// The parts of the 101, while the answer is awaited.
    pub(crate) handshake: Handshake,
    /// Frames that came while it was asked whose it is.
    pub(crate) frames: u8,
}

/// Bytes of an open connection that wait to be decoded, because too much waits to be sent to it.
#[derive(Debug)]
pub(crate) struct Unread {
    bytes: Vec<u8>,
    /// So many of `bytes` are done with.
    at: usize,
}

impl Unread {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            at: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Bytes that are kept, those that are done with counted.
    pub(crate) fn held_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn rest(&mut self) -> &mut [u8] {
        &mut self.bytes[self.at..]
    }

    /// All but the last `rest` bytes are done with.
    pub(crate) fn keep(&mut self, rest: usize) {
        self.at = self.bytes.len() - rest;
    }

    /// Adds bytes. What is done with goes when it is the larger part, so that each byte is moved
    /// at most once on average, however small the portions are in which it is decoded.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.at > self.len() {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }
}

/// What is kept of what a connection has sent. Nearly all connections keep nothing.
#[derive(Debug)]
pub(crate) enum Held {
    /// Before [`Phase::Open`].
    Opening(Opening),
    /// In [`Phase::Open`].
    Unread(Unread),
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection<D> {
    pub(crate) data: D,
    pub(crate) decoder: Decoder,
    pub(crate) queue: Option<Box<SendQueue>>,
    pub(crate) held: Option<Box<Held>>,
    pub(crate) subscriptions: SmallVec<[Subscription; 2]>,
    /// Whose it is, while it is open.
    pub(crate) user: Option<UserId>,
    pub(crate) links: Links,
    /// Bytes of the owned send in flight.
    pub(crate) in_flight_bytes: u32,
    /// Of one message, bytes, before and after inflating; `u32::MAX` is 4 GiB or more.
    pub(crate) message_bytes_max: u32,
    /// Second at which anything last came in.
    pub(crate) heard_s: u32,
    /// In [`Phase::Open`] the second at which a message last came in, else that in which the phase
    /// ends.
    pub(crate) moment_s: u32,
    /// Second at which the peer last took something, while `blocked`. Before [`Phase::Open`] the
    /// millisecond at which the socket was accepted, modulo 2^32. Else meaningless.
    pub(crate) written_s: u32,
    /// Second of the soonest check in the wheel.
    pub(crate) check_s: u32,
    pub(crate) peer: Peer,
    /// LZ77 window bits of compressed messages to the peer; `None`: no compression.
    pub(crate) window_bits: Option<WindowBits>,
    /// In which it takes broadcasts, and topics unless it says otherwise.
    pub(crate) format: Format,
    pub(crate) phase: Phase,
    pub(crate) marks: Marks,
}

impl<D: Default> Connection<D> {
    pub(crate) fn new(peer: SocketAddr, phase: Phase) -> Self {
        Self {
            data: D::default(),
            decoder: Decoder::default(),
            queue: None,
            held: None,
            subscriptions: SmallVec::new(),
            user: None,
            links: Links::default(),
            in_flight_bytes: 0,
            message_bytes_max: 0,
            heard_s: 0,
            moment_s: u32::MAX,
            written_s: 0,
            check_s: u32::MAX,
            peer: peer.into(),
            window_bits: None,
            format: Format::default(),
            phase,
            marks: Marks::default(),
        }
    }
}

impl<D> Connection<D> {
    /// Bytes that wait for the peer, in the private queue and in flight.
    pub(crate) fn buffered(&self) -> usize {
        self.in_flight_bytes as usize + self.queue.as_ref().map_or(0, |queue| queue.len())
    }

    /// Bytes kept of what the connection has sent.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held.as_deref().map_or(0, |held| match held {
            Held::Opening(opening) => opening.bytes.len(),
            Held::Unread(unread) => unread.held_bytes(),
        })
    }

    /// The bytes of an open connection that wait to be decoded.
    pub(crate) fn unread(&self) -> Option<&Unread> {
        match self.held.as_deref() {
            Some(Held::Unread(unread)) => Some(unread),
            Some(Held::Opening(_)) | None => None,
        }
    }

    pub(crate) fn unread_mut(&mut self) -> Option<&mut Unread> {
        match self.held.as_deref_mut() {
            Some(Held::Unread(unread)) => Some(unread),
            Some(Held::Opening(_)) | None => None,
        }
    }

    pub(crate) fn take_unread(&mut self) -> Option<Unread> {
        match *self
            .held
            .take_if(|held| matches!(**held, Held::Unread(_)))?
        {
            Held::Unread(unread) => Some(unread),
            Held::Opening(_) => None,
        }
    }

    pub(crate) fn keep_unread(&mut self, unread: Unread) {
        self.held = Some(Box::new(Held::Unread(unread)));
    }

    /// Whether its 101 is written though it is not open, so that a close frame must refuse it.
    pub(crate) fn is_answered(&self) -> bool {
        let has_been = |opening: &Opening| opening.handshake.is_answered;
        self.phase == Phase::Asked || self.opening().is_some_and(has_been)
    }

    /// What is kept of the handshake, in its place.
    pub(crate) fn opening(&self) -> Option<&Opening> {
        match self.held.as_deref() {
            Some(Held::Opening(opening)) => Some(opening),
            Some(Held::Unread(_)) | None => None,
        }
    }

    pub(crate) fn opening_mut(&mut self) -> Option<&mut Opening> {
        match self.held.as_deref_mut() {
            Some(Held::Opening(opening)) => Some(opening),
            Some(Held::Unread(_)) | None => None,
        }
    }

    /// What is kept of the handshake, taken out.
    pub(crate) fn take_opening(&mut self) -> Option<Opening> {
        match *self
            .held
            .take_if(|held| matches!(**held, Held::Opening(_)))?
        {
            Held::Opening(opening) => Some(opening),
            Held::Unread(_) => None,
        }
    }

    pub(crate) fn keep_opening(&mut self, opening: Opening) {
        self.held = Some(Box::new(Held::Opening(opening)));
    }
}

// A record is what an idle connection costs most. docs/DENSITY.md adds it all up.
const _: () = assert!(size_of::<Connection<()>>() <= 136);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_records() {
        let parts = [
            ("decoder", size_of::<Decoder>()),
            ("send queue", size_of::<Option<Box<SendQueue>>>()),
            ("held bytes", size_of::<Option<Box<Held>>>()),
            ("subscriptions", size_of::<SmallVec<[Subscription; 2]>>()),
            ("user", size_of::<Option<UserId>>()),
            ("links", size_of::<Links>()),
            ("two sizes, four seconds", 6 * size_of::<u32>()),
            ("peer", size_of::<Peer>()),
            ("window bits", size_of::<Option<WindowBits>>()),
            ("format", size_of::<Format>()),
            ("phase", size_of::<Phase>()),
            ("marks", size_of::<Marks>()),
        ];
        for (name, bytes) in parts {
            println!("{bytes:4}  {name}");
        }
        let whole = size_of::<Connection<()>>();
        println!("{whole:4}  a connection's record");
        let sum: usize = parts.iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(
            whole,
            sum.next_multiple_of(8),
            "nothing else is in the record"
        );
        let option = size_of::<Option<Connection<()>>>();
        assert_eq!(
            option, whole,
            "an empty place in the slab costs no mark of its own"
        );
    }

    #[test]
    fn unread_bytes_stay_in_order_and_what_is_done_with_goes() {
        let mut unread = Unread::new(b"abcdef");
        unread.keep(4);
        unread.push(b"gh");
        assert_eq!(unread.at, 2);
        assert_eq!(unread.rest(), b"cdefgh");
        unread.keep(1);
        unread.push(b"ij");
        assert_eq!(unread.at, 0);
        assert_eq!(unread.rest(), b"hij");
    }

    #[test]
    fn addresses_survive_packing() {
        for address in ["127.0.0.9:8080", "[2001:db8::1]:65535"] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(SocketAddr::from(Peer::from(address)), address);
        }
    }

    #[test]
    fn an_idle_connection_is_small() {
        assert!(
            size_of::<Connection<()>>() <= 160,
            "{}",
            size_of::<Connection<()>>()
        );
    }
}
