//! The four client profiles: one message, four writings, none of them for nobody.

use serde_json::{Value, json};

use super::{connect, server, subscribe, trusting, v1};
use crate::testing::{Client, Received, TestServer};

const AT: &str = "2026-11-21T02:00:00.000Z";

/// A user of each profile in room `7`, who is told who is there: users 1 to 4, in the order `v1`,
/// `room`, `message`, `flat`.
fn all_four(server: &TestServer) -> [Client; 4] {
    let clients = [
        v1(server, "1"),
        connect(server, "/ws/7", "2"),
        connect(server, "/api/v1/ws", "3"),
        connect(server, "/ws", "4"),
    ];
    for client in &clients {
        let wish = json!({"topic": "7", "presence": true});
        client.send(json!({"type": "subscribe", "id": "s", "data": wish}));
    }
    server.forget();
    clients
}

/// What each of the clients has received, which is one message.
#[track_caller]
fn each(clients: &[Client]) -> Vec<Value> {
    let one = |client: &Client| {
        let mut all = client.receive_all();
        assert_eq!(all.len(), 1, "{client:?} {all:?}");
        all.remove(0)
    };
    clients.iter().map(one).collect()
}

fn encodings(server: &TestServer) -> u64 {
    let shards = 0..server.shard_count();
    shards
        .map(|shard| server.app(shard).stats().counts.encodings)
        .sum()
}

/// How many frames are written for what `work` does.
fn written(server: &TestServer, work: impl FnOnce()) -> u64 {
    let before = encodings(server);
    work();
    encodings(server) - before
}

#[test]
fn a_chat_is_written_once_in_each_profile() {
    for shards in [1, 2, 3] {
        let server = server(shards, trusting());
        let clients = all_four(&server);
        let sender = v1(&server, "42");
        let text = json!({"type": "chat", "id": 5, "data": {"text": "hi", "x": 1}, "room_id": "7"});
        sender.send(&text);
        server.forget();
        let count = written(&server, || sender.send(&text));
        assert_eq!(count, 4);
        let got = each(&clients);
        let id = got[0]["id"].clone();
        let data = json!({"text": "hi", "x": 1});
        let v1 = json!({"type": "chat", "id": id, "room_id": "7", "user_id": "42", "offset": 2,
            "timestamp": AT, "data": data});
        assert_eq!(got[0], v1);
        let room = json!({"type": "chat", "id": id, "room_id": "7", "user_id": 42, "offset": 2,
            "timestamp": AT, "data": data});
        assert_eq!(got[1], room);
        let mut message = got[2].clone();
        let recipients = message["message"]["recipients"].take();
        let expected = json!({"type": "chat", "message": {"message_id": id, "chat_id": "7",
            "sender_id": "42", "content": "hi", "x": 1, "sent_at": AT, "recipients": null}});
        assert_eq!(message, expected);
        let recipients: Vec<_> = recipients.as_array().unwrap().iter().collect();
        assert_eq!(recipients.len(), 4);
        let first =
            json!({"message_id": id, "recipient_id": "1", "status": "sent", "updated_at": AT});
        assert_eq!(recipients[0], &first);
        let flat = json!({"type": "chat", "id": id, "room_id": "7", "user_id": "42",
            "timestamp": AT, "content": "hi", "x": 1});
        assert_eq!(got[3], flat);
        server.end();
    }
}

