//! A session whose handshake is done: its records, alerts and updates of keys, without rustls.
//!
//! *Why.* After a handshake rustls keeps for each connection what the handshake was about, and ciphers
//! ready to use: 3 KB that an idle connection has no use for. There is a way out that rustls offers, made
//! for the TLS of kernels (`dangerous_into_kernel_connection`): whoever takes the keys makes the records.
//! What is left to do then is little, and all of it is here and in `keys.rs`. Handshakes, certificates,
//! tickets and the choice of ciphers are rustls' alone, and the ciphers are those of the same library.
//!
//! *What there is to do.* RFC 8446: records and their bounds (5.1 to 5.4), no more of them than keys may
//! protect (5.5), alerts (6), `KeyUpdate` either way (4.6.3), and nothing else is allowed after the
//! handshake of a server that asks for no certificate. RFC 5246: the same without updates of keys; a
//! client may ask for another handshake, and is refused (7.2.2). Where a rule leaves a choice, it is
//! rustls' own choice, as far as a peer can tell; the exceptions are named.
//!
//! *What goes wrong* ends the session: the first fault is answered by its alert, and nothing is read or
//! written any more.

use std::iter;

use rustls::{AlertDescription, Error, InvalidMessage, PeerMisbehaved};

use super::keys::{APPLICATION_DATA, HEADER_BYTES, Keys, Opened, RECORD_BYTES, Unopened};

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

const WARNING: u8 = 1;
const FATAL: u8 = 2;

const CLIENT_HELLO: u8 = 1;
/// A message `KeyUpdate`, but for its last byte: whether the peer is to update its keys as well.
const KEY_UPDATE: [u8; 4] = [24, 0, 0, 1];

/// What a record adds to its content at most: padding, the nonce of TLS 1.2, and what a cipher may add.
/// RFC 8446 section 5.2, RFC 5246 section 6.2.3.
const EXPANSION_BYTES_MAX_TLS13: usize = 256;
const EXPANSION_BYTES_MAX_TLS12: usize = 2048;

/// Warnings that are let pass, updates of keys without any data between them, and records of data without
/// any, one after the other: as in rustls, and BoringSSL before it.
const WARNINGS_MAX: u8 = 4;
const UPDATES_MAX: u8 = 32;
const EMPTY_MAX: u8 = 32;

/// Reads and writes the records of one session. 300 bytes while it rests.
pub(super) struct Records {
    receive: Keys,
    send: Keys,
    /// A message of the handshake that has come in part: its first bytes, and how many.
    partial: [u8; KEY_UPDATE.len() + 1],
    partial_bytes: u8,
    warnings_left: u8,
    updates_left: u8,
    empty_left: u8,
    /// The peer has asked for an update of ours: it goes ahead of the next data.
    owes_update: bool,
    /// TLS 1.2: the peer has asked for another handshake, and been refused.
    has_refused: bool,
}

/// The peer broke a rule, or says that we have.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) error: Error,
    /// What it is told. `None`: it has told us, and there is no answer to an alert.
    alert: Option<AlertDescription>,
}

impl Fault {
    fn new(alert: AlertDescription, error: impl Into<Error>) -> Self {
        Self {
            error: error.into(),
            alert: Some(alert),
        }
    }

    fn unexpected(what: &'static str) -> Self {
        Self::new(
            AlertDescription::UnexpectedMessage,
            InvalidMessage::UnexpectedMessage(what),
        )
    }

    fn undecodable(error: InvalidMessage) -> Self {
        Self::new(AlertDescription::DecodeError, error)
    }
}

impl From<Unopened> for Fault {
    fn from(unopened: Unopened) -> Self {
        match unopened {
            Unopened::BadMac => Self::new(AlertDescription::BadRecordMac, Error::DecryptError),
            Unopened::TooLong => Self::new(
                AlertDescription::RecordOverflow,
                Error::PeerSentOversizedRecord,
            ),
            Unopened::NoContent => Self::new(
                AlertDescription::UnexpectedMessage,
                PeerMisbehaved::IllegalTlsInnerPlaintext,
            ),
        }
    }
}

/// What bytes have come to.
#[derive(Debug)]
pub(super) struct Read {
    /// How many are done with.
    pub(super) used: usize,
    /// Whether the peer has closed its direction. What follows is not looked at.
    pub(super) is_closed: Result<bool, Fault>,
}

impl Records {
    /// For the version and the state that the keys are in.
    pub(super) fn new(receive: Keys, send: Keys) -> Self {
        Self {
            receive,
            send,
            partial: [0; KEY_UPDATE.len() + 1],
            partial_bytes: 0,
            warnings_left: WARNINGS_MAX,
            updates_left: UPDATES_MAX,
            empty_left: EMPTY_MAX,
            owes_update: false,
            has_refused: false,
        }
    }

    /// Drops what the next record makes again.
    pub(super) fn rest(&mut self) {
        self.receive.rest();
        self.send.rest();
    }

