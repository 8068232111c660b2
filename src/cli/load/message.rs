//! The texts that are sent: who sent it, which of his it is, when it was due, and a filler.
//!
//! ```text
//!   [optional "@user "] sender:24 check:16 | sequence:32 check:8 | time:40 | filler
//! ```
//! Each of the three words is 40 bits in eight characters of five bits, from `]` to `|`: nothing that
//! JSON escapes, and a first character that no server takes for JSON or for an address. The check
//! binds the fields together, and to the user whom the text is for.

use campanile::ws::{Header, MaskingKey, Opcode};

/// Bytes before the filler: the shortest payload.
pub(crate) const STAMP_BYTES: usize = 24;
/// Senders below this keep the first character from being a brace.
pub(crate) const SENDERS_MAX: usize = 1 << 23;

/// What a message says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) sender: u32,
    pub(crate) sequence: u32,
    /// When it was sent or, where a rate is kept, due: microseconds since the run began.
    pub(crate) time_us: u64,
}

/// Whom a text is for, mixed into the check.
pub(crate) const EVERYBODY: u32 = u32::MAX;

const FIRST: u64 = 0x5D5D_5D5D_5D5D_5D5D;
const DIGITS: u64 = 0x1F1F_1F1F_1F1F_1F1F;
const BITS: u32 = 40;

/// Forty bits as eight characters, the highest first.
fn characters(word: u64) -> [u8; 8] {
    let x = (word & 0xFFFFF) | (word >> 20 & 0xFFFFF) << 32;
    let x = (x & 0x0000_03FF_0000_03FF) | (x << 6 & 0x03FF_0000_03FF_0000);
    let x = (x & 0x001F_001F_001F_001F) | (x << 3 & 0x1F00_1F00_1F00_1F00);
    (x + FIRST).to_be_bytes()
}

/// The inverse of [`characters`]; `None` if one of them is none of the thirty-two.
fn word(characters: &[u8; 8]) -> Option<u64> {
    // A character below the first borrows and so has high bits, whatever the others are.
    let x = u64::from_be_bytes(*characters).wrapping_sub(FIRST);
    if x & !DIGITS != 0 {
        return None;
    }
    let x = (x & 0x001F_001F_001F_001F) | (x & 0x1F00_1F00_1F00_1F00) >> 3;
    let x = (x & 0x0000_03FF_0000_03FF) | (x & 0x03FF_0000_03FF_0000) >> 6;
    Some((x & 0xFFFFF) | x >> 32 << 20)
}

/// Twenty-four bits over everything that the filler does not cover.
fn check(stamp: Stamp, user: u32) -> u64 {
    let first = u64::from(stamp.sender) << 32 | u64::from(stamp.sequence);
    let second = stamp.time_us ^ u64::from(user) << 20;
    let mixed = (first.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ second)
        .rotate_left(29)
        .wrapping_mul(0xD6E8_FEB8_6659_FD93);
    mixed >> 40
}

impl Stamp {
    fn encode(self, user: u32) -> [u8; STAMP_BYTES] {
        let check = check(self, user);
        let words = [
            u64::from(self.sender & 0xFF_FFFF) << 16 | check >> 8,
            u64::from(self.sequence) << 8 | check & 0xFF,
            self.time_us & ((1 << BITS) - 1),
        ];
        let mut out = [0; STAMP_BYTES];
        for (place, word) in out.as_chunks_mut().0.iter_mut().zip(words) {
            *place = characters(word);
        }
        out
    }

    fn decode(bytes: &[u8; STAMP_BYTES], user: u32) -> Option<Self> {
        let [first, second, third] = bytes.as_chunks().0 else {
            return None;
        };
        let (first, second, time_us) = (word(first)?, word(second)?, word(third)?);
        let stamp = Self {
            sender: u32::try_from(first >> 16).ok()?,
            sequence: u32::try_from(second >> 8).ok()?,
            time_us,
        };
        (check(stamp, user) == (first & 0xFFFF) << 8 | second & 0xFF).then_some(stamp)
    }
}

/// Writes and reads payloads of one size.
#[derive(Clone, Debug)]
pub(crate) struct Payloads {
    filler: Vec<u8>,
}

