//! Between ring and shard: the connections whose bytes pass through TLS, or begin with a proxy's header.
//!
//! Ring and shard know nothing of it. The ring moves bytes; the shard is told plaintext and hands out
//! plaintext; here each connection has its [`Passage`]. Plain connections have none, and a server that
//! has only those pays one look at an empty table per completion and per turn.
//!
//! *In.* What comes in is decrypted in the receive buffer. While the handshake lasts the shard has asked
//! for a request and waits; we ask the ring for more in its name.
//!
//! *Out.* At the end of a turn the shard's sends to our connections are encrypted one after the other
//! into one buffer and go out with those of plain connections, in the same system call: still one send a
//! socket and turn. A fan-out whose ciphertext is larger than [`WAVE_BYTES`] goes out in waves, so that
//! neither memory nor cache is filled with it. What a socket does not take is sent by an owned send, and
//! the shard is told so ([`Shard::taken_over`]): to it the connection is one whose socket is full.
//!
//! *Records of our own* (the handshake, tickets, alerts). Until the first plaintext they go out by
//! themselves at the end of the turn. From then on, in the HTTP phase, they wait for the shard to write,
//! because it may give the socket away at any time, and nothing must be in flight then: with the socket
//! they travel to another shard or to the service thread.

use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::collections::BitSet;
use crate::id::Slot;
use crate::metrics::Counters;
use crate::ring::{Batch, Ring, SEND_BYTES_MAX};
use crate::security::{self, Event, Kind};
use crate::shard::Sink;
use crate::tls::{Passage, Passed, Refused, Session, SessionError};
use resting::{LOOKS_PER_TICK_MAX, Resting, Use};

/// Ciphertext that is sent before the turn's other sends, so that more finds room, bytes. About what
/// stays in a core's own cache.
const WAVE_BYTES: usize = 1 << 20;
/// Largest buffers that are kept from one turn to the next, bytes: a wave and one more large send; and
/// the plaintext of a few records.
const CIPHERTEXT_KEPT_BYTES: usize = 2 * WAVE_BYTES;
const PLAINTEXT_KEPT_BYTES: usize = 64 * 1024;

/// Connections for which there is room even when there are none.
const TABLE_KEPT: usize = 64;

/// One connection that does not go straight from the ring to the shard.
struct Transport {
    passage: Box<Passage>,
    /// Where in `Transports::sealed` this turn's send is; meaningless without one.
    sealed: u32,
    /// What waits in the passage, as it is in `Transports::held`, bytes.
    held: u32,
    last_use: Use,
    marks: Marks,
}

impl Transport {
    /// What a connection takes at least, bytes: its place in the table, and its passage.
    const BYTES: u64 = (size_of::<(Slot, Self)>() + size_of::<Passage>()) as u64;
}

/// What has become of handshakes, and of proxies' headers. Some of [`Counters`].
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    handshakes: u64,
    resumed: u64,
    failed_plain: u64,
    failed_refused: u64,
    failed_protocol: u64,
    failed_unfinished: u64,
    proxy_refused: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    /// The HTTP phase is over.
    promoted: bool,
    /// HTTP phase: a receive is in flight.
    receiving: bool,
    /// The shard knows the connection by its bytes, and may write or give it away.
    spoken: bool,
    /// The owned send in flight is our own, and the shard knows nothing of it.
    own_send: bool,
    /// In `Transports::waiting`.
    waiting: bool,
    /// The shard has been told that the peer sends no more.
    ended: bool,
    /// The ring has been told to close.
    closing: bool,
}

/// The transports of one shard.
#[derive(Default)]
pub(super) struct Transports {
    members: BitSet,
    table: HashMap<Slot, Transport, FixedState>,
    /// Connections with records of their own to send at the end of this turn.
    waiting: Vec<Slot>,
    /// This turn's records, as far as they are not sent, and whose they are.
    ciphertext: Vec<u8>,
    sealed: Vec<(Slot, Range<usize>)>,
    /// Whose send was short, for the shard; and bytes that are being sent.
    taken_over: Vec<(Slot, usize)>,
    /// Whose session can encrypt nothing more.
    failed: Vec<Slot>,
    /// For the next plaintext; the memory is reused.
    plaintext: Vec<u8>,
    /// What waits in all passages, bytes.
    held: u64,
    resting: Resting,
    counts: Counts,
}

impl fmt::Debug for Transports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transports({})", self.table.len())
    }
}

