use std::time::Duration;

use serde_json::{Value, json};

use super::super::{Namespace, PresenceOptions, RealtimeOptions};
use super::world::World;
use super::{call, connect, server, subscribe, trusting, v1, world};
use crate::testing::{Client, TestServer};

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

fn presence(options: PresenceOptions) -> RealtimeOptions {
    RealtimeOptions {
        presence: options,
        ..trusting()
    }
}

fn namespace(namespace: Namespace) -> RealtimeOptions {
    RealtimeOptions {
        namespaces: vec![namespace],
        ..trusting()
    }
}

/// A client that is told who is in room `r`.
fn watcher(server: &TestServer, user: &str) -> Client {
    let client = v1(server, user);
    let answer = subscribe(&client, json!({"topic": "r", "presence": true}));
    assert_eq!(answer["topic"], "r");
    client
}

/// What presence has told a client: the action, and whom or how many it is about.
fn told(client: &Client) -> Vec<(String, String)> {
    let all = client.receive_all_of("presence").into_iter();
    all.map(|message| {
        let (body, user) = (&message["data"], message["user_id"].as_str());
        let about = user.map_or_else(|| body["count"].to_string(), str::to_owned);
        (body["action"].as_str().unwrap().to_owned(), about)
    })
    .collect()
}

fn is(action: &str, about: &str) -> (String, String) {
    (action.to_owned(), about.to_owned())
}

#[test]
fn req_4_11_who_comes_back_in_time_has_not_been_away() {
    for shards in [1, 2, 3] {
        let server = server(
            shards,
            presence(PresenceOptions {
                leave_delay: Duration::from_secs(5),
                ..PresenceOptions::default()
            }),
        );
        let ann = watcher(&server, "ann");
        let bob = watcher(&server, "bob");
        assert_eq!(told(&ann), [is("snapshot", "1"), is("join", "bob")]);
        bob.disconnect();
        server.advance(Duration::from_secs(4));
        assert_eq!(told(&ann), []);
        let bob = watcher(&server, "bob");
        assert_eq!(told(&bob), [is("snapshot", "2")]);
        server.advance(Duration::from_secs(20));
        assert_eq!(told(&ann), [], "neither left nor joined");
        bob.disconnect();
        server.advance(Duration::from_secs(4));
        assert_eq!(told(&ann), []);
        server.advance(Duration::from_secs(2));
        assert_eq!(told(&ann), [is("leave", "bob")]);
        // Who says so leaves at once, and so does who is sent away.
        let bob = watcher(&server, "bob");
        bob.send(json!({"type": "unsubscribe", "data": {"topic": "r"}}));
        assert_eq!(told(&ann), [is("join", "bob"), is("leave", "bob")]);
        server.end();
    }
}

#[test]
fn who_is_sent_away_within_the_delay_has_left() {
    let server = server(
        2,
        presence(PresenceOptions {
            leave_delay: Duration::from_secs(60),
            ..PresenceOptions::default()
        }),
    );
    let ann = watcher(&server, "ann");
    let owner = v1(&server, "owner");
    call(&owner, "room.create", json!({"room_id": "s"})).unwrap();
    let watch = json!({"topic": "s", "presence": true});
    let bob = v1(&server, "bob");
    for client in [&ann, &bob] {
        subscribe(client, watch.clone());
    }
    bob.disconnect();
    ann.forget();
    call(
        &owner,
        "room.kick",
        json!({"room_id": "s", "user_id": "bob"}),
    )
    .unwrap();
    assert_eq!(told(&ann), [is("leave", "bob")]);
    server.end();
}

#[test]
fn what_members_say_of_themselves_is_told_and_kept() {
    for shards in [1, 3] {
        let server = server(shards, trusting());
        let ann = watcher(&server, "ann");
        let bob = v1(&server, "bob");
        subscribe(&bob, json!({"topic": "r", "info": {"name": "Bob"}}));
        ann.forget();
        let update = |info: Value| {
            json!({"type": "presence", "id": 1, "data":
            {"action": "update", "room_id": "r", "info": info}})
        };
        bob.send(update(json!({"name": "Rob"})));
        let heard = ann.receive();
        let expected =
            json!({"action": "update", "user": {"user_id": "bob", "info": {"name": "Rob"}}});
        assert_eq!(heard["data"], expected);
        bob.expect_nothing();
        subscribe(&bob, json!({"topic": "r", "info": {"name": "Rob"}}));
        assert_eq!(told(&ann), [], "the same as before");
        subscribe(&bob, json!({"topic": "r", "info": {"name": "Bert"}}));
        assert_eq!(told(&ann), [is("update", "bob")]);
        ann.send(json!({"type": "presence", "data": {"action": "query", "room_id": "r"}}));
        assert_eq!(
            ann.receive()["data"]["users"][1]["info"],
            json!({"name": "Bert"})
        );
        for bad in [json!([]), json!("x"), Value::Null] {
            bob.send(update(bad));
            assert_eq!(bob.receive()["data"]["code"], "invalid_message");
        }
        bob.send(update(json!({"x": "x".repeat(2000)})));
        assert_eq!(bob.receive()["data"]["code"], "payload_too_large");
        ann.expect_nothing();
        server.end();
    }
}

