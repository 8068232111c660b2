//! `campanile load`, as built, against the example servers and against servers that do wrong.

mod support;

use std::fmt::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use support::within_bound;
use tungstenite::{Message, WebSocket};

/// The key of the servers' API.
const API_KEY: &str = "a key of the load tests, of 32 bytes or more";

/// A server in a process of its own. Killed when it goes out of scope.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(command: impl Fn(SocketAddr) -> Command) -> Self {
        // Between finding the port and its use by the server somebody else may take it.
        (0..5)
            .find_map(|_| Self::try_start(&command))
            .expect("the server comes up")
    }

    fn try_start(command: impl Fn(SocketAddr) -> Command) -> Option<Self> {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let process = command(address)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it was built");
        let mut server = Self { process, address };
        let mut has_ended = false;
        within_bound(|| {
            has_ended = server.process.try_wait().expect("a child").is_some();
            has_ended || TcpStream::connect(address).is_ok()
        });
        (!has_ended).then_some(server)
    }

    /// `cargo test` builds the examples next to the tests.
    fn example(name: &str, shards: u16) -> Self {
        let test = std::env::current_exe().expect("this program has a path");
        let directory = test.ancestors().nth(2).expect("target/<profile>/deps");
        let program: PathBuf = directory.join("examples").join(name);
        Self::start(|address| {
            let mut command = Command::new(&program);
            command.args(["--listen", &address.to_string()]);
            command.args(["--shards", &shards.to_string()]);
            command
        })
    }

    /// `campanile serve` with so many rooms, at `/ws/0` and on, in which senders hear themselves.
    /// `name` tells its configuration from those of other tests.
    fn chat(name: &str, rooms: usize) -> Self {
        let mut text = "[limits]\nmessages_per_second = 0\n[messaging]\necho_to_sender = true\n\
             [store]\npath = \"\"\n"
            .to_owned();
        write!(
            text,
            "[[api.key]]\nname = \"load\"\nkey = \"{API_KEY}\"\nscopes = [\"publish\"]\n"
        )
        .expect("a String");
        for room in 0..rooms {
            writeln!(
                text,
                "[[route]]\npath = \"/ws/{room}\"\nroom = \"room-{room}\""
            )
            .expect("a String");
        }
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("load-{name}.toml"));
        std::fs::write(&path, text).expect("the folder is ours");
        Self::start(|address| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_campanile"));
            command.arg("serve").arg("-c").arg(&path);
            command.args(["--admin-listen", ""]);
            command.args(["--listen", &address.to_string(), "--shards", "2"]);
            command
        })
    }

    fn url(&self, target: &str) -> String {
        format!("ws://{}{target}", self.address)
    }

    fn pid(&self) -> String {
        self.process.id().to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What has ended already needs no killing.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn load(mode: &str, url: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_campanile"))
        .args(["load", mode, "--url", url, "--json", "-", "--quiet"])
        .args(arguments)
        .output()
        .expect("campanile runs")
}

/// The JSON of a run that must succeed.
fn figures(mode: &str, url: &str, arguments: &[&str]) -> Value {
    let output = load(mode, url, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{mode} {arguments:?}: {errors}");
    let figures: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(figures["mode"], mode);
    assert_eq!(figures["errors"], 0);
    figures
}

/// Asserts that these figures are there and greater than zero.
fn assert_positive(figures: &Value, names: &[&str]) {
    for name in names {
        let value = figures[name].as_f64();
        assert!(
            value.is_some_and(|value| value > 0.0),
            "{name}: {figures:#}"
        );
    }
}

const SHORT: [&str; 4] = ["--warm-up", "20ms", "--duration", "200ms"];

#[test]
fn echo_reports_throughput_latency_and_the_servers_time() {
    let server = Server::example("echo", 2);
    let pid = server.pid();
    let mut arguments = vec!["--connections", "20", "--in-flight", "4", "--threads", "3"];
    arguments.extend(SHORT);
    arguments.extend(["--server-pid", &pid, "--server-core", "0"]);
    let figures = figures("echo", &server.url("/"), &arguments);
    assert_eq!(figures["connections"], 20);
    assert_positive(
        &figures,
        &[
            "messages",
            "deliveries",
            "messages_per_s",
            "connect_s",
            "handshakes_per_s",
            "server_cpu_us_per_message",
            "server_cpu_share",
            "load_cpu_share",
            "latency_p50_us",
            "latency_p99_us",
            "latency_p999_us",
            "latency_max_us",
        ],
    );
}

#[test]
fn what_is_published_over_http_reaches_every_subscriber() {
    let server = Server::chat("publish", 0);
    let url = server.url("/v1/connect");
    let counts = ["--connections", "3", "--subscribers", "4", "--server-pid"];
    let run = |token: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_campanile"));
        command.args(["load", "http-publish", "--url", &url, "--json", "-"]);
        command.args(counts).arg(server.pid()).args(SHORT);
        let output = command.args(["--token", token]).output();
        output.expect("campanile runs")
    };
    let output = run(API_KEY);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let figures: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_positive(
        &figures,
        &[
            "requests",
            "requests_per_s",
            "deliveries",
            "server_cpu_us_per_request",
            "latency_p50_us",
        ],
    );
    let refused = run("a guess");
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("401"));
}

