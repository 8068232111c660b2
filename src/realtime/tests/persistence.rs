//! Rooms that outlive the process.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::{LimitOptions, Namespace, RealtimeOptions, RetentionOptions};
use super::trusting;
use crate::store::StoreOptions;
use crate::testing::{Client, StoreFolder, TestServer};

/// A store, and the servers that have it one after the other.
pub(super) struct Lives {
    pub(super) folder: StoreFolder,
    options: RealtimeOptions,
    seed: u64,
    unix_ms: u64,
}

impl Lives {
    /// Rooms called `kept…` persist, as `kept` says.
    pub(super) fn new(kept: Namespace) -> Self {
        Self::with(RealtimeOptions {
            namespaces: vec![kept, Namespace::default()],
            limits: LimitOptions {
                messages_per_second: 0,
                ..LimitOptions::default()
            },
            ..trusting()
        })
    }

    pub(super) fn with(options: RealtimeOptions) -> Self {
        Self {
            folder: StoreFolder::new(),
            options,
            seed: 7,
            unix_ms: 1_795_226_400_000,
        }
    }

    pub(super) fn start(&mut self, shards: u16) -> TestServer {
        let options = self.folder.options();
        self.start_on(shards, options)
    }

    /// The next server. It begins when the last one has ended, or a second after it began.
    fn start_on(&mut self, shards: u16, store: StoreOptions) -> TestServer {
        self.seed += 1;
        self.unix_ms += 1000;
        let builder = TestServer::builder().shards(shards).seed(self.seed);
        let builder = builder.options(self.options.clone()).store(store);
        builder.unix_ms(self.unix_ms).start()
    }

    pub(super) fn stop(&mut self, server: TestServer) {
        self.unix_ms = server.unix_ms();
        server.stop();
    }
}

pub(super) fn kept() -> Namespace {
    Namespace {
        pattern: "kept*".into(),
        persist: true,
        ..Namespace::default()
    }
}

/// Connects by the profile `v1`, and takes the welcome.
pub(super) fn v1(server: &TestServer, user: &str) -> Client {
    let client = server.connect_to(&format!("/v1/connect?user_id={user}"), &[]);
    let client = client.unwrap();
    assert_eq!(client.receive()["type"], "connection-status");
    client
}

pub(super) fn subscribe(client: &Client, room: &str) -> Value {
    client.send(json!({"type": "subscribe", "id": "s", "data": {"topic": room}}));
    client.expect("subscribed")["data"].clone()
}

fn recover(client: &Client, room: &str, epoch: &Value, offset: u64) -> Value {
    let recover = json!({"epoch": epoch, "offset": offset});
    client.send(json!({"type": "subscribe", "data": {"topic": room, "recover": recover}}));
    client.expect("subscribed")["data"].clone()
}

fn publication(room: &str, data: impl Into<Value>) -> Value {
    json!({"type": "publish", "id": "p", "data": {"topic": room, "data": data.into()}})
}

/// Publishes and is acknowledged.
pub(super) fn publish(client: &Client, room: &str, data: impl Into<Value>) -> Value {
    client.send(publication(room, data));
    client.expect("ack")["data"].clone()
}

/// What was published, in the order of its arrival.
fn heard(client: &Client) -> Vec<(u64, Value)> {
    let all = client.receive_all_of("publish");
    let one = |m: &Value| (m["offset"].as_u64().unwrap(), m["data"]["data"].clone());
    all.iter().map(one).collect()
}

pub(super) fn history(client: &Client, params: Value) -> Value {
    client.send(json!({"type": "rpc", "id": "h",
        "data": {"method": "room.history", "params": params}}));
    client.expect("rpc")["data"]["result"].clone()
}

/// Offsets and data of a page, and the cursor of the next one.
fn page(client: &Client, params: Value) -> (Vec<(u64, Value)>, Value) {
    let page = history(client, params);
    let messages = page["messages"].as_array().unwrap();
    let one = |m: &Value| (m["offset"].as_u64().unwrap(), m["data"]["data"].clone());
    (
        messages.iter().map(one).collect(),
        page["next_cursor"].clone(),
    )
}

fn count(server: &TestServer, of: impl Fn(&super::super::Counts) -> u64) -> u64 {
    let shards = 0..server.shard_count();
    shards
        .map(|shard| of(&server.app(shard).stats().counts))
        .sum()
}

fn rooms(server: &TestServer) -> usize {
    (0..server.shard_count())
        .map(|shard| server.app(shard).stats().rooms)
        .sum()
}

