//! The keys of the opening handshake, server side. RFC 6455 section 4.2.2.
//!
//! Request heads are parsed in `http/`; this computes what only WebSocket needs. Extensions are
//! negotiated in [`extensions`](super::extensions).
#![forbid(unsafe_code)]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// The only version of the protocol, as in `Sec-WebSocket-Version`. RFC 6455 section 4.1.
pub const VERSION: &str = "13";

/// Appended to the client's key before it is hashed. RFC 6455 section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`: 28 characters of base64.
///
/// The key is taken as it is: whoever parses the request head has checked it. Source: RFC 6455
/// section 4.2.2, item 5.4.
pub fn accept_key(key: &[u8]) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_6455_section_1_3_is_accepted() {
        let key = b"dGhlIHNhbXBsZSBub25jZQ==";
        assert_eq!(accept_key(key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
