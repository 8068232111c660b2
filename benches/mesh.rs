//! What a mail between two shards costs, what a wake costs, and what looking for mail costs.
//!
//! The peer's thread is pinned to another core than the measured one, where there are two.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use campanile::id::ShardId;
use campanile::mesh::{Endpoint, mesh};
use campanile::ring::{Completion, Ring, RingConfig};
use core_affinity::CoreId;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const HERE: ShardId = ShardId(0);
const THERE: ShardId = ShardId(1);
/// Mails in one burst, acknowledged by one mail.
const BURST: usize = 1024;

/// Pins the calling thread to a core, counted from the first; without so many cores, to none.
fn pin(index: usize) {
    // Asked for once, before anything is pinned: afterwards a thread sees only its own core, and so
    // do the threads that it starts.
    static CORES: OnceLock<Vec<CoreId>> = OnceLock::new();
    let cores = CORES.get_or_init(|| core_affinity::get_core_ids().unwrap_or_default());
    if let Some(core) = cores.get(index) {
        core_affinity::set_for_current(*core);
    }
}

fn pair(capacity: usize) -> (Endpoint<usize>, Endpoint<usize>) {
    let (endpoints, _outside) = mesh(2, capacity);
    let [first, second] = <[_; 2]>::try_from(endpoints).expect("two were asked for");
    (first, second)
}

/// A thread that is told to stop when the bench is done with it.
struct Peer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    fn start(work: impl FnOnce(&AtomicBool) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            pin(1);
            work(&seen);
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the peer does not panic");
        }
    }
}

fn messages(c: &mut Criterion) {
    pin(0);
    let mut group = c.benchmark_group("mesh/message");
    group.throughput(Throughput::Elements(BURST as u64));
    let (mut from, mut to) = pair(BURST);
    group.bench_function("same_thread/burst_1024", |b| {
        b.iter(|| {
            for mail in 0..BURST {
                from.send(THERE, mail);
            }
            from.wakes(|_| ());
            while let Some(mail) = to.receive() {
                black_box(mail);
            }
        });
    });
    let (mut from, mut to) = pair(BURST);
    let _peer = Peer::start(move |stop| {
        let mut received = 0;
        while !stop.load(Ordering::Relaxed) {
            while to.receive().is_some() {
                received += 1;
                if received % BURST == 0 {
                    to.send(HERE, received);
                }
            }
        }
    });
    group.bench_function("two_threads/burst_1024", |b| {
        b.iter(|| {
            for mail in 0..BURST {
                from.send(THERE, mail);
            }
            from.wakes(|_| ());
            while from.receive().is_none() {
                std::hint::spin_loop();
            }
        });
    });
    group.finish();
}

/// What a turn pays for looking at queues in which there is nothing, by number of shards.
fn empty(c: &mut Criterion) {
    let mut group = c.benchmark_group("mesh/nothing");
    for shards in [2, 8, 64, 256] {
        let (mut endpoints, _outside) = mesh::<usize>(shards, 1);
        let endpoint = &mut endpoints[0];
        group.bench_function(BenchmarkId::new("receive_and_park", shards), |b| {
            b.iter(|| {
                assert!(endpoint.receive().is_none());
                assert!(endpoint.park());
                endpoint.unpark();
            });
        });
    }
    group.finish();
}

fn small() -> RingConfig {
    RingConfig {
        sockets_max: 16,
        recv_buffers: 16,
        ..RingConfig::default()
    }
}

fn enter(ring: &mut Ring, timeout: Duration) {
    ring.submit_and_wait(Some(timeout), |_| {})
        .expect("the ring works");
}

fn until_woken(ring: &mut Ring, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        while let Some(completion) = ring.next_completion() {
            if matches!(completion, Completion::Woken) {
                return;
            }
        }
        enter(ring, Duration::from_millis(100));
    }
}

fn wakes(c: &mut Criterion) {
    pin(0);
    let mut group = c.benchmark_group("mesh/wake");
    let (mut from, mut to) = pair(16);
    group.bench_function("peer_awake", |b| {
        b.iter(|| {
            from.send(THERE, 1);
            from.wakes(|_| ());
            black_box(to.receive());
        });
    });
    group.bench_function("park_and_unpark", |b| {
        b.iter(|| {
            assert!(to.park());
            to.unpark();
        });
    });

    let mut ring = Ring::prepare(&small())
        .and_then(|prepared| prepared.enable())
        .expect("io_uring is allowed");
    group.bench_function("nothing/enter_only", |b| {
        b.iter(|| enter(&mut ring, Duration::ZERO));
    });
    let target = Ring::prepare(&small()).expect("io_uring is allowed");
    let (to_peer, to_us) = (target.fd(), ring.fd());
    let peer_waker = target.waker();
    let peer = Peer::start(move |stop| {
        let mut ring = target.enable().expect("its own thread enables it");
        ring.wake_ring(to_us);
        while !stop.load(Ordering::Relaxed) {
            until_woken(&mut ring, stop);
            ring.wake_ring(to_us);
        }
    });
    let never = AtomicBool::new(false);
    // A ring cannot be woken before its thread has enabled it.
    until_woken(&mut ring, &never);
    group.bench_function("msg_ring/round_trip", |b| {
        b.iter(|| {
            ring.wake_ring(to_peer);
            until_woken(&mut ring, &never);
        });
    });
    group.bench_function("eventfd/there_msg_ring/back", |b| {
        b.iter(|| {
            peer_waker.wake();
            until_woken(&mut ring, &never);
        });
    });
    drop(peer);
    group.finish();
}

criterion_group!(benches, messages, empty, wakes);
criterion_main!(benches);
