//! Rooms that the path of a request names: who may not come in is told so before the upgrade.

use std::io::Write;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::persistence::{Lives, kept};
use super::{call, namespace, room_count, server, subscribe, trusting, v1};
use crate::auth::{
    Algorithm, AuthOptions, Authenticator, Gate, GateOptions, KeyOptions, Material, Mode,
    TokenOptions,
};
use crate::realtime::options::Create;
use crate::realtime::{LimitOptions, Namespace, RealtimeOptions};
use crate::testing::{Client, TestServer};

const ORIGIN: (&str, &str) = ("origin", "http://localhost:8080");
const SECRET: &[u8] = b"a secret of 32 bytes for tests..";

/// Asks for a connection to a room; status and body of a refusal.
fn enter(server: &TestServer, room: &str, user: &str) -> Result<Client, (u16, Value)> {
    let target = format!("/ws/{room}?user_id={user}");
    let outcome = server.connect_to(&target, &[ORIGIN]);
    outcome.map_err(|refused| (refused.status, refused.body))
}

/// Asks for a connection that is refused: its status, and the body's code.
#[track_caller]
fn refusal(server: &TestServer, room: &str, user: &str) -> (u16, String) {
    let (status, body) = enter(server, room, user).expect_err("it is refused");
    assert_eq!(body["status"], status);
    assert!(body["request_id"].is_string() && body["timestamp"].is_string());
    (status, body["code"].as_str().unwrap().to_owned())
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

fn made_by_request(pattern: &str) -> Namespace {
    Namespace {
        pattern: pattern.into(),
        create: Create::ApiOnly,
        ..Namespace::default()
    }
}

#[test]
fn who_may_not_come_in_is_refused_with_a_status() {
    for shards in [1, 2, 3] {
        let server = server(shards, namespace(made_by_request("api-*")));
        let ann = v1(&server, "ann");
        let make = |params: Value| call(&ann, "room.create", params).unwrap();
        make(json!({"room_id": "private", "is_private": true, "members": ["guest"]}));
        make(json!({"room_id": "small", "max_clients": 1}));
        assert_eq!(refusal(&server, "private", "2"), refused(403, "forbidden"));
        assert_eq!(refusal(&server, "api-room", "2"), refused(404, "not_found"));
        let first = enter(&server, "small", "1").unwrap();
        assert_eq!(refusal(&server, "small", "2"), refused(409, "room_full"));
        // A guest is nobody's guest.
        let guest = server.connect_to("/ws/private", &[ORIGIN]);
        assert_eq!(guest.unwrap_err().status, 403);
        // Who may: the owner, who is on the list, and who is there already.
        for (room, user) in [("private", "ann"), ("private", "guest"), ("small", "1")] {
            let client = enter(&server, room, user).unwrap();
            assert_eq!(client.expect("presence")["room_id"], room);
        }
        make(json!({"room_id": "api-room"}));
        assert!(enter(&server, "api-room", "2").is_ok());
        first.disconnect();
        server.end();
    }
}

#[test]
fn who_was_banned_is_refused_until_it_is_over() {
    let server = server(2, trusting());
    let ann = v1(&server, "ann");
    call(&ann, "room.create", json!({"room_id": "r"})).unwrap();
    let ban = json!({"room_id": "r", "user_id": "bob", "ban_s": 60});
    call(&ann, "room.kick", ban).unwrap();
    assert_eq!(refusal(&server, "r", "bob"), refused(403, "forbidden"));
    server.advance(std::time::Duration::from_secs(61));
    assert!(enter(&server, "r", "bob").is_ok());
    server.end();
}

#[test]
fn a_knock_makes_no_room() {
    let options = RealtimeOptions {
        namespaces: vec![Namespace {
            private: true,
            ..Namespace::default()
        }],
        limits: LimitOptions {
            rooms_max: 1,
            ..LimitOptions::default()
        },
        ..trusting()
    };
    for shards in [1, 2] {
        let server = server(shards, options.clone());
        assert_eq!(refusal(&server, "r", "ann"), refused(403, "forbidden"));
        assert_eq!(room_count(&server), 0);
        server.end();
    }
}

#[test]
fn a_shard_that_has_as_many_rooms_as_it_may_have_says_when_to_come_back() {
    let limits = LimitOptions {
        rooms_max: 1,
        ..LimitOptions::default()
    };
    let options = RealtimeOptions {
        limits,
        ..trusting()
    };
    let server = server(2, options);
    let (one, other) = (server.name_at("r", 1), server.name_at("s", 1));
    let ann = enter(&server, &one, "ann").unwrap();
    let refused = server.connect_to(&format!("/ws/{other}?user_id=bob"), &[ORIGIN]);
    let refused = refused.unwrap_err();
    assert_eq!(
        (refused.status, &refused.body["code"]),
        (503, &json!("unavailable"))
    );
    assert!(
        refused.head.contains("\r\nretry-after: 1\r\n"),
        "{}",
        refused.head
    );
    assert!(enter(&server, &one, "bob").is_ok(), "a room that is there");
    ann.disconnect();
    server.end();
}

#[test]
fn who_finds_the_last_place_taken_behind_the_101_is_closed_with_4413() {
    // 1. bob knocks, and there is a place. 2. ann takes it. 3. bob is let in, and joins.
    let options = RealtimeOptions {
        namespaces: vec![Namespace {
            members_max: 1,
            ..Namespace::default()
        }],
        ..trusting()
    };
    let server = server(3, options);
    let room = server.name_at("room", 2);
    let ann = v1(&server, &server.name_at("ann", 1));
    ann.write(json!({"type": "subscribe", "id": "sub", "data": {"topic": room}}));
    let bob = enter(&server, &room, &server.name_at("bob", 1)).expect("there was a place");
    assert_eq!(ann.expect("subscribed")["data"]["topic"], room);
    assert_eq!(bob.expect("error")["data"]["code"], "room_full");
    assert_eq!(bob.closed().map(|(code, _)| code), Some(4413));
    server.end();
}

#[test]
fn a_room_that_only_the_store_knows_is_loaded_before_anybody_is_refused() {
    for shards in [1, 3] {
        let mut lives = Lives::with(RealtimeOptions {
            namespaces: vec![
                Namespace {
                    persist: true,
                    ..made_by_request("kept-api*")
                },
                kept(),
                Namespace::default(),
            ],
            ..trusting()
        });
        let before = lives.start(shards);
        let ann = v1(&before, "ann");
        let room = json!({"room_id": "kept-api", "is_private": true, "members": ["bob"]});
        call(&ann, "room.create", room).unwrap();
        lives.stop(before);
        let server = lives.start(shards);
        assert_eq!(room_count(&server), 0, "it is in the store alone");
        assert!(enter(&server, "kept-api", "bob").is_ok());
        assert_eq!(
            refusal(&server, "kept-api", "eve"),
            refused(403, "forbidden")
        );
        assert_eq!(
            refusal(&server, "kept-api-else", "bob"),
            refused(404, "not_found")
        );
        let here = room_count(&server);
        assert_eq!(here, 1, "what the store does not know is forgotten again");
        let client = enter(&server, "kept-new", "bob").expect("joining makes it");
        assert_eq!(client.expect("presence")["room_id"], "kept-new");
        server.end();
    }
}

#[test]
fn a_store_that_cannot_be_asked_is_no_reason_to_say_that_there_is_no_room() {
    for shards in [1, 2] {
        let mut lives = Lives::new(kept());
        let server = lives.start(shards);
        server.clone().stop();
        assert_eq!(refusal(&server, "kept", "ann"), refused(503, "unavailable"));
        assert_eq!(room_count(&server), 0);
        server.end();
    }
}

fn auth(mode: Mode) -> Gate {
    let key = KeyOptions {
        id: None,
        algorithms: vec![Algorithm::HS256],
        material: Material::Secret(SECRET.into()),
    };
    let options = AuthOptions {
        mode,
        token: TokenOptions {
            keys: vec![key],
            ..TokenOptions::default()
        },
        ..AuthOptions::default()
    };
    let authenticator = Authenticator::new(options, None).unwrap();
    Gate::new(authenticator, &GateOptions::default()).unwrap()
}

fn token(server: &TestServer, user: &str) -> String {
    let claims = json!({"sub": user, "exp": server.unix_ms() / 1000 + 600});
    let key = EncodingKey::from_secret(SECRET);
    encode(&Header::default(), &claims, &key).unwrap()
}

#[test]
fn in_every_mode_who_is_known_before_the_upgrade_is_refused_before_it() {
    for mode in [Mode::Required, Mode::Optional, Mode::FirstMessage] {
        let options = namespace(made_by_request("*"));
        let builder = TestServer::builder().shards(3).options(options);
        let server = builder.gate(auth(mode)).start();
        let bearer = format!("Bearer {}", token(&server, "ann"));
        let refused = server.connect_to("/ws/r", &[ORIGIN, ("authorization", &bearer)]);
        assert_eq!(refused.unwrap_err().status, 404, "{mode:?}");
        server.end();
    }
}

#[test]
fn whose_first_message_says_who_they_are_is_closed_behind_the_101() {
    let options = namespace(made_by_request("*"));
    let builder = TestServer::builder().shards(3).options(options);
    let server = builder.gate(auth(Mode::FirstMessage)).start();
    let client = server.connect_to("/ws/r", &[ORIGIN]).expect("nobody yet");
    client.send(json!({"type": "authentication", "token": token(&server, "ann")}));
    assert_eq!(
        client.expect("connection-status")["data"]["status"],
        "established"
    );
    assert_eq!(client.expect("error")["data"]["code"], "not_found");
    assert_eq!(client.closed().map(|(code, _)| code), Some(4404));
    server.end();
}

/// Takes what is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// The security events of a kind since it was last asked.
    fn events(&self, kind: &str) -> Vec<Value> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        let lines = std::str::from_utf8(&bytes).unwrap().lines();
        let events = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
        let fields = events
            .filter(|event| event["target"] == crate::security::TARGET)
            .map(|event| event["fields"].clone());
        fields.filter(|fields| fields["kind"] == kind).collect()
    }
}

