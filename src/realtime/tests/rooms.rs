//! Rooms: made, found, changed, left and ended (S003).

use std::time::Duration;

use serde_json::{Value, json};

use super::super::{Create, Namespace, Realtime, RealtimeOptions, Who};
use super::{builder, call, chat, connect, namespace, room_count, server, subscribe, trusting, v1};
use crate::store::{Store, StoreOptions};
use crate::testing::Client;

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn req_3_8_a_room_is_made_as_asked_and_shown_to_who_asks() {
    for shards in [1, 2, 3] {
        let server = server(shards, trusting());
        let (ann, bob) = (v1(&server, "ann"), v1(&server, "bob"));
        let asked = json!({
            "room_id": 7, "name": "Team", "max_clients": 5, "is_private": false,
            "metadata": {"colour": "red", "n": [1, 2]},
        });
        let made = call(&ann, "room.create", asked).unwrap();
        let expected = json!({
            "id": "7", "name": "Team", "created_at": "2026-11-21T02:00:00.000Z",
            "created_by": "ann", "max_clients": 5, "is_private": false,
            "metadata": {"colour": "red", "n": [1, 2]}, "members": 0,
        });
        assert_eq!(made, expected);
        assert_eq!(
            call(&bob, "room.get", json!({"room_id": "7"})),
            Ok(expected)
        );
        for id in [json!({"room_id": 7}), json!({"id": "7"})] {
            assert_eq!(call(&bob, "room.create", id), Err("already_exists".into()));
        }
        assert_eq!(
            call(&bob, "room.get", json!({"room_id": "8"})),
            Err("not_found".into())
        );
        assert_eq!(
            call(&bob, "room.get", json!({})),
            Err("room_required".into())
        );
        let nameless = call(&bob, "room.create", json!({})).unwrap();
        assert_eq!(nameless["name"], nameless["id"], "a room has a name");
        server.end();
    }
}

#[test]
fn what_a_new_room_cannot_be_is_refused() {
    let server = server(2, trusting());
    let ann = v1(&server, "ann");
    for (params, code) in [
        (
            json!({"room_id": "a", "max_clients": -1}),
            "invalid_message",
        ),
        (
            json!({"room_id": "a", "max_clients": "5"}),
            "invalid_message",
        ),
        (
            json!({"room_id": "a", "name": "x".repeat(257)}),
            "invalid_message",
        ),
        (json!({"room_id": "a", "metadata": []}), "invalid_message"),
        (
            json!({"room_id": "a", "metadata": {"x": "x".repeat(9000)}}),
            "invalid_message",
        ),
        (json!({"room_id": "a", "members": "bob"}), "invalid_message"),
        (json!({"room_id": "a", "members": [""]}), "invalid_message"),
        (json!({"room_id": "a", "members": [1.5]}), "invalid_message"),
        (
            json!({"room_id": "a", "members": vec!["x"; 1001]}),
            "invalid_message",
        ),
        (json!({"room_id": "a".repeat(300)}), "invalid_message"),
        (json!({"room_id": "a", "topic": "a"}), "invalid_message"),
    ] {
        assert_eq!(
            call(&ann, "room.create", params.clone()),
            Err(code.into()),
            "{params}"
        );
    }
    assert_eq!(room_count(&server), 0);
    server.end();
}

#[test]
fn only_who_may_makes_rooms_and_nobody_elses_room_suffers() {
    let options = RealtimeOptions {
        may_create_rooms: vec![Who::Role("host".into())],
        ..namespace(Namespace {
            create: Create::ApiOnly,
            ..Namespace::default()
        })
    };
    for shards in [1, 3] {
        let server = server(shards, options.clone());
        let host = connect(&server, "/v1/connect?roles=host", "host");
        let bob = v1(&server, "bob");
        call(&host, "room.create", json!({"room_id": "r"})).unwrap();
        // A refused request for a room that is there, and empty, must not take it away.
        for room in ["r", "s"] {
            let refused = call(&bob, "room.create", json!({"room_id": room}));
            assert_eq!(refused, Err("forbidden".into()));
        }
        assert!(call(&bob, "room.get", json!({"room_id": "r"})).is_ok());
        assert_eq!(subscribe(&bob, json!({"topic": "s"}))["code"], "not_found");
        assert_eq!(subscribe(&bob, json!({"topic": "r"}))["topic"], "r");
        chat(&bob, "t", "anybody?");
        assert_eq!(bob.expect("error")["data"]["code"], "not_found");
        bob.expect_nothing();
        assert_eq!(room_count(&server), 1);
        server.end();
    }
}

