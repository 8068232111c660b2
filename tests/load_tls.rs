//! `campanile load` on `wss://`, as built, against the example servers with a certificate.

mod support;

use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use support::{Authority, within_bound};

/// An example server that speaks TLS. Killed when it goes out of scope.
struct Server {
    process: Child,
    port: u16,
    authority: Authority,
}

impl Server {
    fn example(name: &str) -> Self {
        let authority = Authority::new();
        let files = authority.issue("server", &["127.0.0.1"]);
        let test = std::env::current_exe().expect("this program has a path");
        let directory = test.ancestors().nth(2).expect("target/<profile>/deps");
        // Between finding the port and its use by the server somebody else may take it.
        for _ in 0..5 {
            let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            let port = free.local_addr().expect("an address").port();
            drop(free);
            let mut process = Command::new(directory.join("examples").join(name))
                .args(["--listen", &format!("127.0.0.1:{port}"), "--shards", "2"])
                .arg("--certificate")
                .arg(&files.chain)
                .arg("--key")
                .arg(&files.key)
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("it was built");
            let mut has_ended = false;
            within_bound(|| {
                has_ended = process.try_wait().expect("a child").is_some();
                has_ended || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
            if !has_ended {
                return Self {
                    process,
                    port,
                    authority,
                };
            }
        }
        panic!("the server does not come up")
    }

    fn load(&self, mode: &str, arguments: &str) -> Output {
        let url = format!("wss://127.0.0.1:{}/", self.port);
        load(
            mode,
            &url,
            &self.authority.root().display().to_string(),
            arguments,
        )
    }

    /// The JSON of a run that must succeed.
    fn figures(&self, mode: &str, arguments: &str) -> Value {
        let output = self.load(mode, arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{mode} {arguments}: {errors}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What has ended already needs no killing.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn load(mode: &str, url: &str, ca: &str, arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_campanile"))
        .args([
            "load", mode, "--url", url, "--ca", ca, "--json", "-", "--quiet",
        ])
        .args(arguments.split_whitespace())
        .output()
        .expect("campanile runs")
}

#[test]
fn every_message_over_tls_is_checked() {
    let server = Server::example("echo");
    // Smaller than a record, several to one, and more than many.
    for (size, messages) in [("24", 5000), ("5000", 500), ("1000000", 20)] {
        let arguments = format!(
            "--size {size} --messages {messages} --connections 20 --in-flight 8 --threads 2"
        );
        let figures = server.figures("echo", &arguments);
        assert_eq!(figures["deliveries"], messages, "{figures:#}");
    }
}

#[test]
fn a_fan_out_over_tls_is_in_order() {
    let server = Server::example("broadcast");
    let arguments = "--publishers 3 --subscribers 40 --messages 300 --in-flight 4 --threads 2";
    let figures = server.figures("fanout", arguments);
    assert_eq!(figures["deliveries"], 300 * 40, "{figures:#}");
}

#[test]
fn sessions_come_back_by_ticket_only_if_that_is_asked_for() {
    let server = Server::example("echo");
    let arguments = "--connections 300 --warm-connections 200 --hold 0s --threads 2";
    let figures = server.figures("connect", arguments);
    assert!(figures.get("tls_resumed").is_none(), "{figures:#}");
    let figures = server.figures("connect", &format!("{arguments} --tls-resume"));
    assert_eq!(figures["tls_resumed"], 300, "{figures:#}");
}

#[test]
fn only_who_is_trusted_and_named_right_is_spoken_to() {
    let server = Server::example("echo");
    let refused = |url: &str, ca: &str, told: &str| {
        let output = load("connect", url, ca, "--connections 1 --hold 0s");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && errors.contains(told),
            "{errors}"
        );
    };
    let root = server.authority.root().display().to_string();
    let stranger = Authority::new();
    let stranger = stranger.root().display().to_string();
    let port = server.port;
    refused(
        &format!("wss://127.0.0.1:{port}/"),
        &stranger,
        "invalid peer certificate",
    );
    refused(
        &format!("wss://localhost:{port}/"),
        &root,
        "not valid for name",
    );
    refused(
        &format!("ws://127.0.0.1:{port}/"),
        &root,
        "--ca is for wss://",
    );
    refused(&format!("wss://127.0.0.1:{port}/"), "/nowhere", "/nowhere");
}
