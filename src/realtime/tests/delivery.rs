//! Sent, delivered and read: what authors hear of their messages, and what those get who were away.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::{DeliveryOptions, DeliveryProof, Namespace, RealtimeOptions};
use super::persistence::{Lives, kept};
use super::{call, connect, server, trusting, v1};
use crate::testing::{Client, TestServer};

const SECOND: Duration = Duration::from_secs(1);

fn options(delivery: DeliveryOptions) -> RealtimeOptions {
    RealtimeOptions {
        delivery,
        ..trusting()
    }
}

fn proof(proof: DeliveryProof) -> DeliveryOptions {
    DeliveryOptions {
        proof,
        ..DeliveryOptions::default()
    }
}

/// Connects in the profile `message`, to no room.
fn enter(server: &TestServer, user: &str) -> Client {
    connect(server, "/api/v1/ws", user)
}

fn chat(room: &str, text: &str) -> Value {
    json!({"type": "chat", "message":
        {"chat_id": room, "content": text, "client_message_id": text}})
}

/// Says something, by which one is a member. Gives the message's identifier; passes over what came in
/// before the answer.
fn say(client: &Client, room: &str, text: &str) -> String {
    client.send(chat(room, text));
    loop {
        let told = client.expect("message-status")["message"].clone();
        if told["status"] == "sent" {
            assert_eq!(told["client_message_id"], text);
            return told["message_id"].as_str().unwrap().to_owned();
        }
    }
}

/// What the author has been told: messages, statuses, and whose they are.
fn statuses(client: &Client) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = client.receive_all_of("message-status");
    let one = |m: &Value| {
        let m = &m["message"];
        (
            text(&m["message_id"]),
            text(&m["status"]),
            text(&m["recipient_id"]),
        )
    };
    all.iter().map(one).collect()
}

fn status(id: &str, status: &str, user: &str) -> (String, String, String) {
    (id.to_owned(), status.to_owned(), user.to_owned())
}

fn receipt(client: &Client, room: &str, name: &str, id: &str, status: &str) {
    client.send(json!({"type": "message-status",
        "message": {"chat_id": room, name: id, "status": status}}));
}

/// The texts of the chats that came in, in either shape.
fn texts(client: &Client) -> Vec<String> {
    let all = client.receive_all_of("chat");
    let text = |m: &Value| {
        let content = m["message"].get("content").unwrap_or(&m["content"]);
        content.as_str().unwrap().to_owned()
    };
    all.iter().map(text).collect()
}

#[test]
fn req_2_10_a_message_is_sent_then_delivered_then_read() {
    for shards in [1, 2, 3] {
        for how in [
            DeliveryProof::Pong,
            DeliveryProof::Write,
            DeliveryProof::Ack,
        ] {
            let server = server(shards, options(proof(how)));
            let room = server.name_at("room", 0);
            // The author, the reader and the room on shards of their own.
            let (author, reader) = (
                server.name_at("ann", 1 % shards),
                server.name_at("bob", 2 % shards),
            );
            let (ann, ann_too) = (enter(&server, &author), enter(&server, &author));
            let bob = enter(&server, &reader);
            say(&bob, &room, "here");
            server.advance(2 * SECOND);
            server.forget();
            let id = say(&ann, &room, "hi");
            let heard = bob.expect("chat")["message"].clone();
            assert_eq!(heard["message_id"], *id);
            assert_eq!(
                heard["recipients"],
                json!([{"message_id": id, "recipient_id": reader, "status": "sent",
                    "updated_at": heard["sent_at"]}])
            );
            server.advance(2 * SECOND);
            let delivered = [status(&id, "delivered", &reader)];
            let proved = &delivered[..usize::from(how != DeliveryProof::Ack)];
            assert_eq!(statuses(&ann), proved, "{how:?}");
            assert_eq!(
                statuses(&ann_too),
                proved,
                "each connection of the author is told"
            );
            receipt(&bob, &room, "message_id", &id, "delivered");
            let acknowledged = &delivered[proved.len()..];
            assert_eq!(statuses(&ann), acknowledged, "told once");
            receipt(&bob, &room, "message_id", &id, "READ");
            assert_eq!(statuses(&ann), [status(&id, "read", &reader)]);
            for back in ["delivered", "read"] {
                receipt(&bob, &room, "message_id", &id, back);
            }
            server.advance(2 * SECOND);
            assert_eq!(statuses(&ann), [], "it never goes back, and is news once");
            assert_eq!(statuses(&bob), []);
            server.end();
        }
    }
}

