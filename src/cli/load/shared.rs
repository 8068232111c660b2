//! What the threads of a load share: where they stand, and the first fault of any of them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};

use crossbeam_utils::CachePadded;

use super::clock::Origin;
use super::fault::Fault;
use super::handshake::Handshakes;
use super::latency::Published;

/// Where one thread stands. It alone writes, once a turn.
#[derive(Debug)]
pub(crate) struct Gauge {
    /// Connections that are established.
    pub(crate) open: AtomicU64,
    /// When the latest was, microseconds.
    pub(crate) opened_us: AtomicU64,
    /// Sockets that the ring holds.
    pub(crate) sockets: AtomicU64,
    pub(crate) sent: AtomicU64,
    /// Messages that have come and were checked.
    pub(crate) received: AtomicU64,
    /// Messages that must have come before the run may end.
    pub(crate) due: AtomicU64,
    /// When the latest came, microseconds.
    pub(crate) received_us: AtomicU64,
    /// Clients that their application has let in.
    pub(crate) joined: AtomicU64,
    /// Messages that were taken and are none of ours.
    pub(crate) others: AtomicU64,
    /// Connections that were left to be opened again.
    pub(crate) reopened: AtomicU64,
    /// TLS sessions that have come back by a ticket.
    pub(crate) resumed: AtomicU64,
    /// The latest epoch for which everything was handed over.
    pub(crate) epoch: AtomicU64,
    pub(crate) published: Mutex<Published>,
}

impl Gauge {
    fn new() -> Self {
        Self {
            open: AtomicU64::new(0),
            opened_us: AtomicU64::new(0),
            sockets: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            due: AtomicU64::new(0),
            received_us: AtomicU64::new(0),
            joined: AtomicU64::new(0),
            others: AtomicU64::new(0),
            reopened: AtomicU64::new(0),
            resumed: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            published: Mutex::new(Published::new()),
        }
    }

    pub(crate) fn published(&self) -> MutexGuard<'_, Published> {
        self.published
            .lock()
            .expect("nobody panics while holding it")
    }
}

/// The sum of all gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) open: u64,
    pub(crate) opened_us: u64,
    pub(crate) sockets: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) due: u64,
    pub(crate) received_us: u64,
    pub(crate) joined: u64,
    pub(crate) others: u64,
    pub(crate) reopened: u64,
    pub(crate) resumed: u64,
}

/// Shared by all threads of a run.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) origin: Origin,
    pub(crate) handshakes: Handshakes,
    pub(crate) gauges: Vec<CachePadded<Gauge>>,
    /// Latencies are kept while this is odd.
    pub(crate) epoch: AtomicU64,
    /// Which messages to single users have come, by number.
    pub(crate) directs: OnceLock<Vec<AtomicBool>>,
    /// A client, and what it got in which order, of which all others must have the same.
    order: Mutex<Option<(u32, u64)>>,
    has_failed: AtomicBool,
    failure: Mutex<Option<Fault>>,
}

impl Shared {
    pub(crate) fn new(handshakes: Handshakes, threads: usize) -> Self {
        Self {
            origin: Origin::now(),
            handshakes,
            gauges: (0..threads)
                .map(|_| CachePadded::new(Gauge::new()))
                .collect(),
            epoch: AtomicU64::new(0),
            directs: OnceLock::new(),
            order: Mutex::new(None),
            has_failed: AtomicBool::new(false),
            failure: Mutex::new(None),
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for gauge in &self.gauges {
            // What was received was sent before: read in this order, so that it never seems
            // otherwise.
            totals.received += gauge.received.load(Ordering::Acquire);
            totals.received_us = totals
                .received_us
                .max(gauge.received_us.load(Ordering::Acquire));
            totals.open += gauge.open.load(Ordering::Acquire);
            totals.opened_us = totals
                .opened_us
                .max(gauge.opened_us.load(Ordering::Acquire));
            totals.joined += gauge.joined.load(Ordering::Acquire);
            totals.others += gauge.others.load(Ordering::Acquire);
            totals.reopened += gauge.reopened.load(Ordering::Acquire);
            totals.resumed += gauge.resumed.load(Ordering::Acquire);
            totals.sockets += gauge.sockets.load(Ordering::Acquire);
        }
        for gauge in &self.gauges {
            totals.sent += gauge.sent.load(Ordering::Acquire);
            totals.due += gauge.due.load(Ordering::Acquire);
        }
        totals
    }

    /// Compares what the clients of one thread got, and in which order, with those of the others.
    pub(crate) fn same_order(&self, client: u32, digest: u64) -> Result<(), Fault> {
        let mut order = self.order.lock().expect("nobody panics holding it");
        let (first, wanted) = *order.get_or_insert((client, digest));
        if digest == wanted {
            return Ok(());
        }
        let other = client;
        Err(Fault::Orders { first, other })
    }

    /// Ends the run. The first fault is the one that is told: others follow from it.
    pub(crate) fn fail(&self, fault: Fault) {
        let mut failure = self.failure.lock().expect("nobody panics holding it");
        failure.get_or_insert(fault);
        self.has_failed.store(true, Ordering::Release);
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    /// The fault, if there is one.
    pub(crate) fn verdict(&self) -> Result<(), Fault> {
        if !self.has_failed() {
            return Ok(());
        }
        let mut failure = self.failure.lock().expect("nobody panics holding it");
        failure.take().map_or(Ok(()), Err)
    }
}
