//! The vocabulary of submissions: which operation, on which slot, of which generation.
//!
//! `user_data` is the only thing a completion brings back of its submission. It is packed here and
//! nowhere else, as `operation:8 | generation:24 | slot:32`.

use std::os::fd::RawFd;

use io_uring::{opcode, squeue, types};

use crate::id::Slot;

/// Bits of a generation. It comes round after 16 million uses of one slot.
const GENERATION_BITS: u32 = 24;
pub(super) const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;

/// What a submission asked for. The discriminants go to the kernel and come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Operation {
    /// Multishot accept on the listener.
    Accept = 1,
    /// Cancels the accept.
    CancelAccept,
    /// Multishot poll on this ring's eventfd.
    WakeEvent,
    /// Posted here by another ring's `MSG_RING`.
    WokenByRing,
    /// Our `MSG_RING` to another ring; completes here only when it failed.
    WakeRing,
    /// Single-shot poll of an idle connection.
    Poll,
    /// Single-shot receive (HTTP phase).
    ReceiveOnce,
    /// Multishot receive of a busy connection.
    ReceiveMany,
    /// Cancels `Poll`, `ReceiveOnce` or `ReceiveMany`; completes only when it failed.
    CancelRead,
    /// Asynchronous send of memory that the ring owns.
    SendOwned,
    /// Cancels `SendOwned`; completes only when it failed.
    CancelSend,
    /// Send of borrowed memory, resolved inside the submitting enter; completes only when short.
    SendBorrowed,
    /// Half-close.
    ShutdownWrite,
    /// Full shutdown in front of a close; completes only when it failed.
    ShutdownBoth,
    /// The end of a slot.
    Close,
    /// A descriptor into the table of direct descriptors; completes only when it failed.
    Promote,
    /// The ordinary descriptor that was promoted; completes only when it failed.
    CloseOrdinary,
    /// Cancels everything, when the ring is dropped.
    CancelAll,
}

impl Operation {
    const ALL: [Self; 18] = [
        Self::Accept,
        Self::CancelAccept,
        Self::WakeEvent,
        Self::WokenByRing,
        Self::WakeRing,
        Self::Poll,
        Self::ReceiveOnce,
        Self::ReceiveMany,
        Self::CancelRead,
        Self::SendOwned,
        Self::CancelSend,
        Self::SendBorrowed,
        Self::ShutdownWrite,
        Self::ShutdownBoth,
        Self::Close,
        Self::Promote,
        Self::CloseOrdinary,
        Self::CancelAll,
    ];

    fn from_bits(bits: u8) -> Option<Self> {
        Self::ALL.get(usize::from(bits).checked_sub(1)?).copied()
    }

    /// Whether exactly one completion without `F_MORE` answers each submission. The others complete
    /// only when they fail (`IOSQE_CQE_SKIP_SUCCESS`, 5.17), or were never submitted by this ring.
    pub(super) fn is_counted(self) -> bool {
        match self {
            Self::Accept
            | Self::WakeEvent
            | Self::Poll
            | Self::ReceiveOnce
            | Self::ReceiveMany
            | Self::SendOwned
            | Self::ShutdownWrite
            | Self::Close => true,
            Self::CancelAccept
            | Self::WokenByRing
            | Self::WakeRing
            | Self::CancelRead
            | Self::CancelSend
            | Self::SendBorrowed
            | Self::ShutdownBoth
            | Self::Promote
            | Self::CloseOrdinary
            | Self::CancelAll => false,
        }
    }
}

const _: () = {
    let mut index = 0;
    while index < Operation::ALL.len() {
        assert!(Operation::ALL[index] as usize == index + 1);
        index += 1;
    }
};

/// The packed form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UserData(u64);

impl UserData {
    /// Packs; the generation is taken modulo 2^24.
    pub(super) fn new(operation: Operation, slot: Slot, generation: u32) -> Self {
        Self(
            u64::from(operation as u8) << 56
                | u64::from(generation & GENERATION_MASK) << 32
                | u64::from(slot.0),
        )
    }

    /// An operation of the ring itself, of no slot.
    pub(super) fn of_ring(operation: Operation) -> Self {
        Self::new(operation, Slot(0), 0)
    }

    /// What came back from the kernel.
    pub(super) fn from_u64(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) fn as_u64(self) -> u64 {
        self.0
    }

    /// `None`: not one of ours, which only another process that holds the ring could cause.
    pub(super) fn operation(self) -> Option<Operation> {
        Operation::from_bits(self.0.to_be_bytes()[0])
    }

    pub(super) fn generation(self) -> u32 {
        let [_, a, b, c, ..] = self.0.to_be_bytes();
        u32::from_be_bytes([0, a, b, c])
    }

    pub(super) fn slot(self) -> Slot {
        let [.., a, b, c, d] = self.0.to_be_bytes();
        Slot(u32::from_be_bytes([a, b, c, d]))
    }
}

/// How an operation names its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// An ordinary descriptor (HTTP phase, listener, eventfd).
    Ordinary(RawFd),
    /// An index into the ring's table of direct descriptors.
    Direct(u32),
}

/// Builds an entry for either kind of descriptor.
macro_rules! on {
    ($target:expr, $fd:ident => $entry:expr) => {
        match $target {
            Target::Ordinary(number) => {
                let $fd = types::Fd(number);
                $entry
            }
            Target::Direct(index) => {
                let $fd = types::Fixed(index);
                $entry
            }
        }
    };
}
pub(super) use on;

/// A submission that refers to no memory of ours, apart from the registered receive buffers, which
/// live as long as the ring. It may be submitted from safe code.
#[derive(Debug)]
pub(super) struct Bare(squeue::Entry);

