//! The keys of the opening handshake, server side. RFC 6455 section 4.2.2.
//!
//! Request heads are parsed in `http/`; this computes what only WebSocket needs. Extensions are
//! negotiated in [`extensions`](super::extensions).
#![forbid(unsafe_code)]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sha1::{Digest, Sha1};

/// The only version of the protocol, as in `Sec-WebSocket-Version`. RFC 6455 section 4.1.
pub const VERSION: &str = "13";

/// Appended to the client's key before it is hashed. RFC 6455 section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Bytes of a decoded `Sec-WebSocket-Key`. RFC 6455 section 4.1.
const KEY_BYTES: usize = 16;

/// Standard base64 that forgives set bits after the last byte: some clients send any 22 letters.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// Whether `key` is a valid `Sec-WebSocket-Key`: the base64 form of 16 bytes, without white space.
///
/// Source: RFC 6455 section 4.2.1, item 5.
pub fn is_key(key: &[u8]) -> bool {
    // A slice with room for a group too many, for the decoder writes whole groups.
    let mut decoded = [0; KEY_BYTES + 2];
    key.len() == KEY_BYTES.div_ceil(3) * 4
        && LENIENT.decode_slice(key, &mut decoded) == Ok(KEY_BYTES)
}

/// The `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`: 28 characters of base64.
///
/// The key is taken as it is; ask [`is_key`] first. Source: RFC 6455 section 4.2.2, item 5.4.
pub fn accept_key(key: &[u8]) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_6455_section_1_3_is_accepted() {
        let key = b"dGhlIHNhbXBsZSBub25jZQ==";
        assert!(is_key(key));
        assert_eq!(accept_key(key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_key_is_sixteen_bytes_in_base64() {
        let valid = [
            "AAAAAAAAAAAAAAAAAAAAAA==",
            "abcdefghijklmnopqrstuv==",
            "/+/+/+/+/+/+/+/+/+/+/w==",
        ];
        for key in valid {
            assert!(is_key(key.as_bytes()), "{key}");
        }
        let invalid = [
            "",
            "AAAAAAAAAAAAAAAAAAAAAA",     // no padding
            "AAAAAAAAAAAAAAAAAAAAAAA=",   // 17 bytes
            "AAAAAAAAAAAAAAAAAAAAAAAA",   // 18 bytes
            "AAAAAAAAAAAAAAAAAAAA",       // 15 bytes
            "AAAAAAAAAAAAAAAAAAAA-A==",   // not in the alphabet
            " AAAAAAAAAAAAAAAAAAAAAA==",  // white space
            "AAAAAAAAAAAAAAAAAAAAAA==\n", // white space
            "AAAAAAAAAAAAAAAAAAAAA===",
        ];
        for key in invalid {
            assert!(!is_key(key.as_bytes()), "{key}");
        }
    }
}
