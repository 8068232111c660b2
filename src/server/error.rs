//! Why a server did not start: cause, value and remedy.

use std::io;
use std::net::SocketAddr;

use crate::limits::SHARDS_MAX;
use crate::ring::RingError;

/// A server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No address was given to listen on.
    #[error("no address to listen on: call `listen`, or set server.listen")]
    NoAddress,
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}{}", listen_remedy(error))]
    Listen {
        /// As it was given.
        address: String,
        /// Of `getaddrinfo(3)`, `bind(2)` or `listen(2)`.
        error: io::Error,
    },
    /// An address of the admin listener cannot be listened on.
    #[error(
        "cannot listen on {address} for the admin listener (server.admin_listen): {error}{}",
        listen_remedy(error)
    )]
    Admin {
        /// As it was given.
        address: SocketAddr,
        /// Of `bind(2)` or `listen(2)`.
        error: io::Error,
    },
    /// More shards than there can be.
    #[error("{shards} shards are too many: at most {SHARDS_MAX}")]
    TooManyShards {
        /// How many were asked for.
        shards: usize,
    },
    /// It cannot be found out how much memory there is, or how much of it is used.
    #[error("cannot read how much memory there is: {0}")]
    Memory(io::Error),
    /// io_uring cannot be used.
    #[error("{0}")]
    Ring(RingError),
    /// A thread, or its runtime, could not be made.
    #[error(
        "cannot start a thread: {0}; raise the limit of processes (ulimit -u) or lower --shards"
    )]
    Thread(io::Error),
    /// The system has no random numbers.
    #[error("no random numbers: {0}")]
    Randomness(getrandom::Error),
}

fn listen_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => " (another process listens there; choose another port)",
        io::ErrorKind::PermissionDenied => {
            " (ports below 1024 need CAP_NET_BIND_SERVICE; choose another port)"
        }
        io::ErrorKind::AddrNotAvailable => " (no interface has this address)",
        _ => "",
    }
}
