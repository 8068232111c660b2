//! A whole shard without a kernel: decoding, the application, encoding, the turn's sends. The gap to
//! `loopback` is the price of I/O. `shard/<operation>/<variant>/<size>`, throughput in messages,
//! deliveries, handshakes or connections.

use std::time::Duration;

use campanile::shard::{App, Event};
use campanile::ws::Opcode;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use support::paths::{Broadcast, Echo};
use support::{AT_ONCE, Bench, TEXT_64, at_full_size, frame};

/// Every connection sends one message per turn and gets `replies` back in one send.
fn exchange<A: App>(bench: &mut Bench<A>, slots: &[campanile::id::Slot], text: &mut [u8]) -> usize {
    for &slot in slots {
        bench.receive(slot, text);
    }
    let sends = bench.turn();
    assert_eq!(sends.count, slots.len());
    sends.bytes
}

fn echo(c: &mut Criterion) {
    let mut group = c.benchmark_group("shard/echo");
    let mut text = frame(Opcode::Text, TEXT_64);
    for (variant, connections) in [("text_1-connection", 1), ("text_64-connections", 64)] {
        let mut bench = Bench::new(Echo);
        let slots = bench.open(connections, AT_ONCE);
        group.throughput(Throughput::Elements(connections as u64));
        group.bench_function(BenchmarkId::new(variant, TEXT_64.len()), |b| {
            b.iter(|| exchange(&mut bench, &slots, &mut text));
        });
    }
    // Thirty-two messages of one connection in one receive buffer: what pipelining saves.
    let mut bench = Bench::new(Echo);
    let slots = bench.open(1, AT_ONCE);
    let mut texts = text.repeat(32);
    group.throughput(Throughput::Elements(32));
    group.bench_function(BenchmarkId::new("text_32-in-flight", TEXT_64.len()), |b| {
        b.iter(|| exchange(&mut bench, &slots, &mut texts));
    });
    group.finish();
}

fn publish(c: &mut Criterion) {
    let mut group = c.benchmark_group("shard/publish");
    let mut text = frame(Opcode::Text, TEXT_64);
    let mut bench = Bench::new(Broadcast);
    let slots = bench.open(32, AT_ONCE);
    group.throughput(Throughput::Elements(32 * 32));
    group.bench_function(BenchmarkId::new("text_32x32", TEXT_64.len()), |b| {
        b.iter(|| exchange(&mut bench, &slots, &mut text));
    });
    // One message to very many.
    let mut bench = Bench::new(Broadcast);
    let slots = bench.open(1000, AT_ONCE);
    group.throughput(Throughput::Elements(1000));
    group.bench_function(BenchmarkId::new("text_1x1000", TEXT_64.len()), |b| {
        b.iter(|| {
            bench.receive(slots[0], &mut text);
            let sends = bench.turn();
            assert_eq!(sends.count, 1000);
            sends
        });
    });
    group.finish();
}

/// Accept, request head, 101, close frame both ways, end of stream, slot free again.
fn connect(c: &mut Criterion) {
    let mut group = c.benchmark_group("shard/connect");
    let mut close = frame(Opcode::Close, &1000_u16.to_be_bytes());
    group.throughput(Throughput::Elements(1));
    let mut bench = Bench::new(Echo);
    group.bench_function(BenchmarkId::new("handshake-and-close", 1), |b| {
        b.iter(|| bench.come_and_go(&mut close));
    });
    assert_eq!(bench.shard.socket_count(), 0);
    bench.shard.assert_quiet();
    group.finish();
}

/// The same, and a frame from somebody, among a million users with a connection each: what their
/// maps cost when no cache holds them.
fn users(c: &mut Criterion) {
    let users = at_full_size(1_000_000);
    let mut bench = Bench::new(Echo);
    let slots = bench.open(users, AT_ONCE);
    assert_eq!(bench.shard.user_count(), users);
    let mut group = c.benchmark_group("shard/users");
    group.throughput(Throughput::Elements(1));
    let mut close = frame(Opcode::Close, &1000_u16.to_be_bytes());
    group.bench_function(BenchmarkId::new("connect-and-disconnect", users), |b| {
        b.iter(|| bench.come_and_go(&mut close));
    });
    assert_eq!(bench.shard.user_count(), users);
    let mut text = frame(Opcode::Text, TEXT_64);
    let mut at = 0;
    group.bench_function(BenchmarkId::new("echo_scattered", users), |b| {
        b.iter(|| {
            at = (at + 378_551) % users;
            bench.receive(slots[at], &mut text);
            bench.turn()
        });
    });
    group.finish();
}

/// One second of very many idle connections with keepalive on, which all answer their pings.
fn timers(c: &mut Criterion) {
    let mut group = c.benchmark_group("shard/timers");
    for connections in [1_000, at_full_size(100_000)] {
        let mut bench = Bench::new(Echo);
        // Spread over a ping period (54 s), as they would be.
        bench.open(connections, connections.div_ceil(54));
        let mut pong = frame(Opcode::Pong, b"");
        let mut pinged = Vec::new();
        group.throughput(Throughput::Elements(connections as u64));
        group.bench_function(BenchmarkId::new("keepalive_1-second", connections), |b| {
            b.iter(|| {
                bench.now = bench.now.after(Duration::from_secs(1));
                bench.handle(Event::Tick);
                bench.turn_telling(&mut pinged);
                for &slot in &pinged {
                    bench.receive(slot, &mut pong);
                }
                bench.turn();
            });
        });
        assert_eq!(bench.shard.open_count(), connections);
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(3));
    targets = echo, publish, connect, users, timers
}
criterion_main!(benches);

#[path = "support/mod.rs"]
mod support;
