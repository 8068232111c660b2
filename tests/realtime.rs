//! The realtime application behind real sockets, with clients of another implementation.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use campanile::auth::Gate;
use campanile::realtime::protocol::Message as Inbound;
use campanile::realtime::{
    Ctx, Exclude, Handler, HandlerError, LimitOptions, Mail, Realtime, RealtimeOptions,
};
use campanile::server::Running;
use campanile::shard::{OnUserLimit, Options};
use campanile::{Server, id::ShardId};
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Error, HandshakeError, Message, WebSocket};

/// A generous bound for what takes a millisecond.
const PATIENCE: Duration = Duration::from_secs(10);

struct Client(WebSocket<TcpStream>);

impl Client {
    fn try_connect(address: SocketAddr, target: &str) -> Result<Self, u16> {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("ws://{address}{target}")
            .into_client_request()
            .unwrap();
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(HandshakeError::Failure(Error::Http(response))) => Err(response.status().as_u16()),
            Err(other) => panic!("{other}"),
        }
    }

    /// Connects a user and takes the welcome and the members.
    fn enter(address: SocketAddr, user: &str) -> Self {
        let mut client = Self::try_connect(address, &format!("/ws?user_id={user}")).unwrap();
        let welcome = client.next();
        assert_eq!(
            (&welcome["status"], &welcome["user_id"]),
            (&"established".into(), &user.into())
        );
        assert_eq!(client.until("presence")["action"], "snapshot");
        client
    }

    fn say(&mut self, text: impl ToString) {
        self.0.send(Message::text(text.to_string())).unwrap();
    }

    /// The next text, or `{"close": code}`.
    fn next(&mut self) -> Value {
        loop {
            match self.0.read().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(frame) => {
                    return json!({"close": frame.map(|frame| u16::from(frame.code))});
                }
                _ => {}
            }
        }
    }

    /// The next message of a type; those before it are passed over.
    fn until(&mut self, message_type: &str) -> Value {
        loop {
            let message = self.next();
            assert_eq!(message.get("close"), None, "closed");
            if message["type"] == message_type {
                return message;
            }
        }
    }

    /// All that comes before the answer to a ping.
    fn before_pong(&mut self) -> Vec<Value> {
        self.say(json!({"type": "ping"}));
        let mut before = Vec::new();
        loop {
            match self.next() {
                message if message["type"] == "pong" => return before,
                message => before.push(message),
            }
        }
    }
}

struct CustomMessage;

impl Handler for CustomMessage {
    fn message_type(&self) -> &str {
        "custom_message"
    }

    fn handle(&mut self, ctx: &mut Ctx<'_>, message: &Inbound<'_>) -> Result<(), HandlerError> {
        let content = message.str("content")?.unwrap_or_default().into_owned();
        let work = async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            content.to_uppercase()
        };
        ctx.spawn(work, |ctx, loud| {
            let room = ctx.join("lobby")?;
            ctx.publish(&room, "custom_message", Exclude::None, |f| {
                f.str("content", &loud)
            });
            Ok(())
        });
        Ok(())
    }
}

struct Failing;

impl Handler for Failing {
    fn message_type(&self) -> &str {
        "fail"
    }

    fn handle(&mut self, _: &mut Ctx<'_>, _: &Inbound<'_>) -> Result<(), HandlerError> {
        panic!("as asked");
    }
}

fn start(shards: usize, on_user_limit: OnUserLimit) -> (Running<Realtime>, SocketAddr) {
    let app = |_| {
        let options = RealtimeOptions {
            limits: LimitOptions::without_rates(),
            ..RealtimeOptions::default()
        };
        Realtime::new(options)
            .with_gate(Arc::new(Gate::trusting()))
            .with(CustomMessage)
            .with(Failing)
    };
    let core = Options {
        on_user_limit,
        ..Options::default()
    };
    let server = Server::new(app)
        .listen("127.0.0.1:0")
        .shards(shards)
        .options(core);
    let running = server.start().unwrap();
    let address = running.addresses()[0];
    (running, address)
}

fn stop(running: Running<Realtime>) {
    running.handle().shutdown();
    running.wait();
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(work)
}

fn on_one_and_two_shards(test: impl Fn(SocketAddr, &Running<Realtime>)) {
    for shards in [1, 2] {
        let (running, address) = start(shards, OnUserLimit::Reject);
        test(address, &running);
        stop(running);
    }
}

#[test]
fn two_clients_see_each_other_come_chat_type_and_go() {
    on_one_and_two_shards(|address, _| {
        let mut ann = Client::enter(address, "ann");
        let mut bob = Client::enter(address, "bob");
        let join = ann.until("presence");
        assert_eq!(
            (&join["action"], &join["user_id"]),
            (&"join".into(), &"bob".into())
        );

        ann.say("hello");
        let heard = bob.until("chat");
        assert_eq!(
            (&heard["content"], &heard["user_id"]),
            (&"hello".into(), &"ann".into())
        );
        bob.say(json!({"type": "typing", "is_typing": true}));
        assert_eq!(ann.until("typing")["user_id"], "bob");
        bob.say(json!({"type": "chat", "content": "ho", "id": 1}));
        assert_eq!(ann.until("chat")["content"], "ho");

        bob.0.close(None).unwrap();
        let leave = ann.until("presence");
        assert_eq!(
            (&leave["action"], &leave["user_id"]),
            (&"leave".into(), &"bob".into())
        );
        assert_eq!(ann.before_pong(), [Value::Null; 0], "no echo");
    });
}

