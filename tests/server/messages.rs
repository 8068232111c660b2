//! Messages to and from one connection, and what happens when its peer is slow.

use std::io::Read;
use std::sync::mpsc;
use std::time::Duration;

use campanile::shard::{Options, Sent};
use tungstenite::Message;

use crate::puppets;
use crate::support::{Client, Diary, Raw, What, block_on, identifier, within_bound};

const MEBIBYTE: usize = 1 << 20;

fn roomy() -> Options {
    Options {
        message_bytes_max: 8 * MEBIBYTE,
        queue_bytes_max: 64 * MEBIBYTE,
        ..Options::default()
    }
}

/// Bytes that are different at every place where something could be cut.
fn pattern(bytes: usize) -> Vec<u8> {
    (0..=250).cycle().take(bytes).collect()
}

#[test]
fn messages_of_any_size_come_back_as_they_were() {
    for shards in [1, 3] {
        let (site, _) = puppets(shards, roomy());
        let mut client = Client::open(site.address, "/?user=ann");
        let sizes = [0, 1, 125, 126, 4096, 65_535, 65_536, MEBIBYTE, 8 * MEBIBYTE];
        for bytes in sizes {
            let binary = Message::binary(pattern(bytes));
            client.send(binary.clone());
            assert!(client.next() == binary, "{bytes} binary bytes");
        }
        for bytes in [0, 1, 126, 65_536, 3 * MEBIBYTE] {
            let text = "é".repeat(bytes / 2) + if bytes % 2 == 1 { "x" } else { "" };
            client.send(Message::text(text.clone()));
            assert!(client.hear() == text, "{bytes} bytes of text");
        }
    }
}

#[test]
fn a_message_larger_than_the_connections_own_limit_is_refused() {
    let (site, _) = puppets(1, Options::default());
    let mut small = Client::open(site.address, "/?bytes_max=10");
    assert_eq!(small.ask("0123456789"), "0123456789");
    small.say("0123456789a");
    assert_eq!(small.closed().0, 1009);
    let mut large = Client::open(site.address, "/?bytes_max=100000");
    let text = "x".repeat(100_000);
    assert!(large.ask(&text) == text);
}

#[test]
fn messages_of_one_connection_are_answered_in_order() {
    let (site, _) = puppets(1, roomy());
    let mut client = Client::open(site.address, "/");
    for number in 0..2000 {
        client.say(&number.to_string());
    }
    for number in 0..2000 {
        assert_eq!(client.hear(), number.to_string());
    }
}

#[test]
fn data_user_and_remote_address_are_the_connections_own() {
    for shards in [1, 3] {
        let (site, _) = puppets(shards, Options::default());
        let mut ann = Client::open(site.address, "/?user=ann&note=first");
        let mut bob = Client::open(site.address, "/?user=bob&note=second");
        assert_eq!(
            (ann.ask("/user"), ann.ask("/data")),
            ("ann".into(), "first".into())
        );
        assert_eq!(
            (bob.ask("/user"), bob.ask("/data")),
            ("bob".into(), "second".into())
        );
        ann.say("/set_data changed");
        assert_eq!(ann.ask("/data"), "changed");
        assert_eq!(bob.ask("/data"), "second");
        let address = ann.local_address().to_string();
        assert_eq!(ann.ask("/remote_address"), address);
        assert_ne!(ann.ask("/id"), bob.ask("/id"));
        assert_eq!(ann.ask("/is_open"), "true");
        assert_eq!(ann.ask("/shards"), shards.to_string());
    }
}

#[test]
fn guests_get_names_of_their_own_and_stay_where_they_are() {
    let (site, _) = puppets(3, Options::default());
    let mut names: Vec<String> = (0..20)
        .map(|_| {
            let mut guest = Client::open(site.address, "/");
            let name = guest.ask("/user");
            assert!(name.starts_with("guest-"), "{name}");
            assert_eq!(guest.ask(&format!("/home {name}")), guest.ask("/shard"));
            name
        })
        .collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 20);
    let moved: u64 = site.stats().shards.iter().map(|s| s.counters.moved).sum();
    assert_eq!(moved, 0);
}

#[test]
fn a_ping_of_the_application_reaches_the_client_cut_at_125_bytes() {
    let (site, _) = puppets(1, Options::default());
    let mut client = Client::open(site.address, "/");
    client.say("/ping are you there?");
    assert_eq!(
        client.next(),
        Message::Ping(b"are you there?".to_vec().into())
    );
    client.say(&format!("/ping {}", "x".repeat(200)));
    assert_eq!(client.next(), Message::Ping(vec![b'x'; 125].into()));
    // The pongs that tungstenite answered with harm nobody.
    assert_eq!(client.ask("still here"), "still here");
}

#[test]
fn a_ping_of_the_client_is_answered_with_its_payload() {
    let (site, _) = puppets(1, Options::default());
    let mut client = Client::open(site.address, "/");
    client.send(Message::Ping(b"payload".to_vec().into()));
    assert_eq!(client.next(), Message::Pong(b"payload".to_vec().into()));
}

