//! How much one may send, and be in: what is over is refused with its reason, counted, and not done.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::{Counts, LimitOptions, Namespace, RealtimeOptions, Route};
use super::trusting;
use crate::realtime::protocol::Profile;
use crate::testing::{Client, TestServer};

const PING: &str = r#"{"type":"ping"}"#;

fn with_limits(shards: u16, limits: LimitOptions) -> TestServer {
    let options = RealtimeOptions {
        limits,
        ..trusting()
    };
    TestServer::builder()
        .shards(shards)
        .options(options)
        .start()
}

/// Ten messages a second and three at once.
fn slow() -> LimitOptions {
    LimitOptions {
        messages_per_second: 10,
        burst: 3,
        ..LimitOptions::default()
    }
}

/// What all shards have counted of one thing.
fn count(server: &TestServer, which: impl Fn(&Counts) -> u64) -> u64 {
    (0..server.shard_count())
        .map(|shard| which(&server.app(shard).stats().counts))
        .sum()
}

fn wait(server: &TestServer, ms: u64) {
    server.advance(Duration::from_millis(ms));
}

/// The `retry_after_ms` of the one answer, which is a refusal.
#[track_caller]
fn told_to_wait(client: &Client) -> u64 {
    let answer = client.receive();
    assert_eq!(answer["code"], "rate_limited", "{answer}");
    client.expect_nothing();
    answer["retry_after_ms"].as_u64().unwrap()
}

#[track_caller]
fn is_let_through(client: &Client) {
    client.send(PING);
    assert_eq!(client.receive()["type"], "pong");
}

#[test]
fn req_4_14_a_connection_may_send_its_burst_and_then_its_rate() {
    for shards in [1, 2] {
        let server = with_limits(shards, slow());
        let ann = server.connect("ann");
        server.forget();
        (0..3).for_each(|_| is_let_through(&ann));
        ann.send(json!({"type": "ping", "id": "over"}));
        let refused = ann.receive();
        assert_eq!(
            (&refused["code"], &refused["id"]),
            (&json!("rate_limited"), &json!("over"))
        );
        assert_eq!(refused["retry_after_ms"], 100);
        // Who waits for less is told what is left; who waits so long is let through.
        wait(&server, 60);
        ann.send(PING);
        assert_eq!(told_to_wait(&ann), 40);
        wait(&server, 39);
        ann.send(PING);
        assert_eq!(told_to_wait(&ann), 1);
        wait(&server, 1);
        is_let_through(&ann);
        ann.send(PING);
        assert_eq!(told_to_wait(&ann), 100);
        assert_eq!(count(&server, |counts| counts.rate_limited), 4);
        assert_eq!(count(&server, |counts| counts.refused), 4);
        assert_eq!(count(&server, |counts| counts.rate_closed), 0);
        server.end();
    }
}

#[test]
fn what_is_refused_for_its_rate_is_not_done() {
    for shards in [1, 2] {
        let server = with_limits(shards, slow());
        let bob = server.connect("bob");
        let ann = server.connect("ann");
        (0..3).for_each(|_| ann.send(PING));
        server.forget();
        for refused in [
            json!({"type": "chat", "content": "unheard"}),
            json!({"type": "publish", "topic": "lobby", "data": 1}),
            json!({"type": "typing", "is_typing": true}),
            json!({"type": "subscribe", "topic": "den"}),
            json!({"type": "unsubscribe", "topic": "lobby"}),
            json!({"type": "rpc", "method": "room.create", "params": {"id": "den"}}),
        ] {
            ann.send(refused);
            told_to_wait(&ann);
        }
        bob.expect_nothing();
        assert_eq!(count(&server, |counts| counts.posted), 0);
        let rooms = (0..shards).map(|shard| server.app(shard).stats().rooms);
        assert_eq!(rooms.sum::<usize>(), 1);
        // She is in the lobby still.
        bob.send(json!({"type": "chat", "content": "hi"}));
        assert_eq!(ann.receive()["content"], "hi");
        server.end();
    }
}

#[test]
fn each_connection_has_a_rate_of_its_own() {
    let server = with_limits(2, slow());
    let (one, other) = (server.connect("ann"), server.connect("ann"));
    server.forget();
    (0..3).for_each(|_| is_let_through(&one));
    one.send(PING);
    told_to_wait(&one);
    (0..3).for_each(|_| is_let_through(&other));
    server.end();
}

#[test]
fn a_users_rate_is_shared_by_all_connections() {
    for shards in [1, 2] {
        let limits = LimitOptions {
            messages_per_second: 1,
            burst: 2,
            user_messages_per_second: 10,
            user_burst: 3,
            ..LimitOptions::default()
        };
        let server = with_limits(shards, limits);
        let (one, other, bob) = (
            server.connect("ann"),
            server.connect("ann"),
            server.connect("bob"),
        );
        server.forget();
        (0..2).for_each(|_| is_let_through(&one));
        is_let_through(&other);
        other.send(PING);
        // The refusal costs the connection nothing: after the time that she was told she may.
        assert_eq!(told_to_wait(&other), 100);
        wait(&server, 100);
        is_let_through(&other);
        // Both are used up, and the longer time is told.
        wait(&server, 100);
        other.send(PING);
        assert_eq!(told_to_wait(&other), 800);
        wait(&server, 800);
        is_let_through(&other);
        is_let_through(&bob);
        server.end();
    }
}

