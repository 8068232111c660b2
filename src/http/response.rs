//! What goes back: a refusal with a JSON body, or `101 Switching Protocols`.
//!
//! Header fields are checked when they are added ([`InvalidHeader`]), so that no value can end its
//! line and begin another.

use std::borrow::Cow;
use std::io::Write;

use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

use super::BadRequest;

/// A header field with characters that it must not have, or one that the response sets itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the header field {name:?} is not valid here")]
pub struct InvalidHeader {
    /// The name that was given.
    pub name: String,
}

/// Fields that a response of ours writes itself, or that would change where it ends.
const OURS: [HeaderName; 8] = [
    http::header::CONNECTION,
    http::header::CONTENT_LENGTH,
    http::header::CONTENT_TYPE,
    http::header::SEC_WEBSOCKET_ACCEPT,
    http::header::SEC_WEBSOCKET_EXTENSIONS,
    http::header::SEC_WEBSOCKET_PROTOCOL,
    http::header::TRANSFER_ENCODING,
    http::header::UPGRADE,
];

#[derive(Clone, Debug, Default, PartialEq)]
struct Fields(Vec<(HeaderName, HeaderValue)>);

impl Fields {
    fn push(&mut self, name: &str, value: &str) -> Result<(), InvalidHeader> {
        let invalid = || InvalidHeader {
            name: name.to_owned(),
        };
        let field = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
        if OURS.contains(&field) {
            return Err(invalid());
        }
        self.0
            .push((field, HeaderValue::from_str(value).map_err(|_| invalid())?));
        Ok(())
    }

    fn write(&self, out: &mut Vec<u8>) {
        for (name, value) in &self.0 {
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// What an error says besides, by name.
type Details = serde_json::Map<String, serde_json::Value>;

/// An HTTP answer that refuses, after which the connection is closed.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    status: StatusCode,
    code: Cow<'static, str>,
    error: Cow<'static, str>,
    details: Details,
    fields: Fields,
    reason: Option<&'static str>,
}

impl Refusal {
    /// Refuses with a status, a stable code for programs and a sentence for people.
    pub fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        error: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code: code.into(),
            error: error.into(),
            details: Details::new(),
            fields: Fields::default(),
            reason: None,
        }
    }

    /// Says more exactly why, for logs: the client is not told.
    #[must_use]
    pub fn because(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Adds a member to `details`.
    #[must_use]
    pub fn detail(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.details.insert(name.into(), value.into());
        self
    }

    /// Adds a header field.
    ///
    /// Errors: a name that is no token or that the refusal writes itself; a value with CR, LF or
    /// other control characters.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, InvalidHeader> {
        self.fields.push(name, value)?;
        Ok(self)
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable code.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Why, in a word for logs; the code if nobody has said it more exactly.
    pub fn reason(&self) -> &str {
        self.reason.unwrap_or(&self.code)
    }

    /// The sentence for people.
    pub fn text(&self) -> &str {
        &self.error
    }

    /// The header fields that were added, in their order.
    pub fn fields(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.fields.0.iter().map(|(name, value)| (name, value))
    }

    /// The JSON body alone: see [`write`](Self::write).
    pub fn body(&self, request_id: &str, timestamp: &str) -> Vec<u8> {
        let body = Body {
            error: &self.error,
            code: &self.code,
            status: self.status.as_u16(),
            details: &self.details,
            request_id,
            timestamp,
        };
        serde_json::to_vec(&body).expect("strings and numbers always serialise")
    }

    /// Appends the whole response: head, and a JSON body of
    /// `{error, code, status, details, request_id, timestamp}`.
    ///
    /// `timestamp` is RFC 3339. The response says `Connection: close`.
    pub fn write(&self, out: &mut Vec<u8>, request_id: &str, timestamp: &str) {
        let body = self.body(request_id, timestamp);
        write_status(out, self.status);
        write!(
            out,
            "content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n",
            body.len()
        )
        .expect("a Vec takes every write");
        self.fields.write(out);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&body);
    }
}

#[derive(Serialize)]
struct Body<'a> {
    error: &'a str,
    code: &'a str,
    status: u16,
    details: &'a Details,
    request_id: &'a str,
    timestamp: &'a str,
}