    #[cfg(test)]
    pub(super) fn is_resting(&self) -> bool {
        self.receive.is_resting() && self.send.is_resting()
    }

    /// Takes in the records that are whole, decrypts them where they lie, and adds their data to
    /// `plaintext`. What is to be answered at once is added to `out`, the alert about a fault as well.
    pub(super) fn read(
        &mut self,
        bytes: &mut [u8],
        plaintext: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Read {
        let mut used = 0;
        let is_closed = loop {
            match self.read_one(&mut bytes[used..], plaintext, out) {
                Ok(None) => break Ok(false),
                Ok(Some((length, is_closed))) => {
                    used += length;
                    if is_closed {
                        break Ok(true);
                    }
                }
                Err(fault) => {
                    if let Some(alert) = fault.alert {
                        self.alert(FATAL, alert, out);
                    }
                    break Err(fault);
                }
            }
        };
        Read { used, is_closed }
    }

    /// The length of the record in front, and whether it was a farewell. `None`: it is not whole.
    fn read_one(
        &mut self,
        bytes: &mut [u8],
        plaintext: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Option<(usize, bool)>, Fault> {
        let Some((header, rest)) = bytes.split_first_chunk_mut::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let shown_type = header[0];
        let length = self.check(*header)?;
        let Some(payload) = rest.get_mut(..length) else {
            return Ok(None);
        };
        let Opened {
            content_type,
            content,
        } = self.receive.open(shown_type, payload)?;
        let content = &payload[content];
        if content_type != HANDSHAKE && self.partial_bytes > 0 {
            return Err(Fault::new(
                AlertDescription::UnexpectedMessage,
                PeerMisbehaved::MessageInterleavedWithHandshakeMessage,
            ));
        }
        let mut is_closed = false;
        match content_type {
            APPLICATION_DATA if content.is_empty() => {
                count_down(&mut self.empty_left, PeerMisbehaved::TooManyEmptyFragments)?;
            }
            APPLICATION_DATA => {
                self.updates_left = UPDATES_MAX;
                self.empty_left = EMPTY_MAX;
                plaintext.extend_from_slice(content);
            }
            ALERT => is_closed = self.handle_alert(content)?,
            HANDSHAKE if self.receive.is_tls13() => self.handle_handshake(content)?,
            HANDSHAKE => self.refuse_handshake(content, out)?,
            _ => return Err(Fault::unexpected("a record of no use after the handshake")),
        }
        Ok(Some((HEADER_BYTES + length, is_closed)))
    }

    /// What can be known before a record is whole; the length of its payload.
    fn check(&self, header: [u8; HEADER_BYTES]) -> Result<usize, Fault> {
        let [shown_type, major, minor, high, low] = header;
        let expansion = if self.receive.is_tls13() {
            // In the clear there is nothing any more; the version means nothing (RFC 8446 section 5.1).
            if shown_type != APPLICATION_DATA {
                return Err(Fault::unexpected("a record that is not protected"));
            }
            EXPANSION_BYTES_MAX_TLS13
        } else {
            if (major, minor) != (3, 3) {
                let error = InvalidMessage::UnknownProtocolVersion;
                return Err(Fault::new(AlertDescription::ProtocolVersion, error));
            }
            EXPANSION_BYTES_MAX_TLS12
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > RECORD_BYTES + expansion {
            return Err(Unopened::TooLong.into());
        }
        Ok(length)
    }

    /// RFC 8446 section 6, RFC 5246 section 7.2. `true`: a farewell.
    fn handle_alert(&mut self, content: &[u8]) -> Result<bool, Fault> {
        let &[level, description] = content else {
            return Err(Fault::undecodable(InvalidMessage::TrailingData("Alert")));
        };
        let description = AlertDescription::from(description);
        let told = Fault {
            error: Error::AlertReceived(description),
            alert: None,
        };
        if level != WARNING && level != FATAL {
            return Err(Fault {
                alert: Some(AlertDescription::IllegalParameter),
                ..told
            });
        }
        if description == AlertDescription::CloseNotify {
            return Ok(true);
        }
        // TLS 1.3 has no warnings besides, whatever the level says.
        let is_tolerable =
            !self.receive.is_tls13() || description == AlertDescription::UserCanceled;
        if level == FATAL || !is_tolerable {
            return Err(told);
        }
        count_down(
            &mut self.warnings_left,
            PeerMisbehaved::TooManyWarningAlertsReceived,
        )?;
        Ok(false)
    }

    /// TLS 1.3: the one message that a client may send now, perhaps in pieces. It ends with its record,
    /// since other keys protect what follows (RFC 8446 section 5.1).
    fn handle_handshake(&mut self, content: &[u8]) -> Result<(), Fault> {
        if content.is_empty() {
            return Err(Fault::unexpected(
                "a fragment of a handshake without content",
            ));
        }
        let start = usize::from(self.partial_bytes);
        let end = start + content.len();
        let Some(room) = self.partial.get_mut(start..end) else {
            return Err(Fault::unexpected(
                "more of a handshake than an update of keys",
            ));
        };
        room.copy_from_slice(content);
        let message = &self.partial[..end];
        if !message.iter().zip(KEY_UPDATE).all(|(is, due)| *is == due) {
            return Err(Fault::unexpected("a handshake that is no update of keys"));
        }
        let &[.., request] = &self.partial;
        if end < self.partial.len() {
            self.partial_bytes = u8::try_from(end).expect("5 bytes at most");
            return Ok(());
        }
        self.partial_bytes = 0;
        self.handle_key_update(request)
    }

    /// RFC 8446 section 4.6.3. Our own update waits for data to go ahead of: many requests of a peer that
    /// is not talked to are answered by one.
    fn handle_key_update(&mut self, request: u8) -> Result<(), Fault> {
        count_down(
            &mut self.updates_left,
            PeerMisbehaved::TooManyKeyUpdateRequests,
        )?;
        match request {
            0 => {}
            1 => self.owes_update = true,
            _ => {
                let error = InvalidMessage::InvalidKeyUpdate;
                return Err(Fault::new(AlertDescription::IllegalParameter, error));
            }
        }
        self.receive.update();
        Ok(())
    }

    /// TLS 1.2: a client that asks for another handshake is told once that there is none, and may go on
    /// without. Stricter than rustls: its hello is to come in one record.
    fn refuse_handshake(&mut self, content: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        let is_hello = matches!(content, [CLIENT_HELLO, length @ .., _] if length.len() >= 3)
            && content[1..4] == (content.len() - 4).to_be_bytes()[5..];
        if !is_hello {
            return Err(Fault::unexpected("a handshake within a session"));
        }
        if std::mem::replace(&mut self.has_refused, true) {
            let error = PeerMisbehaved::TooManyRenegotiationRequests;
            return Err(Fault::new(AlertDescription::HandshakeFailure, error));
        }
        self.alert(WARNING, AlertDescription::NoRenegotiation, out);
        Ok(())
    }

    /// Adds records with all that is in `pieces` to `out`. `false`: the keys may not protect that many,
    /// and there are no others (TLS 1.2); nothing was added.
    #[must_use]
    pub(super) fn write(&mut self, pieces: &[&[u8]], out: &mut Vec<u8>) -> bool {
        let mut left: usize = pieces.iter().map(|piece| piece.len()).sum();
        let records = u64::try_from(left.div_ceil(RECORD_BYTES)).unwrap_or(u64::MAX);
        // One is for the update, or the farewell.
        if !self.send.is_tls13() && self.send.records_left() <= records {
            return false;
        }
        let mut pieces = Pieces {
            rest: pieces,
            at: 0,
        };
        while left > 0 {
            if self.owes_update || (self.send.is_tls13() && self.send.records_left() <= 1) {
                self.update(out);
            }
            let length = left.min(RECORD_BYTES);
            self.send.seal(APPLICATION_DATA, pieces.take(length), out);
            left -= length;
        }
        true
    }

    /// Updates our keys, and asks for nothing: the peer counts for itself.
    fn update(&mut self, out: &mut Vec<u8>) {
        let content: [&[u8]; 2] = [&KEY_UPDATE, &[0]];
        self.send.seal(HANDSHAKE, content.into_iter(), out);
        self.send.update();
        self.owes_update = false;
    }

    /// Adds a farewell to `out`, after which nothing may be written.
    pub(super) fn close_notify(&mut self, out: &mut Vec<u8>) {
        self.alert(WARNING, AlertDescription::CloseNotify, out);
    }

    fn alert(&mut self, level: u8, description: AlertDescription, out: &mut Vec<u8>) {
        let content = [level, u8::from(description)];
        self.send.seal(ALERT, iter::once(&content[..]), out);
    }
}

/// One less of what there may be only so many of.
fn count_down(left: &mut u8, excess: PeerMisbehaved) -> Result<(), Fault> {
    let excess = || Fault::new(AlertDescription::UnexpectedMessage, excess);
    *left = left.checked_sub(1).ok_or_else(excess)?;
    Ok(())
}

/// What is left of some pieces.
struct Pieces<'bytes> {
    rest: &'bytes [&'bytes [u8]],
    /// Of the first one, how much is gone.
    at: usize,
}

impl<'bytes> Pieces<'bytes> {
    /// The next `length` bytes, as far as there are any.
    fn take(&mut self, mut length: usize) -> impl Iterator<Item = &'bytes [u8]> {
        iter::from_fn(move || {
            let (first, others) = self.rest.split_first().filter(|_| length > 0)?;
            let left = &first[self.at..];
            if left.len() > length {
                let (piece, _) = left.split_at(length);
                self.at += length;
                length = 0;
                return Some(piece);
            }
            (self.rest, self.at) = (others, 0);
            length -= left.len();
            Some(left)
        })
    }
}

#[cfg(test)]
mod tests;
