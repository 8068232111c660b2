//! What a peer can do wrong, and with which code we close for it. RFC 6455 section 7.4.1.
#![forbid(unsafe_code)]

use super::close::CloseCode;
use super::opcode::Opcode;

/// A breach of the protocol, or of a limit, by the peer. The connection ends with [`close_code`].
///
/// [`close_code`]: Violation::close_code
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A reserved bit that no negotiated extension allows at this place. RFC 6455 section 5.2.
    #[error("reserved bits {bits:03b} are set")]
    ReservedBits {
        /// RSV1, RSV2 and RSV3 as the bits 4, 2 and 1.
        bits: u8,
    },
    /// An opcode without a meaning: 3 to 7 or 11 to 15. RFC 6455 section 5.2.
    #[error("opcode {opcode:#x} is reserved")]
    ReservedOpcode {
        /// The four bits received.
        opcode: u8,
    },
    /// A frame to a server without a masking key. RFC 6455 section 5.1.
    #[error("a client must mask its frames")]
    NotMasked,
    /// A frame to a client with a masking key. RFC 6455 section 5.1.
    #[error("a server must not mask its frames")]
    Masked,
    /// A payload length that would have fitted into a shorter form. RFC 6455 section 5.2.
    #[error("payload length {bytes} is not in its shortest form")]
    LengthNotMinimal {
        /// The length announced, bytes.
        bytes: u64,
    },
    /// A 64-bit payload length with its most significant bit set. RFC 6455 section 5.2.
    #[error("payload length {bytes:#x} has its top bit set")]
    LengthTopBit {
        /// The length announced, bytes.
        bytes: u64,
    },
    /// A control frame without FIN. RFC 6455 section 5.5.
    #[error("{opcode:?} frame is fragmented")]
    ControlFragmented {
        /// Which control frame.
        opcode: Opcode,
    },
    /// A control frame of more than 125 bytes. RFC 6455 section 5.5.
    #[error("{opcode:?} frame is longer than 125 bytes")]
    ControlTooLong {
        /// Which control frame.
        opcode: Opcode,
    },
    /// A continuation while no message is under way. RFC 6455 section 5.4.
    #[error("continuation of no message")]
    ContinuationOfNothing,
    /// A new message while another is under way. RFC 6455 section 5.4.
    #[error("{opcode:?} frame inside an unfinished message")]
    MessageInsideMessage {
        /// The opcode that came in place of a continuation.
        opcode: Opcode,
    },
    /// A message in more fragments than [`Rules::fragments_max`](super::Rules::fragments_max).
    #[error("message in more than {fragments_max} fragments")]
    TooManyFragments {
        /// The limit.
        fragments_max: u32,
    },
    /// A message longer on the wire than [`Rules::message_bytes_max`](super::Rules::message_bytes_max).
    #[error("message of {bytes} bytes or more, {bytes_max} are allowed")]
    MessageTooBig {
        /// Bytes gathered and announced so far; the message may have been meant to be longer.
        bytes: u64,
        /// The limit, bytes.
        bytes_max: usize,
    },
    /// A compressed message that inflates beyond the same limit.
    #[error("message inflates to more than {bytes_max} bytes")]
    InflatesTooBig {
        /// The limit, bytes.
        bytes_max: usize,
    },
    /// A compressed message that is no DEFLATE data. RFC 7692 section 7.2.2.
    #[error("compressed message is not DEFLATE data")]
    NotDeflate,
    /// A text message that is not UTF-8. RFC 6455 section 8.1.
    #[error("text message is not UTF-8")]
    TextNotUtf8,
    /// A close payload of one byte: too short for a code. RFC 6455 section 5.5.1.
    #[error("close payload of one byte")]
    ClosePayloadOneByte,
    /// A close code that may not stand in a close frame. RFC 6455 section 7.4.
    #[error("close code {code} may not be sent")]
    CloseCodeInvalid {
        /// The number received.
        code: u16,
    },
    /// A close reason that is not UTF-8. RFC 6455 section 5.5.1.
    #[error("close reason is not UTF-8")]
    CloseReasonNotUtf8,
}

impl Violation {
    /// The code with which the connection is closed. Total: a new variant must choose.
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::ReservedBits { .. }
            | Self::ReservedOpcode { .. }
            | Self::NotMasked
            | Self::Masked
            | Self::LengthNotMinimal { .. }
            | Self::LengthTopBit { .. }
            | Self::ControlFragmented { .. }
            | Self::ControlTooLong { .. }
            | Self::ContinuationOfNothing
            | Self::MessageInsideMessage { .. }
            | Self::ClosePayloadOneByte
            | Self::CloseCodeInvalid { .. } => CloseCode::PROTOCOL_ERROR,
            Self::NotDeflate | Self::TextNotUtf8 | Self::CloseReasonNotUtf8 => {
                CloseCode::INVALID_PAYLOAD
            }
            Self::TooManyFragments { .. } => CloseCode::POLICY_VIOLATION,
            Self::MessageTooBig { .. } | Self::InflatesTooBig { .. } => CloseCode::MESSAGE_TOO_BIG,
        }
    }
}
