//! What crosses on its way between a connection's shard and a room's home, as the simulator found it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::realtime::{Namespace, RealtimeOptions};
use crate::testing::{Client, TestServer};

/// Connects to the profile `v1`, which joins no room by itself.
fn connect(server: &TestServer, user: &str, roles: &str) -> Client {
    let target = format!("/v1/connect?user_id={user}&roles={roles}");
    let client = server.connect_to(&target, &[]).expect("nobody is refused");
    client.forget();
    client
}

fn join(client: &Client, room: &str, info: &Value) -> Value {
    let data = json!({"topic": room, "presence": true, "info": info});
    client.forget();
    client.send(json!({"type": "subscribe", "id": "join", "data": data}));
    client.receive()
}

fn call(client: &Client, method: &str, params: &Value) -> Value {
    client.forget();
    client.send(json!({"type": "rpc", "id": method, "data": {"method": method, "params": params}}));
    client.receive()
}

#[test]
fn who_asks_to_come_back_while_being_sent_away_leaves_no_ghost() {
    let server = TestServer::builder().shards(3).start();
    // Home, the owner of power, and the guest on a shard each: the kick and the guest's question
    // cross, so that the word of the kick finds the question open.
    let room = server.name_at("room", 0);
    let admin = connect(&server, &server.name_at("admin", 1), "admin");
    let name = server.name_at("guest", 2);
    let guest = connect(&server, &name, "");
    join(&guest, &room, &json!({}));
    guest.forget();
    let kick = json!({"method": "room.kick", "params": {"room_id": room, "user_id": name}});
    admin.write(json!({"type": "rpc", "id": 1, "data": kick}));
    guest.write(json!({"type": "subscribe", "id": 2, "data": {"topic": room}}));
    server.run();
    assert_eq!(guest.expect("unsubscribed")["data"]["reason"], "kicked");
    guest.expect("subscribed");
    assert_eq!(server.app(0).members(&room).count, 1);
    guest.disconnect();
    assert_eq!(server.app(0).members(&room).count, 0);
    server.end();
}

#[test]
fn a_refusal_is_told_to_who_has_left_meanwhile() {
    let namespace = Namespace {
        members_max: 1,
        ..Namespace::default()
    };
    let server = TestServer::builder()
        .options(RealtimeOptions {
            namespaces: vec![namespace],
            ..RealtimeOptions::default()
        })
        .start();
    let room = server.name_at("room", 0);
    let ann = connect(&server, &server.name_at("ann", 0), "");
    join(&ann, &room, &json!({}));
    let bob = connect(&server, &server.name_at("bob", 1), "");
    // In one frame, so that the answer to the first finds the second done.
    bob.send(json!([
        {"type": "chat", "id": "chat", "data": {"chat_id": room, "content": "hi"}},
        {"type": "unsubscribe", "id": "leave", "data": {"topic": room}},
    ]));
    assert_eq!(bob.receive()["id"], "leave");
    let refused = bob.receive();
    assert_eq!(
        (&refused["id"], &refused["data"]["code"]),
        (&json!("chat"), &json!("room_full"))
    );
    server.end();
}

#[test]
fn a_member_of_a_room_that_becomes_private_may_stay_with_all_connections() {
    let server = TestServer::builder().start();
    let ann = connect(&server, "ann", "");
    let private = json!({"room_id": "den", "is_private": true});
    call(&ann, "room.create", &json!({"room_id": "den"}));
    let bob = connect(&server, "bob", "");
    join(&bob, "den", &json!({}));
    call(&ann, "room.update", &private);
    assert_eq!(join(&bob, "den", &json!({}))["type"], "subscribed");
    let tab = connect(&server, "bob", "");
    assert_eq!(join(&tab, "den", &json!({}))["type"], "subscribed");
    let cid = connect(&server, "cid", "");
    assert_eq!(join(&cid, "den", &json!({}))["data"]["code"], "forbidden");
    server.end();
}

#[test]
fn what_a_member_says_of_itself_when_it_subscribes_again_is_told() {
    let server = TestServer::builder().start();
    let (ann, bob) = (connect(&server, "ann", ""), connect(&server, "bob", ""));
    join(&bob, "den", &json!({"mood": 1}));
    join(&ann, "den", &json!({}));
    ann.forget();
    join(&bob, "den", &json!({"mood": 1}));
    ann.expect_nothing();
    join(&bob, "den", &json!({"mood": 2}));
    let update = ann.receive();
    assert_eq!(update["data"]["action"], "update");
    assert_eq!(update["data"]["user"]["info"], json!({"mood": 2}));
    server.end();
}

#[test]
fn nobody_is_told_of_the_removal_of_a_stranger() {
    let server = TestServer::builder().start();
    let (ann, bob) = (connect(&server, "ann", ""), connect(&server, "bob", ""));
    call(&ann, "room.create", &json!({"room_id": "den"}));
    let refused = call(
        &ann,
        "room.remove_member",
        &json!({"room_id": "den", "user_id": "bob"}),
    );
    assert_eq!(refused["data"]["code"], "not_found");
    bob.expect_nothing();
    server.end();
}

#[test]
fn a_second_connection_proves_nothing_of_what_was_said_before_it() {
    let server = TestServer::builder().start();
    let (ann, bob) = (connect(&server, "ann", ""), connect(&server, "bob", ""));
    join(&ann, "den", &json!({}));
    join(&bob, "den", &json!({}));
    bob.freeze();
    let chat = |id: &str| {
        let data = json!({"chat_id": "den", "content": id});
        ann.send(json!({"type": "chat", "id": id, "data": data}));
    };
    chat("first");
    server.advance(Duration::from_secs(2));
    let second = connect(&server, "bob", "");
    join(&second, "den", &json!({}));
    ann.forget();
    chat("second");
    server.advance(Duration::from_secs(2));
    let told = ann.receive_all_of("message-status");
    let of = |status: &str| {
        let told = told.iter().filter(|told| told["data"]["status"] == status);
        told.map(|told| told["data"]["message_id"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("sent"), of("delivered"), "{told:?}");
    server.end();
}

#[test]
fn who_is_sent_away_reads_nothing_of_what_the_same_frame_brings_next() {
    for shard in [0, 1] {
        let server = TestServer::builder().start();
        let room = server.name_at("room", 0);
        let admin = connect(&server, &server.name_at("admin", 0), "admin");
        let guest = connect(&server, &server.name_at("guest", shard), "");
        join(&admin, &room, &json!({}));
        join(&guest, &room, &json!({}));
        guest.forget();
        let close = json!({"method": "room.close", "params": {"room_id": room}});
        admin.send(json!([
            {"type": "rpc", "id": 1, "data": close},
            {"type": "subscribe", "id": 2, "data": {"topic": room}},
        ]));
        let read = guest.receive_all();
        let last = read.last().expect("it is told");
        assert_eq!(last["data"]["reason"], "room_closed", "{read:?}");
        server.end();
    }
}
