//! A subscriber that never reads, among others that do. One test in a program of its own, because
//! it measures the memory of the whole process.

mod support;

use std::time::Duration;

use campanile::Server;
use campanile::shard::Options;
use campanile::ws::Opcode;

use support::{Diary, Next, Puppet, Raw, Site, block_on, within_bound};

const MESSAGE_BYTES: usize = 32 * 1024;
/// Messages before the readers must have them all: no reader falls behind the window.
const BATCH: usize = 8;
const BATCHES: usize = 200;
const WINDOW_BYTES: u64 = 1 << 20;
/// How much the process may grow meanwhile: half of what is published, so that it cannot be held,
/// and far more than window, buffers and chance need.
const GROWTH_BYTES_MAX: usize = MESSAGE_BYTES * BATCH * BATCHES / 2;

/// Resident memory of this process, bytes.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("procfs");
    let pages: usize = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .expect("a number of pages");
    pages * 4096
}

fn message(number: usize) -> Vec<u8> {
    let mut message = vec![b'm'; MESSAGE_BYTES];
    message[..8].copy_from_slice(&(number as u64).to_be_bytes());
    message
}

fn subscriber(mut raw: Raw, user: &str) -> Raw {
    assert_eq!(raw.upgrade(&format!("/?user={user}"), "").status, 101);
    assert_eq!(raw.ask("/subscribe news"), "New");
    raw
}

/// Publishes everything, a batch at a time; `readers` hear each message, in order.
fn publish(site: &Site<Puppet>, readers: &mut [Raw]) {
    for batch in 0..BATCHES {
        let numbers = batch * BATCH..(batch + 1) * BATCH;
        for number in numbers.clone() {
            let published = site.handle.publish("news", &message(number)[..], None);
            assert_eq!(published, Ok(()));
        }
        for reader in &mut *readers {
            for number in numbers.clone() {
                match reader.next() {
                    Next::Frame(header, payload) if header.opcode == Opcode::Binary => {
                        assert_eq!(payload[..8], (number as u64).to_be_bytes());
                        assert_eq!(payload.len(), MESSAGE_BYTES);
                    }
                    other => panic!("message {number} was expected, not {other:?}"),
                }
            }
        }
    }
}

#[test]
fn a_subscriber_that_never_reads_costs_a_window_and_is_closed() {
    let diary = Diary::default();
    let theirs = diary.clone();
    let options = Options {
        topic_window_bytes: WINDOW_BYTES,
        write_wait: Duration::from_secs(1),
        ..Options::default()
    };
    let server = Server::new(move |_| Puppet::new(&theirs));
    let site = Site::start(server.shards(2).options(options));
    let mut readers: Vec<Raw> = (0..3)
        .map(|number| subscriber(Raw::connect(site.address), &format!("reader-{number}")))
        .collect();
    // Everything is as large as it becomes without the one who never reads.
    publish(&site, &mut readers);
    let before = resident_bytes();

    let deaf = subscriber(Raw::connect_narrow(site.address, 4096), "deaf");
    publish(&site, &mut readers);
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "{grown} bytes more");

    // It goes on to take nothing, and is given up.
    assert_eq!(diary.closed("deaf"), (4508, "too slow".into()));
    assert!(within_bound(|| {
        block_on(site.handle.subscriber_count("news")) == Ok(3)
    }));
    publish(&site, &mut readers);
    drop((deaf, readers));
    site.wait_until_empty();
    assert_eq!(block_on(site.handle.subscriber_count("news")), Ok(0));
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX / 2, "{grown} bytes are left");
}