#[test]
fn a_batch_costs_its_messages_and_a_bad_message_costs_one() {
    let server = with_limits(2, slow());
    let ann = server.connect("ann");
    server.forget();
    ann.send(format!("[{}]", [PING; 5].join(",")));
    let types = |client: &Client| -> Vec<Value> {
        let mut all = client.receive_all();
        all.iter_mut().map(|answer| answer["type"].take()).collect()
    };
    assert_eq!(types(&ann), ["pong", "pong", "pong", "error", "error"]);
    for bad in [
        &b"{"[..],
        b"{}",
        b"[]",
        b"[7]",
        b"{\"type\":\"teleport\"}",
        b"",
        b" ",
    ] {
        wait(&server, 100);
        ann.send(std::str::from_utf8(bad).unwrap());
        assert_ne!(ann.receive()["code"], "rate_limited", "{bad:?}");
        ann.send(PING);
        told_to_wait(&ann);
    }
    wait(&server, 100);
    ann.send(b"\x07\x00");
    assert_eq!(ann.receive()["code"], "invalid_message");
    ann.send(b"\x07\x00");
    told_to_wait(&ann);
    server.end();
}

#[test]
fn who_insists_is_closed_with_4529_and_told_when_to_come_back() {
    for shards in [1, 2] {
        let server = with_limits(shards, slow());
        let bob = server.connect("bob");
        let ann = server.connect("ann");
        (0..3).for_each(|_| ann.send(PING));
        server.forget();
        // 19 within ten seconds, however often that is: she stops in time.
        for _ in 0..3 {
            (0..19).for_each(|_| ann.send(PING));
            assert_eq!(ann.receive_all().len(), 19);
            assert_eq!(ann.closed(), None);
            wait(&server, 11_000);
            (0..3).for_each(|_| is_let_through(&ann));
        }
        assert_eq!(count(&server, |counts| counts.rate_closed), 0);
        let flood = format!("[{}]", [PING; 64].join(","));
        server.forget();
        ann.send(flood);
        assert_eq!(ann.receive_all().len(), 20);
        let reason = "too many messages; retry_in_ms=100".to_owned();
        assert_eq!(ann.closed(), Some((4529, reason)));
        assert_eq!(count(&server, |counts| counts.rate_closed), 1);
        assert_eq!(count(&server, |counts| counts.rate_limited), 3 * 19 + 20);
        // It is a leave like any other.
        assert_eq!(bob.receive()["action"], "leave");
        bob.expect_nothing();
        server.end();
    }
}

