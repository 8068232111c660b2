//! The harness by itself: it tells the truth, and what is wrong it says clearly.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use super::{Received, TestServer};
use crate::auth::Gate;
use crate::realtime::protocol::Message;
use crate::realtime::{Ctx, Handler, HandlerError};
use crate::ws::CloseCode;

/// A handler of the type `do` that is a function.
struct Do<F>(F);

impl<F> Handler for Do<F>
where
    F: FnMut(&mut Ctx<'_>, &Message<'_>) -> Result<(), HandlerError> + 'static,
{
    fn message_type(&self) -> &str {
        "do"
    }

    fn handle(&mut self, ctx: &mut Ctx<'_>, message: &Message<'_>) -> Result<(), HandlerError> {
        (self.0)(ctx, message)
    }
}

fn plain() -> TestServer {
    TestServer::builder().start()
}

fn doing<F>(handle: F) -> TestServer
where
    F: FnMut(&mut Ctx<'_>, &Message<'_>) -> Result<(), HandlerError> + Clone + 'static,
{
    let builder = TestServer::builder();
    builder.handler(move || Do(handle.clone())).start()
}

/// The message of the panic that `run` must end in.
fn panic_of<T>(run: impl FnOnce() -> T) -> String {
    let panic = catch_unwind(AssertUnwindSafe(run)).err().expect("a panic");
    let text = panic.downcast_ref::<String>().cloned();
    text.unwrap_or_else(|| (*panic.downcast_ref::<&str>().expect("a text")).to_owned())
}

#[test]
fn what_is_not_there_is_a_panic_that_says_what_was() {
    let server = plain();
    let ann = server.connect("ann");
    let text = panic_of(|| ann.expect_nothing());
    assert!(text.contains("connection-status"), "{text}");
    let text = panic_of(|| ann.expect("vote"));
    assert!(
        text.contains("\"vote\"") && text.contains("snapshot"),
        "{text}"
    );
    let text = panic_of(|| ann.receive());
    assert!(
        text.contains("Client(0) has not received a message"),
        "{text}"
    );
    assert!(text.contains("connection-status"), "{text}");
    let bob = server.connect("bob");
    bob.disconnect();
    let text = panic_of(|| bob.send("hello"));
    assert!(
        text.contains("Client(1) cannot send: the connection has ended"),
        "{text}"
    );
    server.end();
}

