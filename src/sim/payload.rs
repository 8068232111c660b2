//! What messages say: their number and a filler that follows from it, so that a byte out of place
//! is seen.

use super::oracle::MessageId;
use crate::shard::{Format, Formats};
use crate::ws::Opcode;

/// Opcode and payload of a message: its number, then filler up to `bytes` bytes.
pub(super) fn compose(id: MessageId, bytes: usize) -> (Opcode, Vec<u8>) {
    let mut payload = format!("{id} ").into_bytes();
    let opcode = if id.is_multiple_of(3) {
        Opcode::Binary
    } else {
        Opcode::Text
    };
    // Odd ones compress well, even ones hardly.
    let mut state = id as u64 | 1;
    while payload.len() < bytes {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let letter = if id.is_multiple_of(2) {
            state >> 58
        } else {
            state >> 63
        };
        payload.push(b'0' + u8::try_from(letter).expect("six bits"));
    }
    (opcode, payload)
}

/// The format in which a client takes a topic, number 0 for everybody's: the client's own.
pub(super) fn format_of(client: usize, topic: usize) -> Format {
    Format(u8::try_from((client + topic) % 4).expect("a remainder of four"))
}

/// Whether a topic's message is published in several writings.
pub(super) fn is_encoded(id: MessageId) -> bool {
    id % 5 < 2
}

/// The formats for which a topic's message is: some messages are not for all.
pub(super) fn formats_of(id: MessageId) -> Formats {
    if !is_encoded(id) {
        return Formats::ALL;
    }
    let some = (0..Format::COUNT).filter(|&format| !(id + usize::from(format)).is_multiple_of(6));
    some.map(|format| Format(format).into()).collect()
}

/// What a message in several writings has at its end: of some formats the same.
pub(super) fn mark_of(format: Format) -> u8 {
    b'a' + format.0 % 2
}

/// The number of a message.
///
/// Panics if the payload is none of ours.
pub(super) fn id_of(payload: &[u8]) -> MessageId {
    let digits = payload
        .split(|&byte| byte == b' ')
        .next()
        .unwrap_or_default();
    std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_else(|| panic!("a payload without a number: {:?}", payload.get(..20)))
}

/// Length of the payload that [`compose`] makes.
pub(super) fn bytes_of(id: MessageId, bytes: usize) -> usize {
    bytes.max(format!("{id} ").len())
}
