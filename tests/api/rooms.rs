//! Rooms by HTTP: made, changed, listed, ended; who is there, and who may be.

use serde_json::{Value, json};

use crate::site::{PUBLISH, ROOMS, Site};

const ROOM: &str = "/api/v1/rooms/kitchen";

#[test]
fn a_room_is_made_changed_replaced_and_ended() {
    let site = Site::start();
    let body = json!({"id": "kitchen", "name": "The kitchen", "metadata": {"tea": 1.50}});
    let made = site.user("ann", "POST", "/api/v1/rooms", body.clone());
    assert_eq!((made.status, made.header("location")), (201, Some(ROOM)));
    let room = made.ok();
    assert_eq!(room["created_by"], "ann");
    assert_eq!(
        (&room["name"], &room["metadata"]["tea"]),
        (&"The kitchen".into(), &1.5.into())
    );
    site.user("ann", "POST", "/api/v1/rooms", body)
        .refused(409, "already_exists");
    assert_eq!(site.user("bob", "GET", ROOM, Value::Null).ok(), room);

    let change = json!({"max_clients": 3, "name": null});
    let changed = site.user("ann", "PATCH", ROOM, change.clone()).ok();
    assert_eq!(
        (&changed["max_clients"], &changed["name"]),
        (&3.into(), &"The kitchen".into())
    );
    site.user("bob", "PATCH", ROOM, change.clone())
        .refused(403, "forbidden");
    site.user("bob", "DELETE", ROOM, Value::Null)
        .refused(403, "forbidden");
    let replaced = site.user("ann", "PUT", ROOM, json!({"name": "Tea"}));
    assert_eq!(replaced.status, 200);
    let replaced = replaced.ok();
    assert_eq!(
        (&replaced["max_clients"], &replaced["metadata"]),
        (&0.into(), &json!({}))
    );
    assert_eq!(replaced["created_by"], "ann");

    let exact = site.request("PATCH", ROOM).header("x-user-id", "ann");
    let exact = exact.header("content-type", "application/json");
    let exact = site.send(exact.body(r#"{"metadata":{"tea": 1.50}}"#));
    assert!(exact.text.contains(r#"{"tea": 1.50}"#), "as it was written");

    // A key with the scope may do all, as nobody's name.
    assert_eq!(
        site.key(ROOMS, "PATCH", ROOM, change).ok()["max_clients"],
        3
    );
    let closed = site.user("ann", "DELETE", ROOM, Value::Null).ok();
    assert_eq!(
        (&closed["id"], &closed["max_clients"]),
        (&"kitchen".into(), &3.into())
    );
    for (method, body) in [
        ("GET", Value::Null),
        ("PATCH", json!({})),
        ("DELETE", Value::Null),
    ] {
        site.user("ann", method, ROOM, body)
            .refused(404, "not_found");
    }
    let put = site.user("bob", "PUT", ROOM, json!({}));
    assert_eq!(
        (put.status, put.ok()["created_by"].as_str()),
        (201, Some("bob"))
    );
}

#[test]
fn a_room_of_the_servers_own_has_no_owner_and_is_made_once() {
    let site = Site::start();
    let body = json!({"id": "news", "is_private": true, "members": ["ann"]});
    let room = site.key(ROOMS, "POST", "/api/v1/rooms", body.clone()).ok();
    assert_eq!(
        (&room["created_by"], &room["is_private"]),
        (&Value::Null, &true.into())
    );
    site.key(ROOMS, "POST", "/api/v1/rooms", body)
        .refused(409, "already_exists");
    site.key(PUBLISH, "GET", "/api/v1/rooms/news", Value::Null)
        .refused(403, "forbidden");
    site.user("ann", "GET", "/api/v1/rooms/news", Value::Null)
        .ok();
    site.user("eve", "GET", "/api/v1/rooms/news", Value::Null)
        .refused(403, "forbidden");
    // Without an identifier one is made up.
    let room = site.user("ann", "POST", "/api/v1/rooms", json!({})).ok();
    assert_eq!(room["id"].as_str().unwrap().len(), 36);
}

#[test]
fn what_a_room_cannot_be_is_named() {
    let site = Site::start();
    let make = |body: Value| site.user("ann", "POST", "/api/v1/rooms", body);
    make(json!({"id": ""})).invalid("id");
    make(json!({"id": "x".repeat(257)})).invalid("id");
    make(json!({"id": 7})).invalid("id");
    make(json!({"name": "x".repeat(257)})).invalid("name");
    make(json!({"metadata": []})).invalid("metadata");
    make(json!({"metadata": {"a": "x".repeat(9000)}})).invalid("metadata");
    make(json!({"max_clients": -1})).invalid("max_clients");
    make(json!({"members": [""]})).invalid("members");
    make(json!({"members": vec!["x"; 1001]})).invalid("members");
    let long = format!("/api/v1/rooms/{}", "x".repeat(257));
    site.user("ann", "GET", &long, Value::Null).invalid("id");
    let url = "/api/v1/rooms?limit=0";
    site.user("ann", "GET", url, Value::Null).invalid("limit");
    site.user("ann", "GET", "/api/v1/rooms?limit=x", Value::Null)
        .invalid("limit");
    site.user("ann", "GET", "/api/v1/rooms?cursor=%21", Value::Null)
        .invalid("cursor");
}

#[test]
fn names_with_every_kind_of_character_are_paths() {
    let site = Site::start();
    for name in ["küche/1 ?", "..", "%2F", "a+b&c=d#e"] {
        let made = site.user("ann", "POST", "/api/v1/rooms", json!({"id": name}));
        assert_eq!(made.ok()["id"], name);
        if name != ".." {
            let path = made.header("location").unwrap().to_owned();
            assert_eq!(site.user("ann", "GET", &path, Value::Null).ok()["id"], name);
        }
    }
}

#[test]
fn a_list_is_read_to_its_end_in_pages() {
    let site = Site::start();
    let mut names: Vec<String> = (0..23).map(|i| format!("room-{i:02}")).collect();
    names.extend((0..5).map(|i| format!("kept/room-{i}")));
    for name in &names {
        site.user("ann", "POST", "/api/v1/rooms", json!({"id": name}))
            .ok();
    }
    let secret = json!({"id": "room-99", "is_private": true});
    site.user("bob", "POST", "/api/v1/rooms", secret).ok();
    let read = |prefix: &str, limit: u32| {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/api/v1/rooms?prefix={prefix}&limit={limit}{cursor}");
            let page = site.user("ann", "GET", &path, Value::Null).ok();
            let rooms = page["rooms"].as_array().unwrap();
            assert!(rooms.len() <= usize::try_from(limit).unwrap());
            found.extend(
                rooms
                    .iter()
                    .map(|room| room["id"].as_str().unwrap().to_owned()),
            );
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found,
            }
        }
    };
    names.sort_unstable();
    assert_eq!(read("", 4), names, "and not what she may not see");
    assert_eq!(read("room-1", 3), names[15..25]);
    assert_eq!(read("none", 3), [""; 0]);
    let all = site
        .key(ROOMS, "GET", "/api/v1/rooms?prefix=room-99", Value::Null)
        .ok();
    assert_eq!(all["rooms"][0]["id"], "room-99", "a key sees all");
}

#[test]
fn members_see_who_is_there_and_others_do_not() {
    let site = Site::start();
    let mut clients: Vec<_> = ["ann", "bob", "eve"].map(|user| site.connect(user)).into();
    for client in &mut clients {
        client.subscribe("kitchen");
    }
    let path = "/api/v1/rooms/kitchen/participants";
    let first = site
        .user("ann", "GET", &format!("{path}?limit=2"), Value::Null)
        .ok();
    assert_eq!(first["count"], 3);
    assert_eq!(first["members"][1]["user_id"], "bob");
    assert_eq!(first["members"][0]["connections"], 1);
    let cursor = first["next_cursor"].as_str().unwrap();
    let next = format!("{path}?cursor={cursor}");
    let rest = site.key(ROOMS, "GET", &next, Value::Null).ok();
    assert_eq!(rest["members"][0]["user_id"], "eve");
    assert_eq!(rest["next_cursor"], Value::Null);
    site.user("zoe", "GET", path, Value::Null)
        .refused(409, "not_subscribed");
    let room = site
        .user("zoe", "GET", "/api/v1/rooms/kitchen", Value::Null)
        .ok();
    assert_eq!(room["members"], 3);
}

#[test]
fn an_access_list_lets_in_and_sends_away() {
    let site = Site::start();
    site.user(
        "ann",
        "POST",
        "/api/v1/rooms",
        json!({"id": "club", "is_private": true}),
    )
    .ok();
    let path = "/api/v1/rooms/club/members/bob";
    site.user("bob", "PUT", path, Value::Null)
        .refused(403, "forbidden");
    site.user("ann", "DELETE", path, Value::Null)
        .refused(404, "not_found");
    let mut bob = site.connect("bob");
    let room = site.user("ann", "PUT", path, Value::Null).ok();
    assert_eq!((&room["id"], &room["members"]), (&"club".into(), &0.into()));
    assert_eq!(
        bob.until("chat-notification")["data"]["action"],
        "member_added"
    );
    bob.subscribe("club");
    site.user("ann", "DELETE", path, Value::Null).ok();
    assert_eq!(bob.until("unsubscribed")["data"]["reason"], "forbidden");
    site.user("bob", "GET", "/api/v1/rooms/club", Value::Null)
        .refused(403, "forbidden");
    site.user(
        "ann",
        "DELETE",
        "/api/v1/rooms/club/members/ann",
        Value::Null,
    )
    .refused(404, "not_found");
}

#[test]
fn whoever_is_in_a_room_hears_of_its_end() {
    let site = Site::start();
    site.user("ann", "POST", "/api/v1/rooms", json!({"id": "kitchen"}))
        .ok();
    let mut bob = site.connect("bob");
    bob.subscribe("kitchen");
    site.key(ROOMS, "DELETE", ROOM, Value::Null).ok();
    assert_eq!(bob.until("unsubscribed")["data"]["reason"], "room_closed");
}
