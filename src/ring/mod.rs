//! One shard's io_uring: accepting, receiving into provided buffers, sending borrowed memory.
//!
//! The only module that talks to the kernel about sockets, and the only one with `unsafe`. It knows
//! slots and bytes; of frames, topics and users it knows nothing. Kernel floor: 6.1.
//!
//! A turn of the owner's loop, on the ring's own thread:
//!
//! ```text
//!   loop {
//!       while let Some(completion) = ring.next_completion() { .. }   // Short first, then the rest
//!       // commands: adopt, receive, promote, send_owned, pause_reading, close, wake_ring, ..
//!       ring.submit_and_wait(timeout, |batch| batch.send(slot, &bytes))?;
//!   }
//! ```
//! Set-up: `SUBMIT_ALL` (5.18), `SINGLE_ISSUER` (6.0), `DEFER_TASKRUN` (6.1; without it 40 to 48 %
//! more CPU), `R_DISABLED` until the shard's thread enables it, `CQSIZE`, `NO_SQARRAY` where there is
//! (6.6). No `SQPOLL`: on the same core it gains nothing. Commands only stage submissions; the
//! kernel is entered once a turn, unless more is staged than the submission queue holds.

#![expect(
    unsafe_code,
    reason = "the seam to the kernel: every block says who owns the memory, and until when"
)]

mod accept;
mod buf_ring;
mod descriptor;
mod error;
mod files;
mod heap;
mod kernel_tls;
mod op;
mod probe;
mod queues;
mod send;
mod socket;
mod wake;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::Duration;

use io_uring::IoUring;

use crate::collections::Table;
use crate::id::Slot;
use crate::limits::{
    COMPLETION_QUEUE_ENTRIES, CONNECTIONS_PER_SHARD_MAX, RECV_BUFFER_BYTES, RECV_BUFFERS,
    SUBMISSION_QUEUE_ENTRIES,
};
use crate::time::Now;

use self::accept::Acceptor;
use self::buf_ring::BufRing;
use self::files::Promotions;
use self::op::{Bare, Operation};
use self::queues::{Cqe, Queues};
use self::send::{OwnedSends, Pieces};
use self::socket::{Phase, Socket};

pub use self::buf_ring::Lease;
pub use self::descriptor::{
    OpenFiles, listen, local_address, open_files, own, peer_address, raise_nofile,
};
pub use self::error::{RingError, SetUpCall};
pub use self::files::Teardown;
pub use self::heap::trim_heap;
pub use self::kernel_tls::has_kernel_tls;
pub use self::probe::{Check, CheckState, Report, probe};
pub use self::send::{Batch, SEND_BYTES_MAX, SEND_PIECES_MAX};
pub use self::wake::{RingFd, Waker};

/// How large a ring is. The defaults suit a shard of a million connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingConfig {
    /// Submission queue, entries. The kernel rounds up to a power of two. At least 8.
    pub submission_entries: u32,
    /// Completion queue, entries. At least `submission_entries`.
    pub completion_entries: u32,
    /// Most sockets at once, 1 to [`CONNECTIONS_PER_SHARD_MAX`]: the size of the table of direct descriptors.
    /// Lowered to the soft `RLIMIT_NOFILE`, which bounds that table too.
    pub sockets_max: u32,
    /// Receive buffers. A power of two, at most 32,768.
    pub recv_buffers: u16,
    /// One receive buffer, bytes; at least 1.
    pub recv_buffer_bytes: u32,
    /// After so many seconds without data a busy connection is idle again. 0: at the next tick.
    pub quiet_seconds: u32,
    /// How sockets are torn down. `None`: as suits the running kernel.
    pub teardown: Option<Teardown>,
}

impl Default for RingConfig {
    fn default() -> Self {
        Self {
            submission_entries: SUBMISSION_QUEUE_ENTRIES,
            completion_entries: COMPLETION_QUEUE_ENTRIES,
            sockets_max: u32::try_from(CONNECTIONS_PER_SHARD_MAX).expect("2^20"),
            recv_buffers: RECV_BUFFERS,
            recv_buffer_bytes: u32::try_from(RECV_BUFFER_BYTES).expect("a few KiB"),
            quiet_seconds: 5,
            teardown: None,
        }
    }
}

