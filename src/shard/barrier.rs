//! Barriers: proof that a peer was sent, or has got, everything up to some point.
//!
//! For the proof by pong a ping with a random payload is the last piece of a send that leaves
//! nothing owed: TCP keeps order, so whoever answers it has got what went before. It is not put into
//! the private queue, whose control frames overtake messages and topics.
//!
//! Kept beside the connections' records, since nearly none of them has a barrier at a time.

use hashbrown::HashMap;
use hashbrown::hash_map::{Entry, OccupiedEntry};

use super::app::App;
use super::connection::{Phase, Subscription};
use super::core::Core;
use crate::id::Slot;
use crate::ws::{Header, Opcode};

/// What is taken as proof that a connection is past a barrier, see [`Socket::barrier`].
///
/// [`Socket::barrier`]: super::Socket::barrier
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The kernel has taken every byte. The peer may never get them.
    Written,
    /// The peer has answered a ping that was sent behind every byte (RFC 6455 section 5.5.3).
    Pong,
}

/// Payload of a barrier's ping: drawn at random for each, so that neither an unasked pong (section
/// 5.5.3 allows it) nor one to another ping proves anything.
type Nonce = [u8; 8];
/// A ping with such a payload, bytes: it is not masked.
const PING_BYTES: usize = 2 + size_of::<Nonce>();

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ping {
    None,
    /// The turn's send ends with it; it proves this token.
    Planned(u64),
    /// Sent, or in the connection's owned send.
    InFlight(u64),
}

/// The barriers of one connection: at least one.
#[derive(Debug)]
struct Barrier {
    /// Newest token to be told of when all is written.
    written: Option<u64>,
    /// Newest token that still needs a ping.
    unpinged: Option<u64>,
    ping: Ping,
    /// Of `ping`, unless it is none.
    frame: [u8; PING_BYTES],
}

impl Barrier {
    fn nonce(&self) -> &[u8] {
        &self.frame[PING_BYTES - size_of::<Nonce>()..]
    }
}

// As the documentation of `Socket::barrier` says.
const _: () = assert!(size_of::<(Slot, Barrier)>() == 72);

/// The barriers of one shard: at most one record for each open connection.
#[derive(Debug, Default)]
pub(crate) struct Barriers {
    by_slot: HashMap<Slot, Barrier>,
    /// Most records since the last [`Barriers::trim`].
    peak: usize,
}

impl Barriers {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_slot.is_empty()
    }

    fn place(&mut self, slot: Slot, token: u64, proof: Proof) {
        let barrier = self.by_slot.entry(slot).or_insert(Barrier {
            written: None,
            unpinged: None,
            ping: Ping::None,
            frame: [0; PING_BYTES],
        });
        match proof {
            Proof::Written => barrier.written = Some(token),
            Proof::Pong => barrier.unpinged = Some(token),
        }
        self.peak = self.peak.max(self.by_slot.len());
    }

    /// The ping with which the turn's send to a connection ends.
    pub(crate) fn planned_ping(&self, slot: Slot) -> Option<&[u8]> {
        let barrier = self.get(slot)?;
        matches!(barrier.ping, Ping::Planned(_)).then_some(&barrier.frame)
    }

    /// The payload of the ping whose pong is awaited.
    pub(crate) fn nonce_in_flight(&self, slot: Slot) -> Option<Nonce> {
        let barrier = self.get(slot)?;
        let in_flight = matches!(barrier.ping, Ping::InFlight(_));
        in_flight.then(|| barrier.nonce().try_into().expect("so long is the payload"))
    }

    /// The send that was planned has taken the ping with it, whole or torn.
    pub(crate) fn ping_sent(&mut self, slot: Slot) {
        if let Some(barrier) = self.get_mut(slot)
            && let Ping::Planned(token) = barrier.ping
        {
            barrier.ping = Ping::InFlight(token);
        }
    }

    /// Ends all barriers of a connection.
    pub(crate) fn remove(&mut self, slot: Slot) {
        if !self.is_empty() {
            self.by_slot.remove(&slot);
        }
    }

    /// Gives back most of the memory that was not needed since the last call: to be called once in
    /// a while.
    pub(crate) fn trim(&mut self) {
        if self.peak < self.by_slot.capacity() / 4 {
            self.by_slot.shrink_to(self.peak * 2);
        }
        self.peak = self.by_slot.len();
    }

    /// What the records have allocated, bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.by_slot.capacity() * size_of::<(Slot, Barrier)>()
    }

    fn get(&self, slot: Slot) -> Option<&Barrier> {
        if self.is_empty() {
            return None;
        }
        self.by_slot.get(&slot)
    }

    fn get_mut(&mut self, slot: Slot) -> Option<&mut Barrier> {
        if self.is_empty() {
            return None;
        }
        self.by_slot.get_mut(&slot)
    }

    fn entry(&mut self, slot: Slot) -> Option<OccupiedEntry<'_, Slot, Barrier>> {
        if self.is_empty() {
            return None;
        }
        match self.by_slot.entry(slot) {
            Entry::Occupied(entry) => Some(entry),
            Entry::Vacant(_) => None,
        }
    }
}

