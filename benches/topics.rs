//! The topic log and its fan-out, without a kernel: `topics/flush/<encoding>_<messages>/<subscribers>`
//! and `topics/append/<variant>/<bytes>`. Throughput in deliveries and in messages.
//!
//! A flush is a whole turn: the messages are published, every subscriber is handed its one send, and
//! the log lets go of what all have.

use std::hint::black_box;
use std::time::Duration;

use campanile::shard::log::{ChunkPool, Log};
use campanile::shard::{App, Event, Mail, Message, Socket};
use campanile::ws::{Opcode, frame_into, server_header_bytes};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use support::{Bench, TEXT_64};

const TOPIC: &str = "everybody";
/// Connections that open in one second of the pretend clock: all of them.
const AT_ONCE: usize = usize::MAX;

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
    for subscribers in [10, 1_000, 100_000] {
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
