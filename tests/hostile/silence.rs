//! Half-open peers: those who say nothing more, and those who hear nothing more.

use std::time::Duration;

use campanile::shard::Options;

use crate::support::{Client, Next, Raw, What, timed};
use crate::{is_unharmed, puppets};
use campanile::ws::Opcode;

fn impatient() -> Options {
    Options {
        ping_period: Duration::from_secs(1),
        pong_wait: Duration::from_secs(3),
        ..Options::default()
    }
}

#[test]
fn a_peer_that_does_not_answer_pings_is_closed_4504() {
    let (site, diary) = puppets(1, impatient());
    let mut silent = Raw::open(site.address, "/?user=silent");
    let (took_ms, (code, pings)) = timed(|| {
        let mut pings = 0;
        loop {
            match silent.next() {
                Next::Frame(header, _) if header.opcode == Opcode::Ping => pings += 1,
                Next::Frame(header, payload) if header.opcode == Opcode::Close => {
                    break (u16::from_be_bytes([payload[0], payload[1]]), pings);
                }
                other => panic!("{other:?}"),
            }
        }
    });
    assert_eq!((code, pings), (4504, 1));
    assert!((1900..12_000).contains(&took_ms), "{took_ms} ms");
    assert_eq!(diary.closed("silent").0, 4504);
    drop(silent);
    is_unharmed(&site);
}

#[test]
fn a_peer_that_answers_pings_stays() {
    let (site, diary) = puppets(1, impatient());
    let mut client = Client::open(site.address, "/?user=quiet");
    // tungstenite answers pings as it reads them; five of them take longer than `pong_wait`.
    for _ in 0..5 {
        assert!(client.next().is_ping());
    }
    assert_eq!(client.ask("still here"), "still here");
    let closed = diary.entries(|entry| matches!(entry.what, What::Closed { .. }));
    assert!(closed.is_empty());
}

#[test]
fn a_peer_that_ends_its_stream_without_a_close_frame_is_closed_1006() {
    let (site, diary) = puppets(2, Options::default());
    let mut raw = Raw::open(site.address, "/?user=half");
    assert_eq!(raw.ask("/subscribe news"), "New");
    raw.end_writing();
    raw.at_end();
    assert_eq!(diary.closed("half").0, 1006);
    is_unharmed(&site);
}

#[test]
fn a_connection_without_messages_is_closed_as_idle() {
    let options = Options {
        idle_timeout: Duration::from_secs(2),
        ..impatient()
    };
    let (site, _) = puppets(1, options);
    let mut client = Client::open(site.address, "/");
    // Pongs are no messages.
    assert_eq!(client.closed(), (1001, "idle".into()));
    drop(client);
    is_unharmed(&site);
}
