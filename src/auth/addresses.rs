//! How many connections, and how quickly, from one address.
//!
//! An IPv6 client has a network of its own: what counts is the /64. The table holds who is connected
//! or came a moment ago, and forgets the others when it grows.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;

use crate::time::Now;

/// Most addresses in the table. Further ones are let in without being counted, and that is counted:
/// so many addresses at once are not held off by a limit on each.
pub const ADDRESSES_MAX: usize = 1 << 20;
/// The table in pieces, so that shards seldom wait for each other.
const PIECES: usize = 64;
const PIECE_MAX: usize = ADDRESSES_MAX / PIECES;
/// A piece is not searched for what can be forgotten before it has this many.
const SWEEP_FROM: usize = 64;
/// A full piece is searched at most once in this time, microseconds.
const SWEEP_PAUSE_US: u64 = 1_000_000;

/// Limits of one address. Zero: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressLimits {
    /// Handshakes a second, over time.
    pub handshakes_per_second: u32,
    /// Handshakes at once, after a pause. At least one.
    pub burst: u32,
    /// Connections at a time.
    pub connections_max: u32,
}

/// Why an address may not come in now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Too many handshakes.
    #[error("too many handshakes from this address")]
    Rate {
        /// When the next one will be taken.
        retry_after_ms: u64,
    },
    /// Too many connections.
    #[error("too many connections from this address")]
    Connections,
}

/// The addresses of those who are connected.
pub struct Addresses {
    limits: Mutex<AddressLimits>,
    pieces: Box<[Mutex<Piece>]>,
    uncounted: AtomicU64,
}

#[derive(Debug)]
struct Piece {
    entries: HashMap<u64, Entry>,
    /// At this size, what can be forgotten is looked for.
    sweep_at: usize,
    /// And not before this time, in microseconds: a full piece with nothing to forget would be
    /// searched for each newcomer.
    sweep_after_us: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    open: u32,
    /// When all handshakes so far would have been due, in microseconds of the monotonic clock: the
    /// theoretical arrival time of the generic cell rate algorithm. ITU-T I.371.
    due_us: u64,
}

/// A connection's place under its address. Given back when it is dropped.
#[derive(Debug)]
#[must_use = "to drop it is to give the place back"]
pub struct Permit(Option<(Arc<Addresses>, u64)>);

impl Default for Piece {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            sweep_at: SWEEP_FROM,
            sweep_after_us: 0,
        }
    }
}

impl std::fmt::Debug for Addresses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Addresses")
            .field("limits", &self.limits())
            .finish_non_exhaustive()
    }
}

impl Permit {
    /// Whether it holds a place: where there are no limits, nobody counts.
    pub fn is_counted(&self) -> bool {
        self.0.is_some()
    }
}

impl Addresses {
    /// An empty table.
    pub fn new(limits: AddressLimits) -> Self {
        Self {
            limits: Mutex::new(limits),
            pieces: (0..PIECES).map(|_| Mutex::default()).collect(),
            uncounted: AtomicU64::new(0),
        }
    }

    /// The limits.
    pub fn limits(&self) -> AddressLimits {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes other limits, for those who come from now on.
    pub fn set_limits(&self, limits: AddressLimits) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    /// Lets a handshake in, until the permit is dropped.
    ///
    /// Errors: [`AddressError::Connections`], [`AddressError::Rate`]. Neither counts as a handshake.
    pub fn enter(self: &Arc<Self>, address: IpAddr, now: Now) -> Result<Permit, AddressError> {
        let limits = self.limits();
        if limits.handshakes_per_second == 0 && limits.connections_max == 0 {
            return Ok(Permit(None));
        }
        let key = key(address);
        let now_us = now.monotonic_ms.saturating_mul(1000);
        let mut piece = self.piece(key);
        if !piece.entries.contains_key(&key) && !piece.has_room(now_us) {
            self.uncounted.fetch_add(1, Ordering::Relaxed);
            return Ok(Permit(None));
        }
        let entry = piece.entries.entry(key).or_default();
        if limits.connections_max > 0 && entry.open >= limits.connections_max {
            return Err(AddressError::Connections);
        }
        entry.due_us = limits.next_due_us(entry.due_us, now_us)?;
        entry.open += 1;
        drop(piece);
        Ok(Permit(Some((self.clone(), key))))
    }

    /// Connections that were let in uncounted because the table was full.
    pub fn uncounted(&self) -> u64 {
        self.uncounted.load(Ordering::Relaxed)
    }

    /// Addresses in the table.
    pub fn len(&self) -> usize {
        self.pieces
            .iter()
            .map(|piece| lock(piece).entries.len())
            .sum()
    }

    /// Whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn piece(&self, key: u64) -> MutexGuard<'_, Piece> {
        lock(&self.pieces[piece_of(key)])
    }
}

