//! Pages of a room's past, by `room.history`.

use serde_json::{Value, json};

use super::super::Namespace;
use super::persistence::{Lives, kept};
use super::{call, connect, v1};
use crate::testing::{Client, TestServer};

/// A server with a room `open` of 30 messages, and their identifiers, by offset from 1.
///
/// The room keeps `size` in memory, and all in the store if it persists.
fn filled(shards: u16, persists: bool, size: u32) -> (TestServer, Client, Vec<String>, Lives) {
    let mut namespace = Namespace {
        persist: persists,
        ..kept()
    };
    namespace.history.size = size;
    let mut lives = Lives::new(namespace);
    let server = lives.start(shards);
    let ann = v1(&server, "ann");
    let mut ids = vec![String::new()];
    for n in 1..=30 {
        ann.send(json!({"type": "publish", "id": n, "data": {"topic": "kept", "data": n}}));
        let ack = ann.expect("ack")["data"].clone();
        assert_eq!(ack["offset"], n);
        ids.push(ack["message_id"].as_str().unwrap().to_owned());
    }
    (server, ann, ids, lives)
}

/// The offsets of a page, and its cursor.
fn page(client: &Client, params: Value) -> (Vec<u64>, Value) {
    let mut all = json!({"room_id": "kept"});
    let params = params.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(params);
    let page = call(client, "room.history", all).unwrap();
    let messages = page["messages"].as_array().unwrap();
    let offset = |m: &Value| {
        assert_eq!(
            (&m["type"], &m["data"]["data"]),
            (&"publish".into(), &m["offset"])
        );
        m["offset"].as_u64().unwrap()
    };
    (
        messages.iter().map(offset).collect(),
        page["next_cursor"].clone(),
    )
}

fn offsets(range: std::ops::RangeInclusive<u64>) -> Vec<u64> {
    range.collect()
}

#[test]
fn pages_go_both_ways_by_offset_and_by_message() {
    // All in memory; some of it; hardly any; nothing, and the rest in the store.
    for (shards, persists, size) in [
        (2, false, 100),
        (1, true, 100),
        (2, true, 10),
        (2, true, 1),
        (3, true, 0),
    ] {
        let (server, ann, ids, _lives) = filled(shards, persists, size);
        let look = |params: Value| page(&ann, params);
        assert_eq!(look(json!({"limit": 10})).0, offsets(21..=30));
        for end in [json!(25), json!("25"), json!(ids[25])] {
            assert_eq!(look(json!({"before": end, "limit": 4})).0, offsets(21..=24));
            assert_eq!(look(json!({"after": end, "limit": 4})).0, offsets(26..=29));
            assert_eq!(look(json!({"after": end})).0, offsets(26..=30));
            assert_eq!(
                look(json!({"after": end, "before": 28})).0,
                offsets(26..=27)
            );
        }
        assert_eq!(
            look(json!({"before": ids[3]})),
            (offsets(1..=2), Value::Null)
        );
        assert_eq!(
            look(json!({"before": u64::MAX, "limit": 2})).0,
            offsets(29..=30)
        );
        assert_eq!(look(json!({"before": 1})), (Vec::new(), Value::Null));
        assert_eq!(look(json!({"after": 30})), (Vec::new(), Value::Null));
        let mut unknown = ids[7].clone();
        unknown.replace_range(..2, "ff");
        for name in ["before", "after"] {
            let params = json!({"room_id": "kept", name: unknown});
            assert_eq!(call(&ann, "room.history", params).unwrap_err(), "not_found");
        }
        server.end();
    }
}

#[test]
fn cursors_lead_through_all_of_it_and_end() {
    for (persists, size) in [(false, 100), (true, 100), (true, 10), (true, 7), (true, 0)] {
        let (server, ann, _, _lives) = filled(2, persists, size);
        for limit in [1, 7, 10, 30, 31] {
            let (mut seen, mut cursor) = (Vec::new(), Value::Null);
            loop {
                let (offsets, next) = page(&ann, json!({"limit": limit, "cursor": cursor}));
                seen.splice(..0, offsets);
                if next.is_null() {
                    break;
                }
                cursor = next;
            }
            assert_eq!(seen, offsets(1..=30), "back by {limit}, {size} in memory");
            let (mut seen, mut cursor) = (Vec::new(), Value::Null);
            loop {
                let params = json!({"after": 0, "limit": limit, "cursor": cursor});
                let (offsets, next) = page(&ann, params);
                seen.extend(offsets);
                if next.is_null() {
                    break;
                }
                cursor = next;
            }
            assert_eq!(seen, offsets(1..=30), "forth by {limit}, {size} in memory");
        }
        server.end();
    }
}

#[test]
fn a_page_ends_before_it_is_too_large_for_a_connection() {
    for (persists, size) in [(false, 100), (true, 100), (true, 0)] {
        let mut namespace = Namespace {
            persist: persists,
            ..kept()
        };
        namespace.history.size = size;
        let mut lives = Lives::new(namespace);
        let server = lives.start(2);
        let ann = v1(&server, "ann");
        let text = "x".repeat(30_000);
        for n in 1..=12 {
            ann.send(json!({"type": "publish", "id": n, "data": {"topic": "kept", "data": text}}));
            assert_eq!(ann.expect("ack")["data"]["offset"], n);
        }
        let (mut seen, mut cursor) = (Vec::new(), Value::Null);
        loop {
            let params = json!({"room_id": "kept", "cursor": cursor});
            let page = call(&ann, "room.history", params).unwrap();
            assert!(page.to_string().len() < 140_000);
            let messages = page["messages"].as_array().unwrap();
            assert!((1..=4).contains(&messages.len()));
            seen.splice(..0, messages.iter().map(|m| m["offset"].as_u64().unwrap()));
            if page["next_cursor"].is_null() {
                break;
            }
            cursor = page["next_cursor"].clone();
        }
        assert_eq!(seen, offsets(1..=12));
        server.end();
    }
}

#[test]
fn bytes_stand_in_a_page_as_base64() {
    for (persists, size) in [(false, 100), (true, 100), (true, 0)] {
        let mut namespace = Namespace {
            persist: persists,
            ..kept()
        };
        namespace.history.size = size;
        let mut lives = Lives::new(namespace);
        let server = lives.start(2);
        let ann = v1(&server, "ann");
        let envelope = br#"{"type":"publish","id":"b","data":{"topic":"kept","event":"blob"}}"#;
        let length = u16::try_from(envelope.len()).unwrap().to_be_bytes();
        let bytes = [&[1, 0][..], &length, envelope, b"\x00\xff\x01"].concat();
        ann.send(&bytes[..]);
        assert_eq!(ann.expect("ack")["data"]["offset"], 1);
        let page = call(&ann, "room.history", json!({"room_id": "kept"})).unwrap();
        let message = &page["messages"][0];
        assert_eq!(message["data"]["base64"], "AP8B", "{message}");
        assert_eq!(message["data"]["event"], "blob");
        server.end();
    }
}

#[test]
fn only_members_see_the_past() {
    let (server, _ann, _, _lives) = filled(2, true, 10);
    let eve = connect(&server, "/v1/connect", "eve");
    for room in ["kept", "kept-unheard-of"] {
        let code = call(&eve, "room.history", json!({"room_id": room})).unwrap_err();
        assert_eq!(
            code,
            if room == "kept" {
                "not_subscribed"
            } else {
                "not_found"
            }
        );
    }
    server.end();
}
