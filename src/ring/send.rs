//! Sending: borrowed bytes that are gone when the enter returns, and owned bytes for laggards.
//!
//! A borrowed send has `MSG_DONTWAIT`, so the kernel resolves it while it consumes the entry and
//! never looks at the bytes again; with `MSG_WAITALL` anything but the whole counts as a failure, so
//! `IOSQE_CQE_SKIP_SUCCESS` hides exactly the complete ones. That is what makes a fan-out free of
//! copies, reference counts and completions. (`SEND_ZC` is 24 to 60 % dearer on loopback.)

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use io_uring::{opcode, squeue, types};

use crate::id::Slot;

use super::op::{Operation, Target, on};
use super::queues::Cqe;
use super::socket::{Flags, Phase};
use super::{Completion, Ring};

/// Largest single send, bytes. The kernel cuts off at 2 GiB less a page, silently for a borrowed one.
pub const SEND_BYTES_MAX: usize = 1 << 30;
/// Most pieces of one send: the kernel's `UIO_MAXIOV`.
pub const SEND_PIECES_MAX: usize = 1024;

const BORROWED: i32 = libc::MSG_WAITALL | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
/// An owned send goes to the kernel in portions of so many bytes, so that a slow peer which takes
/// something is told from one that takes nothing.
const OWNED_PORTION_BYTES: usize = 256 * 1024;
/// Owned sends for which there is room even when there are none.
const OWNED_KEPT: usize = 64;
const OWNED: i32 = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

/// Where the message headers and pieces of staged `SENDMSG` entries lie until they are consumed.
///
/// Neither vector grows while entries that point into it are staged.
#[derive(Default)]
pub(super) struct Pieces {
    headers: Vec<libc::msghdr>,
    vectors: Vec<libc::iovec>,
}

impl Pieces {
    fn has_room(&self, pieces: usize) -> bool {
        self.headers.len() < self.headers.capacity()
            && self.vectors.capacity() - self.vectors.len() >= pieces
    }

    /// Forgets all pieces and makes room. Only while nothing staged points here.
    fn clear_for(&mut self, pieces: usize) {
        self.headers.clear();
        self.vectors.clear();
        self.headers.reserve(HEADERS);
        self.vectors.reserve(pieces.max(HEADERS * 4));
    }

    fn keep(&mut self, pieces: &[&[u8]]) -> *const libc::msghdr {
        assert!(self.has_room(pieces.len()));
        let first = self.vectors.len();
        self.vectors.extend(pieces.iter().map(|piece| libc::iovec {
            iov_base: piece.as_ptr().cast_mut().cast(),
            iov_len: piece.len(),
        }));
        // SAFETY: all-zero bytes are a valid `msghdr`: null pointers and zero lengths.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        // The kernel only reads what it sends; the field is mutable because receiving shares it.
        header.msg_iov = self.vectors[first..].as_ptr().cast_mut();
        header.msg_iovlen = pieces.len();
        self.headers.push(header);
        self.headers.last().expect("one was just pushed")
    }
}

const HEADERS: usize = 256;

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pieces({} staged)", self.headers.len())
    }
}

/// The sends of one turn, which borrow the caller's memory.
///
/// Handed to the closure of [`Ring::submit_and_wait`]. Whatever becomes of the closure, nothing that
/// it staged is read by the kernel after that call.
#[derive(Debug)]
pub struct Batch<'ring, 'bytes> {
    ring: &'ring mut Ring,
    bytes: PhantomData<&'bytes [u8]>,
}

impl<'ring, 'bytes> Batch<'ring, 'bytes> {
    pub(super) fn new(ring: &'ring mut Ring) -> Self {
        Self {
            ring,
            bytes: PhantomData,
        }
    }

    /// Stages what comes after the sends, and submits it all. The batch lives on meanwhile, so that
    /// its drop covers a panic in here too.
    pub(super) fn submit_and_wait(self, timeout: Option<Duration>) -> io::Result<()> {
        self.ring.stage_endings();
        self.ring.queues.submit_and_wait(timeout)
    }

    /// Submits all sends.
    fn submit_all(self) -> io::Result<()> {
        self.ring.queues.submit_all()
    }

    /// Sends `bytes` as far as the socket has room, now. What was not taken is told by
    /// [`Completion::Short`], an error by [`Completion::Failed`]; success is silent.
    ///
    /// A `close` of this turn comes after the send; on a slot closed earlier nothing is sent.
    ///
    /// Panics if the slot is free, an owned send is in flight on it, or `bytes` is empty or longer
    /// than [`SEND_BYTES_MAX`]. Must not be called twice for one slot in one batch: if the first is
    /// short and room appears, the second would go through and tear the stream (checked in debug
    /// builds).
    pub fn send(&mut self, slot: Slot, bytes: &'bytes [u8]) {
        assert!(!bytes.is_empty());
        assert!(bytes.len() <= SEND_BYTES_MAX);
        let Some(target) = self.ring.target_for_borrowed(slot) else {
            return;
        };
        let length = u32::try_from(bytes.len()).expect("SEND_BYTES_MAX is a u32");
        let entry = on!(target, fd => {
            opcode::Send::new(fd, bytes.as_ptr(), length)
                .flags(BORROWED)
                .build()
        });
        self.stage(slot, entry);
    }

