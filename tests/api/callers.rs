//! Who may ask what: guests, users, keys by scope, pages by origin, and nobody.

use campanile::api::ApiOptions;
use campanile::auth::{
    Algorithm, AuthOptions, Authenticator, GateOptions, KeyOptions, Material, Mode, TokenOptions,
};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::site::{ADMIN, PUBLISH, ROOMS, Site, USERS};

/// Method, path, a body that will do, and the scope that it takes of a key, if it takes one at all.
fn operations() -> Vec<(&'static str, &'static str, Value, Option<&'static str>)> {
    let push = json!({"type": "x", "data": {}});
    let message = json!({"data": {"content": "hi"}});
    vec![
        (
            "POST",
            "/api/v1/rooms",
            json!({"id": "kitchen"}),
            Some(ROOMS),
        ),
        ("GET", "/api/v1/rooms", Value::Null, Some(ROOMS)),
        ("PATCH", "/api/v1/rooms/kitchen", json!({}), Some(ROOMS)),
        ("PUT", "/api/v1/rooms/kitchen", json!({}), Some(ROOMS)),
        ("GET", "/api/v1/rooms/kitchen", Value::Null, Some(ROOMS)),
        (
            "GET",
            "/api/v1/rooms/kitchen/participants",
            Value::Null,
            Some(ROOMS),
        ),
        (
            "PUT",
            "/api/v1/rooms/kitchen/members/bob",
            Value::Null,
            Some(ROOMS),
        ),
        (
            "DELETE",
            "/api/v1/rooms/kitchen/members/bob",
            Value::Null,
            Some(ROOMS),
        ),
        (
            "POST",
            "/api/v1/rooms/kitchen/messages",
            message,
            Some(PUBLISH),
        ),
        (
            "GET",
            "/api/v1/rooms/kitchen/messages",
            Value::Null,
            Some(ROOMS),
        ),
        ("DELETE", "/api/v1/rooms/kitchen", Value::Null, Some(ROOMS)),
        (
            "POST",
            "/api/v1/publish",
            json!({"topic": "a", "data": 1}),
            Some(PUBLISH),
        ),
        ("POST", "/api/v1/broadcast", push.clone(), Some(PUBLISH)),
        ("POST", "/api/v1/users/ann/send", push, Some(PUBLISH)),
        (
            "POST",
            "/api/v1/users/ann/disconnect",
            Value::Null,
            Some(USERS),
        ),
        ("POST", "/api/v1/users/ann/revoke", Value::Null, Some(ADMIN)),
        ("GET", "/api/v1/users", Value::Null, Some(USERS)),
        (
            "GET",
            "/api/v1/users/ann/connections",
            Value::Null,
            Some(USERS),
        ),
        ("GET", "/api/v1/stats", Value::Null, None),
    ]
}

/// Whether a path is of the server API alone.
fn is_servers(path: &str) -> bool {
    ["/publish", "/broadcast", "/users", "/stats"]
        .iter()
        .any(|part| path.strip_prefix("/api/v1").unwrap().starts_with(part))
}

#[test]
fn a_key_is_good_for_its_scope_and_nothing_else() {
    let site = Site::start();
    for (method, path, body, scope) in operations() {
        for key in [PUBLISH, USERS, ROOMS, ADMIN] {
            if scope.is_some_and(|scope| scope != key) {
                let refused = site.key(key, method, path, body.clone());
                let scope = scope.unwrap().split('-').next().unwrap();
                let told = refused.refused(403, "forbidden");
                assert_eq!(told["details"]["scope"], scope, "{method} {path}");
            }
        }
        let good = site.key(scope.unwrap_or(ADMIN), method, path, body);
        assert!(good.status < 300, "{method} {path} {good:?}");
    }
}

#[test]
fn users_and_guests_have_no_part_in_the_server_api_and_guests_change_nothing() {
    let site = Site::start();
    site.user("ann", "POST", "/api/v1/rooms", json!({"id": "kitchen"}))
        .ok();
    for (method, path, body, _) in operations() {
        if is_servers(path) {
            site.user("", method, path, body.clone())
                .refused(401, "unauthorized");
            site.user("ann", method, path, body)
                .refused(403, "forbidden");
        } else if method != "GET" {
            site.user("", method, path, body)
                .refused(401, "unauthorized");
        }
    }
    site.user("", "GET", "/api/v1/rooms", Value::Null).ok();
    site.user("", "GET", "/api/v1/rooms/kitchen", Value::Null)
        .ok();
    let path = "/api/v1/rooms/kitchen/messages";
    site.user("", "GET", path, Value::Null)
        .refused(409, "not_subscribed");
}

