use serde_json::Value;

use super::super::protocol::Profile;
use super::super::{RealtimeOptions, Route};
use std::sync::Arc;

use super::world::World;
use super::{trusting, world};
use crate::auth::{Gate, GateOptions};

fn listed(origins: &[&str]) -> Arc<Gate> {
    let gate = Gate::trusting();
    gate.set(&GateOptions {
        origins: origins.iter().copied().map(String::from).collect(),
        ..GateOptions::default()
    })
    .unwrap();
    Arc::new(gate)
}

fn refusal(world: &mut World, target: &str, fields: &str) -> (String, Value) {
    let client = world.request(target, fields);
    let response = world.head(client);
    let status = response.split(' ').nth(1).unwrap().to_owned();
    let body = response.split_once("\r\n\r\n").unwrap().1;
    (status, serde_json::from_str(body).unwrap())
}

#[test]
fn a_path_without_a_route_is_not_found() {
    let mut world = world(1);
    let (status, body) = refusal(&mut world, "/elsewhere", "");
    assert_eq!((&status[..], &body["code"]), ("404", &"not_found".into()));
    assert_eq!(body["status"], 404);
    world.end();
}

#[test]
fn a_page_of_another_origin_is_refused() {
    let mut world = world(1);
    let (status, body) = refusal(&mut world, "/ws", "origin: http://evil.example\r\n");
    assert_eq!((&status[..], &body["code"]), ("403", &"forbidden".into()));
    let (status, _) = refusal(&mut world, "/ws", "origin: null\r\n");
    assert_eq!(status, "403");
    let (status, _) = refusal(
        &mut world,
        "/ws",
        "origin: http://localhost:8080\r\norigin: http://evil.example\r\n",
    );
    assert_eq!(status, "400", "two origins are none");
    let client = world.request("/ws", "origin: http://localhost:8080\r\n");
    assert!(world.head(client).starts_with("HTTP/1.1 101"));
    world.end();
}

#[test]
fn listed_origins_are_let_in_and_no_others() {
    let mut world = World::new(1, trusting(), |app| {
        app.with_gate(listed(&["https://app.example"]))
    });
    let client = world.request("/ws", "origin: https://app.example\r\n");
    assert!(world.head(client).starts_with("HTTP/1.1 101"));
    let (status, _) = refusal(&mut world, "/ws", "origin: http://localhost:8080\r\n");
    assert_eq!(status, "403", "the same origin is not in the list");
    world.end();
}

#[test]
fn the_first_known_subprotocol_is_echoed_and_no_other() {
    let mut world = world(1);
    let field = "sec-websocket-protocol: bearer.x, campanile.flat.v1, campanile.v1\r\n";
    let client = world.request("/ws", field);
    let head = world.head(client).to_lowercase();
    assert!(head.contains("sec-websocket-protocol: campanile.flat.v1\r\n"));
    let client = world.request("/ws", "sec-websocket-protocol: bearer, chat\r\n");
    let head = world.head(client).to_lowercase();
    assert!(head.starts_with("http/1.1 101"));
    assert!(
        head.contains("sec-websocket-protocol: bearer\r\n"),
        "and never the token"
    );
    world.end();
}

#[test]
fn a_trusted_user_id_comes_from_the_query_or_the_header() {
    let mut world = world(1);
    let table = [
        ("/ws?user_id=ann&player_id=bob", "x-user-id: cid\r\n", "ann"),
        ("/ws?player_id=b%20b", "x-user-id: cid\r\n", "b b"),
        ("/ws", "x-user-id: cid\r\n", "cid"),
    ];
    for (target, fields, user) in table {
        let client = world.request(target, fields);
        world.head(client);
        assert_eq!(world.next(client)["user_id"], user);
    }
    world.end();
}

#[test]
fn an_unusable_user_id_is_a_bad_request() {
    let mut world = world(1);
    let long = format!("/ws?user_id={}", "x".repeat(257));
    for target in ["/ws?user_id=", "/ws?user_id=a%0Ab", &long] {
        let (status, body) = refusal(&mut world, target, "");
        assert_eq!(
            (&status[..], &body["code"]),
            ("400", &"invalid_user_id".into())
        );
    }
    let (status, body) = refusal(&mut world, "/ws?user_id=a&user_id=b", "");
    assert_eq!(
        (&status[..], &body["code"]),
        ("400", &"repeated_parameter".into())
    );
    world.end();
}

#[test]
fn user_ids_are_not_believed_by_default() {
    let mut world = World::new(1, trusting(), |app| app.with_gate(Arc::default()));
    let client = world.request("/ws?user_id=ann", "x-user-id: ann\r\n");
    world.head(client);
    let welcome = world.next(client);
    let user = welcome["user_id"].as_str().unwrap();
    assert!(user.starts_with("guest-"), "{user}");
    world.end();
}

#[test]
fn each_route_has_its_room_and_its_largest_message() {
    let options = RealtimeOptions {
        routes: vec![Route {
            message_bytes_max: Some(64),
            ..Route::new("/small", Profile::Flat)
        }],
        ..trusting()
    };
    let mut world = World::new(1, options, |app| app);
    let small = world.request("/small?user_id=ann", "");
    world.head(small);
    let all = world.all(small);
    assert_eq!(all.len(), 1, "a welcome, and no room: {all:?}");
    world.say(small, r#"{"type":"chat","content":"to whom?"}"#);
    assert_eq!(world.next(small)["code"], "room_required");
    world.say(small, &"x".repeat(65));
    assert_eq!(world.next(small)["close"], 1009);
    world.end();
}