#[test]
fn a_rate_is_kept() {
    let server = Server::example("echo", 2);
    let arguments = ["--rate", "500/s", "--connections", "3", "--duration", "1s"];
    let figures = figures("echo", &server.url("/"), &arguments);
    let messages = figures["messages"].as_u64().expect("a number");
    assert!((250..=750).contains(&messages), "{figures:#}");
}

#[test]
fn echo_takes_large_messages() {
    let server = Server::example("echo", 2);
    for size in ["24", "125", "126", "65536", "1048576"] {
        let arguments = ["--size", size, "--connections", "2", "--messages", "9"];
        let figures = figures("echo", &server.url("/"), &arguments);
        assert_eq!(figures["deliveries"], 9, "{size}");
    }
}

#[test]
fn fanout_reaches_every_subscriber_on_every_thread() {
    let server = Server::example("broadcast", 1);
    let url = server.url("/");
    let counts = ["--publishers", "3", "--subscribers", "40", "--threads", "2"];
    let some = figures("fanout", &url, &[&counts[..], &SHORT].concat());
    assert_positive(&some, &["deliveries", "latency_p99_us"]);
    let all = figures(
        "fanout",
        &url,
        &[&counts[..], &["--messages", "7", "--total-order"]].concat(),
    );
    assert_eq!(
        (&all["messages"], &all["deliveries"]),
        (&7.into(), &280.into())
    );
    assert_positive(&all, &["broadcast_s"]);
}

#[test]
fn connect_reports_memory_before_and_after() {
    let server = Server::example("echo", 2);
    let pid = server.pid();
    let arguments = [
        "--connections",
        "100",
        "--rate",
        "2000/s",
        "--hold",
        "50ms",
        "--warm-connections",
        "30",
        "--exchange",
        "--server-pid",
        &pid,
    ];
    let figures = figures("connect", &server.url("/"), &arguments);
    assert_positive(
        &figures,
        &[
            "connect_s",
            "server_cpu_us_per_handshake",
            "server_rss_before_bytes",
            "server_rss_after_bytes",
            "server_rss_closed_bytes",
            "close_s",
            "server_cpu_us_per_close",
        ],
    );
    for name in [
        "server_rss_bytes_per_connection",
        "server_rss_bytes_per_connection_after_echo",
        "slab_bytes_per_pair",
        "slab_bytes_per_pair_after_echo",
    ] {
        assert!(figures[name].is_number(), "{name}: {figures:#}");
    }
}

