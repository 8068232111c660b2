//! Names for things: shards, slots, connections and users, as newtypes that cannot be mixed up.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use smol_str::SmolStr;

use crate::limits::{CONNECTIONS_PER_SHARD_MAX, SHARDS_MAX};

/// Which shard, `0..shards`. At most [`SHARDS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

impl ShardId {
    /// The shard as an index into per-shard tables.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A connection's place in its shard's slab, and in the ring's table of direct descriptors.
///
/// A slot is used again after its connection is gone; a [`ConnectionId`] is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u32);

impl Slot {
    /// The slot as an index into per-slot tables.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One connection for the life of the process: shard, slot and the slot's generation.
///
/// Packed as `shard:16 | generation:24 | slot:24`. A stale identifier names nobody: the generation
/// of a slot changes with each connection that uses it (and comes round after 16 million).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

const SLOT_BITS: u32 = 24;
const GENERATION_BITS: u32 = 24;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;
const GENERATION_MASK: u64 = (1 << GENERATION_BITS) - 1;

// The last slot is nobody's.
const _: () = assert!(CONNECTIONS_PER_SHARD_MAX < 1 << SLOT_BITS);
const _: () = assert!(SHARDS_MAX <= 1 << (64 - SLOT_BITS - GENERATION_BITS));

impl ConnectionId {
    /// Packs an identifier. The generation is taken modulo 2^24.
    ///
    /// Panics if the slot is not below [`CONNECTIONS_PER_SHARD_MAX`].
    pub fn new(shard: ShardId, slot: Slot, generation: u32) -> Self {
        assert!((slot.0 as usize) < CONNECTIONS_PER_SHARD_MAX);
        let generation = u64::from(generation) & GENERATION_MASK;
        Self(
            u64::from(shard.0) << (SLOT_BITS + GENERATION_BITS)
                | generation << SLOT_BITS
                | u64::from(slot.0),
        )
    }

    /// An identifier on `shard` that no connection ever has.
    pub fn nobody(shard: ShardId) -> Self {
        Self(u64::from(shard.0) << (SLOT_BITS + GENERATION_BITS) | SLOT_MASK)
    }

    /// The shard on which the connection lives.
    pub fn shard(self) -> ShardId {
        ShardId(u16::try_from(self.0 >> (SLOT_BITS + GENERATION_BITS)).expect("16 bits are left"))
    }

    /// The connection's slot on its shard.
    pub fn slot(self) -> Slot {
        Slot(u32::try_from(self.0 & SLOT_MASK).expect("24 bits are left"))
    }

    /// The slot's generation, 24 bits.
    pub fn generation(self) -> u32 {
        u32::try_from(self.0 >> SLOT_BITS & GENERATION_MASK).expect("24 bits are left")
    }

    /// The packed form, for logs and the wire.
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// The identifier as text, its 16 hexadecimal digits, written to `digits`.
    pub fn encode(self, digits: &mut [u8; 16]) -> &str {
        hexadecimal(self.0, digits)
    }
}

/// Not 16 hexadecimal digits, or digits that no connection can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a connection is named by 16 hexadecimal digits")]
pub struct NoConnectionId;

impl FromStr for ConnectionId {
    type Err = NoConnectionId;

    /// Reads what [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, NoConnectionId> {
        let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = u64::from_str_radix(text, 16).ok().filter(|_| is_hex);
        let id = id.map(Self).ok_or(NoConnectionId)?;
        (id.shard().index() < SHARDS_MAX)
            .then_some(id)
            .ok_or(NoConnectionId)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}#{}",
            self.shard().0,
            self.slot().0,
            self.generation()
        )
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encode(&mut [0; 16]))
    }
}

/// The last hexadecimal digits of a number, as many as there is room for.
pub(crate) fn hexadecimal(mut number: u64, digits: &mut [u8]) -> &str {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
    std::str::from_utf8(digits).expect("digits are ASCII")
}

/// A user's name, at most [`USER_ID_BYTES_MAX`](crate::limits::USER_ID_BYTES_MAX) bytes by the time
/// a connection is open.
///
/// Up to 23 bytes lie in place, a guest's name among them; a longer one is shared by its copies. So
/// to copy one never allocates, and most users cost no memory of their own.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(SmolStr);

// There is one in the record of each connection.
const _: () = assert!(size_of::<Option<UserId>>() == 24);

impl UserId {
    /// Whether a user can be called so: 1 to [`USER_ID_BYTES_MAX`](crate::limits::USER_ID_BYTES_MAX)
    /// bytes without control characters.
    pub fn is_valid(name: &str) -> bool {
        let bytes = 1..=crate::limits::USER_ID_BYTES_MAX;
        bytes.contains(&name.len()) && !name.contains(char::is_control)
    }
}

impl Deref for UserId {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for UserId {
    fn borrow(&self) -> &str {
        self
    }
}

impl From<&str> for UserId {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<String> for UserId {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn packing_a_connection_id_loses_nothing(
            shard in 0u16..1024, slot in 0u32..1 << 20, generation in 0u32..1 << 24,
        ) {
            let id = ConnectionId::new(ShardId(shard), Slot(slot), generation);
            prop_assert_eq!(id.shard(), ShardId(shard));
            prop_assert_eq!(id.slot(), Slot(slot));
            prop_assert_eq!(id.generation(), generation);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            prop_assert_ne!(id, ConnectionId::nobody(ShardId(shard)));
        }
    }
}
