//! The two queues shared with the kernel: submitting, waiting, and taking completions out.
//!
//! Completions are copied out of the shared queue at once (16 bytes each), so that it never fills up
//! while the shard works, and so that failed sends can be handed over before everything else.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, squeue};

use super::Counters;
use super::op::{Bare, Operation, UserData};

/// One completion, taken out of the shared queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cqe {
    pub(super) operation: Operation,
    pub(super) user_data: UserData,
    pub(super) result: i32,
    flags: u32,
}

impl Cqe {
    /// Whether the submission will give further completions (`IORING_CQE_F_MORE`).
    pub(super) fn has_more(self) -> bool {
        cqueue::more(self.flags)
    }

    /// A last completion without a buffer, as the kernel would post it.
    #[cfg(test)]
    pub(super) fn for_test(user_data: UserData, result: i32) -> Self {
        Self {
            operation: user_data.operation().expect("an operation of ours"),
            user_data,
            result,
            flags: 0,
        }
    }

    /// The provided buffer that the operation took.
    pub(super) fn buffer(self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }
}

pub(super) struct Queues {
    uring: IoUring,
    /// Borrowed sends that were not taken whole. The shard still holds their bytes.
    short: VecDeque<Cqe>,
    rest: VecDeque<Cqe>,
    /// Counted submissions without their last completion.
    in_flight: u64,
    /// The errno of an enter that can never succeed. The kernel looks at the submission queue only
    /// inside an enter, so from here on nothing that is staged can be read any more.
    broken: Option<i32>,
    pub(super) counters: Counters,
}

/// Enters that may be interrupted or refused for want of memory or completion space before the
/// kernel is taken to be broken. Each one first drains the completion queue.
const ENTER_ATTEMPTS_MAX: u32 = 10_000;

impl Queues {
    pub(super) fn new(uring: IoUring) -> Self {
        Self {
            uring,
            short: VecDeque::new(),
            rest: VecDeque::new(),
            in_flight: 0,
            broken: None,
            counters: Counters::default(),
        }
    }

    pub(super) fn uring(&self) -> &IoUring {
        &self.uring
    }

    pub(super) fn submission_entries(&self) -> u32 {
        self.uring.params().sq_entries()
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    pub(super) fn has_completions(&self) -> bool {
        !self.short.is_empty() || !self.rest.is_empty()
    }

    /// The next completion; borrowed sends that failed come first.
    pub(super) fn pop(&mut self) -> Option<Cqe> {
        let cqe = self.short.pop_front().or_else(|| self.rest.pop_front())?;
        if cqe.operation.is_counted() && !cqe.has_more() {
            self.in_flight -= 1;
            self.counters.completions += 1;
        }
        Some(cqe)
    }

    /// The next borrowed send that was not taken whole, or failed.
    pub(super) fn pop_short(&mut self) -> Option<Cqe> {
        self.short.pop_front()
    }

    /// Stages a submission that refers to no memory.
    pub(super) fn push(&mut self, bare: Bare) {
        // SAFETY: a `Bare` entry refers to no memory but the registered buffers, which outlive it.
        unsafe { self.push_entry(&bare.into_entry()) };
    }

    /// Stages submissions of which each but the last is chained to the next. They must reach the
    /// kernel in one enter, or the chain is cut.
    pub(super) fn push_chain<const N: usize>(&mut self, chain: [Option<Bare>; N]) {
        self.make_room(N);
        for bare in chain.into_iter().flatten() {
            self.push(bare);
        }
    }

    /// Stages a submission, making room by submitting what is staged already.
    ///
    /// # Safety
    ///
    /// The memory that the entry refers to stays valid until its last completion, or, if it is
    /// consumed inside the enter, until [`Self::submit_all`] or [`Self::submit_and_wait`] has
    /// returned.
    pub(super) unsafe fn push_entry(&mut self, entry: &squeue::Entry) {
        self.make_room(1);
        if self.is_broken() {
            return;
        }
        let user_data = UserData::from_u64(entry.get_user_data());
        if user_data.operation().is_some_and(Operation::is_counted) {
            self.in_flight += 1;
            self.counters.submissions += 1;
        }
        // SAFETY: the caller answers for the memory.
        let pushed = unsafe { self.uring.submission().push(entry) };
        pushed.expect("room was made for one entry");
    }

    /// Submits what is staged until at least `entries` fit.
    fn make_room(&mut self, entries: usize) {
        let mut submission = self.uring.submission();
        debug_assert!(entries <= submission.capacity());
        if submission.capacity() - submission.len() >= entries {
            return;
        }
        submission.sync();
        drop(submission);
        // A failure is kept in `broken` and told by the next `submit_and_wait`.
        let _kept = self.submit_all();
    }

    /// Lets the kernel take everything that is staged, without waiting for completions.
    ///
    /// On `Ok` no staged entry is left. On `Err` the ring is broken and will never be entered again.
    /// Either way the kernel reads no staged entry after this call.
    pub(super) fn submit_all(&mut self) -> io::Result<()> {
        for _ in 0..ENTER_ATTEMPTS_MAX {
            if self.staged() == 0 {
                return Ok(());
            }
            self.enter(0, None)?;
        }
        Err(self.break_down(libc::EBUSY))
    }

    /// Like [`Self::submit_all`], and then waits for a completion, at most `timeout`.
    ///
    /// Does not wait when completions are here already. Takes out all completions there are.
    pub(super) fn submit_and_wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let wait = !self.has_completions() && timeout != Some(Duration::ZERO);
        self.enter(u32::from(wait), timeout)?;
        self.submit_all()
    }

