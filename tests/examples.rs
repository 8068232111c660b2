//! The examples, as built: each starts, does what it is for, and ends with exit code 0 at SIGTERM.

mod support;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::json;
use support::{Client, Raw, within_bound};

/// A running example. Killed if the test fails.
struct Example {
    process: Child,
    address: SocketAddr,
}

impl Example {
    fn start(name: &str) -> Self {
        // Between finding the port and its use by the example somebody else may take it.
        (0..5)
            .find_map(|_| Self::try_start(name))
            .unwrap_or_else(|| panic!("example {name} does not come up"))
    }

    fn try_start(name: &str) -> Option<Self> {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let process = Command::new(program(name))
            .args(["--listen", &address.to_string(), "--shards", "2"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("example {name}: {error}; build it with --examples"));
        let mut example = Self { process, address };
        let mut has_ended = false;
        within_bound(|| {
            has_ended = example.exit_code().is_some();
            has_ended || TcpStream::connect(address).is_ok()
        });
        (!has_ended).then_some(example)
    }

    /// `None` while it runs; the inner value is `None` if a signal ended it.
    fn exit_code(&mut self) -> Option<Option<i32>> {
        let status = self.process.try_wait().expect("a child of ours");
        status.map(|status| status.code())
    }

    /// Asks it to end as an administrator does, and expects that it ends well.
    fn stop(mut self) {
        let pid = self.process.id().to_string();
        let killed = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(killed.expect("kill is there").success());
        let mut code = None;
        within_bound(|| {
            code = self.exit_code();
            code.is_some()
        });
        assert_eq!(code, Some(Some(0)), "exit code");
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `cargo test` builds the examples next to the tests.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this program has a path");
    let directory = test.ancestors().nth(2).expect("target/<profile>/deps");
    directory.join("examples").join(name)
}

#[test]
fn echo_sends_every_message_back() {
    let example = Example::start("echo");
    let mut client = Client::open(example.address, "/");
    assert_eq!(client.ask("hello"), "hello");
    let large = "x".repeat(1 << 20);
    assert!(client.ask(&large) == large);
    drop(client);
    example.stop();
}

#[test]
fn broadcast_sends_every_message_to_everybody() {
    let example = Example::start("broadcast");
    let mut clients = [(); 6].map(|()| Client::open(example.address, "/"));
    clients[0].say("hello");
    for client in &mut clients {
        assert_eq!(client.hear(), "hello");
    }
    drop(clients);
    example.stop();
}

#[test]
fn directory_sends_to_one_user_or_to_everybody() {
    let example = Example::start("directory");
    let [mut ann, mut bob] =
        ["ann", "bob"].map(|name| Client::open(example.address, &format!("/?user={name}")));
    ann.say("@bob psst");
    ann.say("hello");
    assert_eq!(bob.hear(), "@bob psst");
    assert_eq!(bob.hear(), "hello");
    assert_eq!(ann.hear(), "hello");
    let mut nobody = Raw::connect(example.address);
    nobody.write(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert_eq!(nobody.response().status, 400);
    drop((ann, bob, nobody));
    example.stop();
}

#[test]
fn axum_serves_pages_beside_websockets() {
    let example = Example::start("axum");
    let mut clients = [(); 2].map(|()| Client::open(example.address, "/"));
    let mut http = Raw::connect(example.address);

    http.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let page = http.response();
    assert_eq!(page.status, 200);
    assert!(page.body.contains("new WebSocket"), "{}", page.body);

    http.write(b"GET /stats HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(http.response().json()["connections"], 2);

    http.write(b"POST /announce HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\nLunch!");
    assert_eq!(http.response().status, 202);
    for client in &mut clients {
        assert_eq!(client.hear(), "Lunch!");
    }
    drop((clients, http));
    example.stop();
}

#[test]
fn rooms_are_apart_and_what_happens_in_them_is_counted() {
    let example = Example::start("rooms");
    let [mut ann, mut bob, mut eve] = ["kitchen", "kitchen", "cellar"]
        .map(|room| Client::open(example.address, &format!("/?room={room}")));
    ann.say("hello");
    assert_eq!(ann.hear(), "hello");
    assert_eq!(bob.hear(), "hello");
    eve.say("anybody?");
    assert_eq!(eve.hear(), "anybody?");
    let mut http = Raw::connect(example.address);
    http.write(b"GET /stats HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let stats = http.response().json();
    assert_eq!(
        (&stats["connections"], &stats["messages_in"]),
        (&3.into(), &2.into())
    );
    drop((ann, bob, eve, http));
    example.stop();
}

/// The next message of that type: the server says hello and tells of comings first.
fn hear_of(client: &mut Client, message_type: &str) -> serde_json::Value {
    loop {
        let message: serde_json::Value = serde_json::from_str(&client.hear()).expect("JSON");
        if message["type"] == message_type {
            return message;
        }
    }
}

#[test]
fn custom_handler_lets_a_room_vote() {
    let example = Example::start("custom_handler");
    let mut clients = [(); 2].map(|()| Client::open(example.address, "/ws"));
    for client in &mut clients {
        hear_of(client, "presence");
    }
    clients[0]
        .say(r#"{"type":"poll","action":"open","question":"Lunch?","options":["soup","salad"]}"#);
    assert_eq!(hear_of(&mut clients[1], "poll")["status"], "open");
    clients[1].say(r#"{"type":"poll","action":"vote","option":1}"#);
    assert_eq!(hear_of(&mut clients[1], "poll")["votes"], json!([0, 1]));
    clients[0].say(r#"{"type":"poll","id":7,"action":"close"}"#);
    assert_eq!(hear_of(&mut clients[1], "poll")["status"], "closed");
    while hear_of(&mut clients[0], "poll")["status"] != "posted" {}

    let mut http = Raw::connect(example.address);
    http.write(b"GET /results HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let results = http.response().json();
    assert_eq!(
        results,
        json!([{"room": "lobby", "question": "Lunch?", "votes": [0, 1]}])
    );
    drop((clients, http));
    example.stop();
}
