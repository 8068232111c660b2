//! What the bytes of a connection pass through before anything else reads them, as bytes in and bytes
//! out: the header of the PROXY protocol, and TLS (rustls).
//!
//! ```text
//!   socket ──► [PROXY header] ──► [TLS records] ──► HTTP and WebSocket
//!              Passage::Proxy     Passage::Tls
//! ```
//! A [`Passage`] knows no sockets and no time; `server/transport.rs` drives it between ring and shard,
//! and the service thread for plain HTTP. The [`Acceptor`] reads certificates and keys from files, at
//! the start and at every [`reload`](Acceptor::reload): that is all the I/O there is.
//!
//! Sources: RFC 8446 (TLS 1.3), RFC 5246 (TLS 1.2), RFC 7301 (ALPN), RFC 6066 section 3 (SNI), and
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>.
#![forbid(unsafe_code)]

mod acceptor;
mod certificates;
mod keys;
mod options;
mod passage;
mod proxy;
mod records;
mod session;
mod validity;

#[cfg(test)]
pub(crate) mod tests;

pub use acceptor::{Acceptor, PreparedTls};
pub use options::{CERTIFICATES_MAX, CertificateFiles, TlsError, TlsOptions, TlsVersion};
pub use passage::{Passage, Passed, Refused};
pub use proxy::{Header, PROXY_BYTES_MAX, ProxyError};
pub use session::{Session, SessionError};

/// Whether a plain HTTP request came over TLS: handlers of the router find it as an extension.
///
/// Of a proxy in front it says nothing; that is for `X-Forwarded-Proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsSecure(pub bool);
