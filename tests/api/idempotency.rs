//! `Idempotency-Key`: done once, answered as often as asked.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::site::{Answer, PUBLISH, Site, USERS, answer};

fn publish(site: &Site, key: &str, idempotency_key: &str, body: &Value) -> reqwest::RequestBuilder {
    let request = site.request("POST", "/api/v1/publish").bearer_auth(key);
    request
        .header("idempotency-key", idempotency_key)
        .json(body)
}

#[test]
fn the_same_key_is_answered_the_same_and_published_once() {
    let site = Site::start();
    let mut bob = site.connect("bob");
    bob.subscribe("prices");
    let body = json!({"topic": "prices", "data": 1});
    let first = site.send(publish(&site, PUBLISH, "k1", &body));
    let again = site.send(publish(&site, PUBLISH, "k1", &body));
    assert_eq!(first.ok(), again.ok());
    assert_eq!(
        (
            first.header("idempotency-replayed"),
            again.header("idempotency-replayed")
        ),
        (None, Some("true"))
    );
    assert_eq!(bob.before_pong().len(), 1);

    let other = json!({"topic": "prices", "data": 2});
    site.send(publish(&site, PUBLISH, "k1", &other))
        .invalid("Idempotency-Key");
    site.send(publish(&site, PUBLISH, "k2", &other)).ok();
    site.send(publish(&site, PUBLISH, &"x".repeat(256), &other))
        .invalid("Idempotency-Key");
    // A key is its caller's own, and its path's.
    site.send(publish(&site, USERS, "k1", &body))
        .refused(403, "forbidden");
    let room = site
        .request("POST", "/api/v1/rooms")
        .header("x-user-id", "ann");
    let room = room
        .header("idempotency-key", "k1")
        .json(&json!({"id": "r"}));
    assert_eq!(site.send(room).status, 201);
}

#[test]
fn a_refusal_is_remembered_with_its_own_body() {
    let site = Site::start();
    let body = json!({"topic": 7, "data": 1});
    site.send(publish(&site, PUBLISH, "k", &body))
        .invalid("topic");
    let again = site.send(publish(&site, PUBLISH, "k", &body));
    again.invalid("topic");
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
}

#[test]
fn of_many_at_once_one_is_done() {
    let site = Site::start();
    let mut bob = site.connect("bob");
    bob.subscribe("prices");
    let body = json!({"topic": "prices", "data": 1});
    let all = (0..32).map(|_| answer(publish(&site, PUBLISH, "k", &body)));
    let answers: Vec<Answer> = site.run(join_all(all));
    let mut ids = Vec::new();
    for answer in &answers {
        match answer.status {
            200 => ids.push(answer.ok()["message_id"].clone()),
            _ => drop(answer.refused(409, "conflict")),
        }
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(bob.before_pong().len(), 1);
}
