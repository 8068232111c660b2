//! permessage-deflate: negotiation and compression. RFC 7692 section 7.
//!
//! Both sides' context takeover is always switched off: every message is compressed by itself, a
//! shard has one [`Inflater`] and one [`Deflater`] for all its connections, and an idle connection
//! holds no window.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU8;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::error::Violation;
use super::frame::{self, Header};
use super::opcode::Opcode;

/// What a compressor's flush ends with; not sent. RFC 7692 section 7.2.1.
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// Scratch memory that outlives a message, bytes; more is given back.
const SCRATCH_RETAINED_BYTES: usize = 64 * 1024;

/// First scratch of an inflater, bytes.
const SCRATCH_START_BYTES: usize = 4 * 1024;

/// Base-2 logarithm of a compression window: 9 to 15, for 512 bytes to 32 KiB.
///
/// RFC 7692 knows 8 too; no zlib can compress raw DEFLATE with it, so it is not offered here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WindowBits(NonZeroU8);

impl WindowBits {
    /// The largest window, 32 KiB: what holds when nobody asks for less.
    pub const MAX: Self = Self(NonZeroU8::new(15).expect("15 is not zero"));
    const MIN: u8 = 9;
    const COUNT: usize = (Self::MAX.as_u8() - Self::MIN + 1) as usize;

    /// From the number; `None` unless 9 to 15.
    pub const fn new(bits: u8) -> Option<Self> {
        match NonZeroU8::new(bits) {
            Some(bits) if bits.get() >= Self::MIN && bits.get() <= 15 => Some(Self(bits)),
            _ => None,
        }
    }

    /// The number.
    pub const fn as_u8(self) -> u8 {
        self.0.get()
    }

    fn index(self) -> usize {
        usize::from(self.as_u8() - Self::MIN)
    }
}

impl fmt::Debug for WindowBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WindowBits({})", self.0)
    }
}

/// What was agreed on: the compression of one connection.
///
/// Displays as the value of the `Sec-WebSocket-Extensions` field of our answer. The answer never
/// limits the client's window: the one inflater has the largest anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// Largest window with which we may compress.
    pub server_window_bits: WindowBits,
    /// The client asked for that window, and so must hear of it. RFC 7692 section 7.1.2.1.
    pub window_bits_requested: bool,
}

impl fmt::Display for Negotiated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("permessage-deflate; server_no_context_takeover; client_no_context_takeover")?;
        if self.window_bits_requested {
            write!(
                f,
                "; server_max_window_bits={}",
                self.server_window_bits.as_u8()
            )?;
        }
        Ok(())
    }
}

/// A `Sec-WebSocket-Extensions` field breaks its grammar: the handshake fails. RFC 6455 section 9.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed Sec-WebSocket-Extensions field")]
pub struct MalformedExtensions;

/// Chooses the first acceptable offer of permessage-deflate among all `Sec-WebSocket-Extensions`
/// fields of a request, in order. `None`: there is none, answer without the field.
///
/// An offer is declined, and the next one looked at, for an unknown or repeated parameter, an
/// invalid value, or a server window of 2^8 bytes. Other extensions are passed over.
///
/// Errors: [`MalformedExtensions`], to be answered 400. Source: RFC 7692 sections 5.1 and 7.1.
pub fn negotiate<'h>(
    fields: impl IntoIterator<Item = &'h [u8]>,
) -> Result<Option<Negotiated>, MalformedExtensions> {
    let mut chosen = None;
    for field in fields {
        let mut cursor = Cursor { rest: field };
        loop {
            cursor.skip_white_space();
            // A list may have empty elements. RFC 9110 section 5.6.1.
            if !matches!(cursor.rest.first(), None | Some(b',')) {
                let offer = cursor.extension()?;
                chosen = chosen.or(offer);
            }
            if !cursor.eat(b',') {
                break;
            }
        }
        if !cursor.rest.is_empty() {
            return Err(MalformedExtensions);
        }
    }
    Ok(chosen)
}

/// One offer of permessage-deflate, parameter by parameter.
#[derive(Default)]
struct Offer {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<WindowBits>,
    client_max_window_bits: bool,
    declined: bool,
}

impl Offer {
    /// Takes a parameter in; whatever we do not accept declines the offer.
    fn parameter(&mut self, name: &str, value: Option<&str>) {
        let repeated = match name {
            "server_no_context_takeover" if value.is_none() => {
                std::mem::replace(&mut self.server_no_context_takeover, true)
            }
            "client_no_context_takeover" if value.is_none() => {
                std::mem::replace(&mut self.client_no_context_takeover, true)
            }
            "server_max_window_bits" => match value.and_then(window_bits).map(WindowBits::new) {
                Some(Some(bits)) => self.server_max_window_bits.replace(bits).is_some(),
                // No number, or 8.
                Some(None) | None => true,
            },
            "client_max_window_bits" => {
                let invalid = value.is_some_and(|value| window_bits(value).is_none());
                invalid || std::mem::replace(&mut self.client_max_window_bits, true)
            }
            _ => true,
        };
        self.declined |= repeated;
    }

