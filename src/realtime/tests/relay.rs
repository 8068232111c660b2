//! Whatever somebody sends: what reaches others is JSON to its end, and says under the server's names
//! what the server says.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::crowd::{Crowd, framed};
use crate::realtime::protocol::{Members, Profile};
use crate::testing::Received;

/// Names under which the server writes somewhere, as a liar would fill them.
const FORGED: &str = "\"user_id\":\"liar\",\"us\\u0065r_id\":\"liar\",\"sender_id\":\"liar\",\
    \"message_id\":\"liar\",\"m\\u0065ssage_id\":\"liar\",\"timestamp\":\"liar\",\"sent_at\":\"liar\",\
    \"offset\":\"liar\",\"epoch\":\"liar\",\"recipients\":\"liar\"";

/// What comes from a user, by type, and whether it has a place in the room's order.
const RELAYED: [(&str, bool); 4] = [
    ("chat", true),
    ("publish", true),
    ("typing", false),
    ("presence", false),
];

/// How often an object's text has a name, however it is spelled there.
fn count(object: &str, name: &str) -> usize {
    let members = Members::parse(object).expect("an object");
    members.filter(|member| member.is(name)).count()
}

/// What another parser makes of a text; `Null` for numbers beyond a double, which pass.
fn parsed(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) if error.to_string().starts_with("number out of range") => Value::Null,
        Err(error) => panic!("{error}: {text}"),
    }
}

/// Checks one frame that a listener of `profile` got because of what `sinner` sent.
fn check(profile: Profile, text: &str) {
    let frame = parsed(text);
    if frame.is_null() {
        return;
    }
    let message_type = frame["type"].as_str().expect("a frame has a type");
    let Some((_, is_ordered)) = RELAYED.iter().find(|(known, _)| *known == message_type) else {
        return;
    };
    let (place, names) = match (profile, message_type) {
        (Profile::Message, "chat") => {
            ("message", ["message_id", "chat_id", "sender_id", "sent_at"])
        }
        (Profile::Message, _) => ("message", ["message_id", "chat_id", "user_id", "timestamp"]),
        _ => ("", ["id", "room_id", "user_id", "timestamp"]),
    };
    // As it stands in the text: a name that stands twice is no less forged for the second.
    let within = Members::parse(text)
        .expect("an object")
        .find(|member| member.is(place));
    let (object, raw) = match &within {
        Some(within) => (&frame[place], within.raw()),
        None => (&frame, text),
    };
    let [id, room, user, time] = names.map(|name| &object[name]);
    // A snapshot, a count and a leave are the server's own words.
    if message_type == "presence" && user.is_null() {
        return;
    }
    assert_eq!((user, room), (&json!("sinner"), &json!("den")), "{text}");
    assert!(
        time.as_str().unwrap().starts_with("2026-11-21T02:"),
        "{text}"
    );
    assert_eq!(
        id.as_str().map(str::len),
        is_ordered.then_some(36),
        "{text}"
    );
    for name in names {
        let times = count(raw, name);
        assert!(times <= 1, "{name} stands {times} times: {text}");
    }
    // The envelope has each of its members once, whatever the payload is.
    for name in [
        "type",
        "id",
        "room_id",
        "user_id",
        "timestamp",
        "offset",
        "epoch",
        "data",
        "message",
    ] {
        let is_payload = profile == Profile::Flat && matches!(name, "data" | "message");
        assert!(is_payload || count(text, name) <= 1, "{name}: {text}");
    }
    if matches!(profile, Profile::V1 | Profile::Room) && *is_ordered {
        assert!(frame["offset"].is_u64(), "{text}");
    }
}

/// Checks all that has come to the listeners, and says how much it was.
fn check_all(crowd: &Crowd) -> [usize; 4] {
    let mut counts = [0; 4];
    for ((watcher, profile), count) in crowd.watchers.iter().zip(Profile::ALL).zip(&mut counts) {
        while let Some(received) = watcher.try_receive_raw() {
            *count += 1;
            match received {
                Received::Text(text) => check(profile, &text),
                Received::Binary(bytes) => {
                    let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
                    check(profile, std::str::from_utf8(&bytes[4..4 + length]).unwrap());
                }
            }
        }
    }
    counts
}

#[test]
fn req_1_12_nobody_speaks_in_the_servers_name() {
    for profile in Profile::ALL {
        let crowd = Crowd::new(2, profile);
        for (message_type, members) in [
            ("chat", "\"room_id\":\"den\",\"content\":\"hi\""),
            ("chat", "\"room_id\":\"den\",\"body\":\"hi\""),
            (
                "publish",
                "\"topic\":\"den\",\"event\":\"e\",\"data\":[1e999]",
            ),
            ("typing", "\"room_id\":\"den\",\"is_typing\":true"),
            (
                "presence",
                "\"room_id\":\"den\",\"action\":\"update\",\"info\":{\"user_id\":\"x\"}",
            ),
        ] {
            let forged = [
                framed(profile, message_type, &format!("{members},{FORGED}")),
                framed(profile, message_type, &format!("{FORGED},{members}")),
                framed(profile, message_type, members).replacen('{', &format!("{{{FORGED},"), 1),
            ];
            for frame in forged {
                crowd.sinner.send(&frame);
                crowd.sinner.forget();
                let counts = check_all(&crowd);
                // Typing is told once a second.
                assert!(
                    counts == [1; 4] || message_type == "typing",
                    "{counts:?} {frame}"
                );
            }
        }
        let envelope = framed(profile, "publish", &format!("\"topic\":\"den\",{FORGED}"));
        let length = u16::try_from(envelope.len()).unwrap().to_be_bytes();
        crowd
            .sinner
            .send([&[1, 0], &length[..], envelope.as_bytes(), b"\xff"].concat());
        let is_refused = crowd.sinner.receive()["type"] == "error";
        assert_eq!(check_all(&crowd), [usize::from(!is_refused); 4]);
        crowd.end();
    }
}

