//! What the driver knows of one socket, and how it reads.
//!
//! ```text
//!                 adopt                 promote
//!   Free ───────────────► Ordinary ───────────────► Direct          (phase)
//!    ▲  ▲───── release ──────┘ │ close                 │ close
//!    └──── last completion ────┴──── closing ──────────┘
//!
//!           again within the quiet time            quiet, or no buffer
//!   Poll ────────────────────────────────► Many ─────────────────────► (cancelled) ─► Poll
//!    └───── first readiness ─► Once ─► Poll                            (reading, Direct)
//!    └───── ordinary ────────► Once ─► Nothing
//!
//!   paused: Nothing ── watch_end ─► End ─► Nothing
//! ```
//! An idle connection costs one single-shot poll and no buffer (256 bytes of kernel memory; an armed
//! receive would cost 745 to 860). A first message, or a pong, is received once. Only a second one
//! soon after it makes the connection busy: it gets a multishot receive, because to poll before every
//! message costs 25 % in fan-out. To take that back costs a cancel, for which the kernel searches one
//! of 256 lists of everything that is armed on the ring: a connection that says something once a
//! minute must not come to that. A poll is level-triggered when armed, so nothing that arrives in
//! between is missed.

use std::collections::VecDeque;
use std::os::fd::RawFd;

use crate::id::Slot;

use super::buf_ring::Lease;
use super::op::{Bare, Operation, Target, UserData};
use super::queues::Cqe;
use super::{Completion, Ring};

/// Which descriptor names the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// No socket.
    Free,
    /// An ordinary descriptor, while HTTP is spoken.
    Ordinary,
    /// An index in the table of direct descriptors.
    Direct,
}

/// The one read operation in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Reading {
    Nothing,
    Poll,
    Once,
    Many,
    /// Nothing is read: a poll for the end of the stream alone.
    End,
}

/// Facts about a socket that may hold side by side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags(u16);

impl Flags {
    /// The shard wants no data for now.
    pub(super) const PAUSED: Self = Self(1);
    /// End of stream or an error was told: nothing is armed any more.
    pub(super) const ENDED: Self = Self(1 << 1);
    /// An error was told.
    pub(super) const FAILED: Self = Self(1 << 2);
    /// The read in flight is being cancelled.
    pub(super) const CANCELLING: Self = Self(1 << 3);
    /// In the list that the quiet sweep walks.
    pub(super) const IN_SWEEP: Self = Self(1 << 4);
    /// In the list that waits for receive buffers.
    pub(super) const STARVED: Self = Self(1 << 5);
    /// The shard has closed it; only `Released` may still be told.
    pub(super) const CLOSING: Self = Self(1 << 6);
    /// The close has been staged: nothing may be sent any more.
    pub(super) const CLOSE_STAGED: Self = Self(1 << 8);
    /// The write side is to be shut once the send in flight is done.
    pub(super) const SHUT_AFTER_SEND: Self = Self(1 << 7);

    /// The write side has been shut, or will be.
    pub(super) const SHUT: Self = Self(1 << 9);
    /// The shutdown of the write side is with the kernel.
    pub(super) const SHUTTING: Self = Self(1 << 10);
    /// An owned send is in flight.
    pub(super) const SENDING: Self = Self(1 << 11);
    /// While it is paused, the end of its stream is to be told.
    pub(super) const END_WATCHED: Self = Self(1 << 12);

    pub(super) fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    pub(super) fn set(&mut self, flag: Self) {
        self.0 |= flag.0;
    }

    pub(super) fn clear(&mut self, flag: Self) {
        self.0 &= !flag.0;
    }
}

/// The driver's state of one slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Socket {
    /// In `Phase::Ordinary` the descriptor. In `Phase::Direct` when data last came, in the seconds of
    /// `Ring::tick`: no socket needs both.
    word: u32,
    /// 24 bits; changes with each adoption.
    pub(super) generation: u32,
    pub(super) flags: Flags,
    /// Counted operations without their last completion: read, send, shutdown, close.
    pub(super) in_flight: u8,
    pub(super) phase: Phase,
    pub(super) reading: Reading,
}

const _: () = assert!(size_of::<Socket>() <= 16);

impl Socket {
    pub(super) const FREE: Self = Self {
        word: 0,
        generation: 0,
        flags: Flags(0),
        in_flight: 0,
        phase: Phase::Free,
        reading: Reading::Nothing,
    };

    /// An adopted socket.
    pub(super) fn ordinary(number: RawFd, generation: u32) -> Self {
        Self {
            word: number.cast_unsigned(),
            generation,
            phase: Phase::Ordinary,
            ..Self::FREE
        }
    }

