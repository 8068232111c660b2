//! A test authority, certificates by it in files, and clients that trust it (rustls).

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use campanile::server::Listen;
use campanile::tls::{Acceptor, CertificateFiles, TlsOptions};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion, version,
};

use super::BOUND;

/// Plaintext over TLS over a socket.
pub(crate) type Secure = StreamOwned<ClientConnection, TcpStream>;

/// Makes certificates; they are in a folder that goes with it.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let folder = format!("campanile-authority-{}", uuid::Uuid::now_v7());
        let folder = std::env::temp_dir().join(folder);
        fs::create_dir_all(&folder).expect("a folder");
        Self {
            issuer: CertifiedIssuer::self_signed(parameters, key).expect("a certificate"),
            folder,
        }
    }

    /// Writes its own certificate, which clients trust, to a file.
    pub(crate) fn root(&self) -> PathBuf {
        let path = self.folder.join("root.pem");
        fs::write(&path, self.issuer.pem()).expect("written");
        path
    }

    /// Writes (again) the files `name` with a new certificate for these hosts.
    pub(crate) fn issue(&self, name: &str, hosts: &[&str]) -> CertificateFiles {
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(hosts).expect("names");
        let certificate = certificate.signed_by(&key, &self.issuer);
        let files = CertificateFiles {
            chain: self.folder.join(format!("{name}.pem")),
            key: self.folder.join(format!("{name}.key")),
        };
        fs::write(&files.chain, certificate.expect("a certificate").pem()).expect("written");
        fs::write(&files.key, key.serialize_pem()).expect("written");
        files
    }

    /// An acceptor for `localhost`.
    pub(crate) fn acceptor(&self) -> Arc<Acceptor> {
        let options = TlsOptions {
            certificates: vec![self.issue("localhost", &["localhost"])],
            ..TlsOptions::default()
        };
        Arc::new(Acceptor::from_options(&options).expect("good files"))
    }

    /// How to listen with TLS for `localhost`.
    pub(crate) fn listen(&self) -> Listen {
        Listen {
            tls: Some(self.acceptor()),
            ..Listen::default()
        }
    }

    /// The options of clients that trust it.
    pub(crate) fn client_config(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        self.client_config_with(rustls::crypto::aws_lc_rs::default_provider(), versions)
    }

    /// The same, with the ciphers of this provider.
    pub(crate) fn client_config_with(
        &self,
        provider: CryptoProvider,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("an authority");
        ClientConfig::builder_with_provider(provider.into())
            .with_protocol_versions(versions)
            .expect("versions that the provider has")
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    /// A connection to `localhost` by any version. The handshake is done with the first byte.
    pub(crate) fn connect(&self, address: SocketAddr) -> Secure {
        let config = self.client_config(&[&version::TLS12, &version::TLS13]);
        secure(address, &Arc::new(config), "localhost")
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        // What cannot be removed is left to whoever cleans such places.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A connection with time-outs.
pub(crate) fn plain(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, BOUND).expect("the server accepts");
    stream.set_read_timeout(Some(BOUND)).expect("a time-out");
    stream.set_write_timeout(Some(BOUND)).expect("a time-out");
    stream.set_nodelay(true).expect("no delay");
    stream
}

/// A connection to `host`, with TLS.
pub(crate) fn secure(address: SocketAddr, config: &Arc<ClientConfig>, host: &str) -> Secure {
    over(plain(address), config, host)
}

/// TLS over a connection that is there.
pub(crate) fn over(stream: TcpStream, config: &Arc<ClientConfig>, host: &str) -> Secure {
    let host = ServerName::try_from(host.to_owned()).expect("a name");
    let session = ClientConnection::new(Arc::clone(config), host).expect("good options");
    StreamOwned::new(session, stream)
}
