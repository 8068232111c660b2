//! Subscribing, unsubscribing and publishing; recovery of what was missed (S001).

use std::time::Duration;

use serde_json::{Value, json};

use super::super::{HistoryOptions, Namespace, RealtimeOptions};
use super::{builder, server, subscribe, trusting, v1};
use crate::shard;
use crate::testing::Client;

fn with_history(history: HistoryOptions) -> RealtimeOptions {
    RealtimeOptions {
        namespaces: vec![Namespace {
            history,
            ..Namespace::default()
        }],
        ..trusting()
    }
}

fn publish(client: &Client, room: &str, data: impl Into<Value>) {
    client.write(publication(room, data));
}

fn publication(room: &str, data: impl Into<Value>) -> Value {
    let data: Value = data.into();
    json!({"type": "publish", "data": {"topic": room, "data": data}})
}

/// The offsets of the publications that a client has got since it was looked at, all of which must
/// carry their own offset as data; the other messages are passed over.
fn offsets(client: &Client) -> Vec<u64> {
    let all = client.receive_all_of("publish");
    let offset = |message: &Value| {
        let offset = message["offset"].as_u64().unwrap();
        assert_eq!(message["data"]["data"], offset, "{message}");
        offset
    };
    all.iter().map(offset).collect()
}

#[test]
fn req_1_3_subscribe_publish_unsubscribe() {
    for shards in [1, 2, 3] {
        let server = server(shards, trusting());
        let (ann, bob) = (v1(&server, "ann"), v1(&server, "bob"));
        for client in [&ann, &bob] {
            client.send(json!({"type": "subscribe", "id": 2, "data": {"topic": "prices"}}));
        }
        let answer = bob.receive();
        assert_eq!(
            (&answer["type"], &answer["id"]),
            (&json!("subscribed"), &json!(2))
        );
        let (epoch, data) = (answer["data"]["epoch"].clone(), answer["data"].clone());
        assert_eq!(epoch.as_str().unwrap().len(), 12);
        assert_eq!(
            data,
            json!({"topic": "prices", "epoch": epoch, "offset": 0, "members": 2})
        );
        ann.forget();

        let tick =
            json!({"topic": "prices", "data": {"btc": 50010}, "event": "tick", "key": "btc"});
        ann.send(json!({"type": "publish", "id": "4", "data": tick}));
        let ack = ann.receive();
        let id = ack["data"]["message_id"].clone();
        assert_eq!((&ack["type"], &ack["id"]), (&json!("ack"), &json!("4")));
        let at = json!({"topic": "prices", "message_id": id, "epoch": epoch, "offset": 1});
        assert_eq!(ack["data"], at);
        ann.expect_nothing();
        let got = bob.receive();
        let expected = json!({
            "type": "publish", "id": id, "room_id": "prices", "user_id": "ann", "offset": 1,
            "timestamp": "2026-11-21T02:00:00.000Z",
            "data": {"topic": "prices", "event": "tick", "data": {"btc": 50010}, "key": "btc"},
        });
        assert_eq!(got, expected);

        ann.send(json!({"type": "publish", "data": {"topic": "prices", "data": 1, "echo": true}}));
        assert_eq!(
            ann.receive()["data"]["data"],
            1,
            "no id, no ack; but an echo"
        );
        assert_eq!(bob.receive()["data"]["data"], 1);
        bob.send(json!({"type": "unsubscribe", "id": 3, "data": {"topic": "prices"}}));
        let answer = bob.receive();
        assert_eq!(
            (&answer["type"], &answer["id"]),
            (&json!("unsubscribed"), &json!(3))
        );
        assert_eq!(answer["data"], json!({"topic": "prices"}));
        ann.send(publication("prices", 2));
        bob.expect_nothing();
        bob.send(json!({"type": "unsubscribe", "id": 4, "data": {"topic": "prices"}}));
        assert_eq!(bob.receive()["data"]["code"], "not_subscribed");
        bob.send(json!({"type": "subscribe", "id": 5}));
        assert_eq!(bob.receive()["data"]["code"], "room_required");
        server.end();
    }
}

#[test]
fn what_a_subscription_cannot_be_is_refused() {
    let server = server(2, trusting());
    let ann = v1(&server, "ann");
    for data in [
        json!({"topic": ""}),
        json!({"topic": "t".repeat(300)}),
        json!({"topic": ["t"]}),
        json!({"topic": "t", "recover": 5}),
        json!({"topic": "t", "recover": {}}),
        json!({"topic": "t", "recover": {"epoch": "e"}}),
        json!({"topic": "t", "recover": {"epoch": 5, "offset": 5}}),
        json!({"topic": "t", "recover": {"epoch": "e", "offset": -5}}),
        json!({"topic": "t", "recover": {"epoch": "e", "offset": 1e30}}),
        json!({"topic": "t", "recover": {"epoch": "e".repeat(65), "offset": 5}}),
        json!({"topic": "t", "presence": "yes"}),
        json!({"topic": "t", "info": []}),
    ] {
        let refused = subscribe(&ann, data.clone());
        assert_eq!(refused["code"], "invalid_message", "{data} {refused}");
    }
    let large = json!({"topic": "t", "info": {"x": "x".repeat(2000)}});
    assert_eq!(subscribe(&ann, large)["code"], "payload_too_large");
    server.end();
}