impl From<BadRequest> for Refusal {
    fn from(bad: BadRequest) -> Self {
        let mut refusal = Self::new(bad.status(), bad.code(), bad.text());
        if let Some(name) = bad.header() {
            refusal = refusal.detail("header", name);
        }
        let field = match bad {
            BadRequest::Method => Some((http::header::ALLOW, "GET")),
            BadRequest::WebSocketVersion => Some((http::header::SEC_WEBSOCKET_VERSION, "13")),
            _ => None,
        };
        if let Some((name, value)) = field {
            refusal
                .fields
                .0
                .push((name, HeaderValue::from_static(value)));
        }
        refusal
    }
}

/// `101 Switching Protocols`. RFC 6455 section 4.2.2, item 5.
#[derive(Clone, Debug, PartialEq)]
pub struct SwitchingProtocols {
    accept: HeaderValue,
    subprotocol: Option<HeaderValue>,
    extensions: Option<HeaderValue>,
    fields: Fields,
}

impl SwitchingProtocols {
    /// Accepts an upgrade. `accept` is the value computed from the client's key; `subprotocol` the
    /// one of those offered that was chosen; `extensions` the ones that were agreed on.
    ///
    /// Errors: a value with CR, LF or other control characters.
    pub fn new(
        accept: &str,
        subprotocol: Option<&str>,
        extensions: Option<&str>,
    ) -> Result<Self, InvalidHeader> {
        let value = |name: HeaderName, value: &str| {
            HeaderValue::from_str(value).map_err(|_| InvalidHeader {
                name: name.to_string(),
            })
        };
        Ok(Self {
            accept: value(http::header::SEC_WEBSOCKET_ACCEPT, accept)?,
            subprotocol: subprotocol
                .map(|name| value(http::header::SEC_WEBSOCKET_PROTOCOL, name))
                .transpose()?,
            extensions: extensions
                .map(|list| value(http::header::SEC_WEBSOCKET_EXTENSIONS, list))
                .transpose()?,
            fields: Fields::default(),
        })
    }

    /// Adds a header field, such as `Set-Cookie`. Errors: as [`Refusal::header`].
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, InvalidHeader> {
        self.fields.push(name, value)?;
        Ok(self)
    }

    /// Appends the whole response.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_status(out, StatusCode::SWITCHING_PROTOCOLS);
        out.extend_from_slice(b"upgrade: websocket\r\nconnection: Upgrade\r\n");
        let ours = [
            (http::header::SEC_WEBSOCKET_ACCEPT, Some(&self.accept)),
            (
                http::header::SEC_WEBSOCKET_PROTOCOL,
                self.subprotocol.as_ref(),
            ),
            (
                http::header::SEC_WEBSOCKET_EXTENSIONS,
                self.extensions.as_ref(),
            ),
        ];
        for (name, value) in ours {
            if let Some(value) = value {
                out.extend_from_slice(name.as_str().as_bytes());
                out.extend_from_slice(b": ");
                out.extend_from_slice(value.as_bytes());
                out.extend_from_slice(b"\r\n");
            }
        }
        self.fields.write(out);
        out.extend_from_slice(b"\r\n");
    }
}

