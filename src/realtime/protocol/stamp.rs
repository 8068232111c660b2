//! Time stamps and message identifiers, made of numbers that the caller gives.

use std::fmt;

use uuid::{Builder, Uuid};

/// An RFC 3339 time in UTC with milliseconds: `2026-11-21T02:12:29.123Z`.
///
/// Made once a turn and shared by the frames of that turn, which is all the caching it needs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp([u8; 24]);

/// The last millisecond of the year 9999: RFC 3339 has four digits for the year.
const UNIX_MS_MAX: u64 = 253_402_300_799_999;

impl Timestamp {
    /// The stamp of a time, in milliseconds since 1970 UTC. Times after the year 9999 are its end.
    pub fn new(unix_ms: u64) -> Self {
        let unix_ms = unix_ms.min(UNIX_MS_MAX);
        let (days, of_day) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
        let (year, month, day) = civil(days);
        let mut stamp = *b"0000-00-00T00:00:00.000Z";
        let fields = [
            (0..4, year),
            (5..7, month),
            (8..10, day),
            (11..13, of_day / 3_600_000),
            (14..16, of_day / 60_000 % 60),
            (17..19, of_day / 1000 % 60),
            (20..23, of_day % 1000),
        ];
        for (place, mut number) in fields {
            for digit in stamp[place].iter_mut().rev() {
                *digit += u8::try_from(number % 10).expect("one decimal digit");
                number /= 10;
            }
        }
        Self(stamp)
    }

    /// The stamp's 24 characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("digits and punctuation")
    }
}

/// Year, month and day of a day counted from 1970-01-01.
///
/// Counts in eras of 400 years that begin on 1 March, so that the leap day is a year's last. After
/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A message's identifier: a UUID of version 7, which sorts by time. RFC 9562 section 5.7.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(Uuid);

impl MessageId {
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
    fn stamps_are_rfc_3339_in_utc_with_milliseconds() {
        let known = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_795_227_149_123, "2026-11-21T02:12:29.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (UNIX_MS_MAX, "9999-12-31T23:59:59.999Z"),
            (UNIX_MS_MAX + 1, "9999-12-31T23:59:59.999Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ];
        for (unix_ms, stamp) in known {
            assert_eq!(Timestamp::new(unix_ms).to_string(), stamp);
        }
    }

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
        fn stamps_are_what_a_calendar_says(unix_ms in 0..=UNIX_MS_MAX) {
            let at = i64::try_from(unix_ms).unwrap();
            let calendar = jiff::Timestamp::from_millisecond(at).unwrap();
            prop_assert_eq!(Timestamp::new(unix_ms).to_string(), format!("{calendar:.3}"));
        }

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