#[test]
fn nothing_is_delivered_to_a_client_that_does_not_read() {
    for shards in [1, 3] {
        for how in [DeliveryProof::Pong, DeliveryProof::Write] {
            let server = server(shards, options(proof(how)));
            let (ann, bob) = (enter(&server, "ann"), enter(&server, "bob"));
            say(&ann, "7", "here");
            say(&bob, "7", "here");
            server.advance(2 * SECOND);
            server.forget();
            bob.freeze();
            let first = say(&ann, "7", "1");
            server.advance(3 * SECOND);
            assert_eq!(statuses(&ann), [], "{how:?}");
            let second = say(&ann, "7", "2");
            server.advance(3 * SECOND);
            assert_eq!(statuses(&ann), [], "{how:?}");
            bob.thaw();
            server.advance(2 * SECOND);
            let delivered = [&first, &second].map(|id| status(id, "delivered", "bob"));
            assert_eq!(statuses(&ann), delivered, "{how:?}");
            assert_eq!(texts(&bob), ["1", "2"]);
            server.end();
        }
    }
}

#[test]
fn receipts_for_what_is_not_the_readers_are_refused() {
    let server = server(2, options(proof(DeliveryProof::Ack)));
    let (ann, bob, eve) = (
        enter(&server, "ann"),
        enter(&server, "bob"),
        enter(&server, "eve"),
    );
    say(&bob, "7", "here");
    let elsewhere = say(&ann, "8", "elsewhere");
    let id = say(&ann, "7", "hi");
    server.forget();
    let unknown = "01a1fbd4-f8e8-7000-8000-000000000000";
    for (client, id, word, code) in [
        (&bob, unknown, "read", "not_found"),
        (&bob, &*elsewhere, "read", "not_found"),
        (&bob, "hi", "read", "invalid_message"),
        (&bob, &*id, "sent", "invalid_message"),
        (&bob, &*id, "seen", "invalid_message"),
        (&eve, &*id, "read", "not_subscribed"),
    ] {
        receipt(client, "7", "message_id", id, word);
        let refused = client.receive();
        assert_eq!(refused["message"]["code"], code, "{id} {word}: {refused}");
    }
    // The author is no reader of its own.
    receipt(&ann, "7", "message_id", &id, "read");
    assert_eq!(statuses(&ann), []);
    server.end();
}

#[test]
fn up_to_a_message_all_before_it_are_read() {
    let server = server(2, options(proof(DeliveryProof::Ack)));
    let (ann, bob) = (enter(&server, "ann"), enter(&server, "bob"));
    say(&bob, "7", "here");
    let ids: Vec<String> = ["1", "2", "3"].map(|text| say(&ann, "7", text)).into();
    receipt(&bob, "7", "up_to", &ids[1], "read");
    assert_eq!(
        statuses(&ann),
        [&ids[0], &ids[1]].map(|id| status(id, "read", "bob"))
    );
    receipt(&bob, "7", "message_id", &ids[2], "delivered");
    receipt(&bob, "7", "up_to", &ids[0], "read");
    assert_eq!(statuses(&ann), [status(&ids[2], "delivered", "bob")]);
    server.end();
}

