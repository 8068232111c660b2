//! The topic log and its fan-out, without a kernel: `topics/flush/<encoding>_<messages>/<subscribers>`
//! and `topics/append/<variant>/<bytes>`. Throughput in deliveries and in messages.
//!
//! A flush is a whole turn: the messages are published, every subscriber is handed its one send, and
//! the log lets go of what all have. In `laggards` one socket in a hundred takes half of it, is written
//! the rest by a send of its own, and catches up in the next turn.

use std::hint::black_box;
use std::time::Duration;

use campanile::shard::log::{ChunkPool, Log};
use campanile::shard::{App, Event, Mail, Message, Socket};
use campanile::ws::{Opcode, frame_into, server_header_bytes};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use support::{AT_ONCE, Bench, TEXT_64, at_full_size};

const TOPIC: &str = "everybody";

struct Subscribers;

impl App for Subscribers {
    type Data = ();
    type Mail = u32;

    fn open(&mut self, socket: &mut Socket<'_, Self>) {
        let _ = socket.subscribe(TOPIC);
    }

    fn message(&mut self, _: &mut Socket<'_, Self>, _: Message<'_>) {}

    /// Publishes so many messages.
    fn mail(&mut self, context: &mut campanile::Context<'_, Self>, messages: u32) {
        for _ in 0..messages {
            context.publish(TOPIC, Message::Binary(black_box(TEXT_64)), None);
        }
    }
}

fn flush(c: &mut Criterion) {
    let mut group = c.benchmark_group("topics/flush");
    for subscribers in [10, 1_000, at_full_size(100_000)] {
        let mut bench = Bench::new(Subscribers);
        bench.open(subscribers, AT_ONCE);
        for messages in [1, 16] {
            let deliveries = subscribers as u64 * u64::from(messages);
            group.throughput(Throughput::Elements(deliveries));
            let id = BenchmarkId::new(format!("plain_{messages}"), subscribers);
            group.bench_function(id, |b| {
                b.iter(|| {
                    bench.handle(Event::Mail(Mail::App(messages)));
                    let sends = bench.turn();
                    assert_eq!(sends.count, subscribers);
                    sends
                });
            });
        }
        if subscribers > 10 {
            group.throughput(Throughput::Elements(subscribers as u64));
            let id = BenchmarkId::new("laggards-1-percent_1", subscribers);
            group.bench_function(id, |b| {
                b.iter(|| {
                    bench.handle(Event::Mail(Mail::App(1)));
                    let sends = bench.turn_short(100);
                    assert_eq!(sends.count, subscribers);
                    sends
                });
            });
            assert!(bench.shard.counters().short_sends > 0);
        }
    }
    group.finish();
}

/// Messages appended and let go of per iteration, as in a busy turn.
const APPENDED: usize = 256;

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("topics/append");
    for bytes in [64, 1024, 16 * 1024] {
        let payload = vec![b'x'; bytes];
        let frame_bytes = server_header_bytes(bytes) + bytes;
        let (mut log, mut pool) = (Log::default(), ChunkPool::default());
        group.throughput(Throughput::Elements(APPENDED as u64));
        group.bench_function(BenchmarkId::new("log", bytes), |b| {
            b.iter(|| {
                for _ in 0..APPENDED {
                    log.append(&mut pool, frame_bytes, |out| {
                        frame_into(out, Opcode::Binary, black_box(&payload));
                    });
                }
                let head = log.head();
                log.trim(&mut pool, head, 0);
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(3));
    targets = append, flush
}
criterion_main!(benches);

#[path = "support/mod.rs"]
mod support;
