//! Fragments to messages. RFC 6455 section 5.4.
//!
//! A message that does not lie whole in one piece of input is gathered here. Text is validated as
//! its bytes come, so that a bad one is refused at once and not when the message ends.
#![forbid(unsafe_code)]

use super::error::Violation;
use super::utf8::Utf8Stream;

/// Text or binary. RFC 6455 section 5.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// UTF-8 text.
    Text,
    /// Any bytes.
    Binary,
}

/// A message under way.
///
/// Memory follows what has arrived, never what was announced: capacity doubles as bytes come.
#[derive(Debug)]
pub(super) struct Gathering {
    pub(super) kind: Kind,
    /// The bytes are DEFLATE data, to be inflated when all are here.
    pub(super) compressed: bool,
    /// Fragments begun; at least 1.
    pub(super) fragments: u32,
    /// The last fragment has ended: nothing more is added.
    pub(super) complete: bool,
    /// Unmasked payload so far; `bytes.len() <= message_bytes_max`.
    pub(super) bytes: Vec<u8>,
    text: Utf8Stream,
}

impl Gathering {
    pub(super) fn new(kind: Kind, compressed: bool) -> Self {
        Self {
            kind,
            compressed,
            fragments: 0,
            complete: false,
            bytes: Vec::new(),
            text: Utf8Stream::default(),
        }
    }

    /// Adds unmasked payload. `bytes_max`: how long the message can still become, bytes in all.
    pub(super) fn push(&mut self, piece: &[u8], bytes_max: usize) -> Result<(), Violation> {
        debug_assert!(!self.complete);
        debug_assert!(self.bytes.len() + piece.len() <= bytes_max);
        if self.kind == Kind::Text && !self.compressed {
            self.text.push(piece).map_err(|_| Violation::TextNotUtf8)?;
        }
        if piece.len() > self.bytes.capacity() - self.bytes.len() {
            let doubled = bytes_max.min(self.bytes.capacity().saturating_mul(2));
            let wanted = doubled.max(self.bytes.len() + piece.len());
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// The last fragment has ended.
    ///
    /// Errors: [`Violation::TextNotUtf8`] if the text ends inside a character.
    pub(super) fn finish(&mut self) -> Result<(), Violation> {
        self.complete = true;
        if self.text.is_complete() {
            Ok(())
        } else {
            Err(Violation::TextNotUtf8)
        }
    }
}