#[test]
fn over_the_limit_authors_get_numbers_once_a_second() {
    for shards in [1, 2] {
        let delivery = DeliveryOptions {
            recipients_max: 2,
            ..proof(DeliveryProof::Ack)
        };
        let server = server(shards, options(delivery));
        let ann = enter(&server, "ann");
        say(&ann, "7", "here");
        let readers: Vec<Client> = ["bob", "cid", "dan"]
            .map(|user| enter(&server, user))
            .into();
        for reader in &readers {
            say(reader, "7", "here");
        }
        let id = say(&ann, "7", "hi");
        let heard = readers[2].receive_all_of("chat").pop().unwrap();
        assert_eq!(heard["message"].get("recipients"), None);
        server.forget();
        let told = || -> Vec<Value> {
            let all = ann.receive_all_of("message-status");
            let of_it = all
                .into_iter()
                .filter(|m| m["message"]["message_id"] == *id);
            of_it.map(|m| m["message"].clone()).collect()
        };
        for reader in &readers {
            receipt(reader, "7", "message_id", &id, "delivered");
        }
        receipt(&readers[0], "7", "message_id", &id, "read");
        assert_eq!(told(), [Value::Null; 0]);
        server.advance(SECOND);
        let statuses = told();
        assert_eq!(statuses.len(), 1);
        assert_eq!(statuses[0]["counts"], json!({"delivered": 3, "read": 1}));
        assert_eq!(
            (&statuses[0]["status"], statuses[0].get("recipient_id")),
            (&"read".into(), None)
        );
        server.advance(3 * SECOND);
        assert_eq!(told(), [Value::Null; 0], "nothing is new");
        receipt(&ann, "7", "message_id", &id, "read");
        receipt(&readers[1], "7", "message_id", &id, "read");
        server.advance(SECOND);
        assert_eq!(told()[0]["counts"], json!({"delivered": 3, "read": 2}));
        server.end();
    }
}

/// A server whose rooms called `kept…` persist, or not.
fn with_list(shards: u16, persists: bool) -> (TestServer, Option<Lives>) {
    if !persists {
        return (server(shards, trusting()), None);
    }
    let mut lives = Lives::new(kept());
    (lives.start(shards), Some(lives))
}

#[test]
fn req_8_2_members_who_were_away_get_what_was_not_delivered() {
    for (shards, persists) in [(1, false), (3, false), (1, true), (3, true)] {
        let (server, _lives) = with_list(shards, persists);
        let ann = v1(&server, "ann");
        let list = json!({"room_id": "kept", "members": ["bob", "cid", "dan"]});
        call(&ann, "room.create", list).unwrap();
        let say = |text: &str| {
            ann.send(
                json!({"type": "chat", "id": text, "data": {"room_id": "kept", "text": text}}),
            );
        };
        say("1");
        say("2");
        server.forget();
        let bob = enter(&server, "bob");
        assert_eq!(
            texts(&bob),
            ["1", "2"],
            "{shards} shards, persists: {persists}"
        );
        let cid = connect(&server, "/ws", "cid");
        assert_eq!(texts(&cid), ["1", "2"]);
        let dan = v1(&server, "dan");
        assert_eq!(texts(&dan), [""; 0], "it can ask for them itself");
        server.advance(2 * SECOND);
        let told = ann.receive_all_of("message-status");
        let told: Vec<_> = told
            .iter()
            .map(|m| m["data"]["recipient_id"].as_str().unwrap())
            .collect();
        assert_eq!(
            told.iter().filter(|user| **user == "bob").count(),
            2,
            "{told:?}"
        );
        assert_eq!(
            told.iter().filter(|user| **user == "cid").count(),
            2,
            "{told:?}"
        );
        assert!(!told.contains(&"dan"));

        bob.disconnect();
        say("3");
        let bob = enter(&server, "bob");
        assert_eq!(texts(&bob), ["3"], "only what was not delivered");
        say("4");
        assert_eq!(texts(&bob), ["4"], "it is in the room");
        server.advance(2 * SECOND);
        // What a user has said it knows.
        bob.send(chat("kept", "mine"));
        bob.disconnect();
        let bob = enter(&server, "bob");
        assert_eq!(texts(&bob), [""; 0]);
        bob.send(json!({"type": "unsubscribe", "message": {"chat_id": "kept"}}));
        bob.disconnect();
        say("5");
        let bob = enter(&server, "bob");
        assert_eq!(texts(&bob), [""; 0], "it is a member no more");
        server.end();
    }
}