/// What has come of received bytes, for the shard, in the order of the fields.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    pub(super) peer: Option<SocketAddr>,
    /// To be given back by [`Transports::recycle`].
    pub(super) plaintext: Vec<u8>,
    pub(super) end: End,
}

/// How a connection goes on after what has arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum End {
    #[default]
    Open,
    /// The peer sends no more.
    PeerClosed,
    /// It is to be told that this port speaks TLS.
    NotTls,
    /// It is to be cut.
    Failed,
}

impl Transports {
    /// Whether every connection is plain.
    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Bytes that connections take here, and what is kept for reuse. Without what rustls allocates for a
    /// handshake, and the ciphers of those that are not resting.
    pub(super) fn bytes(&self) -> u64 {
        let buffers = self.ciphertext.capacity() + self.plaintext.capacity();
        self.table.len() as u64 * Transport::BYTES + self.held + buffers as u64
    }

    /// Brings what was counted here into a shard's counters.
    pub(super) fn tell(&self, counters: &mut Counters) {
        let counts = &self.counts;
        counters.tls_handshakes = counts.handshakes;
        counters.tls_resumed = counts.resumed;
        counters.tls_failed_plain = counts.failed_plain;
        counters.tls_failed_refused = counts.failed_refused;
        counters.tls_failed_protocol = counts.failed_protocol;
        counters.tls_failed_unfinished = counts.failed_unfinished;
        counters.proxy_refused = counts.proxy_refused;
    }

    /// Somebody who is no trusted proxy has been cut.
    pub(super) fn note_untrusted(&mut self) {
        self.counts.proxy_refused += 1;
    }

    /// Brings what waits in a passage into the sum, after anything that may have changed it.
    fn weigh(&mut self, slot: Slot) {
        if let Some(transport) = self.table.get_mut(&slot) {
            let before = u64::from(transport.held);
            transport.held = u32::try_from(transport.passage.held_bytes()).unwrap_or(u32::MAX);
            self.held = self.held + u64::from(transport.held) - before;
        }
    }

    /// Whether a connection is one of ours, and not plain.
    pub(super) fn has(&self, slot: Slot) -> bool {
        !self.is_empty() && self.members.contains(slot.0)
    }

    /// Whether TLS protects a connection.
    pub(super) fn is_secure(&self, slot: Slot) -> bool {
        self.has(slot)
            && self
                .table
                .get(&slot)
                .is_some_and(|transport| transport.passage.is_secure())
    }

    fn get_mut(&mut self, slot: Slot) -> Option<&mut Transport> {
        if self.is_empty() {
            return None;
        }
        self.table.get_mut(&slot)
    }

    /// The connection in `slot` has something to pass through.
    pub(super) fn adopt(&mut self, slot: Slot, passage: Box<Passage>) {
        // One that comes from another shard: it may be refused here, and that is written.
        let spoken = matches!(&*passage, Passage::Tls(session) if !session.is_handshaking());
        let marks = Marks {
            spoken,
            ..Marks::default()
        };
        let transport = Transport {
            passage,
            sealed: 0,
            held: 0,
            last_use: Use::default(),
            marks,
        };
        self.members.insert(slot.0);
        let before = self.table.insert(slot, transport);
        debug_assert!(before.is_none(), "{slot:?} was not released");
        self.note_use(slot);
        self.weigh(slot);
    }

    /// The slot is free, or plain from here on.
    pub(super) fn remove(&mut self, slot: Slot) -> Option<Box<Passage>> {
        if !self.has(slot) {
            return None;
        }
        self.members.remove(slot.0);
        self.resting.forget(slot);
        let transport = self.table.remove(&slot);
        if let Some(Transport { passage, held, .. }) = &transport {
            self.held -= u64::from(*held);
            let is_unfinished =
                |session: &Session| session.is_handshaking() && !session.has_failed();
            if matches!(&**passage, Passage::Tls(session) if is_unfinished(session)) {
                self.counts.failed_unfinished += 1;
            }
        }
        if self.table.is_empty() {
            // Whatever a busier time has needed.
            self.table.shrink_to(TABLE_KEPT);
        }
        transport.map(|transport| transport.passage)
    }

    /// A receive of the HTTP phase is in flight.
    pub(super) fn receiving(&mut self, slot: Slot) {
        if let Some(transport) = self.get_mut(slot) {
            transport.marks.receiving = true;
        }
    }

    /// The HTTP phase is over.
    pub(super) fn promoted(&mut self, slot: Slot) {
        if let Some(transport) = self.get_mut(slot) {
            transport.marks.promoted = true;
            transport.marks.spoken = true;
        }
    }

