//! Request heads that are none, or not enough, or too much.

use std::time::Duration;

use campanile::shard::Options;

use crate::support::{Raw, head_of, timed};
use crate::{is_unharmed, puppets};

/// A correct head with one line exchanged.
fn with(line: &str, other: &str) -> String {
    let head = head_of("/", "");
    assert!(head.contains(line), "{line}");
    head.replace(line, other)
}

const UPGRADE: &str = "Upgrade: websocket\r\n";
const CONNECTION: &str = "Connection: Upgrade\r\n";
const HOST: &str = "Host: localhost\r\n";
const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";
const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn twice(line: &str) -> String {
    with(line, &line.repeat(2))
}

#[test]
fn a_malformed_head_is_refused_with_the_status_for_its_fault() {
    let (site, diary) = puppets(1, Options::default());
    let long_target = format!("GET /{} HTTP/1.1\r\n", "x".repeat(20_000));
    let many: String = (0..101).map(|n| format!("X-{n}: y\r\n")).collect();
    let long_field = format!("X: {}\r\n", "y".repeat(20_000));
    let endless = "X".repeat(17_000);
    let first = "GET / HTTP/1.1\r\n";
    let cases: Vec<(&str, String, u16, &str)> = vec![
        (
            "no HTTP",
            "\x16\x03\x01\x02\x00\x01\x00".into(),
            400,
            "malformed_request",
        ),
        ("NUL", "\0\0\0\0".into(), 400, "malformed_request"),
        (
            "NUL in a value",
            with(HOST, "Host: local\0host\r\n"),
            400,
            "malformed_request",
        ),
        (
            "NUL in a name",
            with(HOST, "Ho\0st: localhost\r\n"),
            400,
            "malformed_request",
        ),
        (
            "NUL in the target",
            with(first, "GET /\0 HTTP/1.1\r\n"),
            400,
            "malformed_request",
        ),
        (
            "no method",
            with(first, " / HTTP/1.1\r\n"),
            400,
            "malformed_request",
        ),
        (
            "space before a colon",
            with(HOST, "Host : localhost\r\n"),
            400,
            "malformed_request",
        ),
        (
            "no colon",
            with(HOST, "Host localhost\r\n"),
            400,
            "malformed_request",
        ),
        (
            "folded line",
            with(HOST, "Host: local\r\n host\r\n"),
            400,
            "malformed_request",
        ),
        (
            "bare CR",
            with(HOST, "Host: local\rhost\r\n"),
            400,
            "malformed_request",
        ),
        (
            "no path",
            with(first, "GET * HTTP/1.1\r\n"),
            400,
            "invalid_target",
        ),
        (
            "fragment",
            with(first, "GET /#here HTTP/1.1\r\n"),
            400,
            "invalid_target",
        ),
        ("no host", with(HOST, ""), 400, "missing_header"),
        ("two hosts", twice(HOST), 400, "repeated_header"),
        (
            "odd host",
            with(HOST, "Host: a/b\r\n"),
            400,
            "invalid_header",
        ),
        ("no connection", with(CONNECTION, ""), 400, "missing_header"),
        (
            "other connection",
            with(CONNECTION, "Connection: close\r\n"),
            400,
            "invalid_header",
        ),
        ("no key", with(KEY, ""), 400, "missing_header"),
        ("two keys", twice(KEY), 400, "repeated_header"),
        (
            "short key",
            with(KEY, "Sec-WebSocket-Key: AAAA\r\n"),
            400,
            "invalid_header",
        ),
        (
            "body",
            with(HOST, "Host: x\r\nContent-Length: 5\r\n"),
            400,
            "unexpected_body",
        ),
        (
            "chunks",
            with(HOST, "Host: x\r\nTransfer-Encoding: chunked\r\n"),
            400,
            "unexpected_body",
        ),
        (
            "extensions",
            with(
                HOST,
                "Host: x\r\nSec-WebSocket-Extensions: permessage-deflate; =\r\n",
            ),
            400,
            "invalid_header",
        ),
        ("method", with("GET /", "POST /"), 405, "method_not_allowed"),
        ("no version", with(VERSION, ""), 426, "upgrade_required"),
        (
            "version 8",
            with("Version: 13", "Version: 8"),
            426,
            "upgrade_required",
        ),
        (
            "version 14",
            with("Version: 13", "Version: 14"),
            426,
            "upgrade_required",
        ),
        (
            "long target",
            with(first, &long_target),
            431,
            "request_head_too_large",
        ),
        ("endless line", endless, 431, "request_head_too_large"),
        (
            "long field",
            with(HOST, &long_field),
            431,
            "request_head_too_large",
        ),
        (
            "many fields",
            with(HOST, &many),
            431,
            "request_head_too_large",
        ),
        (
            "HTTP/2",
            with("HTTP/1.1", "HTTP/2.0"),
            505,
            "http_version_not_supported",
        ),
        (
            "HTTP/0.9",
            with("HTTP/1.1", "HTTP/0.9"),
            505,
            "http_version_not_supported",
        ),
        (
            "HTTP/1.2",
            with("HTTP/1.1", "HTTP/1.2"),
            505,
            "http_version_not_supported",
        ),
    ];
    let count = cases.len();
    for (name, head, status, code) in cases {
        let mut raw = Raw::connect(site.address);
        raw.write_until_refused(head.as_bytes());
        let response = raw.response();
        let answered = (response.status, response.code());
        assert_eq!(answered, (status, code.to_owned()), "{name}");
        let version = response.field("sec-websocket-version");
        assert_eq!(version, (status == 426).then_some("13"), "{name}");
        let allow = response.field("allow");
        assert_eq!(allow, (status == 405).then_some("GET"), "{name}");
        raw.at_end();
    }
    assert!(diary.entries(|_| true).is_empty());
    assert_eq!(site.stats().shards[0].counters.refused, count as u64);
    is_unharmed(&site);
}

