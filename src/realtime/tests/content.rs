//! What the text of a chat may be: by the namespace's rules and by a filter, wherever it stands.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::handlers::Chat;
use super::super::{
    ContentFilter, ContentOptions, ControlCharacters, LimitOptions, Namespace, RealtimeOptions,
    Verdict,
};
use super::crowd::{Crowd, framed};
use super::trusting;
use crate::realtime::protocol::Profile;

/// Rooms `short` take five characters, `strip` and `reject` no control characters, others anything.
fn options() -> RealtimeOptions {
    let namespace = |pattern: &str, chars_max, control_characters| Namespace {
        pattern: pattern.into(),
        content: ContentOptions {
            chars_max,
            control_characters,
        },
        ..Namespace::default()
    };
    RealtimeOptions {
        namespaces: vec![
            namespace("short*", 5, ControlCharacters::Strip),
            namespace("strip*", 0, ControlCharacters::Strip),
            namespace("reject*", 0, ControlCharacters::Reject),
        ],
        limits: LimitOptions::without_rates(),
        ..trusting()
    }
}

/// A crowd in which everybody is in that room as well.
fn crowd_in(room: &str, profile: Profile, filter: bool) -> Crowd {
    let crowd = Crowd::with(2, profile, options(), move |app| {
        if filter {
            app.with(Chat::filter(Whims))
        } else {
            app
        }
    });
    let topic = format!("\"topic\":\"{room}\"");
    for (watcher, profile) in crowd.watchers.iter().zip(Profile::ALL) {
        watcher.send(framed(profile, "subscribe", &topic));
    }
    crowd.sinner.send(framed(profile, "subscribe", &topic));
    crowd.server.forget();
    crowd
}

/// What the readers see of a chat, all the same.
#[track_caller]
fn heard(crowd: &Crowd) -> Option<Value> {
    let texts: Vec<_> = crowd
        .watchers
        .iter()
        .map(|watcher| {
            let mut all = watcher.receive_all();
            let frame = all.pop()?;
            assert_eq!((all.len(), &frame["type"]), (0, &json!("chat")), "{frame}");
            let mut places = ["data", "message"]
                .iter()
                .filter_map(|name| frame.get(name));
            let payload = places.find(|place| place.is_object()).unwrap_or(&frame);
            let mut texts = ["content", "text", "message"]
                .iter()
                .filter_map(|name| payload.get(name));
            texts
                .find(|text| text.is_string())
                .or(Some(payload))
                .cloned()
        })
        .collect();
    crowd.sinner.forget();
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
    texts[0].clone()
}

/// Chats with this text under each of its names, and as plain text where that is one.
fn chats(profile: Profile, room: &str, text: &str) -> Vec<String> {
    let text = Value::from(text).to_string();
    let names = ["content", "text", "c\\u006fntent", "message"];
    names
        .iter()
        .map(|name| {
            framed(
                profile,
                "chat",
                &format!("\"room_id\":\"{room}\",\"{name}\":{text}"),
            )
        })
        .collect()
}

#[test]
fn req_3_10_control_characters_pass_or_go_or_stop_the_chat_in_every_profile() {
    let text = "a\u{1b}[31mb\u{202e}\u{7f}\r\n";
    for profile in Profile::ALL {
        for (room, expected) in [
            ("allow", Some(text)),
            ("strip", Some("a[31mb\r\n")),
            ("reject", None),
        ] {
            let crowd = crowd_in(room, profile, false);
            for chat in chats(profile, room, text) {
                match expected {
                    Some(expected) => {
                        crowd.sinner.send(chat);
                        assert_eq!(heard(&crowd), Some(expected.into()), "{profile} {room}");
                    }
                    None => crowd.is_refused(&chat, "invalid_message"),
                }
            }
            let refused = if expected.is_none() { 4 } else { 0 };
            assert_eq!(content_refused(&crowd), refused);
            crowd.end();
        }
    }
}

fn content_refused(crowd: &Crowd) -> u64 {
    let shards = 0..crowd.server.shard_count();
    shards
        .map(|shard| crowd.server.app(shard).stats().counts.content_refused)
        .sum()
}

#[test]
fn req_3_10_a_text_has_so_many_characters_once_what_goes_is_gone() {
    for profile in Profile::ALL {
        let crowd = crowd_in("short", profile, false);
        for (text, expected) in [("äöüß😀", "äöüß😀"), ("\0a\0b\0c\0d\0e\0", "abcde")] {
            for chat in chats(profile, "short", text) {
                crowd.sinner.send(chat);
                assert_eq!(heard(&crowd), Some(expected.into()));
            }
        }
        for text in ["abcdef", "😀😀😀😀😀😀", "\0\u{7f}\u{9f}", "\u{202e}"] {
            for chat in chats(profile, "short", text) {
                crowd.is_refused(&chat, "invalid_message");
            }
        }
        // A payload without a text is shown as JSON, and that is what must not be too long.
        let whole = framed(profile, "chat", "\"room_id\":\"short\",\"body\":\"abcdef\"");
        crowd.is_refused(&whole, "invalid_message");
        let whole = framed(
            profile,
            "chat",
            "\"room_id\":\"reject\",\"body\":\"a\u{7f}\"",
        );
        crowd.is_refused(&whole, "invalid_message");
        assert_eq!(content_refused(&crowd), 4 * 4 + 2);
        crowd.end();
    }
}

