//! Servers to test against, and clients: a well-behaved one ([`Client`], tungstenite) and one that
//! can misbehave ([`Raw`]).
//!
//! Nothing here waits without a bound, and nothing sleeps to let something happen: whatever a test
//! waits for, it asks for until it is there.
#![allow(
    dead_code,
    unused_imports,
    reason = "each test binary compiles its own copy and uses a part of it"
)]

mod client;
mod puppet;
mod raw;
mod tls;

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use campanile::id::ShardId;
use campanile::server::{Running, ServerHandle, Stats};
use campanile::time::Clock;
use campanile::{App, Server};

pub(crate) use client::Client;
pub(crate) use puppet::{Diary, Puppet, Said, What, identifier};
pub(crate) use raw::{Next, Raw, Response, frame_of, head_of};
pub(crate) use tls::{Authority, Secure, over, plain, secure};

/// Longest wait for anything. Far beyond what it takes even on a machine busy with other tests.
pub(crate) const BOUND: Duration = Duration::from_secs(20);
/// Between two looks at something that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// Small tables: a test has few sockets, and many tests run at once.
const SOCKETS_PER_SHARD: usize = 4096;

/// A running server on a free port of 127.0.0.1. Shuts down when it goes out of scope.
pub(crate) struct Site<A: App> {
    pub(crate) address: SocketAddr,
    /// All of them: those that the server was given before, and the plain one last.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) handle: ServerHandle<A>,
    running: Option<Running<A>>,
}

impl<A: App> Site<A> {
    /// Starts `server`, which has no address yet.
    pub(crate) fn start<F>(server: Server<A, F>) -> Self
    where
        F: Fn(ShardId) -> A + Send + Sync + 'static,
    {
        let running = server
            .listen("127.0.0.1:0")
            .sockets_per_shard_max(SOCKETS_PER_SHARD)
            .start()
            .expect("the server starts");
        Self {
            address: running.addresses()[0],
            addresses: running.addresses().to_vec(),
            handle: running.handle(),
            running: Some(running),
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        block_on(self.handle.stats()).expect("no shard is busy")
    }

    /// Waits until the server holds no connection, in whatever phase.
    pub(crate) fn wait_until_empty(&self) {
        let mut stats = Stats::default();
        let empty = within_bound(|| {
            stats = self.stats();
            let pending: usize = stats.shards.iter().map(|shard| shard.pending).sum();
            stats.total_connections + stats.total_users + pending == 0
        });
        assert!(empty, "connections are left: {stats:?}");
        for shard in &stats.shards {
            assert_eq!(shard.counters.opened, shard.counters.closed, "{shard:?}");
        }
    }

    /// Asks for the shutdown and waits until the server has ended: at most [`BOUND`].
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        self.handle.shutdown();
        let (ended, end) = mpsc::channel();
        thread::spawn(move || {
            running.wait();
            // The test may have given up waiting.
            let _ = ended.send(());
        });
        let ended = end.recv_timeout(BOUND);
        assert!(
            ended.is_ok() || thread::panicking(),
            "the server does not end"
        );
    }
}

impl<A: App> Drop for Site<A> {
    fn drop(&mut self) {
        self.end();
    }
}

/// Runs a question to a [`ServerHandle`] to its end.
///
/// Panics after [`BOUND`].
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime
        .block_on(async { tokio::time::timeout(BOUND, future).await })
        .expect("an answer in time")
}

/// Asks until the answer is yes: `true`; or until [`BOUND`] has passed: `false`.
pub(crate) fn within_bound(mut asks: impl FnMut() -> bool) -> bool {
    let clock = Clock::start();
    let ends = clock.now().monotonic_ms + millis(BOUND);
    loop {
        if asks() {
            return true;
        }
        if clock.now().monotonic_ms >= ends {
            return false;
        }
        thread::park_timeout(LOOK_AGAIN);
    }
}

/// How long `work` takes, milliseconds, and what it gives.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let clock = Clock::start();
    let begins = clock.now().monotonic_ms;
    let result = work();
    (clock.now().monotonic_ms - begins, result)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("a short time")
}