    fn accept(self) -> Option<Negotiated> {
        (!self.declined).then(|| Negotiated {
            server_window_bits: self.server_max_window_bits.unwrap_or(WindowBits::MAX),
            window_bits_requested: self.server_max_window_bits.is_some(),
        })
    }
}

/// A decimal of 8 to 15 without leading zeros. RFC 7692 section 7.1.2.
fn window_bits(value: &str) -> Option<u8> {
    match value {
        "8" => Some(8),
        "9" => Some(9),
        "10" => Some(10),
        "11" => Some(11),
        "12" => Some(12),
        "13" => Some(13),
        "14" => Some(14),
        "15" => Some(15),
        _ => None,
    }
}

/// Reads the grammar of RFC 6455 section 9.1.
struct Cursor<'h> {
    rest: &'h [u8],
}

impl<'h> Cursor<'h> {
    /// `extension = token *( ";" token [ "=" ( token / quoted-string ) ] )`. An offer of
    /// permessage-deflate that we accept, or `None` for anything else.
    fn extension(&mut self) -> Result<Option<Negotiated>, MalformedExtensions> {
        let name = self.token()?;
        let mut offer = Offer::default();
        while self.eat(b';') {
            let parameter = self.token()?;
            let value = if self.eat(b'=') {
                Some(self.value()?)
            } else {
                None
            };
            offer.parameter(parameter, value.as_deref());
        }
        Ok(if name == "permessage-deflate" {
            offer.accept()
        } else {
            None
        })
    }

    fn skip_white_space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    /// Takes one character and the white space on both its sides.
    fn eat(&mut self, wanted: u8) -> bool {
        self.skip_white_space();
        let Some((_, rest)) = self.rest.split_first().filter(|(byte, _)| **byte == wanted) else {
            return false;
        };
        self.rest = rest;
        self.skip_white_space();
        true
    }

    fn token(&mut self) -> Result<&'h str, MalformedExtensions> {
        let count = self.rest.iter().take_while(|byte| is_token(**byte)).count();
        let (token, rest) = self.rest.split_at(count);
        self.rest = rest;
        match std::str::from_utf8(token) {
            Ok(token) if !token.is_empty() => Ok(token),
            _ => Err(MalformedExtensions),
        }
    }

    /// A token, or a quoted string whose content is a token.
    fn value(&mut self) -> Result<Cow<'h, str>, MalformedExtensions> {
        let Some(mut rest) = self.rest.strip_prefix(b"\"") else {
            return self.token().map(Cow::Borrowed);
        };
        let mut value = String::new();
        loop {
            let byte = match rest {
                [b'\\', escaped, after @ ..] => {
                    rest = after;
                    *escaped
                }
                [b'"', after @ ..] if !value.is_empty() => {
                    self.rest = after;
                    return Ok(Cow::Owned(value));
                }
                [byte, after @ ..] => {
                    rest = after;
                    *byte
                }
                [] => return Err(MalformedExtensions),
            };
            if !is_token(byte) {
                return Err(MalformedExtensions);
            }
            value.push(char::from(byte));
        }
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Inflates messages, one at a time. One per shard: its state is some 40 KiB.
#[derive(Debug)]
pub struct Inflater {
    stream: Decompress,
    /// The message inflated last.
    scratch: Vec<u8>,
}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

impl Inflater {
    /// An inflater with the largest window, so that any client's messages can be read.
    pub fn new() -> Self {
        Self {
            stream: Decompress::new_with_window_bits(false, WindowBits::MAX.as_u8()),
            scratch: Vec::new(),
        }
    }

    /// Inflates the payload of one compressed message of at most `bytes_max` bytes inflated.
    ///
    /// Memory grows with what comes out, to `bytes_max` and one byte at most. A final block may be
    /// followed by more blocks. An empty payload is an empty message. Data that stops inside a block
    /// is taken for what it gave so far, as by other servers: DEFLATE has no end to miss.
    ///
    /// Errors: [`Violation::NotDeflate`] (closes 1007), [`Violation::InflatesTooBig`] (closes 1009).
    /// Source: RFC 7692 section 7.2.2.
    pub fn inflate(&mut self, payload: &[u8], bytes_max: usize) -> Result<&[u8], Violation> {
        self.stream.reset(false);
        self.scratch.clear();
        self.feed(payload, bytes_max)?;
        self.feed(&TAIL, bytes_max)?;
        Ok(&self.scratch)
    }