#[test]
fn a_query_goes_through_all_members_in_pages() {
    let server = server(2, trusting());
    let ann = watcher(&server, "user-00");
    let mut clients = Vec::new();
    for number in 1..10 {
        clients.push(watcher(&server, &format!("user-{number:02}")));
    }
    ann.forget();
    let (mut names, mut cursor, mut pages) = (Vec::new(), Value::Null, 0);
    loop {
        let data = json!({"action": "query", "room_id": "r", "limit": 4, "cursor": cursor});
        ann.send(json!({"type": "presence", "id": "q", "data": data}));
        let page = ann.receive();
        assert_eq!(
            (&page["id"], &page["data"]["count"]),
            (&json!("q"), &json!(10))
        );
        let users = page["data"]["users"].as_array().unwrap();
        names.extend(
            users
                .iter()
                .map(|user| user["user_id"].as_str().unwrap().to_owned()),
        );
        (pages, cursor) = (pages + 1, page["data"]["next_cursor"].clone());
        if cursor.is_null() {
            break;
        }
    }
    let expected: Vec<String> = (0..10).map(|n| format!("user-{n:02}")).collect();
    assert_eq!((names, pages), (expected, 3));
    server.end();
}

#[test]
fn members_who_say_much_are_told_in_parts() {
    let server = server(
        2,
        presence(PresenceOptions {
            info_bytes_max: 20_000,
            ..PresenceOptions::default()
        }),
    );
    let mut clients = Vec::new();
    for number in 0..10 {
        let client = v1(&server, &format!("user-{number}"));
        let info = json!({"x": "x".repeat(19_000)});
        subscribe(&client, json!({"topic": "r", "info": info}));
        clients.push(client);
    }
    let late = watcher(&server, "late");
    assert_eq!(
        told(&late),
        [is("count", "11")],
        "their names would not fit"
    );
    let page = call(&late, "room.members", json!({"room_id": "r"})).unwrap();
    assert_eq!(page["members"].as_array().unwrap().len(), 7);
    let rest = json!({"room_id": "r", "cursor": page["next_cursor"]});
    let rest = call(&late, "room.members", rest).unwrap();
    assert_eq!(rest["members"].as_array().unwrap().len(), 4);
    assert_eq!(rest["next_cursor"], Value::Null);
    server.end();
}

#[test]
fn a_namespace_may_tell_less_of_who_is_there() {
    for shards in [1, 3] {
        let quiet = server(
            shards,
            namespace(Namespace {
                join_leave: false,
                ..Namespace::default()
            }),
        );
        let ann = watcher(&quiet, "ann");
        let bob = watcher(&quiet, "bob");
        assert_eq!(told(&bob), [is("snapshot", "2")]);
        bob.disconnect();
        assert_eq!(told(&ann), [is("snapshot", "1")]);
        quiet.end();

        let silent = server(
            shards,
            namespace(Namespace {
                presence: false,
                ..Namespace::default()
            }),
        );
        let ann = watcher(&silent, "ann");
        let bob = watcher(&silent, "bob");
        for data in [
            json!({"action": "query", "room_id": "r"}),
            json!({"action": "update", "room_id": "r", "info": {}}),
        ] {
            bob.send(json!({"type": "presence", "data": data}));
            assert_eq!(bob.expect("error")["data"]["code"], "forbidden");
        }
        bob.disconnect();
        assert_eq!(told(&ann), []);
        silent.end();
    }
}

#[test]
fn presence_is_for_subscriptions_that_ask_for_it() {
    let server = server(3, trusting());
    let (ann, bob) = (watcher(&server, "ann"), v1(&server, "bob"));
    subscribe(&bob, json!({"topic": "r"}));
    let eve = v1(&server, "eve");
    subscribe(&eve, json!({"topic": "r"}));
    assert_eq!(told(&bob), []);
    assert_eq!(told(&ann).len(), 3);
    subscribe(&bob, json!({"topic": "r", "presence": true}));
    assert_eq!(told(&bob), [is("snapshot", "3")]);
    assert_eq!(told(&ann), [], "who asks again was there");
    subscribe(&ann, json!({"topic": "r", "presence": false}));
    eve.disconnect();
    assert_eq!((told(&bob), told(&ann)), (vec![is("leave", "eve")], vec![]));
    // The paths of the other profiles have it, or have it not.
    let flat = connect(&server, "/ws", "flat");
    let room = connect(&server, "/ws/lobby", "room");
    assert_eq!(flat.receive_all_of("presence").len(), 2);
    assert_eq!(room.receive_all_of("presence").len(), 1);
    let message = connect(&server, "/api/v1/ws", "message");
    message.send(json!({"type": "chat", "message": {"chat_id": "lobby", "content": "hi"}}));
    assert_eq!(message.receive_all_of("presence"), [Value::Null; 0]);
    server.end();
}

#[test]
fn who_types_and_leaves_types_no_more() {
    // The room used to be left with somebody who types for ever.
    for shards in [1, 3] {
        let server = server(shards, trusting());
        let (ann, bob) = (watcher(&server, "ann"), v1(&server, "bob"));
        subscribe(&bob, json!({"topic": "r"}));
        bob.send(json!({"type": "typing", "data": {"room_id": "r", "is_typing": true}}));
        ann.forget();
        bob.disconnect();
        let all = ann.receive_all();
        let types: Vec<&Value> = all.iter().map(|m| &m["type"]).collect();
        assert_eq!(types, ["typing", "presence"]);
        assert_eq!(all[0]["data"]["is_typing"], false);
        server.end();
    }
}
