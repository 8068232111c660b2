//! Bad input, for every built-in type in every profile: answered with the right error and the
//! request's `id`, relayed to nobody, and the connection goes on.

use serde_json::Value;

use super::crowd::{Crowd, framed};
use crate::realtime::protocol::{JSON_DEPTH_MAX, Profile};

/// What a member may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    /// A string that is not empty, or an integer.
    Identifier,
    Truth,
    Count,
    Object,
    /// Whatever it is, null too.
    Any,
}
use Kind::{Any, Count, Identifier, Object, Text, Truth};

/// Values that a member of a kind cannot have. Null is as good as missing.
fn wrong_values(kind: Kind) -> &'static [&'static str] {
    match kind {
        Text => &["7", "1e999", "true", "[]", r#"["x"]"#, "{}"],
        Identifier => &[
            "\"\"", "1.5", "1e3", "1e999", "-0", "true", "[]", r#"["x"]"#, "{}",
        ],
        Truth => &["7", "1e999", "\"\"", "\"true\"", "[]", "{}"],
        Count => &[
            "-1", "1.5", "1e999", "1e2", "\"7\"", "true", "[]", "{}", DIGITS,
        ],
        Any => &[],
        Object => &["7", "1e999", "\"x\"", "true", "[]", "[{}]"],
    }
}

/// A number of 400 digits: beyond an integer of any size, and beyond a double.
const DIGITS: &str = match std::str::from_utf8(&[b'9'; 400]) {
    Ok(digits) => digits,
    Err(_) => "",
};

/// A member that a type reads: its name, what it may be, a value that is right, and the code if it
/// is missing; `None` if it may be.
type Row = (&'static str, Kind, &'static str, Option<&'static str>);

const INVALID: Option<&str> = Some("invalid_message");
const NO_ROOM: Option<&str> = Some("room_required");
const AN_ID: &str = "\"01932f0e-7f2b-7000-8000-000000000001\"";

const ROOM: Row = ("room_id", Identifier, "\"den\"", NO_ROOM);
const TOPIC: Row = ("topic", Identifier, "\"den\"", NO_ROOM);
const CLIENT_MESSAGE_ID: Row = ("client_message_id", Identifier, "\"c1\"", None);
const LIMIT: Row = ("limit", Count, "2", None);
const CURSOR: Row = ("cursor", Text, "\"x\"", None);
const USER: Row = ("user_id", Identifier, "\"v1\"", INVALID);
const NAME: Row = ("name", Text, "\"The den\"", None);
const MAX_CLIENTS: Row = ("max_clients", Count, "9", None);
const IS_PRIVATE: Row = ("is_private", Truth, "false", None);
const METADATA: Row = ("metadata", Object, "{}", None);

/// What each type reads in its payload.
const TYPES: &[(&str, &[Row])] = &[
    (
        "chat",
        &[
            ROOM,
            ("content", Text, "\"hi\"", INVALID),
            CLIENT_MESSAGE_ID,
        ],
    ),
    ("chat", &[ROOM, ("text", Text, "\"hi\"", INVALID)]),
    (
        "publish",
        &[
            TOPIC,
            ("data", Any, "[1]", INVALID),
            ("event", Text, "\"tick\"", None),
            ("echo", Truth, "true", None),
            ("key", Text, "\"k\"", None),
            CLIENT_MESSAGE_ID,
        ],
    ),
    (
        "subscribe",
        &[
            TOPIC,
            ("presence", Truth, "true", None),
            ("info", Object, "{}", None),
            ("recover", Object, r#"{"epoch":"e","offset":1}"#, None),
        ],
    ),
    ("unsubscribe", &[TOPIC]),
    (
        "message-status",
        &[
            ("chat_id", Identifier, "\"den\"", NO_ROOM),
            ("message_id", Text, AN_ID, INVALID),
            ("status", Text, "\"read\"", INVALID),
        ],
    ),
    ("typing", &[ROOM, ("is_typing", Truth, "true", INVALID)]),
    (
        "presence",
        &[ROOM, ("action", Text, "\"query\"", INVALID), LIMIT, CURSOR],
    ),
    (
        "presence",
        &[
            ROOM,
            ("action", Text, "\"update\"", INVALID),
            ("info", Object, "{}", INVALID),
        ],
    ),
    (
        "notification",
        &[
            ("receiver_id", Identifier, "\"v1\"", INVALID),
            ("body", Text, "\"b\"", INVALID),
            ("title", Text, "\"t\"", None),
        ],
    ),
    (
        "request-notification",
        &[
            ("receiver_id", Identifier, "\"v1\"", INVALID),
            ("request_id", Text, "\"r\"", INVALID),
            ("status", Text, "\"pending\"", None),
        ],
    ),
    ("announcement", &[("message", Text, "\"hear\"", INVALID)]),
    ("authentication", &[("token", Text, "\"t\"", INVALID)]),
    ("rpc", &[("method", Text, "\"server.time\"", INVALID)]),
];

/// What each method reads in its parameters.
const METHODS: &[(&str, &[Row])] = &[
    ("room.get", &[ROOM]),
    ("room.members", &[ROOM, LIMIT, CURSOR]),
    (
        "room.history",
        &[
            ROOM,
            LIMIT,
            ("before", Identifier, "9", None),
            ("after", Identifier, "0", None),
        ],
    ),
    (
        "room.list",
        &[LIMIT, CURSOR, ("prefix", Text, "\"d\"", None)],
    ),
    ("room.create", &[NAME, MAX_CLIENTS, IS_PRIVATE, METADATA]),
    (
        "room.update",
        &[ROOM, NAME, MAX_CLIENTS, IS_PRIVATE, METADATA],
    ),
    ("room.kick", &[ROOM, USER, ("ban_s", Count, "1", None)]),
    ("room.close", &[ROOM]),
    ("room.add_member", &[ROOM, USER]),
    ("room.remove_member", &[ROOM, USER]),
];

/// The members of a request in which one is another, or missing.
fn members(rows: &[Row], changed: &str, value: Option<&str>) -> String {
    let mut members = Vec::new();
    for &(name, _, right, is_needed) in rows {
        let value = if name == changed {
            value
        } else {
            is_needed.map(|_| right)
        };
        members.extend(value.map(|value| format!("\"{name}\":{value}")));
    }
    members.join(",")
}

/// All that is wrong with one member, and the code that it is answered with.
fn faults(rows: &[Row]) -> Vec<(String, &'static str)> {
    let mut faults = Vec::new();
    for &(name, kind, right, is_needed) in rows {
        if let Some(code) = is_needed {
            faults.push((members(rows, name, None), code));
            if kind != Any {
                faults.push((members(rows, name, Some("null")), code));
            }
        }
        for wrong in wrong_values(kind) {
            faults.push((members(rows, name, Some(wrong)), "invalid_message"));
        }
        let escaped = format!(
            "{right},\"\\u{:04x}{}\":{right}",
            name.as_bytes()[0],
            &name[1..]
        );
        let invalid = [
            (format!("{right},\"{name}\":{right}"), "invalid_message"),
            (escaped, "invalid_message"),
            (r#""\ud800""#.to_owned(), "invalid_json"),
            (r#""\udc00\ud800""#.to_owned(), "invalid_json"),
            ("\"\0\"".to_owned(), "invalid_json"),
            ("01".to_owned(), "invalid_json"),
            ("NaN".to_owned(), "invalid_json"),
            ("'x'".to_owned(), "invalid_json"),
        ];
        for (value, code) in invalid {
            faults.push((members(rows, name, Some(&value)), code));
        }
    }
    // It makes no difference what is too deep.
    let (name, ..) = rows[0];
    for deep in [
        nested("[", "]", 100_000),
        nested("{\"a\":[", "]}", 50_000),
        "[".repeat(100_000),
    ] {
        faults.push((members(rows, name, Some(&deep)), "invalid_json"));
    }
    faults
}

fn nested(open: &str, close: &str, times: usize) -> String {
    open.repeat(times) + &close.repeat(times)
}

#[test]
fn every_type_answers_what_is_missing_mistyped_or_doubled_and_relays_none_of_it() {
    for profile in Profile::ALL {
        let crowd = Crowd::new(2, profile);
        for (message_type, rows) in TYPES {
            for (members, code) in faults(rows) {
                crowd.is_refused(&framed(profile, message_type, &members), code);
            }
        }
        crowd.end();
    }
}

#[test]
fn every_method_answers_what_is_missing_mistyped_or_doubled_and_changes_nothing() {
    for profile in Profile::ALL {
        let crowd = Crowd::new(2, profile);
        for (method, rows) in METHODS {
            for (params, code) in faults(rows) {
                let call = format!("\"method\":\"{method}\",\"params\":{{{params}}}");
                crowd.is_refused(&framed(profile, "rpc", &call), code);
            }
            for wrong in wrong_values(Object) {
                let call = format!("\"method\":\"{method}\",\"params\":{wrong}");
                crowd.is_refused(&framed(profile, "rpc", &call), "invalid_message");
            }
        }
        let unknown = framed(profile, "rpc", "\"method\":\"room.\\u0000\"");
        crowd.is_refused(&unknown, "not_found");
        crowd.end();
    }
}

#[test]
fn what_is_too_large_is_refused_by_name() {
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes));
    let digits = |count: usize| "7".repeat(count);
    let info = format!("{{\"a\":{}}}", text(1024));
    let metadata = format!("{{\"a\":{}}}", text(20_000));
    let cases = [
        (
            "chat",
            format!("\"content\":\"hi\",\"room_id\":{}", text(257)),
        ),
        (
            "chat",
            format!("\"content\":\"hi\",\"room_id\":{}", digits(257)),
        ),
        (
            "chat",
            format!(
                "\"room_id\":\"den\",\"content\":\"hi\",\"client_message_id\":{}",
                text(129)
            ),
        ),
        ("publish", format!("\"topic\":{},\"data\":1", text(257))),
        (
            "publish",
            format!(
                "\"topic\":\"den\",\"data\":1,\"client_message_id\":{}",
                digits(129)
            ),
        ),
        ("subscribe", format!("\"topic\":{}", text(257))),
        ("subscribe", format!("\"topic\":\"den\",\"info\":{info}")),
        (
            "subscribe",
            format!(
                "\"topic\":\"den\",\"recover\":{{\"epoch\":{},\"offset\":1}}",
                text(65)
            ),
        ),
        (
            "subscribe",
            format!("\"topic\":\"den\",\"recover\":{{\"epoch\":\"e\",\"offset\":{DIGITS}}}"),
        ),
        (
            "presence",
            format!("\"action\":\"update\",\"room_id\":\"den\",\"info\":{info}"),
        ),
        (
            "notification",
            format!("\"receiver_id\":{},\"body\":\"b\"", text(257)),
        ),
        (
            "request-notification",
            format!("\"receiver_id\":\"v1\",\"request_id\":{}", text(129)),
        ),
        (
            "message-status",
            format!(
                "\"chat_id\":\"den\",\"status\":\"read\",\"message_id\":{}",
                text(999)
            ),
        ),
        (
            "rpc",
            format!(
                "\"method\":\"room.get\",\"params\":{{\"room_id\":{}}}",
                text(257)
            ),
        ),
        (
            "rpc",
            format!(
                "\"method\":\"room.kick\",\"params\":{{\"room_id\":\"den\",\"user_id\":{}}}",
                text(257)
            ),
        ),
        (
            "rpc",
            format!(
                "\"method\":\"room.update\",\"params\":{{\"room_id\":\"den\",\"name\":{}}}",
                text(257)
            ),
        ),
        (
            "rpc",
            format!("\"method\":\"room.create\",\"params\":{{\"metadata\":{metadata}}}"),
        ),
        (
            "rpc",
            format!(
                "\"method\":\"room.create\",\"params\":{{\"members\":[{}]}}",
                text(257)
            ),
        ),
    ];
    for profile in Profile::ALL {
        let crowd = Crowd::new(2, profile);
        for (message_type, members) in &cases {
            let frame = framed(profile, message_type, members);
            let is_info = members.contains("\"info\"");
            let code = if is_info {
                "payload_too_large"
            } else {
                "invalid_message"
            };
            crowd.is_refused(&frame, code);
        }
        crowd.end();
    }
}

/// A good message of each type, as its members; in a room where the sender is.
fn good() -> Vec<(&'static str, String)> {
    let mut good: Vec<_> = TYPES
        .iter()
        .map(|(t, rows)| (*t, members(rows, "", None)))
        .collect();
    good.extend([("ping", String::new()), ("heartbeat", String::new())]);
    good
}

#[test]
fn an_envelope_that_is_none_is_refused_whatever_its_type() {
    for profile in Profile::ALL {
        let crowd = Crowd::new(2, profile);
        for (message_type, members) in good() {
            let good = framed(profile, message_type, &members);
            for cut in [1, 2, good.len() / 2, good.len() - 1] {
                crowd.is_refused(&good[..good.len() - cut], "invalid_json");
            }
            for garbage in ["x", "}", "{}", "\0", "[]", ",", "\u{feff}", "// hi"] {
                crowd.is_refused(&format!("{good}{garbage}"), "invalid_json");
            }
            let type_member = format!("\"type\":\"{message_type}\"");
            let instead = |other: &str| good.replace(&type_member, other);
            for other in [
                "\"type\":7",
                "\"type\":null",
                "\"type\":\"\"",
                "\"type\":[]",
                "\"typ\":\"chat\"",
                &format!("{type_member},{type_member}"),
                &format!("{type_member},\"t\\u0079pe\":\"x\""),
                &format!("\"type\":\"{}\"", "x".repeat(65)),
                &format!("{type_member},\"id\":1"),
                &format!("{type_member},\"id\":\"q\",\"i\\u0064\":\"q\""),
            ] {
                crowd.is_refused(&instead(other), "invalid_message");
            }
            for id in [
                "{}",
                "[]",
                "true",
                &format!("\"{}\"", "x".repeat(127)),
                DIGITS,
            ] {
                let other = good.replace("\"id\":\"q\"", &format!("\"id\":{id}"));
                crowd.is_refused_without_id(&other, "invalid_message");
            }
            crowd.is_refused(&instead("\"type\":\"teleport\""), "unknown_type");
            crowd.is_refused(&instead("\"type\":\"\\u0000\""), "unknown_type");
        }
        crowd.end();
    }
}

#[test]
fn texts_that_hold_no_message_are_refused() {
    for profile in Profile::ALL {
        let crowd = Crowd::new(1, profile);
        for text in [
            "{",
            "[",
            "{]",
            "[{]",
            "{\"type\"",
            "[1",
            "{\"\\ud800\":1}",
            &nested("[", "]", 100_000),
        ] {
            crowd.is_refused_without_id(text, "invalid_json");
        }
        for text in ["", " \r\n\t", "{}", "[]"] {
            crowd.is_refused_without_id(text, "invalid_message");
        }
        if profile != Profile::Flat {
            for text in ["hi", "\0", "null", "7", "\"chat\"", "\u{feff}{}"] {
                crowd.is_refused_without_id(text, "invalid_json");
            }
        }
        crowd.end();
    }
}

#[test]
fn a_bad_element_of_a_batch_harms_neither_its_neighbours_nor_those_who_listen() {
    for profile in Profile::ALL {
        let crowd = Crowd::new(2, profile);
        let chat = framed(profile, "chat", "\"room_id\":\"den\",\"content\":\"good\"");
        let bad = framed(profile, "chat", "\"room_id\":\"den\",\"content\":7");
        for bad in [&*bad, "7", "null", "{}", "[]", "{\"type\":7}"] {
            crowd.sinner.send(format!("[{chat},{bad},{chat}]"));
            let answers = crowd.sinner.receive_all();
            let errors = answers.iter().filter(|answer| answer["type"] == "error");
            assert_eq!(errors.count(), 1, "{answers:?}");
            for watcher in &crowd.watchers {
                assert_eq!(watcher.receive_all_of("chat").len(), 2, "{bad}");
            }
        }
        // What is no JSON is nothing at all.
        let whole = format!("[{chat},{{\"type\":\"chat\",\"content\":\"\\ud800\"}},{chat}]");
        crowd.is_refused_without_id(&whole, "invalid_json");
        crowd.is_refused_without_id(&format!("[{chat}"), "invalid_json");
        crowd.is_refused_without_id(&format!("[{chat},]"), "invalid_json");
        crowd.is_refused_without_id(&format!("[{}]", [&*chat; 65].join(",")), "invalid_message");
        crowd.end();
    }
}

#[test]
fn binary_messages_are_refused_for_what_is_wrong_with_them() {
    let bytes = |envelope: &str| {
        let length = u16::try_from(envelope.len()).unwrap().to_be_bytes();
        [&[1, 0], &length[..], envelope.as_bytes(), b"\xff\x00"].concat()
    };
    for profile in Profile::ALL {
        let crowd = Crowd::new(2, profile);
        let cases = [
            (vec![], "invalid_message"),
            (vec![1, 0, 0], "invalid_message"),
            (vec![1, 0, 0, 9, b'{'], "invalid_message"),
            (vec![2, 0, 0, 0], "invalid_message"),
            (vec![1, 1, 0, 0], "invalid_message"),
            (b"\x01\x00\x00\x02\xff\xff".to_vec(), "invalid_message"),
            (bytes("hi"), "invalid_message"),
            (bytes("{\"type\":"), "invalid_json"),
            (
                bytes(&framed(
                    profile,
                    "chat",
                    "\"room_id\":\"den\",\"content\":\"x\"",
                )),
                "invalid_message",
            ),
            (
                bytes(&framed(profile, "publish", "\"topic\":\"den\",\"data\":1")),
                "invalid_message",
            ),
            (
                bytes(&framed(profile, "publish", "\"topic\":\"den\",\"event\":1")),
                "invalid_message",
            ),
            (
                bytes(&framed(profile, "publish", "\"topic\":{}")),
                "invalid_message",
            ),
            (
                bytes(&framed(
                    profile,
                    "publish",
                    "\"topic\":\"den\",\"event\":\"\\ud800\"",
                )),
                "invalid_json",
            ),
        ];
        for (message, code) in cases {
            crowd.sinner.send(message.clone());
            crowd.answered(code, &format!("{message:?}"));
        }
        crowd.end();
    }
}

#[test]
fn what_is_let_in_is_no_deeper_than_any_parser_reads_however_it_is_wrapped() {
    let levels = usize::try_from(JSON_DEPTH_MAX).unwrap();
    for profile in Profile::ALL {
        let crowd = Crowd::new(2, profile);
        // Level by level to the deepest that is taken, whatever is around it.
        let mut taken = 0;
        for depth in levels - 3..=levels {
            let members = format!("\"topic\":\"den\",\"data\":{}", nested("[", "]", depth));
            crowd.sinner.send(framed(profile, "publish", &members));
            let answer = crowd.sinner.receive();
            // Received as JSON by a parser that takes 127 levels, or the client panics.
            for watcher in &crowd.watchers {
                let heard = watcher.receive_all_of("publish").len();
                assert_eq!(heard, usize::from(answer["type"] == "ack"), "{answer}");
            }
            taken += usize::from(answer["type"] == "ack");
        }
        assert!((1..4).contains(&taken), "{taken}");
        let history = "\"method\":\"room.history\",\"params\":{\"room_id\":\"den\"}";
        crowd.sinner.send(framed(profile, "rpc", history));
        assert_eq!(crowd.sinner.receive()["type"], "rpc");
        crowd.end();
    }
}

#[test]
fn numbers_and_marks_at_the_ends_of_their_range_are_taken_or_refused_but_harm_nobody() {
    let most = u64::MAX.to_string();
    let params = |method: &str, members: &str| {
        (
            "rpc",
            format!("\"method\":\"{method}\",\"params\":{{\"room_id\":\"den\",{members}}}"),
        )
    };
    let cases = [
        params("room.history", &format!("\"before\":{most}")),
        params("room.history", &format!("\"after\":{most}")),
        params("room.history", &format!("\"after\":{most},\"before\":0")),
        params(
            "room.history",
            &format!("\"cursor\":\"{most}\",\"limit\":{most}"),
        ),
        params("room.history", "\"before\":0,\"limit\":1"),
        params("room.members", &format!("\"limit\":{most}")),
        (
            "presence",
            format!("\"action\":\"query\",\"room_id\":\"den\",\"limit\":{most}"),
        ),
        (
            "presence",
            format!(
                "\"action\":\"query\",\"room_id\":\"den\",\"cursor\":\"{}\"",
                "x".repeat(9999)
            ),
        ),
        (
            "subscribe",
            format!("\"topic\":\"den\",\"recover\":{{\"epoch\":\"e\",\"offset\":{most}}}"),
        ),
    ];
    for profile in Profile::ALL {
        let crowd = Crowd::new(2, profile);
        let forget = |client: &crate::testing::Client| client.forget();
        crowd.sinner.send(framed(
            profile,
            "chat",
            "\"room_id\":\"den\",\"content\":\"hi\"",
        ));
        crowd.watchers.iter().for_each(forget);
        for (message_type, members) in &cases {
            crowd.sinner.forget();
            crowd.sinner.send(framed(profile, message_type, members));
            let answers: Vec<Value> = crowd.sinner.receive_all();
            assert!(!answers.is_empty(), "{members}");
            let is_internal = |answer: &Value| answer.to_string().contains("handler_error");
            assert!(!answers.iter().any(is_internal), "{members}: {answers:?}");
            crowd
                .watchers
                .iter()
                .for_each(|watcher| watcher.expect_nothing());
        }
        crowd.end();
    }
}