/// Somebody is gone while things are said, and comes back while more are said. `at`: the shards of
/// the room, of who comes back, and of the speaker.
fn comes_back(shards: u16, at: [u16; 3], (before, meanwhile): (u64, u64)) {
    let server = server(shards, trusting());
    let [room, user, speaker] = ["room", "user", "speaker"];
    let room = server.name_at(room, at[0]);
    let user = server.name_at(user, at[1]);
    let speaker = v1(&server, &server.name_at(speaker, at[2]));
    subscribe(&speaker, json!({"topic": room}));
    let gone = v1(&server, &user);
    let epoch = subscribe(&gone, json!({"topic": room}))["epoch"].clone();
    let mut said = 0;
    let mut say = |count| {
        for _ in 0..count {
            said += 1;
            publish(&speaker, &room, said);
        }
        said
    };
    say(before);
    server.run();
    assert_eq!(offsets(&gone).len() as u64, before);
    gone.disconnect();
    say(meanwhile);
    server.run();
    let back = v1(&server, &user);
    // 1. Some are on their way. 2. The subscription, too. 3. More follow, and then others.
    say(5);
    let recover = json!({"epoch": epoch, "offset": before});
    back.write(json!({"type": "subscribe", "id": 1, "data": {"topic": room, "recover": recover}}));
    say(5);
    server.run();
    let last = say(1);
    server.run();
    let answer = back.receive();
    assert_eq!(answer["type"], "subscribed", "before anything else");
    assert_eq!(answer["data"]["recovered"], true, "{answer}");
    let replayed = answer["data"]["replayed"].as_u64().unwrap();
    assert_eq!(answer["data"]["offset"], before + replayed);
    assert!(replayed >= meanwhile);
    let expected: Vec<u64> = (before + 1..=last).collect();
    assert_eq!(offsets(&back), expected, "no gap, no duplicate, in order");
    server.end();
}

#[test]
fn req_1_9_who_comes_back_gets_what_was_missed_once_and_in_order() {
    for shards in [1, 2, 3] {
        for number in 0..u16::pow(shards, 3) {
            let at = [number, number / shards, number / shards / shards].map(|n| n % shards);
            for counts in [(0, 0), (0, 4), (3, 0), (3, 4)] {
                comes_back(shards, at, counts);
            }
        }
    }
}

#[test]
fn a_recovery_is_whole_or_not_at_all() {
    for shards in [1, 2, 3] {
        let history = HistoryOptions {
            size: 5,
            ttl: Duration::from_secs(60),
            ..HistoryOptions::default()
        };
        let server = server(shards, with_history(history));
        let (ann, bob) = (v1(&server, "ann"), v1(&server, "bob"));
        let epoch = subscribe(&ann, json!({"topic": "t"}))["epoch"].clone();
        for said in 1..=8 {
            ann.send(publication("t", said));
        }
        let recover = |epoch: &Value, offset: u64| {
            let recover = json!({"epoch": epoch, "offset": offset});
            let answer = subscribe(&bob, json!({"topic": "t", "recover": recover}));
            assert_eq!(answer["offset"], 8);
            let replayed = answer["replayed"].as_u64().unwrap();
            let got = offsets(&bob);
            assert_eq!(got.len() as u64, replayed);
            (answer["recovered"].as_bool().unwrap(), got)
        };
        assert_eq!(recover(&epoch, 8), (true, vec![]), "nothing was missed");
        assert_eq!(recover(&epoch, 6), (true, vec![7, 8]));
        assert_eq!(
            recover(&epoch, 3),
            (true, vec![4, 5, 6, 7, 8]),
            "all there is"
        );
        assert_eq!(recover(&epoch, 2), (false, vec![]), "the window has passed");
        assert_eq!(recover(&epoch, 9), (false, vec![]), "ahead of the room");
        assert_eq!(recover(&epoch, u64::MAX), (false, vec![]));
        assert_eq!(recover(&json!("other"), 6), (false, vec![]), "another life");
        server.advance(Duration::from_secs(61));
        assert_eq!(recover(&epoch, 6), (false, vec![]), "too old");
        assert_eq!(recover(&epoch, 8), (true, vec![]));
        server.end();
    }
}