#[test]
fn presence_typing_and_errors_are_in_their_place_in_each_profile() {
    let server = server(3, trusting());
    let clients = all_four(&server);
    let eve = v1(&server, "eve");
    let info = json!({"topic": "7", "info": {"name": "Eve"}});
    let count = written(&server, || {
        subscribe(&eve, info);
    });
    assert_eq!(count, 4);
    let body =
        json!({"action": "join", "count": 5, "user": {"user_id": "eve", "info": {"name": "Eve"}}});
    let envelope = json!({"type": "presence", "room_id": "7", "user_id": "eve", "timestamp": AT});
    let got = each(&clients);
    for message in &got[..2] {
        assert_eq!(message, &with(&envelope, "data", &body));
    }
    assert_eq!(got[2]["message"]["action"], "join");
    assert_eq!(got[2]["message"]["chat_id"], "7");
    assert_eq!(got[2]["message"]["user"], body["user"]);
    assert_eq!(got[3], merged(&envelope, &body));

    let typing = json!({"type": "typing", "data": {"room_id": "7", "is_typing": true}});
    assert_eq!(written(&server, || eve.send(typing)), 4);
    let got = each(&clients);
    for message in &got[..2] {
        assert_eq!(message["data"], json!({"is_typing": true}));
        assert_eq!(message["user_id"], "eve");
    }
    assert_eq!(got[2]["message"]["is_typing"], true);
    assert_eq!(got[3]["is_typing"], true);

    for client in &clients {
        client.send(json!({"type": "nonsense", "id": 9}));
    }
    let got = each(&clients);
    for message in &got[..2] {
        assert_eq!(
            (&message["type"], &message["id"]),
            (&json!("error"), &json!(9))
        );
        assert_eq!(message["data"]["code"], "unknown_type");
        assert_eq!(message["data"]["ref_type"], "nonsense");
        assert!(message["data"]["error"].is_string());
    }
    assert_eq!(got[2]["message"]["code"], "unknown_type");
    assert!(got[2]["message"]["error"].is_string());
    assert_eq!(got[3]["code"], "unknown_type");
    assert!(got[3]["error"].is_string());
    server.end();
}

fn with(envelope: &Value, name: &str, body: &Value) -> Value {
    merged(envelope, &json!({name: body}))
}

fn merged(a: &Value, b: &Value) -> Value {
    let mut all = a.clone();
    let (members, more) = (all.as_object_mut().unwrap(), b.as_object().unwrap());
    members.extend(more.clone());
    all
}

#[test]
fn nothing_is_written_for_a_profile_that_nobody_has() {
    for shards in [1, 2, 3] {
        let server = server(shards, trusting());
        let chat = json!({"type": "chat", "data": {"content": "hi", "room_id": "r"}});
        let senders = [v1(&server, "a"), v1(&server, "b")];
        for sender in &senders {
            sender.send(&chat);
        }
        assert_eq!(written(&server, || senders[0].send(&chat)), 1);
        let flat = connect(&server, "/ws", "c");
        subscribe_any(&flat, false);
        assert_eq!(written(&server, || senders[0].send(&chat)), 2);
        let crowd: Vec<Client> = (0..20)
            .map(|n| connect(&server, "/ws", &format!("user-{n}")))
            .collect();
        for client in &crowd {
            subscribe_any(client, false);
        }
        // With and without presence: two formats, one writing.
        subscribe_any(&crowd[0], true);
        assert_eq!(written(&server, || senders[0].send(&chat)), 2);
        assert_eq!(flat.expect("chat")["content"], "hi");
        for client in crowd.iter().chain([&flat]) {
            client.disconnect();
        }
        assert_eq!(written(&server, || senders[0].send(&chat)), 1);
        // Presence is for those who want it: v1 does not, unless it says so.
        let eve = v1(&server, "e");
        let join = json!({"type": "subscribe", "data": {"topic": "r"}});
        assert_eq!(written(&server, || eve.send(&join)), 0);
        server.end();
    }
}

fn subscribe_any(client: &Client, presence: bool) {
    let wish = json!({"topic": "r", "presence": presence});
    client.send(json!({"type": "subscribe", "data": wish}));
}