/// What the kernel has to tell. The order per slot is the order of events on the socket.
#[derive(Debug)]
pub enum Completion {
    /// A connection was accepted.
    Accepted {
        /// Owns the descriptor: adopt it, or [`own`] it.
        number: RawFd,
        /// On which listener: 0 is the first that was given to [`Ring::listen`].
        listener: usize,
    },
    /// The accept is paused until the next [`Ring::tick`], because of this errno: `EMFILE`, `ENFILE`
    /// or `ENOMEM` as a rule.
    AcceptPaused(i32),
    /// Bytes from the peer, at least one. Dropping the lease gives the buffer back.
    Received(Slot, Lease),
    /// The peer will send no more. Once per socket; nothing is armed after it.
    EndOfStream(Slot),
    /// The peer of a paused socket has sent its last byte, or the socket has failed: reading on will
    /// tell which, after what came before. Only if [`Ring::watch_end`] asked for it.
    Ending(Slot),
    /// The socket is broken, with this errno (`ECONNRESET`, `EPIPE`, ..). Once per socket; nothing is
    /// armed after it. The slot still has to be closed. An owned send in flight is lost.
    Failed(Slot, i32),
    /// A borrowed send of the last `submit_and_wait` was not taken whole. Comes before all other
    /// completions of that turn, except `Failed` of other borrowed sends.
    Short {
        /// The socket.
        slot: Slot,
        /// Bytes that were taken, from the front; 0 when the socket was full.
        taken: usize,
    },
    /// Part of an owned send was taken, and it goes on.
    Progress(Slot),
    /// An owned send is done; here is its buffer for reuse, as it was.
    Sent(Slot, Vec<u8>),
    /// A closed slot has nothing in flight any more and may be adopted again.
    Released(Slot),
    /// Somebody woke this ring: there may be mail.
    Woken,
}

/// What a ring has counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls of `io_uring_enter`.
    pub enters: u64,
    /// Submissions that must be answered by a last completion.
    pub submissions: u64,
    /// Their last completions. `submissions - completions` are in flight.
    pub completions: u64,
    /// Connections accepted.
    pub accepts: u64,
    /// Times that accepting paused for want of descriptors or memory.
    pub accept_pauses: u64,
    /// Multishot operations that ended without an error and were armed again.
    pub rearms: u64,
    /// Receives that found no buffer.
    pub enobufs: u64,
    /// Times that the completion queue was found to have overflowed.
    pub cq_overflows: u64,
    /// Busy connections that went back to an idle poll.
    pub quiet_transitions: u64,
    /// Borrowed sends.
    pub sends: u64,
    /// Borrowed sends that were not taken whole.
    pub short_sends: u64,
    /// Owned sends that went on after a portion, or after a short one in spite of `MSG_WAITALL`.
    pub owned_resumed: u64,
    /// Wakes sent to other rings.
    pub wakes: u64,
    /// Wakes that did not arrive: the other ring is gone or not enabled.
    pub wakes_failed: u64,
    /// Completions of a former use of a slot, dropped.
    pub stale: u64,
}

/// A ring that is set up but not enabled. It may move to the thread that will own it.
pub struct PreparedRing {
    uring: IoUring,
    buffers: BufRing,
    waker: Waker,
    sockets_max: u32,
    quiet_seconds: u32,
    teardown: Teardown,
}

const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<PreparedRing>();
};

impl PreparedRing {
    /// A handle that wakes the ring, for threads that have none.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// The ring's name, for [`Ring::wake_ring`] on other rings.
    pub fn fd(&self) -> RingFd {
        use std::os::fd::AsRawFd;
        RingFd(self.uring.as_raw_fd())
    }

