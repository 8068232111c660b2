//! Messages of the realtime application, on a shard without a kernel.
//!
//! - `dispatch/<what>/<variant>/<readers>`: a whole message, unmasked, scanned, found its handler,
//!   written anew for each profile that is there, appended to the room's log, and handed out to every
//!   reader. Time per message, throughput in deliveries. What: `bare` is the core alone, which
//!   publishes as many bytes as the readers of a chat get; `chat` and `publish` say whether the room
//!   keeps its messages, or which profile everybody has, or how many profiles the readers have.
//! - `presence/<names or counts>/<members>`: somebody comes into a room of so many and leaves it. With
//!   `names` all are told who, and the newcomer who is there, which ends by default at a thousand;
//!   with `counts` they are told their number, once a second and not counted here.
//! - `registry/<operation>/<variant>/<handlers>`: the look-up by type alone, and a whole message
//!   whose handler does nothing, or that has none and is refused. Throughput in messages.

use std::hint::black_box;
use std::iter::repeat_n;
use std::sync::Arc;

use campanile::id::Slot;
use campanile::realtime::protocol::{Message, Profile};
use campanile::realtime::{Ctx, Handler, HandlerError, Realtime, Registry};
use campanile::shard::App;
use campanile::ws::Opcode;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use support::rooms::{
    Others, PUBLISH, UNTOLD, as_long_as_chat, chat_of, come_and_go, forgetful, readers, realtime,
    realtime_options, seated,
};
use support::{AT_ONCE, Bench, at_full_size, frame};

const READERS: [usize; 2] = [1, 100];

/// One message after another from the first of the connections.
fn said<A: App>(
    c: &mut Criterion,
    (group, variant): (&str, &str),
    (mut bench, slots): (Bench<A>, Vec<Slot>),
    mut text: Vec<u8>,
) {
    let readers = slots.len() - 1;
    let mut group = c.benchmark_group(format!("dispatch/{group}"));
    group.throughput(Throughput::Elements(readers as u64));
    group.bench_function(BenchmarkId::new(variant, readers), |b| {
        b.iter(|| {
            bench.receive(slots[0], black_box(&mut text));
            let sends = bench.turn();
            // In one profile the sender is told that the message was taken.
            assert!(sends.count == readers || sends.count == readers + 1);
            sends.bytes
        });
    });
    group.finish();
}

fn dispatch(c: &mut Criterion) {
    for readers_count in READERS {
        for profile in Profile::ALL {
            let everybody = || repeat_n(profile, readers_count + 1);
            let mut bench = Bench::new(Others);
            let slots = bench.open(readers_count + 1, AT_ONCE);
            let text = as_long_as_chat(profile);
            said(c, ("bare", profile.as_str()), (bench, slots), text);
            let room = seated(realtime(), everybody());
            said(c, ("chat", profile.as_str()), room, chat_of(profile));
        }
        let flat = || repeat_n(Profile::Flat, readers_count + 1);
        for (what, text) in [("chat", UNTOLD), ("publish", PUBLISH)] {
            let text = frame(Opcode::Text, text.as_bytes());
            let room = seated(realtime(), flat());
            said(c, (what, "history"), room, text.clone());
            let room = seated(forgetful(), flat());
            said(c, (what, "no-history"), room, text);
        }
    }
    for (profiles, variant) in [
        (1, "one-profile"),
        (2, "two-profiles"),
        (4, "four-profiles"),
    ] {
        for count in [4, 100] {
            let everybody = [Profile::Flat].into_iter().chain(readers(count, profiles));
            let room = seated(realtime(), everybody);
            said(c, ("chat", variant), room, chat_of(Profile::Flat));
        }
    }
}

fn presence(c: &mut Criterion) {
    let mut group = c.benchmark_group("presence");
    let sizes = [
        ("names", 100, true),
        ("names", 1000, true),
        ("counts", 1000, false),
        ("counts", 10_000, false),
        ("counts", 100_000, false),
    ];
    for (variant, members, names) in sizes {
        let members = at_full_size(members);
        let mut run = come_and_go(members, names);
        group.bench_function(BenchmarkId::new(variant, members), |b| b.iter(&mut run));
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

criterion_group!(benches, dispatch, presence, registry);
criterion_main!(benches);

#[path = "support/mod.rs"]
mod support;