#[test]
fn nothing_that_follows_the_close_is_done() {
    let server = with_limits(2, slow());
    let bob = server.connect("bob");
    let ann = server.connect("ann");
    server.forget();
    let mut flood = vec![PING; 23];
    flood.push(r#"{"type":"chat","content":"in the batch"}"#);
    ann.write(format!("[{}]", flood.join(",")));
    wait(&server, 0);
    ann.write(r#"{"type":"chat","content":"behind it"}"#);
    server.run();
    assert_eq!(ann.closed().unwrap().0, 4529);
    assert!(bob.receive_all_of("chat").is_empty());
    server.end();
}

#[test]
fn who_does_not_read_its_refusals_is_owed_no_more_than_insisting_takes() {
    let server = with_limits(2, slow());
    let (ann, bob) = (server.connect("ann"), server.connect("bob"));
    server.forget();
    ann.freeze();
    let flood = format!("[{}]", [PING; 64].join(","));
    for _ in 0..200 {
        ann.write(&flood);
    }
    server.run();
    assert_eq!(count(&server, |counts| counts.refused), 20);
    ann.thaw();
    assert_eq!(ann.receive_all().len(), 3 + 20);
    assert_eq!(ann.closed().unwrap().0, 4529);
    bob.forget();
    is_let_through(&bob);
    server.end();
}

#[test]
fn no_rate_is_no_limit() {
    let server = with_limits(2, LimitOptions::without_rates());
    let ann = server.connect("ann");
    server.forget();
    let flood = format!("[{}]", [PING; 64].join(","));
    for _ in 0..50 {
        ann.send(&flood);
        assert_eq!(ann.receive_all_of("pong").len(), 64);
    }
    assert_eq!(count(&server, |counts| counts.refused), 0);
    server.end();
}

#[test]
fn a_route_has_a_size_and_more_closes_1009() {
    let mut routes = Route::defaults();
    routes.push(Route {
        message_bytes_max: Some(100),
        ..Route::new("/small", Profile::V1)
    });
    let options = RealtimeOptions {
        routes,
        ..trusting()
    };
    for shards in [1, 2] {
        let server = TestServer::builder()
            .shards(shards)
            .options(options.clone())
            .start();
        for (path, limit) in [("/small", 100), ("/v1/connect", 32_768)] {
            let client = server
                .connect_to(&format!("{path}?user_id=ann"), &[])
                .unwrap();
            assert_eq!(client.receive()["data"]["max_message_size"], limit);
            let padded = |bytes: usize| format!("{PING:bytes$}");
            client.send(padded(limit));
            assert_eq!(client.receive()["type"], "pong");
            client.send(padded(limit + 1));
            assert_eq!(client.closed().unwrap().0, 1009);
            client.expect_nothing();
        }
        server.end();
    }
}

#[test]
fn a_connection_is_in_its_rooms_and_a_further_one_is_a_conflict() {
    for shards in [1, 2] {
        let limits = LimitOptions {
            rooms_per_connection_max: 2,
            ..LimitOptions::default()
        };
        let server = with_limits(shards, limits);
        let ann = server.connect_to("/v1/connect?user_id=ann", &[]).unwrap();
        ann.forget();
        let join = |room: &str| {
            ann.send(json!({"type": "subscribe", "id": room, "data": {"topic": room}}));
            ann.receive()
        };
        assert_eq!(join("a")["type"], "subscribed");
        assert_eq!(join("b")["type"], "subscribed");
        assert_eq!(join("a")["type"], "subscribed", "she is in it");
        let refused = join("c");
        assert_eq!(
            (&refused["data"]["code"], &refused["id"]),
            (&json!("conflict"), &json!("c"))
        );
        ann.send(json!({"type": "chat", "data": {"room_id": "c", "content": "hi"}}));
        assert_eq!(ann.receive()["data"]["code"], "conflict");
        assert_eq!(count(&server, |counts| counts.too_many_rooms), 2);
        ann.send(json!({"type": "unsubscribe", "data": {"topic": "a"}}));
        assert_eq!(ann.receive()["type"], "unsubscribed");
        assert_eq!(join("c")["type"], "subscribed");
        server.end();
    }
}

#[test]
fn a_room_takes_its_members_and_no_more() {
    for shards in [1, 2, 3] {
        let options = RealtimeOptions {
            namespaces: vec![Namespace {
                members_max: 2,
                ..Namespace::default()
            }],
            ..trusting()
        };
        let server = TestServer::builder()
            .shards(shards)
            .options(options)
            .start();
        let enter = |user: &str| {
            let target = format!("/v1/connect?user_id={user}");
            let client = server.connect_to(&target, &[]).unwrap();
            client.forget();
            client.send(json!({"type": "subscribe", "id": "s", "data": {"topic": "den"}}));
            let answer = client.receive();
            (client, answer)
        };
        let (_, first) = enter("ann");
        let (_, again) = enter("ann");
        let (bob, second) = enter("bob");
        assert_eq!(
            [&first["type"], &again["type"], &second["type"]],
            ["subscribed"; 3]
        );
        let (cid, refused) = enter("cid");
        assert_eq!(
            (&refused["data"]["code"], &refused["id"]),
            (&json!("room_full"), &json!("s"))
        );
        cid.send(json!({"type": "chat", "data": {"room_id": "den", "content": "let me in"}}));
        assert_eq!(cid.receive()["data"]["code"], "room_full");
        cid.expect_nothing();
        bob.expect_nothing();
        assert_eq!(count(&server, |counts| counts.room_full), 2);
        server.end();
    }
}

#[test]
fn a_shard_has_so_many_rooms_and_a_further_one_is_unavailable() {
    let limits = LimitOptions {
        rooms_max: 2,
        ..LimitOptions::default()
    };
    for shards in [1, 2] {
        let server = with_limits(shards, limits);
        let ann = server.connect_to("/v1/connect?user_id=ann", &[]).unwrap();
        ann.forget();
        let mut refused = 0;
        for number in 0..10 {
            ann.send(json!({"type": "subscribe", "id": number, "data": {"topic": number}}));
            let answer = ann.receive();
            if answer["type"] == "error" {
                assert_eq!(
                    (&answer["data"]["code"], &answer["id"]),
                    (&json!("unavailable"), &json!(number))
                );
                assert!(answer["data"]["retry_after_ms"].is_u64(), "{answer}");
                refused += 1;
            }
        }
        assert_eq!(refused, 10 - 2 * u64::from(shards));
        let create = json!({"type": "rpc", "id": 1, "data": {"method": "room.create", "params": {"id": "x"}}});
        ann.send(create);
        assert_eq!(ann.receive()["data"]["code"], "unavailable");
        assert_eq!(count(&server, |counts| counts.unavailable), refused + 1);
        server.end();
    }
}