    /// Enables the ring for the calling thread, which from now on is the only one to drive it.
    ///
    /// Errors: `SetUpCall::EnableRing`.
    pub fn enable(self) -> Result<Ring, RingError> {
        self.uring
            .submitter()
            .register_enable_rings()
            .map_err(|error| RingError::new(SetUpCall::EnableRing, &error))?;
        let queues = Queues::new(self.uring);
        let mut ring = Ring {
            promotions: Promotions::new(queues.submission_entries()),
            queues,
            buffers: Rc::new(self.buffers),
            owned: OwnedSends::default(),
            pieces: Pieces::default(),
            sockets: Table::default(),
            generation: 0,
            sockets_max: self.sockets_max,
            sockets_open: 0,
            acceptor: Acceptor::default(),
            waker: self.waker,
            sweep: VecDeque::new(),
            starved: Vec::new(),
            uncancelled: Vec::new(),
            shutting: Vec::new(),
            closing: Vec::new(),
            now_seconds: 0,
            quiet_seconds: self.quiet_seconds,
            teardown: self.teardown,
            #[cfg(debug_assertions)]
            sent_this_turn: std::collections::HashSet::new(),
        };
        ring.arm_waker();
        Ok(ring)
    }
}

impl fmt::Debug for PreparedRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedRing")
            .field("sockets_max", &self.sockets_max)
            .field("buffers", &self.buffers)
            .finish_non_exhaustive()
    }
}

/// The driver of one shard. Belongs to the thread that enabled it.
pub struct Ring {
    // First, so that the kernel's side is gone before the memory it was lent.
    queues: Queues,
    buffers: Rc<BufRing>,
    owned: OwnedSends,
    pieces: Pieces,
    promotions: Promotions,
    sockets: Table<Socket>,
    /// Of the socket adopted last, 24 bits. One count for all slots, so that a free slot need not
    /// remember its own.
    generation: u32,
    sockets_max: u32,
    sockets_open: u32,
    acceptor: Acceptor,
    waker: Waker,
    /// Busy connections with their generation, walked by `tick`; each socket is in it once.
    sweep: VecDeque<(Slot, u32)>,
    /// Connections with their generation that found no receive buffer.
    starved: Vec<(Slot, u32)>,
    /// Connections with their generation of which a cancel found nothing.
    uncancelled: Vec<(Slot, u32)>,
    /// Half-closes with their generation, to be staged after this turn's sends.
    shutting: Vec<(Slot, u32)>,
    /// Closes to be staged after this turn's sends.
    closing: Vec<Slot>,
    now_seconds: u32,
    quiet_seconds: u32,
    teardown: Teardown,
    #[cfg(debug_assertions)]
    sent_this_turn: std::collections::HashSet<Slot>,
}

impl Ring {
    /// Sets a ring up, with its table of direct descriptors and its receive buffers.
    ///
    /// Memory: `recv_buffers * recv_buffer_bytes`, paid for as it is used, and 8 bytes per socket in
    /// the kernel.
    ///
    /// Errors: the call that the kernel refused. Panics if the configuration is out of its bounds.
    pub fn prepare(config: &RingConfig) -> Result<PreparedRing, RingError> {
        assert!(config.submission_entries >= 8);
        assert!(config.completion_entries >= config.submission_entries);
        assert!(config.sockets_max >= 1);
        assert!(config.sockets_max as usize <= CONNECTIONS_PER_SHARD_MAX);
        let refused = |call| move |error: io::Error| RingError::new(call, &error);
        let uring = set_up(config).map_err(refused(SetUpCall::Setup))?;
        let parameters = uring.params();
        if !(parameters.is_feature_nodrop()
            && parameters.is_feature_ext_arg()
            && parameters.is_feature_skip_cqe_on_success()
            && parameters.is_feature_linked_file())
        {
            let missing = io::Error::from_raw_os_error(libc::EINVAL);
            return Err(RingError::new(SetUpCall::Features, &missing));
        }
        let soft = open_files()
            .map_err(refused(SetUpCall::RegisterFiles))?
            .soft;
        let sockets_max = config
            .sockets_max
            .min(u32::try_from(soft).unwrap_or(u32::MAX));
        uring
            .submitter()
            .register_files_sparse(sockets_max)
            .map_err(refused(SetUpCall::RegisterFiles))?;
        let buffers = BufRing::map(config.recv_buffers, config.recv_buffer_bytes)
            .map_err(refused(SetUpCall::MapBuffers))?;
        buffers
            .register(&uring.submitter())
            .map_err(refused(SetUpCall::RegisterBufferRing))?;
        let waker = Waker::new().map_err(refused(SetUpCall::Eventfd))?;
        let teardown = config
            .teardown
            .unwrap_or_else(|| Teardown::for_kernel(&probe::kernel_release()));
        Ok(PreparedRing {
            uring,
            buffers,
            waker,
            sockets_max,
            quiet_seconds: config.quiet_seconds,
            teardown,
        })
    }

