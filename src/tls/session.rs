//! One TLS session of the server's side: records in, plaintext out, and the other way round.
//!
//! rustls holds the protocol and the keys and no buffers (its *unbuffered* interface). What a session
//! keeps between two calls is a record that has come in part, and records of ours that nobody has taken
//! yet; mostly neither.

use std::fmt;
use std::sync::Arc;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{HandshakeKind, ServerConfig};

/// Most bytes of a client's handshake. A hello with a post-quantum key share and tickets takes 2 to
/// 4 KiB, and we ask for no certificates. With it a client that sends no end of handshake is cut off.
const HANDSHAKE_BYTES_MAX: u32 = 32 * 1024;
/// Plaintext of one record, bytes. RFC 8446 section 5.1.
const RECORD_BYTES: usize = 16 * 1024;
/// What a record adds at most to its plaintext, bytes: header, explicit nonce (TLS 1.2), type (TLS 1.3)
/// and tag. Should it ever be more, the buffer grows when rustls says so.
const RECORD_OVERHEAD_BYTES: usize = 5 + 8 + 1 + 16;
/// Room for records that rustls puts in front: an update of keys, an alert.
const PRELUDE_BYTES: usize = 256;

/// Why a session ended without its `close_notify`.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The first bytes are text, a plain HTTP request most likely; nothing was answered.
    #[error("the connection does not speak TLS")]
    NotTls,
    /// The handshake is longer than any honest one.
    #[error("the handshake takes more than {HANDSHAKE_BYTES_MAX} bytes")]
    HandshakeTooLong,
    /// The peer broke the protocol, refused ours, or has nothing in common with us.
    #[error("{0}")]
    Protocol(rustls::Error),
    /// Plaintext before the handshake was done, or after our `close_notify`.
    #[error("nothing can be sent in this state")]
    NotReady,
    /// The keys have encrypted as much as they may (TLS 1.2 cannot have new ones).
    #[error("the session's keys are used up")]
    Exhausted,
}

impl SessionError {
    /// Whether the peer has said by an alert that it does not go on: that it does not know the
    /// authority, for one.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Protocol(rustls::Error::AlertReceived(_)))
    }
}

/// A TLS session. Boxed where connections are many: it is larger than all else that an idle one has.
///
/// ```text
///   bytes ─► read ─► plaintext            pieces ─► write ─► records
///              └──► pending records ─────────────────┘  (handshake, alerts: they go first)
/// ```
pub struct Session {
    connection: UnbufferedServerConnection,
    /// The part of a record, or of a message of the handshake, that has come in; else without memory.
    incoming: Vec<u8>,
    /// Records of ours that wait to be taken; else without memory.
    outgoing: Vec<u8>,
    /// Bytes that came in before the handshake was done.
    handshake_bytes: u32,
    is_peer_closed: bool,
    is_closed: bool,
    has_failed: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("is_handshaking", &self.is_handshaking())
            .field("incoming", &self.incoming.len())
            .field("outgoing", &self.outgoing.len())
            .field("is_peer_closed", &self.is_peer_closed)
            .field("is_closed", &self.is_closed)
            .finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(config: Arc<ServerConfig>) -> Self {
        let connection = UnbufferedServerConnection::new(config);
        Self {
            connection: connection.expect("only a fragment size is refused, and none is set"),
            incoming: Vec::new(),
            outgoing: Vec::new(),
            handshake_bytes: 0,
            is_peer_closed: false,
            is_closed: false,
            has_failed: false,
        }
    }

    /// Whether the handshake is not done yet.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether [`read`](Session::read) has told an error: there is nothing to be had of it any more.
    pub fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Whether a ticket has made the handshake shorter. `false` before it is done.
    pub fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// What waits in it, either way, bytes.
    pub fn held_bytes(&self) -> usize {
        self.incoming.len() + self.outgoing.len()
    }

    /// Whether the peer has sent its `close_notify`: it will send no more.
    pub fn is_peer_closed(&self) -> bool {
        self.is_peer_closed
    }

