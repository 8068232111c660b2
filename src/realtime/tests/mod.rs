//! The application on shards without a kernel.

mod auth;
mod content;
mod crowd;
mod delivery;
mod handlers;
mod history;
mod hostile;
mod limits;
mod listing;
mod messages;
mod options;
mod path_rooms;
mod persistence;
mod powers;
mod presence;
mod profiles;
mod races;
mod relay;
mod rooms;
mod rpc;
mod subscribe;
mod upgrade;
mod world;

use serde_json::{Value, json};

use super::{Namespace, RealtimeOptions};
use crate::testing::{Builder, Client, TestServer};
use world::World;

fn trusting() -> RealtimeOptions {
    RealtimeOptions::default()
}

fn world(shards: u16) -> World {
    World::new(shards, trusting(), |app| app)
}

/// Options with one namespace for all rooms.
fn namespace(namespace: Namespace) -> RealtimeOptions {
    RealtimeOptions {
        namespaces: vec![namespace],
        ..trusting()
    }
}

/// Rooms at home on any shard.
fn room_count(server: &TestServer) -> usize {
    let shards = 0..server.shard_count();
    shards.map(|shard| server.app(shard).stats().rooms).sum()
}

/// Says something in a room, in profile `v1`.
fn chat(client: &Client, room: &str, text: &str) {
    client.send(json!({"type": "chat", "data": {"room_id": room, "content": text}}));
}

/// A server whose clients connect as often as they like.
fn server(shards: u16, options: RealtimeOptions) -> TestServer {
    builder(shards, options).start()
}

fn builder(shards: u16, options: RealtimeOptions) -> Builder {
    let core = crate::shard::Options {
        connections_per_user_max: 0,
        compression: None,
        ..Default::default()
    };
    let builder = TestServer::builder().shards(shards).options(options);
    builder.core_options(core)
}

/// Connects a user to a path and forgets the welcome.
#[track_caller]
fn connect(server: &TestServer, path: &str, user: &str) -> Client {
    let mark = if path.contains('?') { '&' } else { '?' };
    let target = format!("{path}{mark}user_id={user}");
    let origin = [("Origin", "http://localhost:8080")];
    let client = server.connect_to(&target, &origin).unwrap();
    assert_eq!(client.receive()["type"], "connection-status");
    client
}

/// Connects a user in the profile `v1`, to no room.
#[track_caller]
fn v1(server: &TestServer, user: &str) -> Client {
    connect(server, "/v1/connect", user)
}

/// Calls a method: its result, or the error's code.
#[track_caller]
fn call(client: &Client, method: &str, params: Value) -> Result<Value, String> {
    client.send(json!({"type": "rpc", "id": method, "data": {"method": method, "params": params}}));
    loop {
        let answer = client.receive();
        if answer["id"] != method {
            continue;
        }
        match answer["type"].as_str().unwrap() {
            "rpc" => return Ok(answer["data"]["result"].clone()),
            "error" => return Err(answer["data"]["code"].as_str().unwrap().to_owned()),
            other => panic!("no answer: {other}"),
        }
    }
}

/// Subscribes, and gives the answer's data, or the error's.
#[track_caller]
fn subscribe(client: &Client, data: Value) -> Value {
    client.send(json!({"type": "subscribe", "id": "sub", "data": data}));
    loop {
        let answer = client.receive();
        if answer["id"] == "sub" {
            return answer["data"].clone();
        }
    }
}