    /// Most sockets that the ring holds at once; slots are below it.
    pub fn sockets_max(&self) -> u32 {
        self.sockets_max
    }

    /// Submits all that is staged, the borrowed sends of `stage` with it, and waits at most `timeout`
    /// (`None`: for ever) for a completion. Does not wait if one is pending.
    ///
    /// When it returns, the kernel reads none of the borrowed bytes any more, even if `stage` panics
    /// or an error is returned. The chunk that does not fill the submission queue leaves in the same
    /// system call that waits.
    ///
    /// Errors: of `io_uring_enter(2)`, apart from those that pass by themselves. The ring is beyond
    /// use then, and every later call gives the same error.
    pub fn submit_and_wait<'bytes>(
        &mut self,
        timeout: Option<Duration>,
        stage: impl FnOnce(&mut Batch<'_, 'bytes>),
    ) -> io::Result<()> {
        self.cancel_again();
        self.rearm_starved();
        #[cfg(debug_assertions)]
        self.sent_this_turn.clear();
        let mut batch = Batch::new(self);
        stage(&mut batch);
        batch.submit_and_wait(timeout)
    }

    /// The next completion, or `None` when the owner should submit and wait.
    ///
    /// First all `Short` (and failures) of this turn's borrowed sends, then the rest as it came.
    pub fn next_completion(&mut self) -> Option<Completion> {
        loop {
            let cqe = self.queues.pop()?;
            let completion = self.handle(cqe);
            if completion.is_some() {
                return completion;
            }
        }
    }

    fn handle(&mut self, cqe: Cqe) -> Option<Completion> {
        match cqe.operation {
            Operation::Accept => self.on_accept(cqe),
            Operation::WakeEvent => self.on_wake_event(cqe),
            Operation::WokenByRing => Some(Completion::Woken),
            Operation::WakeRing => {
                self.queues.counters.wakes_failed += 1;
                None
            }
            // These complete only when they failed: there was nothing to cancel or to shut, or the
            // number was closed already. The operations they were for tell the rest.
            Operation::CancelAccept
            | Operation::CancelAll
            | Operation::ShutdownBoth
            | Operation::CloseOrdinary => None,
            Operation::Poll
            | Operation::ReceiveOnce
            | Operation::ReceiveMany
            | Operation::CancelRead
            | Operation::SendOwned
            | Operation::CancelSend
            | Operation::SendBorrowed
            | Operation::ShutdownWrite
            | Operation::Close
            | Operation::Promote => self.handle_of_slot(cqe),
        }
    }

    fn handle_of_slot(&mut self, cqe: Cqe) -> Option<Completion> {
        let lease = self.lease(cqe);
        let slot = cqe.user_data.slot();
        if self.current_mut(slot, cqe.user_data.generation()).is_none() {
            // A lease, if there is one, gives its buffer back here, and nothing else happens.
            self.queues.counters.stale += 1;
            return None;
        }
        let completion = match cqe.operation {
            Operation::Poll => self.on_poll(slot, cqe),
            Operation::ReceiveOnce | Operation::ReceiveMany => self.on_receive(slot, cqe, lease),
            Operation::SendOwned => self.on_owned_sent(slot, cqe),
            Operation::SendBorrowed => self.on_short(slot, cqe),
            Operation::Promote => self.on_promotion_failed(slot, cqe),
            Operation::ShutdownWrite | Operation::Close => {
                self.on_ending(slot);
                None
            }
            Operation::CancelRead | Operation::CancelSend => {
                self.on_cancel_failed(cqe.user_data);
                None
            }
            _ => unreachable!("`handle` passes on operations of slots only"),
        };
        completion.or_else(|| self.released(slot))
    }

    /// Takes charge of the buffer that a completion carries, whatever else it says.
    fn lease(&self, cqe: Cqe) -> Option<Lease> {
        let id = cqe.buffer()?;
        let length = u32::try_from(cqe.result).unwrap_or(0);
        // SAFETY: the kernel hands a buffer out in one completion, and each completion is popped
        // once. It has written `result` bytes to it.
        unsafe { Lease::take(&self.buffers, id, length) }
    }

    /// To be called about once a second: arms a paused accept, and takes connections that have been
    /// quiet back to an idle poll (a bounded number per call).
    pub fn tick(&mut self, now: Now) {
        self.now_seconds = now.seconds();
        self.retry_accept();
        self.sweep_quiet();
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        self.queues.counters
    }

    /// Sockets that are adopted and not yet released.
    pub fn sockets_open(&self) -> u32 {
        self.sockets_open
    }

    /// Receive buffers that are out on lease.
    pub fn leases_lent(&self) -> u16 {
        self.buffers.lent()
    }

    /// Whether every slot is free, every lease is back and no completion is pending.
    pub fn is_quiet(&self) -> bool {
        self.sockets_open == 0 && self.buffers.lent() == 0 && !self.queues.has_completions()
    }

    fn socket(&self, slot: Slot) -> &Socket {
        self.sockets.get(slot.index()).unwrap_or(&Socket::FREE)
    }

    /// Panics if the slot is free and so are all around it.
    fn socket_mut(&mut self, slot: Slot) -> &mut Socket {
        self.sockets
            .get_mut(slot.index())
            .expect("the slot is in use")
    }

    /// The socket that was in a slot at some time before, if it is there still.
    fn current_mut(&mut self, slot: Slot, generation: u32) -> Option<&mut Socket> {
        self.sockets
            .get_mut(slot.index())
            .filter(|socket| socket.phase != Phase::Free && socket.generation == generation)
    }

    /// Cancels everything and waits, bounded, until the kernel is done with our memory.
    ///
    /// Each operation is cancelled by its own name. To let the kernel cancel *all*, or to leave it to
    /// the end of the ring, takes a time that grows with their square: for each one it walks past
    /// all that it has cancelled already.
    fn quiesce(&mut self) -> io::Result<()> {
        self.stop_listening();
        self.cancel_waker();
        self.cancel_sockets();
        let mut idle_rounds = 0;
        loop {
            let in_flight = self.queues.in_flight();
            while let Some(cqe) = self.queues.pop() {
                drop(self.lease(cqe));
                if cqe.operation == Operation::Accept && cqe.result >= 0 {
                    drop(own(cqe.result));
                }
            }
            if self.queues.in_flight() == 0 {
                return Ok(());
            }
            if self.queues.in_flight() == in_flight {
                idle_rounds += 1;
            }
            match idle_rounds {
                // Few are left, which were missed because they were just about to complete.
                QUIESCE_ROUNDS => self.queues.push(Bare::cancel_all()),
                QUIESCE_ROUNDS_MAX => return Err(io::Error::from_raw_os_error(libc::ETIME)),
                _ => {}
            }
            self.queues.submit_and_wait(Some(QUIESCE_WAIT))?;
        }
    }
}

