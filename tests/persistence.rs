//! Persistent rooms of the built binary: killed, stopped, started again on the same store.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use campanile::testing::StoreFolder;
use serde_json::{Value, json};
use support::{BOUND, within_bound};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

/// Publications of a client that wait for their acknowledgement at a time.
const IN_FLIGHT: usize = 16;
const CLIENTS: usize = 3;
const ROUNDS: usize = 5;

/// A configuration with a store in a folder of its own.
struct Site {
    folder: StoreFolder,
    config: PathBuf,
}

impl Site {
    fn new(name: &str) -> Self {
        let folder = StoreFolder::new();
        let config =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("persistence-{name}.toml"));
        let site = Self { folder, config };
        site.configure(site.folder.path());
        site
    }

    fn configure(&self, store: &Path) {
        let text = format!(
            "[auth]\nmode = \"trust\"\n[limits]\nmessages_per_second = 0\n[store]\npath = {store:?}\n\
             synchronous = \"normal\"\n[[namespace]]\npattern = \"kept*\"\npersist = true\n\
             history_size = 10\nretention_messages = 0\n[[namespace]]\npattern = \"*\"\n"
        );
        std::fs::write(&self.config, text).unwrap();
    }

    fn command(&self, address: SocketAddr) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_campanile"));
        command.arg("serve").arg("-c").arg(&self.config);
        command.args(["--listen", &address.to_string(), "--shards", "2"]);
        command.args(["--admin-listen", ""]);
        command
            .stdin(Stdio::null())
            .env_remove("CAMPANILE_STORE__PATH");
        command
    }

    fn start(&self) -> Server {
        // Between finding the port and its use by the server somebody else may take it.
        (0..5)
            .find_map(|_| self.try_start())
            .expect("the server comes up")
    }

    /// `None`: it has ended at once.
    fn try_start(&self) -> Option<Server> {
        let address = free_address();
        let mut command = self.command(address);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        // From then on it can be told to end, too.
        let is_up = log
            .by_ref()
            .any(|line| line.unwrap().contains("listening on"));
        thread::spawn(move || log.count());
        is_up.then_some(Server { process, address })
    }

    /// Runs a server that must not start.
    fn fail(&self) -> Output {
        self.command(free_address()).output().unwrap()
    }
}

fn free_address() -> SocketAddr {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap()
}

/// A server in a process of its own. Killed when it goes out of scope.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// SIGTERM, and waits.
    fn stop(mut self) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(sent.success());
        assert!(
            within_bound(|| self.process.try_wait().unwrap().is_some()),
            "it does not end"
        );
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What has ended already needs no killing.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A client that lives as long as the server does.
struct Client(WebSocket<TcpStream>);