#[test]
fn req_3_6_rooms_come_on_demand_and_go_a_minute_after_the_last_member() {
    for shards in [1, 2, 3] {
        let server = server(shards, trusting());
        let ann = v1(&server, "ann");
        chat(&ann, "r", "hello");
        let bob = v1(&server, "bob");
        subscribe(&bob, json!({"topic": "r"}));
        let members = call(&bob, "room.members", json!({"room_id": "r"})).unwrap();
        assert_eq!(members["count"], 2);
        assert_eq!(members["members"][0]["user_id"], "ann");
        assert_eq!(members["next_cursor"], Value::Null);
        ann.close(1000, "");
        server.advance(MINUTE * 3);
        assert_eq!(room_count(&server), 1, "bob is there");
        bob.send(json!({"type": "unsubscribe", "data": {"topic": "r"}}));
        server.advance(MINUTE - SECOND);
        assert_eq!(room_count(&server), 1, "not a second too soon");
        subscribe(&bob, json!({"topic": "r"}));
        server.advance(MINUTE * 2);
        assert_eq!(room_count(&server), 1, "bob is there again");
        bob.disconnect();
        server.advance(MINUTE + SECOND);
        assert_eq!(room_count(&server), 0);
        server.end();
    }
}

#[test]
fn a_room_with_a_member_list_is_kept() {
    let server = server(2, trusting());
    let ann = v1(&server, "ann");
    call(
        &ann,
        "room.create",
        json!({"room_id": "r", "members": ["bob"]}),
    )
    .unwrap();
    call(&ann, "room.create", json!({"room_id": "s"})).unwrap();
    server.advance(MINUTE * 5);
    assert_eq!(room_count(&server), 1);
    for user in ["ann", "bob"] {
        let client = v1(&server, user);
        subscribe(&client, json!({"topic": "r"}));
        client.send(json!({"type": "unsubscribe", "data": {"topic": "r"}}));
    }
    server.advance(MINUTE + SECOND);
    assert_eq!(room_count(&server), 0, "who unsubscribes leaves the list");
    server.end();
}

#[test]
fn req_3_9_a_room_is_filled_to_its_capacity_and_not_beyond() {
    for shards in [1, 2, 3] {
        let options = namespace(Namespace {
            members_max: 50,
            ..Namespace::default()
        });
        let server = server(shards, options);
        let users: Vec<String> = (0..200).map(|n| format!("user-{n}")).collect();
        let clients: Vec<Client> = users.iter().map(|user| v1(&server, user)).collect();
        for client in &clients {
            client.write(json!({"type": "subscribe", "id": 1, "data": {"topic": "r"}}));
        }
        server.run();
        let answers: Vec<Value> = clients.iter().map(Client::receive).collect();
        let count = |what: fn(&Value) -> bool| answers.iter().filter(|a| what(a)).count();
        assert_eq!(count(|a| a["type"] == "subscribed"), 50);
        assert_eq!(count(|a| a["data"]["code"] == "room_full"), 150);
        assert_eq!(server.app(server.home("r")).members("r").count, 50);

        // A second connection of a member needs no place; a place that is left can be taken.
        let inside = answers
            .iter()
            .position(|a| a["type"] == "subscribed")
            .unwrap();
        let outside = answers.iter().position(|a| a["type"] == "error").unwrap();
        let second = v1(&server, &users[inside]);
        assert_eq!(subscribe(&second, json!({"topic": "r"}))["members"], 50);
        clients[inside].disconnect();
        assert_eq!(
            subscribe(&clients[outside], json!({"topic": "r"}))["code"],
            "room_full"
        );
        second.disconnect();
        assert_eq!(
            subscribe(&clients[outside], json!({"topic": "r"}))["members"],
            50
        );
        server.end();
    }
}

#[test]
fn rooms_are_listed_in_pages_by_name() {
    for shards in [1, 2, 3] {
        let server = server(shards, trusting());
        let ann = v1(&server, "ann");
        for number in 0..7 {
            chat(&ann, &format!("a-{number}"), "hello");
        }
        chat(&ann, "b", "hello");
        let (mut names, mut cursor, mut pages) = (Vec::new(), Value::Null, 0);
        loop {
            let params = json!({"prefix": "a-", "limit": 3, "cursor": cursor});
            let page = call(&ann, "room.list", params).unwrap();
            let rooms = page["rooms"].as_array().unwrap();
            names.extend(
                rooms
                    .iter()
                    .map(|room| room["id"].as_str().unwrap().to_owned()),
            );
            (pages, cursor) = (pages + 1, page["next_cursor"].clone());
            if cursor.is_null() {
                break;
            }
        }
        assert_eq!(names, ["a-0", "a-1", "a-2", "a-3", "a-4", "a-5", "a-6"]);
        assert_eq!(pages, 3);
        assert_eq!(
            call(&ann, "room.list", json!({"limit": 0})),
            Err("invalid_message".into())
        );
        server.end();
    }
}

