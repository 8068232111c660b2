//! `load http-publish`: connections that publish over HTTP with keep-alive, and subscribers of the topic.
//!
//! One thread, a task for each connection: what is measured is the server's one service thread, which a ring
//! would not load any more than this does.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use campanile::id::Slot;
use hdrhistogram::Histogram;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep, timeout};

use super::HttpPublishArgs;
use super::clock::Origin;
use super::crowd::{Reading, pin};
use super::fault::Fault;
use super::frames::{self, Fragments, Incoming, Unfit};
use super::handshake::{HEAD_BYTES_MAX, Handshakes};
use super::latency::{Published, histogram};
use super::report::Report;

/// How long the last messages may take to reach the subscribers.
const FINISH: Duration = Duration::from_secs(20);
/// How often it is looked whether they have.
const LOOK: Duration = Duration::from_millis(5);
/// Largest answer, and largest message of a subscriber, bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
const FIELDS_MAX: usize = 32;
const READ_BYTES: usize = 16 << 10;
/// What every frame of a publication begins with, and what tells its place.
const PUBLICATION: &[u8] = br#"{"type":"publish""#;
const OFFSET: &str = r#""offset":"#;

/// Runs the mode.
pub(crate) fn run(args: &HttpPublishArgs, report: &mut Report) -> Result<(), Fault> {
    if let Some(core) = args.core {
        pin(core);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let load = LocalSet::new();
    let what = "everything is published and heard";
    let done = load.block_on(&runtime, async {
        timeout(args.watch.timeout, measure(args, report)).await
    });
    done.unwrap_or(Err(Fault::Timeout { what }))
}

/// What the tasks share.
struct Board {
    origin: Origin,
    is_over: Cell<bool>,
    requests: Cell<u64>,
    deliveries: Cell<u64>,
    /// The newest offset that a request was answered with.
    offset: Cell<u64>,
    /// Subscribers who have heard the message of that offset, and those before it.
    heard: RefCell<Vec<u64>>,
    latencies: RefCell<Histogram<u64>>,
    longest_us: Cell<u64>,
}

async fn measure(args: &HttpPublishArgs, report: &mut Report) -> Result<(), Fault> {
    let board = Rc::new(Board {
        origin: Origin::now(),
        is_over: Cell::new(false),
        requests: Cell::new(0),
        deliveries: Cell::new(0),
        offset: Cell::new(0),
        heard: RefCell::new(Vec::new()),
        latencies: RefCell::new(histogram()),
        longest_us: Cell::new(0),
    });
    let address = args.url.resolve().map_err(Fault::Impossible)?;
    let mut subscribers = subscribe(args, address, &board).await?;
    let request = request(args);
    let mut publishers = JoinSet::new();
    for client in 0..args.connections {
        let (board, request) = (Rc::clone(&board), request.clone());
        publishers.spawn_local(publish(address, request, client, board));
    }
    rest(args.warm_up, &mut publishers, &mut subscribers).await?;
    board.latencies.borrow_mut().reset();
    board.longest_us.set(0);
    let reading = || Reading::take(board.origin, args.watch.server_pid, args.watch.server_core);
    let counts = || (board.requests.get(), board.deliveries.get());
    let (began, before) = (reading()?, counts());
    rest(args.duration, &mut publishers, &mut subscribers).await?;
    let (ended, after) = (reading()?, counts());
    board.is_over.set(true);
    while let Some(ended) = publishers.join_next().await {
        ended.expect("a publisher does not panic")?;
    }
    arrive(&board, &mut subscribers).await?;
    let passed = began.until(&ended);
    let requests = (after.0 - before.0) as f64;
    report.count("connections", u64::from(args.connections));
    report.count("subscribers", u64::from(args.subscribers));
    report.number("warm_up_s", args.warm_up.as_secs_f64());
    report.number("duration_s", args.duration.as_secs_f64());
    report.number("requests", requests);
    report.number("requests_per_s", requests / passed.wall_us * 1e6);
    report.count("deliveries", after.1 - before.1);
    let server_us = passed.server_us.map(|us| us / requests);
    report.perhaps("server_cpu_us_per_request", server_us);
    let core_us = passed.core_us.map(|us| us / requests);
    report.perhaps("core_busy_us_per_request", core_us);
    report.shares(&passed);
    report.latencies(&Published {
        measured: board.latencies.borrow().clone(),
        longest_us: board.longest_us.get(),
        ..Published::new()
    });
    Ok(())
}

/// Lets time pass, unless a task ends before its time.
async fn rest(
    duration: Duration,
    publishers: &mut JoinSet<Result<(), Fault>>,
    subscribers: &mut JoinSet<Result<(), Fault>>,
) -> Result<(), Fault> {
    let ended = tokio::select! {
        () = sleep(duration) => return Ok(()),
        Some(ended) = publishers.join_next() => ended,
        Some(ended) = subscribers.join_next() => ended,
    };
    ended.expect("a connection does not panic")
}

/// Waits until every subscriber has heard the last message.
async fn arrive(board: &Board, subscribers: &mut JoinSet<Result<(), Fault>>) -> Result<(), Fault> {
    let last = board.offset.get();
    let all = async {
        while board.heard.borrow().iter().any(|heard| *heard < last) {
            sleep(LOOK).await;
        }
    };
    tokio::select! {
        arrived = timeout(FINISH, all) => arrived.map_err(|_late| {
            let heard = board.heard.borrow();
            Fault::Lost {
                received: heard.iter().sum(),
                expected: last * heard.len() as u64,
                seconds: FINISH.as_secs(),
            }
        }),
        Some(ended) = subscribers.join_next() => ended.expect("a subscriber does not panic"),
    }
}

// ---- publishers ----

fn request(args: &HttpPublishArgs) -> Vec<u8> {
    let text = "x".repeat(args.size as usize);
    let body = serde_json::json!({ "topic": args.topic, "data": { "text": text } }).to_string();
    let token = args.token.as_ref();
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    format!(
        "POST /api/v1/publish HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n{}\
         Content-Length: {}\r\n\r\n{body}",
        args.url.authority,
        token.unwrap_or_default(),
        body.len()
    )
    .into_bytes()
}

/// What is looked at of an answer.
#[derive(Deserialize)]
struct Answer {
    offset: u64,
}

/// Publishes one message after the other until it is over.
async fn publish(
    address: SocketAddr,
    request: Vec<u8>,
    client: u32,
    board: Rc<Board>,
) -> Result<(), Fault> {
    let failed = |error| Fault::Socket { client, error };
    let rejected = |what: String| Fault::Rejected { client, what };
    let mut stream = TcpStream::connect(address).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let mut bytes = Vec::with_capacity(READ_BYTES);
    let mut last = 0;
    while !board.is_over.get() {
        let began_us = board.origin.us();
        stream.write_all(&request).await.map_err(failed)?;
        bytes.clear();
        let body = loop {
            if stream.read_buf(&mut bytes).await.map_err(failed)? == 0 {
                return Err(Fault::Ended { client });
            }
            if let Some(body) = body(&bytes).map_err(rejected)? {
                break body;
            }
        };
        let took_us = board.origin.us() - began_us;
        let answer: Answer =
            serde_json::from_slice(body).map_err(|error| rejected(error.to_string()))?;
        if answer.offset <= last {
            let what = format!("offset {} after {last}", answer.offset);
            return Err(Fault::Corrupt { client, what });
        }
        last = answer.offset;
        board.offset.set(board.offset.get().max(last));
        board.requests.set(board.requests.get() + 1);
        let mut latencies = board.latencies.borrow_mut();
        latencies.saturating_record(took_us.max(1));
        board.longest_us.set(board.longest_us.get().max(took_us));
    }
    Ok(())
}

/// The body of an answer of status 200, once all of it is there. Errors: any other answer.
fn body(bytes: &[u8]) -> Result<Option<&[u8]>, String> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response.parse(bytes).map_err(|error| error.to_string())?;
    let httparse::Status::Complete(head_bytes) = parsed else {
        return match bytes.len() {
            ..=HEAD_BYTES_MAX => Ok(None),
            _ => Err("the answer's head has no end".to_owned()),
        };
    };
    let mut fields = response.headers.iter();
    let length = fields.find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|field| std::str::from_utf8(field.value).ok()?.parse().ok());
    let length: usize = length.ok_or("the answer does not tell its length")?;
    if length > ANSWER_BYTES_MAX {
        return Err(format!("an answer of {length} bytes"));
    }
    let Some(body) = bytes.get(head_bytes..head_bytes + length) else {
        return Ok(None);
    };
    if response.code == Some(200) && bytes.len() == head_bytes + length {
        return Ok(Some(body));
    }
    Err(String::from_utf8_lossy(bytes).into_owned())
}