#[test]
fn messages_are_json_or_raw_text_or_bytes() {
    let server = doing(|ctx, message| {
        ctx.reply("done", |frame| {
            frame.str("how", message.raw("how").ok().flatten().unwrap_or("-"))
        });
        Ok(())
    });
    let (ann, bob) = (server.connect("ann"), server.connect("bob"));
    server.forget();
    ann.send(json!({"type": "do", "how": [1]}));
    assert_eq!(ann.receive()["how"], "[1]");
    ann.send(r#"{"type": "do", "how": 2.0}"#);
    assert_eq!(ann.receive()["how"], "2.0");
    ann.send("no JSON at all");
    let Received::Text(text) = bob.receive_raw() else {
        panic!("chat is text");
    };
    assert!(text.contains("no JSON at all"), "{text}");
    ann.send(b"\x07\x00");
    assert_eq!(ann.receive()["type"], "error");
    for length in [125, 126, 70_000] {
        ann.send(json!({"type": "do", "how": "x".repeat(length)}).to_string());
        if length < 30_000 {
            assert_eq!(ann.receive()["how"].as_str().unwrap().len(), length + 2);
        }
    }
    assert_eq!(
        ann.closed().unwrap().0,
        1009,
        "longer than a message may be"
    );
    server.end();
}

#[test]
fn refusals_and_response_headers_can_be_looked_at() {
    let server = plain();
    let refused = server.connect_to("/nowhere", &[]).unwrap_err();
    assert_eq!(
        (refused.status, &refused.body["code"]),
        (404, &json!("not_found"))
    );
    let offered = [("Sec-WebSocket-Protocol", "campanile.flat.v1")];
    let ann = server.connect_to("/ws?user_id=ann", &offered).unwrap();
    let protocol = ann.response_header("sec-websocket-protocol");
    assert_eq!(protocol.as_deref(), Some("campanile.flat.v1"));
    assert_eq!(ann.response_header("x-none"), None);
    let odd = server.connect("a b/ü&c");
    assert_eq!(odd.receive()["user_id"], "a b/ü&c");
    server.end();

    let wary = TestServer::builder().gate(Gate::default()).start();
    let guest = wary.connect("ann").receive();
    assert!(guest["user_id"].as_str().unwrap().starts_with("guest-"));
    wary.end();
}

#[test]
fn both_sides_can_close_and_either_can_vanish() {
    let server = doing(|ctx, _| {
        ctx.close(CloseCode::NORMAL, "enough");
        Ok(())
    });
    let [ann, bob, cid] = ["ann", "bob", "cid"].map(|user| server.connect(user));
    server.forget();
    assert_eq!(ann.closed(), None);
    ann.send(json!({"type": "do"}));
    assert_eq!(ann.closed(), Some((1000, "enough".to_owned())));
    bob.close(1000, "bye");
    assert_eq!(bob.closed().map(|(code, _)| code), Some(1000));
    assert_eq!(cid.receive_all_of("presence").len(), 2);
    cid.disconnect();
    assert_eq!(server.counters().closed, 3);
    assert_eq!(cid.closed(), None, "the server had no part in it");
    server.end();
}

#[test]
fn what_is_written_happens_when_the_server_runs() {
    let server = plain();
    let (ann, bob) = (server.connect("ann"), server.connect("bob"));
    server.forget();
    ann.write("one");
    ann.write("two");
    ann.hang_up();
    bob.expect_nothing();
    server.run();
    let heard = bob.receive_all();
    let contents: Vec<&Value> = heard.iter().map(|message| &message["content"]).collect();
    assert_eq!(contents[..2], ["one", "two"]);
    assert_eq!(heard[2]["action"], "leave");
    server.end();
}

#[test]
fn timers_in_spawned_work_pass_with_the_servers_time() {
    let server = doing(|ctx, message| {
        let seconds: u64 = message.raw("seconds")?.unwrap_or("0").parse()?;
        // A timer is made inside of work: the shard's thread has no runtime.
        let work = async move { tokio::time::sleep(Duration::from_secs(seconds)).await };
        ctx.spawn(work, move |ctx, ()| {
            ctx.reply("woken", |frame| frame.number("seconds", seconds));
            Ok(())
        });
        Ok(())
    });
    let ann = server.connect("ann");
    server.forget();
    for seconds in [7, 3, 5, 0] {
        ann.send(json!({"type": "do", "seconds": seconds}));
    }
    assert_eq!(ann.receive()["seconds"], 0);
    let began = server.unix_ms();
    for seconds in [3, 5, 7] {
        server.advance(Duration::from_millis(1_999));
        ann.expect_nothing();
        server.advance(Duration::from_millis(if seconds == 3 { 1_001 } else { 1 }));
        assert_eq!(ann.receive()["seconds"], seconds);
        assert_eq!(server.unix_ms() - began, seconds * 1_000);
    }
    server.end();
}

#[test]
fn work_that_waits_for_io_is_waited_for_and_no_timeout_fires_meanwhile() {
    const ROUND_TRIPS: u64 = 20;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let far = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        may_go.recv().unwrap();
        for _ in 0..ROUND_TRIPS {
            let mut asked = [0];
            socket.read_exact(&mut asked).unwrap();
            socket.write_all(&asked).unwrap();
        }
    });
    let server = doing(move |ctx, _| {
        let fetch = async move {
            let mut socket = tokio::net::TcpStream::connect(address).await?;
            let mut trips = 0;
            while trips < ROUND_TRIPS {
                socket.write_all(&[7]).await?;
                trips += u64::from(socket.read_u8().await? == 7);
            }
            Ok::<_, std::io::Error>(trips)
        };
        let work = async { tokio::time::timeout(Duration::from_millis(1), fetch).await };
        ctx.spawn(work, |ctx, fetched| {
            let trips = fetched??;
            ctx.reply("fetched", |frame| frame.number("trips", trips));
            Ok(())
        });
        Ok(())
    });
    let ann = server.connect("ann");
    server.forget();
    ann.send(json!({"type": "do"}));
    ann.expect_nothing();
    go.send(()).unwrap();
    assert_eq!(ann.receive()["trips"], ROUND_TRIPS);
    far.join().unwrap();
    server.end();
}