    /// Like [`Self::send`], of several pieces in order as one send.
    ///
    /// Panics in addition if there are more than [`SEND_PIECES_MAX`] pieces.
    pub fn send_pieces(&mut self, slot: Slot, pieces: &[&'bytes [u8]]) {
        assert!(pieces.len() <= SEND_PIECES_MAX);
        let total: usize = pieces.iter().map(|piece| piece.len()).sum();
        assert!(total > 0);
        assert!(total <= SEND_BYTES_MAX);
        let Some(target) = self.ring.target_for_borrowed(slot) else {
            return;
        };
        if !self.ring.pieces.has_room(pieces.len()) {
            // On failure the ring is broken and reads nothing any more; the caller is told by
            // `submit_and_wait`.
            let _told_later = self.ring.queues.submit_all();
            self.ring.pieces.clear_for(pieces.len());
        }
        let header = self.ring.pieces.keep(pieces);
        let flags = BORROWED.cast_unsigned();
        let entry = on!(target, fd => opcode::SendMsg::new(fd, header).flags(flags).build());
        self.stage(slot, entry);
    }

    fn stage(&mut self, slot: Slot, entry: squeue::Entry) {
        let user_data = self
            .ring
            .socket(slot)
            .user_data(Operation::SendBorrowed, slot);
        let entry = entry
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(user_data.as_u64());
        self.ring.queues.counters.sends += 1;
        // SAFETY: the bytes live for 'bytes, which outlives the `submit_and_wait` that lent us the
        // ring; that call (or our drop, when the closure panics) does not return before the kernel
        // has consumed the entry, or will never look at the queue again. MSG_DONTWAIT makes the
        // kernel done with the bytes when the entry is consumed. The header and the pieces lie in
        // `ring.pieces`, which is cleared only after that.
        unsafe { self.ring.queues.push_entry(&entry) };
    }
}

impl Drop for Batch<'_, '_> {
    /// When the closure panicked, the staged sends go out before their bytes can.
    fn drop(&mut self) {
        if std::thread::panicking() {
            // On failure the ring is broken: it never enters the kernel again.
            let _told_later = self.ring.queues.submit_all();
        }
    }
}

/// Bytes that the kernel is sending.
#[derive(Debug)]
pub(super) struct OwnedSend {
    bytes: Vec<u8>,
    /// Bytes that the socket has taken, `0..bytes.len()`.
    taken: usize,
}

/// The owned sends in flight, by slot. A send stays here until its last completion.
///
/// A map, because few sockets are full at a time, and an index in each would cost them all 4 bytes.
pub(super) type OwnedSends = HashMap<Slot, OwnedSend>;

impl Ring {
    /// Sends borrowed bytes at once, in a system call of its own that waits for nothing: for bytes that
    /// cannot stay until the turn's end. `short` is told each send that was not taken whole, and how
    /// much of it was; nothing, if the socket is broken, which the next send then tells.
    ///
    /// Errors and panics: as of [`Ring::submit_and_wait`] and [`Batch::send`].
    pub fn send_now<'bytes>(
        &mut self,
        sends: impl Iterator<Item = (Slot, &'bytes [u8])>,
        mut short: impl FnMut(Slot, usize),
    ) -> io::Result<()> {
        let mut batch = Batch::new(self);
        for (slot, bytes) in sends {
            batch.send(slot, bytes);
        }
        batch.submit_all()?;
        while let Some(cqe) = self.queues.pop_short() {
            let slot = cqe.user_data.slot();
            let socket = self.current_mut(slot, cqe.user_data.generation());
            if socket.is_some_and(|socket| !socket.flags.has(Flags::CLOSING)) {
                self.queues.counters.short_sends += 1;
                short(slot, usize::try_from(cqe.result).unwrap_or(0));
            }
        }
        Ok(())
    }

