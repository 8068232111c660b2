//! A client that writes what it is told to, byte for byte, and reads frames with the codec's own
//! client side.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use campanile::ws::{Header, MaskingKey, Opcode, Role, client_frame_into, close};
use socket2::{Domain, Socket, Type};

use super::BOUND;

const KEY: MaskingKey = MaskingKey([0x37, 0xfa, 0x21, 0x3d]);
const READ_BYTES: usize = 64 * 1024;

/// An HTTP response with its body.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Status line and header fields, in lower case but for the values.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body, which must be JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("a JSON body")
    }

    /// Member `code` of a refusal's body.
    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().expect("a code").to_owned()
    }
}

/// What comes next on a connection.
pub(crate) enum Next {
    Frame(Header, Vec<u8>),
    /// The peer has ended its stream.
    End,
    /// The connection was reset.
    Reset,
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(header, payload) => {
                let start = &payload[..payload.len().min(80)];
                write!(f, "{header:?} {:?}", String::from_utf8_lossy(start))
            }
            Self::End => f.write_str("End"),
            Self::Reset => f.write_str("Reset"),
        }
    }
}

/// A socket with time-outs. Panics when anything fails that a caller does not ask about.
pub(crate) struct Raw<S = TcpStream> {
    pub(crate) stream: S,
    /// Read, not yet taken: from `taken` on.
    buffer: Vec<u8>,
    taken: usize,
}

impl Raw {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, BOUND).expect("the server accepts");
        Self::on(stream)
    }

    /// With a receive buffer of about `bytes`, which must be set before the connection is made.
    pub(crate) fn connect_narrow(address: SocketAddr, bytes: usize) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(bytes).expect("a buffer size");
        socket
            .connect_timeout(&address.into(), BOUND)
            .expect("the server accepts");
        Self::on(socket.into())
    }

    fn on(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(BOUND)).expect("a time-out");
        stream.set_write_timeout(Some(BOUND)).expect("a time-out");
        stream.set_nodelay(true).expect("no delay");
        Self::over(stream)
    }

    /// A connection that has its 101.
    pub(crate) fn open(address: SocketAddr, target: &str) -> Self {
        let mut raw = Self::connect(address);
        let response = raw.upgrade(target, "");
        assert_eq!(response.status, 101, "{response:?}");
        raw
    }

    pub(crate) fn end_writing(&self) {
        self.stream
            .shutdown(Shutdown::Write)
            .expect("half a connection");
    }

    /// Goes away with a reset in place of an ordinary end.
    pub(crate) fn reset(self) {
        let socket = Socket::from(self.stream);
        socket
            .set_linger(Some(std::time::Duration::ZERO))
            .expect("no lingering");
    }
}

