//! Requests that mean no good, or were never meant for this.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use campanile::api::ApiOptions;
use campanile::auth::Authenticator;
use campanile::realtime::protocol::Message;
use campanile::realtime::{Ctx, Handler, HandlerError, Realtime};
use serde_json::{Value, json};

use crate::site::{PATIENCE, PUBLISH, ROOMS, Site};

/// Posts bytes as they are to `/api/v1/publish`.
fn post(site: &Site, content_type: &str, body: impl Into<reqwest::Body>) -> crate::site::Answer {
    let request = site.request("POST", "/api/v1/publish").bearer_auth(PUBLISH);
    site.send(request.header("content-type", content_type).body(body))
}

#[test]
fn what_is_no_json_object_is_refused_and_the_server_lives() {
    let site = Site::start();
    let json = "application/json";
    for body in [
        "",
        "{",
        "nonsense",
        "{\"topic\":\"a\",\"data\":1}}",
        "{'topic':'a'}",
        "\u{feff}{}",
    ] {
        post(&site, json, body).refused(400, "invalid_json");
    }
    for body in ["[]", "7", "null", "\"topic\""] {
        post(&site, json, body).refused(422, "invalid_message");
    }
    for (body, code) in [
        (r#"{"topic":"a","data":"\ud800"}"#, "invalid_json"),
        (r#"{"topic":"\udc00x","data":1}"#, "invalid_json"),
        (r#"{"topic":"a","data":{"\ud83d":1}}"#, "invalid_json"),
    ] {
        post(&site, json, body).refused(400, code);
    }
    post(&site, json, b"{\"topic\":\"\xff\",\"data\":1}".as_slice()).refused(400, "invalid_json");
    let deep = format!(
        r#"{{"topic":"a","data":{}1{}}}"#,
        "[".repeat(9000),
        "]".repeat(9000)
    );
    post(&site, json, deep).refused(400, "invalid_json");
    post(&site, json, r#"{"topic":"a","topic":"b","data":1}"#).invalid("topic");
    post(&site, json, r#"{"topic":"a","data":1,"data":2}"#).invalid("data");
    post(&site, json, r#"{"topic":["a"],"data":1}"#).invalid("topic");
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "",
    ] {
        post(&site, kind, "{}").refused(415, "unsupported_media_type");
    }
    post(&site, json, r#"{"topic":"a","data":1}"#).ok();
}

// A refusal named what the wish was called on its way to the shards: `room_id` for a topic.
#[test]
fn a_refusal_names_what_the_request_has_called_it() {
    let site = Site::start();
    let long = "x".repeat(257);
    for (path, body, member) in [
        ("/api/v1/publish", json!({"topic": "", "data": 1}), "topic"),
        (
            "/api/v1/publish",
            json!({"topic": long, "data": 1}),
            "topic",
        ),
        (
            "/api/v1/publish",
            json!({"topic": "t", "data": 1, "type": "news"}),
            "data",
        ),
        (
            "/api/v1/publish",
            json!({"topic": "t", "data": 1, "type": "chat"}),
            "data",
        ),
        (
            "/api/v1/publish",
            json!({"topic": "t", "data": {"content": 7}, "type": "chat"}),
            "content",
        ),
        (
            "/api/v1/publish",
            json!({"topic": "t", "data": 1, "idempotency_key": ""}),
            "idempotency_key",
        ),
        (
            "/api/v1/publish",
            json!({"topic": "t", "data": 1, "idempotency_key": long}),
            "idempotency_key",
        ),
        (
            "/api/v1/users/ann/send",
            json!({"type": "news", "data": 5}),
            "data",
        ),
        (
            "/api/v1/broadcast",
            json!({"type": "news", "data": "now"}),
            "data",
        ),
    ] {
        let answer = site.key(PUBLISH, "POST", path, body.clone());
        let said = answer.invalid(member);
        let words = said["error"].as_str().unwrap();
        assert!(
            !words.contains("u32") && !words.contains("field"),
            "{body}: {words}"
        );
    }
    for (body, member) in [
        (json!({"id": ""}), "id"),
        (json!({"id": "r", "max_clients": -1}), "max_clients"),
    ] {
        site.key(ROOMS, "POST", "/api/v1/rooms", body)
            .invalid(member);
    }
    let path = format!("/api/v1/rooms/{long}");
    site.key(ROOMS, "GET", &path, Value::Null).invalid("id");
    let said = site.key(ROOMS, "GET", "/api/v1/rooms?limit=many", Value::Null);
    assert_eq!(
        said.invalid("limit")["error"],
        "expected a whole number, 0 or more"
    );
}

#[test]
fn a_body_too_large_is_refused_before_it_is_read() {
    let site = Site::start();
    let mut socket = connect(&site);
    let head = head(
        "POST /api/v1/publish",
        &[
            &format!("authorization: Bearer {PUBLISH}"),
            "content-type: application/json",
            "content-length: 10485760",
        ],
    );
    socket.write_all(head.as_bytes()).unwrap();
    assert_status(&mut socket, "413");
    // Chunks without an end are read to the limit.
    let mut socket = connect(&site);
    let head = self::head(
        "POST /api/v1/publish",
        &[
            &format!("authorization: Bearer {PUBLISH}"),
            "content-type: application/json",
            "transfer-encoding: chunked",
        ],
    );
    socket.write_all(head.as_bytes()).unwrap();
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(4096));
    for _ in 0..17 {
        // It may have answered and closed before the last of them.
        if socket.write_all(chunk.as_bytes()).is_err() {
            break;
        }
    }
    assert_status(&mut socket, "413");
    let most = json!({"topic": "a", "data": "x".repeat(65_000)});
    site.key(PUBLISH, "POST", "/api/v1/publish", most).ok();
    let more = json!({"topic": "a", "data": "x".repeat(66_000)});
    let refused = site.key(PUBLISH, "POST", "/api/v1/publish", more);
    assert_eq!(
        refused.refused(413, "payload_too_large")["details"]["limit"],
        65_536
    );
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for_long() {
    let options = ApiOptions {
        body_timeout: Duration::from_millis(100),
        ..ApiOptions::default()
    };
    let site = Site::with(options, Authenticator::trusting());
    for field in ["content-length: 100", "transfer-encoding: chunked"] {
        let mut socket = connect(&site);
        let head = head(
            "POST /api/v1/publish",
            &[
                &format!("authorization: Bearer {PUBLISH}"),
                "content-type: application/json",
                field,
            ],
        );
        socket.write_all(head.as_bytes()).unwrap();
        assert_status(&mut socket, "408");
    }
}

#[test]
fn each_wrong_path_and_method_has_the_one_error_body() {
    let site = Site::start();
    for path in [
        "/api/v1/nothing",
        "/api/v1/rooms/a/b/c",
        "/api/v2/rooms",
        "/nothing",
    ] {
        site.user("ann", "GET", path, Value::Null)
            .refused(404, "not_found");
    }
    let answer = site.user("ann", "DELETE", "/api/v1/rooms", Value::Null);
    answer.refused(405, "method_not_allowed");
    assert!(answer.header("allow").unwrap().contains("POST"));
    site.user("ann", "GET", "/api/v1/publish", Value::Null)
        .refused(405, "method_not_allowed");
    site.user("ann", "GET", "/api/v1/rooms/%ff", Value::Null)
        .invalid("path");
    site.user("ann", "GET", "/api/v1/rooms?limit=1&limit=2", Value::Null)
        .invalid("limit");
    site.user("ann", "GET", "/api/v1/rooms?limit=4294967296", Value::Null)
        .invalid("limit");
}

/// RFC 9112 section 3.2.
#[test]
fn a_request_names_its_host_and_one() {
    let site = Site::start();
    for (version, hosts, status) in [
        ("1.1", "", "400"),
        ("1.1", "host: localhost\r\n", "200"),
        ("1.1", "host: localhost\r\nhost: localhost\r\n", "400"),
        ("1.0", "", "200"),
    ] {
        let mut socket = connect(&site);
        let head = format!("GET /healthz HTTP/{version}\r\n{hosts}\r\n");
        socket.write_all(head.as_bytes()).unwrap();
        let mut start = [0; 12];
        socket.read_exact(&mut start).unwrap();
        let start = std::str::from_utf8(&start).unwrap();
        assert_eq!(&start[9..], status, "{version} {hosts:?}");
    }
}

#[test]
fn a_requests_own_name_comes_back_if_it_may_stand_in_a_log() {
    let site = Site::start();
    let ask = |id: &str| site.send(site.request("GET", "/nothing").header("x-request-id", id));
    assert_eq!(
        ask("trace-7").refused(404, "not_found")["request_id"],
        "trace-7"
    );
    for id in ["a b", &"x".repeat(129), ""] {
        let id = ask(id).refused(404, "not_found")["request_id"].clone();
        assert_eq!(id.as_str().unwrap().len(), 16);
    }
    let good = site.key(ROOMS, "GET", "/api/v1/rooms", Value::Null);
    assert_eq!(good.header("x-request-id").unwrap().len(), 16);
}

fn connect(site: &Site) -> TcpStream {
    let socket = TcpStream::connect(site.address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn head(request: &str, fields: &[&str]) -> String {
    format!(
        "{request} HTTP/1.1\r\nhost: localhost\r\n{}\r\n\r\n",
        fields.join("\r\n")
    )
}

#[track_caller]
fn assert_status(socket: &mut TcpStream, status: &str) {
    let mut start = [0; 12];
    socket.read_exact(&mut start).unwrap();
    assert_eq!(
        std::str::from_utf8(&start).unwrap(),
        format!("HTTP/1.1 {status}")
    );
}

/// A handler that is not done within any request's time, and one that forgets to answer.
struct Chat {
    forgets: bool,
}

impl Handler for Chat {
    fn message_type(&self) -> &str {
        "chat"
    }

    fn handle(&mut self, ctx: &mut Ctx<'_>, _: &Message<'_>) -> Result<(), HandlerError> {
        if !self.forgets {
            ctx.spawn(std::future::pending::<()>(), |_, ()| Ok(()));
        }
        Ok(())
    }
}

#[test]
fn an_answer_that_does_not_come_ends_in_an_error() {
    for (forgets, status, code) in [(false, 504, "timeout"), (true, 503, "unavailable")] {
        let options = ApiOptions {
            answer_timeout: Duration::from_millis(500),
            ..ApiOptions::default()
        };
        let app = move |realtime: Realtime| realtime.with(Chat { forgets });
        let site = Site::with_app(options, Authenticator::trusting(), app);
        let body = json!({"data": {"content": "hi"}});
        let path = "/api/v1/rooms/kitchen/messages";
        site.user("ann", "POST", path, body).refused(status, code);
        site.user("ann", "GET", "/api/v1/rooms", Value::Null).ok();
    }
}