/// `written`, `queued`, `dropped` and `buffered` of the flood.
fn flooded(diary: &Diary) -> (usize, usize, usize, usize) {
    let floods = diary.wait_for(1, |entry| matches!(entry.what, What::Flooded { .. }));
    match floods[0].what {
        What::Flooded {
            written,
            queued,
            dropped,
            buffered,
        } => (written, queued, dropped, buffered),
        ref other => unreachable!("filtered: {other:?}"),
    }
}

/// Reads a flood's messages: each has the next number of `numbers`.
fn read_flood(client: &mut Client, numbers: impl IntoIterator<Item = usize>) {
    for number in numbers {
        let message = client.next().into_data();
        assert_eq!(message[..8], (number as u64).to_be_bytes());
    }
}

#[test]
fn what_a_slow_reader_is_owed_waits_and_drain_is_called_when_it_is_written() {
    let (site, diary) = puppets(1, roomy());
    let mut client = Client::open(site.address, "/");
    let id = identifier(&client.ask("/id"));
    // Far more than the buffers of both kernels' ends take.
    client.say("/flood 128 262144");
    assert_eq!(flooded(&diary).0, 128);
    // The client itself is not listened to any more. A question may still come in the flood's own
    // turn, before the socket is known to be full.
    let (mut asked, mut answer) = (0, (Sent::Written(0), 0));
    assert!(within_bound(|| {
        asked += 1;
        let sent = block_on(site.handle.ask(id.shard(), move |_, context| {
            let mut socket = context.socket(id).unwrap();
            (socket.send("more"), socket.buffered_amount())
        }));
        answer = sent.unwrap().unwrap();
        matches!(answer.0, Sent::Queued(_))
    }));
    let (sent, buffered) = answer;
    assert_eq!(sent, Sent::Queued(buffered));
    assert!(buffered > 8 * MEBIBYTE, "{buffered}");
    let drained = |diary: &Diary| diary.entries(|entry| entry.what == What::Drained).len();
    assert_eq!(drained(&diary), 0);

    read_flood(&mut client, 0..128);
    for _ in 0..asked {
        assert_eq!(client.hear(), "more");
    }
    diary.wait_for(1, |entry| entry.what == What::Drained);
    assert_eq!(client.ask("/buffered_amount"), "0");
    assert_eq!(drained(&diary), 1);
}

#[test]
fn beyond_the_queues_limit_messages_are_dropped_whole_and_the_rest_arrives() {
    let options = Options {
        queue_bytes_max: 256 * 1024,
        ..Options::default()
    };
    let (site, diary) = puppets(1, options);
    let mut client = Client::open(site.address, "/");
    client.say("/flood 1000 4096");
    let (written, queued, dropped, buffered) = flooded(&diary);
    assert_eq!(written + queued + dropped, 1000);
    assert!(buffered <= 256 * 1024 + 1000 * 10, "{buffered}");
    assert_eq!(written, 256 * 1024 / (4096 + 4));
    read_flood(&mut client, 0..written);
    assert_eq!(client.ask("and on"), "and on");
    assert_eq!(
        site.stats().shards[0].counters.dropped_backpressure,
        dropped as u64
    );
}

#[test]
fn beyond_the_queues_limit_the_connection_is_closed_if_that_is_wanted() {
    let options = Options {
        close_on_backpressure_limit: true,
        ..Options::default()
    };
    let (site, diary) = puppets(1, options);
    let mut client = Client::open(site.address, "/?user=slow");
    client.say("/flood 1000 4096");
    assert_eq!(client.closed().0, 4508);
    assert_eq!(diary.closed("slow").0, 4508);
}

/// `write_wait` is for peers that take nothing. One that takes little by little is served for as
/// long as it takes, however large the message.
#[test]
fn a_reader_that_is_slow_but_steady_gets_a_large_message_whole() {
    let options = Options {
        write_wait: Duration::from_secs(1),
        ..roomy()
    };
    let (site, diary) = puppets(1, options);
    let mut client = Raw::connect_narrow(site.address, 16 * 1024);
    assert_eq!(client.upgrade("/?user=steady", "").status, 101);
    client.say("/flood 1 8388608");
    diary.wait_for(1, |entry| matches!(entry.what, What::Flooded { .. }));
    // The pauses are the test: eight mebibytes over some three seconds.
    let (_never, pause) = mpsc::channel::<()>();
    let mut buffer = vec![0; 64 * 1024];
    for _ in 0..128 {
        let _ = pause.recv_timeout(Duration::from_millis(20));
        client.stream.read_exact(&mut buffer).unwrap();
    }
    // The ten bytes of the frame's header are what is left.
    client.stream.read_exact(&mut buffer[..10]).unwrap();
    assert_eq!(client.ask("/buffered_amount"), "0");
}