    /// Entries that the kernel has not taken yet.
    pub(super) fn staged(&mut self) -> usize {
        let mut submission = self.uring.submission();
        submission.sync();
        submission.len()
    }

    /// One `io_uring_enter`, then all completions. An `Ok` may leave entries staged.
    fn enter(&mut self, want: u32, timeout: Option<Duration>) -> io::Result<()> {
        if let Some(errno) = self.broken {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let staged = u32::try_from(self.staged()).expect("the queue's size is a u32");
        let deadline = timeout.map(Timespec::from);
        let mut arguments = SubmitArgs::new();
        if let Some(deadline) = &deadline {
            arguments = arguments.timespec(deadline);
        }
        let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        // SAFETY: the argument is an `io_uring_getevents_arg`, as EXT_ARG demands, and it and the
        // time it points to live until the call returns.
        let entered = unsafe {
            self.uring
                .submitter()
                .enter(staged, want, flags.bits(), Some(&arguments))
        };
        self.counters.enters += 1;
        self.take_completions();
        let Err(error) = entered else { return Ok(()) };
        match error.raw_os_error() {
            // The wait's deadline passed or a signal came; no memory just now, or no room for
            // completions, which has been made meanwhile.
            Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY) => Ok(()),
            errno => Err(self.break_down(errno.unwrap_or(libc::EINVAL))),
        }
    }

    fn break_down(&mut self, errno: i32) -> io::Error {
        self.broken = Some(errno);
        io::Error::from_raw_os_error(errno)
    }

    /// Copies all completions out, those that overflowed into the kernel's own list too.
    fn take_completions(&mut self) {
        self.copy_completions();
        while self.uring.submission().cq_overflow() {
            self.counters.cq_overflows += 1;
            let flags = EnterFlags::GETEVENTS.bits();
            // SAFETY: without EXT_ARG the argument is a signal mask, and null is allowed. Nothing is
            // submitted; the call only moves overflowed completions into the queue.
            let flushed = unsafe {
                self.uring
                    .submitter()
                    .enter::<libc::sigset_t>(0, 0, flags, None)
            };
            // Without progress the rest comes with the next enter: the kernel keeps it till then.
            if self.copy_completions() == 0 || flushed.is_err() {
                return;
            }
        }
    }

    /// Copies out what lies in the shared queue; returns how many.
    fn copy_completions(&mut self) -> usize {
        let completions = self.uring.completion();
        let count = completions.len();
        for entry in completions {
            let user_data = UserData::from_u64(entry.user_data());
            let Some(operation) = user_data.operation() else {
                self.counters.stale += 1;
                continue;
            };
            let cqe = Cqe {
                operation,
                user_data,
                result: entry.result(),
                flags: entry.flags(),
            };
            if operation == Operation::SendBorrowed {
                self.short.push_back(cqe);
            } else {
                self.rest.push_back(cqe);
            }
        }
        count
    }
}
