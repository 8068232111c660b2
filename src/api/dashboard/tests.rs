//! The routes, on a listener of their own beside a real server.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

use super::*;
use crate::Server;
use crate::realtime::RealtimeOptions;
use crate::server::Running;

/// What takes longer never happens.
const BOUND: Duration = Duration::from_secs(20);

/// A server with one shard and the dashboard of it.
struct Fixture {
    running: Running<Realtime>,
    feed: Arc<Feed>,
    address: SocketAddr,
}

impl Fixture {
    async fn start(token: Option<&str>) -> Self {
        let server = Server::new(|_| Realtime::new(RealtimeOptions::default()));
        let running = server.listen("127.0.0.1:0").shards(1).start().unwrap();
        let options = DashboardOptions {
            server: running.handle(),
            store: None,
            token: token.map(str::to_owned),
        };
        let (router, feed) = build::<()>(options);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        Self {
            running,
            feed,
            address,
        }
    }

    async fn get(&self, path: &str) -> (StatusCode, HeaderMap, String) {
        let client = reqwest::Client::builder();
        let client = client.redirect(reqwest::redirect::Policy::none()).build();
        let url = format!("http://{}{path}", self.address);
        let response = client.unwrap().get(url).send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        (status, headers, response.text().await.unwrap())
    }

    /// A viewer, or the status with which it was refused.
    async fn view(&self, headers: &[(&'static str, &str)]) -> Result<Viewer, StatusCode> {
        let mut request = format!("ws://{}/admin/live", self.address)
            .into_client_request()
            .unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(self.address)
            .await
            .unwrap()
            .into_std()
            .unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        let connect = move || match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(Viewer(Some(socket))),
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
                Err(response.status())
            }
            Err(error) => panic!("{error}"),
        };
        spawn_blocking(connect).await.unwrap()
    }

    async fn stop(self) {
        self.running.handle().shutdown();
        spawn_blocking(|| self.running.wait()).await.unwrap();
    }
}

/// A page's WebSocket. Reads block a thread of their own, so that the server runs meanwhile.
struct Viewer(Option<WebSocket<std::net::TcpStream>>);

impl Viewer {
    async fn read(&mut self) -> Message {
        let mut socket = self.0.take().expect("one read at a time");
        let (socket, message) = spawn_blocking(move || {
            let message = socket.read();
            (socket, message)
        })
        .await
        .unwrap();
        self.0 = Some(socket);
        message.unwrap()
    }

    async fn json(&mut self) -> Value {
        serde_json::from_str(self.read().await.to_text().unwrap()).unwrap()
    }

    async fn close_code(&mut self) -> u16 {
        match self.read().await {
            Message::Close(Some(frame)) => frame.code.into(),
            other => panic!("no close: {other:?}"),
        }
    }

    fn say(&mut self, said: &Value) {
        let socket = self.0.as_mut().expect("no read under way");
        socket.send(Message::text(said.to_string())).unwrap();
    }

    fn show(&mut self, token: &str) {
        self.say(&json!({ "type": "authentication", "token": token }));
    }
}

#[tokio::test]
async fn the_page_is_served_with_its_policy_and_without_a_token() {
    let fixture = Fixture::start(Some("secret")).await;
    let (status, headers, text) = fixture.get("/admin/").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["content-type"], "text/html; charset=utf-8");
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.contains("default-src 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert!(text.starts_with("<!doctype html>"), "{text:.80}");
    let (_, headers, _) = fixture.get("/admin/admin.js").await;
    assert_eq!(headers["content-type"], "text/javascript; charset=utf-8");
    let (status, headers, _) = fixture.get("/admin").await;
    assert_eq!(status, StatusCode::PERMANENT_REDIRECT);
    assert_eq!(headers["location"], "/admin/");
    assert_eq!(
        fixture.get("/admin/nothing.js").await.0,
        StatusCode::NOT_FOUND
    );
    fixture.stop().await;
}

