//! Frames that break RFC 6455 or a limit: the code that they are closed with, then the end.

use campanile::shard::Options;
use campanile::ws::{Deflater, Header, MaskingKey, Opcode, WindowBits, client_frame_into};

use crate::support::{Raw, frame_of, within_bound};
use crate::{is_unharmed, puppets};

const BYTES_MAX: usize = 10_000;
const KEY: [u8; 4] = [0; 4];

fn options() -> Options {
    Options {
        message_bytes_max: BYTES_MAX,
        fragments_max: Some(10),
        connections_per_user_max: 0,
        ..Options::default()
    }
}

/// A frame by its bytes: the masking key is zero, so that the payload stands as it is.
fn raw_frame(first: u8, length: &[u8], payload: &[u8]) -> Vec<u8> {
    [&[first][..], length, &KEY, payload].concat()
}

fn short_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("a short payload");
    assert!(length < 126);
    raw_frame(first, &[0x80 | length], payload)
}

const FIN: u8 = 0x80;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;

type Case = (&'static str, Vec<u8>, u16);

fn protocol_errors() -> Vec<Case> {
    let mut cases: Vec<Case> = vec![
        ("unmasked", vec![FIN | TEXT, 1, b'x'], 1002),
        ("unmasked ping", vec![FIN | PING, 0], 1002),
        (
            "RSV1 not negotiated",
            short_frame(FIN | 0x40 | TEXT, b"x"),
            1002,
        ),
        ("RSV2", short_frame(FIN | 0x20 | TEXT, b"x"), 1002),
        ("RSV3", short_frame(FIN | 0x10 | BINARY, b"x"), 1002),
        ("RSV1 on a ping", short_frame(FIN | 0x40 | PING, b"x"), 1002),
        ("fragmented ping", short_frame(PING, b"x"), 1002),
        ("fragmented close", short_frame(CLOSE, b""), 1002),
        (
            "ping of 126 bytes",
            raw_frame(FIN | PING, &[0xFE, 0, 126], &[0; 126]),
            1002,
        ),
        (
            "ping with a long length",
            raw_frame(FIN | PING, &[0xFF, 0, 0, 0, 0, 0, 1, 0, 0], b""),
            1002,
        ),
        (
            "length 5 in two bytes",
            raw_frame(FIN | TEXT, &[0xFE, 0, 5], b"hello"),
            1002,
        ),
        (
            "length 5 in eight bytes",
            raw_frame(FIN | TEXT, &[0xFF, 0, 0, 0, 0, 0, 0, 0, 5], b"hello"),
            1002,
        ),
        (
            "length with its top bit",
            raw_frame(FIN | TEXT, &[0xFF, 0x80, 0, 0, 0, 0, 0, 0, 5], b"hello"),
            1002,
        ),
        ("continuation of nothing", short_frame(FIN, b"x"), 1002),
        (
            "text inside a text",
            [short_frame(TEXT, b"a"), short_frame(FIN | TEXT, b"b")].concat(),
            1002,
        ),
        (
            "close payload of one byte",
            short_frame(FIN | CLOSE, b"x"),
            1002,
        ),
    ];
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        cases.push(("reserved opcode", short_frame(FIN | opcode, b"x"), 1002));
    }
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        let payload = code.to_be_bytes();
        cases.push((
            "invalid close code",
            short_frame(FIN | CLOSE, &payload),
            1002,
        ));
    }
    cases
}

