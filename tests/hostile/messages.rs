//! Bad messages to the realtime application: what the unit tests prove for every member of every
//! type, here for some of them over real sockets.

use std::sync::Arc;

use campanile::Server;
use campanile::auth::Gate;
use campanile::realtime::protocol::Profile;
use campanile::realtime::{LimitOptions, Realtime, RealtimeOptions};
use campanile::shard::Options;
use campanile::ws::Opcode;
use serde_json::Value;

use crate::support::{Client, Raw, Site, frame_of};

/// Largest message, bytes: room for 100,000 levels.
const BYTES_MAX: usize = 1 << 20;

fn site(shards: usize, limits: LimitOptions) -> Site<Realtime> {
    let options = RealtimeOptions {
        limits,
        ..RealtimeOptions::default()
    };
    let gate = Arc::new(Gate::trusting());
    let server = Server::new(move |_| Realtime::new(options.clone()).with_gate(gate.clone()));
    let core = Options {
        message_bytes_max: BYTES_MAX,
        ..Options::default()
    };
    Site::start(server.shards(shards).options(core))
}

fn target(user: &str, profile: Profile) -> String {
    format!("/v1/connect?user_id={user}&profile={profile}")
}

/// One listener of each profile, in the room `den`, who has heard nothing yet.
fn listeners(site: &Site<Realtime>) -> Vec<Client> {
    let enter = |profile: &Profile| {
        let mut client = Client::open(site.address, &target(&profile.to_string(), *profile));
        client.hear();
        client.ask(r#"{"type":"subscribe","id":1,"topic":"den"}"#);
        client
    };
    Profile::ALL.iter().map(enter).collect()
}

/// The first that the listeners hear is this chat: nothing came before it.
fn hear_first(listeners: &mut [Client], text: &str) {
    for listener in listeners {
        let heard = listener.hear();
        assert!(
            heard.contains("\"chat\"") && heard.contains(text),
            "{heard}"
        );
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn bad_messages_are_answered_and_relayed_to_nobody() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let cases = [
        (
            r#"{"type":"chat","id":1,"room_id":"den"}"#.to_owned(),
            "invalid_message",
        ),
        (
            r#"{"type":"chat","id":1,"room_id":"den","content":7}"#.to_owned(),
            "invalid_message",
        ),
        (
            r#"{"type":"chat","room_id":"den","content":"\ud800"}"#.to_owned(),
            "invalid_json",
        ),
        (
            r#"{"type":"chat","room_id":"den","content":"a"} b"#.to_owned(),
            "invalid_json",
        ),
        (
            r#"{"type":"chat","room_id":"den","content":"a""#.to_owned(),
            "invalid_json",
        ),
        (
            r#"{"type":"chat","id":1,"room_id":"den","room\u005fid":"den","content":"a"}"#
                .to_owned(),
            "invalid_message",
        ),
        (
            "{\"type\":\"chat\",\"room_id\":\"den\",\"content\":\"\0\"}".to_owned(),
            "invalid_json",
        ),
        (
            format!(r#"{{"type":"chat","room_id":"den","content":{deep}}}"#),
            "invalid_json",
        ),
        (
            format!(r#"{{"type":"publish","topic":"den","data":{deep}}}"#),
            "invalid_json",
        ),
        (
            format!(
                r#"{{"type":"publish","id":1,"topic":"{}","data":[]}}"#,
                "x".repeat(257)
            ),
            "invalid_message",
        ),
        (
            r#"{"type":"publish","id":1,"topic":"den"}"#.to_owned(),
            "invalid_message",
        ),
        (
            r#"{"type":"typing","id":1,"room_id":"den","is_typing":1e999}"#.to_owned(),
            "invalid_message",
        ),
        (
            r#"{"type":"teleport","id":1,"room_id":"den"}"#.to_owned(),
            "unknown_type",
        ),
        (
            r#"{"type":["chat"],"id":1,"room_id":"den"}"#.to_owned(),
            "invalid_message",
        ),
    ];
    for shards in [1, 2] {
        let site = site(shards, LimitOptions::without_rates());
        let mut listeners = listeners(&site);
        for profile in Profile::ALL {
            let mut sinner = Client::open(site.address, &target("sinner", profile));
            sinner.hear();
            sinner.ask(r#"{"type":"subscribe","id":1,"topic":"den"}"#);
            for (message, code) in &cases {
                let error = parsed(&sinner.ask(message));
                let places = ["data", "message"]
                    .iter()
                    .filter_map(|name| error.get(name));
                let payload = places.fold(&error, |_, place| place);
                assert_eq!(
                    (&error["type"], &payload["code"]),
                    (&"error".into(), &(*code).into())
                );
                let has_id = *code != "invalid_json";
                assert_eq!(error.get("id").is_some(), has_id, "{error}");
            }
            let words = format!("of {profile}");
            sinner.say(&format!(
                r#"{{"type":"chat","room_id":"den","content":"{words}"}}"#
            ));
            hear_first(&mut listeners, &words);
        }
        drop(listeners);
        site.wait_until_empty();
    }
}

#[test]
fn text_that_is_no_utf_8_closes_1007_and_reaches_nobody() {
    let site = site(2, LimitOptions::without_rates());
    let mut listeners = listeners(&site);
    let good = r#"{"type":"chat","room_id":"den","content":"?"}"#.as_bytes();
    // A byte that nothing begins with, an overlong slash, a surrogate, half a character.
    for bad in [&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\xe2\x82"] {
        for at in [0, good.len() - 3, good.len()] {
            let mut raw = Raw::open(site.address, &target("sinner", Profile::V1));
            raw.hear();
            let bytes = [&good[..at], bad, &good[at..]].concat();
            raw.write(&frame_of(Opcode::Text, &bytes));
            // What stands behind it in the same segment is not read.
            raw.write(&frame_of(Opcode::Text, good));
            assert_eq!(raw.closed().0, 1007);
        }
    }
    listeners[0].say(r#"{"type":"chat","room_id":"den","content":"fine"}"#);
    hear_first(&mut listeners[1..], "fine");
    drop(listeners);
    site.wait_until_empty();
}

#[test]
fn who_sends_too_much_or_too_fast_is_closed_and_harms_nobody() {
    let limits = LimitOptions {
        messages_per_second: 1,
        burst: 5,
        ..LimitOptions::default()
    };
    let site = site(2, limits);
    let mut listeners = listeners(&site);
    let mut raw = Raw::open(site.address, &target("fast", Profile::Flat));
    raw.hear();
    let flood: Vec<u8> = (0..25)
        .flat_map(|_| frame_of(Opcode::Text, br#"{"type":"ping"}"#))
        .collect();
    raw.write(&flood);
    for number in 0..25 {
        let answer = parsed(&raw.hear());
        let is_refused = answer["code"] == "rate_limited";
        assert_eq!(is_refused, number >= 5, "{number}: {answer}");
    }
    let (code, reason) = raw.closed();
    assert_eq!(code, 4529);
    assert!(reason.contains("retry_in_ms="), "{reason}");

    let mut raw = Raw::open(site.address, &target("large", Profile::Flat));
    raw.hear();
    // Its header says enough.
    raw.write(&frame_of(Opcode::Text, &vec![b'x'; BYTES_MAX + 1])[..20]);
    assert_eq!(raw.closed().0, 1009);
    listeners[0].say(r#"{"type":"chat","room_id":"den","content":"fine"}"#);
    hear_first(&mut listeners[1..], "fine");
    drop(listeners);
    site.wait_until_empty();
}
