//! Who is let in, and for how long.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::auth::addresses::AddressLimits;
use crate::auth::{
    Algorithm, AuthOptions, Authenticator, Fetch, FetchError, Fetched, Gate, GateOptions,
    KeyOptions, Material, Mode, Revocation, TokenOptions,
};
use crate::testing::{Client, TestServer};

const SECRET: &[u8] = b"a secret of 32 bytes for tests..";
/// The second at which the server begins.
const START_S: u64 = 1_767_225_600;

fn token(claims: &Value) -> String {
    encode(
        &Header::default(),
        claims,
        &EncodingKey::from_secret(SECRET),
    )
    .unwrap()
}

/// A token of a user that ends so many seconds after the start.
fn token_of(user: &str, seconds: u64) -> String {
    token(&json!({"sub": user, "exp": START_S + seconds, "jti": format!("{user}-{seconds}")}))
}

fn auth(mode: Mode) -> AuthOptions {
    AuthOptions {
        mode,
        token: TokenOptions {
            keys: vec![KeyOptions {
                id: None,
                algorithms: vec![Algorithm::HS256],
                material: Material::Secret(SECRET.into()),
            }],
            leeway: Duration::ZERO,
            ..TokenOptions::default()
        },
        revalidate_interval: Duration::from_secs(60),
        ..AuthOptions::default()
    }
}

fn gate(options: AuthOptions) -> Arc<Gate> {
    let authenticator = Authenticator::new(options, None).unwrap();
    Arc::new(Gate::new(authenticator, &GateOptions::default()).unwrap())
}

fn server(gate: &Arc<Gate>) -> TestServer {
    let gate = Arc::clone(gate);
    TestServer::builder()
        .unix_ms(START_S * 1000)
        .adapt(move |app| app.with_gate(Arc::clone(&gate)))
        .start()
}

/// Connects with a token in the header.
fn connect(server: &TestServer, token: &str) -> Result<Client, (u16, Value)> {
    let field = format!("Bearer {token}");
    let client = server.connect_to("/v1/connect", &[("authorization", &field)]);
    client.map_err(|refused| (refused.status, refused.body))
}

/// The frames of a type, oldest first.
fn of_type(client: &Client, message_type: &str) -> Vec<Value> {
    client.receive_all_of(message_type)
}

#[test]
fn req_2_3_a_token_in_the_header_is_checked_before_the_upgrade() {
    let gate = gate(auth(Mode::Required));
    let server = server(&gate);
    let ann = connect(&server, &token_of("ann", 600)).unwrap();
    let welcome = &of_type(&ann, "connection-status")[0]["data"];
    assert_eq!(welcome["user_id"], "ann");
    assert_eq!(welcome["expires_at"], "2026-01-01T00:10:00.000Z");
    let tampered = format!("{}x", token_of("ann", 600));
    for (token, code) in [
        (token_of("ann", 0), "token_expired"),
        (tampered, "unauthorized"),
        ("nonsense".into(), "unauthorized"),
    ] {
        let (status, body) = connect(&server, &token).unwrap_err();
        assert_eq!((status, &body["code"]), (401, &json!(code)), "{token}");
    }
    let refused = server.connect_to("/v1/connect", &[]).unwrap_err();
    assert_eq!(refused.status, 401);
}

#[test]
fn a_bad_token_is_never_a_guest_s() {
    let gate = gate(auth(Mode::Optional));
    let server = server(&gate);
    assert_eq!(connect(&server, "x.y.z").unwrap_err().0, 401);
    let guest = server.connect_to("/v1/connect", &[]).unwrap();
    let user = of_type(&guest, "connection-status")[0]["data"]["user_id"].clone();
    assert!(user.as_str().unwrap().starts_with("guest-"), "{user}");
    guest.send(json!({"type": "authentication", "id": 1, "data": {"token": token_of("ann", 600)}}));
    assert_eq!(of_type(&guest, "error")[0]["data"]["code"], "conflict");
}

