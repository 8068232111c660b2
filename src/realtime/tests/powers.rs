//! What owners and administrators do to rooms: change them, send people away, close them.

use std::time::Duration;

use serde_json::{Value, json};

use super::{call, chat, connect, room_count, server, subscribe, trusting, v1};
use crate::testing::Client;

const MINUTE: Duration = Duration::from_secs(60);

/// What a client has heard of rooms: the types, and of each what tells it from the others.
fn heard(client: &Client) -> Vec<(String, String)> {
    let all = client.receive_all().into_iter();
    let said = |message: &Value| {
        let body = &message["data"];
        let names = ["event", "action", "reason", "code", "content"];
        let found = names.iter().find_map(|name| body[name].as_str());
        found.unwrap_or_default().to_owned()
    };
    all.map(|message| (message["type"].as_str().unwrap().to_owned(), said(&message)))
        .collect()
}

fn pair(a: &str, b: &str) -> (String, String) {
    (a.to_owned(), b.to_owned())
}

#[test]
fn a_rooms_own_bound_counts_before_its_namespaces() {
    let server = server(2, trusting());
    let (ann, bob, eve) = (v1(&server, "ann"), v1(&server, "bob"), v1(&server, "eve"));
    call(
        &ann,
        "room.create",
        json!({"room_id": "r", "max_clients": 1}),
    )
    .unwrap();
    subscribe(&bob, json!({"topic": "r"}));
    assert_eq!(subscribe(&eve, json!({"topic": "r"}))["code"], "room_full");
    let change = json!({"room_id": "r", "max_clients": 2, "name": "R"});
    assert_eq!(
        call(&bob, "room.update", change.clone()),
        Err("forbidden".into())
    );
    let changed = call(&ann, "room.update", change).unwrap();
    assert_eq!(
        (&changed["max_clients"], &changed["name"]),
        (&json!(2), &json!("R"))
    );
    assert_eq!(heard(&bob), [pair("system", "capacity")]);
    assert_eq!(subscribe(&eve, json!({"topic": "r"}))["members"], 2);
    call(
        &ann,
        "room.update",
        json!({"room_id": "r", "metadata": {"a": 1}}),
    )
    .unwrap();
    assert_eq!(heard(&bob), [pair("system", "updated")]);
    server.end();
}

#[test]
fn a_private_room_is_for_those_on_its_list() {
    for shards in [1, 2, 3] {
        let server = server(shards, trusting());
        let (ann, bob, eve) = (v1(&server, "ann"), v1(&server, "bob"), v1(&server, "eve"));
        let admin = connect(&server, "/v1/connect?roles=admin", "root");
        let asked = json!({"room_id": "r", "is_private": true, "members": ["bob"]});
        call(&ann, "room.create", asked).unwrap();
        let created = bob.receive();
        assert_eq!(created["type"], "chat-notification");
        assert_eq!(created["data"]["action"], "created");
        assert_eq!(created["data"]["members"], json!(["ann", "bob"]));
        assert_eq!(subscribe(&eve, json!({"topic": "r"}))["code"], "forbidden");
        for method in ["room.get", "room.update", "room.close"] {
            assert_eq!(
                call(&eve, method, json!({"room_id": "r"})),
                Err("forbidden".into())
            );
        }
        let unseen = call(&eve, "room.list", json!({})).unwrap();
        assert_eq!(unseen, json!({"rooms": [], "next_cursor": null}));
        assert!(call(&admin, "room.get", json!({"room_id": "r"})).is_ok());
        for user in [&ann, &bob] {
            assert_eq!(subscribe(user, json!({"topic": "r"}))["topic"], "r");
        }

        let eves = json!({"room_id": "r", "user_id": "eve"});
        assert_eq!(
            call(&bob, "room.add_member", eves.clone()),
            Err("forbidden".into())
        );
        call(&ann, "room.add_member", eves.clone()).unwrap();
        assert_eq!(heard(&eve), [pair("chat-notification", "member_added")]);
        assert_eq!(heard(&bob), [pair("chat-notification", "member_added")]);
        call(&ann, "room.add_member", eves.clone()).unwrap();
        assert_eq!(heard(&eve), [], "no news");
        assert_eq!(subscribe(&eve, json!({"topic": "r"}))["members"], 3);
        call(&ann, "room.remove_member", eves.clone()).unwrap();
        let mut expected = [
            pair("chat-notification", "member_removed"),
            pair("unsubscribed", "forbidden"),
        ];
        let mut told = heard(&eve);
        told.sort();
        expected.sort();
        assert_eq!(told, expected);
        assert_eq!(subscribe(&eve, json!({"topic": "r"}))["code"], "forbidden");
        assert_eq!(
            call(&ann, "room.remove_member", eves),
            Err("not_found".into())
        );
        let own = json!({"room_id": "r", "user_id": "ann"});
        assert_eq!(
            call(&ann, "room.remove_member", own),
            Err("conflict".into())
        );
        server.end();
    }
}