#[test]
fn a_profile_is_chosen_by_subprotocol_then_query_then_path() {
    let server = server(2, trusting());
    let profile = |target: &str, offered: Option<&str>| {
        let header = offered.map(|offered| ("Sec-WebSocket-Protocol", offered));
        let client = server.connect_to(target, header.as_slice()).unwrap();
        let welcome = client.receive();
        let found = ["data", "message"]
            .iter()
            .find(|name| welcome[name].is_object());
        let body = found.map_or(&welcome, |name| &welcome[name]);
        assert_eq!(body["status"], "established");
        assert_eq!(body["user_id"], "ann");
        let chosen = client.response_header("Sec-WebSocket-Protocol");
        assert_eq!(chosen.is_some(), offered.is_some());
        client.close(1000, "");
        (
            found.copied(),
            welcome["data"]["profile"].as_str().map(str::to_owned),
        )
    };
    let v1 = (Some("data"), Some("v1".to_owned()));
    let room = (Some("data"), None);
    assert_eq!(
        profile("/api/v1/ws?user_id=ann", None),
        (Some("message"), None)
    );
    assert_eq!(profile("/v1/connect?user_id=ann", None), v1);
    assert_eq!(profile("/ws?user_id=ann", None).0, None);
    assert_eq!(profile("/ws?user_id=ann&profile=room", None), room);
    let offered = Some("other, campanile.v1");
    assert_eq!(profile("/ws?user_id=ann&profile=room", offered), v1);
    let offered = Some("campanile.message.v1");
    assert_eq!(profile("/ws?user_id=ann", offered), (Some("message"), None));
    server.end();
}

#[test]
fn a_room_has_one_name_under_all_of_its_aliases_and_in_every_shape() {
    let server = server(3, trusting());
    let listener = v1(&server, "listener");
    subscribe(&listener, json!({"topic": "7"}));
    let paths = ["/v1/connect", "/ws/x", "/api/v1/ws", "/ws"];
    for (number, path) in paths.into_iter().enumerate() {
        let client = connect(&server, path, &format!("u{number}"));
        for alias in ["room_id", "chat_id", "topic", "channel"] {
            for room in [json!("7"), json!(7)] {
                for message in [
                    json!({"type": "chat", alias: room, "data": {"content": "hi"}}),
                    json!({"type": "chat", "data": {alias: room, "content": "hi"}}),
                    json!({"type": "chat", "message": {alias: room, "content": "hi"}}),
                    json!({"type": "chat", alias: room, "content": "hi"}),
                ] {
                    client.send(&message);
                    let got = listener.receive_all_of("chat");
                    assert_eq!(got.len(), 1, "{path} {message}");
                    assert_eq!(got[0]["data"]["content"], "hi", "{path} {message}");
                }
            }
        }
    }
    server.end();
}

#[test]
fn req_3_4_a_user_is_a_number_where_it_can_be_one() {
    let server = server(2, trusting());
    let room = connect(&server, "/ws/r", "listener");
    let plain = v1(&server, "plain");
    subscribe(&plain, json!({"topic": "r"}));
    for (user, as_number) in [
        ("0", json!(0)),
        ("42", json!(42)),
        ("9007199254740991", json!(9_007_199_254_740_991_u64)),
        ("9007199254740993", json!("9007199254740993")),
        ("042", json!("042")),
        ("-1", json!("-1")),
        ("ann", json!("ann")),
    ] {
        let client = v1(&server, user);
        server.forget();
        client.send(json!({"type": "chat", "room_id": "r", "content": "x"}));
        assert_eq!(room.expect("chat")["user_id"], as_number);
        assert_eq!(plain.expect("chat")["user_id"], user);
    }
    server.end();
}

#[test]
fn req_4_4_plain_text_is_a_chat_in_the_flat_profile_only() {
    let server = server(2, trusting());
    let listener = connect(&server, "/ws", "listener");
    let flat = connect(&server, "/ws", "flat");
    server.forget();
    flat.send("hello there");
    assert_eq!(listener.receive()["content"], "hello there");
    for path in ["/v1/connect", "/ws/x", "/api/v1/ws"] {
        let client = connect(&server, path, "other");
        client.forget();
        client.send("hello there");
        let refused = client.receive();
        let body = [&refused["data"], &refused["message"]];
        assert!(
            body.iter().any(|body| body["code"] == "invalid_json"),
            "{refused}"
        );
    }
    server.end();
}

