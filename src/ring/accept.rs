//! Accepting: one multishot accept on each of the shard's own listeners.

use std::os::fd::{AsRawFd, OwnedFd};

use super::op::{Bare, Operation, UserData};
use super::queues::Cqe;
use super::{Completion, Ring};
use crate::id::Slot;

/// The listeners and what is armed on them.
#[derive(Debug, Default)]
pub(super) struct Acceptor {
    /// By the number that their completions carry in place of a slot.
    listeners: Vec<Listener>,
    /// The shard wants connections.
    is_wanted: bool,
}

#[derive(Debug)]
struct Listener {
    socket: OwnedFd,
    is_armed: bool,
    /// An error stopped it; it is armed again by the next tick.
    is_waiting: bool,
}

/// Names an operation on the listener of that number.
fn user_data(operation: Operation, number: usize) -> UserData {
    let number = u32::try_from(number).expect("a handful of listeners");
    UserData::new(operation, Slot(number), 0)
}

impl Ring {
    /// Accepts connections from a listening socket from now on, besides those given before. Each is
    /// told as [`Completion::Accepted`], with the listener's number: an ordinary, blocking,
    /// close-on-exec descriptor.
    pub fn listen(&mut self, listener: OwnedFd) {
        let listener = Listener {
            socket: listener,
            is_armed: false,
            is_waiting: false,
        };
        self.acceptor.listeners.push(listener);
        self.resume_listening();
    }

    /// Accepts no more for now. What the kernel has accepted already is still told; new connections
    /// wait in the listeners' backlogs.
    pub fn stop_listening(&mut self) {
        self.acceptor.is_wanted = false;
        for (number, listener) in self.acceptor.listeners.iter_mut().enumerate() {
            listener.is_waiting = false;
            if listener.is_armed {
                let victim = user_data(Operation::Accept, number);
                let cancel = user_data(Operation::CancelAccept, number);
                self.queues.push(Bare::cancel(victim, cancel));
            }
        }
    }

    /// Accepts again after [`Self::stop_listening`].
    pub fn resume_listening(&mut self) {
        self.acceptor.is_wanted = true;
        for number in 0..self.acceptor.listeners.len() {
            self.arm_accept(number);
        }
    }

    /// Stops accepting for good and gives the listeners back, to be closed or handed on. An accept
    /// in flight holds its socket open until it is cancelled, in the next `submit_and_wait`.
    pub fn take_listeners(&mut self) -> Vec<OwnedFd> {
        self.stop_listening();
        self.acceptor
            .listeners
            .drain(..)
            .map(|listener| listener.socket)
            .collect()
    }

    /// Arms the accepts after a pause for want of descriptors or memory.
    pub(super) fn retry_accept(&mut self) {
        for number in 0..self.acceptor.listeners.len() {
            if std::mem::take(&mut self.acceptor.listeners[number].is_waiting) {
                self.arm_accept(number);
            }
        }
    }

    fn arm_accept(&mut self, number: usize) {
        let is_wanted = self.acceptor.is_wanted;
        let Some(listener) = self.acceptor.listeners.get_mut(number) else {
            return;
        };
        if !listener.is_armed && is_wanted {
            listener.is_armed = true;
            let accept = user_data(Operation::Accept, number);
            self.queues
                .push(Bare::accept(listener.socket.as_raw_fd(), accept));
        }
    }

    pub(super) fn on_accept(&mut self, cqe: Cqe) -> Option<Completion> {
        let number = cqe.user_data.slot().index();
        let is_wanted = self.acceptor.is_wanted;
        if !cqe.has_more()
            && let Some(listener) = self.acceptor.listeners.get_mut(number)
        {
            listener.is_armed = false;
        }
        if cqe.result >= 0 {
            self.queues.counters.accepts += 1;
            self.rearm_accept(number);
            return Some(Completion::Accepted {
                number: cqe.result,
                listener: number,
            });
        }
        match -cqe.result {
            // The peer went before it was accepted, or the accept was cancelled: nothing is wrong.
            libc::ECANCELED | libc::ECONNABORTED | libc::EINTR | libc::EAGAIN | libc::EPROTO => {
                self.rearm_accept(number);
                None
            }
            errno => {
                self.queues.counters.accept_pauses += 1;
                if let Some(listener) = self.acceptor.listeners.get_mut(number) {
                    listener.is_waiting = is_wanted && !listener.is_armed;
                }
                Some(Completion::AcceptPaused(errno))
            }
        }
    }

    fn rearm_accept(&mut self, number: usize) {
        let acceptor = &self.acceptor;
        let idle = acceptor
            .listeners
            .get(number)
            .is_some_and(|listener| !listener.is_armed);
        if idle && acceptor.is_wanted {
            self.queues.counters.rearms += 1;
            self.arm_accept(number);
        }
    }
}
