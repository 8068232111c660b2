//! Provided receive buffers: one ring of equal buffers per shard, lent out one lease at a time.
//!
//! ```text
//!   entries  [addr len id][addr len id] …   shared with the kernel; `tail` lies in the first entry
//!   memory   [ buffer 0 ][ buffer 1 ] …     each belongs to the kernel, or to one lease
//! ```
//! The kernel takes buffers at its own head, we put them back at `tail` (`io_uring_buf_ring`, 5.19).
//! Not incremental and no bundles: one completion fills one buffer.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::{Submitter, types::BufRingEntry};

use super::op::BUFFER_GROUP;

/// Anonymous page-aligned memory, zeroed, paid for as it is touched.
struct Region {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a region is plain memory with one owner; nothing in it depends on a thread.
unsafe impl Send for Region {}

impl Region {
    fn map(bytes: usize) -> io::Result<Self> {
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches no
        // memory that exists.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).expect("mmap gives no mapping at address zero");
        Ok(Self { start, bytes })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this address and size, and its owner is gone.
        // The ring keeps the region from being dropped while the kernel may still write to it.
        let result = unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
        debug_assert_eq!(result, 0);
    }
}

/// The registered buffers of one ring.
pub(super) struct BufRing {
    entries: Region,
    memory: Region,
    count: u16,
    buffer_bytes: u32,
    tail: Cell<u16>,
    lent: Cell<u16>,
}

const ENTRY_BYTES: usize = size_of::<BufRingEntry>();
const _: () = assert!(ENTRY_BYTES == 16);

impl BufRing {
    /// Maps memory for `count` buffers, all of them the kernel's. Nothing is registered yet.
    ///
    /// Panics unless `count` is a power of two up to 32,768 (the kernel's bound) and a buffer holds
    /// at least one byte.
    pub(super) fn map(count: u16, buffer_bytes: u32) -> io::Result<Self> {
        assert!(count.is_power_of_two());
        assert!(count <= 1 << 15);
        assert!(buffer_bytes > 0);
        let ring = Self {
            entries: Region::map(usize::from(count) * ENTRY_BYTES)?,
            memory: Region::map(usize::from(count) * buffer_bytes as usize)?,
            count,
            buffer_bytes,
            tail: Cell::new(0),
            lent: Cell::new(count),
        };
        for id in 0..count {
            ring.give_back(id);
        }
        Ok(ring)
    }

    /// Registers the buffers. They must outlive the ring's last operation; the ring sees to that.
    pub(super) fn register(&self, submitter: &Submitter<'_>) -> io::Result<()> {
        let address = self.entries.start.as_ptr() as u64;
        // SAFETY: the entries are mapped for `count` entries, page-aligned, and stay mapped until
        // the ring is gone: `Ring` drops the io_uring first, and leaks this memory if the kernel may
        // not be done with it.
        unsafe { submitter.register_buf_ring_with_flags(address, self.count, BUFFER_GROUP, 0) }
    }

    /// Buffers that are out on lease.
    pub(super) fn lent(&self) -> u16 {
        self.lent.get()
    }

    /// Whether every buffer is out on lease, so that a receive must fail.
    pub(super) fn is_exhausted(&self) -> bool {
        self.lent.get() == self.count
    }

    /// Puts a buffer at the tail and lets the kernel see it.
    fn give_back(&self, id: u16) {
        assert!(id < self.count);
        assert!(self.lent.get() > 0, "more buffers came back than were lent");
        let tail = self.tail.get();
        let address = self.buffer(id).as_ptr() as u64;
        let base = self.entries.start.cast::<BufRingEntry>();
        // SAFETY: the index is masked below `count`, so the entry lies inside the mapping.
        let entry = unsafe { base.add(usize::from(tail & (self.count - 1))) };
        // SAFETY: entries from tail up to the kernel's head are ours to write; the kernel reads one
        // only after the tail has passed it. All is on the ring's own thread, so no other reference
        // to the entry exists. The tail overlays `resv` of entry 0, which is not written here.
        let entry = unsafe { &mut *entry.as_ptr() };
        entry.set_addr(address);
        entry.set_len(self.buffer_bytes);
        entry.set_bid(id);
        self.tail.set(tail.wrapping_add(1));
        self.lent.set(self.lent.get() - 1);
        // SAFETY: `base` is the first entry of a mapped and zeroed ring.
        let shared = unsafe { BufRingEntry::tail(base.as_ptr()) };
        // SAFETY: the tail is an aligned u16 inside the mapping, which the kernel only reads.
        let shared = unsafe { AtomicU16::from_ptr(shared.cast_mut()) };
        shared.store(self.tail.get(), Ordering::Release);
    }

