//! The far end of a connection: a client as simple as one can be, with a codec of its own, so that a
//! mistake in the server's is not made twice.

use std::collections::VecDeque;
use std::fmt::Write as _;

use super::Received;

/// Close code for a connection that ended without a close frame. RFC 6455 section 7.1.5.
const ABNORMAL: u16 = 1006;
/// Most frames that a panic's message shows.
const SHOWN_MAX: usize = 20;
/// Most characters of a frame that it shows.
const SHOWN_CHARS_MAX: usize = 300;

/// One client.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    /// What it has written and the server has not read, a chunk a turn.
    pub(crate) outgoing: VecDeque<Vec<u8>>,
    /// It reads nothing: its socket is full.
    pub(crate) frozen: bool,
    /// It writes no more; the server sees the end of the stream after what was written.
    pub(crate) is_gone: bool,
    /// The head of the HTTP response.
    pub(crate) head: Option<String>,
    /// Bytes that are no whole frame yet; of a refusal, the body.
    pub(crate) bytes: Vec<u8>,
    /// Messages that nobody has taken yet.
    pub(crate) messages: VecDeque<Received>,
    /// How the server ended the connection.
    pub(crate) closed: Option<(u16, String)>,
    /// It has sent a close frame.
    has_closed: bool,
    /// What came in, newest last, for the messages of panics.
    history: VecDeque<String>,
}

impl Peer {
    /// Writes one masked frame. RFC 6455 section 5.2.
    pub(crate) fn write_frame(&mut self, opcode: u8, payload: &[u8]) {
        const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
        let mut bytes = vec![0x80 | opcode];
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(short @ ..=125), _) => bytes.push(0x80 | short),
            (_, Ok(length)) => {
                bytes.push(0x80 | 126);
                bytes.extend(length.to_be_bytes());
            }
            _ => {
                bytes.push(0x80 | 127);
                bytes.extend((payload.len() as u64).to_be_bytes());
            }
        }
        bytes.extend(KEY);
        bytes.extend(payload.iter().zip(KEY.iter().cycle()).map(|(b, k)| b ^ k));
        self.outgoing.push_back(bytes);
    }

    /// Writes a close frame, unless it has already.
    pub(crate) fn close(&mut self, payload: &[u8]) {
        if !std::mem::replace(&mut self.has_closed, true) {
            self.write_frame(8, payload);
        }
    }

    /// Vanishes without a word.
    pub(crate) fn vanish(&mut self) {
        self.is_gone = true;
        self.frozen = false;
    }

    /// Bytes have come in. Pings are answered, a close frame is echoed.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        if self.is_gone {
            return;
        }
        self.bytes.extend_from_slice(bytes);
        if self.head.is_none() {
            let Some(end) = memchr::memmem::find(&self.bytes, b"\r\n\r\n") else {
                return;
            };
            let head: Vec<u8> = self.bytes.drain(..end + 4).collect();
            self.head = Some(String::from_utf8(head).expect("the server writes ASCII heads"));
        }
        if !self.is_upgraded() {
            return;
        }
        while let Some((opcode, payload)) = next_frame(&mut self.bytes) {
            self.receive_frame(opcode, payload);
        }
    }

    /// Whether the response is a 101.
    pub(crate) fn is_upgraded(&self) -> bool {
        let head = self.head.as_deref();
        head.is_some_and(|head| head.starts_with("HTTP/1.1 101 "))
    }

    /// The server writes no more.
    pub(crate) fn stream_ended(&mut self) {
        if !self.is_gone {
            self.is_gone = true;
            if self.is_upgraded() {
                let closed = self.closed.get_or_insert((ABNORMAL, String::new()));
                let line = format!("(the connection ended: {} {:?})", closed.0, closed.1);
                self.note(line);
            }
        }
    }

    /// What came in, for the message of a panic.
    pub(crate) fn story(&self) -> String {
        let mut story = String::new();
        for line in &self.history {
            let _ = write!(story, "\n  {line}");
        }
        match story.is_empty() {
            true => "Nothing came in.".to_owned(),
            false => format!("What came in, newest last:{story}"),
        }
    }

    fn receive_frame(&mut self, opcode: u8, payload: Vec<u8>) {
        match opcode {
            1 => {
                let text = String::from_utf8(payload).expect("a text message is UTF-8");
                self.note(text.clone());
                self.messages.push_back(Received::Text(text));
            }
            2 => {
                self.note(format!("{} bytes: {payload:02X?}", payload.len()));
                self.messages.push_back(Received::Binary(payload));
            }
            8 => {
                let (code, reason) = match &payload[..] {
                    [] => (1005, String::new()),
                    [high, low, reason @ ..] => {
                        let reason = String::from_utf8(reason.to_vec());
                        (
                            u16::from_be_bytes([*high, *low]),
                            reason.expect("a close reason is UTF-8"),
                        )
                    }
                    [_] => panic!("a close frame has no code of one byte"),
                };
                self.closed = Some((code, reason));
                self.close(&payload);
            }
            9 => self.write_frame(10, &payload),
            10 => {}
            _ => panic!("the server sent opcode {opcode}, which RFC 6455 does not know"),
        }
    }

    fn note(&mut self, mut line: String) {
        if let Some((end, _)) = line.char_indices().nth(SHOWN_CHARS_MAX) {
            line.truncate(end);
            line.push('…');
        }
        if self.history.len() == SHOWN_MAX {
            self.history.pop_front();
        }
        self.history.push_back(line);
    }
}

/// Takes a whole frame off the front, if there is one: its opcode and payload.
///
/// Panics if it is none that a server may send to a client that knows no extensions.
fn next_frame(bytes: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    assert_eq!(first & 0xF0, 0x80, "whole frames without reserved bits");
    assert_eq!(second & 0x80, 0, "a server does not mask");
    let (length, header) = match second {
        126 => {
            let (length, _) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*length)), 4)
        }
        127 => {
            let (length, _) = rest.split_first_chunk()?;
            let length = usize::try_from(u64::from_be_bytes(*length));
            (length.expect("a message fits in memory"), 10)
        }
        short => (usize::from(short), 2),
    };
    if bytes.len() - header < length {
        return None;
    }
    let payload = bytes[header..header + length].to_vec();
    bytes.drain(..header + length);
    Some((first & 0x0F, payload))
}
