//! Start and end of a server.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::Duration;

use campanile::id::ShardId;
use campanile::shard::Options;
use campanile::{Server, StartError};

use crate::support::{
    BOUND, Client, Diary, Next, Puppet, Raw, Site, What, block_on, head_of, timed, within_bound,
};
use crate::{puppet_server, puppets};

#[test]
fn clients_are_told_to_come_back_each_at_a_time_of_its_own() {
    for shards in [1, 3] {
        let (site, diary) = puppets(shards, Options::default());
        let mut clients: Vec<Client> = (0..20)
            .map(|number| Client::open(site.address, &format!("/?user=u-{number}")))
            .collect();
        site.handle.shutdown();
        let mut times: Vec<u64> = Vec::new();
        for client in &mut clients {
            let (code, reason) = client.closed();
            assert_eq!(code, 1001);
            let (_, time) = reason.split_once("; retry_in_ms=").expect(&reason);
            times.push(time.parse().unwrap());
        }
        assert!(times.iter().all(|&time| time < 5000), "{times:?}");
        times.sort_unstable();
        times.dedup();
        assert!(times.len() > 10, "{times:?}");
        drop(clients);
        site.stop();
        let closed = diary.entries(|entry| matches!(entry.what, What::Closed { code: 1001, .. }));
        assert_eq!(closed.len(), 20);
    }
}

#[test]
fn what_was_sent_before_the_shutdown_still_arrives() {
    let (site, _) = puppets(3, Options::default());
    let mut client = Client::open(site.address, "/?user=ann");
    for number in 0..100 {
        site.handle
            .send_to_user("ann", number.to_string().as_str())
            .unwrap();
    }
    site.handle.shutdown();
    for number in 0..100 {
        assert_eq!(client.hear(), number.to_string());
    }
    assert_eq!(client.closed().0, 1001);
}

#[test]
fn a_client_that_never_answers_does_not_hold_up_the_end_beyond_the_drain() {
    let options = Options {
        close_timeout: Duration::from_secs(600),
        queue_bytes_max: 1 << 26,
        ..Options::default()
    };
    let diary = Diary::default();
    let server = puppet_server(2, options, &diary).drain(Duration::from_secs(1));
    let site = Site::start(server);
    let silent = Raw::open(site.address, "/");
    let mut stuffed = Raw::open(site.address, "/");
    stuffed.say("/flood 64 262144");
    diary.wait_for(1, |entry| matches!(entry.what, What::Flooded { .. }));
    let mut half = Raw::connect(site.address);
    half.write(b"GET / HTTP/1.1\r\n");
    let mut deferred = Raw::connect(site.address);
    deferred.write(head_of("/?defer=for_ever", "").as_bytes());

    let (took_ms, ()) = timed(|| site.stop());
    assert!((900..8000).contains(&took_ms), "{took_ms} ms");
    drop((silent, stuffed, half, deferred));
}

/// Connections that came in while others took their leave once waited in the listener's backlog and
/// were reset at the end: the listener was left alone instead of closed.
#[test]
fn who_connects_while_others_take_their_leave_is_refused() {
    let options = Options {
        close_timeout: Duration::from_secs(600),
        ..Options::default()
    };
    let (site, _) = puppets(2, options);
    let mut silent = Raw::open(site.address, "/");
    site.handle.shutdown();
    let is_refused = within_bound(|| {
        let connected = TcpStream::connect_timeout(&site.address, BOUND);
        connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    assert!(is_refused);
    // The one that was there is still being waited for.
    assert!(matches!(silent.next(), Next::Frame(..)), "the close frame");
    drop(silent);
    site.stop();
}

#[test]
fn an_idle_server_ends_at_once_and_refuses_from_then_on() {
    for shards in [1, 3] {
        let (site, _) = puppets(shards, Options::default());
        let address = site.address;
        drop(TcpStream::connect_timeout(&address, BOUND).unwrap());
        let (took_ms, ()) = timed(|| site.stop());
        assert!(took_ms < 8000, "{took_ms} ms");
        let refused = TcpStream::connect_timeout(&address, BOUND).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
}

#[test]
fn a_question_to_a_server_that_has_ended_has_no_answer() {
    let (site, _) = puppets(1, Options::default());
    let handle = site.handle.clone();
    site.stop();
    for _ in 0..3000 {
        let answer = block_on(handle.ask(ShardId(0), |_, _| ()));
        assert_eq!(answer, Ok(None));
    }
    // And nothing else is in the way of a handler that has not noticed yet.
    assert_eq!(handle.publish("news", "unread", None), Ok(()));
    assert_eq!(block_on(handle.stats()).unwrap().total_connections, 0);
    handle.shutdown();
}

fn start(address: &str, shards: usize) -> Result<(), StartError> {
    Server::new(|_| Puppet::new(&Diary::default()))
        .listen(address)
        .shards(shards)
        .start()
        .map(|running| {
            running.handle().shutdown();
            running.wait();
        })
}

#[test]
fn an_address_in_use_is_an_error_that_says_what_to_do() {
    let (site, _) = puppets(1, Options::default());
    let address = site.address.to_string();
    let error = start(&address, 2).unwrap_err();
    assert!(matches!(&error, StartError::Listen { address: a, error }
        if *a == address && error.kind() == ErrorKind::AddrInUse));
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("cannot listen on {address}: ")),
        "{text}"
    );
    assert!(
        text.ends_with("(another process listens there; choose another port)"),
        "{text}"
    );
}

#[test]
fn addresses_and_shards_that_cannot_be_are_errors() {
    let error = start("192.0.2.1:1", 1).unwrap_err();
    assert!(
        error.to_string().contains("no interface has this address"),
        "{error}"
    );
    let error = start("nowhere", 1).unwrap_err();
    assert!(matches!(error, StartError::Listen { .. }), "{error}");
    let error = start("127.0.0.1:0", 100_000).unwrap_err();
    assert!(matches!(
        error,
        StartError::TooManyShards { shards: 100_000 }
    ));
    let server = Server::new(|_| Puppet::new(&Diary::default())).shards(1);
    assert!(matches!(server.start(), Err(StartError::NoAddress)));
}

#[test]
fn a_server_listens_on_several_addresses() {
    let diary = Diary::default();
    let server = puppet_server(2, Options::default(), &diary).listen("127.0.0.1:0");
    let running = server
        .listen("127.0.0.1:0")
        .sockets_per_shard_max(64)
        .start()
        .unwrap();
    let addresses = running.addresses().to_vec();
    assert_eq!(addresses.len(), 2);
    assert_ne!(addresses[0], addresses[1]);
    for address in addresses {
        assert_eq!(Client::open(address, "/").ask("hello"), "hello");
    }
    running.handle().shutdown();
    running.wait();
}