    /// The ordinary descriptor. Panics unless it is in that phase.
    pub(super) fn number(&self) -> RawFd {
        assert_eq!(self.phase, Phase::Ordinary);
        self.word.cast_signed()
    }

    /// Promotes the socket, whose request has just come, and gives up the ordinary descriptor.
    pub(super) fn become_direct(&mut self, now: u32) -> RawFd {
        let number = self.number();
        self.phase = Phase::Direct;
        self.heard(now);
        number
    }

    /// Notes that data has come.
    fn heard(&mut self, now: u32) {
        if self.phase == Phase::Direct {
            self.word = now;
        }
    }

    /// Seconds since data last came to a promoted socket.
    fn quiet_for(&self, now: u32) -> u32 {
        debug_assert_eq!(self.phase, Phase::Direct);
        now.saturating_sub(self.word)
    }

    /// Whether an owned send is in flight.
    pub(super) fn is_sending(&self) -> bool {
        self.flags.has(Flags::SENDING)
    }

    pub(super) fn target(&self, slot: Slot) -> Target {
        match self.phase {
            Phase::Ordinary => Target::Ordinary(self.number()),
            Phase::Direct => Target::Direct(slot.0),
            Phase::Free => unreachable!("a free slot names no socket"),
        }
    }

    pub(super) fn user_data(&self, operation: Operation, slot: Slot) -> UserData {
        UserData::new(operation, slot, self.generation)
    }

    /// The read in flight, as the kernel knows it.
    pub(super) fn read_in_flight(&self, slot: Slot) -> Option<UserData> {
        let operation = match self.reading {
            Reading::Nothing => return None,
            Reading::Poll | Reading::End => Operation::Poll,
            Reading::Once => Operation::ReceiveOnce,
            Reading::Many => Operation::ReceiveMany,
        };
        Some(self.user_data(operation, slot))
    }

    /// The owned send in flight, as the kernel knows it.
    pub(super) fn send_in_flight(&self, slot: Slot) -> Option<UserData> {
        self.is_sending()
            .then(|| self.user_data(Operation::SendOwned, slot))
    }

    fn may_read(&self) -> bool {
        let Flags(bits) = self.flags;
        let hindered = Flags::PAUSED.0 | Flags::ENDED.0 | Flags::CLOSING.0 | Flags::STARVED.0;
        self.phase != Phase::Free && self.reading == Reading::Nothing && bits & hindered == 0
    }

    /// Whether the end of its stream is to be polled for, and nothing else is armed.
    fn awaits_end(&self) -> bool {
        let Flags(bits) = self.flags;
        let wanted = Flags::PAUSED.0 | Flags::END_WATCHED.0;
        let hindered = Flags::ENDED.0 | Flags::CLOSING.0;
        self.reading == Reading::Nothing && bits & (wanted | hindered) == wanted
    }
}

impl Ring {
    /// HTTP phase: waits for data once. Completes as `Received`, `EndOfStream` or `Failed`.
    ///
    /// Takes a receive buffer only when data is there. Does nothing after the stream has ended.
    ///
    /// Panics if the slot is not in its HTTP phase, reading is paused, or a read is in flight.
    pub fn receive(&mut self, slot: Slot) {
        let socket = self.socket(slot);
        assert_eq!(socket.phase, Phase::Ordinary);
        assert_eq!(socket.reading, Reading::Nothing);
        assert!(!socket.flags.has(Flags::PAUSED));
        if socket.may_read() {
            self.arm(slot, Reading::Once);
        }
    }

    /// Stops reading from a promoted socket, so that TCP pushes back on the peer.
    ///
    /// What was received already is still delivered. No effect on a socket that has ended.
    ///
    /// Panics if the slot is free.
    pub fn pause_reading(&mut self, slot: Slot) {
        let socket = self.socket_mut(slot);
        assert_ne!(socket.phase, Phase::Free);
        socket.flags.set(Flags::PAUSED);
        // An armed poll takes no data: it may stay, and leads nowhere while reading is paused.
        if socket.reading == Reading::Many {
            self.cancel_read(slot);
        }
    }

    /// Tells once, as [`Completion::Ending`], when the peer of a paused socket has sent its last byte
    /// or the socket has failed. What came before it is unread still, and is so much as fits into the
    /// kernel's receive buffer. Forgotten when reading resumes. No effect on a socket that has ended.
    ///
    /// Panics if the socket is not promoted, or not paused.
    pub fn watch_end(&mut self, slot: Slot) {
        let socket = self.socket_mut(slot);
        assert_eq!(socket.phase, Phase::Direct);
        assert!(socket.flags.has(Flags::PAUSED));
        socket.flags.set(Flags::END_WATCHED);
        self.arm_end(slot);
    }