#[test]
fn a_browser_sends_its_token_as_a_subprotocol_and_gets_bearer_back() {
    let gate = gate(auth(Mode::Required));
    let server = server(&gate);
    let token = token_of("ann", 600);
    let pair = format!("bearer, {token}");
    let client = server
        .connect_to("/ws", &[("sec-websocket-protocol", &pair)])
        .unwrap();
    assert_eq!(of_type(&client, "connection-status")[0]["user_id"], "ann");
    let one = format!("bearer.{token}, campanile.v1");
    let client = server
        .connect_to("/ws", &[("sec-websocket-protocol", &one)])
        .unwrap();
    assert_eq!(
        of_type(&client, "connection-status")[0]["data"]["user_id"],
        "ann"
    );
}

#[test]
fn a_cookie_without_an_origin_is_refused() {
    let gate = gate(auth(Mode::Required));
    let server = server(&gate);
    let cookie = format!("campanile_token={}", token_of("ann", 600));
    let refused = server
        .connect_to("/ws", &[("cookie", &cookie)])
        .unwrap_err();
    assert_eq!(refused.status, 403);
    let origin = ("origin", "http://localhost:8080");
    let client = server
        .connect_to("/ws", &[("cookie", &cookie), origin])
        .unwrap();
    assert_eq!(of_type(&client, "connection-status")[0]["user_id"], "ann");
}

#[test]
fn req_1_5_a_connection_is_told_that_its_token_ends_refreshes_it_and_stays() {
    let gate = gate(auth(Mode::Required));
    let server = server(&gate);
    let ann = connect(&server, &token_of("ann", 100)).unwrap();
    ann.receive_all();
    server.advance(Duration::from_secs(65));
    assert_eq!(of_type(&ann, "authentication"), Vec::<Value>::new());
    server.advance(Duration::from_secs(10));
    let told = of_type(&ann, "authentication");
    assert_eq!(told.len(), 1, "once");
    assert_eq!(told[0]["data"]["status"], "expiring");
    assert_eq!(told[0]["data"]["expires_at"], "2026-01-01T00:01:40.000Z");
    ann.send(json!({"type": "authentication", "id": "r", "token": token_of("ann", 1000)}));
    let answer = &of_type(&ann, "authentication")[0];
    assert_eq!(answer["id"], "r");
    assert_eq!(answer["data"]["status"], "ok");
    assert_eq!(answer["data"]["expires_at"], "2026-01-01T00:16:40.000Z");
    server.advance(Duration::from_secs(300));
    assert_eq!(ann.closed(), None);
    // Somebody else's token changes nothing.
    ann.send(json!({"type": "authentication", "id": "x", "token": token_of("bob", 1000)}));
    assert_eq!(of_type(&ann, "error")[0]["data"]["code"], "forbidden");
    assert_eq!(ann.closed(), None);
    server.advance(Duration::from_secs(700));
    let frames = ann.receive_all();
    assert!(
        frames.iter().any(|f| f["data"]["code"] == "token_expired"),
        "{frames:?}"
    );
    assert_eq!(ann.closed().unwrap().0, 4401);
}

#[test]
fn a_refresh_that_is_not_valid_ends_the_connection() {
    let gate = gate(auth(Mode::Required));
    let server = server(&gate);
    let ann = connect(&server, &token_of("ann", 100)).unwrap();
    ann.receive_all();
    ann.send(json!({"type": "authentication", "token": "x.y.z"}));
    assert_eq!(of_type(&ann, "error")[0]["data"]["code"], "unauthorized");
    assert_eq!(ann.closed().unwrap().0, 4401);
}

#[test]
fn req_4_13_whoever_is_revoked_is_closed_and_stays_out() {
    let gate = gate(auth(Mode::Required));
    let server = server(&gate);
    let tokens = ["ann", "bob"].map(|user| token_of(user, 600));
    let [ann, bob] = [&tokens[0], &tokens[1]].map(|token| connect(&server, token).unwrap());
    gate.authenticator().revoke(
        Revocation::Token {
            id: "ann-600".into(),
        },
        START_S,
    );
    server.advance(Duration::from_secs(2));
    assert_eq!(ann.closed().unwrap().0, 4401);
    assert_eq!(bob.closed(), None);
    assert_eq!(connect(&server, &tokens[0]).unwrap_err().0, 401);
}

