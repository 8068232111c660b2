//! Cutting a server's stream into frames and messages.

use std::collections::HashMap;

use campanile::id::Slot;
use campanile::ws::{Header, Opcode, Role, Violation};

/// Bytes that the frame at the front has at least, as far as its header is there; exactly, once the
/// header is.
pub(crate) fn wanted(bytes: &[u8]) -> u64 {
    match *bytes {
        [_, 126, a, b, ..] => 4 + u64::from(u16::from_be_bytes([a, b])),
        [_, 127, a, b, c, d, e, f, g, h, ..] => {
            u64::from_be_bytes([a, b, c, d, e, f, g, h]).saturating_add(10)
        }
        [_, 126, ..] => 4,
        [_, 127, ..] => 10,
        // A set mask bit is refused when the header is decoded.
        [_, length, ..] => 2 + u64::from(length & 0x7F),
        _ => 2,
    }
}

/// What a frame amounts to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming<'a> {
    Text(&'a [u8]),
    Binary,
    Ping(&'a [u8]),
    Close(&'a [u8]),
    /// A pong, or a part of a message that is not whole yet.
    Nothing,
}

/// Messages that come in several frames, which few servers send.
#[derive(Debug, Default)]
pub(crate) struct Fragments {
    begun: HashMap<Slot, (Opcode, Vec<u8>)>,
    whole: Vec<u8>,
}

/// Why a frame is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    Violation(Violation),
    TooBig(u64),
}

impl Fragments {
    pub(crate) fn is_empty(&self) -> bool {
        self.begun.is_empty()
    }

    /// Forgets what a connection that is gone had begun.
    pub(crate) fn forget(&mut self, slot: Slot) {
        if !self.begun.is_empty() {
            self.begun.remove(&slot);
        }
    }

    /// Takes one frame in. A message has at most `bytes_max` bytes.
    pub(crate) fn take<'a>(
        &'a mut self,
        slot: Slot,
        header: Header,
        payload: &'a [u8],
        bytes_max: usize,
    ) -> Result<Incoming<'a>, Unfit> {
        let whole = |opcode, payload| match opcode {
            Opcode::Text => Incoming::Text(payload),
            _ => Incoming::Binary,
        };
        match header.opcode {
            Opcode::Ping => Ok(Incoming::Ping(payload)),
            Opcode::Close => Ok(Incoming::Close(payload)),
            Opcode::Pong => Ok(Incoming::Nothing),
            Opcode::Text | Opcode::Binary => {
                if self.begun.contains_key(&slot) {
                    return Err(Unfit::Violation(Violation::MessageInsideMessage {
                        opcode: header.opcode,
                    }));
                }
                if header.fin {
                    return Ok(whole(header.opcode, payload));
                }
                self.begun.insert(slot, (header.opcode, payload.to_vec()));
                Ok(Incoming::Nothing)
            }
            Opcode::Continuation => {
                let Some((opcode, mut bytes)) = self.begun.remove(&slot) else {
                    return Err(Unfit::Violation(Violation::ContinuationOfNothing));
                };
                if bytes.len() + payload.len() > bytes_max {
                    return Err(Unfit::TooBig((bytes.len() + payload.len()) as u64));
                }
                bytes.extend_from_slice(payload);
                if header.fin {
                    self.whole = bytes;
                    return Ok(whole(opcode, &self.whole));
                }
                self.begun.insert(slot, (opcode, bytes));
                Ok(Incoming::Nothing)
            }
        }
    }
}

/// The header at the front, its size, and the frame's; `None`: more bytes are needed.
pub(crate) fn header(
    bytes: &[u8],
    bytes_max: usize,
) -> Result<Option<(Header, usize, usize)>, Unfit> {
    let decoded = Header::decode(bytes, Role::Client, false).map_err(Unfit::Violation)?;
    let Some((header, header_bytes)) = decoded else {
        return Ok(None);
    };
    match usize::try_from(header.payload_bytes) {
        Ok(payload) if payload <= bytes_max => {
            Ok(Some((header, header_bytes, header_bytes + payload)))
        }
        _ => Err(Unfit::TooBig(header.payload_bytes)),
    }
}

#[cfg(test)]
mod tests {
    use campanile::ws::frame_into;

    use super::*;

    #[test]
    fn a_frame_tells_its_length_as_soon_as_its_header_is_there() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let mut frame = Vec::new();
            frame_into(&mut frame, Opcode::Text, &vec![b'x'; length]);
            let header = frame.len() - length;
            for cut in 0..header {
                assert!(wanted(&frame[..cut]) > cut as u64, "{length}: {cut}");
                assert!(
                    wanted(&frame[..cut]) <= frame.len() as u64,
                    "{length}: {cut}"
                );
            }
            assert_eq!(wanted(&frame[..header]), frame.len() as u64);
            assert_eq!(wanted(&frame), frame.len() as u64);
        }
    }

    fn part(opcode: Opcode, fin: bool) -> Header {
        Header {
            fin,
            ..Header::whole(opcode, 2)
        }
    }

    #[test]
    fn fragments_make_a_message_with_a_ping_between_them() {
        let mut fragments = Fragments::default();
        let mut take = |opcode, fin, payload: &'static str| {
            let taken = fragments.take(Slot(1), part(opcode, fin), payload.as_bytes(), 6);
            format!("{taken:?}")
        };
        assert_eq!(take(Opcode::Text, false, "ab"), "Ok(Nothing)");
        assert_eq!(take(Opcode::Ping, true, "p"), "Ok(Ping([112]))");
        assert_eq!(take(Opcode::Continuation, false, "cd"), "Ok(Nothing)");
        assert_eq!(
            take(Opcode::Continuation, true, "ef"),
            "Ok(Text([97, 98, 99, 100, 101, 102]))"
        );
        assert!(take(Opcode::Continuation, true, "ab").contains("Err"));
        assert_eq!(take(Opcode::Text, false, "abcd"), "Ok(Nothing)");
        assert_eq!(take(Opcode::Continuation, true, "efg"), "Err(TooBig(7))");
    }

    #[test]
    fn a_message_within_a_message_is_refused() {
        let mut fragments = Fragments::default();
        let first = fragments.take(Slot(1), part(Opcode::Text, false), b"ab", 9);
        assert_eq!(first, Ok(Incoming::Nothing));
        assert!(
            fragments
                .take(Slot(2), part(Opcode::Text, true), b"ab", 9)
                .is_ok()
        );
        assert!(
            fragments
                .take(Slot(1), part(Opcode::Text, true), b"ab", 9)
                .is_err()
        );
    }
}