#[test]
fn req_3_9_offsets_and_recovery_go_on_over_a_restart() {
    for shards in [1, 2, 3] {
        let mut lives = Lives::new(kept());
        let server = lives.start(shards);
        let (ann, bob) = (v1(&server, "ann"), v1(&server, "bob"));
        let subscribed = subscribe(&ann, "kept");
        assert_eq!(subscribed["offset"], 0);
        subscribe(&bob, "kept");
        for n in 1..=3 {
            let ack = publish(&ann, "kept", n);
            assert_eq!(
                (&ack["offset"], &ack["epoch"]),
                (&n.into(), &subscribed["epoch"])
            );
        }
        assert_eq!(heard(&bob), [(1, 1.into()), (2, 2.into()), (3, 3.into())]);
        lives.stop(server);

        let server = lives.start(shards);
        let (ann, bob) = (v1(&server, "ann"), v1(&server, "bob"));
        let recovered = recover(&bob, "kept", &subscribed["epoch"], 1);
        assert_eq!(recovered["epoch"], subscribed["epoch"]);
        assert_eq!(
            (&recovered["recovered"], &recovered["offset"]),
            (&true.into(), &3.into())
        );
        assert_eq!(recovered["replayed"], 2);
        let ack = publish(&ann, "kept", 4);
        assert_eq!(
            (&ack["offset"], &ack["epoch"]),
            (&4.into(), &subscribed["epoch"])
        );
        assert_eq!(heard(&bob), [(2, 2.into()), (3, 3.into()), (4, 4.into())]);
        server.end();
    }
}

#[test]
fn letters_wait_while_a_room_is_loaded() {
    for shards in [1, 2, 3] {
        let mut lives = Lives::new(kept());
        let server = lives.start(shards);
        let epoch = publish(&v1(&server, "ann"), "kept", "old")["epoch"].clone();
        lives.stop(server);

        let server = lives.start(shards);
        let clients: Vec<Client> = (0..4).map(|n| v1(&server, &format!("u{n}"))).collect();
        for (n, client) in clients.iter().enumerate() {
            client.write(
                json!({"type": "subscribe", "id": n, "data": {"topic": "kept",
                "recover": {"epoch": epoch, "offset": 0}}}),
            );
            client.write(publication("kept", n));
        }
        server.run();
        for (n, client) in clients.iter().enumerate() {
            let all = client.receive_all();
            let of = |name: &str| all.iter().filter(|m| m["type"] == name).count();
            assert_eq!(
                (of("subscribed"), of("ack"), of("error")),
                (1, 1, 0),
                "{all:?}"
            );
            let publications = all.iter().filter(|m| m["type"] == "publish");
            let data: Vec<_> = publications.map(|m| m["data"]["data"].clone()).collect();
            assert_eq!(data[0], "old");
            assert_eq!(
                data.len(),
                4,
                "the old one and those of the others: {data:?}"
            );
            assert!(!data.contains(&n.into()));
        }
        server.end();
    }
}

#[test]
fn a_persistent_room_is_unloaded_and_loaded_again() {
    let mut lives = Lives::new(kept());
    let server = lives.start(2);
    let ann = v1(&server, "ann");
    let first = publish(&ann, "kept", 1);
    ann.disconnect();
    server.advance(Duration::from_secs(62));
    assert_eq!(rooms(&server), 0);
    let ann = v1(&server, "ann");
    let subscribed = subscribe(&ann, "kept");
    assert_eq!(
        (&subscribed["offset"], &subscribed["epoch"]),
        (&1.into(), &first["epoch"])
    );
    assert_eq!(publish(&ann, "kept", 2)["offset"], 2);
    server.end();
}

#[test]
fn what_nobody_may_make_is_told_so_and_does_not_spoil_what_follows() {
    let mut lives = Lives::new(kept());
    let server = lives.start(2);
    let ann = v1(&server, "ann");
    // In one go, so that both wait for the store.
    ann.write(
        json!({"type": "rpc", "id": 1, "data": {"method": "room.get",
        "params": {"room_id": "kept"}}}),
    );
    ann.write(json!({"type": "subscribe", "id": 2, "data": {"topic": "kept"}}));
    server.run();
    assert_eq!(ann.expect("error")["data"]["code"], "not_found");
    assert_eq!(ann.expect("subscribed")["id"], 2);
    ann.send(
        json!({"type": "rpc", "id": 3, "data": {"method": "room.get",
        "params": {"room_id": "kept-else"}}}),
    );
    assert_eq!(ann.expect("error")["data"]["code"], "not_found");
    assert_eq!(rooms(&server), 1);
    server.end();
}