#[test]
fn a_page_of_rooms_is_never_larger_than_a_connection_can_take() {
    let server = server(2, trusting());
    let ann = v1(&server, "ann");
    for number in 0..40 {
        let metadata = json!({"x": "x".repeat(8000)});
        let asked = json!({"room_id": format!("r-{number:02}"), "metadata": metadata});
        call(&ann, "room.create", asked).unwrap();
        server.advance(SECOND);
    }
    let (mut count, mut cursor) = (0, Value::Null);
    loop {
        let page = call(&ann, "room.list", json!({"cursor": cursor})).unwrap();
        let rooms = page["rooms"].as_array().unwrap().len();
        assert!(rooms < 20, "{rooms}");
        count += rooms;
        cursor = page["next_cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(count, 40);
    server.end();
}

#[test]
fn who_may_publish_is_the_namespaces_affair() {
    for (who, allowed) in [
        (Who::Anyone, [true, true, true]),
        (Who::Member, [true, true, true]),
        (Who::Owner, [true, false, false]),
        (Who::Role("speaker".into()), [false, true, false]),
        (Who::Server, [false, false, false]),
    ] {
        let options = namespace(Namespace {
            publish: vec![who.clone()],
            ..Namespace::default()
        });
        for shards in [1, 3] {
            let server = server(shards, options.clone());
            let clients = [
                v1(&server, "ann"),
                connect(&server, "/v1/connect?roles=speaker", "bob"),
                v1(&server, "eve"),
            ];
            call(&clients[0], "room.create", json!({"room_id": "r"})).unwrap();
            let listener = v1(&server, "listener");
            subscribe(&listener, json!({"topic": "r"}));
            for (client, is_allowed) in clients.iter().zip(allowed) {
                for _joins_with_the_first in 0..2 {
                    chat(client, "r", "hello");
                    let told = listener.receive_all_of("chat").len();
                    assert_eq!(told, usize::from(is_allowed), "{who:?} {client:?}");
                    let refused = client.receive_all_of("error");
                    assert_eq!(refused.len(), usize::from(!is_allowed));
                    assert!(refused.iter().all(|e| e["data"]["code"] == "forbidden"));
                }
            }
            let push = super::super::Mail::publish("r", "chat", r#"{"content":"x"}"#).unwrap();
            server.mail(server.home("r"), push);
            assert_eq!(listener.receive_all_of("chat").len(), 1, "the server may");
            server.end();
        }
    }
}

#[test]
fn rooms_that_only_the_store_knows_are_listed_too() {
    let directory = format!("campanile-rooms-{}", std::process::id());
    let directory = std::env::temp_dir().join(directory);
    for shards in [1, 3] {
        let (store, thread) = Store::open(&StoreOptions::new(&directory)).unwrap();
        let options = namespace(Namespace {
            pattern: "p-*".into(),
            persist: true,
            ..Namespace::default()
        });
        let realtime = move |_| Realtime::with_store(options.clone(), store.clone());
        let server = builder(shards, trusting()).adapt(realtime).start();
        let (ann, bob) = (v1(&server, "ann"), v1(&server, "bob"));
        for number in 0..7 {
            let name = format!("p-{number}");
            let asked = json!({"room_id": name, "name": "stored", "is_private": number == 3});
            call(&ann, "room.create", asked).unwrap();
        }
        server.advance(MINUTE * 2);
        assert_eq!(room_count(&server), 0, "all are in the store alone");
        for room in ["m", "p-2", "z"] {
            subscribe(&bob, json!({"topic": room}));
        }
        let ids = |client: &Client, limit: usize| {
            let (mut ids, mut cursor) = (Vec::new(), Value::Null);
            loop {
                let params = json!({"limit": limit, "cursor": cursor});
                let page = call(client, "room.list", params).unwrap();
                for room in page["rooms"].as_array().unwrap() {
                    let id = room["id"].as_str().unwrap().to_owned();
                    let members = u64::from(["m", "p-2", "z"].contains(&&*id));
                    assert_eq!(room["members"], members, "{room}");
                    ids.push(id);
                }
                cursor = page["next_cursor"].clone();
                if cursor.is_null() {
                    return ids;
                }
            }
        };
        let all = ["m", "p-0", "p-1", "p-2", "p-3", "p-4", "p-5", "p-6", "z"];
        for limit in [1, 2, 3, 50] {
            assert_eq!(ids(&ann, limit), all);
            let visible: Vec<_> = all.into_iter().filter(|id| *id != "p-3").collect();
            assert_eq!(ids(&bob, limit), visible, "a private room is not shown");
        }
        server.end();
        drop(server);
        thread.stop();
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