#[test]
fn whoever_has_shown_nothing_is_closed_when_its_user_is_revoked_and_was_here_before() {
    let gate = Arc::new(Gate::trusting());
    let server = server(&gate);
    let revoke = |user: &str, issued_before_s| {
        let user = user.into();
        gate.authenticator().revoke(
            Revocation::User {
                user,
                issued_before_s,
            },
            START_S,
        );
        server.advance(Duration::from_secs(2));
    };
    let [first, second, bob] = ["ann", "ann", "bob"].map(|user| server.connect(user));
    let guest = server.connect_to("/v1/connect", &[]).unwrap();
    let welcome = of_type(&guest, "connection-status");
    let name = welcome[0]["data"]["user_id"].as_str().unwrap().to_owned();
    revoke("ann", START_S);
    assert_eq!(first.closed(), None, "it is from then, not from before");
    revoke("ann", START_S + 1);
    for ann in [&first, &second] {
        assert!(
            ann.receive_all()
                .iter()
                .any(|f| f["code"] == "unauthorized")
        );
        assert_eq!(ann.closed().unwrap().0, 4401);
    }
    assert_eq!((bob.closed(), guest.closed()), (None, None));
    revoke(&name, START_S + 3);
    assert_eq!(guest.closed().unwrap().0, 4401);
    // It is believed anew, and shown after the time that was named.
    let again = server.connect("ann");
    revoke("eve", START_S + 100);
    assert_eq!(again.closed(), None);
    let refused = server.connect_to("/ws?user_id=eve", &[]).unwrap_err();
    assert_eq!(
        (refused.status, &refused.body["code"]),
        (401, &json!("unauthorized"))
    );
}

#[test]
fn whoever_came_by_a_first_message_is_closed_when_its_user_is_revoked() {
    let gate = gate(auth(Mode::FirstMessage));
    let server = server(&gate);
    let ann = server.connect_to("/v1/connect", &[]).unwrap();
    let token = token_of("ann", 600);
    ann.send(json!({"type": "authentication", "token": token}));
    assert_eq!(of_type(&ann, "connection-status").len(), 1);
    gate.authenticator().revoke(
        Revocation::User {
            user: "ann".into(),
            issued_before_s: START_S + 1,
        },
        START_S,
    );
    server.advance(Duration::from_secs(2));
    assert_eq!(ann.closed().unwrap().0, 4401);
    let again = server.connect_to("/v1/connect", &[]).unwrap();
    again.send(json!({"type": "authentication", "token": token}));
    assert_eq!(again.closed().unwrap().0, 4401);
}

#[test]
fn a_key_that_is_withdrawn_ends_connections_at_the_next_look() {
    let gate = gate(auth(Mode::Required));
    let server = server(&gate);
    let ann = connect(&server, &token_of("ann", 6000)).unwrap();
    let mut options = auth(Mode::Required);
    options.token.keys[0].material = Material::Secret(b"another secret, just as long....".into());
    gate.authenticator().reload(options).unwrap();
    server.advance(Duration::from_secs(30));
    assert_eq!(ann.closed(), None);
    server.advance(Duration::from_secs(35));
    assert_eq!(ann.closed().unwrap().0, 4401);
}