    /// Whether records of ours wait to be taken, by [`write`](Session::write) or
    /// [`take_pending`](Session::take_pending).
    pub fn has_pending(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Adds the records that wait to `out`.
    pub fn take_pending(&mut self, out: &mut Vec<u8>) {
        if out.capacity() == 0 {
            std::mem::swap(out, &mut self.outgoing);
        } else {
            out.extend_from_slice(&self.outgoing);
        }
        self.outgoing = Vec::new();
    }

    /// Keeps bytes for the next [`read`](Session::read), unlooked at.
    pub fn hold(&mut self, bytes: &[u8]) {
        self.incoming.extend_from_slice(bytes);
    }

    /// Takes in bytes from the socket, cut anyhow, and adds what they say to `plaintext`.
    ///
    /// After the peer's `close_notify` bytes are thrown away, as RFC 8446 section 6.1 has it; after ours
    /// too: whoever has said farewell waits for the end of the stream, whatever comes before it. May
    /// leave records that wait.
    ///
    /// Errors: the session has failed, and its alert waits to be sent; nothing of `plaintext` that was
    /// added here should be used. `SessionError::NotTls` leaves no alert.
    pub fn read(&mut self, bytes: &mut [u8], plaintext: &mut Vec<u8>) -> Result<(), SessionError> {
        if self.is_peer_closed || self.is_closed || self.has_failed {
            return Ok(());
        }
        let was_handshaking = self.is_handshaking();
        if was_handshaking {
            let first = self.incoming.first().or(bytes.first());
            if self.handshake_bytes == 0 && first.is_some_and(u8::is_ascii_alphabetic) {
                self.has_failed = true;
                return Err(SessionError::NotTls);
            }
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            self.handshake_bytes = self.handshake_bytes.saturating_add(length);
        }
        // Bytes that continue nothing are decrypted where they are.
        let read = if self.incoming.is_empty() {
            let (used, read) = self.process(bytes, plaintext);
            self.incoming = bytes[used..].to_vec();
            read
        } else {
            let mut incoming = std::mem::take(&mut self.incoming);
            incoming.extend_from_slice(bytes);
            let (used, read) = self.process(&mut incoming, plaintext);
            incoming.drain(..used);
            if !incoming.is_empty() {
                self.incoming = incoming;
            }
            read
        };
        if self.is_peer_closed {
            self.incoming = Vec::new();
        }
        read?;
        if self.is_handshaking() && self.handshake_bytes > HANDSHAKE_BYTES_MAX {
            self.has_failed = true;
            return Err(SessionError::HandshakeTooLong);
        }
        Ok(())
    }

    /// Lets rustls have `bytes` until it wants more; returns how many are done with.
    fn process(
        &mut self,
        bytes: &mut [u8],
        plaintext: &mut Vec<u8>,
    ) -> (usize, Result<(), SessionError>) {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.connection.process_tls_records(&mut bytes[used..]);
            let mut is_over = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        match record {
                            Ok(record) => {
                                discard += record.discard;
                                plaintext.extend_from_slice(record.payload);
                            }
                            Err(error) => return (used, Err(SessionError::Protocol(error))),
                        }
                    }
                }
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, &mut self.outgoing),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.is_peer_closed = true,
                // Early data is not allowed by our tickets, and what else there may be some day is
                // nothing that we have asked for: like `BlockedHandshake` and `WriteTraffic` it means
                // that nothing more is to be had of these bytes.
                Ok(_) => is_over = true,
                Err(error) => {
                    self.has_failed = true;
                    self.take_alert(&mut bytes[used..]);
                    return (used, Err(SessionError::Protocol(error)));
                }
            }
            used += discard;
            if is_over {
                return (used, Ok(()));
            }
        }
    }

    /// After an error: rustls has an alert ready, and gives it out before it looks at anything.
    fn take_alert(&mut self, bytes: &mut [u8]) {
        while self.connection.wants_write() {
            let status = self.connection.process_tls_records(bytes);
            let Ok(ConnectionState::EncodeTlsData(data)) = status.state else {
                return;
            };
            encode(data, &mut self.outgoing);
        }
    }

    /// Adds the records that wait, and then `pieces`, one after the other, as records, to `out`.
    ///
    /// Plaintext is encrypted from where it lies; only several short pieces are first put together, so
    /// that they share one record.
    ///
    /// Errors: `NotReady`, `Exhausted`, or what [`read`](Session::read) has told before.
    pub fn write(&mut self, pieces: &[&[u8]], out: &mut Vec<u8>) -> Result<(), SessionError> {
        self.with_traffic(out, |traffic, out| {
            let mut rest = pieces;
            while let Some((first, others)) = rest.split_first() {
                let mut bytes = first.len();
                let fits = |piece: &&&[u8]| {
                    bytes += piece.len();
                    bytes <= RECORD_BYTES
                };
                let together = 1 + others.iter().take_while(fits).count();
                let (group, after) = rest.split_at(together);
                match group {
                    [piece] => seal(traffic, piece, out)?,
                    pieces => seal_together(traffic, pieces, out)?,
                }
                rest = after;
            }
            Ok(())
        })
    }

    /// Adds the records that wait, and a `close_notify` unless there was one, to `out`: the last that is
    /// sent. A session whose handshake is not done, or that has failed, has nothing to say.
    pub fn close_notify(&mut self, out: &mut Vec<u8>) {
        if self.is_closed || self.has_failed || self.is_handshaking() {
            return self.take_pending(out);
        }
        self.is_closed = true;
        // An error says that the session is beyond a farewell.
        let _ = self.with_traffic(out, |traffic, out| {
            let at = out.len();
            out.resize(at + PRELUDE_BYTES, 0);
            let length = traffic.queue_close_notify(&mut out[at..]);
            out.truncate(at + *length.as_ref().unwrap_or(&0));
            length.map(|_| ())
        });
    }

    fn with_traffic(
        &mut self,
        out: &mut Vec<u8>,
        work: impl FnOnce(
            &mut WriteTraffic<'_, ServerConnectionData>,
            &mut Vec<u8>,
        ) -> Result<(), EncryptError>,
    ) -> Result<(), SessionError> {
        if self.has_pending() {
            self.take_pending(out);
        }
        if self.has_failed {
            return Err(SessionError::NotReady);
        }
        loop {
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(&mut self.incoming);
            match state.map_err(SessionError::Protocol)? {
                ConnectionState::EncodeTlsData(data) => encode(data, out),
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::WriteTraffic(mut traffic) => {
                    debug_assert_eq!(discard, 0, "`read` leaves only what is not whole");
                    return work(&mut traffic, out).map_err(|_| SessionError::Exhausted);
                }
                _ => return Err(SessionError::NotReady),
            }
            self.incoming.drain(..discard);
        }
    }
}

