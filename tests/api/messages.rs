//! Messages by HTTP: said, published, read again, and what has become of them.

use serde_json::{Value, json};

use crate::site::{PUBLISH, ROOMS, Site};

const MESSAGES: &str = "/api/v1/rooms/kitchen/messages";

#[test]
fn what_a_user_says_is_a_chat_like_any_other() {
    let site = Site::start();
    let mut bob = site.connect("bob");
    bob.subscribe("kitchen");
    let body = json!({"data": {"content": "hi", "mood": [1]}});
    let said = site.user("ann", "POST", MESSAGES, body);
    assert_eq!(said.status, 201);
    let said = said.ok();
    assert_eq!(
        (&said["topic"], &said["offset"]),
        (&"kitchen".into(), &1.into())
    );
    let heard = bob.until("chat");
    assert_eq!(heard["id"], said["message_id"]);
    assert_eq!(
        (&heard["user_id"], &heard["offset"]),
        (&"ann".into(), &1.into())
    );
    assert_eq!(heard["data"], json!({"content": "hi", "mood": [1]}));

    let body = json!({"type": "publish", "data": [1, 2.50]});
    let published = site.user("ann", "POST", MESSAGES, body).ok();
    assert_eq!(
        (&published["offset"], &published["epoch"]),
        (&2.into(), &said["epoch"])
    );
    assert_eq!(bob.until("publish")["data"]["data"], json!([1, 2.5]));
}

#[test]
fn a_user_may_say_over_http_what_a_connection_may() {
    let site = Site::start();
    let say = |user: &str, room: &str, body: Value| {
        site.user(
            user,
            "POST",
            &format!("/api/v1/rooms/{room}/messages"),
            body,
        )
    };
    let hi = json!({"data": {"content": "hi"}});
    say("", "kitchen", hi.clone()).refused(401, "unauthorized");
    say("ann", "kitchen", json!({"data": 7})).refused(422, "invalid_message");
    say("ann", "kitchen", json!({"data": {"content": ""}})).invalid("content");
    say("ann", "kitchen", json!({"type": "dice", "data": {}})).invalid("type");
    say("ann", "kitchen", json!({})).invalid("data");
    let long = json!({"data": {"content": "x"}, "client_message_id": "x".repeat(129)});
    say("ann", "kitchen", long).invalid("client_message_id");

    let club = json!({"id": "club", "is_private": true, "members": ["bob"]});
    site.user("ann", "POST", "/api/v1/rooms", club).ok();
    say("bob", "club", hi.clone()).ok();
    say("eve", "club", hi.clone()).refused(403, "forbidden");
    site.user(
        "ann",
        "POST",
        "/api/v1/rooms",
        json!({"id": "cell", "max_clients": 1}),
    )
    .ok();
    let mut bob = site.connect("bob");
    bob.subscribe("cell");
    say("bob", "cell", hi.clone()).ok();
    say("eve", "cell", hi).refused(409, "room_full");
}

#[test]
fn a_message_of_the_same_name_is_published_once_in_memory_and_in_the_store() {
    let site = Site::start();
    for room in ["kitchen", "kept/kitchen"] {
        let mut bob = site.connect("bob");
        bob.subscribe(room);
        let path = format!("/api/v1/rooms/{}/messages", room.replace('/', "%2F"));
        let body = json!({"data": {"content": "hi"}, "client_message_id": "c1"});
        let first = site.user("ann", "POST", &path, body.clone()).ok();
        assert_eq!(site.user("ann", "POST", &path, body.clone()).ok(), first);
        // Another's name of the same letters is another name.
        let others = site.key(PUBLISH, "POST", &path, body.clone()).ok();
        assert_ne!(others["message_id"], first["message_id"]);
        assert_eq!(site.key(PUBLISH, "POST", &path, body).ok(), others);
        let heard = bob.before_pong();
        let chats: Vec<_> = heard.iter().filter(|it| it["type"] == "chat").collect();
        assert_eq!(chats.len(), 2, "{heard:?}");
    }
}