impl Payloads {
    /// Panics if `bytes` is less than [`STAMP_BYTES`].
    pub(crate) fn new(bytes: usize) -> Self {
        assert!(bytes >= STAMP_BYTES);
        // Letters without a period, so that parts in the wrong order show.
        let mut random = fastrand::Rng::with_seed(0x0063_616D_7061_6E69);
        let filler = std::iter::repeat_with(|| random.u8(b'a'..=b'z'));
        Self {
            filler: filler.take(bytes - STAMP_BYTES).collect(),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        STAMP_BYTES + self.filler.len()
    }

    /// Appends the payload itself.
    pub(crate) fn text_into(&self, out: &mut Vec<u8>, stamp: Stamp, user: u32) {
        out.extend_from_slice(&stamp.encode(user));
        out.extend_from_slice(&self.filler);
    }

    /// Appends the payload between `before` and `after`, as one masked text frame.
    pub(crate) fn frame_into(
        &self,
        out: &mut Vec<u8>,
        (before, after): (&[u8], &[u8]),
        stamp: Stamp,
        user: u32,
    ) {
        let bytes = before.len() + self.bytes() + after.len();
        let random = u64::from(stamp.sequence) << 32 | u64::from(stamp.sender);
        let start = header_into(out, Opcode::Text, bytes, random);
        out.extend_from_slice(before);
        self.text_into(out, stamp, user);
        out.extend_from_slice(after);
        start.mask(out);
    }

    /// What a payload says, if it is whole and for `user`.
    #[inline]
    pub(crate) fn read(&self, payload: &[u8], user: u32) -> Option<Stamp> {
        let (stamp, filler) = payload.split_first_chunk()?;
        (*filler == *self.filler)
            .then(|| Stamp::decode(stamp, user))
            .flatten()
    }
}

/// Where a frame's payload begins, and its key.
struct Start {
    offset: usize,
    key: MaskingKey,
}

impl Start {
    fn mask(self, out: &mut [u8]) {
        self.key.apply(&mut out[self.offset..]);
    }
}

fn header_into(out: &mut Vec<u8>, opcode: Opcode, bytes: usize, random: u64) -> Start {
    let [a, b, c, d, ..] = random.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
    let key = MaskingKey([a, b, c, d]);
    let header = Header {
        key: Some(key),
        ..Header::whole(opcode, bytes)
    };
    out.extend_from_slice(&header.encode());
    Start {
        offset: out.len(),
        key,
    }
}

/// Appends any masked frame.
pub(crate) fn frame_into(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let start = header_into(out, opcode, payload.len(), 0x0123_4567_89AB);
    out.extend_from_slice(payload);
    start.mask(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        sender: 999_999,
        sequence: 0x1234_5678,
        time_us: 3_600_000_000,
    };

    fn text(payloads: &Payloads) -> Vec<u8> {
        let mut out = Vec::new();
        payloads.text_into(&mut out, STAMP, 7);
        out
    }

    #[test]
    fn a_payload_says_what_was_written() {
        for bytes in [STAMP_BYTES, 64, 100_000] {
            let payloads = Payloads::new(bytes);
            let text = text(&payloads);
            assert_eq!(text.len(), bytes);
            assert_eq!(payloads.read(&text, 7), Some(STAMP));
            assert_eq!(payloads.read(&text, 8), None, "it is not for user 8");
            assert_eq!(payloads.read(&text[1..], 7), None);
        }
    }

    #[test]
    fn no_byte_can_change_unnoticed() {
        let payloads = Payloads::new(64);
        let whole = text(&payloads);
        for place in 0..whole.len() {
            for bit in 0..8 {
                let mut text = whole.clone();
                text[place] ^= 1 << bit;
                assert_eq!(payloads.read(&text, 7), None, "bit {bit} of byte {place}");
            }
        }
    }

    #[test]
    fn a_text_needs_no_escape_and_looks_like_nothing_else() {
        let payloads = Payloads::new(64);
        for sender in [0, 1, 1_000_000, u32::try_from(SENDERS_MAX).unwrap() - 1] {
            let mut out = Vec::new();
            let stamp = Stamp { sender, ..STAMP };
            payloads.text_into(&mut out, stamp, EVERYBODY);
            assert!(!matches!(out[0], b'{' | b'[' | b'@'));
            let json = serde_json::to_string(std::str::from_utf8(&out).unwrap()).unwrap();
            assert_eq!(json.len(), out.len() + 2);
        }
    }
}
