//! The keys of one direction of an established session: they seal records, open them, and are renewed.

use std::fmt;
use std::ops::Range;
use std::sync::OnceLock;

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use aws_lc_rs::hkdf::{HKDF_SHA256, HKDF_SHA384, KeyType, Prk};
use rustls::{ConnectionTrafficSecrets, KeyLog};
use zeroize::{Zeroize, Zeroizing};

/// Most plaintext of one record, bytes. RFC 8446 section 5.1, RFC 5246 section 6.2.1.
pub(super) const RECORD_BYTES: usize = 16 * 1024;
/// Type, version, length.
pub(super) const HEADER_BYTES: usize = 5;
/// What the header of a protected record says whatever is inside. RFC 8446 section 5.2.
pub(super) const APPLICATION_DATA: u8 = 23;

const TAG_BYTES: usize = 16;
/// The part of the nonce that goes with each record of AES-GCM in TLS 1.2. RFC 5288 section 3.
const EXPLICIT_BYTES: usize = 8;
const NONCE_BYTES: usize = 12;
/// A hash by SHA-384.
const SECRET_BYTES_MAX: usize = 48;
/// Records that keys of AES-GCM may protect: RFC 8446 section 5.5, and as rustls has it.
const GCM_RECORDS_MAX: u64 = 1 << 24;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cipher {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
}

/// The secrets of TLS 1.3 that the next keys are made from, as rustls tells them to whoever keeps a log
/// of keys: of one session, and for itself alone.
#[derive(Default)]
pub(super) struct TrafficSecrets {
    client: OnceLock<Zeroizing<Vec<u8>>>,
    server: OnceLock<Zeroizing<Vec<u8>>>,
}

/// Keys of one direction: 128 bytes while they rest.
///
/// ```text
///   secret ─► "key", "iv" ─► (first record) ─► cipher        TLS 1.3: secret ─► "traffic upd" ─► secret
/// ```
/// The cipher, with all that it works out of the key beforehand, takes five times what the keys take; so
/// it is made when a record comes along, and can be dropped at any time.
pub(super) struct Keys {
    cipher: Cipher,
    /// Of `secret`, bytes; 0 in TLS 1.2, which has no such thing.
    secret_bytes: u8,
    secret: [u8; SECRET_BYTES_MAX],
    key: [u8; 32],
    iv: [u8; NONCE_BYTES],
    /// Of the next record. Far from its end: see [`records_left`](Keys::records_left).
    sequence: u64,
    aead: Option<LessSafeKey>,
}

/// What a record turned out to be: the type of its content, and where in its payload that is.
pub(super) struct Opened {
    pub(super) content_type: u8,
    pub(super) content: Range<usize>,
}

/// Why a record cannot be opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unopened {
    /// It is not what the peer sent, or not in its place.
    BadMac,
    /// More plaintext than a record may have.
    TooLong,
    /// Nothing but padding. RFC 8446 section 5.4.
    NoContent,
}

