//! Containers at a million entries: `timers/<operation>/<variant>/<armed>` and
//! `slab/<operation>/<variant>/<entries>`. Throughput in checks and in entries.
//!
//! The wheel is lazy: a connection that is busy re-arms its timer by writing one integer of its own,
//! and one that closes leaves its check to find nobody. What is left to measure is asking for a
//! check, and a second's worth of checks that come due and are asked for again.

use std::hint::black_box;
use std::time::Duration;

use campanile::collections::{Slab, TimerWheel};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use support::at_full_size;

/// Seconds over which the timers are spread: the default ping period.
const PERIOD_S: u32 = 54;

/// A million, as a count and as the end of a range of indices.
fn million() -> (u64, u32) {
    let count = u32::try_from(at_full_size(1_000_000)).expect("a million");
    (count.into(), count)
}

/// A wheel that stands at second 0 with so many timers, spread evenly.
fn armed(count: u32) -> TimerWheel<u32> {
    let mut wheel = TimerWheel::new(0);
    for owner in 0..count {
        wheel.schedule(owner, 1 + owner % PERIOD_S);
    }
    wheel
}

fn timers(c: &mut Criterion) {
    let (elements, count) = million();
    let mut group = c.benchmark_group("timers");
    group.throughput(Throughput::Elements(elements));
    group.bench_function(BenchmarkId::new("insert/spread", count), |b| {
        b.iter_with_large_drop(|| armed(count));
    });
    group.bench_function(BenchmarkId::new("advance/all-due-at-once", count), |b| {
        let all_at_once = || {
            let mut wheel = TimerWheel::new(0);
            (0..count).for_each(|owner| {
                wheel.schedule(owner, 1);
            });
            (wheel, Vec::with_capacity(count as usize))
        };
        b.iter_batched_ref(
            all_at_once,
            |(wheel, due)| wheel.advance(1, due),
            BatchSize::PerIteration,
        );
    });
    group.throughput(Throughput::Elements(elements / u64::from(PERIOD_S)));
    group.bench_function(BenchmarkId::new("advance/1-second-and-rearm", count), |b| {
        let (mut wheel, mut due, mut now) = (armed(count), Vec::new(), 0);
        b.iter(|| {
            now += 1;
            wheel.advance(now, &mut due);
            for owner in due.drain(..) {
                wheel.schedule(owner, now + PERIOD_S);
            }
        });
    });
    group.finish();
}

/// Indices in an order that the cache does not foresee: a full-period walk, as the step is odd and
/// no factor of the count.
fn scattered(count: u32) -> impl FnMut() -> u32 {
    let mut at = 0;
    move || {
        at = (at + 378_551) % count;
        at
    }
}

fn slab(c: &mut Criterion) {
    let (elements, count) = million();
    // As large as a small record.
    let full = || {
        let mut slab = Slab::with_capacity_max(count);
        (0..count).for_each(|_| {
            slab.insert([0_u64; 8]).expect("there is room");
        });
        slab
    };
    let mut group = c.benchmark_group("slab");
    group.throughput(Throughput::Elements(elements));
    group.bench_function(BenchmarkId::new("insert/empty", count), |b| {
        b.iter_with_large_drop(full);
    });
    group.throughput(Throughput::Elements(1));
    let mut slab = full();
    group.bench_function(BenchmarkId::new("get/scattered", count), |b| {
        let mut next = scattered(count);
        b.iter(|| black_box(slab.get(next())).is_some());
    });
    group.bench_function(
        BenchmarkId::new("remove-and-insert/scattered", count),
        |b| {
            let mut next = scattered(count);
            b.iter(|| {
                let value = slab.remove(next()).expect("the slab is full");
                slab.insert(black_box(value)).expect("there is room again")
            });
        },
    );
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(3));
    targets = timers, slab
}
criterion_main!(benches);

#[path = "support/mod.rs"]
mod support;