// ---- subscribers ----

/// Connects and subscribes them, one after the other.
async fn subscribe(
    args: &HttpPublishArgs,
    address: SocketAddr,
    board: &Rc<Board>,
) -> Result<JoinSet<Result<(), Fault>>, Fault> {
    if args.url.is_secure {
        let what = "publish is measured over ws:// only, without TLS";
        return Err(Fault::Impossible(what.to_owned()));
    }
    let handshakes =
        Handshakes::new(&args.url, None, None, &[], None).map_err(Fault::Impossible)?;
    let mut tasks = JoinSet::new();
    for client in 0..args.subscribers {
        let stream = TcpStream::connect(address).await;
        let stream = stream.map_err(|error| Fault::Socket { client, error })?;
        let mut subscriber = Subscriber {
            client,
            stream,
            bytes: Vec::with_capacity(READ_BYTES),
            fragments: Fragments::default(),
        };
        subscriber.open(&handshakes).await?;
        subscriber.enter(&args.topic).await?;
        board.heard.borrow_mut().push(0);
        let board = Rc::clone(board);
        tasks.spawn_local(async move { subscriber.listen(&board).await });
    }
    Ok(tasks)
}

struct Subscriber {
    client: u32,
    stream: TcpStream,
    /// What was read and is not cut up yet.
    bytes: Vec<u8>,
    fragments: Fragments,
}