#[tokio::test]
async fn a_viewer_gets_a_snapshot_of_every_shard() {
    let fixture = Fixture::start(None).await;
    let mut viewer = fixture.view(&[]).await.unwrap();
    let hello = viewer.json().await;
    assert_eq!(
        (&hello["type"], &hello["authentication"]),
        (&json!("hello"), &json!("none"))
    );
    let snapshot = viewer.json().await;
    assert_eq!(snapshot["type"], "snapshot");
    assert_eq!(snapshot["viewers"], 1);
    assert_eq!(snapshot["shards"][0]["state"], "ok");
    assert_eq!(snapshot["shards"][0]["counters"]["messages_in"], 0);
    assert_eq!(snapshot["totals"]["realtime"]["posted"], 0);
    assert!(snapshot["memory"]["rss"].as_u64() > Some(0), "{snapshot}");
    assert_eq!(snapshot["store"], Value::Null);
    assert_eq!(snapshot["broker"]["kind"], "none");
    assert_eq!(snapshot["handlers"], json!([]));
    fixture.stop().await;
}

#[tokio::test]
async fn a_token_is_shown_first_or_as_a_header_and_a_wrong_one_ends_it() {
    let fixture = Fixture::start(Some("a token/with=any \"characters\"")).await;
    let mut viewer = fixture.view(&[]).await.unwrap();
    assert_eq!(viewer.json().await["authentication"], "token");
    viewer.show("a token/with=any \"characters\"");
    assert_eq!(viewer.json().await["type"], "snapshot");

    let bearer = [("authorization", "Bearer a token/with=any \"characters\"")];
    let mut viewer = fixture.view(&bearer).await.unwrap();
    assert_eq!(viewer.json().await["authentication"], "none");
    assert_eq!(viewer.json().await["type"], "snapshot");

    for said in [
        json!({ "type": "authentication", "token": "another" }),
        json!({ "type": "authentication" }),
        json!({ "type": "snapshot" }),
        json!("a token"),
    ] {
        let mut viewer = fixture.view(&[]).await.unwrap();
        viewer.json().await;
        viewer.say(&said);
        assert_eq!(viewer.close_code().await, 4401, "{said}");
    }
    for wrong in ["Bearer another", "Bearer", "Basic YTpi", ""] {
        let wrong = fixture.view(&[("authorization", wrong)]).await;
        assert_eq!(wrong.err(), Some(StatusCode::UNAUTHORIZED));
    }
    fixture.stop().await;
}

#[tokio::test]
async fn who_guesses_tokens_is_held_up() {
    let fixture = Fixture::start(Some("secret")).await;
    let mut refused = Vec::new();
    for guess in 0..12 {
        let bearer = format!("Bearer {guess}");
        refused.extend(fixture.view(&[("authorization", &bearer)]).await.err());
    }
    assert_eq!(refused.first(), Some(&StatusCode::UNAUTHORIZED));
    assert_eq!(refused.last(), Some(&StatusCode::TOO_MANY_REQUESTS));
    let mut viewer = fixture.view(&[]).await.unwrap();
    viewer.json().await;
    viewer.show("secret");
    assert_eq!(
        viewer.close_code().await,
        4429,
        "nor is the right one looked at"
    );
    fixture.stop().await;
}

// Refusals of the dashboard had a body of their own kind, or none.
#[tokio::test]
async fn each_refusal_has_the_one_error_body() {
    let fixture = Fixture::start(Some("secret")).await;
    let http = reqwest::Client::new();
    let (get, post) = (reqwest::Method::GET, reqwest::Method::POST);
    for (method, path, bearer, status, code) in [
        (get.clone(), "live", "secret", 426, "upgrade_required"),
        (post, "", "secret", 405, "method_not_allowed"),
    ] {
        let url = format!("http://{}/admin/{path}", fixture.address);
        let asked = http.request(method, url).bearer_auth(bearer).send();
        let answer = asked.await.unwrap();
        assert_eq!(answer.status().as_u16(), status);
        let id = answer.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned();
        let body: Value = answer.json().await.unwrap();
        assert_eq!(
            (&body["code"], &body["request_id"]),
            (&json!(code), &json!(id))
        );
    }
    fixture.stop().await;
}