#[test]
fn a_leave_and_typing_come_after_the_members_last_message() {
    for shards in [1, 2, 3] {
        let mut lives = Lives::new(kept());
        let server = lives.start(shards);
        let (ann, bob) = (v1(&server, "ann"), v1(&server, "bob"));
        subscribe(&ann, "kept");
        bob.send(json!({"type": "subscribe", "data": {"topic": "kept", "presence": true}}));
        server.forget();
        ann.write(publication("kept", "last"));
        ann.write(json!({"type": "typing", "data": {"room_id": "kept", "is_typing": true}}));
        ann.hang_up();
        server.run();
        let types: Vec<_> = bob
            .receive_all()
            .iter()
            .map(|m| m["type"].clone())
            .collect();
        assert_eq!(types, ["publish", "typing", "typing", "presence"]);
        server.end();
    }
}

#[test]
fn who_leaves_and_comes_back_while_a_message_is_stored_is_a_member() {
    for shards in [1, 2] {
        let mut lives = Lives::new(kept());
        let server = lives.start(shards);
        let (ann, bob) = (v1(&server, "ann"), v1(&server, "bob"));
        subscribe(&ann, "kept");
        ann.write(publication("kept", 1));
        ann.write(json!({"type": "unsubscribe", "data": {"topic": "kept"}}));
        ann.write(json!({"type": "subscribe", "id": "again", "data": {"topic": "kept"}}));
        server.run();
        assert_eq!(ann.expect("subscribed")["id"], "again");
        publish(&bob, "kept", 2);
        assert_eq!(heard(&ann), [(2, 2.into())]);
        assert_eq!(publish(&ann, "kept", 3)["offset"], 3, "still a member");
        server.end();
    }
}

#[test]
fn a_repeat_gets_the_first_answer_over_a_restart_and_before_the_commit() {
    let mut lives = Lives::new(kept());
    let server = lives.start(2);
    let (ann, bob) = (v1(&server, "ann"), v1(&server, "bob"));
    subscribe(&bob, "kept");
    let named = |data: &str, id: &str| {
        json!({"type": "publish", "id": "p",
            "data": {"topic": "kept", "data": data, "client_message_id": id}})
    };
    for _ in 0..3 {
        ann.write(named("once", "c1"));
    }
    server.run();
    let acks = ann.receive_all_of("ack");
    assert_eq!(acks.len(), 3);
    let first = acks[0]["data"].clone();
    assert!(acks.iter().all(|ack| ack["data"] == first), "{acks:?}");
    assert_eq!(heard(&bob), [(1, "once".into())]);
    assert_eq!(count(&server, |counts| counts.repeats), 2);
    lives.stop(server);

    let server = lives.start(2);
    let (ann, bob) = (v1(&server, "ann"), v1(&server, "bob"));
    subscribe(&bob, "kept");
    ann.send(named("once", "c1"));
    assert_eq!(ann.expect("ack")["data"], first);
    assert_eq!(heard(&bob), []);
    server.advance(Duration::from_secs(300));
    ann.send(named("twice", "c1"));
    assert_eq!(
        ann.expect("ack")["data"]["offset"],
        2,
        "the window has ended"
    );
    assert_eq!(heard(&bob), [(2, "twice".into())]);
    server.end();
}

// The page was never begun, and nobody said so: whoever had asked waited for ever.
#[test]
fn who_asks_the_store_while_the_service_thread_has_no_room_is_told() {
    let mut lives = Lives::new(kept());
    let server = lives.start(2);
    let ann = v1(&server, "ann");
    subscribe(&ann, "kept");
    publish(&ann, "kept", json!("one"));
    server.refuse_spawned_work(true);
    let unknown = "01936f2a-7c41-7b52-9d0e-5f1c2a3b4d5e";
    for (method, params) in [
        ("room.list", json!({})),
        (
            "room.history",
            json!({"room_id": "kept", "before": unknown}),
        ),
    ] {
        ann.send(
            json!({"type": "rpc", "id": method, "data": {"method": method, "params": params}}),
        );
        let refused = ann.expect("error");
        assert_eq!(refused["id"], method);
        assert_eq!(refused["data"]["code"], "unavailable");
        assert_eq!(refused["data"]["retry_after_ms"], 1000);
    }
    server.refuse_spawned_work(false);
    server.end();
}

