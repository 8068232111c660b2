//! Plain HTTP on the same port, answered by an axum router.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::{get, post};
use campanile::ServerHandle;
use campanile::shard::Options;

use crate::puppet_server;
use crate::support::{Client, Diary, Puppet, Raw, Site, within_bound};

fn router(handle: ServerHandle<Puppet>) -> Router {
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route(
            "/peer",
            get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() }),
        )
        .route(
            "/length",
            post(|body: String| async move { body.len().to_string() }),
        )
        .route(
            "/slow",
            get(|| async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                "slow"
            }),
        )
        .route(
            "/broadcast",
            post(move |body: String| async move {
                handle
                    .broadcast(body.as_str())
                    .map_err(|busy| busy.to_string())
            }),
        )
}

fn site(shards: usize) -> Site<Puppet> {
    let server = puppet_server(shards, Options::default(), &Diary::default());
    Site::start(server.router_with(router))
}

fn get_request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

#[test]
fn requests_reach_the_router_with_the_peers_address() {
    for shards in [1, 3] {
        let site = site(shards);
        for _ in 0..10 {
            let mut raw = Raw::connect(site.address);
            raw.write(get_request("/peer").as_bytes());
            let response = raw.response();
            let address = raw.stream.local_addr().unwrap();
            assert_eq!((response.status, response.body), (200, address.to_string()));
        }
        let requests: u64 = site
            .stats()
            .shards
            .iter()
            .map(|s| s.counters.http_requests)
            .sum();
        assert_eq!(requests, 10);
        site.wait_until_empty();
    }
}

#[test]
fn a_connection_is_kept_alive_for_further_requests() {
    let site = site(1);
    let mut raw = Raw::connect(site.address);
    for (path, status, body) in [("/", 200, "hello"), ("/none", 404, ""), ("/", 200, "hello")] {
        raw.write(get_request(path).as_bytes());
        let response = raw.response();
        assert_eq!((response.status, response.body.as_str()), (status, body));
    }
    raw.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!(raw.response().body, "hello");
    raw.at_end();
}

#[test]
fn pipelined_requests_are_all_answered() {
    let site = site(1);
    let mut raw = Raw::connect(site.address);
    raw.write(get_request("/").repeat(5).as_bytes());
    for _ in 0..5 {
        assert_eq!(raw.response().body, "hello");
    }
}

#[test]
fn a_body_may_come_with_the_head_after_it_or_in_pieces() {
    let site = site(1);
    let head = "POST /length HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n";
    for split in [0, 1, 5, 10] {
        let (first, second) = "0123456789".split_at(split);
        let requests = || site.stats().shards[0].counters.http_requests;
        let before = requests();
        let mut raw = Raw::connect(site.address);
        raw.write(format!("{head}{first}").as_bytes());
        // The rest comes when the request is at the router.
        assert!(within_bound(|| requests() > before));
        raw.write(second.as_bytes());
        assert_eq!(raw.response().body, "10");
    }
}

#[test]
fn a_post_reaches_every_websocket_client() {
    let site = site(3);
    let mut clients: Vec<Client> = (0..6)
        .map(|number| Client::open(site.address, &format!("/?user=u-{number}")))
        .collect();
    let mut raw = Raw::connect(site.address);
    raw.write(b"POST /broadcast HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(raw.response().status, 200);
    for client in &mut clients {
        assert_eq!(client.hear(), "hello");
    }
}

#[test]
fn an_http_1_0_request_is_answered_and_its_connection_closed() {
    let site = site(1);
    let mut raw = Raw::connect(site.address);
    raw.write(b"GET / HTTP/1.0\r\n\r\n");
    let response = raw.response();
    assert_eq!((response.status, response.body.as_str()), (200, "hello"));
    raw.at_end();
}

#[test]
fn a_request_under_way_is_answered_during_the_shutdown() {
    let site = site(1);
    let mut raw = Raw::connect(site.address);
    raw.write(get_request("/slow").as_bytes());
    assert!(within_bound(|| {
        site.stats().shards[0].counters.http_requests == 1
    }));
    let stopping = thread::spawn(move || site.stop());
    assert_eq!(raw.response().body, "slow");
    stopping.join().unwrap();
}

/// A server with an admin listener beside, and that listener's address.
fn admin_site() -> (campanile::server::Running<Puppet>, SocketAddr) {
    let server = puppet_server(2, Options::default(), &Diary::default());
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = server.listen(any).admin(&[any], router);
    let running = server.start().expect("a server on free ports starts");
    let address = running.admin_addresses()[0];
    (running, address)
}

#[test]
fn the_admin_listener_serves_a_router_of_its_own() {
    let (running, admin) = admin_site();
    assert_ne!(admin, running.addresses()[0]);
    let mut raw = Raw::connect(admin);
    for (path, status) in [("/", 200), ("/none", 404), ("/peer", 200)] {
        raw.write(get_request(path).as_bytes());
        let response = raw.response();
        assert_eq!(response.status, status, "{path}");
        if path == "/peer" {
            assert_eq!(response.body, raw.stream.local_addr().unwrap().to_string());
        }
    }
    // It is not for WebSockets, and the clients' port has no routes.
    assert_eq!(Raw::connect(admin).upgrade("/?user=x", "").status, 200);
    let mut raw = Raw::connect(running.addresses()[0]);
    raw.write(get_request("/").as_bytes());
    assert_eq!(raw.response().status, 404);
    running.handle().shutdown();
    running.wait();
}

#[test]
fn the_admin_listener_answers_what_is_under_way_and_then_ends_with_the_server() {
    let (running, admin) = admin_site();
    let mut raw = Raw::connect(admin);
    raw.write(get_request("/").as_bytes());
    assert_eq!(raw.response().body, "hello");
    raw.write(get_request("/slow").as_bytes());
    running.handle().shutdown();
    running.wait();
    assert_eq!(raw.response().body, "slow");
    raw.at_end();
    let again = std::net::TcpStream::connect(admin).unwrap_err();
    assert_eq!(again.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn an_admin_address_that_is_taken_is_an_error_of_the_start() {
    let (running, admin) = admin_site();
    let server = puppet_server(1, Options::default(), &Diary::default());
    let error = server
        .listen("127.0.0.1:0")
        .admin(&[admin], router)
        .start()
        .unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("server.admin_listen") && said.contains(&admin.to_string()),
        "{said}"
    );
    running.handle().shutdown();
    running.wait();
}