impl Keys {
    /// From what rustls gives out at the end of a handshake, for the record with this `sequence` number.
    /// `None`: a cipher that is not known here.
    pub(super) fn new(
        sequence: u64,
        secrets: &ConnectionTrafficSecrets,
        traffic_secret: Option<&[u8]>,
    ) -> Option<Self> {
        let (cipher, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Cipher::Aes128Gcm, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Cipher::Aes256Gcm, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (Cipher::ChaCha20Poly1305, key, iv)
            }
            _ => return None,
        };
        let traffic_secret = traffic_secret.unwrap_or_default();
        let mut keys = Self {
            cipher,
            secret_bytes: u8::try_from(traffic_secret.len()).ok()?,
            secret: [0; SECRET_BYTES_MAX],
            key: [0; 32],
            iv: iv.as_ref().try_into().ok()?,
            sequence,
            aead: None,
        };
        keys.key
            .get_mut(..key.as_ref().len())?
            .copy_from_slice(key.as_ref());
        keys.secret
            .get_mut(..traffic_secret.len())?
            .copy_from_slice(traffic_secret);
        Some(keys)
    }

    pub(super) fn is_tls13(&self) -> bool {
        self.secret_bytes > 0
    }

    /// How many records they may still protect.
    pub(super) fn records_left(&self) -> u64 {
        let max = match self.cipher {
            Cipher::Aes128Gcm | Cipher::Aes256Gcm => GCM_RECORDS_MAX,
            // RFC 8446 section 5.5: the sequence number ends first. Nobody gets there.
            Cipher::ChaCha20Poly1305 => u64::from(u32::MAX) << 16,
        };
        max.saturating_sub(self.sequence)
    }

    /// Drops the cipher until the next record.
    pub(super) fn rest(&mut self) {
        self.aead = None;
    }

    #[cfg(test)]
    pub(super) fn is_resting(&self) -> bool {
        self.aead.is_none()
    }

    #[cfg(test)]
    pub(super) fn skip(&mut self, records: u64) {
        self.sequence += records;
    }

    /// Adds one record to `out`. `content`: at most [`RECORD_BYTES`], in pieces.
    pub(super) fn seal<'bytes>(
        &mut self,
        content_type: u8,
        content: impl Iterator<Item = &'bytes [u8]>,
        out: &mut Vec<u8>,
    ) {
        let start = out.len();
        self.seal_any(content_type, content, out);
        debug_assert!(
            out.len() - start <= HEADER_BYTES + EXPLICIT_BYTES + RECORD_BYTES + 1 + TAG_BYTES
        );
    }

    /// A record that may be longer than it ought to be.
    #[cfg(test)]
    pub(super) fn seal_unbounded(&mut self, content_type: u8, content: &[u8], out: &mut Vec<u8>) {
        self.seal_any(content_type, std::iter::once(content), out);
    }

    fn seal_any<'bytes>(
        &mut self,
        content_type: u8,
        content: impl Iterator<Item = &'bytes [u8]>,
        out: &mut Vec<u8>,
    ) {
        let start = out.len();
        let nonce = self.nonce();
        out.extend_from_slice(&[0; HEADER_BYTES]);
        if self.has_explicit_nonce() {
            out.extend_from_slice(&nonce[NONCE_BYTES - EXPLICIT_BYTES..]);
        }
        let body = out.len();
        content.for_each(|piece| out.extend_from_slice(piece));
        let content_bytes = out.len() - body;
        if self.is_tls13() {
            out.push(content_type);
        }
        let shown_type = if self.is_tls13() {
            APPLICATION_DATA
        } else {
            content_type
        };
        let length = out.len() + TAG_BYTES - start - HEADER_BYTES;
        let header = header(shown_type, length);
        out[start..start + HEADER_BYTES].copy_from_slice(&header);
        let associated = self.associated(header, content_bytes);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = self
            .aead()
            .seal_in_place_separate_tag(nonce, associated, &mut out[body..]);
        let tag = sealed.expect("a record is far shorter than what the cipher takes");
        out.extend_from_slice(tag.as_ref());
        self.sequence += 1;
    }

    /// Decrypts the payload of a record where it lies. `length` of the header: that of the payload.
    pub(super) fn open(&mut self, shown_type: u8, payload: &mut [u8]) -> Result<Opened, Unopened> {
        let header = header(shown_type, payload.len());
        let mut nonce = self.nonce();
        let mut start = 0;
        if self.has_explicit_nonce() {
            let explicit = payload
                .first_chunk::<EXPLICIT_BYTES>()
                .ok_or(Unopened::BadMac)?;
            nonce[NONCE_BYTES - EXPLICIT_BYTES..].copy_from_slice(explicit);
            start = EXPLICIT_BYTES;
        }
        let sealed_bytes = payload.len() - start;
        let content_bytes = sealed_bytes
            .checked_sub(TAG_BYTES)
            .ok_or(Unopened::BadMac)?;
        let associated = self.associated(header, content_bytes);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = self
            .aead()
            .open_in_place(nonce, associated, &mut payload[start..]);
        let plaintext = opened.map_err(|_| Unopened::BadMac)?;
        self.sequence += 1;
        let (content_type, length) = match self.secret_bytes {
            0 if plaintext.len() > RECORD_BYTES => return Err(Unopened::TooLong),
            0 => (shown_type, plaintext.len()),
            // With the type, which the padding follows.
            _ if plaintext.len() > RECORD_BYTES + 1 => return Err(Unopened::TooLong),
            _ => {
                let end = plaintext.iter().rposition(|&byte| byte != 0);
                let end = end.ok_or(Unopened::NoContent)?;
                (plaintext[end], end)
            }
        };
        Ok(Opened {
            content_type,
            content: start..start + length,
        })
    }

    /// Goes on to the next keys. RFC 8446 sections 7.2 and 7.3. Nothing is to be done in TLS 1.2.
    pub(super) fn update(&mut self) {
        if !self.is_tls13() {
            return;
        }
        let mut next = [0; SECRET_BYTES_MAX];
        let secret_bytes = usize::from(self.secret_bytes);
        self.expand(b"tls13 traffic upd", &mut next[..secret_bytes]);
        self.secret = next;
        next.zeroize();
        let mut key = [0; 32];
        let key_bytes = self.algorithm().key_len();
        self.expand(b"tls13 key", &mut key[..key_bytes]);
        self.key = key;
        key.zeroize();
        let mut iv = [0; NONCE_BYTES];
        self.expand(b"tls13 iv", &mut iv);
        self.iv = iv;
        self.sequence = 0;
        self.aead = None;
    }

    /// HKDF-Expand-Label without a context. RFC 8446 section 7.1.
    fn expand(&self, label: &[u8], out: &mut [u8]) {
        struct Length(usize);
        impl KeyType for Length {
            fn len(&self) -> usize {
                self.0
            }
        }
        let hash = match self.cipher {
            Cipher::Aes256Gcm => HKDF_SHA384,
            Cipher::Aes128Gcm | Cipher::ChaCha20Poly1305 => HKDF_SHA256,
        };
        let narrow = |length: usize| u8::try_from(length).expect("labels and keys are short");
        let info: [&[u8]; 4] = [&[0, narrow(out.len())], &[narrow(label.len())], label, &[0]];
        let secret = Prk::new_less_safe(hash, &self.secret[..usize::from(self.secret_bytes)]);
        let expanded = secret.expand(&info, Length(out.len()));
        let filled = expanded.and_then(|expanded| expanded.fill(out));
        filled.expect("a key is shorter than 255 hashes");
    }

    fn algorithm(&self) -> &'static Algorithm {
        match self.cipher {
            Cipher::Aes128Gcm => &AES_128_GCM,
            Cipher::Aes256Gcm => &AES_256_GCM,
            Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        }
    }

    fn aead(&mut self) -> &LessSafeKey {
        let algorithm = self.algorithm();
        self.aead.get_or_insert_with(|| {
            let key = UnboundKey::new(algorithm, &self.key[..algorithm.key_len()]);
            LessSafeKey::new(key.expect("a key has the length of its cipher"))
        })
    }

    fn has_explicit_nonce(&self) -> bool {
        !self.is_tls13() && self.cipher != Cipher::ChaCha20Poly1305
    }

    /// RFC 8446 section 5.3, and RFC 7905 section 2. For AES-GCM in TLS 1.2 nothing is said but that it
    /// differs from record to record.
    fn nonce(&self) -> [u8; NONCE_BYTES] {
        let mut nonce = self.iv;
        let sequence = self.sequence.to_be_bytes();
        let end = nonce[NONCE_BYTES - sequence.len()..].iter_mut();
        end.zip(sequence)
            .for_each(|(byte, sequence)| *byte ^= sequence);
        nonce
    }

    /// What is authenticated besides: RFC 8446 section 5.2, RFC 5246 section 6.2.3.3.
    fn associated(&self, header: [u8; HEADER_BYTES], content_bytes: usize) -> Aad<Associated> {
        let mut bytes = [0; 8 + HEADER_BYTES];
        let length = if self.is_tls13() {
            bytes[..HEADER_BYTES].copy_from_slice(&header);
            HEADER_BYTES
        } else {
            bytes[..8].copy_from_slice(&self.sequence.to_be_bytes());
            bytes[8..].copy_from_slice(&self::header(header[0], content_bytes));
            bytes.len()
        };
        Aad::from(Associated { bytes, length })
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.secret.zeroize();
        self.key.zeroize();
        self.iv.zeroize();
    }
}

