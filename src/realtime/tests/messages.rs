use serde_json::Value;

use super::super::{LimitOptions, RealtimeOptions};
use super::world::World;
use super::{trusting, world};

const NOTHING: [Value; 0] = [];

#[test]
fn a_chat_goes_to_the_others_and_not_to_its_sender() {
    for shards in [1, 2, 3] {
        let mut world = world(shards);
        let (ann, ann_too, bob) = (world.enter("ann"), world.enter("ann"), world.enter("bob"));
        world.forget();
        world.say(
            ann,
            r#"{"type":"chat","content":"hi \u00e9","mood":[1,{"a":null}]}"#,
        );
        assert_eq!(world.all(ann), NOTHING);
        let heard = world.all(bob);
        assert_eq!(heard.len(), 1);
        assert_eq!(heard[0]["type"], "chat");
        assert_eq!(heard[0]["room_id"], "lobby");
        assert_eq!(heard[0]["user_id"], "ann");
        assert_eq!(heard[0]["content"], "hi é");
        assert_eq!(heard[0]["mood"], serde_json::json!([1, {"a": null}]));
        assert_eq!(heard[0]["id"].as_str().unwrap().len(), 36);
        assert_eq!(
            world.all(ann_too),
            heard,
            "another tab of the sender hears it"
        );
        world.end();
    }
}

#[test]
fn echo_to_sender_includes_the_sender() {
    let options = RealtimeOptions {
        echo_to_sender: true,
        ..trusting()
    };
    let mut world = World::new(2, options, |app| app);
    let ann = world.enter("ann");
    world.forget();
    world.say(ann, r#"{"type":"chat","content":"hi"}"#);
    assert_eq!(world.next(ann)["content"], "hi");
    world.end();
}

#[test]
fn plain_text_is_a_chat() {
    let mut world = world(1);
    let (ann, bob) = (world.enter("ann"), world.enter("bob"));
    world.forget();
    world.say(ann, "hello \"there\"\n");
    let heard = world.next(bob);
    assert_eq!(
        (&heard["type"], &heard["content"]),
        (&"chat".into(), &"hello \"there\"\n".into())
    );
    world.end();
}

#[test]
fn members_of_the_server_are_not_the_clients_to_set() {
    let mut world = world(1);
    let (ann, bob) = (world.enter("ann"), world.enter("bob"));
    world.forget();
    world.say(
        ann,
        r#"{"type":"chat","content":"hi","user_id":"bob","timestamp":"1970","id":"mine",
            "message_id":"m","sender_id":"bob","sent_at":"1970","offset":1,"epoch":"e"}"#,
    );
    let heard = world.next(bob);
    assert_eq!(heard["user_id"], "ann");
    assert_eq!(heard["timestamp"], "2026-11-21T02:00:00.000Z");
    assert_ne!(heard["id"], "mine");
    let names: Vec<_> = heard
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        names,
        ["content", "id", "room_id", "timestamp", "type", "user_id"]
    );
    world.end();
}

#[test]
fn a_chats_text_may_have_another_name_and_must_be_there() {
    let mut world = world(1);
    let (ann, bob) = (world.enter("ann"), world.enter("bob"));
    world.forget();
    for chat in [
        r#"{"type":"chat","message":"hi"}"#,
        r#"{"type":"chat","data":{"text":"hi"},"room_id":"lobby"}"#,
        r#"{"type":"chat","content":null,"text":"hi"}"#,
        r#"{"type":"chat","message":{"chat_id":"lobby","content":"hi"}}"#,
    ] {
        world.say(ann, chat);
        let heard = world.next(bob);
        assert_eq!(heard["content"], "hi", "{chat}");
        assert_eq!(heard.as_object().unwrap().len(), 6, "{heard}");
    }
    for chat in [
        r#"{"type":"chat"}"#,
        r#"{"type":"chat","content":7}"#,
        r#"{"type":"chat","content":""}"#,
        r#"{"type":"chat","content":"a","content":"b"}"#,
    ] {
        world.say(ann, chat);
        let refused = world.next(ann);
        assert_eq!(refused["code"], "invalid_message", "{chat}");
        assert_eq!(refused["ref_type"], "chat");
        assert_eq!(world.all(bob), NOTHING);
    }
    world.end();
}

#[test]
fn what_begins_like_json_and_is_not_is_refused() {
    let mut world = world(1);
    let (ann, bob) = (world.enter("ann"), world.enter("bob"));
    world.forget();
    for text in [
        r#"{"type":"chat","content":"hi""#,
        r#"{"type":"chat","content":"hi"} x"#,
        r#"{"type":"chat","content":"\ud800"}"#,
        r#"[{"type":"chat","content":"hi"}"#,
    ] {
        world.say(ann, text);
        assert_eq!(world.next(ann)["code"], "invalid_json", "{text}");
    }
    assert_eq!(world.all(bob), NOTHING);
    assert_eq!(world.app(0).stats().counts.refused, 4);
    world.end();
}

