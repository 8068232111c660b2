//! UTF-8 that arrives in pieces. RFC 6455 section 8.1; the encoding is RFC 3629.
//!
//! Whole texts are validated by `simdutf8` where they lie. This is for the others: a text whose
//! characters are cut by the borders of chunks and fragments, refused at its first bad byte.
#![forbid(unsafe_code)]

/// The bytes seen so far cannot begin any UTF-8 text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUtf8;

/// Validates a text piece by piece. Four bytes; holds the beginning of a cut character.
#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8Stream {
    /// The first `held_count` bytes begin a character that is not whole yet.
    held: [u8; 3],
    held_count: u8,
}

impl Utf8Stream {
    /// Takes the next piece.
    ///
    /// Errors: [`NotUtf8`] if all pieces so far are not the beginning of some UTF-8 text: a bad
    /// byte is found in the piece that brings it. The stream is then of no further use.
    pub fn push(&mut self, mut piece: &[u8]) -> Result<(), NotUtf8> {
        while self.held_count > 0 {
            let Some((&byte, rest)) = piece.split_first() else {
                return Ok(());
            };
            piece = rest;
            self.complete(byte)?;
        }
        match simdutf8::compat::from_utf8(piece) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_none() => {
                for &byte in &piece[error.valid_up_to()..] {
                    self.complete(byte)?;
                }
                Ok(())
            }
            Err(_) => Err(NotUtf8),
        }
    }

    /// Whether the text may end here: no character is cut.
    pub fn is_complete(&self) -> bool {
        self.held_count == 0
    }

    /// Adds one byte to the cut character.
    fn complete(&mut self, byte: u8) -> Result<(), NotUtf8> {
        let held_count = usize::from(self.held_count);
        let mut character = [0; 4];
        character[..held_count].copy_from_slice(&self.held[..held_count]);
        character[held_count] = byte;
        match std::str::from_utf8(&character[..=held_count]) {
            Ok(_) => self.held_count = 0,
            Err(error) if error.error_len().is_none() => {
                // Four bytes are a character or an error, so at most the third is held.
                self.held[held_count] = byte;
                self.held_count += 1;
            }
            Err(_) => return Err(NotUtf8),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The index of the first byte at which `bytes` ceases to begin some text, by the standard library.
    fn first_bad_byte(bytes: &[u8]) -> Option<usize> {
        (0..bytes.len()).find(
            |&i| matches!(std::str::from_utf8(&bytes[..=i]), Err(e) if e.error_len().is_some()),
        )
    }

    fn check_bytewise(bytes: &[u8]) {
        let mut stream = Utf8Stream::default();
        let bad = bytes.iter().position(|byte| stream.push(&[*byte]).is_err());
        assert_eq!(bad, first_bad_byte(bytes), "{bytes:x?}");
        if bad.is_none() {
            assert_eq!(
                stream.is_complete(),
                std::str::from_utf8(bytes).is_ok(),
                "{bytes:x?}"
            );
        }
    }

    /// The borders of RFC 3629 section 4: shortest forms, surrogates, the last code point.
    #[test]
    fn the_table_of_rfc_3629_is_kept_to_the_byte() {
        let edges = [
            0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1,
            0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF,
        ];
        for a in edges {
            for b in edges {
                for c in edges {
                    check_bytewise(&[a, b, c, 0x80]);
                    check_bytewise(&[a, b, c, 0x41]);
                }
            }
        }
    }

    #[test]
    fn a_surrogate_is_refused_at_its_second_byte() {
        let mut stream = Utf8Stream::default();
        assert_eq!(stream.push("κόσμε\u{10FFFF}".as_bytes()), Ok(()));
        assert_eq!(stream.push(&[0xED]), Ok(()));
        assert!(!stream.is_complete());
        assert_eq!(stream.push(&[0xA0]), Err(NotUtf8));
    }

    fn almost_text() -> impl Strategy<Value = Vec<u8>> {
        let pieces = prop_oneof![
            8 => any::<char>().prop_map(|c| c.to_string().into_bytes()),
            4 => "[a-z]{1,80}".prop_map(String::into_bytes),
            1 => any::<u8>().prop_map(|byte| vec![byte]),
        ];
        proptest::collection::vec(pieces, 0..20).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_chunking_equals_the_standard_library(
            bytes in almost_text(), sizes in proptest::collection::vec(1usize..40, 1..20),
        ) {
            let mut stream = Utf8Stream::default();
            let mut sizes = sizes.iter().cycle();
            let (mut start, mut bad_piece) = (0, None);
            while start < bytes.len() {
                let end = bytes.len().min(start + sizes.next().unwrap());
                if stream.push(&bytes[start..end]).is_err() {
                    bad_piece = Some(start..end);
                    break;
                }
                start = end;
            }
            match (bad_piece, first_bad_byte(&bytes)) {
                (Some(piece), Some(bad)) => prop_assert!(piece.contains(&bad)),
                (None, None) => {
                    prop_assert_eq!(stream.is_complete(), std::str::from_utf8(&bytes).is_ok());
                }
                (piece, bad) => prop_assert!(false, "{piece:?} but {bad:?}"),
            }
        }
    }
}
