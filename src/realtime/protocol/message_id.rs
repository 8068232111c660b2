//! Message identifiers, made of numbers that the caller gives.

use std::fmt;

use uuid::{Builder, Uuid};

/// A message's identifier: a UUID of version 7, which sorts by time. RFC 9562 section 5.7.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(Uuid);

impl MessageId {
    /// When it was made, milliseconds since 1970 UTC.
    pub fn unix_ms(self) -> u64 {
        u64::try_from(self.as_u128() >> 80).expect("48 bits are left")
    }

    /// The identifier for a time and a random number; the same for the same two.
    ///
    /// `unix_ms` is taken modulo 2^48. The layout has room for 74 random bits: the ten that
    /// `random` cannot fill are zero.
    pub fn new(unix_ms: u64, random: u64) -> Self {
        let mut bits = [0; 10];
        let low = random & ((1 << 62) - 1);
        bits[1] = u8::try_from(random >> 62).expect("two bits");
        bits[2..].copy_from_slice(&low.to_be_bytes());
        Self(Builder::from_unix_timestamp_millis(unix_ms, &bits).into_uuid())
    }

    /// The identifier that [`as_u128`](Self::as_u128) has given.
    pub fn from_u128(number: u128) -> Self {
        Self(Uuid::from_u128(number))
    }

    /// Reads the 36 characters of an identifier. `None`: they are none.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hyphenated = text.len() == 36;
        Uuid::try_parse(text)
            .ok()
            .filter(|_| is_hyphenated)
            .map(Self)
    }

    /// The identifier as a number of 128 bits.
    pub fn as_u128(self) -> u128 {
        self.0.as_u128()
    }

    /// Appends the 36 characters of the identifier.
    pub fn write(self, out: &mut Vec<u8>) {
        let mut characters = Uuid::encode_buffer();
        out.extend_from_slice(self.0.hyphenated().encode_lower(&mut characters).as_bytes());
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_id_is_a_uuid_of_version_7_with_its_time() {
        let id = MessageId::new(0x0193_4567_89ab, u64::MAX);
        assert_eq!(id.to_string(), "01934567-89ab-7003-bfff-ffffffffffff");
        assert_eq!(
            MessageId::new(0, 0).to_string(),
            "00000000-0000-7000-8000-000000000000"
        );
        let mut written = Vec::new();
        id.write(&mut written);
        assert_eq!(written, id.to_string().into_bytes());
    }

    proptest! {
        #[test]
        fn message_ids_differ_with_their_numbers_and_sort_by_time(
            a in (0u64..1 << 48, any::<u64>()), b in (0u64..1 << 48, any::<u64>()),
        ) {
            let (first, second) = (MessageId::new(a.0, a.1), MessageId::new(b.0, b.1));
            prop_assert_eq!(first == second, a == b);
            prop_assert_eq!(first, MessageId::new(a.0, a.1));
            if a.0 != b.0 {
                prop_assert_eq!(first < second, a.0 < b.0);
                prop_assert_eq!(first.to_string() < second.to_string(), a.0 < b.0);
            }
        }
    }
}
