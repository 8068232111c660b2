//! The store's thread: takes what is queued, applies it as one transaction, and answers after the
//! commit. One `fsync` serves the whole group, so a slow disk makes groups larger, not the rest slower.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, TryRecvError};

use super::error::StoreError;
use super::job::{Kind, Place, Work};
use super::stats::Shared;
use super::tables::{Tables, Tally};

/// While requests keep coming, pruning has one turn in so many groups: each costs a commit of its own.
const GROUPS_PER_PRUNING: u32 = 16;

/// A request in the queue. The place is behind the work, so that it is dropped last.
pub(super) struct Queued {
    pub(super) work: Box<dyn Work>,
    pub(super) place: Place,
}

/// Most requests that are taken out of a group, one by one, for the sake of the others.
const SPOILERS_MAX: usize = 8;

/// What the thread is sent.
pub(super) enum Message {
    Request(Queued),
    /// Everything before this is still done, nothing after.
    Stop,
}

/// Why a transaction came to nothing.
struct Failure {
    error: StoreError,
    /// The request of the group that ended it, if it was one.
    at: Option<usize>,
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self { error, at: None }
    }
}

/// What the thread works with.
pub(super) struct Worker {
    pub(super) tables: Tables,
    pub(super) messages: Receiver<Message>,
    pub(super) shared: Arc<Shared>,
    /// Most requests in a group.
    pub(super) group_max: usize,
}

impl Worker {
    /// Works until it is stopped.
    pub(super) fn run(mut self) {
        let mut group = Vec::new();
        let mut groups_since_pruning = 0;
        let (mut is_open, mut can_prune) = (true, true);
        while is_open {
            // After a failed attempt pruning waits for the next request: perhaps there is room by then.
            let wait = !self.tables.has_pruning() || !can_prune;
            is_open = self.gather(&mut group, wait);
            let is_idle = group.is_empty();
            if !is_idle {
                groups_since_pruning += 1;
                can_prune = true;
                self.shared.group_largest.fetch_max(group.len(), Relaxed);
                self.do_group(&mut group);
            }
            if self.tables.has_pruning() && (is_idle || groups_since_pruning >= GROUPS_PER_PRUNING)
            {
                groups_since_pruning = 0;
                can_prune = self.prune();
            }
        }
    }

    /// Takes what is queued, at most a group; if that is nothing and `wait`, the next request.
    /// `false`: no more will come.
    fn gather(&self, group: &mut Vec<Queued>, wait: bool) -> bool {
        while group.len() < self.group_max {
            let message = match self.messages.try_recv() {
                Err(TryRecvError::Empty) if wait && group.is_empty() => self.messages.recv().ok(),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => None,
                Ok(message) => Some(message),
            };
            match message {
                Some(Message::Request(queued)) => group.push(queued),
                Some(Message::Stop) | None => return false,
            }
        }
        true
    }

    /// Does the requests of a group and answers them.
    fn do_group(&mut self, group: &mut Vec<Queued>) {
        // Those that ended a transaction for all: what is large finds no room where the others do.
        let mut spoilers: Vec<Queued> = Vec::new();
        loop {
            match self.try_group(group) {
                Ok(tally) => {
                    self.count(tally);
                    break;
                }
                Err(Failure { error, at }) => {
                    tracing::warn!(%error, requests = group.len(), "the store could not commit");
                    self.tables.roll_back();
                    let Some(at) = at.filter(|_| spoilers.len() < SPOILERS_MAX) else {
                        self.fail_group(group, &error);
                        break;
                    };
                    let mut spoiler = group.remove(at);
                    spoiler.work.fail(error);
                    spoilers.push(spoiler);
                }
            }
        }
        if !spoilers.is_empty() {
            self.shared.failed.fetch_add(spoilers.len() as u64, Relaxed);
            self.shared.is_failing.store(true, Relaxed);
        }
        for Queued { work, place } in spoilers.into_iter().chain(group.drain(..)) {
            // First the place, then the answer: whoever has it may ask again.
            drop(place);
            work.answer();
        }
    }

    /// Nothing of the group is stored.
    fn fail_group(&mut self, group: &mut [Queued], error: &StoreError) {
        for queued in group.iter_mut() {
            match queued.work.kind() {
                Kind::Write => queued.work.fail(error.clone()),
                // May have seen what is undone now; and reading needs no room on the disk.
                Kind::Read => drop(queued.work.run(&mut self.tables)),
            }
        }
        let writes = group
            .iter()
            .filter(|queued| queued.work.kind() == Kind::Write);
        self.shared.failed.fetch_add(writes.count() as u64, Relaxed);
        self.shared.is_failing.store(true, Relaxed);
    }

    /// One transaction around all requests, a savepoint around each that writes.
    ///
    /// Errors: the transaction is lost or cannot be committed.
    fn try_group(&mut self, group: &mut [Queued]) -> Result<Tally, Failure> {
        self.tables.begin()?;
        let (mut written, mut failed, mut is_failing) = (0_u64, 0, false);
        for (at, Queued { work, .. }) in group.iter_mut().enumerate() {
            if work.kind() == Kind::Read {
                // Its outcome is its own affair.
                let _ = work.run(&mut self.tables);
                continue;
            }
            self.tables.savepoint()?;
            match work.run(&mut self.tables) {
                Ok(()) => {
                    self.tables.release()?;
                    written += 1;
                }
                // SQLite ends the transaction by itself if it runs out of disk or memory half-way.
                Err(error) if self.tables.has_lost_transaction() => {
                    let at = Some(at);
                    return Err(Failure { error, at });
                }
                Err(error) => {
                    self.tables.undo()?;
                    failed += 1;
                    is_failing |= error.is_environment();
                }
            }
        }
        let tally = self.tables.commit()?;
        self.shared.failed.fetch_add(failed, Relaxed);
        if written + failed > 0 {
            self.shared
                .commits
                .fetch_add(u64::from(written > 0), Relaxed);
            self.shared.is_failing.store(is_failing, Relaxed);
        }
        Ok(tally)
    }

    /// Deletes a little of what is not to be kept. `false`: that failed.
    fn prune(&mut self) -> bool {
        match self.tables.prune() {
            Ok(tally) => {
                self.count(tally);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the store could not delete old messages");
                self.shared.is_failing.store(true, Relaxed);
                false
            }
        }
    }

    fn count(&self, tally: Tally) {
        self.shared.appended.fetch_add(tally.appended, Relaxed);
        self.shared.repeats.fetch_add(tally.repeats, Relaxed);
        self.shared.pruned.fetch_add(tally.pruned, Relaxed);
    }
}
