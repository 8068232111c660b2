use serde_json::{Value, json};

use super::super::{PresenceOptions, RealtimeOptions};
use super::world::World;
use super::{trusting, world};

fn actions(messages: &[Value]) -> Vec<(&str, u64)> {
    let presence = messages.iter().filter(|m| m["type"] == "presence");
    presence
        .map(|m| (m["action"].as_str().unwrap(), m["count"].as_u64().unwrap()))
        .collect()
}

#[test]
fn a_newcomer_gets_a_welcome_then_the_members() {
    for shards in [1, 2] {
        let mut world = world(shards);
        let ann = world.connect("ann");
        let all = world.all(ann);
        assert_eq!(all.len(), 2, "{all:?}");
        assert_eq!(all[0]["type"], "connection-status");
        assert_eq!(all[0]["status"], "established");
        assert_eq!(all[0]["user_id"], "ann");
        assert_eq!(all[0]["timestamp"], "2026-11-21T02:00:00.000Z");
        assert_eq!(
            all[1],
            json!({
                "type": "presence", "room_id": "lobby", "timestamp": "2026-11-21T02:00:00.000Z",
                "action": "snapshot", "count": 1,
                "users": [{"user_id": "ann", "connections": 1, "since": "2026-11-21T02:00:00.000Z", "info": {}}],
            })
        );
        world.end();
    }
}

#[test]
fn a_user_joins_with_the_first_connection_and_leaves_with_the_last() {
    for shards in [1, 2, 3] {
        let mut world = world(shards);
        let ann = world.enter("ann");
        let bob = world.enter("bob");
        let joined = world.all(ann);
        assert_eq!(actions(&joined), [("join", 2)]);
        assert_eq!(joined[0]["user_id"], "bob");
        assert_eq!(world.all(bob), [Value::Null; 0], "nobody hears of himself");

        let bob_again = world.connect("bob");
        let snapshot = world.all(bob_again).remove(1);
        assert_eq!(snapshot["count"], 2);
        assert_eq!(snapshot["users"][1]["connections"], 2);
        world.leave(bob);
        assert_eq!(world.all(ann), [Value::Null; 0], "bob was there, and is");
        assert_eq!(world.all(bob_again), [Value::Null; 0]);

        world.leave(bob_again);
        let left = world.all(ann);
        assert_eq!(actions(&left), [("leave", 1)]);
        assert_eq!(left[0]["user_id"], "bob");
        world.end();
    }
}

