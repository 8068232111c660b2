//! Frame headers, in and out. RFC 6455 section 5.2.
//!
//! ```text
//!   byte 0                 byte 1          then
//!  ┌───┬────┬────┬────┬────────┐┌──────┬────────┐┌────────────────────┬──────────────────┐
//!  │FIN│RSV1│RSV2│RSV3│opcode:4││MASK:1│length:7││length: 0, 2, 8 byte│key: 0 or 4 byte  │
//!  └───┴────┴────┴────┴────────┘└──────┴────────┘└────────────────────┴──────────────────┘
//!   length 0..=125: itself; 126: two bytes follow; 127: eight bytes follow, the top bit clear.
//!   The shortest form is the only one allowed.
//! ```
#![forbid(unsafe_code)]

use std::ops::Deref;

use super::close::{self, CloseCode};
use super::error::Violation;
use super::mask::MaskingKey;
use super::opcode::Opcode;
use crate::limits::{CONTROL_PAYLOAD_BYTES_MAX, FRAME_HEADER_BYTES_MAX, SERVER_HEADER_BYTES_MAX};

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV_ALL: u8 = 0x70;
const MASK: u8 = 0x80;
const LENGTH_7_MAX: u64 = 125;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

const _: () = assert!(CONTROL_PAYLOAD_BYTES_MAX as u64 == LENGTH_7_MAX);
const _: () = assert!(FRAME_HEADER_BYTES_MAX == SERVER_HEADER_BYTES_MAX + 4);

/// Which end of the connection we are. Decides who masks. RFC 6455 section 5.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// We serve: what arrives must be masked, what we send must not.
    Server,
    /// We are the client: what arrives must not be masked, what we send must.
    Client,
}

/// The header of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The last fragment of its message. Always set on control frames.
    pub fin: bool,
    /// The message is compressed; only on its first fragment. RFC 7692 section 6.
    pub rsv1: bool,
    /// What the frame is.
    pub opcode: Opcode,
    /// The masking key, from a client; none from a server.
    pub key: Option<MaskingKey>,
    /// Length of the payload, bytes; below 2^63.
    pub payload_bytes: u64,
}

impl Header {
    /// The header of an unmasked, uncompressed frame that is a message or a control frame by itself.
    pub const fn whole(opcode: Opcode, payload_bytes: usize) -> Self {
        Self {
            fin: true,
            rsv1: false,
            opcode,
            key: None,
            payload_bytes: payload_bytes as u64,
        }
    }