    /// Bytes have come from the socket of one of our connections.
    pub(super) fn received(&mut self, slot: Slot, bytes: &mut [u8], ring: &mut Ring) -> Arrived {
        let Some(transport) = self.table.get_mut(&slot) else {
            return Arrived::default();
        };
        transport.marks.receiving = false;
        if transport.marks.own_send
            && !transport.marks.promoted
            && let Some(session) = transport.passage.session()
        {
            // The shard might give the socket away, and a send is in flight: later.
            session.hold(bytes);
            self.weigh(slot);
            return Arrived::default();
        }
        self.pass(slot, bytes, ring)
    }

    fn pass(&mut self, slot: Slot, bytes: &mut [u8], ring: &mut Ring) -> Arrived {
        let mut plaintext = std::mem::take(&mut self.plaintext);
        let Some(transport) = self.table.get_mut(&slot) else {
            return Arrived::default();
        };
        self.resting.note(slot, &mut transport.last_use);
        let was_handshaking = is_handshaking(&mut transport.passage);
        let Passed { peer } = match transport.passage.read(bytes, &mut plaintext) {
            Ok(passed) => passed,
            Err(refused) => {
                plaintext.clear();
                let end = self.refuse(slot, &refused, was_handshaking);
                self.weigh(slot);
                return Arrived {
                    peer: None,
                    plaintext,
                    end,
                };
            }
        };
        let marks = &mut transport.marks;
        let session = transport.passage.session();
        if let Some(session) = &session
            && was_handshaking
            && !session.is_handshaking()
        {
            self.counts.handshakes += 1;
            self.counts.resumed += u64::from(session.is_resumed());
        }
        let has_pending = session
            .as_ref()
            .is_some_and(|session| session.has_pending());
        let is_closed = session.is_some_and(|session| session.is_peer_closed());
        let end = match is_closed && !marks.ended {
            true => End::PeerClosed,
            false => End::Open,
        };
        marks.ended |= is_closed;
        marks.spoken |= !plaintext.is_empty();
        let is_on_our_own = plaintext.is_empty() && end == End::Open;
        if is_on_our_own && !marks.promoted && !marks.receiving {
            marks.receiving = true;
            ring.receive(slot);
        }
        if has_pending && (marks.promoted || !marks.spoken) {
            self.wait_for_turn_end(slot);
        } else if matches!(*transport.passage, Passage::Plain) {
            self.remove(slot);
        }
        self.weigh(slot);
        Arrived {
            peer,
            plaintext,
            end,
        }
    }

    fn refuse(&mut self, slot: Slot, refused: &Refused, was_handshaking: bool) -> End {
        let counts = &mut self.counts;
        match refused {
            Refused::Proxy(_) => counts.proxy_refused += 1,
            Refused::Session(_) if !was_handshaking => {}
            Refused::Session(SessionError::NotTls) => counts.failed_plain += 1,
            Refused::Session(error) if error.is_refusal() => counts.failed_refused += 1,
            Refused::Session(_) => counts.failed_protocol += 1,
        }
        if let Refused::Session(SessionError::NotTls) = refused {
            self.remove(slot);
            return End::NotTls;
        }
        let transport = self.get_mut(slot);
        match transport.map(|transport| &*transport.passage) {
            Some(Passage::Proxy { proxy, .. }) => {
                security::report(Event {
                    kind: Kind::Refused,
                    reason: "proxy_header",
                    address: Some(proxy.ip()),
                    user: None,
                    detail: &refused.to_string(),
                });
            }
            _ => tracing::debug!(slot = slot.0, %refused, "a TLS session has failed"),
        }
        End::Failed
    }

    /// Takes back what [`Arrived`] has lent.
    pub(super) fn recycle(&mut self, mut plaintext: Vec<u8>) {
        if plaintext.capacity() <= PLAINTEXT_KEPT_BYTES && !self.is_empty() {
            plaintext.clear();
            self.plaintext = plaintext;
        }
    }

    /// The socket has no more bytes. `true`: the shard is to hear of it, and has not.
    pub(super) fn ended(&mut self, slot: Slot) -> bool {
        let transport = self.get_mut(slot);
        transport.is_none_or(|transport| !std::mem::replace(&mut transport.marks.ended, true))
    }

