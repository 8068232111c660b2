//! Pairing as players see it: HTTP by reqwest, pushes by tungstenite, on the sockets of one server.
//! Numbers are those of the requirements for this client (0.1 to 0.10).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use campanile::Server;
use campanile::api::pairing::PairingBook;
use campanile::api::{self, ApiOptions, State};
use campanile::auth::keys::{Scope, ServerKeyOptions, ServerKeys};
use campanile::auth::{
    Algorithm, AuthOptions, Authenticator, Gate, GateOptions, KeyOptions, Material, Mode,
    TokenOptions,
};
use campanile::pairing::{PairingOptions, WrongCodes};
use campanile::realtime::{LimitOptions, Realtime, RealtimeOptions};
use campanile::store::{Store, StoreOptions, StoreThread};
use campanile::testing::StoreFolder;
use reqwest::Method;
use serde_json::{Value, json};
use support::{BOUND, Client, Site};
use tungstenite::client::IntoClientRequest;

const SECRET: &[u8] = b"the secret of this test has 32 bytes";
const KEY: &str = "a key of the server API with many bytes";

/// A server with pairing.
struct House {
    site: Site<Realtime>,
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
    credentials: Option<String>,
}

fn options() -> PairingOptions {
    PairingOptions {
        pending_per_player_max: 3,
        // All players of a test have one address.
        wrong_codes_per_address: WrongCodes {
            burst: 1_000_000,
            ..PairingOptions::default().wrong_codes_per_address
        },
        ..PairingOptions::default()
    }
}

