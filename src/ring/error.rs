//! Why there is no ring: which call was refused, and what usually refuses it.

use std::fmt;
use std::io;

use super::probe;

/// The call that the kernel refused while a ring was being set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetUpCall {
    /// `io_uring_setup(2)`: the ring itself.
    Setup,
    /// `io_uring_register(2)`, `IORING_REGISTER_FILES2`: the table of direct descriptors.
    RegisterFiles,
    /// `mmap(2)`: memory for the receive buffers.
    MapBuffers,
    /// `io_uring_register(2)`, `IORING_REGISTER_PBUF_RING`: the receive buffers.
    RegisterBufferRing,
    /// `eventfd(2)`: wakes the ring from threads that have none.
    Eventfd,
    /// `io_uring_register(2)`, `IORING_REGISTER_ENABLE_RINGS`.
    EnableRing,
    /// `io_uring_enter(2)`, for the first time.
    Enter,
    /// Features that the ring reported as missing although it could be set up.
    Features,
}

impl SetUpCall {
    fn name(self) -> &'static str {
        match self {
            Self::Setup => "io_uring_setup",
            Self::RegisterFiles => "io_uring_register(files)",
            Self::MapBuffers => "mmap(receive buffers)",
            Self::RegisterBufferRing => "io_uring_register(buffer ring)",
            Self::Eventfd => "eventfd",
            Self::EnableRing => "io_uring_register(enable)",
            Self::Enter => "io_uring_enter",
            Self::Features => "io_uring feature check",
        }
    }
}

/// A ring could not be set up.
///
/// The text names the running kernel and, for the errors that a forbidden or missing io_uring gives
/// (`EPERM`, `ENOSYS`, `EINVAL`, `EACCES`), its three usual causes with their remedies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingError {
    /// The call that failed.
    pub call: SetUpCall,
    /// Its errno.
    pub errno: i32,
    /// `uname -r` of the running kernel, or "unknown".
    pub kernel_release: String,
}

impl RingError {
    pub(super) fn new(call: SetUpCall, error: &io::Error) -> Self {
        Self {
            call,
            errno: error.raw_os_error().unwrap_or(libc::EINVAL),
            kernel_release: probe::kernel_release(),
        }
    }

    fn may_be_forbidden(&self) -> bool {
        matches!(
            self.errno,
            libc::EPERM | libc::EACCES | libc::ENOSYS | libc::EINVAL
        )
    }
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} was refused: {} (kernel {}).",
            self.call.name(),
            io::Error::from_raw_os_error(self.errno),
            self.kernel_release,
        )?;
        if self.may_be_forbidden() {
            write!(
                f,
                " Usual causes: (1) a container's seccomp profile forbids io_uring: run with a \
                 profile that allows io_uring_setup, io_uring_enter and io_uring_register \
                 (deploy/docker/seccomp makes one); \
                 (2) it is switched off: set sysctl kernel.io_uring_disabled=0; \
                 (3) the kernel is older than 6.1."
            )?;
        } else if matches!(self.errno, libc::EMFILE | libc::ENFILE) {
            write!(
                f,
                " Raise the limit of open files (ulimit -n, LimitNOFILE)."
            )?;
        } else if self.errno == libc::ENOMEM {
            write!(
                f,
                " Memory or the locked-memory limit (ulimit -l) is too small."
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for RingError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_ring_names_the_three_usual_causes() {
        for errno in [libc::EPERM, libc::ENOSYS, libc::EINVAL] {
            let error = RingError {
                call: SetUpCall::Setup,
                errno,
                kernel_release: "5.15.0".to_owned(),
            };
            let text = error.to_string();
            for part in [
                "seccomp",
                "kernel.io_uring_disabled",
                "older than 6.1",
                "5.15.0",
            ] {
                assert!(text.contains(part), "{text:?} lacks {part:?}");
            }
        }
    }

    #[test]
    fn exhausted_descriptors_name_the_limit() {
        let error = RingError {
            call: SetUpCall::RegisterFiles,
            errno: libc::EMFILE,
            kernel_release: "6.18.0".to_owned(),
        };
        assert!(error.to_string().contains("ulimit -n"));
    }
}
