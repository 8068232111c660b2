//! A client by somebody else: tungstenite, over a socket with time-outs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::Response;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Message, WebSocket};

use super::BOUND;

/// Largest message that is taken, bytes.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// A WebSocket client that panics when anything fails, or takes longer than [`BOUND`].
pub(crate) struct Client<S = TcpStream> {
    socket: WebSocket<S>,
    /// The 101.
    pub(crate) response: Response,
}

impl Client {
    /// Opens `ws://address/target`.
    pub(crate) fn open(address: SocketAddr, target: &str) -> Self {
        let request = format!("ws://{address}{target}");
        Self::open_with(address, request)
    }

    pub(crate) fn open_with(address: SocketAddr, request: impl IntoClientRequest) -> Self {
        let stream = TcpStream::connect_timeout(&address, BOUND).expect("the server accepts");
        stream.set_read_timeout(Some(BOUND)).expect("a time-out");
        stream.set_write_timeout(Some(BOUND)).expect("a time-out");
        stream.set_nodelay(true).expect("no delay");
        Self::over(stream, request)
    }

    pub(crate) fn local_address(&self) -> SocketAddr {
        self.socket.get_ref().local_addr().expect("an address")
    }
}

impl<S: Read + Write> Client<S> {
    /// Over a stream that is set up already.
    pub(crate) fn over(stream: S, request: impl IntoClientRequest) -> Self {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let (socket, response) =
            match tungstenite::client::client_with_config(request, stream, Some(config)) {
                Ok(opened) => opened,
                Err(error) => panic!("the handshake fails: {error}"),
            };
        Self { socket, response }
    }

    /// What it reads from and writes to.
    pub(crate) fn stream(&mut self) -> &mut S {
        self.socket.get_mut()
    }

    pub(crate) fn say(&mut self, text: &str) {
        self.send(Message::text(text));
    }

    pub(crate) fn send(&mut self, message: Message) {
        self.socket.send(message).expect("the message is sent");
    }

    /// The next message or control frame, whatever it is.
    pub(crate) fn next(&mut self) -> Message {
        self.socket.read().expect("a message comes")
    }

    /// The next message, which must be text.
    pub(crate) fn hear(&mut self) -> String {
        match self.next() {
            Message::Text(text) => text.as_str().to_owned(),
            other => panic!("text was expected, not {}", brief(&other)),
        }
    }

    /// Says something and hears the answer.
    pub(crate) fn ask(&mut self, text: &str) -> String {
        self.say(text);
        self.hear()
    }

    pub(crate) fn start_close(&mut self, code: u16, reason: &str) {
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.to_owned().into(),
        };
        self.socket
            .close(Some(frame))
            .expect("the close frame is sent");
    }

    pub(crate) fn start_close_without_code(&mut self) {
        self.socket.close(None).expect("the close frame is sent");
    }

    /// Reads on to the close frame: its code and reason, 1005 if it has none; then to the end.
    pub(crate) fn closed(&mut self) -> (u16, String) {
        let close = loop {
            if let Message::Close(close) = self.next() {
                break close;
            }
        };
        let end = loop {
            match self.socket.read() {
                Ok(_) => {}
                Err(end) => break end,
            }
        };
        assert!(
            matches!(end, tungstenite::Error::ConnectionClosed),
            "{end:?} after the close frame"
        );
        close.map_or((1005, String::new()), |close| {
            (close.code.into(), close.reason.as_str().to_owned())
        })
    }

    /// Reads on to an end without a close frame.
    pub(crate) fn cut(&mut self) {
        loop {
            match self.socket.read() {
                Ok(Message::Close(close)) => panic!("a close frame came: {close:?}"),
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) => {
                    let kind = error.kind();
                    return assert_eq!(kind, std::io::ErrorKind::ConnectionReset, "{error}");
                }
                Err(tungstenite::Error::Protocol(
                    tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
                )) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// A message for a panic's text: megabytes are of no use there.
fn brief(message: &Message) -> String {
    match message {
        Message::Binary(bytes) => format!("{} bytes", bytes.len()),
        other => format!("{other:?}"),
    }
}