    /// An owned send is done. `None`: it was the shard's.
    pub(super) fn sent(&mut self, slot: Slot, ring: &mut Ring) -> Option<Arrived> {
        let transport = self.get_mut(slot)?;
        if !std::mem::take(&mut transport.marks.own_send) {
            let session = transport.passage.session();
            if session.is_some_and(|session| session.has_pending()) && transport.marks.promoted {
                self.wait_for_turn_end(slot);
            }
            return None;
        }
        if transport.marks.promoted || transport.marks.receiving || transport.marks.closing {
            return Some(Arrived::default());
        }
        // What has come meanwhile was held.
        Some(self.pass(slot, &mut [], ring))
    }

    fn wait_for_turn_end(&mut self, slot: Slot) {
        if let Some(transport) = self.table.get_mut(&slot)
            && !std::mem::replace(&mut transport.marks.waiting, true)
        {
            self.waiting.push(slot);
        }
    }

    /// Turns an owned send of the shard's into one of records. `None`: nothing can be sent; the
    /// connection will be told failed.
    pub(super) fn seal_owned(&mut self, slot: Slot, bytes: Vec<u8>) -> Option<Vec<u8>> {
        let Some(transport) = self.get_mut(slot) else {
            return Some(bytes);
        };
        let mut records = Vec::new();
        let written = write(&mut transport.passage, &[&bytes], &mut records);
        self.note_use(slot);
        self.weigh(slot);
        if written.is_err() || records.len() > SEND_BYTES_MAX {
            self.failed.push(slot);
            return None;
        }
        Some(records)
    }

    /// The shard has nothing more to send: says so to the peer, ahead of the half-close.
    pub(super) fn shut(&mut self, slot: Slot, ring: &mut Ring) {
        let Some(transport) = self.get_mut(slot) else {
            return;
        };
        if let Some(session) = transport.passage.session()
            && !ring.is_sending(slot)
        {
            let mut records = Vec::new();
            session.close_notify(&mut records);
            if !records.is_empty() {
                transport.marks.own_send = true;
                ring.send_owned(slot, records);
            }
        }
    }

    /// The shard closes: an alert, or a farewell, goes ahead of the close if the socket takes it.
    pub(super) fn close(&mut self, slot: Slot) {
        if let Some(transport) = self.get_mut(slot) {
            transport.marks.closing = true;
            self.wait_for_turn_end(slot);
        }
    }

    /// Encrypts what the shard sends to one of our connections.
    fn seal(&mut self, slot: Slot, pieces: &[&[u8]], ring: &mut Ring) {
        let Some(transport) = self.table.get_mut(&slot) else {
            return;
        };
        let start = self.ciphertext.len();
        transport.marks.waiting = false;
        self.resting.note(slot, &mut transport.last_use);
        if write(&mut transport.passage, pieces, &mut self.ciphertext).is_err() {
            self.failed.push(slot);
        }
        if transport.held > 0 {
            self.weigh(slot);
        }
        self.sealed_from(slot, start, ring);
    }

    /// Notes that the buffer's end, from `start` on, is to be sent; sends it all if that is much.
    fn sealed_from(&mut self, slot: Slot, start: usize, ring: &mut Ring) {
        let end = self.ciphertext.len();
        if let Some(transport) = self.table.get_mut(&slot)
            && start < end
        {
            transport.sealed = u32::try_from(self.sealed.len()).expect("slots are 24 bits wide");
            self.sealed.push((slot, start..end));
        }
        if end >= WAVE_BYTES {
            self.send_wave(ring);
        }
    }

    fn send_wave(&mut self, ring: &mut Ring) {
        let mut short = Vec::new();
        // An error means that the ring is broken, which the turn's own submission tells.
        let _told_later = ring.send_now(self.sends(), |slot, taken| short.push((slot, taken)));
        for (slot, taken) in short {
            self.short(slot, taken, ring);
        }
        self.ciphertext.clear();
        self.sealed.clear();
    }

    fn sends(&self) -> impl Iterator<Item = (Slot, &[u8])> {
        let bytes = |range: &Range<usize>| &self.ciphertext[range.clone()];
        self.sealed
            .iter()
            .map(move |(slot, range)| (*slot, bytes(range)))
    }