#[test]
fn a_binary_message_is_refused_and_the_connection_lives() {
    let mut world = world(1);
    let ann = world.enter("ann");
    world.say_bytes(ann, b"\x01\x00");
    assert_eq!(world.next(ann)["code"], "invalid_message");
    world.say(ann, r#"{"type":"ping"}"#);
    assert_eq!(world.next(ann)["type"], "pong");
    world.end();
}

#[test]
fn ping_and_heartbeat_are_answered_with_their_id() {
    let mut world = world(1);
    let ann = world.enter("ann");
    world.say(ann, r#"{"type":"ping","id":"8"}"#);
    let pong = world.next(ann);
    assert_eq!((&pong["type"], &pong["id"]), (&"pong".into(), &"8".into()));
    assert_eq!(pong["timestamp"], "2026-11-21T02:00:00.000Z");
    world.say(ann, r#"{"type":"heartbeat","id":9}"#);
    let beat = world.next(ann);
    assert_eq!(
        (&beat["type"], &beat["id"]),
        (&"heartbeat".into(), &9.into())
    );
    world.end();
}

#[test]
fn an_unknown_type_is_told_so() {
    let mut world = world(1);
    let ann = world.enter("ann");
    world.say(ann, r#"{"type":"teleport","id":"x"}"#);
    let refused = world.next(ann);
    assert_eq!(refused["type"], "error");
    assert_eq!(refused["code"], "unknown_type");
    assert_eq!(
        (&refused["id"], &refused["ref_type"]),
        (&"x".into(), &"teleport".into())
    );
    world.end();
}

#[test]
fn a_batch_is_handled_in_order_and_each_message_by_itself() {
    let mut world = world(2);
    let (ann, bob) = (world.enter("ann"), world.enter("bob"));
    world.forget();
    world.say(
        ann,
        r#"[{"type":"chat","content":"1"},{"type":"teleport","id":2},7,
            {"type":"chat","content":"3"},{"type":"ping","id":4}]"#,
    );
    let heard: Vec<_> = world
        .all(bob)
        .iter()
        .map(|m| m["content"].clone())
        .collect();
    assert_eq!(heard, ["1", "3"]);
    let answers = world.all(ann);
    assert_eq!(answers[0]["code"], "unknown_type");
    assert_eq!(answers[1]["code"], "invalid_message");
    assert_eq!(answers[2]["type"], "pong");
    let long = format!("[{}]", vec![r#"{"type":"ping"}"#; 65].join(","));
    world.say(ann, &long);
    let refused = world.all(ann);
    assert_eq!(refused.len(), 1, "none of it counts");
    assert_eq!(
        (&refused[0]["code"], &refused[0]["details"]["limit"]),
        (&"invalid_message".into(), &64.into())
    );
    world.end();
}

#[test]
fn all_members_see_a_rooms_messages_in_one_order() {
    let mut world = world(3);
    let room = world.at_home("room", 1);
    let users: Vec<_> = (0..3).map(|shard| world.at_home("user", shard)).collect();
    let clients: Vec<_> = users.iter().map(|user| world.enter(user)).collect();
    let chat = |text: &str| format!(r#"{{"type":"chat","room_id":"{room}","content":"{text}"}}"#);
    for client in &clients {
        world.say(*client, &chat("here"));
    }
    let watcher = world.enter("watcher");
    world.say(watcher, &chat("here"));
    let watcher_too = world.enter("watcher-2");
    world.say(watcher_too, &chat("here"));
    world.forget();
    for round in 0..5 {
        for (number, client) in clients.iter().enumerate() {
            world.say_only(*client, &chat(&format!("{number}.{round}")));
        }
    }
    world.run();
    let content = |messages: Vec<Value>| -> Vec<String> {
        let text = |m: &Value| m["content"].as_str().map(str::to_owned);
        messages.iter().filter_map(text).collect()
    };
    let seen = content(world.all(watcher));
    assert_eq!(seen.len(), 15);
    assert_eq!(content(world.all(watcher_too)), seen);
    for (number, client) in clients.iter().enumerate() {
        let own = format!("{number}.");
        let others: Vec<_> = seen
            .iter()
            .filter(|s| !s.starts_with(&own))
            .cloned()
            .collect();
        assert_eq!(content(world.all(*client)), others);
        let sent: Vec<_> = seen
            .iter()
            .filter(|s| s.starts_with(&own))
            .cloned()
            .collect();
        assert!(sent.is_sorted(), "a sender's own order is kept: {sent:?}");
    }
    world.end();
}

#[test]
fn a_chat_joins_the_room_it_names() {
    let mut world = world(2);
    let (ann, bob) = (world.enter("ann"), world.enter("bob"));
    world.forget();
    world.say(ann, r#"{"type":"typing","is_typing":true,"room_id":"den"}"#);
    assert_eq!(world.next(ann)["code"], "not_subscribed");
    world.say(ann, r#"{"type":"chat","content":"hi","room_id":7}"#);
    let joined = world.next(ann);
    assert_eq!(
        (&joined["action"], &joined["room_id"]),
        (&"snapshot".into(), &"7".into())
    );
    world.say(bob, r#"{"type":"chat","content":"ho","channel":"7"}"#);
    let heard = world.all(ann);
    assert_eq!(
        (&heard[0]["action"], &heard[1]["content"]),
        (&"join".into(), &"ho".into())
    );
    let long = format!(
        r#"{{"type":"chat","content":"hi","room_id":"{}"}}"#,
        "r".repeat(257)
    );
    world.say(ann, &long);
    assert_eq!(world.next(ann)["code"], "invalid_message");
    world.end();
}

#[test]
fn a_connection_is_in_so_many_rooms_and_no_more() {
    let options = RealtimeOptions {
        limits: LimitOptions {
            rooms_per_connection_max: 3,
            ..LimitOptions::default()
        },
        ..trusting()
    };
    let mut world = World::new(2, options, |app| app);
    let ann = world.enter("ann");
    for room in ["a", "b"] {
        world.say(
            ann,
            &format!(r#"{{"type":"chat","content":"hi","room_id":"{room}"}}"#),
        );
        assert_eq!(world.next(ann)["action"], "snapshot");
    }
    world.say(ann, r#"{"type":"chat","content":"hi","room_id":"c"}"#);
    assert_eq!(world.next(ann)["code"], "conflict");
    world.end();
}
