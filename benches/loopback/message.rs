//! The 64 bytes of text that are sent: who sent them, which of his it is, and a filler.

use campanile::id::Slot;
use campanile::ws::{Header, MaskingKey, Opcode, client_frame_into};

pub(crate) const PAYLOAD_BYTES: usize = 64;
/// As the server writes it: two bytes of header.
const FRAME_BYTES: usize = 2 + PAYLOAD_BYTES;
const FILLER: &[u8; PAYLOAD_BYTES - 16] = b" is who and which; as long as it takes to be 64.";
/// FIN and text; the payload's length without a mask.
const HEADER: [u8; 2] = [0x81, 64];

/// A number as eight characters between `0` and `o`, six bits each.
fn characters(number: u64) -> [u8; 8] {
    let mut digits = [0; 8];
    for (place, digit) in digits.iter_mut().enumerate() {
        *digit = b'0' + (number >> (6 * place) & 63) as u8;
    }
    digits
}

fn number(characters: &[u8]) -> u64 {
    let digits = characters.iter().rev();
    digits.fold(0, |number, digit| {
        number << 6 | u64::from(digit.wrapping_sub(b'0') & 63)
    })
}

/// Appends the `sequence`-th message of `sender`, as a masked frame.
pub(crate) fn write(out: &mut Vec<u8>, sender: Slot, sequence: u64) {
    let mut payload = [0; PAYLOAD_BYTES];
    payload[..8].copy_from_slice(&characters(u64::from(sender.0)));
    payload[8..16].copy_from_slice(&characters(sequence));
    payload[16..].copy_from_slice(FILLER);
    let [a, b, c, d, ..] = sequence.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
    let header = Header {
        key: Some(MaskingKey([a, b, c, d])),
        ..Header::whole(Opcode::Text, 0)
    };
    client_frame_into(out, header, &payload);
}

/// What a frame from the server says. `None`: it is not one of ours, or damaged.
pub(crate) fn read(frame: &[u8]) -> Option<(Slot, u64)> {
    let frame: &[u8; FRAME_BYTES] = frame.try_into().ok()?;
    if frame[..2] != HEADER || frame[18..] != *FILLER {
        return None;
    }
    let (sender, sequence) = (number(&frame[2..10]), number(&frame[10..18]));
    if frame[2..10] != characters(sender) || frame[10..18] != characters(sequence) {
        return None;
    }
    Some((Slot(u32::try_from(sender).ok()?), sequence))
}

/// An answer to a ping without payload.
pub(crate) fn write_pong(out: &mut Vec<u8>) {
    let header = Header {
        key: Some(MaskingKey([7, 1, 3, 9])),
        ..Header::whole(Opcode::Pong, 0)
    };
    client_frame_into(out, header, b"");
}