#[tokio::test]
async fn another_sites_page_is_refused_before_the_upgrade() {
    let fixture = Fixture::start(None).await;
    let other = fixture.view(&[("origin", "http://evil.example")]).await;
    assert_eq!(other.err(), Some(StatusCode::FORBIDDEN));
    let rebound = [
        ("host", "evil.example:80"),
        ("origin", "http://evil.example:80"),
    ];
    let rebound = fixture.view(&rebound).await;
    assert_eq!(
        rebound.err(),
        Some(StatusCode::FORBIDDEN),
        "a name that was bound anew"
    );
    let own = format!("http://{}", fixture.address);
    assert!(fixture.view(&[("origin", &own)]).await.is_ok());
    fixture.stop().await;
}

#[tokio::test]
async fn viewers_are_bounded_and_a_place_that_is_left_is_free_again() {
    let fixture = Fixture::start(None).await;
    let mut viewers = Vec::new();
    for _ in 0..VIEWERS_MAX {
        let mut viewer = fixture.view(&[]).await.unwrap();
        viewer.json().await;
        assert_eq!(viewer.json().await["type"], "snapshot");
        viewers.push(viewer);
    }
    let mut late = fixture.view(&[]).await.unwrap();
    late.json().await;
    assert_eq!(late.close_code().await, 1013);
    drop(viewers.pop());
    // The server hears of it a moment later.
    let gets_in = async {
        loop {
            let mut viewer = fixture.view(&[]).await.unwrap();
            viewer.json().await;
            if matches!(viewer.read().await, Message::Text(_)) {
                break;
            }
        }
    };
    timeout(BOUND, gets_in).await.expect("a place is free");
    fixture.stop().await;
}

#[tokio::test]
async fn those_who_show_no_token_cannot_take_more_than_their_places() {
    let fixture = Fixture::start(Some("secret")).await;
    let mut strangers = Vec::new();
    for _ in 0..STRANGERS_MAX {
        strangers.push(fixture.view(&[]).await.unwrap());
    }
    let late = fixture.view(&[]).await;
    assert_eq!(late.err(), Some(StatusCode::SERVICE_UNAVAILABLE));
    // Who has shown it makes room at the door.
    let known = strangers.last_mut().unwrap();
    known.json().await;
    known.show("secret");
    assert_eq!(known.json().await["type"], "snapshot");
    assert!(fixture.view(&[]).await.is_ok());
    fixture.stop().await;
}

#[tokio::test]
async fn the_sampler_rests_unless_somebody_watches() {
    let fixture = Fixture::start(None).await;
    assert!(fixture.feed.is_idle(), "nobody has come yet");
    for _ in 0..2 {
        let mut viewer = fixture.view(&[]).await.unwrap();
        viewer.json().await;
        viewer.json().await;
        assert!(!fixture.feed.is_idle());
        drop(viewer);
        let rests = async {
            while !fixture.feed.is_idle() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(BOUND, rests).await.expect("it rests");
    }
    fixture.stop().await;
}

#[tokio::test]
async fn a_viewer_who_talks_is_shown_out() {
    let fixture = Fixture::start(None).await;
    let mut viewer = fixture.view(&[]).await.unwrap();
    viewer.json().await;
    viewer.show("nobody asked");
    let mut last = viewer.read().await;
    while matches!(last, Message::Text(_)) {
        last = viewer.read().await;
    }
    assert!(matches!(last, Message::Close(Some(frame)) if u16::from(frame.code) == 1008));
    fixture.stop().await;
}