#[test]
fn the_security_log_knows_user_and_address_wherever_the_room_is_at_home() {
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt()
        .json()
        .with_writer(move || writer.clone())
        .finish();
    let _log = tracing::subscriber::set_default(log);
    let server = server(3, trusting());
    for home in 0..3 {
        let room = server.name_at("room", home);
        let ann = v1(&server, "ann");
        call(
            &ann,
            "room.create",
            json!({"room_id": room, "is_private": true}),
        )
        .unwrap();
        let bob = v1(&server, "bob");
        let here = Ipv4Addr::LOCALHOST.to_string();
        // By a message, by one whose author is gone before anybody looks at it, and by a request.
        assert_eq!(subscribe(&bob, json!({"topic": room}))["code"], "forbidden");
        bob.write(json!({"type": "subscribe", "data": {"topic": room}}));
        bob.disconnect();
        assert_eq!(refusal(&server, &room, "bob"), refused(403, "forbidden"));
        let events = lines.events("forbidden");
        assert_eq!(events.len(), 3, "{events:?}");
        for event in events {
            assert_eq!(
                (&event["user"], &event["address"]),
                (&json!("bob"), &json!(here))
            );
            assert_eq!(event["reason"], "not_allowed");
        }
        ann.disconnect();
    }
    server.end();
}