#[test]
fn a_room_without_history_has_no_offsets_and_recovers_nothing() {
    let history = HistoryOptions {
        size: 0,
        ..HistoryOptions::default()
    };
    let server = server(2, with_history(history));
    let ann = v1(&server, "ann");
    let data = json!({"topic": "t", "recover": {"epoch": "e", "offset": 0}});
    let answer = subscribe(&ann, data);
    let expected = json!({"topic": "t", "recovered": false, "replayed": 0, "members": 1});
    assert_eq!(answer, expected);
    let echoed = json!({"topic": "t", "data": 1, "echo": true});
    ann.send(json!({"type": "publish", "id": 1, "data": echoed}));
    let ack = ann.expect("ack");
    assert_eq!(
        (&ack["data"]["offset"], &ack["data"]["epoch"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(ann.expect("publish")["offset"], Value::Null);
    server.end();
}

#[test]
fn what_does_not_fit_the_queue_is_not_recovered() {
    for shards in [1, 3] {
        let core = shard::Options {
            queue_bytes_max: 32 * 1024,
            compression: None,
            ..Default::default()
        };
        let server = builder(shards, trusting()).core_options(core).start();
        let (ann, bob) = (v1(&server, "ann"), v1(&server, "bob"));
        let epoch = subscribe(&ann, json!({"topic": "t"}))["epoch"].clone();
        for _ in 0..40 {
            ann.send(publication("t", "x".repeat(1000)));
        }
        let recover = |offset: u64| {
            let recover = json!({"epoch": epoch, "offset": offset});
            subscribe(&bob, json!({"topic": "t", "recover": recover}))
        };
        let whole = recover(20);
        assert_eq!(
            (&whole["recovered"], &whole["replayed"]),
            (&json!(true), &json!(20))
        );
        assert_eq!(bob.receive_all_of("publish").len(), 20);
        let nothing = recover(2);
        assert_eq!(
            (&nothing["recovered"], &nothing["replayed"]),
            (&json!(false), &json!(0))
        );
        bob.expect_nothing();
        ann.send(publication("t", 41));
        assert_eq!(offsets(&bob), [41], "it goes on");
        let count = |of: fn(&super::super::Counts) -> u64| -> u64 {
            (0..shards)
                .map(|shard| of(&server.app(shard).stats().counts))
                .sum()
        };
        assert_eq!(count(|c| c.recovered), 1);
        assert_eq!(count(|c| c.unrecovered), 1);
        assert_eq!(count(|c| c.replayed), 20);
        server.end();
    }
}

#[test]
fn a_connection_that_subscribes_again_begins_anew() {
    for shards in [1, 2, 3] {
        let server = server(shards, trusting());
        let (ann, bob) = (v1(&server, "ann"), v1(&server, "bob"));
        let epoch = subscribe(&bob, json!({"topic": "t"}))["epoch"].clone();
        for said in 1..=4 {
            ann.send(publication("t", said));
        }
        assert_eq!(offsets(&bob), [1, 2, 3, 4]);
        let again = json!({"topic": "t", "recover": {"epoch": epoch, "offset": 2}});
        assert_eq!(subscribe(&bob, again)["members"], 2);
        assert_eq!(offsets(&bob), [3, 4], "what it says that it lacks");
        ann.send(publication("t", 5));
        assert_eq!(offsets(&bob), [5], "once");
        // Twice at once: each is answered or overtaken by the next, and it is in once.
        for id in 1..=3 {
            bob.write(json!({"type": "subscribe", "id": id, "data": {"topic": "t"}}));
        }
        server.run();
        assert_eq!(bob.receive_all_of("subscribed").pop().unwrap()["id"], 3);
        ann.send(publication("t", 6));
        assert_eq!(offsets(&bob), [6]);
        bob.send(json!({"type": "unsubscribe", "data": {"topic": "t"}}));
        ann.send(publication("t", 7));
        assert_eq!(offsets(&bob), [0; 0]);
        assert_eq!(server.app(server.home("t")).members("t").count, 1);
        server.end();
    }
}

#[test]
fn who_unsubscribes_while_joining_is_not_in() {
    for (room_at, user_at) in [(0, 0), (0, 1), (1, 0), (1, 2)] {
        let server = server(3, trusting());
        let (room, user) = (server.name_at("r", room_at), server.name_at("u", user_at));
        let (ann, bob) = (v1(&server, "ann"), v1(&server, &user));
        let subscribe = json!({"type": "subscribe", "id": 1, "data": {"topic": room}});
        let unsubscribe = json!({"type": "unsubscribe", "id": 2, "data": {"topic": room}});
        bob.write(&subscribe);
        bob.write(&unsubscribe);
        server.run();
        assert_eq!(bob.receive_all().pop().unwrap()["type"], "unsubscribed");
        ann.send(publication(&room, 1));
        bob.expect_nothing();
        assert_eq!(server.app(room_at).members(&room).count, 1);
        for message in [&subscribe, &unsubscribe, &subscribe] {
            bob.write(message);
        }
        server.run();
        assert_eq!(bob.receive_all().pop().unwrap()["type"], "subscribed");
        ann.send(publication(&room, 2));
        assert_eq!(offsets(&bob), [2]);
        server.end();
    }
}

#[test]
fn who_is_gone_while_joining_leaves_nothing_behind() {
    for shards in [1, 2, 3] {
        let server = server(shards, trusting());
        for number in 0..20 {
            let client = v1(&server, &format!("user-{number}"));
            for topic in 0..3 {
                client.write(json!({"type": "subscribe", "data": {"topic": format!("t-{topic}")}}));
            }
            client.hang_up();
        }
        // Nothing waits for anybody: `end` looks at the shards' holds, too.
        server.end();
    }
}