#[test]
fn what_is_shown_must_be_valid_even_where_guests_are_let_in() {
    for auth in [Authenticator::guests(), Authenticator::trusting()] {
        let site = Site::with(ApiOptions::default(), auth);
        let answer = site.key(
            "no-such-key-0123456789",
            "GET",
            "/api/v1/rooms",
            Value::Null,
        );
        answer.refused(401, "unauthorized");
        assert!(
            answer
                .header("www-authenticate")
                .unwrap()
                .starts_with("Bearer")
        );
    }
    let options = AuthOptions {
        mode: Mode::FirstMessage,
        ..AuthOptions::default()
    };
    let Ok(auth) = Authenticator::new(options, None) else {
        return; // Modes that demand a token demand a key to hold it against.
    };
    let site = Site::with(ApiOptions::default(), auth);
    site.user("", "GET", "/api/v1/rooms", Value::Null)
        .refused(401, "unauthorized");
}

#[test]
fn trust_mode_believes_the_query_and_the_header() {
    let site = Site::start();
    let made = site
        .user("", "POST", "/api/v1/rooms?user_id=ann", json!({"id": "a"}))
        .ok();
    assert_eq!(made["created_by"], "ann");
    let roles = "/api/v1/rooms/a?user_id=eve&roles=admin";
    assert_eq!(
        site.user("", "PATCH", roles, json!({"name": "b"})).ok()["name"],
        "b"
    );
    let guests = Site::with(ApiOptions::default(), Authenticator::guests());
    guests
        .user("ann", "POST", "/api/v1/rooms", json!({}))
        .refused(401, "unauthorized");
}

#[test]
fn development_lets_everybody_do_all_who_names_this_machine() {
    let options = ApiOptions {
        development: true,
        ..ApiOptions::default()
    };
    let site = Site::with(options, Authenticator::guests());
    site.user("", "GET", "/api/v1/stats", Value::Null).ok();
    let rebound = site
        .request("GET", "/api/v1/stats")
        .header("host", "evil.example");
    site.send(rebound).refused(401, "unauthorized");
    let page = site
        .request("POST", "/api/v1/broadcast")
        .header("origin", "https://evil.example");
    site.send(page.json(&json!({"type": "x", "data": {}})))
        .refused(403, "forbidden");
}

/// A proxy on this machine is not its clients. It was taken for them if it was not trusted, or if they had
/// written a `Forwarded` that did not go with its `X-Forwarded-For`: then the request was the peer's, on
/// loopback, and `Host` is whatever the client writes.
#[test]
fn development_is_not_for_whoever_comes_through_a_proxy_on_this_machine() {
    let options = ApiOptions {
        development: true,
        ..ApiOptions::default()
    };
    for trusted in [&[][..], &["127.0.0.1"]] {
        let site = Site::with(options.clone(), Authenticator::guests());
        let gate = GateOptions {
            trusted_proxies: trusted.iter().map(ToString::to_string).collect(),
            ..GateOptions::default()
        };
        site.gate.set(&gate).unwrap();
        for fields in [
            &[("x-forwarded-for", "203.0.113.7")][..],
            &[
                ("x-forwarded-for", "203.0.113.7"),
                ("forwarded", "for=127.0.0.1"),
            ],
            &[
                ("x-forwarded-for", "203.0.113.7"),
                ("forwarded", "nonsense"),
            ],
            &[("forwarded", "for=_hidden")],
            &[("x-real-ip", "203.0.113.7")],
            &[("via", "1.1 proxy")],
        ] {
            let request = site
                .request("GET", "/api/v1/stats")
                .header("host", "localhost");
            let request = fields.iter().fold(request, |r, (n, v)| r.header(*n, *v));
            site.send(request).refused(401, "unauthorized");
        }
    }
}

/// Somebody's rooms, asked for by a cookie, could stay in a cache that serves others, too.
#[test]
fn no_cache_keeps_an_answer() {
    let site = Site::start();
    for path in ["/api/v1/rooms", "/api/v1/rooms/none", "/no/such/path"] {
        let answer = site.user("ann", "GET", path, Value::Null);
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
    }
}

#[test]
fn pages_of_the_servers_own_origin_may_ask_and_others_may_not() {
    let site = Site::start();
    let own = format!("http://{}", site.address);
    let ask = |origin: &str| {
        site.send(
            site.request("GET", "/api/v1/rooms")
                .header("origin", origin),
        )
    };
    let allowed = ask(&own);
    allowed.ok();
    assert_eq!(allowed.header("access-control-allow-origin"), Some(&*own));
    assert_eq!(
        allowed.header("access-control-allow-credentials"),
        Some("true")
    );
    let refused = ask("https://evil.example");
    refused.refused(403, "forbidden");
    assert_eq!(refused.header("access-control-allow-origin"), None);
    let preflight = |origin: &str| {
        let asked = site
            .request("OPTIONS", "/api/v1/rooms")
            .header("origin", origin);
        let asked = asked.header("access-control-request-method", "POST");
        site.send(asked.header(
            "access-control-request-headers",
            "content-type,idempotency-key",
        ))
    };
    let answer = preflight(&own);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some(&*own));
    assert!(
        answer
            .header("access-control-allow-methods")
            .unwrap()
            .contains("POST")
    );
    assert_eq!(
        preflight("null").header("access-control-allow-origin"),
        None
    );
}