/// Drops a record that no longer says anything.
fn tidy(entry: OccupiedEntry<'_, Slot, Barrier>) {
    let barrier = entry.get();
    if (barrier.written, barrier.unpinged, barrier.ping) == (None, None, Ping::None) {
        entry.remove();
    }
}

impl<A: App> Core<A> {
    /// Places a barrier behind everything that the connection is owed.
    pub(crate) fn place_barrier(&mut self, slot: Slot, token: u64, proof: Proof) {
        if self.in_phase(slot, Phase::Open) {
            self.barriers.place(slot, token, proof);
            self.compose(slot);
        }
    }

    /// Lets the turn's send end with a ping, if one is wanted and the send leaves nothing owed.
    /// Call when it is settled how far the connection's topics get.
    pub(crate) fn plan_barrier(&mut self, slot: Slot) {
        if self.barriers.get(slot).is_none() || self.is_left_behind(slot) {
            return;
        }
        let Self {
            barriers, random, ..
        } = self;
        let Some(barrier) = barriers.get_mut(slot) else {
            return;
        };
        // The callback follows the send and must not wait for a next event.
        self.turn.more |= barrier.written.is_some();
        if barrier.ping == Ping::None
            && let Some(token) = barrier.unpinged.take()
        {
            let nonce: Nonce = random.u64(..).to_ne_bytes();
            let (header, payload) = barrier.frame.split_at_mut(PING_BYTES - nonce.len());
            header.copy_from_slice(&Header::whole(Opcode::Ping, nonce.len()).encode());
            payload.copy_from_slice(&nonce);
            barrier.ping = Ping::Planned(token);
        }
    }

    /// Whether the turn's send leaves something of a topic for a later one.
    fn is_left_behind(&self, slot: Slot) -> bool {
        let is_left = |s: &Subscription| {
            let lane = self.topics.lane(s.lane);
            lane.laggard(s.place)
                .is_some_and(|laggard| laggard.end < lane.log.head())
        };
        self.connection(slot)
            .is_some_and(|connection| connection.subscriptions.iter().any(is_left))
    }

    /// The connection's send has been taken whole, and nothing is owed any more.
    pub(crate) fn conclude_barrier(&mut self, slot: Slot) {
        self.barriers.ping_sent(slot);
        let Some(mut entry) = self.barriers.entry(slot) else {
            return;
        };
        let barrier = entry.get_mut();
        if let Some(token) = barrier.written.take() {
            self.written.push((slot, token));
        }
        tidy(entry);
    }

    /// A pong has come in: the token that it proves, if it does.
    pub(crate) fn pong_received(&mut self, slot: Slot, payload: &[u8]) -> Option<u64> {
        let mut entry = self.barriers.entry(slot)?;
        let barrier = entry.get_mut();
        let Ping::InFlight(token) = barrier.ping else {
            return None;
        };
        if payload != barrier.nonce() {
            return None;
        }
        barrier.ping = Ping::None;
        let is_more = barrier.unpinged.is_some();
        tidy(entry);
        if is_more {
            self.compose(slot);
        }
        Some(token)
    }
}
