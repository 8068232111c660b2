//! Accepting: one multishot accept on the shard's own listener.

use std::os::fd::{AsRawFd, OwnedFd};

use super::op::{Bare, Operation, UserData};
use super::queues::Cqe;
use super::{Completion, Ring};

/// The listener and what is armed on it.
#[derive(Debug, Default)]
pub(super) struct Acceptor {
    listener: Option<OwnedFd>,
    /// The shard wants connections.
    is_wanted: bool,
    is_armed: bool,
    /// An error stopped it; it is armed again by the next tick.
    is_waiting: bool,
}

impl Ring {
    /// Accepts connections from a listening socket from now on, each told as
    /// [`Completion::Accepted`]: an ordinary, blocking, close-on-exec descriptor.
    ///
    /// Panics if the ring has a listener already.
    pub fn listen(&mut self, listener: OwnedFd) {
        assert!(self.acceptor.listener.is_none());
        self.acceptor.listener = Some(listener);
        self.resume_listening();
    }

    /// Accepts no more for now. What the kernel has accepted already is still told; new connections
    /// wait in the listener's backlog. No effect without a listener.
    pub fn stop_listening(&mut self) {
        self.acceptor.is_wanted = false;
        self.acceptor.is_waiting = false;
        if self.acceptor.is_armed {
            let victim = UserData::of_ring(Operation::Accept);
            let user_data = UserData::of_ring(Operation::CancelAccept);
            self.queues.push(Bare::cancel(victim, user_data));
        }
    }

    /// Accepts again after [`Self::stop_listening`]. No effect without a listener.
    pub fn resume_listening(&mut self) {
        self.acceptor.is_wanted = true;
        self.arm_accept();
    }

    /// Stops accepting for good and gives the listener back, to be closed or handed on. An accept in
    /// flight holds the socket open until it is cancelled, in the next `submit_and_wait`.
    pub fn take_listener(&mut self) -> Option<OwnedFd> {
        self.stop_listening();
        self.acceptor.listener.take()
    }

    /// Arms the accept after a pause for want of descriptors or memory.
    pub(super) fn retry_accept(&mut self) {
        if std::mem::take(&mut self.acceptor.is_waiting) {
            self.arm_accept();
        }
    }

    fn arm_accept(&mut self) {
        let acceptor = &mut self.acceptor;
        if acceptor.is_armed || !acceptor.is_wanted {
            return;
        }
        if let Some(listener) = &acceptor.listener {
            acceptor.is_armed = true;
            self.queues.push(Bare::accept(listener.as_raw_fd()));
        }
    }

    pub(super) fn on_accept(&mut self, cqe: Cqe) -> Option<Completion> {
        if !cqe.has_more() {
            self.acceptor.is_armed = false;
        }
        if cqe.result >= 0 {
            self.queues.counters.accepts += 1;
            self.rearm_accept();
            return Some(Completion::Accepted(cqe.result));
        }
        match -cqe.result {
            // The peer went before it was accepted, or the accept was cancelled: nothing is wrong.
            libc::ECANCELED | libc::ECONNABORTED | libc::EINTR | libc::EAGAIN | libc::EPROTO => {
                self.rearm_accept();
                None
            }
            errno => {
                self.queues.counters.accept_pauses += 1;
                self.acceptor.is_waiting = self.acceptor.is_wanted && !self.acceptor.is_armed;
                Some(Completion::AcceptPaused(errno))
            }
        }
    }

    fn rearm_accept(&mut self) {
        if !self.acceptor.is_armed && self.acceptor.is_wanted {
            self.queues.counters.rearms += 1;
            self.arm_accept();
        }
    }
}