    /// Reads again after [`Self::pause_reading`].
    ///
    /// Panics if the slot is free.
    pub fn resume_reading(&mut self, slot: Slot) {
        let socket = self.socket_mut(slot);
        assert_ne!(socket.phase, Phase::Free);
        socket.flags.clear(Flags::PAUSED);
        socket.flags.clear(Flags::END_WATCHED);
        if socket.reading == Reading::End {
            // Its completion arms the poll of an idle connection.
            self.cancel_read(slot);
        } else if socket.phase == Phase::Direct {
            self.arm_idle(slot);
        }
    }

    /// Arms the poll of an idle connection, if it is to be read and nothing is armed.
    pub(super) fn arm_idle(&mut self, slot: Slot) {
        if self.socket(slot).may_read() {
            self.arm(slot, Reading::Poll);
        }
    }

    /// Arms the poll for the end of a paused stream, if that is watched and nothing else is armed.
    fn arm_end(&mut self, slot: Slot) {
        if self.socket(slot).awaits_end() {
            self.arm(slot, Reading::End);
        }
    }

    fn arm(&mut self, slot: Slot, reading: Reading) {
        let now = self.now_seconds;
        let socket = self.socket_mut(slot);
        debug_assert!(socket.may_read() || reading == Reading::End && socket.awaits_end());
        socket.reading = reading;
        socket.in_flight += 1;
        let target = socket.target(slot);
        let user_data = socket
            .read_in_flight(slot)
            .expect("a read was just put in flight");
        let generation = socket.generation;
        let bare = match reading {
            Reading::Nothing => unreachable!("something is armed"),
            Reading::Poll => Bare::poll(target, user_data),
            Reading::End => Bare::poll_end(target, user_data),
            Reading::Once => Bare::receive_once(target, user_data),
            Reading::Many => {
                socket.heard(now);
                if !socket.flags.has(Flags::IN_SWEEP) {
                    socket.flags.set(Flags::IN_SWEEP);
                    self.sweep.push_back((slot, generation));
                }
                Bare::receive_many(target, user_data)
            }
        };
        self.queues.push(bare);
    }

    fn cancel_read(&mut self, slot: Slot) {
        let socket = self.socket_mut(slot);
        if socket.flags.has(Flags::CANCELLING) {
            return;
        }
        let Some(victim) = socket.read_in_flight(slot) else {
            return;
        };
        socket.flags.set(Flags::CANCELLING);
        let user_data = socket.user_data(Operation::CancelRead, slot);
        self.queues.push(Bare::cancel(victim, user_data));
    }

    /// Walks a bounded part of the busy connections and takes the quiet ones back to a poll.
    pub(super) fn sweep_quiet(&mut self) {
        for _ in 0..self.sweep.len().min(SWEEP_PER_TICK_MAX) {
            let Some((slot, generation)) = self.sweep.pop_front() else {
                return;
            };
            let now = self.now_seconds;
            let quiet_seconds = self.quiet_seconds;
            let Some(socket) = self.current_mut(slot, generation) else {
                continue;
            };
            if socket.reading != Reading::Many || socket.flags.has(Flags::CLOSING) {
                socket.flags.clear(Flags::IN_SWEEP);
            } else if socket.quiet_for(now) < quiet_seconds {
                self.sweep.push_back((slot, generation));
            } else {
                socket.flags.clear(Flags::IN_SWEEP);
                self.queues.counters.quiet_transitions += 1;
                self.cancel_read(slot);
            }
        }
        give_back_unused(&mut self.sweep);
    }

    /// Arms those that found no receive buffer, once there is one again.
    pub(super) fn rearm_starved(&mut self) {
        if self.starved.is_empty() || self.buffers.is_exhausted() {
            return;
        }
        let mut starved = std::mem::take(&mut self.starved);
        for (slot, generation) in starved.drain(..) {
            if let Some(socket) = self.current_mut(slot, generation)
                && socket.flags.has(Flags::STARVED)
            {
                socket.flags.clear(Flags::STARVED);
                self.arm_idle(slot);
            }
        }
        self.starved = starved;
    }

