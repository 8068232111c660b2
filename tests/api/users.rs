//! Users by HTTP: who is connected, word to one and to all, and their connections' end.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::site::{ADMIN, PUBLISH, ROOMS, Site, USERS};

#[test]
fn all_who_are_connected_stand_on_one_page_each() {
    let site = Site::start();
    let mut clients = Vec::new();
    for i in 0..23 {
        clients.push(site.connect(&format!("user-{i}")));
    }
    clients.push(site.connect("user-7"));
    let (mut found, mut cursor) = (BTreeMap::new(), String::new());
    loop {
        let path = format!("/api/v1/users?limit=4{cursor}");
        let page = site.key(USERS, "GET", &path, Value::Null).ok();
        let (count, is_last) = (
            page["users"].as_array().unwrap().len(),
            page["next_cursor"].is_null(),
        );
        assert_eq!(count, if is_last { 3 } else { 4 }, "full, over all shards");
        for user in page["users"].as_array().unwrap() {
            let name = user["user_id"].as_str().unwrap().to_owned();
            assert_eq!(found.insert(name, user["connections"].clone()), None);
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(found.len(), 23);
    assert_eq!((&found["user-7"], &found["user-8"]), (&2.into(), &1.into()));
    // Of those whose names begin so one page is enough, wherever they are at home.
    let path = "/api/v1/users?prefix=user-1&limit=11";
    let page = site.key(USERS, "GET", path, Value::Null).ok();
    assert_eq!(page["users"].as_array().unwrap().len(), 11);
    assert_eq!(page["next_cursor"], Value::Null, "and no empty one follows");
    let other = site
        .key(ROOMS, "GET", "/api/v1/rooms?limit=1", Value::Null)
        .ok();
    assert_eq!(other["next_cursor"], Value::Null);
    site.key(USERS, "GET", "/api/v1/users?cursor=cg", Value::Null)
        .invalid("cursor");
}

#[test]
fn a_users_connections_are_told_with_their_rooms() {
    let site = Site::start();
    let mut ann = site.connect_to("/v1/connect?user_id=ann&roles=admin");
    ann.subscribe("kitchen");
    site.connect("ann");
    let told = site
        .key(USERS, "GET", "/api/v1/users/ann/connections", Value::Null)
        .ok();
    let first = &told["connections"][0];
    assert_eq!(
        (&first["connection_id"], &first["profile"]),
        (&ann.id.as_str().into(), &"v1".into())
    );
    assert_eq!(
        (&first["rooms"], &first["roles"]),
        (&json!(["kitchen"]), &json!(["admin"]))
    );
    let nobody = site
        .key(USERS, "GET", "/api/v1/users/eve/connections", Value::Null)
        .ok();
    assert_eq!(nobody, json!({"user_id": "eve", "connections": []}));
    let long = format!("/api/v1/users/{}/connections", "x".repeat(300));
    site.key(USERS, "GET", &long, Value::Null).invalid("id");
}

#[test]
fn a_message_goes_to_all_connections_of_a_user_and_no_others() {
    let site = Site::start();
    let mut anns = [site.connect("ann"), site.connect("ann")];
    let mut bob = site.connect("bob");
    let body = json!({"type": "notification", "data": {"title": "Tea"}});
    let sent = site
        .key(PUBLISH, "POST", "/api/v1/users/ann/send", body.clone())
        .ok();
    assert_eq!(sent["connections"], 2);
    for ann in &mut anns {
        let heard = ann.until("notification");
        assert_eq!(
            (&heard["data"]["title"], &heard["id"]),
            (&"Tea".into(), &sent["message_id"])
        );
    }
    assert_eq!(bob.before_pong(), [Value::Null; 0]);
    let sent = site
        .key(PUBLISH, "POST", "/api/v1/users/eve/send", body)
        .ok();
    assert_eq!(sent["connections"], 0);
    let send = |body| site.key(PUBLISH, "POST", "/api/v1/users/ann/send", body);
    send(json!({"type": "x", "data": 1})).refused(422, "invalid_message");
    send(json!({"type": "", "data": {}})).invalid("type");
    send(json!({"data": {}})).invalid("type");
}

#[test]
fn everybody_hears_a_broadcast_or_only_those_of_a_role() {
    let site = Site::start();
    let mut ann = site.connect_to("/v1/connect?user_id=ann&roles=editor");
    let mut bob = site.connect_to("/v1/connect?user_id=bob&roles=admin,editor");
    let mut eve = site.connect_to("/ws?user_id=eve&profile=flat");
    let broadcast = |body: Value| site.key(PUBLISH, "POST", "/api/v1/broadcast", body);
    let words = json!({"message": "Server maintenance in 5 minutes"});
    let told = broadcast(json!({"type": "announcement", "data": words})).ok();
    assert_eq!(told, json!({"connections": 3}));
    assert_eq!(ann.until("announcement")["data"], words);
    assert_eq!(bob.until("announcement")["data"], words);
    assert_eq!(eve.until("announcement")["message"], words["message"]);
    let told = broadcast(json!({"type": "rota", "data": {}, "roles": ["admin", "cook"]})).ok();
    assert_eq!(told["connections"], 1);
    bob.until("rota");
    assert_eq!(ann.before_pong(), [Value::Null; 0]);
    broadcast(json!({"type": "rota", "data": {}, "roles": []})).invalid("roles");
    broadcast(json!({"type": "rota", "data": {}, "roles": ["a,b"]})).invalid("roles");
    broadcast(json!({"type": "rota", "data": []})).refused(422, "invalid_message");
    broadcast(json!({"type": "x".repeat(65), "data": {}})).invalid("type");
}

#[test]
fn connections_are_closed_with_the_code_and_reason_that_are_asked_for() {
    let site = Site::start();
    let path = "/api/v1/users/ann/disconnect";
    let disconnect = |body: Value| site.key(USERS, "POST", path, body);
    let (mut first, mut second) = (site.connect("ann"), site.connect("ann"));
    let bob = site.connect("bob");
    assert_eq!(
        disconnect(json!({"connection_id": bob.id})).ok()["closed"],
        0,
        "not hers"
    );
    assert_eq!(
        disconnect(json!({"connection_id": first.id})).ok()["closed"],
        1
    );
    assert_eq!(first.next()["close"], 4403);
    let how = json!({"code": 4503, "reason": "draining; retry_in_ms=500"});
    assert_eq!(disconnect(how).ok()["closed"], 1);
    let closed = json!({"close": 4503, "reason": "draining; retry_in_ms=500"});
    assert_eq!(second.next(), closed);
    assert_eq!(
        disconnect(Value::Null).ok()["closed"],
        0,
        "a body may be missing"
    );
    disconnect(json!({"code": 1006})).invalid("code");
    disconnect(json!({"code": 99999})).invalid("code");
    disconnect(json!({"reason": "x".repeat(124)})).invalid("reason");
    disconnect(json!({"connection_id": "x"})).invalid("connection_id");
}

#[test]
fn what_a_user_shows_is_revoked() {
    let site = Site::start();
    let path = "/api/v1/users/ann/revoke";
    let revoke = |body: Value| site.key(ADMIN, "POST", path, body);
    let all = revoke(Value::Null).ok();
    assert!(all["issued_before"].as_u64().unwrap() > 1_700_000_000);
    assert_eq!(
        (&all["user_id"], &all["token_id"]),
        (&"ann".into(), &Value::Null)
    );
    let one = revoke(json!({"token_id": "t-1"})).ok();
    assert_eq!(
        (&one["token_id"], &one["issued_before"]),
        (&"t-1".into(), &Value::Null)
    );
    revoke(json!({"token_id": "t", "issued_before": 7})).invalid("issued_before");
    revoke(json!({"token_id": ""})).invalid("token_id");
    revoke(json!({"issued_before": -1})).invalid("issued_before");
    site.key(USERS, "POST", path, Value::Null)
        .refused(403, "forbidden");
}

#[test]
fn the_numbers_are_those_of_all_shards() {
    let site = Site::start();
    let mut clients: Vec<_> = (0..6).map(|i| site.connect(&format!("user-{i}"))).collect();
    clients[0].subscribe("kitchen");
    clients[1].subscribe("hall");
    let stats = site.key(PUBLISH, "GET", "/api/v1/stats", Value::Null).ok();
    assert_eq!(
        (&stats["total_users"], &stats["total_connections"]),
        (&6.into(), &6.into())
    );
    assert_eq!(
        (&stats["rooms"], stats["shards"].as_array().unwrap().len()),
        (&2.into(), 2)
    );
}