#[test]
fn a_busy_store_refuses_and_loses_nothing_it_has_taken() {
    let mut lives = Lives::new(kept());
    let store = StoreOptions {
        queue_max: 4,
        ..lives.folder.options()
    };
    let server = lives.start_on(2, store);
    let (ann, bob) = (v1(&server, "ann"), v1(&server, "bob"));
    subscribe(&ann, "kept");
    subscribe(&bob, "kept");
    let mut acknowledged = Vec::new();
    let mut refused = 0;
    // Whether the thread of the store keeps up is not ours to say.
    for round in 0..200 {
        for n in 0..40 {
            ann.write(json!({"type": "publish", "id": round * 40 + n,
                "data": {"topic": "kept", "data": round * 40 + n}}));
        }
        server.run();
        for answer in ann.receive_all() {
            match answer["type"].as_str().unwrap() {
                "ack" => acknowledged.push((
                    answer["data"]["offset"].as_u64().unwrap(),
                    answer["id"].clone(),
                )),
                _ => {
                    let error = &answer["data"];
                    if error["code"] == "unavailable" {
                        assert!(error["retry_after_ms"].as_u64().unwrap() > 0);
                        refused += 1;
                    }
                }
            }
        }
        server.advance(Duration::from_secs(1));
        if refused > 0 && acknowledged.len() > 20 {
            break;
        }
    }
    assert!(refused > 0, "the queue was never full");
    assert_eq!(count(&server, |counts| counts.unavailable), refused);
    assert_eq!(heard(&bob), acknowledged);
    assert!(
        acknowledged
            .iter()
            .map(|(offset, _)| *offset)
            .eq(1..=acknowledged.len() as u64)
    );
    let next = acknowledged.len() as u64 + 1;
    assert_eq!(publish(&ann, "kept", "later")["offset"], next);
    server.end();
}

#[test]
fn a_full_store_refuses_until_there_is_room() {
    let mut lives = Lives::new(kept());
    let store = StoreOptions {
        file_bytes_max: 512 * 1024,
        ..lives.folder.options()
    };
    let server = lives.start_on(2, store);
    let (ann, bob) = (v1(&server, "ann"), v1(&server, "bob"));
    ann.send(
        json!({"type": "rpc", "id": 1, "data": {"method": "room.create",
        "params": {"room_id": "kept-large"}}}),
    );
    assert_eq!(ann.expect("rpc")["id"], 1);
    let large = "x".repeat(16 * 1024);
    let fill = |room: &str| {
        let mut acknowledged = 0;
        loop {
            server.advance(Duration::from_secs(1));
            ann.send(publication(room, large.as_str()));
            let answer = ann.receive_all().pop().unwrap();
            if answer["type"] == "error" {
                assert_eq!(answer["data"]["code"], "unavailable");
                assert!(answer["data"]["retry_after_ms"].as_u64().unwrap() > 0);
                return acknowledged;
            }
            acknowledged += 1;
        }
    };
    let large_count = fill("kept-large");
    assert!((5..=32).contains(&large_count));
    // A room that was first heard of while there was no room for it works, too, afterwards.
    assert_eq!(fill("kept"), 0);
    assert_eq!(count(&server, |counts| counts.unavailable), 2);
    // What is there can be read.
    let (messages, _) = page(
        &ann,
        json!({"room_id": "kept-large", "after": 0, "limit": 3}),
    );
    assert_eq!(messages.len(), 3);
    ann.send(
        json!({"type": "rpc", "id": 2, "data": {"method": "room.close",
        "params": {"room_id": "kept-large"}}}),
    );
    ann.expect("rpc");
    subscribe(&bob, "kept");
    let mut offset = None;
    // Deleting takes a while; the first of these has the store make the room.
    for _ in 0..100 {
        server.advance(Duration::from_secs(1));
        ann.send(publication("kept", large.as_str()));
        let answer = ann.receive_all().pop().unwrap();
        if answer["type"] == "ack" {
            offset = answer["data"]["offset"].as_u64();
            break;
        }
    }
    assert_eq!(offset, Some(1));
    assert_eq!(heard(&bob), [(1, large.into())]);
    lives.stop(server);

    let server = lives.start(1);
    let ann = v1(&server, "ann");
    assert_eq!(subscribe(&ann, "kept")["offset"], 1);
    server.end();
}