#[test]
fn an_announcement_reaches_all() {
    on_one_and_two_shards(|address, running| {
        let mut clients = ["ann", "bob", "cid"].map(|user| Client::enter(address, user));
        let handle = running.handle();
        let payload = r#"{"message":"Server maintenance in 5 minutes"}"#;
        let to_all = Mail::broadcast("announcement", payload).unwrap();
        handle.mail(ShardId(0), to_all).unwrap();
        let to_room = Mail::publish("lobby", "announcement", payload).unwrap();
        handle.mail(handle.home("lobby"), to_room).unwrap();
        for client in &mut clients {
            for _ in 0..2 {
                let told = client.until("announcement");
                assert_eq!(told["message"], "Server maintenance in 5 minutes");
            }
        }
        let stats = block_on(handle.stats()).unwrap();
        assert_eq!((stats.total_users, stats.total_connections), (3, 3));
        let rooms: usize = (0..handle.shard_count())
            .map(|shard| block_on(handle.ask(ShardId(shard), |app, _| app.stats().rooms)))
            .map(|rooms| rooms.unwrap().unwrap())
            .sum();
        assert_eq!(rooms, 1);
        let members = handle.ask(handle.home("lobby"), |app, _| app.members("lobby"));
        let members = block_on(members).unwrap().unwrap();
        let users: Vec<_> = members.users.iter().map(|member| &*member.user).collect();
        assert_eq!((members.count, users), (3, vec!["ann", "bob", "cid"]));
    });
}

#[test]
fn a_sixth_connection_of_a_user_is_refused() {
    on_one_and_two_shards(|address, running| {
        let clients: Vec<_> = (0..5).map(|_| Client::enter(address, "ann")).collect();
        assert_eq!(
            Client::try_connect(address, "/ws?user_id=ann").err(),
            Some(429)
        );
        let mut bob = Client::enter(address, "bob");
        bob.say(json!({"type": "presence", "action": "query"}));
        let users = bob.until("presence")["users"].clone();
        assert_eq!(
            (&users[0]["user_id"], &users[0]["connections"]),
            (&"ann".into(), &5.into())
        );
        drop(clients);
        assert_eq!(bob.until("presence")["action"], "leave");
        Client::enter(address, "ann");
        let stats = block_on(running.handle().stats()).unwrap();
        let refused: u64 = stats
            .shards
            .iter()
            .map(|shard| shard.counters.refused)
            .sum();
        assert_eq!(refused, 1);
    });
}

#[test]
fn the_oldest_connection_makes_room_if_so_configured() {
    for shards in [1, 2] {
        let (running, address) = start(shards, OnUserLimit::EvictOldest);
        let mut watcher = Client::enter(address, "watcher");
        let mut clients: Vec<_> = (0..6).map(|_| Client::enter(address, "ann")).collect();
        assert_eq!(clients[0].next()["close"], 4409);
        assert_eq!(clients[1].before_pong(), [Value::Null; 0]);
        assert_eq!(watcher.until("presence")["action"], "join");
        assert_eq!(
            watcher.before_pong(),
            [Value::Null; 0],
            "ann was there all the time"
        );
        drop((watcher, clients));
        stop(running);
    }
}

#[test]
fn a_handlers_work_on_the_service_thread_comes_back() {
    on_one_and_two_shards(|address, _| {
        let mut ann = Client::enter(address, "ann");
        let mut bob = Client::enter(address, "bob");
        ann.say(json!({"type": "custom_message", "content": "loud"}));
        for client in [&mut ann, &mut bob] {
            let heard = client.until("custom_message");
            assert_eq!(
                (&heard["content"], &heard["user_id"]),
                (&"LOUD".into(), &"ann".into())
            );
        }
    });
}

#[test]
fn a_panicking_handler_harms_nobody() {
    on_one_and_two_shards(|address, _| {
        let mut ann = Client::enter(address, "ann");
        let mut bob = Client::enter(address, "bob");
        ann.say(json!({"type": "fail", "id": "f"}));
        let refused = ann.until("error");
        assert_eq!(
            (&refused["code"], &refused["id"]),
            (&"handler_error".into(), &"f".into())
        );
        ann.say("alive");
        assert_eq!(bob.until("chat")["content"], "alive");
    });
}

#[test]
fn a_large_snapshot_and_many_messages_arrive_whole_and_in_order() {
    on_one_and_two_shards(|address, _| {
        let mut ann = Client::enter(address, "ann");
        let others: Vec<_> = (0..100)
            .map(|number| Client::enter(address, &format!("user-{number}")))
            .collect();
        let mut last = Client::try_connect(address, "/ws?user_id=last").unwrap();
        last.until("connection-status");
        let snapshot = last.until("presence");
        assert_eq!(
            snapshot["users"].as_array().unwrap().len(),
            others.len() + 2
        );
        let filler = "x".repeat(1000);
        for number in 0..500 {
            ann.say(json!({"type": "chat", "content": filler, "number": number}));
        }
        for number in 0..500 {
            assert_eq!(last.until("chat")["number"], number);
        }
    });
}

#[test]
fn a_shutdown_takes_leave_of_everybody() {
    for shards in [1, 2] {
        let (running, address) = start(shards, OnUserLimit::Reject);
        let mut clients = ["ann", "bob", "cid"].map(|user| Client::enter(address, user));
        running.handle().shutdown();
        for client in &mut clients {
            let close = loop {
                let message = client.next();
                if message.get("close").is_some() {
                    break message;
                }
            };
            assert_eq!(close["close"], 1001);
        }
        drop(clients);
        running.wait();
    }
}