    /// The peer made the socket readable, or it failed: the receive will tell which.
    pub(super) fn on_poll(&mut self, slot: Slot, cqe: Cqe) -> Option<Completion> {
        let polled = self.socket(slot).reading;
        self.read_is_over(slot);
        if cqe.result < 0 && !is_passing(-cqe.result) {
            return self.fail_reading(slot, -cqe.result);
        }
        if polled == Reading::End && cqe.result >= 0 && self.socket(slot).awaits_end() {
            self.socket_mut(slot).flags.clear(Flags::END_WATCHED);
            return Some(Completion::Ending(slot));
        }
        self.arm_end(slot);
        let socket = self.socket(slot);
        if socket.may_read() {
            let is_busy = socket.phase == Phase::Direct
                && socket.quiet_for(self.now_seconds) < self.quiet_seconds;
            let reading = match cqe.result {
                ..0 => Reading::Poll,
                _ if is_busy => Reading::Many,
                _ => Reading::Once,
            };
            self.arm(slot, reading);
        }
        None
    }

    /// Data, the end of the stream, or an error; single-shot and multishot alike.
    pub(super) fn on_receive(
        &mut self,
        slot: Slot,
        cqe: Cqe,
        lease: Option<Lease>,
    ) -> Option<Completion> {
        let was_cancelled = self.socket(slot).flags.has(Flags::CANCELLING);
        if !cqe.has_more() {
            self.read_is_over(slot);
            self.arm_end(slot);
        }
        let socket = self.socket(slot);
        if socket.flags.has(Flags::CLOSING) {
            return None;
        }
        if let Some(lease) = lease.filter(|lease| !lease.is_empty()) {
            self.received(slot, cqe, was_cancelled);
            return Some(Completion::Received(slot, lease));
        }
        match -cqe.result {
            0 => self.end_reading(slot),
            libc::ENOBUFS => {
                self.starve(slot);
                None
            }
            errno if is_passing(errno) => {
                if socket.phase == Phase::Direct {
                    self.arm_idle(slot);
                } else if errno != libc::ECANCELED && socket.may_read() {
                    self.arm(slot, Reading::Poll);
                }
                None
            }
            errno => self.fail_reading(slot, errno),
        }
    }

    fn received(&mut self, slot: Slot, cqe: Cqe, was_cancelled: bool) {
        let now = self.now_seconds;
        let socket = self.socket_mut(slot);
        socket.heard(now);
        if cqe.has_more() || socket.phase == Phase::Ordinary || !socket.may_read() {
            return;
        }
        if cqe.operation == Operation::ReceiveMany && !was_cancelled {
            // The kernel may end a multishot at any time without an error (liburing 758, 805).
            self.queues.counters.rearms += 1;
            self.arm(slot, Reading::Many);
        } else {
            self.arm(slot, Reading::Poll);
        }
    }

    fn starve(&mut self, slot: Slot) {
        self.queues.counters.enobufs += 1;
        let socket = self.socket_mut(slot);
        if socket.reading == Reading::Nothing && !socket.flags.has(Flags::STARVED) {
            socket.flags.set(Flags::STARVED);
            let generation = socket.generation;
            self.starved.push((slot, generation));
        }
    }

    fn end_reading(&mut self, slot: Slot) -> Option<Completion> {
        let flags = &mut self.socket_mut(slot).flags;
        if flags.has(Flags::ENDED) {
            return None;
        }
        flags.set(Flags::ENDED);
        Some(Completion::EndOfStream(slot))
    }

    fn fail_reading(&mut self, slot: Slot, errno: i32) -> Option<Completion> {
        if self.socket(slot).flags.has(Flags::ENDED) {
            return None;
        }
        self.fail(slot, errno)
    }

    /// Tells an error, once; after it nothing is armed.
    pub(super) fn fail(&mut self, slot: Slot, errno: i32) -> Option<Completion> {
        let flags = &mut self.socket_mut(slot).flags;
        if flags.has(Flags::FAILED) || flags.has(Flags::CLOSING) {
            return None;
        }
        flags.set(Flags::FAILED);
        flags.set(Flags::ENDED);
        Some(Completion::Failed(slot, errno))
    }

    /// The last completion of the read in flight has come.
    fn read_is_over(&mut self, slot: Slot) {
        let socket = self.socket_mut(slot);
        socket.reading = Reading::Nothing;
        socket.flags.clear(Flags::CANCELLING);
        socket.in_flight -= 1;
    }
}

/// Gives memory back that a list has needed in a busier time.
fn give_back_unused<T>(list: &mut VecDeque<T>) {
    if list.len() < list.capacity() / 4 {
        list.shrink_to(list.len() * 2);
    }
}

/// Busy connections that one tick looks at, at most.
const SWEEP_PER_TICK_MAX: usize = 4096;

/// Errors that end an operation but say nothing about the socket.
fn is_passing(errno: i32) -> bool {
    matches!(errno, libc::ECANCELED | libc::EINTR | libc::EAGAIN)
}
