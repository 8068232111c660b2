//! What one connection's bytes pass through: a proxy's header, then TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use super::acceptor::Acceptor;
use super::proxy::{Header, ProxyError};
use super::session::{Session, SessionError};

/// The way from a socket's bytes to those of HTTP and WebSocket, as far as it lies before a connection.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a passage is boxed, and mostly a session: a box in it would be one more for each"
)]
pub enum Passage {
    /// A header of the PROXY protocol comes first, TLS after it if there is an acceptor.
    Proxy {
        /// What has come of the header. At most [`PROXY_BYTES_MAX`](super::PROXY_BYTES_MAX) bytes.
        gathered: Vec<u8>,
        /// The proxy, for the log.
        proxy: SocketAddr,
        /// TLS comes after it.
        then: Option<Arc<Acceptor>>,
    },
    /// TLS.
    Tls(Session),
    /// Nothing is in the way any more.
    Plain,
}

/// What bytes have turned out to be, besides plaintext.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// A proxy has said whose connection it is.
    pub peer: Option<SocketAddr>,
}

/// Bytes that cannot pass.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// No header of a proxy, where one was due.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// Not TLS, or bad TLS.
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl Passage {
    /// For a new connection, which comes from a `proxy` that announces whose it is, if one is given.
    /// `None`: nothing is in its way.
    pub fn new(tls: Option<&Arc<Acceptor>>, proxy: Option<SocketAddr>) -> Option<Self> {
        match (tls, proxy) {
            (then, Some(proxy)) => Some(Self::Proxy {
                gathered: Vec::new(),
                proxy,
                then: then.cloned(),
            }),
            (Some(acceptor), None) => Some(Self::Tls(acceptor.accept())),
            (None, None) => None,
        }
    }

    /// Whether TLS protects the connection, or will.
    pub fn is_secure(&self) -> bool {
        matches!(self, Self::Tls(_) | Self::Proxy { then: Some(_), .. })
    }

    /// What waits in it, bytes.
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Proxy { gathered, .. } => gathered.len(),
            Self::Tls(session) => session.held_bytes(),
            Self::Plain => 0,
        }
    }

    /// The session, once bytes of it are due.
    pub fn session(&mut self) -> Option<&mut Session> {
        match self {
            Self::Tls(session) => Some(session),
            Self::Proxy { .. } | Self::Plain => None,
        }
    }

    /// Takes in bytes from the socket, cut anyhow, and adds what comes out at the end to `plaintext`.
    ///
    /// Errors: the connection is to be cut, after what its session has pending. What was added to
    /// `plaintext` is not to be used.
    pub fn read(&mut self, bytes: &mut [u8], plaintext: &mut Vec<u8>) -> Result<Passed, Refused> {
        match self {
            Self::Plain => plaintext.extend_from_slice(bytes),
            Self::Tls(session) => session.read(bytes, plaintext)?,
            Self::Proxy { gathered, then, .. } => {
                gathered.extend_from_slice(bytes);
                let Some(header) = Header::decode(gathered)? else {
                    return Ok(Passed::default());
                };
                let mut gathered = std::mem::take(gathered);
                let next = then.take().map(|acceptor| Self::Tls(acceptor.accept()));
                *self = next.unwrap_or(Self::Plain);
                // At most once: what follows is TLS, or nothing is in the way.
                self.read(&mut gathered[header.length..], plaintext)?;
                return Ok(Passed {
                    peer: header.source,
                });
            }
        }
        Ok(Passed::default())
    }
}