/// Where a key lies: by the last bits of an IPv4 address, the last of a /64, which differ most.
fn piece_of(key: u64) -> usize {
    let spread = key ^ key >> 6 ^ key >> 12;
    usize::try_from(spread % PIECES as u64).expect("below PIECES")
}

fn lock(piece: &Mutex<Piece>) -> MutexGuard<'_, Piece> {
    // An entry is changed by single assignments: a panic elsewhere left nothing half done.
    piece.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Piece {
    /// Whether there is room for one more, once those are forgotten who are gone.
    fn has_room(&mut self, now_us: u64) -> bool {
        let is_due = self.entries.len() < PIECE_MAX || now_us >= self.sweep_after_us;
        if self.entries.len() >= self.sweep_at && is_due {
            self.entries
                .retain(|_, entry| entry.open > 0 || entry.due_us > now_us);
            // Twice as many may come before the next look, so that looking costs little each.
            self.sweep_at = (self.entries.len() * 2).clamp(SWEEP_FROM, PIECE_MAX);
            self.sweep_after_us = now_us.saturating_add(SWEEP_PAUSE_US);
        }
        self.entries.len() < PIECE_MAX
    }
}

impl AddressLimits {
    /// When all handshakes would be due, one more included. Errors: [`AddressError::Rate`].
    fn next_due_us(self, due_us: u64, now_us: u64) -> Result<u64, AddressError> {
        if self.handshakes_per_second == 0 {
            return Ok(0);
        }
        let each_us = 1_000_000 / u64::from(self.handshakes_per_second).min(1_000_000);
        let ahead_us = each_us.saturating_mul(u64::from(self.burst.max(1) - 1));
        let from_us = due_us.max(now_us);
        let early_us = (from_us - now_us).saturating_sub(ahead_us);
        match early_us {
            0 => Ok(from_us.saturating_add(each_us)),
            early_us => Err(AddressError::Rate {
                retry_after_ms: early_us.div_ceil(1000),
            }),
        }
    }
}

/// What counts as one address: an IPv4 address, or the first of the /64 of an IPv6 one, which one client
/// has all of. IPv4 is IPv4, also where it came as IPv6.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

