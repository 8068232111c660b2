//! TLS of the load's side: rustls as it is meant to be used, with its buffers.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue};
use rustls::client::{Tls13ClientSessionValue, WebPkiServerVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, NamedGroup, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

/// What all sessions of a run have in common.
#[derive(Debug)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    /// Trusts the certificates in the file `ca` and no others. `is_resuming`: whoever has had a session
    /// before comes back by its ticket; else every handshake is a full one.
    ///
    /// Errors: the file holds no certificate, or `host` is neither name nor address.
    pub(crate) fn new(ca: &Path, host: &str, is_resuming: bool) -> Result<Self, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", ca.display());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca).map_err(|error| wrong(&error))? {
            let certificate = certificate.map_err(|error| wrong(&error))?;
            roots.add(certificate).map_err(|error| wrong(&error))?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|error| wrong(&error))?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has what its default versions need")
            .with_webpki_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = if is_resuming {
            Resumption::store(Arc::new(Tickets::default()))
        } else {
            Resumption::disabled()
        };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("{host} is no name that a certificate could have"))?;
        Ok(Self {
            config: Arc::new(config),
            name,
        })
    }

    /// A session for a new connection.
    pub(crate) fn connect(&self) -> Result<Box<Session>, rustls::Error> {
        let mut connection = ClientConnection::new(Arc::clone(&self.config), self.name.clone())?;
        // What waits for the handshake is bounded where it comes from.
        connection.set_buffer_limit(None);
        Ok(Box::new(Session(connection)))
    }
}

/// The session of one connection.
#[derive(Debug)]
pub(crate) struct Session(ClientConnection);

impl Session {
    /// Takes in records, and adds what they say to `plaintext`.
    ///
    /// Errors: the server is not who it should be, or breaks the protocol.
    pub(crate) fn read(&mut self, mut records: &[u8], plaintext: &mut Vec<u8>) -> io::Result<()> {
        while !records.is_empty() {
            if self.0.read_tls(&mut records)? == 0 {
                // After its farewell a server has nothing to say.
                return Ok(());
            }
            let state = self.0.process_new_packets().map_err(io::Error::other)?;
            let start = plaintext.len();
            plaintext.resize(start + state.plaintext_bytes_to_read(), 0);
            self.0.reader().read_exact(&mut plaintext[start..])?;
        }
        Ok(())
    }

    /// Whether there are records to be sent besides plaintext.
    pub(crate) fn has_records(&self) -> bool {
        self.0.wants_write()
    }

    /// Turns plaintext into the records that can be sent by now; before the handshake is done it waits
    /// in the session.
    pub(crate) fn seal(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.0.writer().write_all(out)?;
        out.clear();
        while self.0.wants_write() {
            self.0.write_tls(out)?;
        }
        Ok(())
    }

    /// Whether a ticket has spared us the certificate and the proof that it is the server's.
    pub(crate) fn is_resumed(&self) -> bool {
        self.0.handshake_kind() == Some(HandshakeKind::Resumed)
    }
}

/// Tickets that are kept: a few for each handshake that is under way.
const TICKETS_MAX: usize = 4096;

/// Tickets that have come, for whichever connection is next: all are to one server. A ticket of TLS 1.3
/// is used once, and a server hands out two for it; one of TLS 1.2 is good for all.
#[derive(Debug, Default)]
struct Tickets(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    group: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    tls13: Vec<Tls13ClientSessionValue>,
}

impl Tickets {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.kept().group = Some(group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.kept().group
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.kept().tls12 = Some(value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.kept().tls12.clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.kept().tls12 = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut kept = self.kept();
        if kept.tls13.len() < TICKETS_MAX {
            kept.tls13.push(value);
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.kept().tls13.pop()
    }
}
