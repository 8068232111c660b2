//! What the store counts, and the bounds of its queue.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Counters of a store at one moment. Those in the past tense only ever grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct StoreStats {
    /// Requests not answered yet.
    pub queued: usize,
    /// Their bytes, roughly.
    pub queued_bytes: usize,
    /// Messages stored.
    pub appended: u64,
    /// Messages not stored again, because they had been before.
    pub repeats: u64,
    /// Groups of requests written and committed.
    pub commits: u64,
    /// Writing requests that failed, for whatever reason.
    pub failed: u64,
    /// Requests refused because the queue was full.
    pub busy: u64,
    /// Messages deleted by retention or with their room.
    pub pruned: u64,
    /// Most requests in one group.
    pub group_largest: usize,
    /// Whether the last attempt to write failed for the disk's sake.
    pub is_failing: bool,
}

/// What the handles and the thread share: bounds and counters. All are statistics or bounds that may
/// be checked a moment late, so nothing is ordered by them.
#[derive(Debug, Default)]
pub(super) struct Shared {
    queue_max: usize,
    queue_bytes_max: usize,
    queued: AtomicUsize,
    queued_bytes: AtomicUsize,
    pub(super) appended: AtomicU64,
    pub(super) repeats: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) failed: AtomicU64,
    busy: AtomicU64,
    pub(super) pruned: AtomicU64,
    pub(super) group_largest: AtomicUsize,
    pub(super) is_failing: AtomicBool,
}

impl Shared {
    /// Nothing counted yet; room for so many requests and bytes.
    pub(super) fn new(queue_max: usize, queue_bytes_max: usize) -> Self {
        Self {
            queue_max,
            queue_bytes_max,
            ..Self::default()
        }
    }

    /// Counts a request in; counts a refusal and says `false` if a bound is reached.
    ///
    /// Adds first and looks then: threads that meet at the bound may all be refused, but never all
    /// let through.
    pub(super) fn queue(&self, bytes: usize) -> bool {
        let count = self.queued.fetch_add(1, Relaxed) + 1;
        let bytes_all = self
            .queued_bytes
            .fetch_add(bytes, Relaxed)
            .saturating_add(bytes);
        let fits = count <= self.queue_max && bytes_all <= self.queue_bytes_max;
        if !fits {
            self.unqueue(bytes);
            self.busy.fetch_add(1, Relaxed);
        }
        fits
    }

    /// Counts a request out.
    pub(super) fn unqueue(&self, bytes: usize) {
        self.queued.fetch_sub(1, Relaxed);
        self.queued_bytes.fetch_sub(bytes, Relaxed);
    }

    pub(super) fn snapshot(&self) -> StoreStats {
        StoreStats {
            queued: self.queued.load(Relaxed),
            queued_bytes: self.queued_bytes.load(Relaxed),
            appended: self.appended.load(Relaxed),
            repeats: self.repeats.load(Relaxed),
            commits: self.commits.load(Relaxed),
            failed: self.failed.load(Relaxed),
            busy: self.busy.load(Relaxed),
            pruned: self.pruned.load(Relaxed),
            group_largest: self.group_largest.load(Relaxed),
            is_failing: self.is_failing.load(Relaxed),
        }
    }
}
