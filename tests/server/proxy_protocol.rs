//! The PROXY protocol: connections that a trusted proxy passes on, and others that say so.

use std::io::Write;
use std::sync::Arc;

use campanile::server::Listen;
use campanile::shard::Options;
use ppp::v2::{Builder, Command, IPv4, Protocol, Type, Version};
use rustls::version;

use crate::puppet_server;
use crate::support::{
    Authority, Client, Diary, Puppet, Raw, Site, head_of, over, plain, within_bound,
};

const SOURCE: &str = "198.51.100.7:4711";

fn site(shards: usize, trusted: &str, authority: Option<&Authority>) -> Site<Puppet> {
    let listen = Listen {
        tls: authority.map(Authority::acceptor),
        proxies: Some([trusted.parse().expect("a network")].into()),
    };
    let server = puppet_server(shards, Options::default(), &Diary::default());
    let router = axum::Router::new().route("/peer", axum::routing::get(peer));
    Site::start(server.router(router).listen_with("127.0.0.1:0", listen))
}

async fn peer(
    axum::extract::ConnectInfo(peer): axum::extract::ConnectInfo<std::net::SocketAddr>,
) -> String {
    peer.to_string()
}

fn version_1() -> Vec<u8> {
    b"PROXY TCP4 198.51.100.7 127.0.0.1 4711 443\r\n".to_vec()
}

fn version_2(command: Command) -> Vec<u8> {
    let addresses = IPv4::new([198, 51, 100, 7], [127, 0, 0, 1], 4711, 443);
    Builder::with_addresses(Version::Two | command, Protocol::Stream, addresses)
        .write_tlv(Type::NoOp, &[0; 200])
        .and_then(Builder::build)
        .expect("it is not long")
}

#[test]
fn the_announced_address_is_the_clients() {
    for shards in [1, 3] {
        let site = site(shards, "127.0.0.0/8", None);
        for header in [version_1(), version_2(Command::Proxy)] {
            for user in ["ann", "bob", "cleo"] {
                let mut stream = plain(site.addresses[0]);
                stream.write_all(&header).unwrap();
                let mut client = Client::over(stream, format!("ws://localhost/?user={user}"));
                assert_eq!(client.ask("/remote_address"), SOURCE);
            }
            let mut raw = Raw::over(plain(site.addresses[0]));
            raw.write(&header);
            raw.write(b"GET /peer HTTP/1.1\r\nHost: localhost\r\n\r\n");
            assert_eq!(raw.response().body, SOURCE);
        }
        // The proxy's own connections, and those whose address it does not know.
        for header in [version_2(Command::Local), b"PROXY UNKNOWN\r\n".to_vec()] {
            let mut stream = plain(site.addresses[0]);
            let own = stream.local_addr().unwrap().to_string();
            stream.write_all(&header).unwrap();
            let mut client = Client::over(stream, "ws://localhost/");
            assert_eq!(client.ask("/remote_address"), own);
        }
    }
}

#[test]
fn a_header_may_come_in_parts_and_with_what_follows() {
    let site = site(1, "127.0.0.1/32", None);
    for header in [version_1(), version_2(Command::Proxy)] {
        let mut raw = Raw::over(plain(site.addresses[0]));
        for byte in &header {
            raw.write(std::slice::from_ref(byte));
        }
        assert_eq!(raw.upgrade("/", "").status, 101);
        assert_eq!(raw.ask("/remote_address"), SOURCE);
        let mut raw = Raw::over(plain(site.addresses[0]));
        raw.write(&[&header[..], head_of("/", "").as_bytes()].concat());
        assert_eq!(raw.response().status, 101);
        assert_eq!(raw.ask("/remote_address"), SOURCE);
    }
}

#[test]
fn tls_comes_behind_the_header() {
    let authority = Authority::new();
    let site = site(3, "127.0.0.1/32", Some(&authority));
    let config = Arc::new(authority.client_config(&[&version::TLS12, &version::TLS13]));
    for header in [version_1(), version_2(Command::Proxy)] {
        for user in ["ann", "bob", "cleo"] {
            let mut stream = plain(site.addresses[0]);
            stream.write_all(&header).unwrap();
            let stream = over(stream, &config, "localhost");
            let mut client = Client::over(stream, format!("wss://localhost/?user={user}"));
            assert_eq!(client.ask("/remote_address"), SOURCE);
        }
    }
}

#[test]
fn nobody_else_may_say_who_they_are() {
    // Of strangers nothing is taken, of trusted proxies nothing but a header.
    let strangers = site(1, "192.0.2.0/24", None);
    let mut raw = Raw::over(plain(strangers.addresses[0]));
    raw.write_until_refused(&version_1());
    assert_eq!(raw.read_to_end(), 0);
    let trusted = site(1, "127.0.0.0/8", None);
    let malformed: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PROXY TCP4 nobody 127.0.0.1 1 2\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        &[b'P'; 2000],
    ];
    for bytes in malformed {
        let mut raw = Raw::over(plain(trusted.addresses[0]));
        raw.write_until_refused(bytes);
        assert_eq!(raw.read_to_end(), 0);
    }
    // Where the protocol is not spoken, a header is a bad request.
    let mut raw = Raw::connect(trusted.addresses[1]);
    raw.write(&version_1());
    raw.write_until_refused(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(raw.response().status >= 400);
    drop(raw);
    assert!(within_bound(|| trusted.stats().total_connections == 0));
    trusted.wait_until_empty();
}