impl Client {
    fn connect(address: SocketAddr, user: &str) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(BOUND)).unwrap();
        stream.set_nodelay(true).unwrap();
        let request = format!("ws://{address}/v1/connect?user_id={user}");
        let (socket, _) =
            tungstenite::client(request.into_client_request().unwrap(), stream).ok()?;
        Some(Self(socket))
    }

    fn send(&mut self, message: &Value) -> Option<()> {
        self.0.send(Message::text(message.to_string())).ok()
    }

    /// The next message of a type.
    fn expect(&mut self, message_type: &str) -> Option<Value> {
        loop {
            let Message::Text(text) = self.0.read().ok()? else {
                continue;
            };
            let message: Value = serde_json::from_str(&text).unwrap();
            assert_ne!(message["type"], "error", "{message}");
            if message["type"] == message_type {
                return Some(message);
            }
        }
    }

    fn publish(&mut self, name: &str) -> Option<()> {
        self.send(&json!({"type": "publish", "id": name,
            "data": {"topic": "kept", "data": name, "client_message_id": name}}))
    }

    /// All messages of the room: names and identifiers, by offset.
    fn history(&mut self) -> BTreeMap<u64, (String, String)> {
        self.send(&json!({"type": "subscribe", "data": {"topic": "kept"}}))
            .unwrap();
        self.expect("subscribed").unwrap();
        let (mut all, mut cursor) = (BTreeMap::new(), Value::Null);
        loop {
            let params = json!({"room_id": "kept", "after": 0, "limit": 100, "cursor": cursor});
            let call = json!({"type": "rpc", "id": 1,
                "data": {"method": "room.history", "params": params}});
            self.send(&call).unwrap();
            let page = self.expect("rpc").unwrap()["data"]["result"].clone();
            for message in page["messages"].as_array().unwrap() {
                let offset = message["offset"].as_u64().unwrap();
                let known = all.insert(
                    offset,
                    (text(&message["data"]["data"]), text(&message["id"])),
                );
                assert_eq!(known, None, "offset {offset} stands twice");
            }
            if page["next_cursor"].is_null() {
                return all;
            }
            cursor = page["next_cursor"].clone();
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// What one client has sent over all rounds.
#[derive(Default)]
struct Diary {
    sent: usize,
    /// Not acknowledged, and so sent again when there is a server again.
    open: VecDeque<String>,
    /// The identifier and offset of what was acknowledged.
    acknowledged: BTreeMap<String, (String, u64)>,
}

/// Publishes until the server is gone.
fn publish_for_ever(
    address: SocketAddr,
    user: &str,
    diary: &mut Diary,
    acknowledged: &AtomicUsize,
) -> Option<()> {
    let mut client = Client::connect(address, user)?;
    for name in &diary.open {
        client.publish(name)?;
    }
    loop {
        while diary.open.len() < IN_FLIGHT {
            diary.sent += 1;
            let name = format!("{user}-{}", diary.sent);
            diary.open.push_back(name.clone());
            client.publish(&name)?;
        }
        let ack = client.expect("ack")?;
        let name = text(&ack["id"]);
        let place = (
            text(&ack["data"]["message_id"]),
            ack["data"]["offset"].as_u64().unwrap(),
        );
        // A repeat whose first answer the room still knows does not wait for the store.
        let place_of = diary.open.iter().position(|open| *open == name);
        diary.open.remove(place_of.unwrap());
        assert_eq!(diary.acknowledged.insert(name, place), None);
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn what_was_acknowledged_outlives_kill_9_once() {
    let site = Site::new("kill");
    let mut diaries: Vec<Diary> = (0..CLIENTS).map(|_| Diary::default()).collect();
    let acknowledged = AtomicUsize::new(0);
    for round in 0..ROUNDS {
        let mut server = site.start();
        let address = server.address;
        thread::scope(|scope| {
            for (n, diary) in diaries.iter_mut().enumerate() {
                let acknowledged = &acknowledged;
                scope.spawn(move || {
                    publish_for_ever(address, &format!("u{n}"), diary, acknowledged)
                });
            }
            let before = acknowledged.load(Ordering::Relaxed);
            let wanted = before + fastrand::usize(1..300);
            let came = within_bound(|| acknowledged.load(Ordering::Relaxed) >= wanted);
            server.kill();
            assert!(
                came,
                "round {round}: only {} of {wanted}",
                acknowledged.load(Ordering::Relaxed)
            );
        });
        let server = site.start();
        let mut reader = Client::connect(server.address, "reader").unwrap();
        let history = reader.history();
        assert!(
            history.keys().copied().eq(1..=history.len() as u64),
            "offsets have no holes"
        );
        let names: BTreeSet<&String> = history.values().map(|(name, _)| name).collect();
        assert_eq!(names.len(), history.len(), "nothing stands there twice");
        for (name, (id, offset)) in diaries.iter().flat_map(|diary| &diary.acknowledged) {
            assert_eq!(
                history.get(offset),
                Some(&(name.clone(), id.clone())),
                "round {round}"
            );
        }
        // What was acknowledged before the kill is answered again, and published by nobody.
        let last = diaries
            .iter()
            .find_map(|diary| diary.acknowledged.last_key_value());
        let (name, (id, offset)) = last.unwrap();
        let user = name.split('-').next().unwrap();
        let mut author = Client::connect(server.address, user).unwrap();
        author.publish(name).unwrap();
        let again = author.expect("ack").unwrap();
        assert_eq!(again["data"]["message_id"], **id);
        assert_eq!(again["data"]["offset"], *offset);
        assert_eq!(reader.history().len(), history.len());
    }
}

#[test]
fn a_server_that_is_told_to_end_leaves_a_store_for_the_next() {
    let site = Site::new("stop");
    let server = site.start();
    let mut ann = Client::connect(server.address, "ann").unwrap();
    ann.publish("one").unwrap();
    let first = ann.expect("ack").unwrap()["data"].clone();
    server.stop();
    let server = site.start();
    let mut ann = Client::connect(server.address, "ann").unwrap();
    let recover = json!({"epoch": first["epoch"], "offset": 0});
    ann.send(&json!({"type": "subscribe", "data": {"topic": "kept", "recover": recover}}))
        .unwrap();
    let subscribed = ann.expect("subscribed").unwrap()["data"].clone();
    assert_eq!(
        (&subscribed["recovered"], &subscribed["replayed"]),
        (&true.into(), &1.into())
    );
    let one = ann.expect("publish").unwrap();
    assert_eq!(
        (&one["id"], &one["offset"]),
        (&first["message_id"], &1.into())
    );
    server.stop();
}

#[test]
fn a_store_that_cannot_be_opened_is_said_so_at_the_start() {
    let site = Site::new("refused");
    let server = site.start();
    let second = site.fail();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned()
        + &String::from_utf8_lossy(&second.stdout);
    assert!(said.contains("in use by another process"), "{said}");
    server.stop();
    // A file stands where the folder would be.
    site.configure(&site.config);
    let refused = site.fail();
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned()
        + &String::from_utf8_lossy(&refused.stdout);
    assert!(said.contains("cannot be used"), "{said}");
}
