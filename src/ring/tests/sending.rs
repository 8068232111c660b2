//! Borrowed sends: whole, short, in pieces, in chunks, and through a panic.

use super::*;

fn send(server: &mut Server, slot: Slot, bytes: &[u8]) {
    server
        .ring
        .submit_and_wait(Some(Duration::ZERO), |batch| batch.send(slot, bytes))
        .unwrap();
}

#[test]
fn a_short_send_tells_how_much_was_taken_and_comes_first() {
    let mut server = Server::start(&small());
    let mut slow = server.connect_promoted(Slot(0));
    let mut other = server.connect_promoted(Slot(1));
    other.write_all(b"noise").unwrap();
    server.idle();
    other.write_all(b"noise").unwrap();
    let sent = pattern(16 << 20);
    send(&mut server, Slot(0), &sent);
    let Some(Completion::Short { slot, taken }) = server.ring.next_completion() else {
        panic!("the first completion is not Short");
    };
    assert_eq!(slot, Slot(0));
    assert!(taken > 0);
    assert!(taken < sent.len());
    // The socket is full now.
    send(&mut server, Slot(0), b"more");
    let full = server.until(|completion| match completion {
        Completion::Short { slot, taken } => Some((*slot, *taken)),
        _ => None,
    });
    assert_eq!(full, (Slot(0), 0));
    server.ring.send_owned(Slot(0), sent[taken..].to_vec());
    let count = sent.len();
    let reading = thread::spawn(move || read_exact(&mut slow, count));
    let buffer = server.until(|completion| match completion {
        Completion::Sent(_, buffer) => Some(std::mem::take(buffer)),
        _ => None,
    });
    assert_eq!(buffer.len(), sent.len() - taken);
    assert!(reading.join().unwrap() == sent, "what arrived differs");
    assert_eq!(server.ring.counters().short_sends, 2);
    server.finish();
}

#[test]
fn a_whole_send_is_silent_in_both_phases() {
    let mut server = Server::start(&small());
    let mut ordinary = server.connect(Slot(0));
    let mut direct = server.connect_promoted(Slot(1));
    server
        .ring
        .submit_and_wait(TURN, |batch| {
            batch.send(Slot(0), b"101 Switching");
            batch.send_pieces(Slot(1), &[b"to", b"", b" you"]);
        })
        .unwrap();
    assert_eq!(read_exact(&mut ordinary, 13), b"101 Switching");
    assert_eq!(read_exact(&mut direct, 6), b"to you");
    server.idle();
    assert!(server.aside.is_empty(), "{:?}", server.aside);
    server.finish();
}

#[test]
fn a_batch_larger_than_the_queue_goes_out_in_chunks() {
    let mut server = Server::start(&RingConfig {
        submission_entries: 8,
        ..small()
    });
    let mut clients: Vec<TcpStream> = (0..100)
        .map(|slot| server.connect_promoted(Slot(slot)))
        .collect();
    server.turn();
    let bytes = pattern(500);
    server
        .ring
        .submit_and_wait(TURN, |batch| {
            for slot in 0..100 {
                batch.send(Slot(slot), &bytes);
            }
        })
        .unwrap();
    for client in &mut clients {
        assert_eq!(read_exact(client, 500), bytes);
    }
    server.finish();
}

#[test]
fn pieces_outgrow_their_arena_and_still_arrive_in_order() {
    let mut server = Server::start(&small());
    let mut clients: Vec<TcpStream> = (0..5)
        .map(|slot| server.connect_promoted(Slot(slot)))
        .collect();
    let bytes = pattern(SEND_PIECES_MAX * 3);
    let pieces: Vec<&[u8]> = bytes.chunks(3).collect();
    for _ in 0..3 {
        server
            .ring
            .submit_and_wait(TURN, |batch| {
                for slot in 0..5 {
                    batch.send_pieces(Slot(slot), &pieces);
                }
            })
            .unwrap();
        for client in &mut clients {
            assert_eq!(read_exact(client, bytes.len()), bytes);
        }
    }
    server.finish();
}

#[test]
fn a_short_send_of_pieces_counts_across_them() {
    let mut server = Server::start(&small());
    let mut client = server.connect_promoted(Slot(0));
    let bytes = pattern(16 << 20);
    let pieces: Vec<&[u8]> = bytes.chunks(64 * 1024).collect();
    server
        .ring
        .submit_and_wait(TURN, |batch| batch.send_pieces(Slot(0), &pieces))
        .unwrap();
    let Some(Completion::Short { taken, .. }) = server.ring.next_completion() else {
        panic!("the send was not short");
    };
    assert!(read_exact(&mut client, taken) == bytes[..taken]);
    server.finish();
}

#[test]
fn a_panic_while_staging_lets_go_of_the_bytes() {
    let mut server = Server::start(&small());
    let mut client = server.connect_promoted(Slot(0));
    server.turn();
    let bytes = b"sent before the panic".to_vec();
    let ring = &mut server.ring;
    let caught = catch_unwind(AssertUnwindSafe(|| {
        ring.submit_and_wait(TURN, |batch| {
            batch.send(Slot(0), &bytes);
            panic!("while staging");
        })
    }));
    assert!(caught.is_err());
    assert_eq!(
        server.ring.queues.staged(),
        0,
        "an entry still points to the bytes"
    );
    drop(bytes);
    assert_eq!(read_exact(&mut client, 21), b"sent before the panic");
    send(&mut server, Slot(0), b"and after");
    assert_eq!(read_exact(&mut client, 9), b"and after");
    server.finish();
}

#[test]
fn a_send_to_a_peer_that_is_gone_fails_once() {
    let mut server = Server::start(&small());
    let client = server.connect_promoted(Slot(0));
    server.ring.pause_reading(Slot(0));
    server.idle();
    drop(client);
    for _ in 0..3 {
        send(&mut server, Slot(0), b"anybody?");
        server.idle();
    }
    let errno = server.until_failed(Slot(0));
    assert!([libc::EPIPE, libc::ECONNRESET].contains(&errno), "{errno}");
    assert!(server.aside.is_empty(), "told twice: {:?}", server.aside);
    server.finish();
}

#[test]
#[cfg(debug_assertions)]
fn two_sends_on_one_socket_in_one_turn_are_caught() {
    let mut server = Server::start(&small());
    let _client = server.connect_promoted(Slot(0));
    let ring = &mut server.ring;
    let caught = catch_unwind(AssertUnwindSafe(|| {
        ring.submit_and_wait(TURN, |batch| {
            batch.send(Slot(0), b"one");
            batch.send(Slot(0), b"two");
        })
    }));
    assert!(caught.is_err());
    server.finish();
}