#[test]
fn a_room_that_cannot_be_loaded_is_unavailable() {
    for shards in [1, 2] {
        let mut lives = Lives::new(kept());
        let server = lives.start(shards);
        let (ann, bob) = (v1(&server, "ann"), v1(&server, "bob"));
        subscribe(&ann, "kept");
        server.clone().stop();
        bob.send(json!({"type": "subscribe", "id": 1, "data": {"topic": "kept-else"}}));
        let refused = bob.expect("error");
        assert_eq!(
            (&refused["id"], &refused["data"]["code"]),
            (&1.into(), &"unavailable".into())
        );
        bob.send(publication("kept-else", 1));
        assert_eq!(bob.expect("error")["data"]["code"], "unavailable");
        bob.expect_nothing();
        ann.send(publication("kept", 1));
        assert_eq!(ann.expect("error")["data"]["code"], "unavailable");
        assert_eq!(count(&server, |counts| counts.unavailable), 3);
        assert_eq!(rooms(&server), 1);
        server.end();
    }
}

#[test]
fn a_room_that_is_closed_is_gone_from_the_store() {
    let mut lives = Lives::new(kept());
    let server = lives.start(2);
    let ann = v1(&server, "ann");
    ann.send(
        json!({"type": "rpc", "id": 1, "data": {"method": "room.create",
        "params": {"room_id": "kept", "name": "Kept", "metadata": {"a": [1]}}}}),
    );
    let made = ann.expect("rpc")["data"]["result"].clone();
    let old = publish(&ann, "kept", 1);
    lives.stop(server);

    let server = lives.start(2);
    let ann = v1(&server, "ann");
    subscribe(&ann, "kept");
    ann.send(
        json!({"type": "rpc", "id": 1, "data": {"method": "room.get",
        "params": {"room_id": "kept"}}}),
    );
    let mut kept = ann.expect("rpc")["data"]["result"].clone();
    kept["members"] = 0.into();
    assert_eq!(kept, made, "the metadata outlive the process");
    ann.write(publication("kept", 2));
    ann.write(
        json!({"type": "rpc", "id": 2, "data": {"method": "room.close",
        "params": {"room_id": "kept"}}}),
    );
    server.run();
    ann.expect("rpc");
    let new = publish(&ann, "kept", 3);
    assert_eq!(new["offset"], 1, "another room of that name");
    assert_ne!(new["epoch"], old["epoch"]);
    server.end();
}

#[test]
fn req_3_9_retention_is_the_namespaces_and_follows_it() {
    let retention = |messages, age_s, bytes| RetentionOptions {
        messages,
        age: Duration::from_secs(age_s),
        bytes,
    };
    for (retention, kept_count) in [
        (retention(5, 0, 0), 5),
        (retention(0, 65, 0), 10),
        (retention(0, 0, 1000), 2),
    ] {
        // Made without a limit, by an earlier configuration.
        let mut lives = Lives::new(Namespace {
            retention: RetentionOptions {
                messages: 0,
                ..RetentionOptions::default()
            },
            ..kept()
        });
        let server = lives.start(1);
        let ann = v1(&server, "ann");
        for n in 1..=20 {
            let data = json!({"n": n, "pad": "x".repeat(400)});
            assert_eq!(publish(&ann, "kept", data)["offset"], n);
            server.advance(Duration::from_secs(1));
        }
        lives.stop(server);
        lives.options.namespaces[0].retention = retention;
        let server = lives.start(1);
        let ann = v1(&server, "ann");
        subscribe(&ann, "kept");
        let mut left = Vec::new();
        // The store deletes when it has nothing else to do, and is told the time once a minute.
        for _ in 0..100 {
            ann.send(
                json!({"type": "rpc", "id": 1, "data": {"method": "room.history",
                "params": {"room_id": "kept", "after": 0, "limit": 100}}}),
            );
            let page = ann.expect("rpc")["data"]["result"].clone();
            let messages = page["messages"].as_array().unwrap();
            left = messages
                .iter()
                .map(|m| m["offset"].as_u64().unwrap())
                .collect();
            if left.len() <= kept_count {
                break;
            }
            server.advance(Duration::from_secs(1));
        }
        assert!(
            left.iter().copied().eq(21 - left.len() as u64..=20),
            "{left:?}"
        );
        assert!(
            (1..=kept_count).contains(&left.len()),
            "{retention:?}: {left:?}"
        );
        server.end();
    }
}