#[test]
fn a_series_has_every_message_once_and_the_servers_memory() {
    let server = Server::example("broadcast", 2);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("load-series.jsonl");
    let (pid, file) = (server.pid(), path.to_str().expect("a path of ours"));
    let arguments = [
        "--subscribers",
        "20",
        "--rate",
        "500/s",
        "--warm-up",
        "300ms",
        "--duration",
        "900ms",
        "--threads",
        "2",
        "--series",
        file,
        "--server-pid",
        &pid,
    ];
    let figures = figures("fanout", &server.url("/"), &arguments);
    let text = std::fs::read_to_string(&path).expect("the series");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    let lines: Vec<Value> = lines.collect();
    let received = |line: &Value| line["received"].as_u64().expect("a count");
    let all: u64 = lines.iter().map(received).sum();
    // Warm-up and what came after the measurement are in it, too.
    assert!(all >= figures["deliveries"].as_u64().expect("a count"));
    assert_eq!(all % 20, 0, "everybody got everything");
    for line in lines.iter().filter(|&line| received(line) > 0) {
        assert_positive(line, &["unix_s", "p50_us", "p99_us", "max_us"]);
    }
    assert!(
        lines
            .iter()
            .any(|line| line["server_rss_bytes"].as_u64() > Some(1 << 20))
    );
}

#[test]
fn connect_writes_to_everybody_and_to_single_users() {
    let server = Server::example("directory", 2);
    let url = server.url("/?user={user}");
    let arguments = ["--connections", "30", "--hold", "0s", "--threads", "2"];
    let talk = [
        "--broadcasts",
        "3",
        "--directs",
        "50",
        "--direct-rate",
        "1000/s",
    ];
    let figures = figures("connect", &url, &[arguments, talk].concat());
    assert_eq!(
        (&figures["broadcasts"], &figures["directs"]),
        (&3.into(), &50.into())
    );
    assert_positive(&figures, &["broadcast_s", "latency_p99_us"]);
}

#[test]
fn chat_reaches_every_member_of_the_room() {
    let server = Server::chat("rooms", 4);
    let url = server.url("/ws/{room}");
    let rooms = ["--rooms", "4", "--room-size", "5", "--publishers", "2"];
    let some = ["--in-flight", "2", "--threads", "2"];
    let some = figures("chat", &url, &[&rooms[..], &some, &SHORT].concat());
    assert_positive(&some, &["messages", "deliveries", "latency_p99_us"]);
    let all = figures("chat", &url, &[&rooms[..], &["--messages", "9"]].concat());
    assert_eq!(
        (&all["messages"], &all["deliveries"]),
        (&9.into(), &45.into())
    );
}

#[test]
fn members_type_ping_leave_and_come_back_in_a_mixed_chat() {
    let server = Server::chat("mixed", 2);
    let url = server.url("/ws/{room}");
    let rooms = ["--rooms", "2", "--room-size", "6", "--publishers", "2"];
    let more = ["--mix", "mixed", "--messages", "20000", "--in-flight", "8"];
    let figures = figures("chat", &url, &[&rooms[..], &more].concat());
    assert_positive(&figures, &["deliveries", "other_messages", "reconnects"]);
}

#[test]
fn a_chat_that_does_not_come_back_is_a_loss() {
    // The server of the development mode does not echo to the sender.
    let server = Server::start(|address| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_campanile"));
        command.args(["serve", "--dev", "--listen", &address.to_string()]);
        command.args(["--admin-listen", ""]);
        command
    });
    let arguments = ["--room-size", "3", "--messages", "2", "--timeout", "2s"];
    let output = load("chat", &server.url("/ws"), &arguments);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("--timeout"), "{error}");
}

#[test]
fn two_loads_share_a_server() {
    let server = Server::example("echo", 2);
    let url = server.url("/");
    let loads = ["127.0.1.1", "127.0.2.1-127.0.2.9"].map(|sources| {
        let url = url.clone();
        std::thread::spawn(move || {
            let arguments = ["--connections", "50", "--sources", sources];
            figures("echo", &url, &[&arguments[..], &SHORT].concat())
        })
    });
    for load in loads {
        assert_positive(&load.join().expect("no panic"), &["messages"]);
    }
}

