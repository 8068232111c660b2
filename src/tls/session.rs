//! One TLS session of the server's side: records in, plaintext out, and the other way round.
//!
//! The handshake is that of rustls, without buffers (its *unbuffered* interface). When it is done, all
//! that rustls has kept for it goes, and the session is its keys and counters: see `records.rs`, and
//! there why. Besides, a session keeps a record that has come in part, and records of ours that nobody
//! has taken yet; mostly neither.

use std::fmt;
use std::sync::Arc;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{HandshakeKind, ServerConfig};

use super::keys::{HEADER_BYTES, Keys, TrafficSecrets};
use super::records::{Read, Records};

/// Most bytes of a client's handshake. A hello with a post-quantum key share and tickets takes 2 to
/// 4 KiB, and we ask for no certificates. With it a client that sends no end of handshake is cut off.
const HANDSHAKE_BYTES_MAX: u32 = 32 * 1024;

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
///
///   Handshake ──► Traffic ──► Failed
///       └────────────────────────┘
/// ```
pub struct Session {
    phase: Phase,
    /// The part of a record, or of a message of the handshake, that has come in; else without memory.
    incoming: Vec<u8>,
    /// Records of ours that wait to be taken; else without memory.
    outgoing: Vec<u8>,
    is_resumed: bool,
    is_peer_closed: bool,
    is_closed: bool,
}

#[expect(
    clippy::large_enum_variant,
    reason = "nearly all sessions are in traffic: a box around it would be one more for each"
)]
enum Phase {
    Handshake(Box<Handshake>),
    Traffic(Records),
    /// There is nothing to be had of it any more.
    Failed,
}

/// What there is until the handshake is done.
struct Handshake {
    connection: UnbufferedServerConnection,
    secrets: Arc<TrafficSecrets>,
    /// Bytes that have come in.
    bytes: u32,
    /// How many of those that rustls is not done with are whole records that it has seen: it has put down
    /// where in them it is, and is never shown fewer.
    whole: usize,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("is_handshaking", &self.is_handshaking())
            .field("has_failed", &self.has_failed())
            .field("incoming", &self.incoming.len())
            .field("outgoing", &self.outgoing.len())
            .field("is_peer_closed", &self.is_peer_closed)
            .field("is_closed", &self.is_closed)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// `config` must let secrets be extracted.
    pub(super) fn new(config: &ServerConfig) -> Self {
        debug_assert!(config.enable_secret_extraction);
        let secrets = Arc::new(TrafficSecrets::default());
        // The log of keys is a session's own, so the configuration is: nearly all of it is shared still.
        let mut config = config.clone();
        config.key_log = Arc::clone(&secrets) as _;
        let connection = UnbufferedServerConnection::new(Arc::new(config));
        Self {
            phase: Phase::Handshake(Box::new(Handshake {
                connection: connection.expect("only a fragment size is refused, and none is set"),
                secrets,
                bytes: 0,
                whole: 0,
            })),
            incoming: Vec::new(),
            outgoing: Vec::new(),
            is_resumed: false,
            is_peer_closed: false,
            is_closed: false,
        }
    }

    /// Whether the handshake is not done yet, and has not failed.
    pub fn is_handshaking(&self) -> bool {
        matches!(self.phase, Phase::Handshake(_))
    }

    /// Whether [`read`](Session::read) has told an error: there is nothing to be had of it any more.
    pub fn has_failed(&self) -> bool {
        matches!(self.phase, Phase::Failed)
    }

