//! The server's checks of the client's opening handshake. RFC 6455 section 4.2.1.

use super::{BadRequest, Head};

/// What an opening handshake says, once it has passed [`check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upgrade<'a> {
    /// The authority that the client asked for: host, and port if it is not the scheme's own.
    /// Non-empty; the characters of a host and a port only.
    pub host: &'a str,
    /// `Sec-WebSocket-Key`: the base64 form of 16 bytes, 24 characters.
    pub key: &'a str,
    /// `Origin`, if there is one: a browser's, or a liar's.
    pub origin: Option<&'a str>,
}

/// Checks that a request which [is an upgrade](Head::is_upgrade) is a correct opening handshake.
///
/// Refused besides what RFC 6455 demands: a repeated `Host`, `Origin`, key or version, which two
/// parties could read in two ways, and a body.
///
/// Subprotocols and extensions are lists of their own: see [`Head::tokens`].
///
/// Errors: every [`BadRequest`] from `Target` on but `Escape` and `RepeatedParameter`, and `Version`.
pub fn check<'a>(head: &Head<'a>) -> Result<Upgrade<'a>, BadRequest> {
    if !head.is_http_1_1() {
        return Err(BadRequest::Version);
    }
    if head.method() != "GET" {
        return Err(BadRequest::Method);
    }
    if !head.path().starts_with('/') || head.target().contains('#') {
        return Err(BadRequest::Target);
    }
    if announces_body(head)? {
        return Err(BadRequest::Body);
    }
    let host = head
        .only_header("host")?
        .ok_or(BadRequest::MissingHeader("host"))?;
    if host.is_empty() || !host.bytes().all(is_authority) {
        return Err(BadRequest::InvalidHeader("host"));
    }
    for (name, token) in [("upgrade", "websocket"), ("connection", "upgrade")] {
        if !head.has_token(name, token) {
            return Err(match head.header(name) {
                Some(_) => BadRequest::InvalidHeader(name),
                None => BadRequest::MissingHeader(name),
            });
        }
    }
    if head.only_header("sec-websocket-version")? != Some("13") {
        return Err(BadRequest::WebSocketVersion);
    }
    let key = head
        .only_header("sec-websocket-key")?
        .ok_or(BadRequest::MissingHeader("sec-websocket-key"))?;
    if !is_key(key.as_bytes()) {
        return Err(BadRequest::InvalidHeader("sec-websocket-key"));
    }
    Ok(Upgrade {
        host,
        key,
        origin: head.only_header("origin")?,
    })
}

/// Whether the fields promise a body after the head. RFC 9112 section 6.
fn announces_body(head: &Head<'_>) -> Result<bool, BadRequest> {
    if head.header("transfer-encoding").is_some() {
        return Ok(true);
    }
    match head.only_header("content-length")? {
        None => Ok(false),
        Some(length) if length.is_empty() || !length.bytes().all(|b| b.is_ascii_digit()) => {
            Err(BadRequest::InvalidHeader("content-length"))
        }
        Some(length) => Ok(length.bytes().any(|digit| digit != b'0')),
    }
}

/// The characters of `host [":" port]`, IP literals included. RFC 3986 section 3.2.2.
fn is_authority(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(&byte)
}

/// Whether this is base64 of 16 bytes: 22 digits and the padding. The four bits that the last digit
/// has too many may be set, for some clients send any 22 letters.
fn is_key(key: &[u8]) -> bool {
    matches!(key, [digits @ .., b'=', b'='] if digits.len() == 22
        && digits.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/'))
}