    /// Decodes the header at the front of `bytes`, and its size: 2 to 14 bytes.
    ///
    /// `role` is ours. `compression`: permessage-deflate was negotiated, so that RSV1 has a meaning.
    /// `Ok(None)`: more bytes are needed. What the bytes at hand already prove wrong is refused
    /// without waiting for the rest.
    ///
    /// Errors, all closing 1002: [`Violation::ReservedBits`], [`Violation::ReservedOpcode`],
    /// [`Violation::ControlFragmented`], [`Violation::ControlTooLong`], [`Violation::NotMasked`],
    /// [`Violation::Masked`], [`Violation::LengthNotMinimal`], [`Violation::LengthTopBit`].
    pub fn decode(
        bytes: &[u8],
        role: Role,
        compression: bool,
    ) -> Result<Option<(Self, usize)>, Violation> {
        let Some((&first, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        let opcode = Opcode::decode(first)?;
        let fin = first & FIN != 0;
        let rsv1 = first & RSV1 != 0;
        let rsv1_allowed = compression && matches!(opcode, Opcode::Text | Opcode::Binary);
        if first & RSV_ALL & !(if rsv1_allowed { RSV1 } else { 0 }) != 0 {
            return Err(Violation::ReservedBits {
                bits: (first & RSV_ALL) >> 4,
            });
        }
        if opcode.is_control() && !fin {
            return Err(Violation::ControlFragmented { opcode });
        }

        let Some((&second, rest)) = rest.split_first() else {
            return Ok(None);
        };
        let masked = second & MASK != 0;
        match role {
            Role::Server if !masked => return Err(Violation::NotMasked),
            Role::Client if masked => return Err(Violation::Masked),
            Role::Server | Role::Client => {}
        }
        let short = second & !MASK;
        if opcode.is_control() && u64::from(short) > LENGTH_7_MAX {
            return Err(Violation::ControlTooLong { opcode });
        }

        let Some((payload_bytes, rest)) = decode_length(short, rest)? else {
            return Ok(None);
        };
        let (key, rest) = if masked {
            let Some((key, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            (Some(MaskingKey(*key)), rest)
        } else {
            (None, rest)
        };
        let header = Self {
            fin,
            rsv1,
            opcode,
            key,
            payload_bytes,
        };
        Ok(Some((header, bytes.len() - rest.len())))
    }

    /// Encodes the header in the shortest form.
    pub fn encode(&self) -> HeaderBytes {
        debug_assert!(self.payload_bytes >> 63 == 0, "a length has 63 bits");
        let mut out = HeaderBytes {
            bytes: [0; FRAME_HEADER_BYTES_MAX],
            count: 0,
        };
        let fin = if self.fin { FIN } else { 0 };
        let rsv1 = if self.rsv1 { RSV1 } else { 0 };
        let mask = if self.key.is_some() { MASK } else { 0 };
        let first = fin | rsv1 | self.opcode as u8;
        if let Ok(short) = u8::try_from(self.payload_bytes)
            && u64::from(short) <= LENGTH_7_MAX
        {
            out.push([first, mask | short]);
        } else if let Ok(length) = u16::try_from(self.payload_bytes) {
            out.push([first, mask | LENGTH_16]);
            out.push(length.to_be_bytes());
        } else {
            out.push([first, mask | LENGTH_64]);
            out.push(self.payload_bytes.to_be_bytes());
        }
        if let Some(MaskingKey(key)) = self.key {
            out.push(key);
        }
        out
    }
}

/// Decodes the extended payload length, if `short` says that there is one.
fn decode_length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, Violation> {
    let (bytes, rest, shortest) = match short {
        LENGTH_16 => {
            let Some((length, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            (
                u64::from(u16::from_be_bytes(*length)),
                rest,
                LENGTH_7_MAX + 1,
            )
        }
        LENGTH_64 => {
            let Some((length, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            (u64::from_be_bytes(*length), rest, 1 << 16)
        }
        length => return Ok(Some((u64::from(length), rest))),
    };
    if bytes < shortest {
        return Err(Violation::LengthNotMinimal { bytes });
    }
    if bytes >> 63 != 0 {
        return Err(Violation::LengthTopBit { bytes });
    }
    Ok(Some((bytes, rest)))
}

/// An encoded header, 2 to 14 bytes, on the stack. Dereferences to the bytes.
#[derive(Clone, Copy, Debug)]
pub struct HeaderBytes {
    bytes: [u8; FRAME_HEADER_BYTES_MAX],
    count: u8,
}

impl HeaderBytes {
    fn push<const N: usize>(&mut self, piece: [u8; N]) {
        let start = usize::from(self.count);
        self.bytes[start..start + N].copy_from_slice(&piece);
        self.count += u8::try_from(N).expect("pieces of a header have at most 8 bytes");
    }
}

impl Deref for HeaderBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.count)]
    }
}

/// Size of the header that a server writes before a payload of so many bytes: 2, 4 or 10 bytes.
pub const fn server_header_bytes(payload_bytes: usize) -> usize {
    match payload_bytes {
        0..=125 => 2,
        126..=0xFFFF => 4,
        _ => SERVER_HEADER_BYTES_MAX,
    }
}

/// Appends a whole unmasked, uncompressed frame, as a server sends it.
///
/// Panics in debug builds if `opcode` is a control frame's and the payload longer than 125 bytes.
pub fn frame_into(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    debug_assert!(!opcode.is_control() || payload.len() <= CONTROL_PAYLOAD_BYTES_MAX);
    out.reserve(server_header_bytes(payload.len()) + payload.len());
    out.extend_from_slice(&Header::whole(opcode, payload.len()).encode());
    out.extend_from_slice(payload);
}

/// Appends a close frame, as a server sends it. `None`: without a code.
///
/// A reason of more than 123 bytes is cut at a character's border.
/// Panics if the code is not [sendable](CloseCode::is_sendable).
pub fn close_frame_into(out: &mut Vec<u8>, close: Option<(CloseCode, &str)>) {
    let mut payload = Vec::new();
    close::payload_into(&mut payload, close);
    frame_into(out, Opcode::Close, &payload);
}

/// Appends one masked frame, as a client sends it: `header.key` masks the payload, and
/// `header.payload_bytes` is set from it.
///
/// For clients: load generators, the simulator and tests. Breaks no rule by itself and keeps the
/// caller from none: fragments, RSV1 and a missing key are encoded as asked.
pub fn client_frame_into(out: &mut Vec<u8>, header: Header, payload: &[u8]) {
    let header = Header {
        payload_bytes: payload.len() as u64,
        ..header
    };
    out.extend_from_slice(&header.encode());
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = header.key {
        key.apply(&mut out[start..]);
    }
}
