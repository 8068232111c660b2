//! The head of an HTTP/1 request: request line and header fields. RFC 9112 sections 2 to 5.

use std::borrow::Cow;
use std::mem::MaybeUninit;

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
    authority: Option<&'a str>,
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
    // Not filled beforehand: there is room for many more fields than there are.
    let mut fields = [const { MaybeUninit::uninit() }; REQUEST_HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(front, &mut fields)? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial if front.len() == REQUEST_HEAD_BYTES_MAX => {
            return Err(BadRequest::HeadTooLong);
        }
        httparse::Status::Partial => return Ok(None),
    };
    let target = request.path.expect("a complete head has a target");
    let (authority, path, query) = split(target);
    Ok(Some(Head {
        method: request.method.expect("a complete head has a method"),
        target,
        authority,
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

/// Authority, path and query of a target in origin form, or in absolute form, which a server must
/// take as well (RFC 9112 section 3.2.2). `*` and authority form are left as they are, as the path.
fn split(target: &str) -> (Option<&str>, &str, Option<&str>) {
    // Nearly every target begins with a slash, and with no scheme.
    let absolute = match target.starts_with('/') {
        true => None,
        false => target.split_once("://"),
    };
    let (authority, local) = match absolute {
        Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
            let (authority, local) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            (Some(authority), local)
        }
        _ => (None, target),
    };
    match local.split_once('?') {
        Some((path, query)) => (authority, or_root(path), Some(query)),
        None => (authority, or_root(local), None),
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

    /// The authority of a target in absolute form, as a proxy is asked; usually there is none.
    pub fn authority(&self) -> Option<&'a str> {
        self.authority
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

    /// Whether a list has `token`, which is not empty, without regard to case.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.headers(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .any(|element| element.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
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
        query_param(self.query, name)
    }
}

/// The value of a parameter of a query, as [`Head::query_param`] says.
pub(crate) fn query_param<'a>(
    query: Option<&'a str>,
    name: &str,
) -> Result<Option<Cow<'a, str>>, BadRequest> {
    let Some(query) = query else {
        return Ok(None);
    };
    let mut found = None;
    for pair in query.split('&') {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Malformed;
    use super::*;

    fn head(text: &str) -> Head<'_> {
        parse(text.as_bytes()).expect(text).expect(text)
    }

    fn target(target: &str) -> String {
        format!("GET {target} HTTP/1.1\r\n\r\n")
    }

    #[test]
    fn a_head_is_read_from_the_front_and_says_how_long_it_is() {
        let text =
            "GET /ws/7?a=1&b HTTP/1.1\r\nHost: h\r\nX-Empty:\r\nx-two:  1 \r\nX-TWO: 2\r\n\r\n";
        let bytes = [text.as_bytes(), b"\x81\x80rest"].concat();
        let head = parse(&bytes).unwrap().unwrap();
        assert_eq!((head.method(), head.target()), ("GET", "/ws/7?a=1&b"));
        assert_eq!((head.path(), head.query()), ("/ws/7", Some("a=1&b")));
        assert_eq!(head.length(), text.len());
        assert!(head.is_http_1_1());
        assert_eq!(head.header("HOST"), Some(&b"h"[..]));
        assert_eq!(head.header("x-empty"), Some(&b""[..]));
        assert_eq!(head.header("missing"), None);
        assert_eq!(head.headers("x-two").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(
            head.only_header("x-two"),
            Err(BadRequest::RepeatedHeader("x-two"))
        );
        assert_eq!(head.only_header("host"), Ok(Some("h")));
        assert_eq!(head.fields().count(), 4);
    }

    #[test]
    fn malformed_heads_are_refused_for_what_is_wrong() {
        let table: [(&[u8], BadRequest); 18] = [
            (b"GET / HTTP/2.0\r\n\r\n", BadRequest::Version),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", BadRequest::Version),
            (b"GET / HTTP/1.2\r\n\r\n", BadRequest::Version),
            (b"GET / http/1.1\r\n\r\n", BadRequest::Version),
            (
                b"GET /\r\n\r\n",
                BadRequest::Malformed(Malformed::RequestLine),
            ),
            (
                b"GET  / HTTP/1.1\r\n\r\n",
                BadRequest::Malformed(Malformed::RequestLine),
            ),
            (
                b" GET / HTTP/1.1\r\n\r\n",
                BadRequest::Malformed(Malformed::RequestLine),
            ),
            (
                b"G\0T / HTTP/1.1\r\n\r\n",
                BadRequest::Malformed(Malformed::RequestLine),
            ),
            (
                b"GET /\0 HTTP/1.1\r\n\r\n",
                BadRequest::Malformed(Malformed::RequestLine),
            ),
            (
                b"\x16\x03\x01\x02\0\x01",
                BadRequest::Malformed(Malformed::RequestLine),
            ),
            (
                b"GET / HTTP/1.1\rX: 1\r\n\r\n",
                BadRequest::Malformed(Malformed::LineEnd),
            ),
            (
                b"GET / HTTP/1.1\r\nX : 1\r\n\r\n",
                BadRequest::Malformed(Malformed::HeaderName),
            ),
            (
                b"GET / HTTP/1.1\r\n X: 1\r\n\r\n",
                BadRequest::Malformed(Malformed::HeaderName),
            ),
            (
                b"GET / HTTP/1.1\r\nX: 1\r\n y\r\n\r\n",
                BadRequest::Malformed(Malformed::HeaderName),
            ),
            (
                b"GET / HTTP/1.1\r\nX\r\n\r\n",
                BadRequest::Malformed(Malformed::HeaderName),
            ),
            (
                b"GET / HTTP/1.1\r\n: 1\r\n\r\n",
                BadRequest::Malformed(Malformed::HeaderName),
            ),
            (
                b"GET / HTTP/1.1\r\nX: \0\r\n\r\n",
                BadRequest::Malformed(Malformed::HeaderValue),
            ),
            (
                b"GET / HTTP/1.1\r\nX: a\rb\r\n\r\n",
                BadRequest::Malformed(Malformed::HeaderValue),
            ),
        ];
        for (bytes, bad) in table {
            let text = String::from_utf8_lossy(bytes);
            assert_eq!(parse(bytes).unwrap_err(), bad, "{text:?}");
            assert_eq!(bad.status().is_server_error(), bad == BadRequest::Version);
        }
    }

    #[test]
    fn a_head_may_have_16_kib_and_100_fields() {
        let sized = |bytes: usize| {
            let frame = "GET / HTTP/1.1\r\nX: \r\n\r\n".len();
            format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(bytes - frame))
        };
        let longest = sized(REQUEST_HEAD_BYTES_MAX);
        assert_eq!(head(&longest).length(), REQUEST_HEAD_BYTES_MAX);
        assert!(
            parse(&longest.as_bytes()[..REQUEST_HEAD_BYTES_MAX - 1])
                .unwrap()
                .is_none()
        );
        let too_long = sized(REQUEST_HEAD_BYTES_MAX + 1);
        for length in REQUEST_HEAD_BYTES_MAX..=too_long.len() {
            let bad = parse(&too_long.as_bytes()[..length]).unwrap_err();
            assert_eq!(bad, BadRequest::HeadTooLong);
        }
        let with = |count| format!("GET / HTTP/1.1\r\n{}\r\n", "X: 1\r\n".repeat(count));
        assert_eq!(
            head(&with(REQUEST_HEADERS_MAX)).fields().count(),
            REQUEST_HEADERS_MAX
        );
        let bad = parse(with(REQUEST_HEADERS_MAX + 1).as_bytes()).unwrap_err();
        assert_eq!(bad, BadRequest::TooManyHeaders);
        assert_eq!(bad.status(), 431);
    }

    #[test]
    fn the_path_is_found_in_every_form_of_target() {
        let table = [
            ("/", "/", None),
            ("/a/b?", "/a/b", Some("")),
            ("/a?b?c", "/a", Some("b?c")),
            ("?a", "/", Some("a")),
            ("/a://b", "/a://b", None),
            ("/?u=http://x/y", "/", Some("u=http://x/y")),
            ("http://h:80/a?b", "/a", Some("b")),
            ("http://h", "/", None),
            ("http://h?b", "/", Some("b")),
            ("*", "*", None),
            ("h:443", "h:443", None),
        ];
        for (written, path, query) in table {
            let text = target(written);
            assert_eq!(
                (head(&text).path(), head(&text).query()),
                (path, query),
                "{written}"
            );
        }
    }

    #[test]
    fn a_query_parameter_is_decoded_without_loss_or_refused() {
        let text = target("/?token=a%2Bb+c&na%6De=%C3%A9&empty=&flag&x=%&x=%zz&two=1&two=2");
        let parsed = head(&text);
        let param = |name| parsed.query_param(name);
        assert_eq!(param("token"), Ok(Some("a+b c".into())));
        assert_eq!(param("name"), Ok(Some("é".into())));
        assert_eq!(param("empty"), Ok(Some("".into())));
        assert_eq!(param("flag"), Ok(Some("".into())));
        assert_eq!(param("missing"), Ok(None));
        assert_eq!(param("two"), Err(BadRequest::RepeatedParameter));
        for value in ["%", "%4", "%zz", "%+1", "%FF", "%C3", "%ED%A0%80"] {
            let text = target(&format!("/?x={value}&y=1"));
            let parsed = head(&text);
            assert_eq!(parsed.query_param("x"), Err(BadRequest::Escape), "{value}");
            assert_eq!(parsed.query_param("y"), Ok(Some("1".into())));
        }
        assert_eq!(head(&target("/")).query_param("x"), Ok(None));
        assert_eq!(percent_decode("a+b%2f%2F"), Ok("a+b//".into()));
    }

    #[test]
    fn a_list_goes_over_all_fields_of_its_name() {
        let text = "GET / HTTP/1.1\r\nConnection: keep-alive,, \tUPGRADE ,\r\n\
                    connection: \r\nCONNECTION: x\r\n\r\n";
        let head = head(text);
        let tokens: Vec<_> = head.tokens("connection").collect();
        assert_eq!(tokens, ["keep-alive", "UPGRADE", "x"]);
        assert!(head.has_token("connection", "upgrade"));
        assert!(!head.has_token("connection", "keep"));
    }

    #[test]
    fn an_upgrade_is_told_from_other_requests() {
        let table = [
            ("GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", true),
            ("POST / HTTP/1.1\r\nUpgrade: h2c, WebSocket\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nConnection: upgrade\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nUpgrade: websocket\r\n\r\n", false),
        ];
        for (text, is_upgrade) in table {
            assert_eq!(head(text).is_upgrade(), is_upgrade, "{text}");
        }
    }

    /// Feeds ever longer prefixes until there is an answer, as a socket does.
    fn parse_in_pieces(bytes: &[u8], pieces: &[usize]) -> Result<Option<usize>, BadRequest> {
        let mut sizes = pieces.iter().cycle();
        let mut length = 0;
        loop {
            length = bytes.len().min(length + sizes.next().copied().unwrap_or(1));
            match parse(&bytes[..length])? {
                Some(head) => return Ok(Some(head.length())),
                None if length == bytes.len() => return Ok(None),
                None => {}
            }
        }
    }

    fn heads() -> impl Strategy<Value = Vec<u8>> {
        let line = r"(GET|P[A-Z]{0,5}) /[!-~]{0,20}( HTTP/[0-3]\.[0-2]|)(\r\n|\n|\r)";
        let field = "[A-Za-z-]{0,8}[: ]{0,2}[ -~\\x00-\\x1f]{0,12}(\r\n|\r\n|\n|\r\n )";
        let head = (
            line,
            proptest::collection::vec(field, 0..5),
            "(\r\n|\n|)[ -~]{0,4}",
        )
            .prop_map(|(line, fields, end)| (line + &fields.concat() + &end).into_bytes());
        prop_oneof![head, proptest::collection::vec(any::<u8>(), 0..60)]
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_same_answer(
            bytes in heads(), pieces in proptest::collection::vec(1usize..20, 1..8),
        ) {
            let whole = parse(&bytes).map(|head| head.map(|head| head.length()));
            prop_assert_eq!(parse_in_pieces(&bytes, &pieces), whole);
            prop_assert_eq!(parse_in_pieces(&bytes, &[1]), whole);
        }

        #[test]
        fn what_is_encoded_decodes_to_itself(text in any::<String>(), name in "[a-z]{1,5}") {
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(percent_decode(&encoded), Ok(text.as_str().into()));
            let text_of_head = target(&format!("/?other&{name}={encoded}"));
            let head = head(&text_of_head);
            prop_assert_eq!(head.query_param(&name), match name.as_str() {
                "other" => Err(BadRequest::RepeatedParameter),
                _ => Ok(Some(text.into())),
            });
        }
    }
}