#[test]
fn what_nobody_asks_about_is_not_replayed_once_it_was_delivered() {
    for shards in [1, 2] {
        let mut lives = Lives::new(kept());
        let server = lives.start(shards);
        let (ann, bob) = (v1(&server, "ann"), enter(&server, "bob"));
        say(&bob, "kept", "here");
        ann.send(json!({"type": "publish", "data": {"topic": "kept", "data": 1}}));
        assert_eq!(bob.expect("publish")["message"]["data"], 1);
        server.advance(2 * SECOND);
        bob.disconnect();
        ann.send(json!({"type": "publish", "data": {"topic": "kept", "data": 2}}));
        let bob = enter(&server, "bob");
        let missed = bob.receive_all_of("publish");
        assert_eq!(missed.len(), 1, "{missed:?}");
        assert_eq!(missed[0]["message"]["data"], 2);
        server.end();
    }
}

#[test]
fn marks_and_memberships_outlive_the_process() {
    let mut lives = Lives::new(kept());
    let server = lives.start(2);
    let ann = enter(&server, "ann");
    let early = say(&ann, "kept", "before anybody came");
    let bob = enter(&server, "bob");
    say(&bob, "kept", "here");
    server.advance(2 * SECOND);
    server.forget();
    let id = say(&ann, "kept", "1");
    server.advance(2 * SECOND);
    receipt(&bob, "kept", "message_id", &id, "read");
    assert_eq!(statuses(&ann).last(), Some(&status(&id, "read", "bob")));
    // Its marks are stored as it leaves.
    bob.disconnect();
    let missed = say(&ann, "kept", "2");
    lives.stop(server);

    let server = lives.start(3);
    let (ann, bob) = (enter(&server, "ann"), enter(&server, "bob"));
    assert_eq!(texts(&bob), ["2"]);
    server.advance(2 * SECOND);
    assert_eq!(statuses(&ann), [status(&missed, "delivered", "bob")]);
    receipt(&bob, "kept", "message_id", &early, "read");
    receipt(&bob, "kept", "message_id", &id, "read");
    assert_eq!(statuses(&ann), [], "read before, or before its time");
    receipt(&bob, "kept", "message_id", &missed, "read");
    assert_eq!(statuses(&ann), [status(&missed, "read", "bob")]);
    server.end();
}

#[test]
fn what_a_connection_was_not_sent_is_not_delivered_to_it() {
    let server = server(2, trusting());
    let ann = enter(&server, "ann");
    let list = v1(&server, "owner");
    call(
        &list,
        "room.create",
        json!({"room_id": "7", "members": ["ann", "bob"]}),
    )
    .unwrap();
    say(&ann, "7", "missed");
    let bob = v1(&server, "bob");
    bob.send(json!({"type": "subscribe", "data": {"topic": "7"}}));
    server.advance(2 * SECOND);
    server.forget();
    let id = say(&ann, "7", "heard");
    server.advance(2 * SECOND);
    assert_eq!(statuses(&ann), [status(&id, "delivered", "bob")]);
    server.end();
}

#[test]
fn a_repeat_within_the_window_is_answered_and_not_published() {
    for (shards, history) in [(1, 100), (2, 100), (2, 0)] {
        let mut options = RealtimeOptions {
            namespaces: vec![Namespace::default()],
            ..trusting()
        };
        options.namespaces[0].history.size = history;
        let server = server(shards, options);
        let (ann, bob, eve) = (
            enter(&server, "ann"),
            enter(&server, "bob"),
            enter(&server, "eve"),
        );
        say(&bob, "7", "here");
        let id = say(&ann, "7", "hi");
        assert_eq!(say(&ann, "7", "hi"), id);
        let others = say(&eve, "7", "hi");
        assert_ne!(others, id, "the name is the author's own");
        let again = say(&ann, "8", "hi");
        assert_ne!(again, id, "and the room's");
        assert_eq!(texts(&bob), ["hi", "hi"], "of ann and of eve");
        server.advance(301 * SECOND);
        assert_ne!(say(&ann, "7", "hi"), id, "the window has ended");
        assert_eq!(texts(&bob), ["hi"]);
        server.end();
    }
}
