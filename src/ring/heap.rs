//! The heap of the C library, which keeps what is freed.

/// Gives the kernel back what is free in the heap. glibc by itself returns only what lies at its end,
/// so that a process which once held much would for ever look as if it still did. May take tens of
/// milliseconds, in which threads that allocate wait in turn; a C library other than glibc does
/// nothing.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number and no pointer, and may be called from any thread (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}