    /// Encrypts the records that wait, besides those which have gone with something of the shard's.
    pub(super) fn seal_waiting(&mut self, ring: &mut Ring) {
        let mut waiting = std::mem::take(&mut self.waiting);
        for slot in waiting.drain(..) {
            let Some(transport) = self.table.get_mut(&slot) else {
                continue;
            };
            // Behind an owned send they wait for the next write, or for nothing if we close.
            if !std::mem::take(&mut transport.marks.waiting) || ring.is_sending(slot) {
                continue;
            }
            let start = self.ciphertext.len();
            match transport.passage.session() {
                Some(session) if transport.marks.closing => {
                    session.close_notify(&mut self.ciphertext);
                }
                Some(session) => session.take_pending(&mut self.ciphertext),
                None => {}
            }
            self.weigh(slot);
            self.sealed_from(slot, start, ring);
        }
        self.waiting = waiting;
    }

    /// Hands this turn's records to the batch, by reference.
    pub(super) fn flush<'bytes>(&'bytes self, batch: &mut Batch<'_, 'bytes>) {
        for (slot, bytes) in self.sends() {
            batch.send(slot, bytes);
        }
    }

    /// A socket took only `taken` bytes of this turn's records: the rest is sent from a copy.
    pub(super) fn short(&mut self, slot: Slot, taken: usize, ring: &mut Ring) {
        let Some(transport) = self.table.get_mut(&slot) else {
            return;
        };
        let (whose, range) = &self.sealed[transport.sealed as usize];
        assert_eq!(*whose, slot, "only what was sent can be short");
        let rest = self.ciphertext[range.clone()][taken..].to_vec();
        if rest.is_empty() || transport.marks.closing {
            return;
        }
        if transport.marks.spoken {
            self.taken_over.push((slot, rest.len()));
        } else {
            transport.marks.own_send = true;
        }
        ring.send_owned(slot, rest);
    }

    /// One whose send was short this turn, and what is left of it, bytes: for [`Shard::taken_over`].
    ///
    /// [`Shard::taken_over`]: crate::shard::Shard::taken_over
    pub(super) fn pop_taken_over(&mut self) -> Option<(Slot, usize)> {
        self.taken_over.pop()
    }

    /// One whose session can encrypt nothing more.
    pub(super) fn pop_failed(&mut self) -> Option<Slot> {
        self.failed.pop()
    }

    /// The turn's sends are done.
    pub(super) fn flushed(&mut self) {
        self.sealed.clear();
        self.ciphertext.clear();
        if self.ciphertext.capacity() > CIPHERTEXT_KEPT_BYTES {
            self.ciphertext = Vec::new();
        }
        let drowsy = self.resting.drowsy();
        for &slot in &drowsy {
            self.rest(slot);
        }
        self.resting.recycle(drowsy);
    }

    /// To be called about once a second: sessions that have been quiet give back what they can do without.
    pub(super) fn tick(&mut self) {
        self.resting.tick();
        for _ in 0..LOOKS_PER_TICK_MAX {
            let Some(slot) = self.resting.next_awake() else {
                return;
            };
            self.rest(slot);
        }
    }

    fn note_use(&mut self, slot: Slot) {
        if let Some(transport) = self.table.get_mut(&slot) {
            self.resting.note(slot, &mut transport.last_use);
        }
    }

    fn rest(&mut self, slot: Slot) {
        if let Some(transport) = self.table.get_mut(&slot)
            && self.resting.goes_to_rest(slot, &mut transport.last_use)
            && let Some(session) = transport.passage.session()
        {
            session.rest();
        }
    }
}

/// Whether a handshake is to be done yet: that of a session which comes after a proxy's header, too.
fn is_handshaking(passage: &mut Passage) -> bool {
    passage.is_secure()
        && passage
            .session()
            .is_none_or(|session| session.is_handshaking())
}

fn write(passage: &mut Passage, pieces: &[&[u8]], out: &mut Vec<u8>) -> Result<(), SessionError> {
    let start = out.len();
    let session: Option<&mut Session> = passage.session();
    let written = session.map_or(Err(SessionError::NotReady), |session| {
        session.write(pieces, out)
    });
    if let Err(error) = &written {
        tracing::debug!(%error, "a TLS session cannot go on");
        out.truncate(start);
    }
    written
}

/// The first look at a turn's sends: encrypts those of our connections.
pub(super) struct Sealer<'a> {
    pub(super) transports: &'a mut Transports,
    pub(super) ring: &'a mut Ring,
}

impl<'bytes> Sink<'bytes> for Sealer<'_> {
    fn send(&mut self, slot: Slot, pieces: &[&'bytes [u8]]) {
        if self.transports.has(slot) {
            self.transports.seal(slot, pieces, self.ring);
        }
    }
}

mod resting;
#[cfg(test)]
mod tests;