#[test]
fn whoever_asks_too_often_is_told_when_to_come_back() {
    let options = ApiOptions {
        requests_per_second: 1,
        ..ApiOptions::default()
    };
    let site = Site::with(options, Authenticator::trusting());
    let ask = || site.user("ann", "GET", "/api/v1/rooms", Value::Null);
    let refused = (0..50).map(|_| ask()).find(|answer| answer.status == 429);
    let refused = refused.expect("the allowance ends");
    let body = refused.refused(429, "rate_limited");
    assert!(body["details"]["retry_after_ms"].as_u64().unwrap() <= 1000);
    assert_eq!(refused.header("retry-after"), Some("1"));
    site.user("bob", "GET", "/api/v1/rooms", Value::Null).ok();
}

const SECRET: &[u8] = b"a secret of 32 bytes for tests..";

/// A token of a user, which ends at that second.
fn token(user: &str, ends_s: u64) -> String {
    let claims = json!({"sub": user, "exp": ends_s, "jti": format!("of-{user}")});
    let key = EncodingKey::from_secret(SECRET);
    encode(&Header::default(), &claims, &key).unwrap()
}

fn site_of_tokens() -> Site {
    let options = AuthOptions {
        mode: Mode::Required,
        token: TokenOptions {
            keys: vec![KeyOptions {
                id: None,
                algorithms: vec![Algorithm::HS256],
                material: Material::Secret(SECRET.into()),
            }],
            ..TokenOptions::default()
        },
        ..AuthOptions::default()
    };
    let auth = Authenticator::new(options, None).unwrap();
    Site::with(ApiOptions::default(), auth)
}

/// A second that no test will see.
const LATER_S: u64 = 4_000_000_000;

#[test]
fn a_user_is_known_by_its_token_until_it_is_revoked() {
    let site = site_of_tokens();
    let (ann, bob) = (token("ann", LATER_S), token("bob", LATER_S));
    site.user("ann", "GET", "/api/v1/rooms", Value::Null)
        .refused(401, "unauthorized");
    let made = site.key(&ann, "POST", "/api/v1/rooms", json!({"id": "kitchen"}));
    assert_eq!(made.ok()["created_by"], "ann");
    site.key(&bob, "DELETE", "/api/v1/rooms/kitchen", Value::Null)
        .refused(403, "forbidden");
    site.key(&ann, "GET", "/api/v1/stats", Value::Null)
        .refused(403, "forbidden");
    let old = site.key(
        &token("ann", 1_000_000_000),
        "GET",
        "/api/v1/rooms",
        Value::Null,
    );
    old.refused(401, "token_expired");
    let forged = format!("{ann}x");
    site.key(&forged, "GET", "/api/v1/rooms", Value::Null)
        .refused(401, "unauthorized");

    let mut connected = site.connect_with("/v1/connect", Some(&ann));
    let mut other = site.connect_with("/v1/connect", Some(&bob));
    let one = json!({"token_id": "of-ann"});
    site.key(ADMIN, "POST", "/api/v1/users/ann/revoke", one)
        .ok();
    assert_eq!(connected.closed(), 4401);
    site.key(&ann, "GET", "/api/v1/rooms", Value::Null)
        .refused(401, "unauthorized");
    site.key(&bob, "GET", "/api/v1/rooms", Value::Null).ok();
    site.key(ADMIN, "POST", "/api/v1/users/bob/revoke", Value::Null)
        .ok();
    assert_eq!(other.closed(), 4401);
}

#[test]
fn what_would_change_something_by_a_cookie_must_name_its_page() {
    let site = site_of_tokens();
    let cookie = format!("campanile_token={}", token("ann", LATER_S));
    let ask = |method: &str, origin: Option<&str>| {
        let mut request = site
            .request(method, "/api/v1/rooms")
            .header("cookie", &cookie);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        site.send(request.json(&json!({"name": "tea"})))
    };
    ask("GET", None).ok();
    ask("POST", None).refused(403, "forbidden");
    ask("POST", Some("https://evil.example")).refused(403, "forbidden");
    let own = format!("http://{}", site.address);
    assert_eq!(ask("POST", Some(&own)).ok()["created_by"], "ann");
}