fn bad_payloads_and_sizes() -> Vec<Case> {
    let huge = [0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
    let fragments: Vec<u8> = std::iter::once(short_frame(TEXT, b""))
        .chain(std::iter::repeat_n(short_frame(0, b""), 10))
        .flatten()
        .collect();
    let half = vec![b'x'; BYTES_MAX / 2 + 1];
    let mut in_two = Vec::new();
    for (opcode, fin) in [(Opcode::Binary, false), (Opcode::Continuation, true)] {
        let header = Header {
            fin,
            key: Some(MaskingKey(KEY)),
            ..Header::whole(opcode, half.len())
        };
        client_frame_into(&mut in_two, header, &half);
    }
    vec![
        ("text of FF", short_frame(FIN | TEXT, b"\xFF"), 1007),
        ("surrogate", short_frame(FIN | TEXT, b"\xED\xA0\x80"), 1007),
        ("overlong", short_frame(FIN | TEXT, b"\xC0\xAF"), 1007),
        ("character cut off", short_frame(FIN | TEXT, b"\xC3"), 1007),
        (
            "invalid across fragments",
            [short_frame(TEXT, b"\xC3"), short_frame(FIN, b"\x28")].concat(),
            1007,
        ),
        // Refused at once: the message is not at its end.
        (
            "invalid in a first fragment",
            short_frame(TEXT, b"ok \xFE"),
            1007,
        ),
        (
            "close reason",
            short_frame(FIN | CLOSE, b"\x03\xE8\xFF"),
            1007,
        ),
        (
            "too big",
            frame_of(Opcode::Binary, &[0; BYTES_MAX + 1]),
            1009,
        ),
        // Nothing of it ever comes.
        (
            "2^63 - 1 bytes announced",
            raw_frame(FIN | BINARY, &huge, b""),
            1009,
        ),
        ("too big in two fragments", in_two, 1009),
        ("too many fragments", fragments, 1008),
    ]
}

#[test]
fn a_malformed_frame_is_closed_with_the_code_for_its_fault() {
    let cases = [protocol_errors(), bad_payloads_and_sizes()].concat();
    for shards in [1, 2] {
        let (site, diary) = puppets(shards, options());
        let mut witness = Raw::open(site.address, "/?user=witness");
        for (number, (name, bytes, code)) in cases.iter().enumerate() {
            let user = format!("case-{number}");
            let mut raw = Raw::open(site.address, &format!("/?user={user}"));
            // What came before the fault is answered before the close.
            assert_eq!(raw.ask("before"), "before");
            raw.write_until_refused(bytes);
            let (closed, reason) = raw.closed();
            assert_eq!(closed, *code, "{name}: {reason}");
            assert!(!reason.is_empty(), "{name}: the reason says what is wrong");
            assert_eq!(diary.closed(&user).0, *code, "{name}");
        }
        assert_eq!(witness.ask("all quiet"), "all quiet");
        drop(witness);
        let stats = site.stats();
        let violations: u64 = stats.shards.iter().map(|s| s.counters.violations).sum();
        assert_eq!(violations, cases.len() as u64);
        is_unharmed(&site);
    }
}

/// The same faults byte by byte: what the server makes of bytes does not depend on how they come.
#[test]
fn a_malformed_frame_in_single_bytes_is_closed_with_the_same_code() {
    let (site, _) = puppets(1, options());
    let cases = [protocol_errors(), bad_payloads_and_sizes()].concat();
    for (name, bytes, code) in cases.iter().filter(|(_, bytes, _)| bytes.len() < 200) {
        let mut raw = Raw::open(site.address, "/");
        for byte in bytes {
            raw.write_until_refused(&[*byte]);
        }
        assert_eq!(raw.closed().0, *code, "{name}");
    }
    is_unharmed(&site);
}

#[test]
fn a_deflate_bomb_is_refused_before_it_is_inflated() {
    let (site, _) = puppets(1, options());
    let mut witness = Raw::open(site.address, "/");
    let mut bomb = Vec::new();
    Deflater::new(9).compress(&vec![0; 9_000_000], WindowBits::MAX, &mut bomb);
    assert!(bomb.len() < BYTES_MAX, "{}", bomb.len());
    let not_deflate = b"\xFF\xFF\xFF\xFF nothing of the kind";
    for (payload, code) in [(&bomb[..], 1009), (not_deflate, 1007)] {
        let mut raw = Raw::connect(site.address);
        let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        assert_eq!(raw.upgrade("/", offer).status, 101);
        let header = Header {
            rsv1: true,
            key: Some(MaskingKey(KEY)),
            ..Header::whole(Opcode::Binary, payload.len())
        };
        let mut frame = Vec::new();
        client_frame_into(&mut frame, header, payload);
        raw.write(&frame);
        assert_eq!(raw.closed().0, code);
    }
    assert_eq!(witness.ask("all quiet"), "all quiet");
    drop(witness);
    is_unharmed(&site);
}

#[test]
fn a_reset_in_the_middle_of_a_frame_leaves_nothing() {
    let (site, diary) = puppets(1, options());
    let frame = frame_of(Opcode::Text, &[b'x'; 9000]);
    for cut in [1, 2, 4, 7, 8, 100, 8999] {
        let user = format!("cut-{cut}");
        let mut raw = Raw::open(site.address, &format!("/?user={user}"));
        raw.write(&frame[..cut]);
        // Not before the server holds a part of the frame.
        assert!(within_bound(|| site.stats().total_connections == 1));
        raw.reset();
        assert_eq!(diary.closed(&user).0, 1006);
    }
    assert_eq!(site.stats().shards[0].counters.messages_in, 0);
    is_unharmed(&site);
}
