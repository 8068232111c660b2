//! One client that wants everything, beside others.

use std::io::Write;
use std::thread;

use campanile::shard::Options;
use campanile::ws::Opcode;

use crate::support::{Client, Next, Raw, frame_of};
use crate::{is_unharmed, puppets};

const COUNT: usize = 100_000;
/// Round trips that the other client makes at least while the flood lasts.
const ROUND_TRIPS_MIN: usize = 3;

#[test]
fn a_flood_of_small_messages_is_answered_whole_and_delays_nobody() {
    for shards in [1, 2] {
        // Far less than the answers to what one turn may bring in. Those beyond it were once dropped:
        // the limit is for peers that do not read, and nobody had asked this one yet.
        let options = Options {
            queue_bytes_max: 4096,
            ..Options::default()
        };
        let (site, _) = puppets(shards, options);
        let mut flooder = Raw::open(site.address, "/?user=flooder");
        let mut writer = flooder.stream.try_clone().unwrap();
        let writing = thread::spawn(move || {
            let mut bytes = Vec::new();
            for number in 0..COUNT {
                bytes.extend(frame_of(Opcode::Text, format!("{number:06}").as_bytes()));
            }
            writer.write_all(&bytes).unwrap();
        });
        let reading = thread::spawn(move || {
            for number in 0..COUNT {
                match flooder.next() {
                    Next::Frame(_, payload) => {
                        assert_eq!(payload, format!("{number:06}").as_bytes());
                    }
                    end => panic!("{end:?} after {number} answers"),
                }
            }
        });
        let mut other = Client::open(site.address, "/?user=other");
        let mut round_trips = 0;
        while !reading.is_finished() {
            assert_eq!(other.ask("ping"), "ping");
            round_trips += 1;
        }
        writing.join().unwrap();
        reading.join().unwrap();
        assert!(round_trips >= ROUND_TRIPS_MIN, "{round_trips}");
        drop(other);
        is_unharmed(&site);
    }
}

/// A client that asks and never reads what it is told: the server stops reading from it, and holds
/// no more than the limit for it.
#[test]
fn a_flood_of_questions_without_an_ear_for_answers_is_pushed_back() {
    let (site, _) = puppets(1, Options::default());
    let mut deaf = Raw::connect_narrow(site.address, 4096);
    assert_eq!(deaf.upgrade("/?user=deaf", "").status, 101);
    let id = crate::support::identifier(&deaf.ask("/id"));
    let frame = frame_of(Opcode::Binary, &[7; 8000]);
    deaf.stream
        .set_write_timeout(Some(std::time::Duration::from_millis(300)))
        .unwrap();
    let mut written = 0;
    // Until TCP takes no more: more than that the server cannot be made to hold.
    while written < 256 << 20 {
        match deaf.stream.write(&frame[written % frame.len()..]) {
            Ok(bytes) => written += bytes,
            Err(_full) => break,
        }
    }
    assert!(written < 256 << 20, "the server reads on");
    let mut other = Client::open(site.address, "/?user=other");
    assert_eq!(other.ask("unhindered"), "unhindered");
    let buffered = crate::support::block_on(site.handle.ask(id.shard(), move |_, context| {
        context.socket(id).map(|socket| socket.buffered_amount())
    }));
    let buffered = buffered.unwrap().unwrap().expect("the connection lives");
    // What one turn answered comes on top: what the buffers of one turn held.
    assert!(buffered < 8 << 20, "{buffered} bytes wait");
    assert!(site.stats().shards[0].counters.read_pauses > 0);
    drop((deaf, other));
    is_unharmed(&site);
}