    /// Sends `bytes`, waiting for room as long as it takes. [`Completion::Sent`] gives the buffer
    /// back when all of it is with the socket. Both phases.
    ///
    /// Panics if the slot is free or closing, if an owned send is in flight on it (two could be
    /// reordered), or if `bytes` is empty or longer than [`SEND_BYTES_MAX`].
    pub fn send_owned(&mut self, slot: Slot, bytes: Vec<u8>) {
        assert!(!bytes.is_empty());
        assert!(bytes.len() <= SEND_BYTES_MAX);
        let socket = self.socket(slot);
        assert_ne!(socket.phase, Phase::Free);
        assert!(!socket.flags.has(Flags::CLOSING));
        assert!(!socket.is_sending(), "two sends on one socket");
        self.owned.insert(slot, OwnedSend { bytes, taken: 0 });
        self.socket_mut(slot).flags.set(Flags::SENDING);
        self.stage_owned(slot);
    }

    /// Whether an owned send is in flight on the slot, so that no other send may be staged.
    ///
    /// Panics if the slot was never adopted.
    pub fn is_sending(&self, slot: Slot) -> bool {
        self.socket(slot).is_sending()
    }

    fn stage_owned(&mut self, slot: Slot) {
        let socket = self.socket_mut(slot);
        socket.in_flight += 1;
        let target = socket.target(slot);
        let user_data = socket.user_data(Operation::SendOwned, slot);
        let send = &self.owned[&slot];
        let rest = &send.bytes[send.taken..];
        let rest = &rest[..rest.len().min(OWNED_PORTION_BYTES)];
        let length = u32::try_from(rest.len()).expect("a portion is a u32");
        let entry = on!(target, fd => {
            opcode::Send::new(fd, rest.as_ptr(), length)
                .flags(OWNED)
                .build()
        });
        let entry = entry.user_data(user_data.as_u64());
        // SAFETY: the bytes belong to `self.owned` and stay there, unchanged, until the completion
        // of this send (the vector's heap block does not move when the map grows); a ring that is
        // dropped before leaks them.
        unsafe { self.queues.push_entry(&entry) };
    }

    /// A send of owned bytes has ended: on with the rest, or done.
    pub(super) fn on_owned_sent(&mut self, slot: Slot, cqe: Cqe) -> Option<Completion> {
        let socket = self.socket_mut(slot);
        socket.in_flight -= 1;
        let is_closing = socket.flags.has(Flags::CLOSING);
        let Entry::Occupied(mut entry) = self.owned.entry(slot) else {
            unreachable!("a send stays in the map until its last completion")
        };
        let send = entry.get_mut();
        let taken = usize::try_from(cqe.result).unwrap_or(0);
        send.taken += taken;
        let is_whole = send.taken >= send.bytes.len();
        if !is_whole && !is_closing && (taken > 0 || cqe.result == -libc::EINTR) {
            // MSG_WAITALL may be short within a portion all the same (liburing 1337).
            self.queues.counters.owned_resumed += 1;
            self.stage_owned(slot);
            return (taken > 0).then_some(Completion::Progress(slot));
        }
        let bytes = entry.remove().bytes;
        if self.owned.is_empty() {
            // Whatever a bad moment has needed.
            self.owned.shrink_to(OWNED_KEPT);
        }
        self.socket_mut(slot).flags.clear(Flags::SENDING);
        if is_closing {
            return None;
        }
        if !is_whole {
            let errno = if cqe.result < 0 {
                -cqe.result
            } else {
                libc::EPIPE
            };
            return self.fail(slot, errno);
        }
        let flags = &mut self.socket_mut(slot).flags;
        if flags.has(Flags::SHUT_AFTER_SEND) {
            flags.clear(Flags::SHUT_AFTER_SEND);
            self.stage_shutdown(slot);
        }
        Some(Completion::Sent(slot, bytes))
    }

    /// A borrowed send that was not taken whole.
    pub(super) fn on_short(&mut self, slot: Slot, cqe: Cqe) -> Option<Completion> {
        self.queues.counters.short_sends += 1;
        if self.socket(slot).flags.has(Flags::CLOSING) {
            return None;
        }
        match usize::try_from(cqe.result) {
            Ok(taken) => Some(Completion::Short { slot, taken }),
            Err(_) => match -cqe.result {
                // A full socket, a signal, or no memory just now: all of it is still to be sent.
                libc::EAGAIN | libc::EINTR | libc::ENOBUFS | libc::ENOMEM => {
                    Some(Completion::Short { slot, taken: 0 })
                }
                errno => self.fail(slot, errno),
            },
        }
    }

    /// The socket for a borrowed send; `None` if its close is on the way.
    fn target_for_borrowed(&mut self, slot: Slot) -> Option<Target> {
        let socket = self.socket(slot);
        assert_ne!(socket.phase, Phase::Free);
        assert!(!socket.is_sending(), "an owned send is in flight");
        let target = socket.target(slot);
        let is_closed = socket.flags.has(Flags::CLOSE_STAGED);
        #[cfg(debug_assertions)]
        assert!(
            self.sent_this_turn.insert(slot),
            "two sends on one socket in one turn"
        );
        (!is_closed).then_some(target)
    }
}
