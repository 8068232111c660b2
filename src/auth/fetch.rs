//! How the outside world is asked, by whoever can: nothing here opens a socket.

use std::time::Duration;

use futures_util::future::BoxFuture;

/// Largest body that is taken from a key set's or session server, bytes.
pub const FETCHED_BODY_BYTES_MAX: usize = 256 * 1024;

/// An HTTP client, as far as authentication needs one.
pub trait Fetch: Send + Sync {
    /// Sends a GET with further header fields. The future ends within `timeout`, whatever the server
    /// does, and takes at most [`FETCHED_BODY_BYTES_MAX`] bytes of a body.
    fn get(
        &self,
        url: &str,
        headers: Vec<(&'static str, String)>,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Fetched, FetchError>>;
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The HTTP status.
    pub status: u16,
    /// The whole body, at most [`FETCHED_BODY_BYTES_MAX`] bytes.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// Not within the time.
    #[error("no answer in time")]
    Timeout,
    /// The body is longer than [`FETCHED_BODY_BYTES_MAX`].
    #[error("the answer is longer than {FETCHED_BODY_BYTES_MAX} bytes")]
    TooLarge,
    /// No connection, no TLS, a redirect that is not followed: what the client says, without the
    /// URL's query.
    #[error("{0}")]
    Failed(String),
}