impl House {
    fn start(gate: Gate, store: Option<Store>) -> Self {
        let book = PairingBook::open(options(), store).unwrap();
        let gate = Arc::new(gate);
        let of_shards = Arc::clone(&gate);
        let app = move |_| {
            let options = RealtimeOptions {
                limits: LimitOptions::without_rates(),
                ..RealtimeOptions::default()
            };
            Realtime::new(options).with_gate(Arc::clone(&of_shards))
        };
        let keys = ServerKeys::new(&[ServerKeyOptions {
            name: "games".into(),
            key: KEY.into(),
            scopes: vec![Scope::Users],
        }]);
        let server = Server::new(app).shards(2).router_with(move |handle| {
            let mut state = State::new(handle.clone(), ApiOptions::default());
            state.gate = gate;
            state.keys = Arc::new(ArcSwap::from_pointee(keys.unwrap()));
            state.pairing = Some(book.serve(handle));
            api::router(state)
        });
        Self {
            site: Site::start(server),
            http: reqwest::Client::builder().timeout(BOUND).build().unwrap(),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
            credentials: None,
        }
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Whoever a request says it is from, it is believed (0.10).
    fn trusting() -> Self {
        Self::start(Gate::trusting(), None)
    }

    async fn send(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let url = format!("http://{}/api/v1/connections{path}", self.site.address);
        let mut request = self.http.request(method.clone(), url);
        if method != Method::GET && method != Method::DELETE {
            request = request.json(&body);
        }
        if let Some(credentials) = &self.credentials {
            request = request.bearer_auth(credentials);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    fn ask(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        self.block_on(self.send(method, path, body))
    }

    fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.ask(Method::POST, path, body)
    }

    /// Makes a pairing of `player`, with more members of the body.
    fn create(&self, player: &str, more: Value) -> Value {
        let mut body = json!({ "player_id": player });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let (status, made) = self.post("", body);
        assert_eq!(status, 201, "{made}");
        made
    }

    fn connect(&self, target: &str) -> Player {
        Player::connect(self.site.address, target)
    }
}

/// A connection of a player.
struct Player(Client);

impl Player {
    fn connect(address: SocketAddr, target: &str) -> Self {
        let mut request = format!("ws://{address}{target}")
            .into_client_request()
            .unwrap();
        let origin = format!("http://{address}").parse().unwrap();
        request.headers_mut().insert("Origin", origin);
        let mut player = Self(Client::open_with(address, request));
        player.until("connection-status");
        player
    }

    /// The next message of a type; those before it are passed over.
    fn until(&mut self, message_type: &str) -> Value {
        loop {
            let message: Value = serde_json::from_str(&self.0.hear()).unwrap();
            if message["type"] == message_type {
                return message;
            }
        }
    }
}

fn path(pairing: &Value) -> String {
    format!("/{}", pairing["id"].as_str().unwrap())
}

/// The pairing in a frame of each profile's own shape.
fn payload(profile: &str, frame: &Value) -> Value {
    match profile {
        "message" => frame["message"].clone(),
        "flat" => {
            let mut object = frame.clone();
            object
                .as_object_mut()
                .unwrap()
                .retain(|name, _| name != "type" && name != "timestamp");
            object
        }
        _ => frame["data"].clone(),
    }
}

#[test]
fn req_0_7_each_side_sees_each_change_on_every_connection_and_in_every_profile() {
    let house = House::trusting();
    let mut p1 = [
        ("v1", house.connect("/v1/connect?user_id=p1")),
        ("flat", house.connect("/ws?user_id=p1")),
    ];
    let mut p2 = [
        ("message", house.connect("/api/v1/ws?user_id=p2")),
        ("room", house.connect("/ws/7?user_id=p2")),
    ];
    let hear = |sides: &mut [(&'static str, Player)], object: &Value| {
        for (profile, player) in sides {
            let frame = player.until("pairing-status");
            let mut seen = payload(profile, &frame);
            if *profile == "message" {
                // The server's own time stands among the members.
                seen.as_object_mut().unwrap().remove("timestamp");
            }
            assert_eq!(seen, *object, "{profile}: {frame}");
        }
    };

    let made = house.create(
        "p1",
        json!({"target_player_id": "p2", "metadata": {"game": "go"}}),
    );
    assert_eq!(
        (&made["status"], &made["partner_id"]),
        (&json!("pending"), &Value::Null)
    );
    assert_eq!(made["code"].as_str().unwrap().len(), 6);
    hear(&mut p1, &made);
    let mut without_code = made.clone();
    without_code["code"] = Value::Null;
    hear(&mut p2, &without_code);
    let request = p2[0].1.until("request-notification");
    assert_eq!(
        request["message"],
        json!({"request_id": made["id"], "sender_id": "p1", "receiver_id": "p2",
            "status": "pending", "timestamp": request["message"]["timestamp"]})
    );

    let (status, joined) = house.post(&format!("{}/join", path(&made)), json!({"player_id": "p2"}));
    assert_eq!((status, &joined["status"]), (200, &json!("active")));
    assert_eq!(joined["player_ids"], json!(["p1", "p2"]));
    hear(&mut p1, &joined);
    hear(&mut p2, &joined);
    assert_eq!(
        p1[0].1.until("request-notification")["data"]["status"],
        "active"
    );

    let patch = json!({"player_id": "p2", "status": "EXPIRED"});
    let (status, ended) = house.ask(Method::PATCH, &path(&made), patch);
    assert_eq!((status, &ended["status"]), (200, &json!("expired")));
    hear(&mut p1, &ended);
    hear(&mut p2, &ended);
}

#[test]
fn two_joins_at_once_have_one_winner() {
    let house = House::trusting();
    for round in 0..200 {
        let made = house.create(&format!("maker{round}"), json!({}));
        let join = |player: &str| json!({"code": made["code"], "player_id": player});
        // Different ones each time: who gives a code in vain has to wait some day.
        let (a, b) = (format!("a{round}"), format!("b{round}"));
        let (first, second) = house.block_on(async {
            tokio::join!(
                house.send(Method::POST, "/join", join(&a)),
                house.send(Method::POST, "/join", join(&b)),
            )
        });
        let mut statuses = [first.0, second.0];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "{first:?} {second:?}");
        let winner = if first.0 == 200 {
            (a, first.1)
        } else {
            (b, second.1)
        };
        assert_eq!(winner.1["partner_id"], winner.0);
    }
}

#[test]
fn a_pairing_expires_by_itself_and_both_sides_are_told() {
    let house = House::trusting();
    let mut p1 = house.connect("/v1/connect?user_id=p1");
    let mut p2 = house.connect("/v1/connect?user_id=p2");
    let made = house.create("p1", json!({"expires_in_s": 1, "target_player_id": "p2"}));
    for player in [&mut p1, &mut p2] {
        assert_eq!(player.until("pairing-status")["data"]["status"], "pending");
        let expired = player.until("pairing-status");
        assert_eq!(expired["data"]["status"], "expired");
        assert_eq!(expired["data"]["updated_at"], made["expires_at"]);
    }
    let (status, error) = house.post("/join", json!({"code": made["code"], "player_id": "p2"}));
    assert_eq!((status, &error["code"]), (410, &json!("expired")));
}

#[test]
fn req_0_5_each_refusal_has_its_status_and_words() {
    let house = House::trusting();
    let made = house.create("p1", json!({}));
    let at = path(&made);
    let unknown = "/01936f2a-0000-7000-8000-000000000000";
    let code = |code: &str| json!({"code": code, "player_id": "p2"});
    let by = |player: &str, more: Value| {
        let mut body = json!({ "player_id": player });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    let nothing = json!({});
    let get = |path: &str| (Method::GET, path.to_owned(), Value::Null);
    let post = |path: &str, body: Value| (Method::POST, path.to_owned(), body);
    let patch = |path: &str, body: Value| (Method::PATCH, path.to_owned(), body);
    for ((method, path, body), status, code) in [
        (post("/join", code("222222")), 404, "not_found"),
        (
            post(&format!("{unknown}/join"), by("p2", nothing.clone())),
            404,
            "not_found",
        ),
        (
            post("/none/join", by("p2", nothing.clone())),
            404,
            "not_found",
        ),
        (get(&format!("{at}?player_id=p2")), 404, "not_found"),
        (
            post(&format!("{at}/join"), by("p1", nothing.clone())),
            409,
            "conflict",
        ),
        (
            patch(&at, by("p1", json!({"status": "active"}))),
            409,
            "conflict",
        ),
        (
            patch(&at, by("p1", json!({"status": "done"}))),
            422,
            "invalid_message",
        ),
        (
            patch(&at, by("p1", json!({"name": " "}))),
            422,
            "invalid_message",
        ),
        (post("", nothing.clone()), 422, "invalid_message"),
        (
            post("", by("p1", json!({"expires_in_s": 0}))),
            422,
            "invalid_message",
        ),
        (
            post("", by("p1", json!({"target_player_id": "p1"}))),
            422,
            "invalid_message",
        ),
        (
            post("/join", by("p2", nothing.clone())),
            422,
            "invalid_message",
        ),
        (get("?player_id=p1&status=none"), 422, "invalid_message"),
        (get("?player_id=p1&cursor=none"), 422, "invalid_message"),
    ] {
        let (answered, error) = house.ask(method, &path, body.clone());
        assert_eq!(
            (answered, &error["code"]),
            (status, &json!(code)),
            "{path} {body}: {error}"
        );
        assert_eq!(error["status"], status);
        assert!(!error["error"].as_str().unwrap().is_empty());
    }
    for _ in 0..2 {
        house.create("p1", json!({}));
    }
    let (status, error) = house.post("", by("p1", nothing));
    assert_eq!(
        (status, &error["details"]["reason"]),
        (429, &json!("pending"))
    );
    assert!(error["details"]["retry_after_ms"].as_u64().unwrap() > 0);
}

#[test]
fn whoever_guesses_has_to_wait_and_does_not_learn_that_a_code_is_right() {
    let house = House::trusting();
    let made = house.create("p1", json!({}));
    for _ in 0..5 {
        let (status, _) = house.post("/join", json!({"code": "222222", "player_id": "p2"}));
        assert_eq!(status, 404);
    }
    for code in ["222222", made["code"].as_str().unwrap()] {
        let (status, error) = house.post("/join", json!({"code": code, "player_id": "p2"}));
        assert_eq!(
            (status, &error["code"]),
            (429, &json!("rate_limited")),
            "{error}"
        );
        assert_eq!(error["details"]["reason"], "wrong_codes");
        assert!(error["details"]["retry_after_ms"].as_u64().unwrap() > 0);
    }
    let (status, _) = house.post("/join", json!({"code": made["code"], "player_id": "p3"}));
    assert_eq!(status, 200, "another player is not concerned");
}

#[test]
fn a_page_of_the_list_leads_to_the_next() {
    let house = House::trusting();
    let made: Vec<_> = (0..3).map(|_| house.create("p1", json!({}))).collect();
    let (status, first) = house.ask(
        Method::GET,
        "?player_id=p1&limit=2&status=PENDING",
        Value::Null,
    );
    assert_eq!(
        (status, first["connections"].as_array().unwrap().len()),
        (200, 2)
    );
    let cursor = first["next_cursor"].as_str().unwrap();
    let next = format!("?player_id=p1&limit=2&cursor={cursor}");
    let (_, second) = house.ask(Method::GET, &next, Value::Null);
    assert_eq!(second["next_cursor"], Value::Null);
    let pages = [&first, &second].map(|page| page["connections"].as_array().unwrap().clone());
    let mut listed: Vec<_> = pages.concat();
    let mut made = made;
    for list in [&mut listed, &mut made] {
        list.sort_by_key(|pairing| pairing["id"].to_string());
    }
    assert_eq!(listed, made);
}

#[test]
fn a_request_with_an_idempotency_key_makes_one_pairing() {
    let house = House::trusting();
    let url = format!("http://{}/api/v1/connections", house.site.address);
    let send = || async {
        let request = house.http.post(&url).header("Idempotency-Key", "k1");
        let response = request
            .json(&json!({"player_id": "p1"}))
            .send()
            .await
            .unwrap();
        (
            response.status().as_u16(),
            response.json::<Value>().await.unwrap(),
        )
    };
    let (first, again) = house.block_on(async { (send().await, send().await) });
    assert_eq!(first.0, 201);
    assert_eq!(first, again);
    let (_, page) = house.ask(Method::GET, "?player_id=p1", Value::Null);
    assert_eq!(page["connections"], json!([first.1]));
}

// The query was no part of what had to be the same: a player was answered what another had been told.
#[test]
fn a_key_with_another_player_in_the_query_is_another_request() {
    let house = House::trusting();
    let made = house.create("p1", json!({}));
    let end = |player: &str, key: &str| {
        let path = path(&made);
        let address = house.site.address;
        let url = format!("http://{address}/api/v1/connections{path}?player_id={player}");
        // A program that speaks for both: what is a caller's own is the same for them.
        let request = house.http.delete(url).bearer_auth(KEY);
        let request = request.header("Idempotency-Key", key);
        house.block_on(async {
            let answer = request.send().await.unwrap();
            (
                answer.status().as_u16(),
                answer.json::<Value>().await.unwrap(),
            )
        })
    };
    assert_eq!(end("p2", "k").0, 404);
    let (status, refused) = end("p1", "k");
    assert_eq!(
        (status, &refused["details"]["member"]),
        (422, &"Idempotency-Key".into())
    );
    let ended = end("p1", "k1");
    assert_eq!((ended.0, &ended.1["status"]), (200, &"expired".into()));
    assert_eq!(end("p1", "k1"), ended, "it is not done again");
}

fn token(user: &str) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET);
    let claims = json!({"sub": user, "exp": 4_000_000_000_u64});
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
}

#[test]
fn where_users_are_known_nobody_speaks_for_another_but_a_server_key() {
    let auth = AuthOptions {
        mode: Mode::Optional,
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
    let auth = Authenticator::new(auth, None).unwrap();
    let gate = Gate::new(auth, &GateOptions::default()).unwrap();
    let mut house = House::start(gate, None);
    assert_eq!(
        house.post("", json!({"player_id": "ann"})).0,
        401,
        "a guest is nobody"
    );
    house.credentials = Some(token("ann"));
    let made = house.post("", json!({}));
    assert_eq!((made.0, &made.1["initiator_id"]), (201, &json!("ann")));
    let (status, error) = house.post("", json!({"player_id": "bob"}));
    assert_eq!((status, &error["code"]), (403, &json!("forbidden")));
    house.credentials = Some(token("bob"));
    assert_eq!(house.ask(Method::GET, &path(&made.1), Value::Null).0, 404);
    house.credentials = Some(KEY.into());
    let of_ann = format!("{}?player_id=ann", path(&made.1));
    assert_eq!(
        house.ask(Method::GET, &of_ann, Value::Null),
        (200, made.1.clone())
    );
    assert_eq!(house.ask(Method::GET, &path(&made.1), Value::Null).0, 422);
    let ended = house.ask(Method::DELETE, &of_ann, Value::Null);
    assert_eq!((ended.0, &ended.1["status"]), (200, &json!("expired")));
}

fn open(folder: &StoreFolder) -> (Store, StoreThread) {
    Store::open(&StoreOptions::new(folder.path())).unwrap()
}

#[test]
fn a_restart_keeps_pairings_codes_and_deadlines() {
    let folder = StoreFolder::new();
    let (store, thread) = open(&folder);
    let house = House::start(Gate::trusting(), Some(store));
    let waiting = house.create("p1", json!({"name": "a game", "metadata": {"level": 3}}));
    let soon = house.create("p1", json!({"expires_in_s": 1}));
    let active = house.create("p1", json!({}));
    let join = format!("{}/join", path(&active));
    let (_, active) = house.post(&join, json!({"player_id": "p2"}));
    house.site.stop();
    thread.stop();

    let (store, _thread) = open(&folder);
    let house = House::start(Gate::trusting(), Some(store));
    for pairing in [&waiting, &active] {
        let by = format!("{}?player_id=p1", path(pairing));
        assert_eq!(
            house.ask(Method::GET, &by, Value::Null),
            (200, pairing.clone())
        );
    }
    let by = format!("{}?player_id=p1", path(&soon));
    let is_over = || house.ask(Method::GET, &by, Value::Null).1["status"] == "expired";
    assert!(
        support::within_bound(is_over),
        "its deadline has come all the same"
    );
    let (status, joined) = house.post("/join", json!({"code": waiting["code"], "player_id": "p3"}));
    assert_eq!((status, &joined["id"]), (200, &waiting["id"]));
    assert_eq!(joined["metadata"], json!({"level": 3}));
}
