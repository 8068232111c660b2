//! What a TLS session that is done with its handshake keeps on the heap: all of it is counted.
//!
//! A program of its own, because it counts in the allocator of the whole program. What aws-lc allocates is
//! not seen by that; a session at rest has nothing of it, which the tests of `src/tls` show.

mod support;

use std::io::Write;
use std::sync::Arc;

use campanile::tls::{Acceptor, Passage, Session};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, SupportedCipherSuite, version};
use support::Authority;

/// Bytes of an idle session, its own place included. A passage is a session, and two words at most.
const SESSION_BYTES_MAX: usize = 336;

/// A client that has this cipher only.
fn client(authority: &Authority, suite: SupportedCipherSuite) -> ClientConnection {
    let provider = CryptoProvider {
        cipher_suites: vec![suite],
        ..aws_lc_rs::default_provider()
    };
    let versions = match suite {
        SupportedCipherSuite::Tls13(_) => [&version::TLS13],
        SupportedCipherSuite::Tls12(_) => [&version::TLS12],
    };
    let config = authority.client_config_with(provider, &versions);
    let host = ServerName::try_from("localhost").expect("a name");
    ClientConnection::new(Arc::new(config), host).expect("a client")
}

/// A session with a client, after the handshake and a word each.
fn idle(acceptor: &Acceptor, mut client: ClientConnection) -> Box<Session> {
    let mut session = Box::new(acceptor.accept());
    let mut plaintext = Vec::new();
    client.writer().write_all(b"one").expect("a buffer");
    let mut has_answered = false;
    loop {
        let (mut up, mut down) = (Vec::new(), Vec::new());
        while client.wants_write() {
            client.write_tls(&mut up).expect("a vector");
        }
        session.read(&mut up, &mut plaintext).expect("records");
        session.take_pending(&mut down);
        if plaintext == b"one" && !std::mem::replace(&mut has_answered, true) {
            session.write(&[b"other"], &mut down).expect("written");
        }
        if up.is_empty() && down.is_empty() {
            break;
        }
        let mut rest = &down[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).expect("a slice");
            client.process_new_packets().expect("records");
        }
    }
    assert!(has_answered && !session.is_handshaking() && session.held_bytes() == 0);
    session.rest();
    session
}

#[test]
fn an_idle_session_is_one_small_allocation() {
    let authority = Authority::new();
    let acceptor = authority.acceptor();
    println!("{:5}  a session", size_of::<Session>());
    println!("{:5}  a passage", size_of::<Passage>());
    assert!(size_of::<Passage>() <= SESSION_BYTES_MAX + 16);
    let ecdsa = |suite: &&SupportedCipherSuite| !format!("{:?}", suite.suite()).contains("RSA");
    let suites: Vec<_> = aws_lc_rs::ALL_CIPHER_SUITES.iter().filter(ecdsa).collect();
    assert_eq!(suites.len(), 6);
    for suite in suites {
        let session = idle(&acceptor, client(&authority, *suite));
        // What goes with it is what it had.
        let gone = allocation_counter::measure(|| drop(session));
        let bytes = usize::try_from(-gone.bytes_current).expect("memory is given back");
        println!("{bytes:5}  {:?}", suite.suite());
        assert_eq!(gone.count_current, -1, "{:?}", suite.suite());
        assert!(bytes <= SESSION_BYTES_MAX, "{:?}: {bytes}", suite.suite());
    }
}