    fn buffer(&self, id: u16) -> NonNull<u8> {
        debug_assert!(id < self.count);
        // SAFETY: the memory is mapped for `count` buffers of `buffer_bytes`, and `id < count`.
        unsafe {
            self.memory
                .start
                .add(usize::from(id) * self.buffer_bytes as usize)
        }
    }
}

impl fmt::Debug for BufRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufRing")
            .field("count", &self.count)
            .field("buffer_bytes", &self.buffer_bytes)
            .field("lent", &self.lent.get())
            .finish_non_exhaustive()
    }
}

/// One receive buffer with what the kernel put into it. Dropping it gives the buffer back.
///
/// At most [`crate::limits::RECV_BUFFER_BYTES`] (or what the ring was configured with). Keep leases
/// short: while all buffers of a ring are lent, the ring cannot receive. A lease may outlive its
/// ring, and belongs to the ring's thread.
pub struct Lease {
    ring: Rc<BufRing>,
    id: u16,
    length: u32,
}

impl Lease {
    /// Takes charge of the buffer that a completion named.
    ///
    /// `None`: the completion names no buffer of this ring, or more bytes than a buffer holds.
    ///
    /// # Safety
    ///
    /// The kernel has handed out buffer `id` in a completion that was not turned into a lease
    /// before, and has written `length` bytes to it.
    pub(super) unsafe fn take(ring: &Rc<BufRing>, id: u16, length: u32) -> Option<Self> {
        if id >= ring.count || length > ring.buffer_bytes {
            return None;
        }
        ring.lent.set(ring.lent.get() + 1);
        Some(Self {
            ring: Rc::clone(ring),
            id,
            length,
        })
    }
}

impl Deref for Lease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let start = self.ring.buffer(self.id).as_ptr();
        // SAFETY: the buffer is initialised (zeroed at mapping, then written by the kernel), holds
        // `length` bytes, and is this lease's alone until it is dropped.
        unsafe { std::slice::from_raw_parts(start, self.length as usize) }
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut [u8] {
        let start = self.ring.buffer(self.id).as_ptr();
        // SAFETY: as for `deref`; `&mut self` makes the reference unique.
        unsafe { std::slice::from_raw_parts_mut(start, self.length as usize) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.ring.give_back(self.id);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({} bytes in buffer {})", self.length, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays the kernel, which took buffer `id` and wrote `length` bytes.
    fn take(ring: &Rc<BufRing>, id: u16, length: u32) -> Option<Lease> {
        // SAFETY: no kernel knows this ring; the tests take each buffer once.
        unsafe { Lease::take(ring, id, length) }
    }

    #[test]
    fn lent_and_returned_buffers_balance() {
        let ring = Rc::new(BufRing::map(4, 64).unwrap());
        assert_eq!(ring.lent(), 0);
        let leases: Vec<Lease> = (0..4).map(|id| take(&ring, id, 64).unwrap()).collect();
        assert!(ring.is_exhausted());
        drop(leases);
        assert_eq!(ring.lent(), 0);
        assert_eq!(ring.tail.get(), 8);
    }

    #[test]
    fn leases_do_not_overlap_and_may_outlive_the_ring() {
        let ring = Rc::new(BufRing::map(2, 8).unwrap());
        let mut first = take(&ring, 0, 8).unwrap();
        let mut second = take(&ring, 1, 3).unwrap();
        drop(ring);
        first.fill(1);
        second.fill(2);
        assert_eq!(&first[..], [1; 8]);
        assert_eq!(&second[..], [2; 3]);
    }

    #[test]
    fn a_completion_that_names_no_buffer_of_ours_is_no_lease() {
        let ring = Rc::new(BufRing::map(2, 8).unwrap());
        assert!(take(&ring, 2, 1).is_none());
        assert!(take(&ring, 0, 9).is_none());
        assert_eq!(ring.lent(), 0);
    }
}
