//! Bare frames: an opening handshake, and the answer to each frame that came in.
//!
//! Text is checked to be UTF-8 and every head to be in order. Fragments are not put together: a
//! client that sends any is refused. No limits, no deadlines, no keepalive.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// What a connection reads at once, bytes.
pub const READ_BYTES: usize = 4096;
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 32;
/// RFC 6455 section 1.3.
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A peer that does not speak the protocol, or more of it than is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation;

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It reads on.
    Read,
    /// It ends when what is to be written has been.
    End,
}

/// One connection without its socket: bytes in, bytes out.
#[derive(Debug, Default)]
pub struct Conversation {
    is_open: bool,
}

impl Conversation {
    /// Takes what is complete from the front of `input` and appends the answers to `output`.
    ///
    /// Errors: a `Violation`, after which the connection is to be cut.
    pub fn answer(&mut self, input: &mut Vec<u8>, output: &mut Vec<u8>) -> Result<Next, Violation> {
        let mut taken = 0;
        if !self.is_open {
            let Some(bytes) = handshake(input, output)? else {
                return Ok(Next::Read);
            };
            (taken, self.is_open) = (bytes, true);
        }
        let mut next = Next::Read;
        while let Some(frame) = Frame::decode(&mut input[taken..])? {
            taken += frame.bytes;
            if frame.answer(output)? == Next::End {
                next = Next::End;
                break;
            }
        }
        let rest = input.len() - taken;
        input.copy_within(taken.., 0);
        input.truncate(rest);
        Ok(next)
    }
}

/// Answers the opening handshake if its head is complete, and tells how many bytes it had.
fn handshake(input: &[u8], output: &mut Vec<u8>) -> Result<Option<usize>, Violation> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let bytes = match request.parse(input) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) if input.len() < HEAD_BYTES_MAX => return Ok(None),
        _ => return Err(Violation),
    };
    let key = request
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("sec-websocket-key"))
        .ok_or(Violation)?;
    let digest = Sha1::new()
        .chain_update(key.value)
        .chain_update(ACCEPT_SUFFIX)
        .finalize();
    output.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
    );
    output.extend_from_slice(STANDARD.encode(digest).as_bytes());
    output.extend_from_slice(b"\r\n\r\n");
    Ok(Some(bytes))
}

/// A whole frame of a client, unmasked.
struct Frame<'a> {
    opcode: u8,
    payload: &'a [u8],
    /// All of it, head included.
    bytes: usize,
}

impl<'a> Frame<'a> {
    /// Unmasks the first frame in place if it is complete.
    fn decode(input: &'a mut [u8]) -> Result<Option<Self>, Violation> {
        let &[first, second, ref rest @ ..] = &*input else {
            return Ok(None);
        };
        if first & 0xF0 != FIN || second & MASKED == 0 {
            return Err(Violation);
        }
        let (head, length) = match (second & !MASKED, rest) {
            (126, &[a, b, ..]) => (8, u64::from(u16::from_be_bytes([a, b]))),
            (127, &[a, b, c, d, e, f, g, h, ..]) => {
                (14, u64::from_be_bytes([a, b, c, d, e, f, g, h]))
            }
            (126 | 127, _) => return Ok(None),
            (short, _) => (6, u64::from(short)),
        };
        let length = usize::try_from(length).map_err(|_| Violation)?;
        if length > crate::MESSAGE_BYTES_MAX {
            return Err(Violation);
        }
        let bytes = head + length;
        let Some(frame) = input.get_mut(..bytes) else {
            return Ok(None);
        };
        let (head, payload) = frame.split_at_mut(head);
        let &mut [.., a, b, c, d] = head else {
            return Err(Violation);
        };
        unmask(payload, [a, b, c, d]);
        Ok(Some(Self {
            opcode: first & 0x0F,
            payload,
            bytes,
        }))
    }

    fn answer(&self, output: &mut Vec<u8>) -> Result<Next, Violation> {
        let (opcode, next) = match self.opcode {
            TEXT => {
                simdutf8::basic::from_utf8(self.payload).map_err(|_| Violation)?;
                (TEXT, Next::Read)
            }
            BINARY => (BINARY, Next::Read),
            PING => (PONG, Next::Read),
            PONG => return Ok(Next::Read),
            CLOSE => (CLOSE, Next::End),
            _ => return Err(Violation),
        };
        encode(opcode, self.payload, output);
        Ok(next)
    }
}

fn unmask(payload: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (eights, rest) = payload.as_chunks_mut::<8>();
    for eight in eights {
        *eight = (u64::from_ne_bytes(*eight) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

fn encode(opcode: u8, payload: &[u8], output: &mut Vec<u8>) {
    output.push(FIN | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..126), _) => output.push(length),
        (_, Ok(length)) => {
            output.push(126);
            output.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            output.push(127);
            output.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    output.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).expect("short");
        let mut frame = vec![first, MASKED | length, 1, 2, 3, 4];
        let keys = [1, 2, 3, 4].into_iter().cycle();
        frame.extend(payload.iter().zip(keys).map(|(byte, key)| byte ^ key));
        frame
    }

    #[test]
    fn any_chunking_of_the_same_bytes_gives_the_same_answers() {
        let mut bytes =
            b"GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".to_vec();
        bytes.extend(masked(FIN | TEXT, b"hello, hello"));
        bytes.extend(masked(FIN | PING, b"p"));
        bytes.extend(masked(FIN | CLOSE, &[3, 232]));
        let mut outputs = Vec::new();
        for step in [1, 7, bytes.len()] {
            let (mut conversation, mut input, mut output) =
                <(Conversation, Vec<_>, Vec<_>)>::default();
            let mut last = Next::Read;
            for chunk in bytes.chunks(step) {
                input.extend_from_slice(chunk);
                last = conversation
                    .answer(&mut input, &mut output)
                    .expect("in order");
            }
            assert_eq!((last, input.len()), (Next::End, 0));
            outputs.push(output);
        }
        let text = String::from_utf8_lossy(&outputs[0]);
        // RFC 6455 section 1.3.
        assert!(text.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{text}");
        assert!(outputs[0].ends_with(b"\x81\x0Chello, hello\x8A\x01p\x88\x02\x03\xE8"));
        assert!(outputs.iter().all(|output| *output == outputs[0]));
    }

    #[test]
    fn what_is_not_known_here_is_refused() {
        for (first, payload) in [(TEXT, &b"part"[..]), (FIN | TEXT, b"\xFF"), (FIN | 3, b"")] {
            let mut conversation = Conversation { is_open: true };
            let answer = conversation.answer(&mut masked(first, payload), &mut Vec::new());
            assert_eq!(answer, Err(Violation), "{first}");
        }
    }
}
