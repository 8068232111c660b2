//! What a peer's bytes turn into, whole and in pieces.

use std::io::{self, Read, Write};

use proptest::prelude::*;

use super::*;

const KEY: MaskingKey = MaskingKey([0xDE, 0xAD, 0xBE, 0xEF]);

/// [`Incoming`] with its own memory.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(CloseCode, String)>),
}

impl From<Incoming<'_>> for Said {
    fn from(incoming: Incoming<'_>) -> Self {
        match incoming {
            Incoming::Text(text) => Self::Text(text.to_owned()),
            Incoming::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Incoming::Ping(payload) => Self::Ping(payload.to_vec()),
            Incoming::Pong(payload) => Self::Pong(payload.to_vec()),
            Incoming::Close(close) => {
                Self::Close(close.map(|(code, reason)| (code, reason.to_owned())))
            }
        }
    }
}

/// A decoder with all that it needs.
struct Peer {
    decoder: Decoder,
    rules: Rules,
    inflater: Option<Inflater>,
}

impl Peer {
    fn new(rules: Rules) -> Self {
        Self {
            decoder: Decoder::default(),
            rules,
            inflater: None,
        }
    }

    fn with_compression(rules: Rules) -> Self {
        Self {
            inflater: Some(Inflater::new()),
            ..Self::new(rules)
        }
    }

    fn feed(&mut self, bytes: &[u8], said: &mut Vec<Said>) -> Result<(), Violation> {
        let mut bytes = bytes.to_vec();
        let mut input = &mut bytes[..];
        while let Some(incoming) =
            self.decoder
                .next(&mut input, &self.rules, self.inflater.as_mut())?
        {
            said.push(incoming.into());
        }
        assert!(
            input.is_empty(),
            "all input is consumed when more is needed"
        );
        Ok(())
    }

    /// Feeds chunks of the sizes given, over and over.
    fn feed_chunked(&mut self, bytes: &[u8], sizes: &[usize]) -> (Vec<Said>, Option<Violation>) {
        let mut said = Vec::new();
        let mut rest = bytes;
        for size in sizes.iter().cycle() {
            let (chunk, after) = rest.split_at(rest.len().min(*size));
            rest = after;
            if let Err(violation) = self.feed(chunk, &mut said) {
                return (said, Some(violation));
            }
            if rest.is_empty() {
                break;
            }
        }
        (said, None)
    }
}

fn server() -> Peer {
    Peer::new(Rules::server(1 << 20))
}

/// One masked frame.
fn frame(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    client_frame_into(
        &mut out,
        Header {
            fin,
            key: Some(KEY),
            ..Header::whole(opcode, 0)
        },
        payload,
    );
    out
}

fn compressed(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = frame(fin, opcode, payload);
    out[0] |= 0x40;
    out
}

fn deflate(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Deflater::new(6).compress(payload, WindowBits::MAX, &mut out);
    out
}