#[test]
fn work_that_panics_is_answered_and_work_of_who_is_gone_is_not() {
    let (told, answer) = oneshot::channel::<u32>();
    let answer = Arc::new(Mutex::new(Some(answer)));
    let server = doing(move |ctx, _| {
        let answer = answer.lock().unwrap().take();
        let work = async { answer.expect("only once").await.expect("somebody tells") };
        ctx.spawn(work, |_, _| panic!("nobody is there"));
        Ok(())
    });
    let (ann, bob) = (server.connect("ann"), server.connect("bob"));
    server.forget();
    ann.send(json!({"type": "do"}));
    bob.send(json!({"type": "do", "id": 1}));
    let failed = bob.receive();
    assert_eq!(
        (&failed["code"], &failed["id"]),
        (&json!("handler_error"), &json!(1))
    );
    ann.disconnect();
    told.send(7).unwrap();
    server.finish_work();
    let panics: u64 = (0..2)
        .map(|shard| server.app(shard).stats().counts.handler_panics)
        .sum();
    assert_eq!(panics, 1, "bob's");
    server.end();
}

#[test]
fn a_frozen_client_gets_it_all_when_it_thaws_and_is_closed_if_it_never_does() {
    let server = plain();
    let [ann, bob, cid] = ["ann", "bob", "cid"].map(|user| server.connect(user));
    server.forget();
    bob.freeze();
    for number in 0..20 {
        ann.send(number.to_string());
    }
    bob.expect_nothing();
    assert!(server.counters().short_sends > 0);
    bob.thaw();
    let heard = bob.receive_all();
    let contents: Vec<&str> = heard
        .iter()
        .map(|message| message["content"].as_str().unwrap())
        .collect();
    let sent: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    assert_eq!(contents, sent);

    bob.freeze();
    ann.send("are you there?");
    server.advance(Duration::from_secs(30));
    assert_eq!(server.counters().too_slow, 1);
    let left = cid.receive_all_of("presence");
    assert_eq!(
        (&left[0]["action"], &left[0]["user_id"]),
        (&json!("leave"), &json!("bob"))
    );
    server.end();
}

#[test]
fn idle_clients_answer_pings_and_stay() {
    let server = plain();
    let (ann, bob) = (server.connect("ann"), server.connect("bob"));
    server.advance(Duration::from_secs(600));
    server.forget();
    ann.send("still here");
    assert_eq!(bob.receive()["content"], "still here");
    assert_eq!(server.counters().timed_out, 0);
    server.end();
}

#[test]
fn the_same_test_does_the_same_and_another_seed_another() {
    let run = |seed| {
        let server = TestServer::builder().shards(3).seed(seed).start();
        let clients: Vec<_> = (0..5)
            .map(|n| server.connect(&format!("user-{n}")))
            .collect();
        for client in &clients {
            client.write(json!({"type": "chat", "content": "hi", "room_id": "den"}));
        }
        server.advance(Duration::from_secs(2));
        let heard: Vec<_> = clients.iter().map(super::Client::receive_all).collect();
        server.end();
        heard
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn names_are_found_for_every_shard_and_shards_can_be_asked() {
    let server = TestServer::builder().shards(3).start();
    for shard in 0..3 {
        let user = server.name_at("user", shard);
        assert_eq!(server.home(&user), shard);
        let client = server.connect(&user);
        let asked = server.ask(shard, |_, context| context.shard().0);
        assert_eq!(asked, shard);
        client.expect("presence");
    }
    let room = server.home("lobby");
    assert_eq!(server.app(room).members("lobby").count, 3);
    let told = crate::realtime::Mail::publish("lobby", "notice", "{}").unwrap();
    server.forget();
    let last = server.connect("last");
    server.mail(room, told);
    let told = last.expect("notice");
    assert_eq!(
        (&told["room_id"], told.get("user_id")),
        (&json!("lobby"), None)
    );
    server.end();
}
