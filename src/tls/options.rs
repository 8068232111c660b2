//! What a listener with TLS is set up with, and what may be wrong with it.

use std::io;
use std::path::PathBuf;

/// A certificate chain and its private key, as two PEM files (which may be the same).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate of the server, then those that lead to the authority.
    pub chain: PathBuf,
    /// Its private key: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: PathBuf,
}

/// The oldest version of TLS that is spoken. Older ones than these are not there at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2, and 1.3 with whoever can.
    #[default]
    V1_2,
    /// TLS 1.3 only.
    V1_3,
}

/// Options of an [`Acceptor`](super::Acceptor).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// At least one, at most [`CERTIFICATES_MAX`]. A client that names a host (SNI) gets the first that
    /// is for it; others, and those that name none, get the first of all.
    pub certificates: Vec<CertificateFiles>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
}

/// Most certificates of one acceptor: each handshake may look at all of them.
pub const CERTIFICATES_MAX: usize = 64;

/// TLS cannot be set up. All variants are the operator's to put right; the files are named.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No certificate was given.
    #[error("TLS needs a certificate and its key")]
    NoCertificate,
    /// More than [`CERTIFICATES_MAX`].
    #[error("{0} certificates are too many: at most {CERTIFICATES_MAX}")]
    TooManyCertificates(usize),
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file is not PEM.
    #[error("{} is not PEM: {reason}", path.display())]
    NotPem {
        /// Which.
        path: PathBuf,
        /// What the parser says.
        reason: String,
    },
    /// A file of certificates holds none.
    #[error("{} holds no certificate (-----BEGIN CERTIFICATE-----)", .0.display())]
    NoCertificateIn(PathBuf),
    /// A file of keys holds none.
    #[error("{} holds no private key that is not encrypted (-----BEGIN PRIVATE KEY-----)", .0.display())]
    NoKeyIn(PathBuf),
    /// A key cannot be used: its kind is unknown, or it is not that of the certificate.
    #[error("the key {} cannot be used with {}: {error}", key.display(), chain.display())]
    Key {
        /// The file of the certificate.
        chain: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// Why.
        error: rustls::Error,
    },
    /// The provider of cryptography refuses.
    #[error("TLS cannot be set up: {0}")]
    Provider(rustls::Error),
}
