//! Opcodes: what a frame is. RFC 6455 sections 5.2, 5.5 and 5.6.
#![forbid(unsafe_code)]

use super::error::Violation;

/// The four bits that say what a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// A further fragment of the message that is under way.
    Continuation = 0x0,
    /// A text message, or its first fragment.
    Text = 0x1,
    /// A binary message, or its first fragment.
    Binary = 0x2,
    /// The first half, or the answer, of the closing handshake.
    Close = 0x8,
    /// A question that wants a pong with the same payload.
    Ping = 0x9,
    /// The answer to a ping, or an unasked heartbeat.
    Pong = 0xA,
}

impl Opcode {
    /// Reads the low four bits of a frame's first byte; the high four are ignored.
    ///
    /// Errors: [`Violation::ReservedOpcode`] for 3 to 7 and 11 to 15.
    pub const fn decode(first_byte: u8) -> Result<Self, Violation> {
        match first_byte & 0x0F {
            0x0 => Ok(Self::Continuation),
            0x1 => Ok(Self::Text),
            0x2 => Ok(Self::Binary),
            0x8 => Ok(Self::Close),
            0x9 => Ok(Self::Ping),
            0xA => Ok(Self::Pong),
            opcode => Err(Violation::ReservedOpcode { opcode }),
        }
    }

    /// Whether this is a control frame: at most 125 bytes, never fragmented. RFC 6455 section 5.5.
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_opcodes_are_defined_and_ten_are_reserved() {
        for bits in 0..16u8 {
            match bits {
                0..=2 | 8..=10 => assert_eq!(Opcode::decode(bits).unwrap() as u8, bits),
                _ => assert_eq!(
                    Opcode::decode(bits),
                    Err(Violation::ReservedOpcode { opcode: bits })
                ),
            }
        }
    }

    #[test]
    fn control_opcodes_have_the_high_bit() {
        for bits in 0..16u8 {
            if let Ok(opcode) = Opcode::decode(bits) {
                assert_eq!(opcode.is_control(), bits & 0x8 != 0);
            }
        }
    }
}