#[test]
fn the_server_publishes_any_type_and_leaves_out_whom_it_is_told_to() {
    let site = Site::start();
    let (mut ann, mut bob) = (site.connect("ann"), site.connect("bob"));
    ann.subscribe("prices");
    bob.subscribe("prices");
    let publish = |body: Value| site.key(PUBLISH, "POST", "/api/v1/publish", body);
    let body = json!({"topic": "prices", "data": 7, "exclude_connection": ann.id});
    let published = publish(body).ok();
    assert_eq!(published["topic"], "prices");
    let heard = bob.until("publish");
    assert_eq!(
        (&heard["id"], &heard["data"]["data"]),
        (&published["message_id"], &7.into())
    );
    assert_eq!(heard.get("user_id"), None);
    publish(json!({"topic": "prices", "type": "tick", "data": {"tea": 2}})).ok();
    assert_eq!(bob.until("tick")["data"], json!({"tea": 2}));
    let all = ann.before_pong();
    assert!(all.iter().all(|it| it["type"] != "publish"), "{all:?}");
    assert!(all.iter().any(|it| it["type"] == "tick"), "{all:?}");

    // Readers of another profile get a chat in their own shape.
    let mut eve = site.connect_to("/ws?user_id=eve");
    eve.say(json!({"type": "subscribe", "id": "s", "topic": "prices"}));
    eve.until("subscribed");
    publish(json!({"topic": "prices", "type": "chat", "data": {"text": "hello"}})).ok();
    assert_eq!(eve.until("chat")["content"], "hello");

    publish(json!({"data": 1})).invalid("topic");
    publish(json!({"topic": "", "data": 1})).invalid("topic");
    publish(json!({"topic": "a", "type": "", "data": {}})).invalid("type");
    publish(json!({"topic": "a", "type": "tick", "data": 1})).invalid("data");
    publish(json!({"topic": "a", "data": 1, "exclude_connection": "7"}))
        .invalid("exclude_connection");
    let nobody = json!({"topic": "a", "data": 1, "exclude_connection": "ffffffffffffffff"});
    publish(nobody).invalid("exclude_connection");
    let gone = json!({"topic": "a", "data": 1, "exclude_connection": "0001ffffff0fffff"});
    publish(gone).ok();
    let once = json!({"topic": "a", "data": 1, "idempotency_key": "k"});
    assert_eq!(publish(once.clone()).ok(), publish(once).ok());
}

#[test]
fn history_is_read_to_its_end_both_ways_over_memory_and_store() {
    let site = Site::start();
    for room in ["kitchen", "kept%2Fkitchen"] {
        let path = format!("/api/v1/rooms/{room}/messages");
        // More than memory keeps: the rest is the store's.
        let count = if room == "kitchen" { 30 } else { 130 };
        let mut ids = Vec::new();
        for i in 1..=count {
            let body = json!({"type": "publish", "data": i});
            ids.push(site.key(PUBLISH, "POST", &path, body).ok()["message_id"].clone());
        }
        let read = |query: &str| {
            let (mut found, mut cursor) = (Vec::<Vec<u64>>::new(), String::new());
            loop {
                let path = format!("{path}?limit=13{query}{cursor}");
                let page = site.key(ROOMS, "GET", &path, Value::Null).ok();
                let messages = page["messages"].as_array().unwrap();
                found.push(
                    messages
                        .iter()
                        .map(|it| it["offset"].as_u64().unwrap())
                        .collect(),
                );
                match page["next_cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => return found,
                }
            }
        };
        let mut back = read("");
        back.reverse();
        assert_eq!(back.concat(), (1..=count).collect::<Vec<u64>>(), "{room}");
        assert_eq!(read("&after=0").concat(), (1..=count).collect::<Vec<u64>>());
        assert_eq!(
            read("&after=20").concat(),
            (21..=count).collect::<Vec<u64>>()
        );
        assert_eq!(read("&after=3&before=8").concat(), [4, 5, 6, 7]);
        let second = ids[1].as_str().unwrap();
        assert_eq!(read(&format!("&before={second}")).concat(), [1]);
        assert_eq!(read(&format!("&after={second}"))[0][0], 3);
        let message = &site
            .key(
                ROOMS,
                "GET",
                &format!("{path}?after=0&limit=1"),
                Value::Null,
            )
            .ok();
        assert_eq!(message["messages"][0]["data"]["data"], 1);
        site.key(ROOMS, "GET", &format!("{path}?before=x"), Value::Null)
            .invalid("before");
        site.user("eve", "GET", &path, Value::Null)
            .refused(409, "not_subscribed");
    }
    site.key(ROOMS, "GET", "/api/v1/rooms/nowhere/messages", Value::Null)
        .refused(404, "not_found");
    site.key(
        ROOMS,
        "GET",
        "/api/v1/rooms/kept%2Fnowhere/messages",
        Value::Null,
    )
    .refused(404, "not_found");
}

/// Puts users on a room's access list.
fn add_members(site: &Site, room: &str, users: impl Iterator<Item = String>) {
    for user in users {
        let path = format!("/api/v1/rooms/{room}/members/{user}");
        site.user("ann", "PUT", &path, Value::Null).ok();
    }
}