#[test]
fn a_request_and_its_notification_name_who_really_sent_them() {
    for profile in Profile::ALL {
        let crowd = Crowd::new(2, profile);
        let request = format!("\"receiver_id\":\"flat\",\"request_id\":\"r\",{FORGED}");
        crowd
            .sinner
            .send(framed(profile, "request-notification", &request));
        let got = crowd.watchers[3].receive();
        let place = ["data", "message"]
            .iter()
            .find_map(|name| got.get(name))
            .unwrap_or(&got);
        assert_eq!(place["sender_id"], "sinner", "{got}");
        crowd.end();
    }
}

/// One of many small harms.
#[derive(Clone, Debug)]
enum Harm {
    Put(u8),
    Insert(usize),
    Delete(usize),
    Double(usize),
}

const TOKENS: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    ",",
    ":",
    "\\",
    "\\ud800",
    "\\udc00",
    "\\u0000",
    "\0",
    "\u{7f}",
    "1e999",
    "-0",
    "null",
    "\"user_id\":\"liar\",",
    "\"sender_id\":\"liar\",",
    "\"message_id\":\"liar\",",
    "\"type\":\"chat\",",
    "\"data\":{",
    "\"message\":{",
    "\"room_id\":\"den\",",
    "\"timestamp\":\"liar\",",
];

fn harms() -> impl Strategy<Value = Vec<(prop::sample::Index, Harm)>> {
    let harm = prop_oneof![
        any::<u8>().prop_map(Harm::Put),
        (0..TOKENS.len()).prop_map(Harm::Insert),
        (1usize..12).prop_map(Harm::Delete),
        (1usize..40).prop_map(Harm::Double),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), harm), 0..5)
}

fn harmed(mut bytes: Vec<u8>, harms: &[(prop::sample::Index, Harm)]) -> Vec<u8> {
    for (at, harm) in harms {
        let at = at.index(bytes.len() + 1);
        let upto = |length: usize| (at + length).min(bytes.len());
        match *harm {
            Harm::Put(byte) => {
                let end = upto(1);
                bytes.splice(at..end, [byte]);
            }
            Harm::Insert(token) => {
                bytes.splice(at..at, TOKENS[token].bytes());
            }
            Harm::Delete(length) => {
                let end = upto(length);
                bytes.drain(at..end);
            }
            Harm::Double(length) => {
                let part = bytes[at..upto(length)].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
}

/// Good messages, all of which reach somebody.
const GOOD: [(&str, &str); 8] = [
    (
        "chat",
        "\"room_id\":\"den\",\"content\":\"hi\",\"client_message_id\":\"c\"",
    ),
    (
        "chat",
        "\"room_id\":\"den\",\"text\":\"h\\u0069\",\"n\":[1,{\"a\":null}]",
    ),
    (
        "chat",
        "\"chat_id\":\"den\",\"body\":{\"user_id\":\"liar\"}",
    ),
    (
        "publish",
        "\"topic\":\"den\",\"event\":\"tick\",\"echo\":true,\"data\":{\"n\":[1.5e3,\"x\"]}",
    ),
    (
        "publish",
        "\"channel\":\"den\",\"key\":\"k\",\"data\":\"text\"",
    ),
    ("typing", "\"room_id\":\"den\",\"is_typing\":true"),
    (
        "presence",
        "\"action\":\"update\",\"room_id\":\"den\",\"info\":{\"name\":\"Ann\"}",
    ),
    (
        "subscribe",
        "\"topic\":\"den\",\"info\":{\"a\":1},\"recover\":{\"epoch\":\"e\",\"offset\":1}",
    ),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_harm_to_a_message_harms_those_who_listen(
        profile in prop::sample::select(&Profile::ALL[..]),
        sent in prop::collection::vec((0..GOOD.len(), any::<bool>(), any::<bool>(), harms()), 1..40),
    ) {
        let crowd = Crowd::new(2, profile);
        for (good, is_binary, is_batch, harms) in sent {
            let (message_type, members) = GOOD[good];
            let mut text = framed(profile, message_type, members);
            if is_batch {
                text = format!("[{text},{text}]");
            }
            if is_binary {
                let length = u16::try_from(text.len()).unwrap().to_be_bytes();
                let bytes = [&[1, 0], &length[..], text.as_bytes(), b"\xff"].concat();
                crowd.sinner.send(harmed(bytes, &harms));
            } else {
                let bytes = harmed(text.into_bytes(), &harms);
                crowd.sinner.send(String::from_utf8_lossy(&bytes).into_owned());
            }
            crowd.sinner.forget();
            crowd.sinner.send(r#"{"type":"ping","id":"alive"}"#);
            prop_assert_eq!(&crowd.sinner.receive()["id"], "alive");
            check_all(&crowd);
        }
        for shard in 0..2 {
            prop_assert_eq!(crowd.server.app(shard).stats().counts.handler_panics, 0);
            prop_assert_eq!(crowd.server.app(shard).stats().counts.handler_errors, 0);
        }
        crowd.end();
    }
}