#[test]
fn batches_come_in_and_go_out_only_to_who_asked() {
    let server = server(2, trusting());
    let ann = v1(&server, "ann");
    let batch: Vec<Value> = (1..=3)
        .map(|n| json!({"type": "publish", "id": n, "data": {"topic": "t", "data": n}}))
        .collect();
    ann.send(Value::from(batch));
    let acks = ann.receive_all();
    let ids: Vec<&Value> = acks.iter().map(|ack| &ack["id"]).collect();
    assert_eq!(ids, [1, 2, 3]);
    let epoch = acks[0]["data"]["epoch"].clone();
    let recover = json!({"topic": "t", "recover": {"epoch": epoch, "offset": 0}});
    let again = json!({"type": "subscribe", "id": "s", "data": recover});

    let single = v1(&server, "single");
    single.send(&again);
    assert_eq!(single.receive_all().len(), 4);
    let batched = connect(&server, "/v1/connect?batch=1", "batched");
    batched.send(&again);
    let got = batched.receive_all();
    assert_eq!(got.len(), 1);
    let types: Vec<&Value> = got[0]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["type"])
        .collect();
    assert_eq!(types, ["subscribed", "publish", "publish", "publish"]);
    server.end();
}

fn framed(envelope: &Value, payload: &[u8]) -> Vec<u8> {
    let envelope = envelope.to_string();
    let length = u16::try_from(envelope.len()).unwrap().to_be_bytes();
    [&[1, 0], &length[..], envelope.as_bytes(), payload].concat()
}

fn unframed(message: Received) -> (Value, Vec<u8>) {
    let Received::Binary(bytes) = message else {
        panic!("{message:?}");
    };
    assert_eq!(bytes[..2], [1, 0]);
    let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
    let (envelope, payload) = bytes[4..].split_at(length);
    (serde_json::from_slice(envelope).unwrap(), payload.to_vec())
}

#[test]
fn req_1_2_bytes_go_through_every_profile() {
    for shards in [1, 3] {
        let server = server(shards, trusting());
        let clients = all_four(&server);
        let sender = v1(&server, "42");
        subscribe(&sender, json!({"topic": "7"}));
        server.forget();
        let bytes = [0, 159, 146, 150, 255];
        let envelope = json!({"type": "publish", "id": 1, "data": {"topic": "7", "event": "e"}});
        let count = written(&server, || sender.send(framed(&envelope, &bytes)));
        assert_eq!(count, 4);
        let ack = sender.expect("ack");
        let id = &ack["data"]["message_id"];
        let got: Vec<_> = clients.iter().map(|c| unframed(c.receive_raw())).collect();
        assert!(got.iter().all(|(_, payload)| payload == &bytes));
        for ((envelope, _), user) in got[..2].iter().zip([json!("42"), json!(42)]) {
            assert_eq!(
                (&envelope["type"], &envelope["id"]),
                (&json!("publish"), id)
            );
            assert_eq!(
                (&envelope["user_id"], &envelope["offset"]),
                (&user, &json!(1))
            );
            assert_eq!(envelope["data"]["event"], "e");
            assert_eq!(envelope["data"]["data"], Value::Null);
        }
        assert_eq!(got[2].0["message"]["message_id"], *id);
        assert_eq!(got[2].0["message"]["event"], "e");
        assert_eq!(
            (&got[3].0["room_id"], &got[3].0["event"]),
            (&json!("7"), &json!("e"))
        );

        let recover = json!({"epoch": ack["data"]["epoch"], "offset": 0});
        let late = v1(&server, "late");
        subscribe(&late, json!({"topic": "7", "recover": recover}));
        assert_eq!(
            unframed(late.receive_raw()),
            got[0],
            "the same from history"
        );
        server.end();
    }
}
