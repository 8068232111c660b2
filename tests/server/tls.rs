//! TLS on the shards' own sockets: every kind of connection that there is without, with it.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::routing::{get, post};
use axum::{Extension, Router};
use campanile::server::Listen;
use campanile::shard::Options;
use campanile::tls::{Acceptor, IsSecure, TlsOptions, TlsVersion};
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, version};
use tungstenite::Message;

use crate::support::{
    Authority, Client, Diary, Puppet, Raw, Secure, Site, over, plain, secure, within_bound,
};
use crate::{name_at_home_on, puppet_server};

const VERSIONS: [&rustls::SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

fn router() -> Router {
    let length = |body: String| async move { body.len().to_string() };
    let secure =
        |Extension(IsSecure(secure)): Extension<IsSecure>| async move { secure.to_string() };
    Router::new()
        .route("/secure", get(secure))
        .route("/length", post(length))
        .route("/large", get(|| async { "x".repeat(3_000_000) }))
}

/// A server with TLS on its first address, and without on its second.
fn site_with(shards: usize, options: Options, listen: Listen) -> Site<Puppet> {
    let server = puppet_server(shards, options, &Diary::default());
    Site::start(server.router(router()).listen_with("127.0.0.1:0", listen))
}

fn site(shards: usize, authority: &Authority) -> Site<Puppet> {
    site_with(shards, Options::default(), authority.listen())
}

fn open(authority: &Authority, address: SocketAddr, target: &str) -> Client<Secure> {
    let stream = authority.connect(address);
    Client::over(stream, format!("wss://localhost{target}"))
}

/// Sends the request for a WebSocket so that the handshake is done.
fn handshake(stream: &mut Secure) -> std::io::Result<()> {
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(())
}

#[test]
fn both_versions_carry_messages_to_any_shard() {
    let authority = Authority::new();
    for shards in [1, 3] {
        let site = site(shards, &authority);
        for version in VERSIONS {
            let config = Arc::new(authority.client_config(&[version]));
            for shard in 0..site.handle.shard_count() {
                let name = name_at_home_on(&site, shard);
                let stream = secure(site.address, &config, "localhost");
                let mut client = Client::over(stream, format!("wss://localhost/?user={name}"));
                assert_eq!(client.ask("/user"), name);
                assert_eq!(client.ask("/shard"), shard.to_string());
                client.start_close(1000, "done");
                assert_eq!(client.closed(), (1000, "done".into()));
            }
        }
        site.wait_until_empty();
    }
}

#[test]
fn the_oldest_version_can_be_raised_and_alpn_is_answered() {
    let authority = Authority::new();
    let options = TlsOptions {
        certificates: vec![authority.issue("new", &["localhost"])],
        min_version: TlsVersion::V1_3,
    };
    let listen = Listen {
        tls: Some(Arc::new(Acceptor::from_options(&options).unwrap())),
        ..Listen::default()
    };
    let site = site_with(1, Options::default(), listen);
    let offering = |protocols: &[&[u8]], versions| {
        let mut config: ClientConfig = authority.client_config(versions);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        secure(site.address, &Arc::new(config), "localhost")
    };
    let mut stream = offering(&[b"h2", b"http/1.1"], &VERSIONS);
    handshake(&mut stream).unwrap();
    assert_eq!(
        stream.conn.protocol_version(),
        Some(ProtocolVersion::TLSv1_3)
    );
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    let told = handshake(&mut offering(&[b"h2"], &VERSIONS)).unwrap_err();
    assert!(told.to_string().contains("NoApplicationProtocol"), "{told}");
    let told = handshake(&mut offering(&[], &[&version::TLS12])).unwrap_err();
    assert!(told.to_string().contains("ProtocolVersion"), "{told}");
    drop(stream);
    site.wait_until_empty();
}

#[test]
fn echoes_of_all_sizes_come_back_whole() {
    let authority = Authority::new();
    let options = Options {
        queue_bytes_max: 8 << 20,
        message_bytes_max: 4 << 20,
        ..Options::default()
    };
    let site = site_with(1, options, authority.listen());
    let mut client = open(&authority, site.address, "/");
    let sizes = [
        0,
        1,
        125,
        126,
        4_079,
        4_096,
        16_383,
        16_384,
        16_385,
        65_536,
        262_145,
        1 << 20,
    ];
    for size in sizes {
        let bytes: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect();
        client.send(Message::binary(bytes.clone()));
        let Message::Binary(echo) = client.next() else {
            panic!("an echo was expected");
        };
        assert!(echo == bytes, "{size} bytes");
    }
    // Many at once, of which a peer that does not read takes little.
    let large = "y".repeat(300_000);
    for _ in 0..10 {
        client.say(&large);
    }
    for _ in 0..10 {
        assert!(client.hear() == large);
    }
}

#[test]
fn keys_are_updated_between_messages_and_not_without_end() {
    let authority = Authority::new();
    let site = site(1, &authority);
    let config = Arc::new(authority.client_config(&[&version::TLS13]));
    let stream = secure(site.address, &config, "localhost");
    let mut client = Client::over(stream, "wss://localhost/?user=ann");
    for _ in 0..100 {
        client.stream().conn.refresh_traffic_keys().unwrap();
        assert_eq!(client.ask("/user"), "ann");
    }
    // With no word between them they are too many at some time: an alert, or a reset that overtakes it.
    let stream = client.stream();
    for _ in 0..1000 {
        stream.conn.refresh_traffic_keys().unwrap();
    }
    while stream.conn.complete_io(&mut stream.sock).is_ok() {}
    site.wait_until_empty();
}

#[test]
fn records_may_be_cut_anywhere() {
    let authority = Authority::new();
    let site = site(1, &authority);
    for version in VERSIONS {
        let config = Arc::new(authority.client_config(&[version]));
        let mut stream = secure(site.address, &config, "localhost");
        let head = crate::support::head_of("/", "");
        stream.conn.writer().write_all(head.as_bytes()).unwrap();
        // Byte by byte, the handshake too.
        while stream.conn.is_handshaking() || stream.conn.wants_write() {
            let mut records = Vec::new();
            while stream.conn.wants_write() {
                stream.conn.write_tls(&mut records).unwrap();
            }
            for byte in &records {
                stream.sock.write_all(std::slice::from_ref(byte)).unwrap();
            }
            if stream.conn.is_handshaking() {
                stream.conn.read_tls(&mut stream.sock).unwrap();
                stream.conn.process_new_packets().unwrap();
            }
        }
        let mut raw = Raw::over(stream);
        assert_eq!(raw.response().status, 101);
        assert_eq!(raw.ask("hello"), "hello");
    }
}

#[test]
fn topics_reach_subscribers_with_tls_and_without() {
    let authority = Authority::new();
    for shards in [1, 3] {
        let site = site(shards, &authority);
        let mut secure: Vec<Client<Secure>> = (0..8)
            .map(|_| open(&authority, site.addresses[0], "/"))
            .collect();
        let mut plain: Vec<Client> = (0..8)
            .map(|_| Client::open(site.addresses[1], "/"))
            .collect();
        for client in &mut secure {
            assert_eq!(client.ask("/subscribe news"), "New");
        }
        for client in &mut plain {
            assert_eq!(client.ask("/subscribe news"), "New");
        }
        let mut publisher = open(&authority, site.addresses[0], "/");
        for number in 0..50 {
            publisher.say(&format!(
                "/publish news {number} {}",
                "z".repeat(number * 37)
            ));
        }
        for number in 0..50 {
            let expected = format!("{number} {}", "z".repeat(number * 37));
            secure
                .iter_mut()
                .for_each(|client| assert_eq!(client.hear(), expected));
            plain
                .iter_mut()
                .for_each(|client| assert_eq!(client.hear(), expected));
        }
    }
}

#[test]
fn a_slow_reader_gets_every_byte_in_order_while_others_go_on() {
    let authority = Authority::new();
    let options = Options {
        topic_window_bytes: 64 << 20,
        message_bytes_max: 1 << 20,
        ..Options::default()
    };
    let site = site_with(1, options, authority.listen());
    let mut slow = open(&authority, site.address, "/");
    assert_eq!(slow.ask("/subscribe news"), "New");
    // So many that a turn has more than one wave, and the slow one is in the first.
    let mut quick: Vec<_> = (0..4)
        .map(|_| open(&authority, site.address, "/"))
        .collect();
    let mut plain = Client::open(site.addresses[1], "/");
    assert_eq!(plain.ask("/subscribe news"), "New");
    for client in &mut quick {
        assert_eq!(client.ask("/subscribe news"), "New");
    }
    let mut publisher = open(&authority, site.address, "/");
    // More than sockets hold.
    let text = |number: usize| format!("{number:03}{}", "w".repeat(400_000));
    for number in 0..40 {
        publisher.say(&format!("/publish news {}", text(number)));
        quick
            .iter_mut()
            .for_each(|client| assert!(client.hear() == text(number)));
        assert!(plain.hear() == text(number));
    }
    assert!(site.stats().shards[0].counters.short_sends > 0);
    for number in 0..40 {
        assert!(slow.hear() == text(number), "{number}");
    }
    assert_eq!(slow.ask("still there"), "still there");
}

#[test]
fn a_fan_out_larger_than_a_wave_reaches_everybody() {
    let authority = Authority::new();
    let options = Options {
        message_bytes_max: 1 << 20,
        ..Options::default()
    };
    let site = site_with(1, options, authority.listen());
    let mut clients: Vec<_> = (0..40)
        .map(|_| open(&authority, site.address, "/"))
        .collect();
    for client in &mut clients {
        assert_eq!(client.ask("/subscribe news"), "New");
    }
    let text = "v".repeat(100_000);
    let mut publisher = Client::open(site.addresses[1], "/");
    publisher.say(&format!("/publish news {text}"));
    for client in &mut clients {
        assert!(client.hear() == text);
    }
}

#[test]
fn http_is_answered_over_tls_and_kept_alive() {
    let authority = Authority::new();
    let site = site(3, &authority);
    for version in VERSIONS {
        let config = Arc::new(authority.client_config(&[version]));
        let mut raw = Raw::over(secure(site.address, &config, "localhost"));
        for _ in 0..3 {
            raw.write(b"GET /secure HTTP/1.1\r\nHost: localhost\r\n\r\n");
            assert_eq!(raw.response().body, "true");
        }
        let body = "b".repeat(700_000);
        let head = format!(
            "POST /length HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        raw.write(head.as_bytes());
        raw.write(body.as_bytes());
        assert_eq!(raw.response().body, "700000");
        raw.write(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(raw.response().body == "x".repeat(3_000_000));
        raw.write(b"GET /secure HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert_eq!(raw.response().body, "true");
        // With a farewell: without it reading would fail.
        raw.at_end();
    }
    let mut raw = Raw::connect(site.addresses[1]);
    raw.write(b"GET /secure HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(raw.response().body, "false");
    site.wait_until_empty();
}

#[test]
fn refusals_come_over_tls_and_end_with_a_farewell() {
    let authority = Authority::new();
    let site = site(1, &authority);
    for target in ["/?refuse=403", "/?defer_refuse=20"] {
        let mut raw = Raw::over(authority.connect(site.address));
        let response = raw.upgrade(target, "");
        assert_eq!((response.status, response.code()), (403, "no_entry".into()));
        raw.at_end();
    }
    let mut client = open(&authority, site.address, "/?defer=20&user=ann");
    assert_eq!(client.ask("/user"), "ann");
    client.say("/close 4000 bye");
    assert_eq!(client.closed(), (4000, "bye".into()));
    drop(client);
    site.wait_until_empty();
}

#[test]
fn a_plain_request_to_a_port_with_tls_is_told_so() {
    let authority = Authority::new();
    let site = site(1, &authority);
    for parts in [1, 20] {
        let mut raw = Raw::over(plain(site.address));
        let request = b"GET /api HTTP/1.1\r\nHost: localhost\r\n\r\n";
        for part in request.chunks(request.len() / parts) {
            raw.write_until_refused(part);
        }
        let response = raw.response();
        assert_eq!(
            (response.status, response.code()),
            (400, "tls_required".into())
        );
        raw.at_end();
    }
    site.wait_until_empty();
}

#[test]
fn garbage_and_half_a_handshake_do_no_harm() {
    let authority = Authority::new();
    let options = Options {
        handshake_timeout: Duration::from_secs(1),
        ..Options::default()
    };
    let site = site_with(1, options, authority.listen());
    let mut hello = Vec::new();
    let config = Arc::new(authority.client_config(&VERSIONS));
    let mut client = secure(site.address, &config, "localhost");
    client.conn.write_tls(&mut hello).unwrap();
    drop(client);
    let mut bent = hello.clone();
    // Another message than a hello.
    bent[5] = 0x0b;
    let mut garbage = vec![0x16, 3, 1, 0x40, 0];
    garbage.extend([0xa5; 0x4000]);
    let wrong = [
        &garbage[..],
        &bent,
        &[0xff; 600],
        &hello[..1],
        &hello[..40],
        &[],
    ];
    let streams = wrong.map(|bytes| {
        let mut stream = plain(site.address);
        let _refused = stream.write_all(bytes);
        stream
    });
    // Answered with an alert, or nothing, and closed; those who wait are closed when time is up.
    for mut stream in streams {
        let mut answer = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
        assert!(answer.is_empty() || answer[0] == 0x15, "{answer:?}");
    }
    // Whoever ends in the middle is gone at once.
    for end in [1, 100, hello.len()] {
        let mut stream = plain(site.address);
        stream.write_all(&hello[..end]).unwrap();
    }
    assert_eq!(open(&authority, site.address, "/").ask("hello"), "hello");
    site.wait_until_empty();
}

#[test]
fn an_end_without_farewell_and_a_farewell_without_end_are_both_ends() {
    let authority = Authority::new();
    let site = site(1, &authority);
    let mut stream = authority.connect(site.address);
    handshake(&mut stream).unwrap();
    let mut raw = Raw::over(stream);
    assert_eq!(raw.upgrade("/", "").status, 101);
    raw.stream.sock.shutdown(std::net::Shutdown::Write).unwrap();
    site.wait_until_empty();
    let mut raw = Raw::over(authority.connect(site.address));
    assert_eq!(raw.upgrade("/", "").status, 101);
    raw.stream.conn.send_close_notify();
    raw.stream.flush().unwrap();
    site.wait_until_empty();
    let mut raw = Raw::over(authority.connect(site.address));
    assert_eq!(raw.upgrade("/", "").status, 101);
    // A bent record in the middle of everything.
    raw.stream.sock.write_all(&[0x17, 3, 3, 0, 64]).unwrap();
    raw.stream.sock.write_all(&[0x42; 64]).unwrap();
    let mut answer = [0; 16];
    let told = raw.stream.read(&mut answer).unwrap_err();
    assert!(told.to_string().contains("BadRecordMac"), "{told}");
    site.wait_until_empty();
}

#[test]
fn clients_come_back_by_ticket_to_any_shard() {
    let authority = Authority::new();
    let site = site(3, &authority);
    for version in VERSIONS {
        let config = Arc::new(authority.client_config(&[version]));
        let mut kinds = Vec::new();
        for _ in 0..12 {
            let mut raw = Raw::over(secure(site.address, &config, "localhost"));
            assert_eq!(raw.upgrade("/", "").status, 101);
            assert_eq!(raw.ask("hello"), "hello");
            kinds.push(raw.stream.conn.handshake_kind() == Some(HandshakeKind::Resumed));
        }
        assert!(
            !kinds[0] && kinds[1..].iter().all(|&resumed| resumed),
            "{kinds:?}"
        );
    }
}

#[test]
fn new_certificates_are_for_new_connections() {
    let authority = Authority::new();
    let acceptor = authority.acceptor();
    let listen = Listen {
        tls: Some(Arc::clone(&acceptor)),
        ..Listen::default()
    };
    let site = site_with(1, Options::default(), listen);
    let seen = |raw: &Raw<Secure>| raw.stream.conn.peer_certificates().unwrap()[0].clone();
    let connect = || {
        let mut raw = Raw::over(authority.connect(site.address));
        assert_eq!(raw.upgrade("/", "").status, 101);
        raw
    };
    let mut before = connect();
    let bad = authority.issue("localhost", &["localhost"]);
    std::fs::write(&bad.key, "no key").unwrap();
    acceptor.reload().unwrap_err();
    let mut meanwhile = connect();
    assert_eq!(seen(&before), seen(&meanwhile));
    authority.issue("localhost", &["localhost"]);
    acceptor.reload().unwrap();
    let mut after = connect();
    assert_ne!(seen(&before), seen(&after));
    for raw in [&mut before, &mut meanwhile, &mut after] {
        assert_eq!(raw.ask("hello"), "hello");
    }
}

#[test]
fn a_thousand_connections_come_and_go() {
    let authority = Authority::new();
    let site = site(3, &authority);
    thread::scope(|scope| {
        for worker in 0..4 {
            let (authority, site) = (&authority, &site);
            scope.spawn(move || {
                let config = Arc::new(authority.client_config(&VERSIONS));
                for number in 0..250 {
                    let stream = secure(site.address, &config, "localhost");
                    let target = format!("/?user=u-{worker}-{number}");
                    let mut raw = Raw::over(stream);
                    assert_eq!(raw.upgrade(&target, "").status, 101);
                    assert_eq!(raw.ask("hello"), "hello");
                    match number % 3 {
                        0 => drop(raw),
                        1 => {
                            raw.stream.conn.send_close_notify();
                            raw.stream.flush().unwrap();
                        }
                        _ => {
                            raw.say("/close 4001 enough");
                            assert_eq!(raw.closed(), (4001, "enough".into()));
                        }
                    }
                }
            });
        }
    });
    site.wait_until_empty();
}

#[test]
fn the_shutdown_takes_leave_of_clients_with_tls() {
    let authority = Authority::new();
    let site = site(3, &authority);
    let mut clients: Vec<_> = (0..9)
        .map(|_| open(&authority, site.address, "/"))
        .collect();
    let stopping = thread::spawn(move || site.stop());
    for client in &mut clients {
        let (code, reason) = client.closed();
        assert_eq!(code, 1001, "{reason}");
    }
    drop(clients);
    stopping.join().unwrap();
}

#[test]
fn a_long_certificate_reaches_a_client_that_takes_little_at_once() {
    let authority = Authority::new();
    // Nearly as long as a message of the handshake may be.
    let hosts: Vec<String> = (0..2000)
        .map(|n| format!("host-{n}.example.test"))
        .collect();
    let mut hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    hosts.push("localhost");
    let options = TlsOptions {
        certificates: vec![authority.issue("long", &hosts)],
        ..TlsOptions::default()
    };
    let listen = Listen {
        tls: Some(Arc::new(Acceptor::from_options(&options).unwrap())),
        ..Listen::default()
    };
    let site = site_with(1, Options::default(), listen);
    for version in VERSIONS {
        let config = Arc::new(authority.client_config(&[version]));
        let narrow = Raw::connect_narrow(site.address, 2048).stream;
        let mut stream = over(narrow, &config, "localhost");
        stream.conn.write_tls(&mut stream.sock).unwrap();
        if version.version == ProtocolVersion::TLSv1_3 {
            // Allowed at this place, and it comes while the server's flight is still under way.
            stream.sock.write_all(&[0x14, 3, 3, 0, 1, 1]).unwrap();
        }

        assert!(within_bound(|| site.stats().shards[0].pending == 1));
        let mut raw = Raw::over(stream);
        assert_eq!(raw.upgrade("/", "").status, 101);
        assert_eq!(raw.ask("hello"), "hello");
        drop(raw);
        site.wait_until_empty();
    }
}

#[test]
fn who_knocks_over_tls_is_let_in_or_refused_with_a_status() {
    let authority = Authority::new();
    for shards in [1, 3] {
        let site = site(shards, &authority);
        for number in 0..6 {
            let target = format!("/?knock=1&user=u-{number}&note=open-{number}");
            let mut client = open(&authority, site.address, &target);
            assert_eq!(client.ask("/data"), format!("open-{number}"));
            let mut refused = Raw::over(authority.connect(site.address));
            let response = refused.upgrade(&format!("/?knock=1&note=shut-{number}"), "");
            assert_eq!(
                (response.status, response.code().as_str()),
                (409, "no_entry")
            );
            refused.at_end();
        }
    }
}