/// RFC 6455 section 5.7, the unmasked examples, as a client reads them.
#[test]
fn the_examples_of_the_rfc_are_decoded() {
    let mut bytes = vec![0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    bytes.extend([0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f]);
    bytes.extend([0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    bytes.extend([0x82, 0x7E, 0x01, 0x00]);
    bytes.extend([7; 256]);
    bytes.extend([0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0]);
    bytes.extend([8; 65_536]);
    let (said, violation) = Peer::new(Rules::client(1 << 20)).feed_chunked(&bytes, &[usize::MAX]);
    assert_eq!(violation, None);
    assert_eq!(
        said,
        [
            Said::Text("Hello".into()),
            Said::Text("Hello".into()),
            Said::Ping(b"Hello".into()),
            Said::Binary(vec![7; 256]),
            Said::Binary(vec![8; 65_536]),
        ]
    );
}

/// RFC 7692 section 7.2.3.1: "Hello" in one compressed frame, and in two fragments.
#[test]
fn a_compressed_message_is_inflated_whole_and_from_fragments() {
    let mut bytes = compressed(true, Opcode::Text, b"\xf2\x48\xcd\xc9\xc9\x07\x00");
    bytes.extend(compressed(false, Opcode::Text, b"\xf2\x48\xcd"));
    bytes.extend(frame(true, Opcode::Continuation, b"\xc9\xc9\x07\x00"));
    bytes.extend(frame(true, Opcode::Text, b"plain"));
    let (said, violation) =
        Peer::with_compression(Rules::server(100)).feed_chunked(&bytes, &[usize::MAX]);
    assert_eq!(violation, None);
    assert_eq!(
        said,
        ["Hello", "Hello", "plain"].map(|text| Said::Text(text.into()))
    );
}

#[test]
fn a_whole_frame_is_handed_out_where_it_lies() {
    let mut bytes = frame(true, Opcode::Binary, b"payload");
    let last = &raw const bytes[bytes.len() - 1];
    let mut decoder = Decoder::default();
    let mut input = &mut bytes[..];
    let rules = Rules::server(100);
    let Ok(Some(Incoming::Binary(payload))) = decoder.next(&mut input, &rules, None) else {
        panic!("a whole frame was in the input");
    };
    assert_eq!(payload, b"payload");
    assert_eq!(&raw const payload[6], last);
    assert_eq!(decoder.held_bytes(), 0);
}

#[test]
fn control_frames_between_fragments_leave_the_message_alone() {
    let mut bytes = frame(false, Opcode::Text, b"gr\xC3");
    bytes.extend(frame(true, Opcode::Ping, b"a"));
    bytes.extend(frame(false, Opcode::Continuation, b""));
    bytes.extend(frame(true, Opcode::Pong, b""));
    bytes.extend(frame(true, Opcode::Continuation, b"\xBCn"));
    for size in 1..bytes.len() {
        let (said, violation) = server().feed_chunked(&bytes, &[size]);
        assert_eq!(violation, None);
        let expected = [
            Said::Ping(b"a".into()),
            Said::Pong(b"".into()),
            Said::Text("grün".into()),
        ];
        assert_eq!(said, expected);
    }
}

/// Every violation, and the code that it closes with.
#[test]
fn every_breach_of_the_protocol_is_named_and_closes_with_its_code() {
    use Opcode::{Binary, Close, Continuation, Ping, Text};
    let one_byte = |first: u8| vec![first, 0x80, 0, 0, 0, 0];
    let cases: Vec<(Vec<u8>, Violation, u16)> = vec![
        (one_byte(0xC1), Violation::ReservedBits { bits: 4 }, 1002),
        (one_byte(0x91), Violation::ReservedBits { bits: 1 }, 1002),
        (
            one_byte(0x83),
            Violation::ReservedOpcode { opcode: 3 },
            1002,
        ),
        (
            one_byte(0x8F),
            Violation::ReservedOpcode { opcode: 15 },
            1002,
        ),
        (vec![0x81, 0x00], Violation::NotMasked, 1002),
        (
            vec![0x82, 0xFE, 0, 1],
            Violation::LengthNotMinimal { bytes: 1 },
            1002,
        ),
        (
            vec![0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0],
            Violation::LengthTopBit { bytes: 1 << 63 },
            1002,
        ),
        (
            one_byte(0x08),
            Violation::ControlFragmented { opcode: Close },
            1002,
        ),
        (
            vec![0x89, 0xFE],
            Violation::ControlTooLong { opcode: Ping },
            1002,
        ),
        (
            frame(true, Continuation, b"x"),
            Violation::ContinuationOfNothing,
            1002,
        ),
        (
            [frame(false, Text, b"x"), frame(true, Binary, b"y")].concat(),
            Violation::MessageInsideMessage { opcode: Binary },
            1002,
        ),
        (
            [
                frame(false, Text, b""),
                frame(false, Continuation, b""),
                frame(true, Continuation, b""),
            ]
            .concat(),
            Violation::TooManyFragments { fragments_max: 2 },
            1008,
        ),
        (
            frame(true, Text, &[b'x'; 101]),
            Violation::MessageTooBig {
                bytes: 101,
                bytes_max: 100,
            },
            1009,
        ),
        (
            [
                frame(false, Text, &[b'x'; 60]),
                frame(true, Continuation, &[b'x'; 41]),
            ]
            .concat(),
            Violation::MessageTooBig {
                bytes: 101,
                bytes_max: 100,
            },
            1009,
        ),
        (
            vec![
                0x82, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4,
            ],
            Violation::MessageTooBig {
                bytes: u64::MAX >> 1,
                bytes_max: 100,
            },
            1009,
        ),
        (frame(true, Text, b"\xFF"), Violation::TextNotUtf8, 1007),
        (frame(true, Text, b"\xC3"), Violation::TextNotUtf8, 1007),
        (
            [frame(false, Text, b"\xC3"), frame(true, Continuation, b"")].concat(),
            Violation::TextNotUtf8,
            1007,
        ),
        (
            frame(true, Close, b"\x03"),
            Violation::ClosePayloadOneByte,
            1002,
        ),
        (
            frame(true, Close, b"\x03\xED"),
            Violation::CloseCodeInvalid { code: 1005 },
            1002,
        ),
        (
            frame(true, Close, b"\x03\xE8\xFF"),
            Violation::CloseReasonNotUtf8,
            1007,
        ),
    ];
    let rules = Rules {
        fragments_max: Some(2),
        ..Rules::server(100)
    };
    for (bytes, violation, code) in cases {
        for size in 1..=bytes.len() {
            let (said, found) = Peer::new(rules).feed_chunked(&bytes, &[size]);
            assert_eq!(
                (said, found),
                (vec![], Some(violation)),
                "{bytes:x?} by {size}"
            );
        }
        assert_eq!(violation.close_code().as_u16(), code, "{violation}");
    }

    let masked = frame(true, Text, b"x");
    let found = Peer::new(Rules::client(100))
        .feed_chunked(&masked, &[usize::MAX])
        .1;
    assert_eq!(found, Some(Violation::Masked));
    assert_eq!(Violation::Masked.close_code(), CloseCode::PROTOCOL_ERROR);

    let compressed_cases = [
        (
            compressed(true, Text, &deflate(&[b'x'; 101])),
            Violation::InflatesTooBig { bytes_max: 100 },
            1009,
        ),
        (compressed(true, Text, b"\x07"), Violation::NotDeflate, 1007),
        (
            compressed(true, Text, &deflate(b"\xC3")),
            Violation::TextNotUtf8,
            1007,
        ),
        (
            compressed(true, Ping, b""),
            Violation::ReservedBits { bits: 4 },
            1002,
        ),
    ];
    for (bytes, violation, code) in compressed_cases {
        for size in 1..=bytes.len() {
            let found = Peer::with_compression(rules).feed_chunked(&bytes, &[size]);
            assert_eq!(found, (vec![], Some(violation)), "{bytes:x?} by {size}");
        }
        assert_eq!(violation.close_code().as_u16(), code, "{violation}");
    }
}

#[test]
fn close_frames_carry_what_the_peer_gave() {
    let cases = [
        (frame(true, Opcode::Close, b""), None),
        (
            frame(true, Opcode::Close, b"\x03\xE9"),
            Some((CloseCode::GOING_AWAY, "")),
        ),
        (
            frame(true, Opcode::Close, b"\x03\xE8bye"),
            Some((CloseCode::NORMAL, "bye")),
        ),
    ];
    for (bytes, close) in cases {
        for size in 1..=bytes.len() {
            let (said, violation) = server().feed_chunked(&bytes, &[size]);
            assert_eq!(violation, None);
            assert_eq!(
                said,
                [Said::Close(
                    close.map(|(code, reason)| (code, reason.into()))
                )]
            );
        }
    }
}

#[test]
fn bad_text_is_refused_with_its_first_bad_byte_though_the_frame_goes_on() {
    let bytes = frame(
        true,
        Opcode::Text,
        b"0123456789\xED\xA0 and so on, for long",
    );
    let bad = 6 + 11;
    let mut peer = server();
    assert_eq!(peer.feed(&bytes[..bad], &mut Vec::new()), Ok(()));
    assert_eq!(
        peer.feed(&bytes[bad..=bad], &mut Vec::new()),
        Err(Violation::TextNotUtf8)
    );
}

#[test]
fn too_long_a_message_is_refused_by_its_header_alone() {
    let mut peer = Peer::new(Rules::server(1000));
    let bytes = frame(true, Opcode::Binary, &[0; 1001]);
    let refused = Err(Violation::MessageTooBig {
        bytes: 1001,
        bytes_max: 1000,
    });
    assert_eq!(peer.feed(&bytes[..8], &mut Vec::new()), refused);
    assert_eq!(peer.decoder.held_bytes(), 0);
}

#[test]
fn memory_follows_what_arrives_and_not_what_is_announced() {
    let mut peer = Peer::new(Rules::server(64 << 20));
    let mut header = Header {
        key: Some(KEY),
        ..Header::whole(Opcode::Binary, 64 << 20)
    };
    assert_eq!(peer.feed(&header.encode(), &mut Vec::new()), Ok(()));
    assert!(peer.decoder.held_bytes() < 512);
    assert_eq!(peer.feed(&[0; 1000], &mut Vec::new()), Ok(()));
    assert!(peer.decoder.held_bytes() < 3000);

    header.fin = false;
    let mut peer = Peer::new(Rules::server(64 << 20));
    assert_eq!(peer.feed(&header.encode(), &mut Vec::new()), Ok(()));
    assert_eq!(peer.feed(&[0; 1000], &mut Vec::new()), Ok(()));
    assert!(peer.decoder.held_bytes() < 3000);
}

#[test]
fn an_idle_decoder_holds_nothing() {
    let message = [
        frame(false, Opcode::Binary, &[1; 5000]),
        frame(true, Opcode::Ping, b"still there?"),
        frame(true, Opcode::Continuation, &[2; 5000]),
    ]
    .concat();
    for size in [1, 7, 5006, 5010, message.len()] {
        let mut peer = server();
        for chunk in message[..message.len() - 1].chunks(size) {
            assert_eq!(peer.feed(chunk, &mut Vec::new()), Ok(()));
        }
        assert!(peer.decoder.is_mid_message());
        assert!(peer.decoder.held_bytes() >= 5000);
        assert_eq!(
            peer.feed(&message[message.len() - 1..], &mut Vec::new()),
            Ok(())
        );
        assert!(!peer.decoder.is_mid_message());
        assert_eq!(peer.decoder.held_bytes(), 0);
    }
    let ping = frame(true, Opcode::Ping, b"half");
    let mut peer = server();
    assert_eq!(peer.feed(&ping[..7], &mut Vec::new()), Ok(()));
    assert!(peer.decoder.held_bytes() > 0);
    assert_eq!(peer.feed(&ping[7..], &mut Vec::new()), Ok(()));
    assert_eq!(peer.decoder.held_bytes(), 0);
}

#[test]
fn a_large_inflated_message_is_gone_when_more_input_is_asked_for() {
    let mut peer = Peer::with_compression(Rules::server(1 << 20));
    let bytes = compressed(true, Opcode::Binary, &deflate(&[0; 1 << 20]));
    let mut said = Vec::new();
    assert_eq!(peer.feed(&bytes, &mut said), Ok(()));
    assert_eq!(said, [Said::Binary(vec![0; 1 << 20])]);
    assert!(peer.inflater.unwrap().held_bytes() <= 64 * 1024);
}

#[test]
fn a_message_in_very_many_fragments_is_moved_a_logarithmic_number_of_times() {
    const COUNT: usize = 1 << 17;
    let mut peer = Peer::new(Rules::server(64 << 20));
    let (mut said, mut moves, mut held) = (Vec::new(), 0, 0);
    let first = frame(false, Opcode::Text, b"x");
    let middle = frame(false, Opcode::Continuation, b"x");
    for i in 0..COUNT {
        let bytes = if i == 0 { &first } else { &middle };
        assert_eq!(peer.feed(bytes, &mut said), Ok(()));
        if peer.decoder.held_bytes() != held {
            held = peer.decoder.held_bytes();
            moves += 1;
        }
    }
    assert_eq!(
        peer.feed(&frame(true, Opcode::Continuation, b"x"), &mut said),
        Ok(())
    );
    assert_eq!(said, [Said::Text("x".repeat(COUNT + 1))]);
    assert!(moves <= 18, "{moves}");
}

/// Frames that are mostly in order: what a peer might send, with a few mistakes.
fn traffic() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        4 => ".{0,40}".prop_map(String::into_bytes),
        2 => proptest::collection::vec(any::<u8>(), 0..200),
        1 => "[a-z]{0,300}".prop_map(String::into_bytes),
    ];
    let first = prop_oneof![
        20 => prop::sample::select(vec![0x81u8, 0x82, 0xC1, 0xC2, 0x01, 0x02, 0x41]),
        20 => prop::sample::select(vec![0x00u8, 0x80]),
        10 => prop::sample::select(vec![0x89u8, 0x8A, 0x88]),
        1 => any::<u8>(),
    ];
    let frames = proptest::collection::vec((first, payload, any::<[u8; 4]>()), 0..12);
    frames.prop_map(|frames| {
        let (mut out, mut open) = (Vec::new(), false);
        for (mut first, mut payload, key) in frames {
            // Mostly a legal order: continuations inside a message, openings outside.
            if first & 0x0F < 3 {
                first = match (open, first & 0x0F) {
                    (true, 1 | 2) => first & 0x80,
                    (false, 0) => first | 2,
                    _ => first,
                };
                open = first & 0x80 == 0;
            } else {
                payload.truncate(125);
            }
            if first & 0x40 != 0 {
                payload = deflate(&payload);
            }
            let header = Header {
                key: Some(MaskingKey(key)),
                ..Header::whole(Opcode::Binary, 0)
            };
            let start = out.len();
            client_frame_into(&mut out, header, &payload);
            out[start] = first;
        }
        out
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_chunking_of_the_same_bytes_says_the_same(
        mut bytes in traffic(),
        damage in proptest::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>())),
        sizes in proptest::collection::vec(1usize..60, 1..10),
        compression: bool,
    ) {
        if let Some((at, byte)) = damage && !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let rules = Rules { fragments_max: Some(5), ..Rules::server(600) };
        let peer = || if compression { Peer::with_compression(rules) } else { Peer::new(rules) };
        let whole = peer().feed_chunked(&bytes, &[usize::MAX]);
        let mut chunked = peer();
        prop_assert_eq!(chunked.feed_chunked(&bytes, &sizes), whole.clone());
        prop_assert_eq!(peer().feed_chunked(&bytes, &[1]), whole.clone());
        if whole.1.is_none() {
            prop_assert_eq!(chunked.decoder.is_mid_message(), chunked.decoder.held_bytes() > 0);
        }
    }

    #[test]
    fn what_is_encoded_is_decoded(
        messages in proptest::collection::vec((
            prop_oneof![
                ".{0,200}".prop_map(Said::Text),
                proptest::collection::vec(any::<u8>(), 0..400).prop_map(Said::Binary),
                proptest::collection::vec(any::<u8>(), 0..=125).prop_map(Said::Ping),
                proptest::collection::vec(any::<u8>(), 0..=125).prop_map(Said::Pong),
            ],
            any::<bool>(),
            proptest::collection::vec(1usize..100, 0..4),
        ), 0..8),
        sizes in proptest::collection::vec(1usize..100, 1..10),
    ) {
        let mut bytes = Vec::new();
        for (said, compress, cuts) in &messages {
            let (opcode, payload) = match said {
                Said::Text(text) => (Opcode::Text, text.as_bytes()),
                Said::Binary(payload) => (Opcode::Binary, &payload[..]),
                Said::Ping(payload) => (Opcode::Ping, &payload[..]),
                Said::Pong(payload) => (Opcode::Pong, &payload[..]),
                Said::Close(_) => unreachable!("not generated"),
            };
            if opcode.is_control() {
                bytes.extend(frame(true, opcode, payload));
                continue;
            }
            let payload = if *compress { deflate(payload) } else { payload.to_vec() };
            let (mut rest, mut opcode, mut rsv1) = (&payload[..], opcode, *compress);
            let mut fragment = |fin, payload: &[u8]| {
                let header = Header { fin, rsv1, key: Some(KEY), ..Header::whole(opcode, 0) };
                client_frame_into(&mut bytes, header, payload);
                (opcode, rsv1) = (Opcode::Continuation, false);
            };
            for cut in cuts {
                let (piece, after) = rest.split_at(rest.len().min(*cut));
                fragment(false, piece);
                rest = after;
            }
            fragment(true, rest);
        }
        let (said, violation) =
            Peer::with_compression(Rules::server(1000)).feed_chunked(&bytes, &sizes);
        prop_assert_eq!(violation, None);
        let expected: Vec<Said> = messages.into_iter().map(|(said, ..)| said).collect();
        prop_assert_eq!(said, expected);
    }

    #[test]
    fn any_bytes_get_a_verdict(bytes in proptest::collection::vec(any::<u8>(), 0..300), client: bool) {
        let rules = if client { Rules::client(100) } else { Rules::server(100) };
        let whole = Peer::with_compression(rules).feed_chunked(&bytes, &[usize::MAX]);
        prop_assert_eq!(Peer::with_compression(rules).feed_chunked(&bytes, &[1]), whole);
    }
}

/// Both directions of a socket that never waits.
#[derive(Default)]
struct Wire {
    to_client: io::Cursor<Vec<u8>>,
    from_client: Vec<u8>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.to_client.read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.from_client.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_tungstenite_sends_as_a_client_is_understood() {
    use tungstenite::protocol::{CloseFrame, Role, WebSocket};
    use tungstenite::{Bytes, Message};

    let mut client = WebSocket::from_raw_socket(Wire::default(), Role::Client, None);
    let mut expected = Vec::new();
    for bytes in [0, 1, 125, 126, 127, 65_535, 65_536, 200_000] {
        client.send(Message::text("x".repeat(bytes))).unwrap();
        client.send(Message::binary(vec![7; bytes])).unwrap();
        expected.extend([Said::Text("x".repeat(bytes)), Said::Binary(vec![7; bytes])]);
    }
    client
        .send(Message::Ping(Bytes::from_static(b"ping")))
        .unwrap();
    client
        .send(Message::Pong(Bytes::from_static(b"pong")))
        .unwrap();
    client
        .close(Some(CloseFrame {
            code: 4409.into(),
            reason: "évincé".into(),
        }))
        .unwrap();
    expected.extend([
        Said::Ping(b"ping".into()),
        Said::Pong(b"pong".into()),
        Said::Close(Some((CloseCode::new(4409).unwrap(), "évincé".into()))),
    ]);
    let bytes = &client.get_ref().from_client;
    for size in [1000, 4096, usize::MAX] {
        assert_eq!(
            server().feed_chunked(bytes, &[size]),
            (expected.clone(), None)
        );
    }
}

#[test]
fn what_a_server_sends_is_understood_by_tungstenite() {
    use tungstenite::protocol::{CloseFrame, Role, WebSocket};
    use tungstenite::{Bytes, Message};

    let mut wire = Wire::default();
    let out = wire.to_client.get_mut();
    let sizes = [0, 1, 125, 126, 127, 65_535, 65_536, 200_000];
    for bytes in sizes {
        frame_into(out, Opcode::Text, &vec![b'x'; bytes]);
        frame_into(out, Opcode::Binary, &vec![7; bytes]);
    }
    frame_into(out, Opcode::Ping, b"ping");
    close_frame_into(out, Some((CloseCode::GOING_AWAY, "à bientôt")));
    let mut client = WebSocket::from_raw_socket(wire, Role::Client, None);
    for bytes in sizes {
        assert_eq!(client.read().unwrap(), Message::text("x".repeat(bytes)));
        assert_eq!(client.read().unwrap(), Message::binary(vec![7; bytes]));
    }
    assert_eq!(
        client.read().unwrap(),
        Message::Ping(Bytes::from_static(b"ping"))
    );
    let close = CloseFrame {
        code: 1001.into(),
        reason: "à bientôt".into(),
    };
    assert_eq!(client.read().unwrap(), Message::Close(Some(close)));
}