struct Associated {
    bytes: [u8; 8 + HEADER_BYTES],
    length: usize,
}

impl AsRef<[u8]> for Associated {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

fn header(content_type: u8, length: usize) -> [u8; HEADER_BYTES] {
    let length = u16::try_from(length).expect("records are shorter than 64 KiB");
    let [high, low] = length.to_be_bytes();
    [content_type, 3, 3, high, low]
}

impl TrafficSecrets {
    pub(super) fn client(&self) -> Option<&[u8]> {
        self.client.get().map(|secret| secret.as_slice())
    }

    pub(super) fn server(&self) -> Option<&[u8]> {
        self.server.get().map(|secret| secret.as_slice())
    }

    fn place(&self, label: &str) -> Option<&OnceLock<Zeroizing<Vec<u8>>>> {
        match label {
            "CLIENT_TRAFFIC_SECRET_0" => Some(&self.client),
            "SERVER_TRAFFIC_SECRET_0" => Some(&self.server),
            _ => None,
        }
    }
}

impl KeyLog for TrafficSecrets {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        if let Some(place) = self.place(label) {
            // A session has one of each.
            let _ = place.set(Zeroizing::new(secret.to_vec()));
        }
    }

    fn will_log(&self, label: &str) -> bool {
        self.place(label).is_some()
    }
}

impl fmt::Debug for TrafficSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrafficSecrets(..)")
    }
}