impl Subscriber {
    async fn read(&mut self) -> Result<(), Fault> {
        let read = self.stream.read_buf(&mut self.bytes).await;
        match read.map_err(|error| self.failed(error))? {
            0 => Err(Fault::Ended {
                client: self.client,
            }),
            _ => Ok(()),
        }
    }

    fn failed(&self, error: io::Error) -> Fault {
        Fault::Socket {
            client: self.client,
            error,
        }
    }

    async fn open(&mut self, handshakes: &Handshakes) -> Result<(), Fault> {
        let mut request = Vec::new();
        handshakes.request_into(&mut request, self.client, 0);
        let sent = self.stream.write_all(&request).await;
        sent.map_err(|error| self.failed(error))?;
        loop {
            self.read().await?;
            let client = self.client;
            let checked = handshakes.check(&self.bytes, client);
            if let Some(head_bytes) = checked.map_err(|what| Fault::Handshake { client, what })? {
                self.bytes.drain(..head_bytes);
                return Ok(());
            }
        }
    }

    /// Sends one frame, at most 125 bytes of payload. Masked with nothing, which is a mask as well.
    async fn send(&mut self, opcode: u8, payload: &[u8]) -> Result<(), Fault> {
        let length = u8::try_from(payload.len()).expect("a control frame or a short text");
        assert!(length < 126, "longer frames have another header");
        let mut frame = vec![0x80 | opcode, 0x80 | length, 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        let sent = self.stream.write_all(&frame).await;
        sent.map_err(|error| self.failed(error))
    }

    /// Subscribes, and waits until it is.
    async fn enter(&mut self, topic: &str) -> Result<(), Fault> {
        let subscribe = serde_json::json!({ "type": "subscribe", "id": 1, "topic": topic });
        self.send(1, subscribe.to_string().as_bytes()).await?;
        let mut is_in = false;
        while !is_in {
            self.read().await?;
            self.texts(|text| {
                is_in |= text.starts_with(br#"{"type":"subscribed""#);
                match text.starts_with(br#"{"type":"error""#) {
                    true => Err(String::from_utf8_lossy(text).into_owned()),
                    false => Ok(()),
                }
            })
            .await?;
        }
        Ok(())
    }

    /// Hears all messages from the first on, in their order.
    async fn listen(mut self, board: &Board) -> Result<(), Fault> {
        let place = self.client as usize;
        loop {
            self.read().await?;
            let mut last = board.heard.borrow()[place];
            let mut heard = 0;
            self.texts(|text| {
                if !text.starts_with(PUBLICATION) {
                    return Ok(());
                }
                match offset(text) {
                    Some(offset) if offset == last + 1 => last = offset,
                    offset => return Err(format!("offset {offset:?} after {last}")),
                }
                heard += 1;
                Ok(())
            })
            .await?;
            board.heard.borrow_mut()[place] = last;
            board.deliveries.set(board.deliveries.get() + heard);
        }
    }

    /// Cuts what has come into messages, answers pings. Errors: what `each` says is wrong with one.
    async fn texts(
        &mut self,
        mut each: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), Fault> {
        let client = self.client;
        let mut used = 0;
        let mut pongs: Vec<Vec<u8>> = Vec::new();
        while let Some((header, header_bytes, frame_bytes)) =
            frames::header(&self.bytes[used..], ANSWER_BYTES_MAX).map_err(|it| unfit(client, it))?
        {
            let Some(payload) = self.bytes.get(used + header_bytes..used + frame_bytes) else {
                break;
            };
            used += frame_bytes;
            let taken = (self.fragments).take(Slot(client), header, payload, ANSWER_BYTES_MAX);
            match taken.map_err(|it| unfit(client, it))? {
                Incoming::Text(text) => {
                    each(text).map_err(|what| Fault::Corrupt { client, what })?;
                }
                Incoming::Ping(payload) => pongs.push(payload.to_vec()),
                Incoming::Close(payload) => {
                    let close = String::from_utf8_lossy(payload).into_owned();
                    return Err(Fault::Closed { client, close });
                }
                Incoming::Binary | Incoming::Nothing => {}
            }
        }
        self.bytes.drain(..used);
        for pong in pongs {
            self.send(0xA, &pong).await?;
        }
        Ok(())
    }
}

fn unfit(client: u32, unfit: Unfit) -> Fault {
    match unfit {
        Unfit::Violation(violation) => Fault::Frame { client, violation },
        Unfit::TooBig(bytes) => Fault::TooBig { client, bytes },
    }
}

/// A publication's place in its topic.
fn offset(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let (_, rest) = text.split_once(OFFSET)?;
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    rest[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_body_is_and_must_be_a_success() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(body(whole), Ok(Some(&b"{}"[..])));
        for cut in 0..whole.len() {
            assert_eq!(body(&whole[..cut]), Ok(None), "{cut}");
        }
        for wrong in [
            "HTTP/1.1 429 Too Many Requests\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}{}",
            "HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n",
            "SSH-2.0-x\r\n\r\n",
        ] {
            assert!(body(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_publication_tells_its_place() {
        let text = br#"{"type":"publish","id":"a","offset":17,"data":{"text":"xx"}}"#;
        assert_eq!(offset(text), Some(17));
        assert_eq!(offset(br#"{"type":"publish"}"#), None);
    }
}
