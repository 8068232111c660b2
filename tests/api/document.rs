//! The document is about the routes that there are, and the guide about what they answer.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::site::{PUBLISH, ROOMS, Site, USERS};

#[test]
fn both_documents_are_served() {
    let site = Site::start();
    let openapi = site.user("", "GET", "/openapi.json", Value::Null);
    assert_eq!(openapi.header("content-type"), Some("application/json"));
    let served = openapi.ok();
    assert_eq!(
        served,
        serde_json::to_value(campanile::api::openapi()).unwrap()
    );
    assert!(served["openapi"].as_str().unwrap().starts_with("3.1"));
    let asyncapi = site.user("", "GET", "/asyncapi.yaml", Value::Null);
    assert_eq!(asyncapi.text, include_str!("../../docs/asyncapi.yaml"));
}

#[test]
fn every_operation_is_there_and_says_what_it_answers() {
    let openapi = serde_json::to_value(campanile::api::openapi()).unwrap();
    let mut found = BTreeSet::new();
    for (path, item) in openapi["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            found.insert(format!("{} {path}", method.to_uppercase()));
            let responses = operation["responses"].as_object().unwrap();
            assert!(
                responses.keys().any(|status| status.starts_with('2')),
                "{method} {path}"
            );
            // Whoever looks after the process need not be anybody.
            if path.starts_with("/api/") {
                assert!(responses.contains_key("401"), "{method} {path}");
            }
            assert!(
                operation["summary"].as_str().unwrap_or_default().len() > 10
                    || operation["description"].is_string(),
                "{method} {path}"
            );
        }
    }
    let expected = [
        "DELETE /api/v1/connections/{id}",
        "DELETE /api/v1/rooms/{id}",
        "DELETE /api/v1/rooms/{id}/members/{user_id}",
        "GET /api/v1/connections",
        "GET /api/v1/connections/{id}",
        "GET /api/v1/messages/{id}/status",
        "GET /api/v1/rooms",
        "GET /api/v1/rooms/{id}",
        "GET /api/v1/rooms/{id}/messages",
        "GET /api/v1/rooms/{id}/participants",
        "GET /api/v1/stats",
        "GET /api/v1/users",
        "GET /api/v1/users/{id}/connections",
        "GET /healthz",
        "GET /readyz",
        "GET /startupz",
        "PATCH /api/v1/connections/{id}",
        "PATCH /api/v1/rooms/{id}",
        "POST /api/v1/broadcast",
        "POST /api/v1/connections",
        "POST /api/v1/connections/join",
        "POST /api/v1/connections/{id}/join",
        "POST /api/v1/publish",
        "POST /api/v1/rooms",
        "POST /api/v1/rooms/{id}/messages",
        "POST /api/v1/users/{id}/disconnect",
        "POST /api/v1/users/{id}/revoke",
        "POST /api/v1/users/{id}/send",
        "PUT /api/v1/rooms/{id}",
        "PUT /api/v1/rooms/{id}/members/{user_id}",
    ];
    let ours = found.iter().map(String::as_str);
    assert_eq!(ours.collect::<Vec<_>>(), expected);
}

#[test]
fn every_path_of_the_document_is_a_route_and_every_reference_leads_somewhere() {
    let site = Site::start();
    let openapi = serde_json::to_value(campanile::api::openapi()).unwrap();
    for (path, item) in openapi["paths"].as_object().unwrap() {
        let path = path.replace("{id}", "a").replace("{user_id}", "b");
        for method in item.as_object().unwrap().keys() {
            let answer = site.key(USERS, &method.to_uppercase(), &path, json!({}));
            assert_ne!(answer.status, 405, "{method} {path}");
            if answer.status == 404 {
                assert!(!answer.text.contains("method"), "{answer:?}");
            }
        }
        // What the document leaves out is not there.
        for method in ["get", "post", "put", "patch", "delete"] {
            if !item.as_object().unwrap().contains_key(method) {
                let answer = site.key(USERS, &method.to_uppercase(), &path, Value::Null);
                assert!(answer.header("allow").is_some(), "{method} {path}");
                answer.refused(405, "method_not_allowed");
                // Whoever asks, and however.
                let stranger = site.user("", &method.to_uppercase(), &path, Value::Null);
                stranger.refused(405, "method_not_allowed");
            }
        }
    }
    let text = openapi.to_string();
    for (at, reference) in text.match_indices("\"#/components/schemas/") {
        let name = text[at + reference.len()..].split('"').next().unwrap();
        assert!(openapi["components"]["schemas"][name].is_object(), "{name}");
    }
    for scheme in ["user_token", "server_key"] {
        assert_eq!(
            openapi["components"]["securitySchemes"][scheme]["scheme"],
            "bearer"
        );
    }
}

/// The guide's commands and what they print; the tests in Python run them all.
#[test]
fn the_guide_shows_objects_as_the_server_writes_them() {
    let guide = include_str!("../../docs/HTTP_API.md");
    let shown: Vec<Value> = guide
        .split("```json\n")
        .skip(1)
        .map(|rest| serde_json::from_str(rest.split("```").next().unwrap()).unwrap())
        .collect();
    let site = Site::start();
    let room = json!({"id": "kitchen", "name": "The kitchen", "max_clients": 12, "metadata": {"floor": 2}});
    let publication = json!({"topic": "prices", "data": {"tea": 2.5}});
    let got = [
        site.key(ROOMS, "POST", "/api/v1/rooms", room).ok(),
        site.key(PUBLISH, "POST", "/api/v1/publish", publication)
            .ok(),
        site.key(PUBLISH, "POST", "/api/v1/publish", json!({"data": 1}))
            .refused(422, "invalid_message"),
    ];
    assert_eq!(shown.len(), got.len());
    for (shown, got) in shown.iter().zip(&got) {
        let keys = |value: &Value| {
            value
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(keys(shown), keys(got));
        for (name, value) in shown.as_object().unwrap() {
            let same_kind = std::mem::discriminant(value) == std::mem::discriminant(&got[name]);
            assert!(same_kind, "{name}: {value} {}", got[name]);
        }
    }
}
