//! Idle, busy, paused, and without buffers.

use super::*;
use crate::ring::socket::Reading;

fn reading(server: &Server, slot: Slot) -> Reading {
    server.ring.socket(slot).reading
}

#[test]
fn data_arrives_at_every_stage_between_idle_and_busy() {
    let mut server = Server::start(&small());
    let mut client = server.connect_promoted(Slot(0));
    let mut seconds = 0;
    for round in 0..20_u8 {
        // Idle: a poll and no buffer. It stays so after a first message.
        server.idle();
        assert_eq!(reading(&server, Slot(0)), Reading::Poll);
        client.write_all(&[round, 0]).unwrap();
        assert_eq!(server.receive(Slot(0), 2), [round, 0]);
        if round > 0 {
            assert_eq!(reading(&server, Slot(0)), Reading::Poll);
        }
        // Busy after the second.
        client.write_all(&[round, 1]).unwrap();
        assert_eq!(server.receive(Slot(0), 2), [round, 1]);
        assert_eq!(reading(&server, Slot(0)), Reading::Many);
        // Not quiet for long enough yet.
        seconds += 4;
        server.tick(seconds);
        server.idle();
        assert_eq!(reading(&server, Slot(0)), Reading::Many);
        // Data before the cancel is staged, staged but not submitted, and after.
        seconds += 6;
        if round % 3 == 0 {
            client.write_all(&[round, 2]).unwrap();
        }
        server.tick(seconds);
        if round % 3 == 1 {
            client.write_all(&[round, 2]).unwrap();
        }
        server
            .ring
            .submit_and_wait(Some(Duration::ZERO), |_| {})
            .unwrap();
        if round % 3 == 2 {
            client.write_all(&[round, 2]).unwrap();
        }
        assert_eq!(server.receive(Slot(0), 2), [round, 2]);
        // And quiet again, from whatever that led to.
        for _ in 0..3 {
            seconds += 10;
            server.tick(seconds);
            server.idle();
        }
    }
    assert!(server.ring.counters().quiet_transitions >= 20);
    server.finish();
}

#[test]
fn a_paused_socket_delivers_nothing_until_it_resumes() {
    let mut server = Server::start(&small());
    // Paused while idle, and while busy.
    let mut idle = server.connect_promoted(Slot(0));
    let mut busy = server.connect_promoted(Slot(1));
    busy.write_all(b"busy").unwrap();
    server.receive(Slot(1), 4);
    server.ring.pause_reading(Slot(0));
    server.ring.pause_reading(Slot(1));
    server.idle();
    idle.write_all(b"held").unwrap();
    busy.write_all(b"held").unwrap();
    server.idle();
    assert!(server.aside.is_empty(), "{:?}", server.aside);
    server.ring.resume_reading(Slot(0));
    server.ring.resume_reading(Slot(1));
    assert_eq!(server.receive(Slot(0), 4), b"held");
    assert_eq!(server.receive(Slot(1), 4), b"held");
    server.finish();
}

/// Whoever pauses for want of memory has to hear of a peer that is gone, or would keep what it holds.
#[test]
fn the_end_of_a_paused_stream_is_told_and_what_came_before_it_is_still_read() {
    let mut server = Server::start(&small());
    for (round, slot) in (0_u32..).map(Slot).take(3).enumerate() {
        let mut client = server.connect_promoted(slot);
        if round > 0 {
            // Busy: a multishot receive has to be taken back first.
            client.write_all(b"a").unwrap();
            server.receive(slot, 1);
            client.write_all(b"b").unwrap();
            server.receive(slot, 1);
        }
        server.ring.pause_reading(slot);
        server.ring.watch_end(slot);
        server.idle();
        client.write_all(b"held").unwrap();
        server.idle();
        assert!(server.aside.is_empty(), "{:?}", server.aside);
        if round == 2 {
            // Resumed before the end: nothing is told of it but the end itself.
            server.ring.resume_reading(slot);
            assert_eq!(server.receive(slot, 4), b"held");
            drop(client);
        } else {
            drop(client);
            server.until(|completion| {
                matches!(completion, Completion::Ending(from) if *from == slot).then_some(())
            });
            server.idle();
            assert!(server.aside.is_empty(), "once: {:?}", server.aside);
            server.ring.resume_reading(slot);
            assert_eq!(server.receive(slot, 4), b"held");
        }
        server.until(|completion| {
            matches!(completion, Completion::EndOfStream(from) if *from == slot).then_some(())
        });
        assert!(server.aside.is_empty(), "{:?}", server.aside);
    }
    server.finish();
}

