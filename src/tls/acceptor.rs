//! What new sessions are made from, shared by all shards: certificates, versions, tickets.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, ProducesTickets};

use super::certificates::Certificates;
use super::options::{TlsError, TlsOptions, TlsVersion};
use super::session::Session;
use super::validity::not_after;
use crate::time::Clock;

/// A certificate that ends so soon is warned of.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Makes [`Session`]s. One for all shards, so that a client which comes back to another shard finds its
/// ticket accepted there; new certificates take effect with the next connection, and tickets outlive
/// them.
pub struct Acceptor {
    options: TlsOptions,
    provider: Arc<CryptoProvider>,
    tickets: Arc<dyn ProducesTickets>,
    config: ArcSwap<ServerConfig>,
}

/// Certificates that were read, and are not yet in force: see [`Acceptor::prepare`].
#[derive(Debug)]
pub struct PreparedTls(Arc<ServerConfig>);

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Acceptor({:?})", self.options)
    }
}

impl Acceptor {
    /// Reads the certificates and keys, and says in the log until when they are valid.
    ///
    /// Errors: the first file that cannot be used, by its name.
    pub fn from_options(options: &TlsOptions) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        // Encrypts tickets with a key that changes every six hours; the last one is still taken.
        let tickets = aws_lc_rs::Ticketer::new().map_err(TlsError::Provider)?;
        let config = configure(options, &provider, &tickets)?;
        Ok(Self {
            options: options.clone(),
            provider,
            tickets,
            config: ArcSwap::from_pointee(config),
        })
    }

    /// Reads the same files again. Sessions that are there keep what they began with.
    ///
    /// Errors: as [`from_options`](Acceptor::from_options); what was loaded before stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.prepare().map(|prepared| self.take(prepared))
    }

    /// Reads the same files again for [`take`](Acceptor::take): the half of a
    /// [`reload`](Acceptor::reload) that can fail.
    ///
    /// Errors: as [`from_options`](Acceptor::from_options).
    pub fn prepare(&self) -> Result<PreparedTls, TlsError> {
        configure(&self.options, &self.provider, &self.tickets)
            .map(|config| PreparedTls(Arc::new(config)))
    }

    /// Has new sessions made from what [`prepare`](Acceptor::prepare) read.
    pub fn take(&self, prepared: PreparedTls) {
        self.config.store(prepared.0);
    }

    /// A session for a new connection, by the certificates of this moment.
    pub fn accept(&self) -> Session {
        Session::new(&self.config.load())
    }
}

impl TlsOptions {
    /// Whether an [`Acceptor`] can be made of them. Nothing is logged.
    ///
    /// Errors: as [`Acceptor::from_options`].
    pub fn check(&self) -> Result<(), TlsError> {
        Certificates::read(&self.certificates, &aws_lc_rs::default_provider()).map(drop)
    }
}

fn configure(
    options: &TlsOptions,
    provider: &Arc<CryptoProvider>,
    tickets: &Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, TlsError> {
    let certificates = Certificates::read(&options.certificates, provider)?;
    tell_expiry(options, &certificates);
    let versions: &[_] = match options.min_version {
        TlsVersion::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V1_3 => &[&rustls::version::TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(versions)
        .map_err(TlsError::Provider)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificates));
    // HTTP/2 has no upgrade, and WebSocket over it (RFC 8441) is not spoken here.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = Arc::clone(tickets);
    // Tickets are with the clients; a store here would be a lock between the shards.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // A session takes its keys over once the handshake is done.
    config.enable_secret_extraction = true;
    Ok(config)
}

fn tell_expiry(options: &TlsOptions, certificates: &Certificates) {
    let now = Duration::from_millis(Clock::start().now().unix_ms);
    let at = |time: Duration| humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + time);
    let (soon, now) = (at(now + EXPIRES_SOON).to_string(), at(now).to_string());
    for (files, certificate) in options.certificates.iter().zip(certificates.ends()) {
        let file = files.chain.display();
        match not_after(certificate) {
            None => tracing::warn!(%file, "a certificate does not say until when it is valid"),
            Some(end) if end <= now => tracing::error!(%file, %end, "a certificate has expired"),
            Some(end) if end <= soon => tracing::warn!(%file, %end, "a certificate expires soon"),
            Some(end) => tracing::info!(%file, %end, "a certificate is loaded"),
        }
    }
}