#[test]
fn a_persistent_rooms_message_has_a_status_when_memory_has_forgotten_it() {
    let site = Site::start();
    let room = json!({"id": "kept/hall"});
    site.user("ann", "POST", "/api/v1/rooms", room).ok();
    let hall = "kept%2Fhall";
    let (mut ann, mut bob) = (site.connect("ann"), site.connect("bob"));
    ann.subscribe("kept/hall");
    bob.subscribe("kept/hall");
    add_members(&site, hall, std::iter::once("eve".to_owned()));
    let messages = format!("/api/v1/rooms/{hall}/messages");
    let say = |user: &str| {
        let said = site.user(user, "POST", &messages, json!({"data": {"content": "hi"}}));
        said.ok()["message_id"].as_str().unwrap().to_owned()
    };
    let first = say("ann");
    let second = say("bob");
    bob.until("chat");
    bob.say(json!({"type": "message-status",
        "data": {"message_id": first, "chat_id": "kept/hall", "status": "read"}}));
    bob.before_pong();
    let status = |user: &str, message: &str| {
        let path = format!("/api/v1/messages/{message}/status");
        site.user(user, "GET", &path, Value::Null)
    };
    let before = status("ann", &first).ok();
    let bobs = json!({"recipient_id": "bob", "status": "read"});
    let eves = json!({"recipient_id": "eve", "status": "sent"});
    assert_eq!(before["recipients"], json!([bobs, eves]));
    // Memory keeps a hundred. Nobody else writes, lest anybody's marks move.
    for n in 0..101 {
        let body = json!({"topic": "kept/hall", "data": n});
        site.key(PUBLISH, "POST", "/api/v1/publish", body).ok();
    }
    let oldest = format!("{messages}?after=0&limit=1");
    let page = site.key(ROOMS, "GET", &oldest, Value::Null).ok();
    assert_eq!(page["messages"][0]["id"], first.as_str());
    let after = status("ann", &first).ok();
    let but_marks = |mut status: Value| {
        // Proof that it has arrived may come meanwhile, of those who are connected.
        status["recipients"] = json!([status["recipients"][0], eves]);
        status
    };
    assert_eq!(but_marks(after), but_marks(before));
    assert_eq!(status("bob", &second).ok()["sender_id"], "bob");
    status("eve", &first).refused(403, "forbidden");
    status("bob", &first).refused(403, "forbidden");
    let path = format!("/api/v1/messages/{first}/status?room_id={hall}");
    site.key(ROOMS, "GET", &path, Value::Null).ok();
    let elsewhere = format!("/api/v1/messages/{first}/status?room_id=kept%2Fother");
    site.key(ROOMS, "GET", &elsewhere, Value::Null)
        .refused(404, "not_found");
    // More than can be named are counted: 51 besides the author.
    add_members(&site, hall, (0..49).map(|n| format!("user-{n}")));
    let counted = status("ann", &first).ok();
    assert_eq!(counted["recipient_count"], 51);
    assert_eq!(counted["recipients"], Value::Null);
    assert_eq!(
        (&counted["status"], &counted["read"]),
        (&"read".into(), &50.into())
    );
}

#[test]
fn an_author_is_told_who_has_got_and_read_a_message() {
    let site = Site::start();
    let (mut bob, mut eve) = (site.connect("bob"), site.connect("eve"));
    bob.subscribe("kitchen");
    eve.subscribe("kitchen");
    let body = json!({"data": {"content": "hi"}});
    let said = site.user("ann", "POST", MESSAGES, body).ok();
    let id = said["message_id"].as_str().unwrap();
    let path = format!("/api/v1/messages/{id}/status");
    let status = site.user("ann", "GET", &path, Value::Null).ok();
    assert_eq!(
        (&status["sender_id"], &status["room_id"]),
        (&"ann".into(), &"kitchen".into())
    );
    assert_eq!(status["recipient_count"], 2);
    let read = json!({"type": "message-status",
        "data": {"message_id": id, "chat_id": "kitchen", "status": "read"}});
    eve.until("chat");
    eve.say(read);
    eve.before_pong();
    let in_room = format!("{path}?room_id=kitchen");
    let status = site.user("ann", "GET", &in_room, Value::Null).ok();
    assert_eq!(
        (&status["status"], &status["read"]),
        (&"read".into(), &1.into())
    );
    let eves = json!({"recipient_id": "eve", "status": "read"});
    assert!(
        status["recipients"].as_array().unwrap().contains(&eves),
        "{status}"
    );

    site.user("bob", "GET", &path, Value::Null)
        .refused(403, "forbidden");
    site.key(ROOMS, "GET", &path, Value::Null).ok();
    site.user("", "GET", &path, Value::Null)
        .refused(401, "unauthorized");
    site.user("ann", "GET", "/api/v1/messages/7/status", Value::Null)
        .invalid("id");
    let other = "/api/v1/messages/019a1f6e-3c8b-7d3a-9a53-1f0c2a91d3b7/status";
    site.user("ann", "GET", other, Value::Null)
        .refused(404, "not_found");
    let elsewhere = format!("{path}?room_id=hall");
    site.user("ann", "GET", &elsewhere, Value::Null)
        .refused(404, "not_found");
}
