//! Sessions against the client of rustls, without sockets.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore};

use super::*;

/// A folder that goes with the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("campanile-tls-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A self-signed certificate for these names, and its key.
    pub(crate) fn certificate(&self, name: &str, hosts: &[&str]) -> CertificateFiles {
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(hosts).unwrap().self_signed(&key);
        CertificateFiles {
            chain: self.write(&format!("{name}.pem"), &certificate.unwrap().pem()),
            key: self.write(&format!("{name}.key"), &key.serialize_pem()),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Left behind, it does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn acceptor(certificates: &[CertificateFiles]) -> Acceptor {
    let options = TlsOptions {
        certificates: certificates.to_vec(),
        ..TlsOptions::default()
    };
    Acceptor::from_options(&options).unwrap()
}

pub(crate) fn client_config(
    roots: &[&Path],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ClientConfig {
    client_config_with(aws_lc_rs::default_provider(), roots, versions)
}

fn client_config_with(
    provider: rustls::crypto::CryptoProvider,
    roots: &[&Path],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ClientConfig {
    let mut store = RootCertStore::empty();
    for root in roots {
        let certificate = rustls::pki_types::CertificateDer::from_pem_file(root).unwrap();
        store.add(certificate).unwrap();
    }
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth()
}

fn client(config: &Arc<ClientConfig>, host: &str) -> ClientConnection {
    let host = ServerName::try_from(host.to_owned()).unwrap();
    ClientConnection::new(Arc::clone(config), host).unwrap()
}

/// Both ends, and how many bytes go over at once.
struct Pair {
    client: ClientConnection,
    session: Session,
    cut: usize,
    plaintext: Vec<u8>,
}

impl Pair {
    fn new(client: ClientConnection, session: Session, cut: usize) -> Self {
        Self {
            client,
            session,
            cut,
            plaintext: Vec::new(),
        }
    }

    /// Carries bytes to and fro until neither end has any.
    fn settle(&mut self) -> Result<(), SessionError> {
        loop {
            let (mut up, mut down) = (Vec::new(), Vec::new());
            while self.client.wants_write() {
                self.client.write_tls(&mut up).unwrap();
            }
            for bytes in up.chunks_mut(self.cut) {
                self.session.read(bytes, &mut self.plaintext)?;
            }
            self.session.take_pending(&mut down);
            self.hear(&down);
            if up.is_empty() && down.is_empty() {
                return Ok(());
            }
        }
    }

    fn hear(&mut self, mut records: &[u8]) {
        while !records.is_empty() {
            self.client.read_tls(&mut records).unwrap();
            self.client.process_new_packets().unwrap();
        }
    }

    fn heard(&mut self) -> Vec<u8> {
        let mut heard = Vec::new();
        let read = self.client.reader().read_to_end(&mut heard);
        if let Err(error) = read {
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        }
        heard
    }

    /// What the server's `pieces` are at the client, and how many bytes of records they took.
    fn say(&mut self, pieces: &[&[u8]]) -> (Vec<u8>, usize) {
        let (mut records, mut heard) = (Vec::new(), Vec::new());
        self.session.write(pieces, &mut records).unwrap();
        for part in records.chunks(8 * 1024) {
            self.hear(part);
            heard.extend(self.heard());
        }
        (heard, records.len())
    }
}

const VERSIONS: [&rustls::SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];

/// What a client and the server are made of, for each version.
fn ends() -> impl Iterator<Item = (Arc<ClientConfig>, Acceptor)> {
    VERSIONS.into_iter().map(|version| {
        let folder = Folder::new();
        let files = folder.certificate("a", &["a.test"]);
        let config = Arc::new(client_config(&[&files.chain], &[version]));
        (config, acceptor(std::slice::from_ref(&files)))
    })
}

/// Sessions of each version whose handshake is done. `cut`: most bytes of one read.
fn settled(cut: usize) -> impl Iterator<Item = Pair> {
    ends().map(move |(config, acceptor)| {
        let mut pair = Pair::new(client(&config, "a.test"), acceptor.accept(), cut);
        pair.settle().unwrap();
        pair
    })
}

#[test]
fn bytes_pass_both_ways_however_they_are_cut() {
    for (config, acceptor) in ends() {
        for cut in [1, 7, 4096, usize::MAX] {
            let mut pair = Pair::new(client(&config, "a.test"), acceptor.accept(), cut);
            pair.settle().unwrap();
            assert!(!pair.session.is_handshaking());
            let large: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
            for part in large.chunks(9_999) {
                pair.client.writer().write_all(part).unwrap();
                pair.settle().unwrap();
            }
            assert_eq!(pair.plaintext, large);
            // One record for several pieces, as many as needed for a large one.
            assert_eq!(pair.say(&[b"one ", b"", b"two"]).0, b"one two");
            let (heard, bytes) = pair.say(&[b"<", &large, b">", b"."]);
            assert_eq!(heard, [b"<", &large[..], b">."].concat());
            assert!(bytes < large.len() + 9 * 30, "{bytes}");
            assert!(pair.session.write(&[], &mut Vec::new()).is_ok());
        }
    }
}

#[test]
fn both_ends_say_farewell_and_what_follows_is_thrown_away() {
    for mut pair in settled(4096) {
        pair.client.writer().write_all(b"last").unwrap();
        pair.client.send_close_notify();
        pair.settle().unwrap();
        assert!(pair.session.is_peer_closed());
        pair.session
            .read(&mut [0x17, 3, 3, 0, 1, 0], &mut pair.plaintext)
            .unwrap();
        assert_eq!(pair.plaintext, b"last");
        // The other direction is open until we close it, once.
        assert_eq!(pair.say(&[b"still"]).0, b"still");
        let mut records = Vec::new();
        pair.session.close_notify(&mut records);
        assert!(!records.is_empty());
        let length = records.len();
        pair.session.close_notify(&mut records);
        assert_eq!(records.len(), length);
        pair.hear(&records);
        assert_eq!(pair.client.reader().read(&mut [0]).unwrap(), 0);
        assert!(pair.session.write(&[b"no"], &mut records).is_err());
    }
}

#[test]
fn a_host_is_answered_by_its_certificate() {
    let folder = Folder::new();
    let all = [
        folder.certificate("default", &["default.test"]),
        folder.certificate("a", &["a.test", "b.test"]),
        folder.certificate("wild", &["*.wild.test"]),
    ];
    let acceptor = acceptor(&all);
    let roots: Vec<&Path> = all.iter().map(|files| &*files.chain).collect();
    let config = Arc::new(client_config(&roots, &VERSIONS));
    let hosts = ["default.test", "a.test", "b.test", "x.wild.test"];
    for host in hosts {
        let mut pair = Pair::new(client(&config, host), acceptor.accept(), 4096);
        pair.settle().unwrap();
        assert!(!pair.session.is_handshaking(), "{host}");
    }
    for host in ["deep.x.wild.test", "other.test", "127.0.0.1"] {
        let mut session = acceptor.accept();
        let mut client = client(&config, host);
        let (mut up, mut down) = (Vec::new(), Vec::new());
        client.write_tls(&mut up).unwrap();
        session.read(&mut up, &mut Vec::new()).unwrap();
        session.take_pending(&mut down);
        while client.read_tls(&mut &down[..]).unwrap() > 0 && client.process_new_packets().is_ok() {
        }
        // The default, which is not for them.
        let refused = client.process_new_packets().unwrap_err().to_string();
        assert!(refused.contains("not valid for name"), "{host}: {refused}");
    }
}

#[test]
fn clients_come_back_by_ticket_and_reloading_does_not_forget_them() {
    let folder = Folder::new();
    let files = folder.certificate("a", &["a.test"]);
    let acceptor = acceptor(std::slice::from_ref(&files));
    for version in VERSIONS {
        let config = Arc::new(client_config(&[&files.chain], &[version]));
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut pair = Pair::new(client(&config, "a.test"), acceptor.accept(), 4096);
            pair.settle().unwrap();
            let kind = pair.client.handshake_kind().unwrap();
            let is_full = kind != HandshakeKind::Resumed;
            assert_eq!(is_full, expected != HandshakeKind::Resumed, "{kind:?}");
            acceptor.reload().unwrap();
        }
    }
}

#[test]
fn bad_files_are_named_and_the_old_ones_stay() {
    let folder = Folder::new();
    let files = folder.certificate("a", &["a.test"]);
    let acceptor = acceptor(std::slice::from_ref(&files));
    let other = folder.certificate("other", &["b.test"]);
    let (chain, key) = (
        fs::read(&files.chain).unwrap(),
        fs::read(&files.key).unwrap(),
    );
    let cases: [(&PathBuf, Option<Vec<u8>>, &str); 6] = [
        (&files.chain, None, "cannot read"),
        (
            &files.chain,
            Some(b"nothing".to_vec()),
            "holds no certificate",
        ),
        (
            &files.key,
            Some(b"nothing".to_vec()),
            "holds no private key",
        ),
        (
            &files.key,
            Some(fs::read(&other.key).unwrap()),
            "cannot be used with",
        ),
        (
            &files.chain,
            Some(chain[..chain.len() / 2].to_vec()),
            "is not PEM",
        ),
        (
            &files.key,
            Some(key[..key.len() / 2].to_vec()),
            "is not PEM",
        ),
    ];
    for (path, text, words) in cases {
        match text {
            Some(text) => fs::write(path, text).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
        let told = acceptor.reload().unwrap_err().to_string();
        assert!(
            told.contains(words) && told.contains(&*path.to_string_lossy()),
            "{told}"
        );
        fs::write(&files.chain, &chain).unwrap();
        fs::write(&files.key, &key).unwrap();
        let config = Arc::new(client_config(&[&files.chain], &VERSIONS));
        let mut pair = Pair::new(client(&config, "a.test"), acceptor.accept(), 4096);
        pair.settle().unwrap();
    }
    let none = Acceptor::from_options(&TlsOptions::default()).unwrap_err();
    assert!(matches!(none, TlsError::NoCertificate));
}

#[test]
fn what_is_not_tls_is_told_apart_and_garbage_gets_an_alert() {
    let folder = Folder::new();
    let acceptor = acceptor(&[folder.certificate("a", &["a.test"])]);
    let mut request = b"GET / HTTP/1.1\r\n\r\n".to_vec();
    let mut session = acceptor.accept();
    let refused = session.read(&mut request, &mut Vec::new());
    assert!(matches!(refused, Err(SessionError::NotTls)) && !session.has_pending());
    let mut session = acceptor.accept();
    let refused = session.read(&mut [0x80; 64], &mut Vec::new());
    assert!(matches!(refused, Err(SessionError::Protocol(_))));
    // What comes after it is not looked at, and nothing can be said.
    assert!(session.read(&mut [0x80; 64], &mut Vec::new()).is_ok());
    assert!(session.write(&[b"x"], &mut Vec::new()).is_err());
    // A hello of a client that speaks nothing of ours.
    let config = client_config(&[], &[&rustls::version::TLS13]);
    let mut alpn = config.clone();
    alpn.alpn_protocols = vec![b"h2".to_vec()];
    let mut pair = Pair::new(client(&Arc::new(alpn), "a.test"), acceptor.accept(), 4096);
    assert!(matches!(pair.settle(), Err(SessionError::Protocol(_))));
    assert!(pair.session.has_pending(), "the alert says which");
}

#[test]
fn a_handshake_without_end_is_cut_off() {
    let folder = Folder::new();
    let acceptor = acceptor(&[folder.certificate("a", &["a.test"])]);
    let mut session = acceptor.accept();
    // A hello of 65,535 bytes, in records of 1,024.
    let mut record = [&[0x16, 3, 1, 4, 0, 1, 0, 0xff, 0xff][..], &[0; 1020]].concat();
    let mut taken = 0;
    let refused = loop {
        if let Err(refused) = session.read(&mut record, &mut Vec::new()) {
            break refused;
        }
        taken += record.len();
        record = [&[0x16, 3, 1, 4, 0][..], &[0; 1024]].concat();
    };
    assert!(
        matches!(refused, SessionError::HandshakeTooLong),
        "{refused}"
    );
    assert!(taken < 33 * 1024, "{taken}");
}

#[test]
fn updates_of_keys_are_followed_and_a_flood_of_them_is_not() {
    let folder = Folder::new();
    let files = folder.certificate("a", &["a.test"]);
    let acceptor = acceptor(std::slice::from_ref(&files));
    let config = Arc::new(client_config(&[&files.chain], &[&rustls::version::TLS13]));
    let mut pair = Pair::new(client(&config, "a.test"), acceptor.accept(), 4096);
    pair.settle().unwrap();
    for _ in 0..40 {
        pair.client.refresh_traffic_keys().unwrap();
        pair.client.writer().write_all(b"x").unwrap();
        pair.settle().unwrap();
        assert_eq!(pair.say(&[b"y"]).0, b"y");
    }
    assert_eq!(pair.plaintext, [b'x'; 40]);
    let flood = (0..1000).find(|_| {
        pair.client.refresh_traffic_keys().unwrap();
        pair.settle().is_err()
    });
    assert!(flood.is_some());
    assert!(pair.session.outgoing_len() < 1024);
}

#[test]
fn every_bent_byte_of_a_conversation_ends_it_without_a_panic() {
    let folder = Folder::new();
    let files = folder.certificate("a", &["a.test"]);
    let acceptor = acceptor(std::slice::from_ref(&files));
    for version in VERSIONS {
        let config = Arc::new(client_config(&[], &[version]));
        let mut hello = Vec::new();
        client(&config, "a.test").write_tls(&mut hello).unwrap();
        for at in 0..hello.len() {
            let mut bent = hello.clone();
            bent[at] ^= 0x55;
            let mut session = acceptor.accept();
            // Some make another good hello, most do not.
            let _ = session.read(&mut bent, &mut Vec::new());
            session.close_notify(&mut Vec::new());
        }
    }
}

#[test]
fn a_header_of_a_proxy_comes_before_tls() {
    let folder = Folder::new();
    let files = folder.certificate("a", &["a.test"]);
    let acceptor = Arc::new(acceptor(std::slice::from_ref(&files)));
    let config = Arc::new(client_config(&[&files.chain], &VERSIONS));
    let proxy = "192.0.2.1:9".parse().unwrap();
    let mut hello = b"PROXY TCP4 198.51.100.7 192.0.2.1 4711 443\r\n".to_vec();
    client(&config, "a.test").write_tls(&mut hello).unwrap();
    for cut in [1, 50, usize::MAX] {
        let mut passage = Passage::new(Some(&acceptor), Some(proxy)).unwrap();
        let mut peers = Vec::new();
        for bytes in hello.clone().chunks_mut(cut) {
            peers.extend(passage.read(bytes, &mut Vec::new()).unwrap().peer);
        }
        assert_eq!(peers, ["198.51.100.7:4711".parse().unwrap()]);
        assert!(passage.is_secure() && passage.session().unwrap().has_pending());
    }
    let mut passage = Passage::new(None, Some(proxy)).unwrap();
    let mut plaintext = Vec::new();
    let mut bytes = b"PROXY UNKNOWN\r\nGET /".to_vec();
    assert_eq!(passage.read(&mut bytes, &mut plaintext).unwrap().peer, None);
    assert!(matches!(passage, Passage::Plain) && plaintext == b"GET /");
}

#[test]
fn an_idle_session_keeps_no_buffers() {
    for mut pair in settled(1000) {
        pair.client.writer().write_all(&[7; 40_000]).unwrap();
        pair.settle().unwrap();
        assert_eq!(pair.session.buffer_bytes(), 0);
    }
    println!(
        "{:5}  a session, which is all of it while it rests",
        size_of::<Session>()
    );
    println!("{:5}  a passage", size_of::<Passage>());
    assert!(size_of::<Passage>() <= 336);
}

/// The ciphers of both versions for a certificate with an ECDSA key.
fn ciphers() -> Vec<rustls::SupportedCipherSuite> {
    let is_for_it =
        |suite: &rustls::SupportedCipherSuite| !format!("{:?}", suite.suite()).contains("RSA");
    let all = aws_lc_rs::ALL_CIPHER_SUITES.iter().copied();
    all.filter(is_for_it).collect()
}

#[test]
fn every_cipher_goes_on_after_rest_and_updates_of_keys_and_comes_back() {
    let folder = Folder::new();
    let files = folder.certificate("a", &["a.test"]);
    let acceptor = acceptor(std::slice::from_ref(&files));
    assert_eq!(ciphers().len(), 6);
    for suite in ciphers() {
        let is_tls13 = suite.tls13().is_some();
        let provider = rustls::crypto::CryptoProvider {
            cipher_suites: vec![suite],
            ..aws_lc_rs::default_provider()
        };
        let versions = [VERSIONS[usize::from(is_tls13)]];
        let config = Arc::new(client_config_with(provider, &[&files.chain], &versions));
        for is_resumed in [false, true] {
            let mut pair = Pair::new(client(&config, "a.test"), acceptor.accept(), 900);
            pair.settle().unwrap();
            assert_eq!(pair.session.is_resumed(), is_resumed, "{suite:?}");
            for round in 0..6_u8 {
                if round % 2 == 0 {
                    pair.session.rest();
                    assert!(pair.session.records().is_resting());
                }
                if is_tls13 && round % 3 == 1 {
                    pair.client.refresh_traffic_keys().unwrap();
                }
                pair.client.writer().write_all(&[round; 3000]).unwrap();
                pair.settle().unwrap();
                assert_eq!(pair.plaintext, [round; 3000]);
                pair.plaintext.clear();
                assert_eq!(
                    pair.say(&[b"round ", &[round]]).0,
                    [&b"round "[..], &[round]].concat()
                );
            }
            assert!(!pair.session.records().is_resting());
        }
    }
}

#[test]
fn what_comes_with_the_end_of_the_handshake_is_read_as_well() {
    for (config, acceptor) in ends() {
        for cut in [1, 100, usize::MAX] {
            // The last flight of the client, data, an update of keys if there is any, and a farewell.
            let mut pair = Pair::new(client(&config, "a.test"), acceptor.accept(), cut);
            while pair.client.is_handshaking() {
                let (mut up, mut down) = (Vec::new(), Vec::new());
                pair.client.write_tls(&mut up).unwrap();
                pair.session.read(&mut up, &mut pair.plaintext).unwrap();
                pair.session.take_pending(&mut down);
                pair.hear(&down);
            }
            pair.client.writer().write_all(b"with it").unwrap();
            // TLS 1.2 has none.
            let _ = pair.client.refresh_traffic_keys();
            pair.client.writer().write_all(b" and after").unwrap();
            pair.client.send_close_notify();
            pair.settle().unwrap();
            assert_eq!(pair.plaintext, b"with it and after");
            assert!(pair.session.is_peer_closed());
            assert_eq!(pair.say(&[b"heard"]).0, b"heard");
        }
    }
}

#[test]
fn records_that_are_bent_after_the_handshake_get_an_alert_and_then_nothing() {
    for mut pair in settled(4096) {
        pair.client.writer().write_all(b"data").unwrap();
        let mut record = Vec::new();
        pair.client.write_tls(&mut record).unwrap();
        *record.last_mut().unwrap() ^= 1;
        let refused = pair.session.read(&mut record, &mut pair.plaintext);
        assert!(matches!(
            refused,
            Err(SessionError::Protocol(rustls::Error::DecryptError))
        ));
        assert!(pair.session.has_failed() && pair.plaintext.is_empty());
        let mut alert = Vec::new();
        pair.session.close_notify(&mut alert);
        pair.client.read_tls(&mut &alert[..]).unwrap();
        let told = pair.client.process_new_packets().unwrap_err();
        assert_eq!(
            told,
            rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac)
        );
        let mut nothing = Vec::new();
        pair.session.close_notify(&mut nothing);
        assert!(nothing.is_empty() && pair.session.write(&[b"x"], &mut nothing).is_err());
    }
}
