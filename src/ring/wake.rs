//! Waking a ring that waits: by `MSG_RING` from another ring, by eventfd from any other thread.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use super::op::{Bare, Operation, UserData};
use super::queues::Cqe;
use super::{Completion, Ring, descriptor};

/// Names a ring to another ring, for [`Ring::wake_ring`]. Valid while the named ring lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingFd(pub(super) RawFd);

/// Wakes one ring from any thread. Costs a system call; wakes coalesce while the ring is awake.
#[derive(Clone, Debug)]
pub struct Waker {
    event: Arc<File>,
}

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            event: Arc::new(File::from(descriptor::eventfd()?)),
        })
    }

    /// Makes the ring's current or next wait return, with a [`Completion::Woken`].
    ///
    /// Harmless after the ring is gone.
    pub fn wake(&self) {
        // Fails only when 2^64 - 2 wakes went unread; the descriptor never blocks.
        let written = (&*self.event).write(&1_u64.to_ne_bytes());
        debug_assert!(written.is_ok());
    }

    pub(super) fn number(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}

impl Ring {
    /// A handle that wakes this ring from threads that have none.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// This ring's name, for [`Self::wake_ring`] on other rings.
    pub fn fd(&self) -> RingFd {
        RingFd(self.queues.uring().as_raw_fd())
    }

    /// Stages a wake of another ring, which gets [`Completion::Woken`]. It leaves with the next
    /// `submit_and_wait` (0.5 µs for the sender; 33 µs until a halted virtual CPU runs).
    ///
    /// A ring that is gone or not enabled yet is not woken, and counted in `wakes_failed`: before it
    /// first waits it looks for mail of its own accord.
    pub fn wake_ring(&mut self, other: RingFd) {
        self.queues.counters.wakes += 1;
        self.queues.push(Bare::wake_ring(other.0));
    }

    pub(super) fn arm_waker(&mut self) {
        self.queues.push(Bare::poll_event(self.waker.number()));
    }

    /// For a ring that is dropped.
    pub(super) fn cancel_waker(&mut self) {
        let victim = UserData::of_ring(Operation::WakeEvent);
        let user_data = UserData::of_ring(Operation::CancelAll);
        self.queues.push(Bare::cancel(victim, user_data));
    }

    /// The eventfd was written. It is never read: a multishot poll tells every write once.
    pub(super) fn on_wake_event(&mut self, cqe: Cqe) -> Option<Completion> {
        if !cqe.has_more() {
            self.queues.counters.rearms += 1;
            self.arm_waker();
        }
        Some(Completion::Woken)
    }
}