#[test]
fn wrong_use_is_exit_status_2_and_no_server_exit_status_1() {
    let output = load("echo", "http://127.0.0.1/", &[]);
    assert_eq!(output.status.code(), Some(2));
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/", free.local_addr().expect("an address"));
    drop(free);
    let output = load("echo", &url, &["--connections", "1"]);
    assert_eq!(output.status.code(), Some(1));
    let figures: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(figures["errors"], 1);
    assert!(figures["error"].is_string());
}

/// What a server that is not ours does with the `n`-th message of a connection.
type Answer = fn(n: usize, message: Message, socket: &mut WebSocket<TcpStream>);

fn send(socket: &mut WebSocket<TcpStream>, message: Message) {
    // A client that has seen the fault is gone.
    let _ = socket.send(message);
}

/// Serves one connection with `answer`, and returns what a load against it says on stderr: it must
/// end with exit status 1.
fn fault_of(answer: Answer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/", listener.local_addr().expect("an address"));
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("the load connects");
        let mut socket = tungstenite::accept(stream).expect("a handshake");
        let mut n = 0;
        while let Ok(message) = socket.read() {
            if message.is_text() {
                answer(n, message, &mut socket);
                n += 1;
            }
        }
    });
    let arguments = ["--connections", "1", "--in-flight", "4", "--timeout", "10s"];
    let output = load("echo", &url, &arguments);
    server.join().expect("the server does not panic");
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[test]
fn a_server_that_loses_a_message_is_found_out() {
    let error = fault_of(|n, message, socket| {
        if n != 10 {
            send(socket, message);
        }
    });
    assert!(
        error.contains("message 11 of sender 0 came instead of 10"),
        "{error}"
    );
}

#[test]
fn a_server_that_doubles_a_message_is_found_out() {
    let error = fault_of(|n, message, socket| {
        if n == 10 {
            send(socket, message.clone());
        }
        send(socket, message);
    });
    assert!(
        error.contains("message 10 of sender 0 came twice"),
        "{error}"
    );
}

#[test]
fn a_server_that_damages_a_message_is_found_out() {
    let error = fault_of(|n, message, socket| {
        let text = message.into_text().expect("it is text");
        let text = text.as_str();
        // Two letters of the filler change places.
        let damaged = format!("{}{}{}", &text[..30], &text[31..32], &text[30..31]);
        let text = match n {
            10 => damaged + &text[32..],
            _ => text.to_owned(),
        };
        send(socket, Message::text(text));
    });
    assert!(error.contains("a corrupt message: 64 bytes"), "{error}");
}

#[test]
fn a_server_that_answers_with_binary_or_closes_is_found_out() {
    let error = fault_of(|_, message, socket| send(socket, Message::binary(message.into_data())));
    assert!(error.contains("it is binary"), "{error}");
    let error = fault_of(|_, _, socket| {
        let frame = tungstenite::protocol::CloseFrame {
            code: 4321.into(),
            reason: "enough".into(),
        };
        let _ = socket.close(Some(frame));
    });
    assert!(
        error.contains("closed by the server: 4321 enough"),
        "{error}"
    );
}

#[test]
fn pings_are_answered_with_their_payload() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/", listener.local_addr().expect("an address"));
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("the load connects");
        let mut socket = tungstenite::accept(stream).expect("a handshake");
        socket
            .send(Message::Ping("are you there?".into()))
            .expect("a ping");
        let pong = socket.read().expect("an answer");
        // The load is done after its hold, and is gone.
        while socket.read().is_ok() {}
        pong
    });
    figures("connect", &url, &["--connections", "1", "--hold", "200ms"]);
    let pong = server.join().expect("the server does not panic");
    assert_eq!(pong, Message::Pong("are you there?".into()));
}
