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
/// parties could read in two ways, a `Host` other than the target's, and a body.
///
/// Subprotocols and extensions are lists of their own: see [`Head::tokens`].
///
/// Errors: [`BadRequest::Version`], `Target`, `MissingHeader`, `RepeatedHeader`, `InvalidHeader`,
/// `Method`, `Body`, `WebSocketVersion`.
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
    let is_agreed = head.authority().is_none_or(|authority| authority == host);
    if host.is_empty() || !host.bytes().all(is_authority) || !is_agreed {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::parse;
    use super::*;

    /// The fields of RFC 6455 section 1.2.
    const FIELDS: [(&str, &str); 6] = [
        ("Host", "server.example.com"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Origin", "http://example.com"),
        ("Sec-WebSocket-Version", "13"),
    ];

    fn text(line: &str, fields: &[(&str, &str)]) -> String {
        let fields = fields
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"));
        format!("{line}\r\n{}\r\n", fields.collect::<String>())
    }

    fn checked(line: &str, fields: &[(&str, &str)]) -> Result<(), BadRequest> {
        let text = text(line, fields);
        let head = parse(text.as_bytes()).expect(&text).expect(&text);
        check(&head).map(|_| ())
    }

    /// The handshake with one field set to `value`, or without it.
    fn with(name: &str, value: Option<&str>) -> Result<(), BadRequest> {
        let mut fields = FIELDS.to_vec();
        fields.retain(|(field, _)| *field != name);
        fields.extend(value.map(|value| (name, value)));
        checked("GET /chat HTTP/1.1", &fields)
    }

    #[test]
    fn the_handshake_of_rfc_6455_section_1_2_passes() {
        let text = text("GET /chat HTTP/1.1", &FIELDS);
        let head = parse(text.as_bytes()).unwrap().unwrap();
        assert!(head.is_upgrade());
        let upgrade = check(&head).unwrap();
        assert_eq!(upgrade.host, "server.example.com");
        assert_eq!(upgrade.key, "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(upgrade.origin, Some("http://example.com"));
    }

    #[test]
    fn what_a_correct_client_may_vary_passes() {
        for (name, value) in [
            ("Host", "[::1]:8080"),
            ("Upgrade", "h2c, WebSocket"),
            ("Connection", "keep-alive, UPGRADE"),
            ("Content-Length", "0"),
            ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
            ("Sec-WebSocket-Key", "+/abcdefghijklmnopqrst=="),
        ] {
            assert_eq!(with(name, Some(value)), Ok(()), "{name}: {value}");
        }
        assert_eq!(with("Origin", None), Ok(()));
        assert_eq!(
            checked("GET http://server.example.com/chat?x HTTP/1.1", &FIELDS),
            Ok(())
        );
    }

    #[test]
    fn a_field_that_is_missing_or_wrong_is_named() {
        use BadRequest::{Body, InvalidHeader, MissingHeader, WebSocketVersion};
        let table = [
            ("Host", None, MissingHeader("host")),
            ("Host", Some(""), InvalidHeader("host")),
            ("Host", Some("a b"), InvalidHeader("host")),
            ("Host", Some("a/b"), InvalidHeader("host")),
            ("Host", Some("user@h"), InvalidHeader("host")),
            ("Upgrade", None, MissingHeader("upgrade")),
            ("Upgrade", Some("h2c"), InvalidHeader("upgrade")),
            ("Connection", None, MissingHeader("connection")),
            (
                "Connection",
                Some("keep-alive"),
                InvalidHeader("connection"),
            ),
            ("Sec-WebSocket-Version", None, WebSocketVersion),
            ("Sec-WebSocket-Version", Some("8"), WebSocketVersion),
            ("Sec-WebSocket-Version", Some("13, 8"), WebSocketVersion),
            (
                "Sec-WebSocket-Key",
                None,
                MissingHeader("sec-websocket-key"),
            ),
            (
                "Sec-WebSocket-Key",
                Some(""),
                InvalidHeader("sec-websocket-key"),
            ),
            (
                "Sec-WebSocket-Key",
                Some("AAAA"),
                InvalidHeader("sec-websocket-key"),
            ),
            (
                "Sec-WebSocket-Key",
                Some("AAAAAAAAAAAAAAAAAAAAAAA="),
                InvalidHeader("sec-websocket-key"),
            ),
            (
                "Sec-WebSocket-Key",
                Some("AAAAAAAAAAA-AAAAAAAAAA=="),
                InvalidHeader("sec-websocket-key"),
            ),
            ("Content-Length", Some("1"), Body),
            ("Content-Length", Some("00010"), Body),
            (
                "Content-Length",
                Some("+0"),
                InvalidHeader("content-length"),
            ),
            (
                "Content-Length",
                Some("0, 5"),
                InvalidHeader("content-length"),
            ),
            ("Transfer-Encoding", Some("chunked"), Body),
            ("Transfer-Encoding", Some(""), Body),
        ];
        for (name, value, bad) in table {
            assert_eq!(with(name, value), Err(bad), "{name}: {value:?}");
        }
        assert_eq!(WebSocketVersion.status(), 426);
    }

    #[test]
    fn what_two_parties_could_read_in_two_ways_is_refused() {
        for name in [
            "host",
            "origin",
            "sec-websocket-key",
            "sec-websocket-version",
        ] {
            let again = FIELDS
                .iter()
                .find(|(field, _)| field.eq_ignore_ascii_case(name))
                .unwrap();
            let fields = [&FIELDS[..], &[*again]].concat();
            let refused = checked("GET /chat HTTP/1.1", &fields);
            assert_eq!(refused, Err(BadRequest::RepeatedHeader(name)));
        }
        let refused = checked("GET http://elsewhere/chat HTTP/1.1", &FIELDS);
        assert_eq!(refused, Err(BadRequest::InvalidHeader("host")));
        let lengths = [("Content-Length", "0"), ("Content-Length", "5")];
        let fields = [&FIELDS[..], &lengths].concat();
        let refused = checked("GET /chat HTTP/1.1", &fields);
        assert_eq!(refused, Err(BadRequest::RepeatedHeader("content-length")));
    }

    #[test]
    fn an_upgrade_is_a_get_of_a_path_over_http_1_1() {
        let table = [
            ("POST /chat HTTP/1.1", BadRequest::Method),
            ("get /chat HTTP/1.1", BadRequest::Method),
            ("GET /chat HTTP/1.0", BadRequest::Version),
            ("GET * HTTP/1.1", BadRequest::Target),
            ("GET chat HTTP/1.1", BadRequest::Target),
            ("GET /chat#x HTTP/1.1", BadRequest::Target),
        ];
        for (line, bad) in table {
            assert_eq!(checked(line, &FIELDS), Err(bad), "{line}");
        }
    }

    proptest! {
        #[test]
        fn a_key_is_what_decodes_to_sixteen_bytes(
            key in "[A-Za-z0-9+/=-]{20,26}|[A-Za-z0-9+/]{22}==",
        ) {
            use base64::engine::{Engine, GeneralPurpose, GeneralPurposeConfig};
            let lenient = GeneralPurpose::new(
                &base64::alphabet::STANDARD,
                GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
            );
            let decoded = lenient.decode(&key).is_ok_and(|bytes| bytes.len() == 16);
            prop_assert_eq!(is_key(key.as_bytes()), decoded);
        }
    }
}