/// Waits of a dropped ring in which none of the cancelled operations ended, until it cancels what is
/// left without asking for names, and until it gives up.
const QUIESCE_ROUNDS: u32 = 5;
const QUIESCE_ROUNDS_MAX: u32 = 100;
/// One such wait.
const QUIESCE_WAIT: Duration = Duration::from_millis(20);

impl Drop for Ring {
    fn drop(&mut self) {
        self.stage_endings();
        let is_quiet = self.quiesce().is_ok();
        self.close_ordinary_descriptors();
        if !is_quiet {
            // The kernel may still write to the buffers and read what it sends: leak them.
            std::mem::forget(Rc::clone(&self.buffers));
            std::mem::forget(std::mem::take(&mut self.owned));
        }
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("sockets_open", &self.sockets_open)
            .field("buffers", &self.buffers)
            .field("in_flight", &self.queues.in_flight())
            .field("counters", &self.queues.counters)
            .finish_non_exhaustive()
    }
}

/// `io_uring_setup` with the flags that the module's head explains.
fn set_up(config: &RingConfig) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder
        .dontfork()
        .setup_cqsize(config.completion_entries)
        .setup_submit_all()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_r_disabled();
    let plain = builder.clone();
    // An older kernel refuses a flag that it does not know with EINVAL.
    match builder.setup_no_sqarray().build(config.submission_entries) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            plain.build(config.submission_entries)
        }
        result => result,
    }
}