    /// Whether a ticket has made the handshake shorter. `false` before it is done.
    pub fn is_resumed(&self) -> bool {
        self.is_resumed
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

    /// For one that is quiet: gives back the memory of what the next record makes again (two ciphers,
    /// about 1,200 bytes), at the price of making it.
    pub fn rest(&mut self) {
        if let Phase::Traffic(records) = &mut self.phase {
            records.rest();
        }
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
        if self.is_peer_closed || self.is_closed || self.has_failed() {
            return Ok(());
        }
        let mut read = self.admit(bytes);
        if read.is_ok() {
            // Bytes that continue nothing are decrypted where they are.
            let used;
            if self.incoming.is_empty() {
                (used, read) = self.process(bytes, plaintext);
                self.incoming = bytes[used..].to_vec();
            } else {
                let mut incoming = std::mem::take(&mut self.incoming);
                incoming.extend_from_slice(bytes);
                (used, read) = self.process(&mut incoming, plaintext);
                incoming.drain(..used);
                if !incoming.is_empty() {
                    self.incoming = incoming;
                }
            }
        }
        if read.is_ok()
            && let Phase::Handshake(handshake) = &self.phase
            && handshake.bytes > HANDSHAKE_BYTES_MAX
        {
            read = Err(SessionError::HandshakeTooLong);
        }
        if read.is_err() {
            self.phase = Phase::Failed;
        }
        if self.is_peer_closed || self.has_failed() {
            self.incoming = Vec::new();
        }
        read
    }

    /// Counts the bytes of a handshake; refuses what is none from its first byte.
    fn admit(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        let Phase::Handshake(handshake) = &mut self.phase else {
            return Ok(());
        };
        let first = self.incoming.first().or(bytes.first());
        if handshake.bytes == 0 && first.is_some_and(u8::is_ascii_alphabetic) {
            return Err(SessionError::NotTls);
        }
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        handshake.bytes = handshake.bytes.saturating_add(length);
        Ok(())
    }

    /// Reads what is whole of `bytes`; returns how many are done with.
    fn process(
        &mut self,
        bytes: &mut [u8],
        plaintext: &mut Vec<u8>,
    ) -> (usize, Result<(), SessionError>) {
        let mut used = 0;
        if let Phase::Handshake(handshake) = &mut self.phase {
            let shaken;
            (used, shaken) = handshake.process(bytes, &mut self.outgoing);
            let is_done = match shaken {
                Ok(is_done) => is_done,
                Err(error) => return (used, Err(SessionError::Protocol(error))),
            };
            if is_done && let Err(error) = self.begin_traffic() {
                return (used, Err(SessionError::Protocol(error)));
            }
        }
        if let Phase::Traffic(records) = &mut self.phase {
            let read = records.read(&mut bytes[used..], plaintext, &mut self.outgoing);
            let Read {
                used: more,
                is_closed,
            } = read;
            used += more;
            match is_closed {
                Ok(is_closed) => self.is_peer_closed = is_closed,
                Err(fault) => return (used, Err(SessionError::Protocol(fault.error))),
            }
        }
        (used, Ok(()))
    }

    /// The handshake is done: keeps the keys, and nothing else of it.
    fn begin_traffic(&mut self) -> Result<(), rustls::Error> {
        let Phase::Handshake(handshake) = std::mem::replace(&mut self.phase, Phase::Failed) else {
            return Ok(());
        };
        let Handshake {
            connection,
            secrets,
            ..
        } = *handshake;
        self.is_resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        let (extracted, _) = connection.dangerous_into_kernel_connection()?;
        let (received, receive) = &extracted.rx;
        let (sent, send) = &extracted.tx;
        let keys = Keys::new(*received, receive, secrets.client()).zip(Keys::new(
            *sent,
            send,
            secrets.server(),
        ));
        let unknown = || rustls::Error::General("a cipher without records here".to_owned());
        let (receive, send) = keys.ok_or_else(unknown)?;
        self.phase = Phase::Traffic(Records::new(receive, send));
        Ok(())
    }

    /// Adds the records that wait, and then `pieces`, one after the other, as records, to `out`. Short
    /// pieces share a record.
    ///
    /// Errors: `NotReady`, or `Exhausted`.
    pub fn write(&mut self, pieces: &[&[u8]], out: &mut Vec<u8>) -> Result<(), SessionError> {
        if self.has_pending() {
            self.take_pending(out);
        }
        match &mut self.phase {
            Phase::Traffic(records) if !self.is_closed => match records.write(pieces, out) {
                true => Ok(()),
                false => Err(SessionError::Exhausted),
            },
            _ => Err(SessionError::NotReady),
        }
    }

    /// Adds the records that wait, and a `close_notify` unless there was one, to `out`: the last that is
    /// sent. A session whose handshake is not done, or that has failed, has nothing to say.
    pub fn close_notify(&mut self, out: &mut Vec<u8>) {
        if self.has_pending() {
            self.take_pending(out);
        }
        if let Phase::Traffic(records) = &mut self.phase
            && !std::mem::replace(&mut self.is_closed, true)
        {
            records.close_notify(out);
        }
    }
}

impl Handshake {
    /// Lets rustls have `bytes` until it wants more, or the handshake is done; returns how many are done
    /// with, and whether it is done.
    ///
    /// It is shown one record more at a time, so that it never sees what comes after the handshake.
    fn process(
        &mut self,
        bytes: &mut [u8],
        outgoing: &mut Vec<u8>,
    ) -> (usize, Result<bool, rustls::Error>) {
        let mut used = 0;
        let mut whole = self.whole;
        while whole < bytes.len() {
            let end = record_end(bytes, whole);
            let shown = end.unwrap_or(bytes.len());
            loop {
                let status = self.connection.process_tls_records(&mut bytes[used..shown]);
                let UnbufferedStatus { discard, state } = status;
                let wants_more = match state {
                    Ok(ConnectionState::EncodeTlsData(data)) => {
                        encode(data, outgoing);
                        false
                    }
                    Ok(ConnectionState::TransmitTlsData(data)) => {
                        data.done();
                        false
                    }
                    // `BlockedHandshake` and `WriteTraffic`. Others come after a handshake, or with early
                    // data, which our tickets do not allow.
                    Ok(_) => true,
                    Err(error) => {
                        self.take_alert(&mut bytes[used..shown], outgoing);
                        return (used, Err(error));
                    }
                };
                used += discard;
                let connection = &self.connection;
                if !connection.is_handshaking() && !connection.wants_write() {
                    return (used, Ok(true));
                }
                if wants_more {
                    break;
                }
            }
            match end {
                Some(end) => whole = end,
                None => break,
            }
        }
        self.whole = whole.saturating_sub(used);
        (used, Ok(false))
    }

    /// After an error: rustls has an alert ready, and gives it out before it looks at anything.
    fn take_alert(&mut self, bytes: &mut [u8], outgoing: &mut Vec<u8>) {
        while self.connection.wants_write() {
            let status = self.connection.process_tls_records(bytes);
            let Ok(ConnectionState::EncodeTlsData(data)) = status.state else {
                return;
            };
            encode(data, outgoing);
        }
    }
}

/// Where the record that begins at `start` ends. `None`: it is not whole.
fn record_end(bytes: &[u8], start: usize) -> Option<usize> {
    let header = bytes[start..].first_chunk::<HEADER_BYTES>()?;
    let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
    let end = start + HEADER_BYTES + length;
    (end <= bytes.len()).then_some(end)
}

/// Adds a record that rustls has made to `out`.
fn encode(mut data: EncodeTlsData<'_, ServerConnectionData>, out: &mut Vec<u8>) {
    let at = out.len();
    // With no room it says how much it needs.
    while let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut out[at..]) {
        out.resize(at + size.required_size, 0);
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

    pub(super) fn records(&mut self) -> &mut Records {
        match &mut self.phase {
            Phase::Traffic(records) => records,
            _ => panic!("the handshake is not done"),
        }
    }
}