fn write_status(out: &mut Vec<u8>, status: StatusCode) {
    let reason = status.canonical_reason().unwrap_or("Refused");
    for part in ["HTTP/1.1 ", status.as_str(), " ", reason, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Malformed;
    use super::*;

    const AT: &str = "2026-11-21T02:12:29.123Z";

    /// Status, header fields and body of a response, as another parser reads it.
    fn read(bytes: &[u8]) -> (u16, Vec<(String, String)>, Vec<u8>) {
        let mut fields = [httparse::EMPTY_HEADER; 20];
        let mut response = httparse::Response::new(&mut fields);
        let length = response.parse(bytes).unwrap().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let fields = response
            .headers
            .iter()
            .map(|f| (f.name.to_owned(), text(f.value)));
        (
            response.code.unwrap(),
            fields.collect(),
            bytes[length..].to_vec(),
        )
    }

    fn field<'f>(fields: &'f [(String, String)], name: &str) -> Option<&'f str> {
        fields
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| value.as_str())
    }

    #[test]
    fn a_refusal_is_a_whole_response_with_the_error_object() {
        let refusal = Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "\"draining\"\n",
        )
        .detail("node", 3)
        .header("Retry-After", "7")
        .unwrap();
        let mut out = Vec::new();
        refusal.write(&mut out, "r-1", AT);
        let (status, fields, body) = read(&out);
        assert_eq!(status, 503);
        assert!(out.starts_with(b"HTTP/1.1 503 Service Unavailable\r\n"));
        assert_eq!(
            field(&fields, "content-length"),
            Some(body.len().to_string().as_str())
        );
        assert_eq!(field(&fields, "connection"), Some("close"));
        assert_eq!(field(&fields, "content-type"), Some("application/json"));
        assert_eq!(field(&fields, "retry-after"), Some("7"));
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(&body).unwrap(),
            json!({"error": "\"draining\"\n", "code": "unavailable", "status": 503,
                "details": {"node": 3}, "request_id": "r-1", "timestamp": AT})
        );
    }

    #[test]
    fn every_bad_request_is_a_refusal_that_says_what_would_do() {
        let all = [
            (BadRequest::Malformed(Malformed::HeaderName), 400),
            (BadRequest::Version, 505),
            (BadRequest::HeadTooLong, 431),
            (BadRequest::TooManyHeaders, 431),
            (BadRequest::Timeout, 408),
            (BadRequest::Target, 400),
            (BadRequest::Escape, 400),
            (BadRequest::RepeatedParameter, 400),
            (BadRequest::MissingHeader("host"), 400),
            (BadRequest::RepeatedHeader("host"), 400),
            (BadRequest::InvalidHeader("host"), 400),
            (BadRequest::Method, 405),
            (BadRequest::Body, 400),
            (BadRequest::WebSocketVersion, 426),
        ];
        for (bad, expected) in all {
            let mut out = Vec::new();
            Refusal::from(bad).write(&mut out, "r", AT);
            let (status, fields, body) = read(&out);
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(
                (status, &body["code"]),
                (expected, &bad.code().into()),
                "{bad:?}"
            );
            assert_eq!(
                body["details"].get("header").and_then(|h| h.as_str()),
                bad.header()
            );
            let allow = (bad == BadRequest::Method).then_some("GET");
            assert_eq!(field(&fields, "allow"), allow);
            let version = (bad == BadRequest::WebSocketVersion).then_some("13");
            assert_eq!(field(&fields, "sec-websocket-version"), version);
        }
    }

    #[test]
    fn switching_protocols_has_what_was_agreed_and_no_more() {
        let mut out = Vec::new();
        SwitchingProtocols::new("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", None, None)
            .unwrap()
            .write(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        );
        let mut out = Vec::new();
        SwitchingProtocols::new("a", Some("campanile.v1"), Some("permessage-deflate"))
            .and_then(|switching| switching.header("Set-Cookie", "a=1"))
            .and_then(|switching| switching.header("Set-Cookie", "b=2"))
            .unwrap()
            .write(&mut out);
        let (status, fields, body) = read(&out);
        assert_eq!((status, body.len()), (101, 0));
        assert_eq!(
            field(&fields, "sec-websocket-protocol"),
            Some("campanile.v1")
        );
        assert_eq!(
            field(&fields, "sec-websocket-extensions"),
            Some("permessage-deflate")
        );
        assert_eq!(
            fields
                .iter()
                .filter(|(name, _)| name == "set-cookie")
                .count(),
            2
        );
    }

    #[test]
    fn a_field_cannot_end_its_line_or_change_the_framing() {
        let refusal = Refusal::new(StatusCode::FORBIDDEN, "forbidden", "no");
        let switching = SwitchingProtocols::new("a", None, None).unwrap();
        for (name, value) in [
            ("x", "a\r\nset-cookie: b"),
            ("x", "a\nb"),
            ("x", "a\0"),
            ("x\r\ny", "a"),
            ("x y", "a"),
            ("x:", "a"),
            ("", "a"),
            ("Content-Length", "0"),
            ("transfer-encoding", "chunked"),
            ("Connection", "keep-alive"),
            ("Sec-WebSocket-Accept", "b"),
        ] {
            let invalid = InvalidHeader {
                name: name.to_owned(),
            };
            assert_eq!(refusal.clone().header(name, value), Err(invalid.clone()));
            assert_eq!(switching.clone().header(name, value), Err(invalid));
        }
        for value in ["a\r\nb", "a\n"] {
            assert!(SwitchingProtocols::new(value, None, None).is_err());
            assert!(SwitchingProtocols::new("a", Some(value), None).is_err());
            assert!(SwitchingProtocols::new("a", None, Some(value)).is_err());
        }
    }
}
