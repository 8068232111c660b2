//! The end of a ring with very many operations in flight.

use std::io::Read;
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;

use super::*;

#[test]
fn a_dropped_ring_cancels_each_operation_by_name_and_closes_every_socket() {
    // What broke: cancelling all in one go, which takes the kernel a time that grows with the square
    // of what is armed; 17,000 polls took seconds. The last resort must not be needed.
    const SOCKETS: u32 = 1500;
    raise_nofile().unwrap();
    let mut ring = Ring::prepare(&RingConfig::default())
        .unwrap()
        .enable()
        .unwrap();
    let mut peers = Vec::new();
    for slot in (0..SOCKETS).map(Slot) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ring.adopt(slot, ours.into_raw_fd());
        ring.promote(slot);
        peers.push(theirs);
    }
    ring.submit_and_wait(Some(Duration::ZERO), |_| ()).unwrap();
    assert_eq!(
        ring.queues.in_flight(),
        u64::from(SOCKETS) + 1,
        "polls, and the waker's"
    );
    let enters = ring.counters().enters;
    ring.quiesce().unwrap();
    assert_eq!(ring.queues.in_flight(), 0);
    let enters = ring.counters().enters - enters;
    assert!(enters < u64::from(SOCKETS), "{enters} system calls");
    drop(ring);
    for mut peer in peers {
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0, "the socket is closed");
    }
}