/// The one provided-buffer group of a ring.
pub(super) const BUFFER_GROUP: u16 = 0;

/// Readiness of an idle connection: data, or the peer's FIN. Errors and hang-ups always count.
const POLL_IDLE: u32 = (libc::POLLIN | libc::POLLRDHUP) as u32;
/// The peer's FIN alone. Errors and hang-ups always count.
const POLL_END: u32 = libc::POLLRDHUP as u32;
const POLL_IN: u32 = libc::POLLIN as u32;

impl Bare {
    fn new(entry: squeue::Entry, user_data: UserData) -> Self {
        Self(entry.user_data(user_data.as_u64()))
    }

    /// Completes only on failure.
    fn silent(self) -> Self {
        Self(self.0.flags(squeue::Flags::SKIP_SUCCESS))
    }

    /// The next submission starts when this one is done, however it went.
    pub(super) fn then(self) -> Self {
        Self(self.0.flags(squeue::Flags::IO_HARDLINK))
    }

    pub(super) fn into_entry(self) -> squeue::Entry {
        self.0
    }

    pub(super) fn accept(listener: RawFd, user_data: UserData) -> Self {
        let entry = opcode::AcceptMulti::new(types::Fd(listener))
            .flags(libc::SOCK_CLOEXEC)
            .build();
        Self::new(entry, user_data)
    }

    pub(super) fn poll_event(event: RawFd) -> Self {
        let entry = opcode::PollAdd::new(types::Fd(event), POLL_IN)
            .multi(true)
            .build();
        Self::new(entry, UserData::of_ring(Operation::WakeEvent))
    }

    /// A message to another ring, which gets a completion `WokenByRing`. `MSG_RING`, 5.18.
    pub(super) fn wake_ring(ring: RawFd) -> Self {
        let there = UserData::of_ring(Operation::WokenByRing).as_u64();
        let entry = opcode::MsgRingData::new(types::Fd(ring), 0, there, None).build();
        Self::new(entry, UserData::of_ring(Operation::WakeRing)).silent()
    }

    pub(super) fn poll(target: Target, user_data: UserData) -> Self {
        Self::new(
            on!(target, fd => opcode::PollAdd::new(fd, POLL_IDLE).build()),
            user_data,
        )
    }

    pub(super) fn poll_end(target: Target, user_data: UserData) -> Self {
        Self::new(
            on!(target, fd => opcode::PollAdd::new(fd, POLL_END).build()),
            user_data,
        )
    }

    pub(super) fn receive_once(target: Target, user_data: UserData) -> Self {
        let entry = on!(target, fd => {
            opcode::Recv::new(fd, std::ptr::null_mut(), 0)
                .buf_group(BUFFER_GROUP)
                .build()
        });
        Self::new(entry.flags(squeue::Flags::BUFFER_SELECT), user_data)
    }

    pub(super) fn receive_many(target: Target, user_data: UserData) -> Self {
        let entry = on!(target, fd => opcode::RecvMulti::new(fd, BUFFER_GROUP).build());
        Self::new(entry, user_data)
    }

    /// Cancels by `user_data`, which the kernel looks up in a hash table. To cancel by descriptor
    /// would walk every armed poll of the ring.
    pub(super) fn cancel(victim: UserData, user_data: UserData) -> Self {
        let entry = opcode::AsyncCancel::new(victim.as_u64()).build();
        Self::new(entry, user_data).silent()
    }

    pub(super) fn cancel_all() -> Self {
        let entry = opcode::AsyncCancel2::new(types::CancelBuilder::any()).build();
        Self::new(entry, UserData::of_ring(Operation::CancelAll)).silent()
    }

    pub(super) fn shutdown_write(target: Target, user_data: UserData) -> Self {
        let entry = on!(target, fd => opcode::Shutdown::new(fd, libc::SHUT_WR).build());
        Self::new(entry, user_data)
    }

    pub(super) fn shutdown_both(target: Target, user_data: UserData) -> Self {
        let entry = on!(target, fd => opcode::Shutdown::new(fd, libc::SHUT_RDWR).build());
        Self::new(entry, user_data).silent()
    }

    pub(super) fn close(target: Target, user_data: UserData) -> Self {
        let entry = on!(target, fd => opcode::Close::new(fd).build());
        Self::new(entry, user_data)
    }

    pub(super) fn close_ordinary(number: RawFd, user_data: UserData) -> Self {
        let entry = opcode::Close::new(types::Fd(number)).build();
        Self::new(entry, user_data).silent()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn packing_user_data_loses_nothing(
            index in 0usize..Operation::ALL.len(), generation in 0u32..1 << 24, slot: u32,
        ) {
            let packed = UserData::new(Operation::ALL[index], Slot(slot), generation);
            prop_assert_eq!(packed.operation(), Some(Operation::ALL[index]));
            prop_assert_eq!(packed.generation(), generation);
            prop_assert_eq!(packed.slot(), Slot(slot));
            prop_assert_eq!(UserData::from_u64(packed.as_u64()), packed);
        }

        #[test]
        fn unpacking_user_data_invents_nothing(bits: u64) {
            let unpacked = UserData::from_u64(bits);
            match unpacked.operation() {
                Some(operation) => {
                    let again = UserData::new(operation, unpacked.slot(), unpacked.generation());
                    prop_assert_eq!(again.as_u64(), bits);
                }
                None => {
                    let operation = bits >> 56;
                    prop_assert!(operation == 0 || operation > Operation::ALL.len() as u64);
                }
            }
        }
    }
}
