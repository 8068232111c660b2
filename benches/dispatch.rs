//! Messages of the realtime application, on a shard without a kernel.
//!
//! - `dispatch/chat/flat/<members>`: a whole chat message, unmasked, scanned, found its handler,
//!   written anew, appended to the room's log, and handed out to every other member. Throughput in
//!   deliveries, time per message.
//! - `registry/<operation>/<variant>/<handlers>`: the look-up by type alone, and a whole message
//!   whose handler does nothing, or that has none and is refused. Throughput in messages.

use std::hint::black_box;
use std::sync::Arc;

use campanile::realtime::protocol::Message;
use campanile::realtime::{Ctx, Handler, HandlerError, Realtime, Registry};
use campanile::ws::Opcode;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use support::paths::{CHAT, realtime, realtime_options};
use support::{AT_ONCE, Bench, frame};

fn chat(c: &mut Criterion) {
    let mut group = c.benchmark_group("dispatch/chat/flat");
    for members in [2, 100, 10_000] {
        let mut bench = Bench::new(realtime());
        let slots = bench.open(members, AT_ONCE);
        let mut text = frame(Opcode::Text, CHAT.as_bytes());
        group.throughput(Throughput::Elements(members as u64 - 1));
        group.bench_function(BenchmarkId::from_parameter(members), |b| {
            b.iter(|| {
                bench.receive(slots[0], black_box(&mut text));
                let sends = bench.turn();
                assert_eq!(sends.count, members - 1, "all but the sender");
                sends.bytes
            });
        });
    }
    group.finish();
}

/// A handler of a type of its own that does nothing.
struct Nothing(String);

impl Handler for Nothing {
    fn message_type(&self) -> &str {
        &self.0
    }

    fn handle(&mut self, _: &mut Ctx<'_>, _: &Message<'_>) -> Result<(), HandlerError> {
        Ok(())
    }
}

/// So many handlers, `game.move-0` and so on.
fn handlers(count: usize) -> Registry {
    let mut registry = Registry::empty();
    for number in 0..count {
        registry.register(Nothing(format!("game.move-{number}")));
    }
    registry
}

const KNOWN: &str = "game.move-7";
const UNKNOWN: &str = "game.move-x";

fn registry(c: &mut Criterion) {
    for count in [10, 100] {
        let registry = handlers(count);
        let mut group = c.benchmark_group("registry/lookup");
        group.throughput(Throughput::Elements(1));
        for (variant, name, is_there) in [("known", KNOWN, true), ("unknown", UNKNOWN, false)] {
            group.bench_function(BenchmarkId::new(variant, count), |b| {
                b.iter(|| assert_eq!(registry.contains(black_box(name)), is_there));
            });
        }
        group.finish();

        let app = Realtime::with_registry(Arc::new(realtime_options()), registry);
        let mut bench = Bench::new(app);
        let slots = bench.open(1, AT_ONCE);
        let mut group = c.benchmark_group("registry/message");
        group.throughput(Throughput::Elements(1));
        for (variant, name, replies) in [("known", KNOWN, 0), ("unknown", UNKNOWN, 1)] {
            let text = format!(r#"{{"type":"{name}","id":"c-118","x":3,"y":4}}"#);
            let mut text = frame(Opcode::Text, text.as_bytes());
            group.bench_function(BenchmarkId::new(variant, count), |b| {
                b.iter(|| {
                    bench.receive(slots[0], black_box(&mut text));
                    assert_eq!(bench.turn().count, replies);
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, chat, registry);
criterion_main!(benches);

#[path = "support/mod.rs"]
mod support;
