//! Message frames as the server writes them: a header, and the payload as it is or compressed.

use super::options::Compression;
use crate::ws::{Deflater, Header, HeaderBytes, Opcode, WindowBits};

/// Encodes the message frames of one shard. Holds the shard's one compressor, which starts afresh
/// with every message (no context takeover).
#[derive(Debug)]
pub(crate) struct Encoder {
    deflater: Option<(Deflater, Compression)>,
    compressed: Vec<u8>,
}

/// A frame about to be written.
#[derive(Debug)]
pub(crate) struct Encoded<'a> {
    header: HeaderBytes,
    payload: &'a [u8],
}

impl Encoded<'_> {
    /// Bytes of the whole frame.
    pub(crate) fn len(&self) -> usize {
        self.header.len() + self.payload.len()
    }

    /// Appends the frame.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.header);
        out.extend_from_slice(self.payload);
    }
}

impl Encoder {
    pub(crate) fn new(compression: Option<Compression>) -> Self {
        let deflater = compression.map(|c| (Deflater::new(c.level), c));
        Self {
            deflater,
            compressed: Vec::new(),
        }
    }

    /// A frame that is not compressed.
    pub(crate) fn plain(opcode: Opcode, payload: &[u8]) -> Encoded<'_> {
        Encoded {
            header: Header::whole(opcode, payload.len()).encode(),
            payload,
        }
    }

    /// A frame for a peer with that LZ77 window (`None`: no compression). Compressed where the payload
    /// is long enough and becomes shorter by it.
    pub(crate) fn encode<'a>(
        &'a mut self,
        opcode: Opcode,
        payload: &'a [u8],
        window_bits: Option<WindowBits>,
    ) -> Encoded<'a> {
        let (Some((deflater, options)), Some(window_bits)) = (&mut self.deflater, window_bits)
        else {
            return Self::plain(opcode, payload);
        };
        if payload.len() < options.bytes_min.max(1) {
            return Self::plain(opcode, payload);
        }
        self.compressed.clear();
        deflater.compress(payload, window_bits, &mut self.compressed);
        if self.compressed.len() >= payload.len() {
            return Self::plain(opcode, payload);
        }
        let header = Header {
            rsv1: true,
            ..Header::whole(opcode, self.compressed.len())
        };
        Encoded {
            header: header.encode(),
            payload: &self.compressed,
        }
    }
}
