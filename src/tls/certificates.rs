//! Certificates and their keys: read from files, and chosen by the name that a client asks for.

use std::path::Path;
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::options::{CERTIFICATES_MAX, CertificateFiles, TlsError};

/// The certificates of one acceptor, as they were read last. The first is for everybody else.
#[derive(Debug)]
pub(super) struct Certificates(Vec<Arc<CertifiedKey>>);

impl Certificates {
    /// Reads all files.
    ///
    /// Errors: the first file that cannot be used.
    pub(super) fn read(
        files: &[CertificateFiles],
        provider: &CryptoProvider,
    ) -> Result<Self, TlsError> {
        if files.is_empty() {
            return Err(TlsError::NoCertificate);
        }
        if files.len() > CERTIFICATES_MAX {
            return Err(TlsError::TooManyCertificates(files.len()));
        }
        let read = |files: &CertificateFiles| read_one(files, provider).map(Arc::new);
        files.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// The certificates of the server itself, without their chains, in order.
    pub(super) fn ends(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.0.iter().filter_map(|key| key.cert.first())
    }

    /// The certificate for a host.
    fn choose(&self, host: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        let default = self.0.first();
        let [_, _, ..] = &self.0[..] else {
            return default;
        };
        let Some(name) = host.and_then(|host| ServerName::try_from(host).ok()) else {
            return default;
        };
        // Wildcards are compared as RFC 6125 section 6.4.3 has it, by the same code as in clients.
        let is_for = |key: &&Arc<CertifiedKey>| {
            let certificate = key.cert.first().map(ParsedCertificate::try_from);
            certificate.is_some_and(|certificate| {
                certificate.is_ok_and(|certificate| verify_server_name(&certificate, &name).is_ok())
            })
        };
        self.0.iter().find(is_for).or(default)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name()).cloned()
    }
}

fn read_one(files: &CertificateFiles, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let CertificateFiles { chain, key } = files;
    let text = read_file(chain)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| not_pem(chain, &error))?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificateIn(chain.clone()));
    }
    let text = read_file(key)?;
    let private = match PrivateKeyDer::from_pem_slice(&text) {
        Ok(private) => private,
        Err(pem::Error::NoItemsFound) => return Err(TlsError::NoKeyIn(key.clone())),
        Err(error) => return Err(not_pem(key, &error)),
    };
    // Says as well whether the key is that of the certificate.
    CertifiedKey::from_der(certificates, private, provider).map_err(|error| TlsError::Key {
        chain: chain.clone(),
        key: key.clone(),
        error,
    })
}

fn read_file(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::Unreadable {
        path: path.to_owned(),
        error,
    })
}

fn not_pem(path: &Path, error: &pem::Error) -> TlsError {
    TlsError::NotPem {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}
