//! Reading and writing messages. Groups `json/<operation>/<variant>/<bytes>`.
//!
//! `scan` is what the server does with every inbound text. The others are what it could do instead:
//! typed `serde_json` and `sonic-rs`, and a lazy `get`, which does not validate what follows its
//! hit. Only `scan` refuses lone surrogates and nesting without end.

use std::hint::black_box;

use campanile::realtime::protocol::{
    Body, Id, Inbound, Message, MessageId, Outbound, Profile, Timestamp, scan, write_string,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde::Deserialize;
use sonic_rs::LazyValue;

/// What typed parsers are asked for; other members are skipped over.
#[derive(Deserialize)]
#[expect(dead_code, reason = "read by the optimiser's imagination only")]
struct Typed<'a> {
    #[serde(borrow, rename = "type")]
    message_type: &'a str,
    #[serde(borrow)]
    room_id: Option<&'a str>,
    #[serde(borrow)]
    content: std::borrow::Cow<'a, str>,
}

/// A flat chat of exactly so many bytes; `with_escapes` puts one into every 16.
fn chat(bytes: usize, with_escapes: bool) -> String {
    let frame = |content: &str| {
        format!(r#"{{"type":"chat","room_id":"lobby","id":"12","content":"{content}"}}"#)
    };
    let unit = if with_escapes {
        r"hello, there! \n"
    } else {
        "hello, everybody"
    };
    let room = bytes - frame("").len();
    let content = unit.repeat(room / unit.len()) + &"x".repeat(room % unit.len());
    let text = frame(&content);
    assert_eq!(text.len(), bytes);
    text
}

fn one(text: &str) -> Message<'_> {
    match scan(text, Profile::Flat) {
        Ok(Inbound::One(message)) => message,
        other => panic!("not one message: {other:?}"),
    }
}

fn reading(criterion: &mut Criterion) {
    for bytes in [65, 256, 4096] {
        let text = chat(bytes, false);
        let escaped = chat(bytes, true);
        let mut group = criterion.benchmark_group("json/scan");
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("ours/{bytes}"), |b| {
            b.iter(|| scan(black_box(&text), Profile::Flat).is_ok());
        });
        group.bench_function(format!("ours-escaped/{bytes}"), |b| {
            b.iter(|| scan(black_box(&escaped), Profile::Flat).is_ok());
        });
        group.bench_function(format!("ours-and-content/{bytes}"), |b| {
            b.iter(|| {
                one(black_box(&text))
                    .str("content")
                    .map(|content| content.map(|c| c.len()))
            });
        });
        group.bench_function(format!("serde-json-typed/{bytes}"), |b| {
            b.iter(|| serde_json::from_str::<Typed<'_>>(black_box(&text)).is_ok());
        });
        group.bench_function(format!("sonic-typed/{bytes}"), |b| {
            b.iter(|| sonic_rs::from_str::<Typed<'_>>(black_box(&text)).is_ok());
        });
        group.bench_function(format!("sonic-iterator/{bytes}"), |b| {
            b.iter(|| {
                let members = sonic_rs::to_object_iter(black_box(text.as_str()));
                members.filter(Result::is_ok).count()
            });
        });
        group.bench_function(format!("sonic-get-unvalidated/{bytes}"), |b| {
            b.iter(|| {
                let value: LazyValue<'_> =
                    sonic_rs::get(black_box(text.as_str()), ["type"]).expect("present");
                value.as_raw_str().len()
            });
        });
        group.finish();
    }
}

fn writing(criterion: &mut Criterion) {
    for bytes in [65, 256, 4096] {
        let text = chat(bytes, false);
        let content = "hello, everybody\n".repeat(bytes / 17 + 1)[..bytes].to_owned();
        let message = one(&text);
        let at = Timestamp::new(1_795_227_149_123);
        let mut out = Vec::with_capacity(2 * bytes + 256);
        let mut group = criterion.benchmark_group("json/write");
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("chat/{bytes}"), |b| {
            b.iter(|| {
                out.clear();
                let id = MessageId::new(black_box(1_795_227_149_123), 7);
                let chat = message.chat().expect("a chat");
                let outbound = Outbound {
                    message_type: "chat",
                    id: Some(Id::Message(id)),
                    room: Some("lobby"),
                    user: Some("42"),
                    at,
                    position: None,
                    body: Body::Chat {
                        object: &chat.object,
                        text: chat.text,
                        recipients: &[],
                    },
                };
                outbound.write(Profile::Flat, &mut out);
                out.len()
            });
        });
        group.bench_function(format!("string-ours/{bytes}"), |b| {
            b.iter(|| {
                out.clear();
                write_string(&mut out, black_box(&content));
                out.len()
            });
        });
        group.bench_function(format!("string-serde-json/{bytes}"), |b| {
            b.iter(|| {
                out.clear();
                serde_json::to_writer(&mut out, black_box(&content))
                    .map(|()| out.len())
                    .ok()
            });
        });
        group.bench_function(format!("string-sonic/{bytes}"), |b| {
            b.iter(|| {
                out.clear();
                sonic_rs::to_writer(&mut out, black_box(&content))
                    .map(|()| out.len())
                    .ok()
            });
        });
        group.finish();
    }
    criterion.bench_function("json/stamp/timestamp/24", |b| {
        b.iter(|| Timestamp::new(black_box(1_795_227_149_123)));
    });
    criterion.bench_function("json/stamp/message-id/36", |b| {
        let mut out = Vec::with_capacity(64);
        b.iter(|| {
            out.clear();
            MessageId::new(black_box(1_795_227_149_123), 7).write(&mut out);
            out.len()
        });
    });
}

criterion_group!(benches, reading, writing);
criterion_main!(benches);