impl<S: Read + Write> Raw<S> {
    /// Over a stream that is set up already.
    pub(crate) fn over(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            taken: 0,
        }
    }

    /// Asks for a WebSocket, with further header fields (each ending with CR LF).
    pub(crate) fn upgrade(&mut self, target: &str, fields: &str) -> Response {
        self.write(head_of(target, fields).as_bytes());
        self.response()
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the bytes are written");
    }

    /// Writes as much as the peer takes before it closes: a server may refuse while we still talk.
    pub(crate) fn write_until_refused(&mut self, bytes: &[u8]) {
        match self.stream.write_all(bytes).map_err(|error| error.kind()) {
            Ok(()) | Err(ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
            Err(kind) => panic!("writing: {kind}"),
        }
    }

    pub(crate) fn say(&mut self, text: &str) {
        let frame = frame_of(Opcode::Text, text.as_bytes());
        self.write(&frame);
    }

    /// The next HTTP response; its body is as long as `content-length` says.
    pub(crate) fn response(&mut self) -> Response {
        let head_bytes = loop {
            let have = &self.buffer[self.taken..];
            if let Some(at) = have.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().expect("a whole response head");
        };
        let head = String::from_utf8(self.take(head_bytes)).expect("text");
        let mut lines = head.lines();
        let status_line = lines.next().expect("a status line");
        let status = status_line
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let fields: Vec<_> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut response = Response {
            status: status.expect("a status"),
            fields,
            body: String::new(),
        };
        let body_bytes = response
            .field("content-length")
            .map_or(0, |length| length.parse().expect("a length"));
        while self.buffer.len() - self.taken < body_bytes {
            self.more().expect("a whole body");
        }
        response.body = String::from_utf8(self.take(body_bytes)).expect("text");
        response
    }

    /// The next frame, or how the connection ends.
    pub(crate) fn next(&mut self) -> Next {
        loop {
            let have = &self.buffer[self.taken..];
            // RSV1 is let through; who did not ask for compression looks at the header.
            let header = Header::decode(have, Role::Client, true).expect("a correct frame");
            if let Some((header, header_bytes)) = header {
                let payload_bytes = usize::try_from(header.payload_bytes).expect("a length");
                if have.len() >= header_bytes + payload_bytes {
                    self.taken += header_bytes;
                    return Next::Frame(header, self.take(payload_bytes));
                }
            }
            if let Err(end) = self.more() {
                return end;
            }
        }
    }

    /// The next frame, which must be a whole uncompressed text message.
    pub(crate) fn hear(&mut self) -> String {
        match self.next() {
            Next::Frame(header, payload) if header.opcode == Opcode::Text && !header.rsv1 => {
                String::from_utf8(payload).expect("UTF-8")
            }
            other => panic!("text was expected, not {other:?}"),
        }
    }

    pub(crate) fn ask(&mut self, text: &str) -> String {
        self.say(text);
        self.hear()
    }

    /// Reads on to the close frame, then to an orderly end: code (1005 if there is none) and reason.
    pub(crate) fn closed(&mut self) -> (u16, String) {
        let payload = loop {
            match self.next() {
                Next::Frame(header, payload) if header.opcode == Opcode::Close => break payload,
                Next::Frame(..) => {}
                end => panic!("{end:?} before a close frame"),
            }
        };
        let end = self.next();
        assert!(
            matches!(end, Next::End),
            "{end:?} after the close frame {payload:?}"
        );
        let close = close::decode(&payload).expect("a correct close payload");
        close.map_or((1005, String::new()), |(code, reason)| {
            (code.as_u16(), reason.to_owned())
        })
    }

    /// Reads on to the end of an HTTP connection; nothing may come before it.
    pub(crate) fn at_end(&mut self) {
        assert_eq!(self.buffer.len(), self.taken, "bytes before the end");
        let end = self.more();
        assert!(matches!(end, Err(Next::End)), "{end:?}");
    }

    /// Reads on to the end of the connection, of whatever kind, and counts the bytes.
    pub(crate) fn read_to_end(&mut self) -> usize {
        let mut bytes = self.buffer.len() - self.taken;
        loop {
            self.taken = self.buffer.len();
            match self.more() {
                Ok(()) => bytes += self.buffer.len() - self.taken,
                Err(_) => return bytes,
            }
        }
    }

    fn take(&mut self, bytes: usize) -> Vec<u8> {
        let taken = self.buffer[self.taken..self.taken + bytes].to_vec();
        self.taken += bytes;
        taken
    }

    fn more(&mut self) -> Result<(), Next> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        let have = self.buffer.len();
        self.buffer.resize(have + READ_BYTES, 0);
        let read = self.stream.read(&mut self.buffer[have..]);
        self.buffer.truncate(have + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(Next::End),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(Next::Reset),
            Err(error) => panic!("reading: {error}; at hand: {have} bytes"),
        }
    }
}

/// The head of an opening handshake, with further header fields (each ending with CR LF).
pub(crate) fn head_of(target: &str, fields: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
    )
}

/// One whole masked frame.
pub(crate) fn frame_of(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let header = Header {
        key: Some(KEY),
        ..Header::whole(opcode, payload.len())
    };
    client_frame_into(&mut frame, header, payload);
    frame
}
