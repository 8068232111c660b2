//! The head of an HTTP/1 request: request line and header fields. RFC 9112 sections 2 to 5.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::BadRequest;
use crate::limits::{REQUEST_HEAD_BYTES_MAX, REQUEST_HEADERS_MAX};

/// A parsed request head, borrowing from the bytes that it was parsed from.
///
/// Header names compare without regard to case. Values are bytes, without the white space around
/// them; they hold no CR, LF or NUL.
#[derive(Clone, Debug)]
pub struct Head<'a> {
    method: &'a str,
    target: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    minor_version: u8,
    length: usize,
    fields: SmallVec<[(&'a str, &'a [u8]); 16]>,
}

/// Parses a request head from the front of `bytes`.
///
/// `Ok(None)`: more bytes needed; the call starts over when they have come, at microseconds for the
/// longest head. Line ends, folding and characters are as strict as `httparse`, which serves plain
/// HTTP behind us too, so both see the same request: no folded lines, no space before a colon, no
/// control characters, but a bare LF ends a line (RFC 9112 section 2.2).
///
/// Errors: [`BadRequest::Malformed`], `Version`, `HeadTooLong` over 16 KiB, `TooManyHeaders` over
/// 100. The answer does not depend on how the bytes were cut into pieces.
pub fn parse(bytes: &[u8]) -> Result<Option<Head<'_>>, BadRequest> {
    let front = &bytes[..bytes.len().min(REQUEST_HEAD_BYTES_MAX)];
    let mut fields = [httparse::EMPTY_HEADER; REQUEST_HEADERS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(front)? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial if front.len() == REQUEST_HEAD_BYTES_MAX => {
            return Err(BadRequest::HeadTooLong);
        }
        httparse::Status::Partial => return Ok(None),
    };
    let target = request.path.expect("a complete head has a target");
    let (path, query) = split(target);
    Ok(Some(Head {
        method: request.method.expect("a complete head has a method"),
        target,
        path,
        query,
        minor_version: request.version.expect("a complete head has a version"),
        length,
        fields: request
            .headers
            .iter()
            .map(|field| (field.name, field.value))
            .collect(),
    }))
}

/// Path and query of a target in origin form, or in absolute form, which a server must take as
/// well (RFC 9112 section 3.2.2). `*` and authority form are left as they are, as the path.
fn split(target: &str) -> (&str, Option<&str>) {
    let local = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
            rest.find(['/', '?']).map_or("", |end| &rest[end..])
        }
        _ => target,
    };
    match local.split_once('?') {
        Some((path, query)) => (or_root(path), Some(query)),
        None => (or_root(local), None),
    }
}

fn or_root(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

impl<'a> Head<'a> {
    /// The method, as it stands: methods are case-sensitive.
    pub fn method(&self) -> &'a str {
        self.method
    }

    /// The whole request target.
    pub fn target(&self) -> &'a str {
        self.target
    }

    /// The path of the target, still percent-encoded (see [`percent_decode`]); `/` if it is empty.
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// What follows the first `?` of the target, still percent-encoded.
    pub fn query(&self) -> Option<&'a str> {
        self.query
    }

    /// Whether the request is HTTP/1.1; else it is HTTP/1.0.
    pub fn is_http_1_1(&self) -> bool {
        self.minor_version == 1
    }

    /// Bytes that the head takes at the front, its last line end included. At most 16 KiB.
    pub fn length(&self) -> usize {
        self.length
    }

    /// All header fields in their order.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + '_ {
        self.fields.iter().copied()
    }

    /// The values of all fields called `name`, in their order.
    pub fn headers<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'a [u8]> + 'h {
        self.fields()
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, v)| v)
    }

    /// The value of the first field called `name`.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers(name).next()
    }

    /// The value of the only field called `name`, as visible text.
    ///
    /// For what must not be ambiguous, such as `Host`, `Origin` and `Authorization`.
    /// Errors: [`BadRequest::RepeatedHeader`]; [`BadRequest::InvalidHeader`] if it is not UTF-8.
    pub fn only_header(&self, name: &'static str) -> Result<Option<&'a str>, BadRequest> {
        let mut values = self.headers(name);
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            return Err(BadRequest::RepeatedHeader(name));
        }
        match std::str::from_utf8(value) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(BadRequest::InvalidHeader(name)),
        }
    }

    /// The elements of a list such as `Connection: keep-alive, Upgrade`, over all fields called
    /// `name`. Empty elements and elements that are not UTF-8, hence no tokens, are left out.
    ///
    /// Source: RFC 9110 section 5.6.1.
    pub fn tokens<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'a str> + 'h {
        self.headers(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .filter_map(|element| std::str::from_utf8(element.trim_ascii()).ok())
            .filter(|element| !element.is_empty())
    }

    /// Whether a list has `token`, without regard to case.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.tokens(name)
            .any(|element| element.eq_ignore_ascii_case(token))
    }

    /// Whether this asks for a WebSocket, well or badly: HTTP/1.1 with `websocket` in `Upgrade`.
    ///
    /// HTTP/1.0 has no upgrades; the field is to be ignored there (RFC 9110 section 7.8).
    pub fn is_upgrade(&self) -> bool {
        self.is_http_1_1() && self.has_token("upgrade", "websocket")
    }

    /// The value of the query parameter `name`, decoded as a form does: `%41` and `+` for a space.
    ///
    /// A parameter without `=` is empty. Parameters of other names are not looked at further.
    /// Errors: [`BadRequest::RepeatedParameter`]; [`BadRequest::Escape`], nothing is replaced or
    /// dropped.
    pub fn query_param(&self, name: &str) -> Result<Option<Cow<'a, str>>, BadRequest> {
        let mut found = None;
        for pair in self.query.unwrap_or_default().split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !form_decode(key).is_ok_and(|key| key == name) {
                continue;
            }
            if found.replace(value).is_some() {
                return Err(BadRequest::RepeatedParameter);
            }
        }
        found.map(form_decode).transpose()
    }
}

/// Decodes the percent escapes of a path segment or another part of a target.
///
/// Borrowed if there are none; never longer than `text`.
/// Errors: [`BadRequest::Escape`] for a cut-off or non-hexadecimal escape, or if the result is not
/// UTF-8. Source: RFC 3986 section 2.1.
pub fn percent_decode(text: &str) -> Result<Cow<'_, str>, BadRequest> {
    let Some(first) = memchr::memchr(b'%', text.as_bytes()) else {
        return Ok(Cow::Borrowed(text));
    };
    let (plain, mut rest) = text.as_bytes().split_at(first);
    let mut decoded = Vec::with_capacity(text.len());
    decoded.extend_from_slice(plain);
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'%' {
            decoded.push(byte);
            rest = after;
            continue;
        }
        let [high, low, after @ ..] = after else {
            return Err(BadRequest::Escape);
        };
        decoded.push(hex(*high)? << 4 | hex(*low)?);
        rest = after;
    }
    String::from_utf8(decoded)
        .map(Cow::Owned)
        .map_err(|_| BadRequest::Escape)
}

fn form_decode(text: &str) -> Result<Cow<'_, str>, BadRequest> {
    if !text.contains('+') {
        return percent_decode(text);
    }
    let spaced = text.replace('+', " ");
    percent_decode(&spaced).map(|decoded| Cow::Owned(decoded.into_owned()))
}

fn hex(digit: u8) -> Result<u8, BadRequest> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(BadRequest::Escape),
    }
}