/// The same as a key of the table. Those of IPv4 lie in
/// `0.0.0.0/8` of the former, which nobody has as an IPv6 network.
fn key(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => u64::try_from(v6.to_bits() >> 64).expect("64 bits are left"),
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some((addresses, key)) = self.0.take() else {
            return;
        };
        let mut piece = addresses.piece(key);
        if let Some(entry) = piece.entries.get_mut(&key) {
            entry.open = entry.open.saturating_sub(1);
            // Who has no handshakes to answer for is forgotten at once, the others by the next look.
            if entry.open == 0 && entry.due_us == 0 {
                piece.entries.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn at(monotonic_ms: u64) -> Now {
        Now {
            monotonic_ms,
            unix_ms: 0,
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn addresses(handshakes_per_second: u32, burst: u32, connections_max: u32) -> Arc<Addresses> {
        Arc::new(Addresses::new(AddressLimits {
            handshakes_per_second,
            burst,
            connections_max,
        }))
    }

    #[test]
    fn a_place_is_free_again_when_its_permit_is_dropped() {
        let addresses = addresses(0, 0, 2);
        let first = addresses.enter(ip("1.1.1.1"), at(0)).unwrap();
        let _second = addresses.enter(ip("1.1.1.1"), at(0)).unwrap();
        let third = addresses.enter(ip("1.1.1.1"), at(0));
        assert_eq!(third.unwrap_err(), AddressError::Connections);
        let _other = addresses.enter(ip("1.1.1.2"), at(0)).unwrap();
        drop(first);
        let _third = addresses.enter(ip("1.1.1.1"), at(0)).unwrap();
        assert_eq!(addresses.len(), 2);
    }

    #[test]
    fn an_address_without_connections_is_forgotten() {
        let addresses = addresses(0, 0, 1);
        drop(addresses.enter(ip("1.1.1.1"), at(0)).unwrap());
        assert!(addresses.is_empty());
    }

    #[test]
    fn handshakes_are_taken_at_their_rate_after_a_burst() {
        let addresses = addresses(10, 3, 0);
        let enter = |ms| addresses.enter(ip("1.1.1.1"), at(ms)).map(drop);
        for _ in 0..3 {
            assert_eq!(enter(1000), Ok(()));
        }
        assert_eq!(
            enter(1000),
            Err(AddressError::Rate {
                retry_after_ms: 100
            })
        );
        assert_eq!(enter(1099), Err(AddressError::Rate { retry_after_ms: 1 }));
        assert_eq!(enter(1100), Ok(()));
        assert_eq!(
            enter(1100),
            Err(AddressError::Rate {
                retry_after_ms: 100
            })
        );
        for _ in 0..3 {
            assert_eq!(enter(9000), Ok(()), "a pause fills the burst, not more");
        }
        assert!(enter(9000).is_err());
    }

    #[test]
    fn an_ipv6_network_counts_as_one() {
        let addresses = addresses(0, 0, 1);
        let _permit = addresses.enter(ip("2001:db8:0:1::1"), at(0)).unwrap();
        assert!(addresses.enter(ip("2001:db8:0:1:ffff::2"), at(0)).is_err());
        assert!(addresses.enter(ip("2001:db8:0:2::1"), at(0)).is_ok());
        let _permit = addresses.enter(ip("::ffff:1.1.1.1"), at(0)).unwrap();
        assert!(addresses.enter(ip("1.1.1.1"), at(0)).is_err());
    }

    #[test]
    fn the_table_forgets_and_is_bounded() {
        let addresses = addresses(1, 1, 0);
        let enter = |n: u32, ms| addresses.enter(IpAddr::V4(Ipv4Addr::from_bits(n)), at(ms));
        for n in 0..10_000 {
            // A second each: those before have no handshakes to answer for.
            drop(enter(n, u64::from(n) * 1000).unwrap());
        }
        assert!(
            addresses.len() <= PIECES * SWEEP_FROM,
            "{}",
            addresses.len()
        );
    }

    #[test]
    fn who_comes_when_a_piece_is_full_is_let_in_uncounted() {
        let addresses = addresses(1, 1, 0);
        let enter = |n: u32, ms| addresses.enter(IpAddr::V4(Ipv4Addr::from_bits(n)), at(ms));
        let of_one_piece = (0..).filter(|n| piece_of(u64::from(*n)) == 0);
        let open: Vec<_> = of_one_piece
            .take(PIECE_MAX + 10)
            .map(|n| enter(n, 0).unwrap())
            .collect();
        assert_eq!((addresses.len(), addresses.uncounted()), (PIECE_MAX, 10));
        let others = enter(1, 0).unwrap();
        assert_eq!(addresses.len(), PIECE_MAX + 1, "the other pieces have room");
        drop((open, others));
        drop(enter(0, 10_000).unwrap());
        let last = (0..)
            .filter(|n| piece_of(u64::from(*n)) == 0)
            .nth(PIECE_MAX + 10)
            .unwrap();
        drop(enter(last, 10_000).unwrap());
        assert_eq!(addresses.uncounted(), 10, "there is room again");
    }

    #[test]
    fn without_limits_nothing_is_held() {
        let addresses = addresses(0, 5, 0);
        let _permit = addresses.enter(ip("1.1.1.1"), at(0)).unwrap();
        assert!(addresses.is_empty());
        addresses.set_limits(AddressLimits {
            connections_max: 1,
            ..AddressLimits::default()
        });
        let _permit = addresses.enter(ip("1.1.1.1"), at(0)).unwrap();
        assert!(addresses.enter(ip("1.1.1.1"), at(0)).is_err());
    }
}