/// A session server that answers as it is told, in this order, and then not at all.
struct SessionServer(Mutex<VecDeque<(u16, &'static str)>>);

impl Fetch for SessionServer {
    fn get(
        &self,
        _: &str,
        _: Vec<(&'static str, String)>,
        _: Duration,
    ) -> BoxFuture<'static, Result<Fetched, FetchError>> {
        let answer = self.0.lock().unwrap().pop_front();
        let fetched = answer.map(|(status, body)| Fetched {
            status,
            body: body.into(),
        });
        Box::pin(async { fetched.ok_or(FetchError::Timeout) })
    }
}

/// Who was not asked about for once, because the session server was away or too many were asked about in
/// the same second, stayed unasked for a whole interval more: in a crowd that comes at once, perhaps for ever.
#[test]
fn a_session_of_which_nothing_was_said_is_asked_about_again_soon() {
    const ANN: (u16, &str) = (200, r#"{"user": {"id": "ann"}}"#);
    let answers = [ANN, ANN, (500, ""), (503, ""), (401, "")];
    let options = AuthOptions {
        session_url: Some("http://127.0.0.1:1/session".into()),
        revalidate_interval: Duration::from_secs(300),
        ..auth(Mode::Required)
    };
    let fetch: Arc<dyn Fetch> = Arc::new(SessionServer(Mutex::new(answers.into())));
    let authenticator = Authenticator::new(options, Some(fetch)).unwrap();
    let server = server(&Arc::new(
        Gate::new(authenticator, &GateOptions::default()).unwrap(),
    ));
    let fields = [("cookie", "session=1"), ("origin", "http://localhost:8080")];
    let ann = server.connect_to("/ws", &fields).unwrap();
    server.advance(Duration::from_secs(310));
    assert_eq!(ann.closed(), None, "it was confirmed");
    server.advance(Duration::from_secs(300));
    assert_eq!(ann.closed(), None, "who says nothing does not say no");
    server.advance(Duration::from_secs(90));
    assert_eq!(ann.closed().unwrap().0, 4401);
}

/// The look at the interval closed whoever was in the grace behind its token's end.
#[test]
fn the_grace_for_a_refresh_is_as_long_as_the_options_say() {
    let options = AuthOptions {
        expiry_grace: Duration::from_secs(300),
        ..auth(Mode::Required)
    };
    let server = server(&gate(options));
    let [ann, bob] = ["ann", "bob"].map(|user| connect(&server, &token_of(user, 100)).unwrap());
    server.advance(Duration::from_secs(390));
    assert_eq!((ann.closed(), bob.closed()), (None, None));
    ann.send(json!({"type": "authentication", "token": token_of("ann", 1000)}));
    server.advance(Duration::from_secs(20));
    assert_eq!(ann.closed(), None);
    assert_eq!(bob.closed().unwrap().0, 4401);
}

#[test]
fn the_first_message_may_bring_the_token() {
    let gate = gate(auth(Mode::FirstMessage));
    for profile in ["v1", "message", "flat", "room"] {
        let server = server(&gate);
        let target = format!("/v1/connect?profile={profile}");
        let client = server.connect_to(&target, &[]).unwrap();
        assert_eq!(
            client.receive_all(),
            Vec::<Value>::new(),
            "nothing before it is known"
        );
        client.send(json!({"type": "ping", "id": 1}));
        let error = client.receive_all().pop().unwrap();
        assert!(error.to_string().contains("unauthorized"), "{error}");
        client.send(json!({"type": "authentication", "token": token_of("ann", 600)}));
        let frames = client.receive_all();
        let welcome = frames.iter().find(|f| f["type"] == "connection-status");
        assert!(
            welcome.unwrap().to_string().contains("\"ann\""),
            "{frames:?}"
        );
        client.send(json!({"type": "ping", "id": 2}));
        assert_eq!(of_type(&client, "pong").len(), 1);
    }
}

#[test]
fn req_2_4_a_first_message_that_is_refused_or_never_comes_ends_the_connection() {
    let gate = gate(auth(Mode::FirstMessage));
    let server = server(&gate);
    let liar = server.connect_to("/v1/connect", &[]).unwrap();
    liar.send(json!({"type": "authentication", "token": token_of("ann", 0)}));
    assert_eq!(of_type(&liar, "error")[0]["data"]["code"], "token_expired");
    assert_eq!(liar.closed().unwrap().0, 4401);
    let silent = server.connect_to("/v1/connect", &[]).unwrap();
    server.advance(Duration::from_secs(13));
    assert_eq!(silent.closed().unwrap().0, 4408);
}

#[test]
fn one_address_gets_so_many_connections_and_its_places_back() {
    let gate = Gate::trusting();
    gate.set(&GateOptions {
        addresses: AddressLimits {
            connections_max: 2,
            ..AddressLimits::default()
        },
        ..GateOptions::default()
    })
    .unwrap();
    let server = server(&Arc::new(gate));
    let ann = server.connect("ann");
    let _bob = server.connect("bob");
    let refused = server.connect_to("/ws?user_id=cid", &[]).unwrap_err();
    assert_eq!(refused.status, 429);
    ann.close(1000, "");
    server.advance(Duration::from_secs(5));
    server.connect("cid");
}