/// RFC 9112 section 2.2 lets a recipient take a bare LF, and so do we and the parser behind us.
#[test]
fn a_bare_lf_ends_a_line() {
    let (site, _) = puppets(1, Options::default());
    let mut raw = Raw::connect(site.address);
    raw.write(head_of("/", "").replace("\r\n", "\n").as_bytes());
    assert_eq!(raw.response().status, 101);
    assert_eq!(raw.ask("hello"), "hello");
}

#[test]
fn an_upgrade_to_something_else_is_a_plain_request() {
    let (site, _) = puppets(1, Options::default());
    for head in [
        with(UPGRADE, "Upgrade: h2c\r\n"),
        with(UPGRADE, ""),
        with("HTTP/1.1", "HTTP/1.0"),
    ] {
        let mut raw = Raw::connect(site.address);
        raw.write(head.as_bytes());
        // The router is empty.
        assert_eq!(raw.response().status, 404, "{head}");
    }
}

#[test]
fn a_slow_head_is_refused_in_time_and_silence_is_cut() {
    let options = Options {
        handshake_timeout: Duration::from_secs(1),
        ..Options::default()
    };
    let (site, _) = puppets(1, options);
    let mut silent = Raw::connect(site.address);
    let mut slow = Raw::connect(site.address);
    slow.write(b"GET / HTTP/1.1\r\nHost: loc");
    let (took_ms, response) = timed(|| slow.response());
    let answered = (response.status, response.code());
    assert_eq!(answered, (408, "request_timeout".to_owned()));
    assert!((900..8000).contains(&took_ms), "{took_ms} ms");
    slow.at_end();
    silent.at_end();
    drop((slow, silent));
    is_unharmed(&site);
}

#[test]
fn heads_that_end_in_the_middle_leave_nothing() {
    let (site, diary) = puppets(2, Options::default());
    let head = head_of("/", "");
    for cut in (0..head.len()).step_by(13) {
        let mut ended = Raw::connect(site.address);
        ended.write(&head.as_bytes()[..cut]);
        ended.end_writing();
        ended.at_end();
        let mut reset = Raw::connect(site.address);
        reset.write(&head.as_bytes()[..cut]);
        reset.reset();
    }
    is_unharmed(&site);
    assert_eq!(diary.entries(|_| true).len(), 2, "only the newcomer's");
}