    /// Gives back the memory of an extraordinarily large message; at most 64 KiB stay.
    pub fn release(&mut self) {
        release(&mut self.scratch);
    }

    fn feed(&mut self, mut bytes: &[u8], bytes_max: usize) -> Result<(), Violation> {
        loop {
            self.make_room(bytes_max);
            let (in_before, out_before) = (self.stream.total_in(), self.scratch.len());
            let status = self
                .stream
                .decompress_vec(bytes, &mut self.scratch, FlushDecompress::Sync)
                .map_err(|_| Violation::NotDeflate)?;
            let taken = usize::try_from(self.stream.total_in() - in_before)
                .expect("no more was taken than given");
            bytes = &bytes[taken..];
            if self.scratch.len() > bytes_max {
                return Err(Violation::InflatesTooBig { bytes_max });
            }
            match status {
                // After a final block a new stream begins. RFC 7692 section 7.2.3.4.
                Status::StreamEnd => self.stream.reset(false),
                Status::Ok | Status::BufError if self.scratch.len() == self.scratch.capacity() => {
                    continue;
                }
                Status::Ok | Status::BufError => {
                    if !bytes.is_empty() && taken == 0 && self.scratch.len() == out_before {
                        return Err(Violation::NotDeflate);
                    }
                }
            }
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }

    /// Makes room for at least one byte, for at most one beyond the limit.
    fn make_room(&mut self, bytes_max: usize) {
        let (count, capacity) = (self.scratch.len(), self.scratch.capacity());
        if count == capacity {
            let wanted = capacity.saturating_mul(2).max(SCRATCH_START_BYTES);
            let wanted = wanted.min(bytes_max.saturating_add(1)).max(count + 1);
            self.scratch.reserve_exact(wanted - count);
        }
    }
}

/// Compresses messages, one at a time. One per shard: 256 KiB for each window size in use.
#[derive(Debug)]
pub struct Deflater {
    level: Compression,
    /// By [`WindowBits::index`]; made when first wanted.
    compressors: [Option<Compress>; WindowBits::COUNT],
    scratch: Vec<u8>,
}

impl Deflater {
    /// A deflater of a level: 0 stores, 1 is fastest, 9 smallest; more is taken for 9.
    pub fn new(level: u32) -> Self {
        Self {
            level: Compression::new(level.min(9)),
            compressors: [const { None }; WindowBits::COUNT],
            scratch: Vec::new(),
        }
    }

    /// Appends the payload of a compressed message to `out`.
    ///
    /// Source: RFC 7692 section 7.2.1.
    pub fn compress(&mut self, payload: &[u8], window_bits: WindowBits, out: &mut Vec<u8>) {
        let compressor = self.compressors[window_bits.index()].get_or_insert_with(|| {
            Compress::new_with_window_bits(self.level, false, window_bits.as_u8())
        });
        compressor.reset();
        let mut rest = payload;
        out.reserve(payload.len() / 2 + ROOM_MIN_BYTES);
        loop {
            let before = compressor.total_in();
            compressor
                .compress_vec(rest, out, FlushCompress::Sync)
                .expect("a compressor takes any bytes");
            let taken = usize::try_from(compressor.total_in() - before)
                .expect("no more was taken than given");
            rest = &rest[taken..];
            if rest.is_empty() && out.len() < out.capacity() {
                break;
            }
            out.reserve(ROOM_MIN_BYTES);
        }
        debug_assert!(out.ends_with(&TAIL));
        out.truncate(out.len() - TAIL.len());
    }

    /// Appends a whole frame, as a server sends it: compressed if that makes it smaller.
    pub fn frame_into(
        &mut self,
        out: &mut Vec<u8>,
        opcode: Opcode,
        payload: &[u8],
        window_bits: WindowBits,
    ) {
        debug_assert!(matches!(opcode, Opcode::Text | Opcode::Binary));
        let mut scratch = std::mem::take(&mut self.scratch);
        self.compress(payload, window_bits, &mut scratch);
        if scratch.len() < payload.len() {
            let header = Header {
                rsv1: true,
                ..Header::whole(opcode, scratch.len())
            };
            out.extend_from_slice(&header.encode());
            out.extend_from_slice(&scratch);
        } else {
            frame::frame_into(out, opcode, payload);
        }
        scratch.clear();
        release(&mut scratch);
        self.scratch = scratch;
    }
}

/// Room that a compressor gets at least, bytes: with less than seven it may repeat its flush.
const ROOM_MIN_BYTES: usize = 64;

fn release(scratch: &mut Vec<u8>) {
    if scratch.capacity() > SCRATCH_RETAINED_BYTES {
        *scratch = Vec::new();
    }
}
