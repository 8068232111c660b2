//! What ends a run: a message that is not as it must be, or a server or machine that gives up.

use std::io;

use campanile::ring::RingError;
use campanile::ws::Violation;

/// Whatever a run cannot go on after. Clients and senders are numbered from 0 over all threads.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// Not a message of this run, or not whole.
    #[error("client {client}: a corrupt message: {what}")]
    Corrupt { client: u32, what: String },
    /// A message that had come already.
    #[error("client {client}: message {sequence} of sender {sender} came twice")]
    Doubled {
        client: u32,
        sender: u32,
        sequence: u32,
    },
    /// A message came and those before it had not.
    #[error(
        "client {client}: message {sequence} of sender {sender} came instead of {expected}: \
         lost or reordered"
    )]
    Skipped {
        client: u32,
        sender: u32,
        sequence: u32,
        expected: u32,
    },
    /// A message of somebody whose messages this client must not get.
    #[error("client {client}: a message of sender {sender}, which was not for it")]
    Misdirected { client: u32, sender: u32 },
    /// The last messages did not come.
    #[error("messages were lost: {received} of {expected} came within {seconds} s")]
    Lost {
        received: u64,
        expected: u64,
        seconds: u64,
    },
    /// All came, more than once.
    #[error("{received} messages came where {expected} were due")]
    TooMany { received: u64, expected: u64 },
    /// `--total-order` was asked for and is not kept.
    #[error("subscribers {first} and {other} got the messages in different orders")]
    Orders { first: u32, other: u32 },
    /// The server's frames break RFC 6455.
    #[error("client {client}: the server's frame: {violation:?}")]
    Frame { client: u32, violation: Violation },
    /// The server's message is longer than anything that this run asks for.
    #[error("client {client}: a message of {bytes} bytes, more than is taken")]
    TooBig { client: u32, bytes: u64 },
    /// A close frame.
    #[error("client {client}: closed by the server: {close}")]
    Closed { client: u32, close: String },
    /// No close frame, just the end.
    #[error("client {client}: the server has ended the connection without a close frame")]
    Ended { client: u32 },
    /// The socket failed.
    #[error("client {client}: {error}")]
    Socket { client: u32, error: io::Error },
    /// The opening handshake.
    #[error("client {client}: the opening handshake: {what}")]
    Handshake { client: u32, what: String },
    /// The server does not read.
    #[error("client {client}: {bytes} bytes wait to be sent: the server does not keep up")]
    Backlog { client: u32, bytes: usize },
    /// The application refused a message.
    #[error("client {client}: the server refused: {what}")]
    Rejected { client: u32, what: String },
    /// The limit of the whole run.
    #[error("not done within --timeout while waiting until {what}")]
    Timeout { what: &'static str },
    /// What was asked for cannot be done here.
    #[error("{0}")]
    Impossible(String),
    /// The ring.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// Something of the system's.
    #[error("{0}")]
    Io(#[from] io::Error),
}