/// Adds a record that rustls has made to `out`.
fn encode(mut data: EncodeTlsData<'_, ServerConnectionData>, out: &mut Vec<u8>) {
    let at = out.len();
    // With no room it says how much it needs.
    while let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut out[at..]) {
        out.resize(at + size.required_size, 0);
    }
}

/// Encrypts `plaintext` to the end of `out`, in as many records as it takes.
fn seal(
    traffic: &mut WriteTraffic<'_, ServerConnectionData>,
    plaintext: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), EncryptError> {
    let at = out.len();
    let records = plaintext.len().div_ceil(RECORD_BYTES);
    let mut room = plaintext.len() + records * RECORD_OVERHEAD_BYTES;
    loop {
        out.resize(at + room, 0);
        match traffic.encrypt(plaintext, &mut out[at..]) {
            Ok(length) => {
                out.truncate(at + length);
                return Ok(());
            }
            Err(EncryptError::InsufficientSize(size)) => room = size.required_size,
            Err(error) => {
                out.truncate(at);
                return Err(error);
            }
        }
    }
}

/// Encrypts several pieces as one record. They are put together behind the place where the record goes,
/// so that no other buffer is needed.
fn seal_together(
    traffic: &mut WriteTraffic<'_, ServerConnectionData>,
    pieces: &[&[u8]],
    out: &mut Vec<u8>,
) -> Result<(), EncryptError> {
    let at = out.len();
    let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
    let mut room = bytes + RECORD_OVERHEAD_BYTES;
    loop {
        out.resize(at + room, 0);
        pieces.iter().for_each(|piece| out.extend_from_slice(piece));
        let (records, plaintext) = out.split_at_mut(at + room);
        let sealed = traffic.encrypt(plaintext, &mut records[at..]);
        out.truncate(at + *sealed.as_ref().unwrap_or(&0));
        match sealed {
            Ok(_) => return Ok(()),
            Err(EncryptError::InsufficientSize(size)) => room = size.required_size,
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
impl Session {
    pub(super) fn outgoing_len(&self) -> usize {
        self.outgoing.len()
    }

    pub(super) fn buffer_bytes(&self) -> usize {
        self.incoming.capacity() + self.outgoing.capacity()
    }
}
