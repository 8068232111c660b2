//! permessage-deflate: compression of messages. RFC 7692 section 7.2.
//!
//! How it is agreed on is the business of [`extensions`](super::extensions).
//!
//! Both sides' context takeover is always switched off: every message is compressed by itself, a
//! shard has one [`Inflater`] and one [`Deflater`] for all its connections, and an idle connection
//! holds no window.
#![forbid(unsafe_code)]

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

    /// Bytes of scratch memory that are held: for the message inflated last, or for the next.
    pub fn held_bytes(&self) -> usize {
        self.scratch.capacity()
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn inflate(payload: &[u8]) -> Vec<u8> {
        Inflater::new().inflate(payload, 1 << 20).unwrap().to_vec()
    }

    fn deflate(payload: &[u8], window_bits: u8) -> Vec<u8> {
        let mut out = Vec::new();
        Deflater::new(6).compress(payload, WindowBits::new(window_bits).unwrap(), &mut out);
        out
    }

    /// Bytes without repeats that a compressor could use.
    fn noise(count: u32) -> Vec<u8> {
        (0..count)
            .map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[1])
            .collect()
    }

    #[test]
    fn window_bits_are_9_to_15() {
        for bits in 0..=u8::MAX {
            let expected = (9..=15).contains(&bits).then_some(bits);
            assert_eq!(WindowBits::new(bits).map(WindowBits::as_u8), expected);
        }
    }

    #[test]
    fn the_examples_of_rfc_7692_section_7_2_3_inflate() {
        let examples: [(&[u8], &str); 6] = [
            (b"\xf2\x48\xcd\xc9\xc9\x07\x00", "7.2.3.1, one block"),
            (
                b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
                "7.2.3.3, stored block",
            ),
            (b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", "7.2.3.4, final block"),
            (
                b"\xf3\x48\xcd\xc9\xc9\x07\x00",
                "final block and nothing more",
            ),
            (
                b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
                "7.2.3.5, two blocks",
            ),
            (
                b"\xf3\x48\x05\x00\xca\xc9\xc9\x07\x00",
                "a block after a final block",
            ),
        ];
        for (payload, name) in examples {
            assert_eq!(inflate(payload), b"Hello", "{name}");
        }
    }

    /// RFC 7692 section 7.2.3.6.
    #[test]
    fn an_empty_message_is_one_zero_byte_and_no_bytes_are_taken_for_it_too() {
        assert_eq!(deflate(b"", 15), [0]);
        assert_eq!(inflate(&[0]), b"");
        assert_eq!(inflate(&[]), b"");
    }

    /// A stored block whose four bytes are just those that a sender leaves away.
    #[test]
    fn the_tail_that_the_sender_left_away_is_put_back() {
        assert_eq!(inflate(b"\x00\x04\x00\xfb\xff"), TAIL);
    }

    #[test]
    fn what_is_not_deflate_data_is_refused_and_harms_no_later_message() {
        let mut inflater = Inflater::new();
        // A block of type 3; a stored block whose lengths disagree; a distance before the start.
        for payload in [
            &b"\x07"[..],
            b"\x00\x05\x00\x05\x00Hello\x00",
            b"\x02\x08\x01\x00\x00",
        ] {
            assert_eq!(
                inflater.inflate(payload, 100),
                Err(Violation::NotDeflate),
                "{payload:x?}"
            );
        }
        assert_eq!(
            inflater.inflate(b"\xf2\x48\xcd\xc9\xc9\x07\x00", 100),
            Ok(&b"Hello"[..])
        );
    }

    #[test]
    fn the_limit_is_exact() {
        let payload = deflate(&[b'x'; 10_000], 15);
        let mut inflater = Inflater::new();
        assert_eq!(
            inflater.inflate(&payload, 10_000).map(<[u8]>::len),
            Ok(10_000)
        );
        let refused = Err(Violation::InflatesTooBig { bytes_max: 9_999 });
        assert_eq!(inflater.inflate(&payload, 9_999), refused);
    }

    #[test]
    fn a_bomb_is_refused_before_its_memory_is_allocated() {
        let bomb = deflate(&vec![0; 16 << 20], 15);
        assert!(bomb.len() < 20_000);
        let mut inflater = Inflater::new();
        let bytes_max = 100_000;
        assert_eq!(
            inflater.inflate(&bomb, bytes_max),
            Err(Violation::InflatesTooBig { bytes_max })
        );
        assert!(inflater.held_bytes() <= bytes_max + 1);
    }

    #[test]
    fn memory_of_a_large_message_is_given_back() {
        let payload = deflate(&[0; 500_000], 15);
        let mut inflater = Inflater::new();
        assert!(inflater.inflate(&payload, 1 << 20).is_ok());
        assert!(inflater.held_bytes() >= 500_000);
        inflater.release();
        assert!(inflater.held_bytes() <= SCRATCH_RETAINED_BYTES);

        let noise = noise(500_000);
        let mut deflater = Deflater::new(1);
        deflater.frame_into(&mut Vec::new(), Opcode::Binary, &noise, WindowBits::MAX);
        assert!(deflater.scratch.capacity() <= SCRATCH_RETAINED_BYTES);
    }

    #[test]
    fn messages_share_no_context() {
        let mut deflater = Deflater::new(6);
        let mut compress = |payload: &[u8]| {
            let mut out = Vec::new();
            deflater.compress(payload, WindowBits::MAX, &mut out);
            out
        };
        let first = compress(b"to be or not to be");
        assert_ne!(compress(b"something else"), first);
        assert_eq!(compress(b"to be or not to be"), first);
    }

    #[test]
    fn a_frame_that_compression_would_not_shrink_is_sent_as_it_is() {
        let mut deflater = Deflater::new(6);
        let mut out = Vec::new();
        deflater.frame_into(&mut out, Opcode::Text, b"Hi", WindowBits::MAX);
        assert_eq!(out, b"\x81\x02Hi");
        out.clear();
        deflater.frame_into(&mut out, Opcode::Text, &[b'x'; 100], WindowBits::MAX);
        assert_eq!(out[0], 0xC1);
        assert!(out.len() < 20);
    }

    /// Inflates through a window of the size agreed on, 32 bytes at a time, so that nothing
    /// further back than the window is at hand.
    fn inflate_through_window(payload: &[u8], window_bits: u8) -> Vec<u8> {
        let mut stream = Decompress::new_with_window_bits(false, window_bits);
        let mut whole = payload.to_vec();
        whole.extend_from_slice(&TAIL);
        let (mut rest, mut inflated) = (&whole[..], Vec::new());
        loop {
            let (before_in, before_out) = (stream.total_in(), stream.total_out());
            let mut piece = [0; 32];
            stream
                .decompress(rest, &mut piece, FlushDecompress::Sync)
                .unwrap();
            let produced = usize::try_from(stream.total_out() - before_out).unwrap();
            rest = &rest[usize::try_from(stream.total_in() - before_in).unwrap()..];
            inflated.extend_from_slice(&piece[..produced]);
            if produced < piece.len() {
                assert!(rest.is_empty());
                return inflated;
            }
        }
    }

    #[test]
    fn no_window_is_larger_than_agreed_on() {
        // Repeats at distances of 300, 3,000 and 30,000 bytes.
        let noise = noise(30_000);
        let repeats = [
            &noise[..300],
            &noise[..3_000],
            &noise[..],
            &noise[..],
            &noise[..3_000],
        ]
        .concat();
        let mut sizes = Vec::new();
        for window_bits in 9..=15 {
            let payload = deflate(&repeats, window_bits);
            assert_eq!(
                inflate_through_window(&payload, window_bits),
                repeats,
                "{window_bits} bits"
            );
            sizes.push(payload.len());
        }
        assert!(sizes[6] < sizes[0], "a larger window finds more: {sizes:?}");
    }

    proptest! {
        #[test]
        fn what_is_deflated_inflates(
            payload in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..2000),
                proptest::collection::vec(0u8..4, 0..5000),
                "[a-c]{0,3000}".prop_map(String::into_bytes),
            ],
            window_bits in 9u8..=15,
            level in 0u32..=9,
        ) {
            let mut out = Vec::new();
            Deflater::new(level).compress(&payload, WindowBits::new(window_bits).unwrap(), &mut out);
            prop_assert_eq!(inflate(&out), payload);
        }

        #[test]
        fn garbage_ends_in_a_verdict_within_the_limit(
            payload in proptest::collection::vec(any::<u8>(), 0..500), bytes_max in 0usize..2000,
        ) {
            match Inflater::new().inflate(&payload, bytes_max) {
                Ok(inflated) => prop_assert!(inflated.len() <= bytes_max),
                Err(Violation::NotDeflate) => {}
                Err(violation) => prop_assert_eq!(violation, Violation::InflatesTooBig { bytes_max }),
            }
        }
    }
}