#[test]
fn who_is_kicked_is_out_and_stays_out_while_banned() {
    for shards in [1, 2, 3] {
        let server = server(shards, trusting());
        let (ann, bob, eve) = (v1(&server, "ann"), v1(&server, "bob"), v1(&server, "eve"));
        let eve_too = v1(&server, "eve");
        call(&ann, "room.create", json!({"room_id": "r"})).unwrap();
        for client in [&ann, &bob, &eve, &eve_too] {
            subscribe(client, json!({"topic": "r"}));
        }
        let kick = |by: &Client, params: Value| call(by, "room.kick", params);
        let eves = json!({"room_id": "r", "user_id": "eve", "ban_s": 60});
        assert_eq!(kick(&bob, eves.clone()), Err("forbidden".into()));
        let nobody = json!({"room_id": "r", "user_id": "nobody"});
        assert_eq!(kick(&ann, nobody), Err("not_found".into()));
        let own = json!({"room_id": "r", "user_id": "ann"});
        assert_eq!(kick(&ann, own), Err("conflict".into()));
        assert_eq!(kick(&ann, eves).unwrap()["kicked"], true);
        for client in [&eve, &eve_too] {
            let all = [pair("system", "kicked"), pair("unsubscribed", "kicked")];
            assert_eq!(heard(client), all);
        }
        assert_eq!(heard(&bob), [pair("system", "kicked")]);
        chat(&bob, "r", "peace");
        assert_eq!(heard(&eve), []);
        assert_eq!(subscribe(&eve, json!({"topic": "r"}))["code"], "forbidden");
        server.advance(MINUTE);
        assert_eq!(subscribe(&eve, json!({"topic": "r"}))["members"], 3);
        server.end();
    }
}

#[test]
fn a_room_that_is_closed_tells_and_forgets_everybody() {
    for shards in [1, 2, 3] {
        let server = server(shards, trusting());
        let (ann, bob, eve) = (v1(&server, "ann"), v1(&server, "bob"), v1(&server, "eve"));
        call(
            &ann,
            "room.create",
            json!({"room_id": "r", "members": ["eve"]}),
        )
        .unwrap();
        subscribe(&bob, json!({"topic": "r"}));
        eve.forget();
        assert_eq!(
            call(&bob, "room.close", json!({"room_id": "r"})),
            Err("forbidden".into())
        );
        let closed = call(&ann, "room.close", json!({"room_id": "r"}));
        assert_eq!(closed, Ok(json!({"id": "r", "closed": true})));
        let all = [
            pair("system", "room_closed"),
            pair("unsubscribed", "room_closed"),
        ];
        assert_eq!(heard(&bob), all);
        assert_eq!(heard(&eve), [pair("chat-notification", "deleted")]);
        assert_eq!(room_count(&server), 0);
        // The name is free, and the new room knows nothing of the old one.
        let again = subscribe(&bob, json!({"topic": "r"}));
        assert_eq!(
            (&again["offset"], &again["members"]),
            (&json!(0), &json!(1))
        );
        server.end();
    }
}

#[test]
fn a_connection_ends_with_the_room_of_its_path() {
    for shards in [1, 2, 3] {
        let server = server(shards, trusting());
        let ann = v1(&server, "ann");
        call(&ann, "room.create", json!({"room_id": "open"})).unwrap();
        let enter = |room: &str, user: &str| connect(&server, &format!("/ws/{room}"), user);
        let code = |client: &Client| client.closed().map(|(code, _)| code);
        let (bob, eve) = (enter("open", "3"), enter("open", "4"));
        call(&ann, "room.kick", json!({"room_id": "open", "user_id": 4})).unwrap();
        assert_eq!((code(&bob), code(&eve)), (None, Some(4403)));
        call(&ann, "room.close", json!({"room_id": "open"})).unwrap();
        assert_eq!(code(&bob), Some(4410));
        assert_eq!(code(&ann), None, "who only subscribes stays");
        server.end();
    }
}

#[test]
fn who_is_in_a_room_that_becomes_private_stays_and_does_not_come_back() {
    for shards in [1, 2, 3] {
        let server = server(shards, trusting());
        let (ann, bob) = (v1(&server, "ann"), v1(&server, "bob"));
        call(&ann, "room.create", json!({"room_id": "r"})).unwrap();
        subscribe(&bob, json!({"topic": "r"}));
        call(
            &ann,
            "room.update",
            json!({"room_id": "r", "is_private": true}),
        )
        .unwrap();
        assert_eq!(subscribe(&bob, json!({"topic": "r"}))["topic"], "r");
        assert_eq!(server.app(server.home("r")).members("r").count, 1);
        bob.disconnect();
        let bob = v1(&server, "bob");
        assert_eq!(subscribe(&bob, json!({"topic": "r"}))["code"], "forbidden");
        assert_eq!(server.app(server.home("r")).members("r").count, 0);
        server.end();
    }
}

#[test]
fn who_comes_back_before_hearing_of_the_kick_is_in() {
    // 1. eve is kicked; the news is on its way. 2. eve subscribes again. 3. The news arrive: they
    // used to end the new membership on eve's shard only, and the room kept a ghost.
    for (room_at, eve_at) in [(0, 0), (0, 1), (1, 0), (1, 2)] {
        let server = server(3, trusting());
        let (room, name) = (server.name_at("r", room_at), server.name_at("eve", eve_at));
        let ann = v1(&server, &server.name_at("ann", room_at));
        let eve = v1(&server, &name);
        call(&ann, "room.create", json!({"room_id": room})).unwrap();
        subscribe(&eve, json!({"topic": room}));
        let kick = json!({"method": "room.kick", "params": {"room_id": room, "user_id": name}});
        ann.write(json!({"type": "rpc", "id": 1, "data": kick}));
        eve.write(json!({"type": "subscribe", "id": 2, "data": {"topic": room}}));
        server.run();
        assert_eq!(ann.expect("rpc")["data"]["result"]["kicked"], true);
        let members = server.app(room_at).members(&room).count;
        eve.forget();
        chat(&ann, &room, "hello");
        let is_in = eve.receive_all_of("chat").len();
        assert_eq!(is_in, members, "the room and the connection agree");
        server.end();
    }
}