#[test]
fn leave_comes_after_the_leavers_last_message() {
    let mut world = world(3);
    let room = world.at_home("room", 0);
    // The listener, the speaker and the room are at home on different shards.
    let (near, far) = (world.at_home("near", 1), world.at_home("far", 2));
    let listener = world.enter(&near);
    let speaker = world.enter(&far);
    world.say(
        listener,
        &format!(r#"{{"type":"chat","content":"a","room_id":"{room}"}}"#),
    );
    world.say(
        speaker,
        &format!(r#"{{"type":"chat","content":"b","room_id":"{room}"}}"#),
    );
    world.forget();
    for number in 0..3 {
        let chat = format!(r#"{{"type":"chat","content":"{number}","room_id":"{room}"}}"#);
        world.say_only(speaker, &chat);
    }
    world.leave_only(speaker);
    world.run();
    let heard = world.all(listener);
    let heard: Vec<_> = heard
        .iter()
        .filter(|m| m["room_id"] == room[..])
        .map(|m| m["content"].as_str().or(m["action"].as_str()).unwrap())
        .collect();
    assert_eq!(heard, ["0", "1", "2", "leave"]);
    world.end();
}

#[test]
fn a_crowded_room_is_told_its_number_once_a_second() {
    let options = RealtimeOptions {
        presence: PresenceOptions {
            members_max: 10,
            ..PresenceOptions::default()
        },
        ..trusting()
    };
    let mut world = World::new(2, options, |app| app);
    let mut clients: Vec<_> = (0..10).map(|n| world.enter(&format!("user-{n}"))).collect();
    world.forget();
    let eleventh = world.connect("user-10");
    let got = world.all(eleventh);
    assert_eq!(actions(&got), [("count", 11)]);
    assert_eq!(
        world.all(clients[0]),
        [Value::Null; 0],
        "the second is not over"
    );
    clients.push(eleventh);
    for n in 11..15 {
        clients.push(world.enter(&format!("user-{n}")));
    }
    world.forget();
    world.pass(1);
    assert_eq!(actions(&world.all(clients[0])), [("count", 15)]);
    world.pass(3);
    assert_eq!(actions(&world.all(clients[0])), [], "nothing is new");

    while clients.len() > 10 {
        world.leave(clients.pop().unwrap());
    }
    assert_eq!(actions(&world.all(clients[0])), []);
    world.pass(1);
    assert_eq!(
        actions(&world.all(clients[0])),
        [("count", 10)],
        "not a tenth fewer yet"
    );
    world.leave(clients.pop().unwrap());
    world.pass(1);
    let named = world.all(clients[0]);
    assert_eq!(actions(&named), [("snapshot", 9)]);
    assert_eq!(named[0]["users"].as_array().unwrap().len(), 9);
    world.leave(clients.pop().unwrap());
    assert_eq!(actions(&world.all(clients[0])), [("leave", 8)]);
    world.end();
}

#[test]
fn a_query_is_answered_with_its_id() {
    for shards in [1, 3] {
        let mut world = world(shards);
        let ann = world.enter("ann");
        world.enter("bob");
        world.forget();
        world.say(ann, r#"{"type":"presence","id":6,"action":"query"}"#);
        let answer = world.next(ann);
        assert_eq!(
            (&answer["type"], &answer["id"]),
            (&"presence".into(), &6.into())
        );
        assert_eq!(
            (&answer["action"], &answer["count"]),
            (&"snapshot".into(), &2.into())
        );
        assert_eq!(answer["users"][1]["user_id"], "bob");
        world.say(ann, r#"{"type":"presence","action":"join"}"#);
        assert_eq!(world.next(ann)["code"], "invalid_message");
        world.say(
            ann,
            r#"{"type":"presence","action":"query","room_id":"other"}"#,
        );
        assert_eq!(world.next(ann)["code"], "not_subscribed");
        world.end();
    }
}

#[test]
fn typing_is_told_once_a_second_and_ends_by_itself() {
    let mut world = world(2);
    let (ann, bob) = (world.enter("ann"), world.enter("bob"));
    world.pass(1);
    world.forget();
    let told = |world: &mut World| -> Vec<bool> {
        let messages = world.of_type(bob, "typing");
        assert!(messages.iter().all(|m| m["user_id"] == "ann"));
        let told = messages.iter().map(|m| m["is_typing"].as_bool().unwrap());
        told.collect()
    };
    world.say(ann, r#"{"type":"typing","is_typing":true}"#);
    assert_eq!(told(&mut world), [true]);
    world.say(ann, r#"{"type":"typing","is_typing":true}"#);
    world.say(ann, r#"{"type":"typing","is_typing":false}"#);
    assert_eq!(told(&mut world), [true; 0], "the second is not over");
    world.pass(1);
    assert_eq!(told(&mut world), [false]);
    world.pass(1);
    world.say(ann, r#"{"type":"typing","is_typing":true}"#);
    world.pass(5);
    assert_eq!(told(&mut world), [true]);
    world.pass(1);
    assert_eq!(told(&mut world), [false], "six seconds are over");
    world.pass(10);
    assert_eq!(told(&mut world), [true; 0]);
    assert_eq!(world.of_type(ann, "typing"), [Value::Null; 0]);
    world.say(ann, r#"{"type":"typing"}"#);
    assert_eq!(world.next(ann)["code"], "invalid_message");
    world.end();
}