#[test]
fn a_payload_that_is_stripped_says_nothing_under_the_names_of_the_server() {
    for profile in Profile::ALL {
        let crowd = crowd_in("strip", profile, false);
        let members = "\"room_id\":\"strip\",\"message\u{7f}_id\":1,\"sender\u{202e}_id\":2,\"body\":\"a\u{7f}b\"";
        crowd.sinner.send(framed(profile, "chat", members));
        for (watcher, profile) in crowd.watchers.iter().zip(Profile::ALL) {
            let frame = watcher.receive();
            watcher.expect_nothing();
            let said = match profile {
                Profile::V1 | Profile::Room => frame["data"].clone(),
                Profile::Message => {
                    serde_json::from_str(frame["message"]["content"].as_str().unwrap()).unwrap()
                }
                Profile::Flat => serde_json::from_str(frame["content"].as_str().unwrap()).unwrap(),
            };
            assert_eq!(said, json!({"body": "ab"}), "{frame}");
        }
        crowd.end();
    }
}

#[test]
fn plain_text_keeps_to_the_rules_too() {
    let mut options = options();
    for route in &mut options.routes {
        route.room = Some("short".into());
    }
    let crowd = Crowd::with(2, Profile::Flat, options, |app| app);
    crowd.sinner.send("a\u{7f}b");
    let topic = "\"topic\":\"short\"";
    crowd.watchers[0].send(framed(Profile::V1, "subscribe", topic));
    crowd.server.forget();
    crowd.sinner.send("c\u{7f}d");
    assert_eq!(crowd.watchers[0].expect("chat")["data"]["content"], "cd");
    crowd.server.forget();
    crowd.is_refused_without_id("too long", "invalid_message");
    crowd.is_refused_without_id("\u{7f}", "invalid_message");
    crowd.server.end();
}

/// Has an opinion about some words.
struct Whims;

impl ContentFilter for Whims {
    fn check(&mut self, room: &str, user: &str, text: &str) -> Verdict {
        assert!(!text.contains("panic"), "as asked");
        assert_eq!(user, "sinner");
        match text {
            "refuse" => Verdict::Refuse("not nice".into()),
            "replace" => Verdict::Replace(format!("*** in {room}")),
            "empty" => Verdict::Replace(String::new()),
            whole if whole.contains("\"body\":\"replace\"") => Verdict::Replace("***".into()),
            whole if whole.contains("\"body\":\"refuse\"") => Verdict::Refuse("nor this".into()),
            _ => Verdict::Pass,
        }
    }
}

#[test]
fn a_filter_passes_replaces_or_refuses_and_its_panic_harms_nobody() {
    for profile in Profile::ALL {
        let crowd = crowd_in("den", profile, true);
        let table = [
            ("pass", Ok("pass")),
            ("replace", Ok("*** in den")),
            ("refuse", Err("invalid_message")),
            ("empty", Err("invalid_message")),
            ("panic", Err("handler_error")),
        ];
        for (text, expected) in table {
            for chat in chats(profile, "den", text) {
                match expected {
                    Ok(expected) => {
                        crowd.sinner.send(chat);
                        assert_eq!(heard(&crowd), Some(expected.into()), "{profile} {text}");
                    }
                    Err(code) => crowd.is_refused(&chat, code),
                }
            }
        }
        let whole = |body: &str| {
            framed(
                profile,
                "chat",
                &format!("\"room_id\":\"den\",\"body\":\"{body}\""),
            )
        };
        crowd.sinner.send(whole("replace"));
        assert_eq!(heard(&crowd), Some("***".into()));
        crowd.is_refused(&whole("refuse"), "invalid_message");
        crowd.is_refused(&whole("panic"), "handler_error");
        assert_eq!(content_refused(&crowd), 2 * 4 + 1);
        let panics = |shard| crowd.server.app(shard).stats().counts.handler_panics;
        assert_eq!(panics(0) + panics(1), 4 + 1);
        crowd.server.end();
    }
}

#[test]
fn what_a_filter_is_shown_has_been_stripped_and_its_own_words_are_not() {
    struct Echo;
    impl ContentFilter for Echo {
        fn check(&mut self, _: &str, _: &str, text: &str) -> Verdict {
            Verdict::Replace(format!("{text}\u{7f}, and much more"))
        }
    }
    let crowd = Crowd::with(1, Profile::V1, options(), |app| {
        app.with(Chat::filter(Echo))
    });
    crowd.watchers[0].send(framed(Profile::V1, "subscribe", "\"topic\":\"short\""));
    crowd.server.forget();
    crowd.sinner.send(framed(
        Profile::V1,
        "chat",
        "\"room_id\":\"short\",\"text\":\"a\\u007fb\",\"n\":1",
    ));
    let heard = crowd.watchers[0].expect("chat");
    assert_eq!(
        heard["data"],
        json!({"text": "ab\u{7f}, and much more", "n": 1})
    );
    crowd.server.advance(Duration::from_secs(1));
    crowd.server.end();
}