#[test]
fn data_received_before_the_pause_took_hold_is_delivered() {
    let mut server = Server::start(&small());
    let mut client = server.connect_promoted(Slot(0));
    let sent = pattern(64 * 1024);
    let mut got = Vec::new();
    client.write_all(&sent).unwrap();
    while got.len() < sent.len() {
        let more = server.until(|completion| match completion {
            Completion::Received(_, lease) => Some(lease.to_vec()),
            _ => None,
        });
        got.extend(more);
        server.ring.pause_reading(Slot(0));
        server.ring.resume_reading(Slot(0));
        server.ring.pause_reading(Slot(0));
        server.turn();
        server.ring.resume_reading(Slot(0));
    }
    assert!(got == sent, "what arrived differs");
    server.finish();
}

#[test]
fn a_ring_without_buffers_waits_for_one_and_loses_nothing() {
    let mut server = Server::start(&RingConfig {
        recv_buffers: 2,
        recv_buffer_bytes: 64,
        ..small()
    });
    let mut first = server.connect_promoted(Slot(0));
    let mut second = server.connect_promoted(Slot(1));
    let mut head = server.connect(Slot(2));
    server.ring.receive(Slot(2));
    let sent = pattern(1000);
    first.write_all(&sent).unwrap();
    // All buffers are lent out, in `aside`.
    for _ in 0..TURNS_MAX {
        if server.ring.leases_lent() == 2 {
            break;
        }
        server.turn();
    }
    second.write_all(&sent).unwrap();
    head.write_all(&sent[..50]).unwrap();
    for _ in 0..TURNS_MAX {
        if server.ring.counters().enobufs >= 3 {
            break;
        }
        server.turn();
    }
    // Nothing spins meanwhile: as many system calls as turns, and nothing new in flight.
    let before = server.ring.counters();
    server.idle();
    let after = server.ring.counters();
    assert_eq!(after.enters - before.enters, 5);
    assert_eq!(after.submissions, before.submissions);
    assert!(after.enobufs >= 3);
    assert_eq!(server.receive(Slot(0), 1000), sent);
    assert_eq!(server.receive(Slot(1), 1000), sent);
    assert_eq!(server.receive(Slot(2), 50), sent[..50]);
    server.finish();
}

#[test]
fn one_receive_of_the_http_phase_gives_one_completion() {
    let mut server = Server::start(&small());
    let mut client = server.connect(Slot(0));
    server.ring.receive(Slot(0));
    client.write_all(b"one").unwrap();
    assert_eq!(server.receive(Slot(0), 3), b"one");
    client.write_all(b"two").unwrap();
    server.idle();
    assert!(server.aside.is_empty(), "{:?}", server.aside);
    // What a receive of the HTTP phase leaves, promotion finds.
    server.ring.promote(Slot(0));
    assert_eq!(server.receive(Slot(0), 3), b"two");
    server.finish();
}

#[test]
fn a_receive_in_flight_survives_promotion() {
    let mut server = Server::start(&small());
    let mut client = server.connect(Slot(0));
    server.ring.receive(Slot(0));
    server.turn();
    server.ring.promote(Slot(0));
    server.turn();
    for round in 0..3_u8 {
        client.write_all(&[round; 4]).unwrap();
        assert_eq!(server.receive(Slot(0), 4), [round; 4]);
    }
    server.finish();
}
