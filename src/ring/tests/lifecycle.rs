//! Accepting, handing on, closing, resets, reuse, and the end of the ring.

use super::*;

#[test]
fn a_socket_in_its_http_phase_can_be_handed_on() {
    let mut server = Server::start(&small());
    let mut client = server.connect(Slot(3));
    server.ring.receive(Slot(3));
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(server.receive(Slot(3), 18), b"GET / HTTP/1.1\r\n\r\n");
    let number = server.ring.release(Slot(3));
    assert_eq!(peer_address(number).unwrap(), client.local_addr().unwrap());
    let mut elsewhere = TcpStream::from(own(number));
    elsewhere.write_all(b"hello").unwrap();
    assert_eq!(read_exact(&mut client, 5), b"hello");
    // The slot is free at once.
    let second = server.connect(Slot(3));
    drop(second);
    server.finish();
}

#[test]
fn closing_with_an_armed_operation_sends_fin_and_releases_once() {
    for teardown in [Teardown::Cancel, Teardown::Shutdown] {
        let mut server = Server::start(&RingConfig {
            teardown: Some(teardown),
            ..small()
        });
        // Nothing armed, a single-shot receive, an idle poll, a multishot receive.
        let mut clients: Vec<TcpStream> = (0..4).map(|slot| server.connect(Slot(slot))).collect();
        server.ring.receive(Slot(1));
        server.ring.promote(Slot(2));
        server.ring.promote(Slot(3));
        clients[3].write_all(b"x").unwrap();
        assert_eq!(server.receive(Slot(3), 1), b"x");
        for slot in 0..4 {
            server.ring.close(Slot(slot));
        }
        let mut released = Vec::new();
        for _ in 0..4 {
            released.push(server.until(|completion| match completion {
                Completion::Released(slot) => Some(slot.0),
                _ => None,
            }));
        }
        released.sort_unstable();
        assert_eq!(released, [0, 1, 2, 3], "{teardown:?}");
        for client in &mut clients {
            assert_eq!(client.read(&mut [0; 8]).unwrap(), 0, "{teardown:?}");
        }
        server.finish();
    }
}

#[test]
fn closing_cuts_off_an_owned_send() {
    for teardown in [Teardown::Cancel, Teardown::Shutdown] {
        let mut server = Server::start(&RingConfig {
            teardown: Some(teardown),
            ..small()
        });
        let client = server.connect_promoted(Slot(0));
        server.ring.send_owned(Slot(0), pattern(32 << 20));
        server.idle();
        assert!(server.ring.is_sending(Slot(0)));
        server.close(Slot(0));
        drop(client);
        server.finish();
    }
}

#[test]
fn a_close_comes_after_the_sends_of_its_turn() {
    let mut server = Server::start(&small());
    let mut client = server.connect_promoted(Slot(0));
    server.ring.close(Slot(0));
    server
        .ring
        .submit_and_wait(TURN, |batch| batch.send(Slot(0), b"goodbye"))
        .unwrap();
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"goodbye");
    server.until(|completion| matches!(completion, Completion::Released(_)).then_some(()));
    server.finish();
}

#[test]
fn a_reset_is_told_once_in_every_phase() {
    let mut server = Server::start(&small());
    let clients: Vec<TcpStream> = (0..3).map(|slot| server.connect(Slot(slot))).collect();
    server.ring.receive(Slot(0));
    server.ring.promote(Slot(1));
    server.ring.promote(Slot(2));
    (&clients[2]).write_all(b"busy").unwrap();
    server.receive(Slot(2), 4);
    for client in clients {
        socket2::SockRef::from(&client)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }
    for slot in 0..3 {
        assert_eq!(server.until_failed(Slot(slot)), libc::ECONNRESET);
    }
    server.idle();
    assert!(server.aside.is_empty(), "told twice: {:?}", server.aside);
    server.finish();
}

#[test]
fn the_end_of_the_stream_is_told_once_and_sending_goes_on() {
    let mut server = Server::start(&small());
    let mut client = server.connect_promoted(Slot(0));
    client.write_all(b"last").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.receive(Slot(0), 4), b"last");
    server.until_ended(Slot(0));
    server.ring.send_owned(Slot(0), b"still here".to_vec());
    server.until(|completion| matches!(completion, Completion::Sent(..)).then_some(()));
    assert_eq!(read_exact(&mut client, 10), b"still here");
    server.idle();
    assert!(server.aside.is_empty(), "told twice: {:?}", server.aside);
    server.finish();
}

#[test]
fn a_half_close_comes_after_the_owned_send_and_reading_goes_on() {
    let mut server = Server::start(&small());
    let mut client = server.connect_promoted(Slot(0));
    let sent = pattern(8 << 20);
    server.ring.send_owned(Slot(0), sent.clone());
    server.ring.shutdown_write(Slot(0));
    let reading = thread::spawn(move || {
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        client.write_all(b"thanks").unwrap();
        (got, client)
    });
    assert_eq!(server.receive(Slot(0), 6), b"thanks");
    let (got, _client) = reading.join().unwrap();
    assert!(got == sent, "what arrived differs");
    server.until(|completion| matches!(completion, Completion::Sent(..)).then_some(()));
    server.finish();
}

#[test]
fn a_slot_is_used_again_without_a_trace_of_its_former_life() {
    let mut server = Server::start(&small());
    for round in 0..50_u8 {
        let mut client = server.connect_promoted(Slot(7));
        client.write_all(&[round; 10]).unwrap();
        assert_eq!(server.receive(Slot(7), 10), [round; 10]);
        // More is on its way when the slot is closed.
        client.write_all(&[round; 100]).unwrap();
        server.close(Slot(7));
        server.aside.clear();
    }
    assert_eq!(server.ring.sockets_open(), 0);
    server.finish();
}

#[test]
fn a_ring_without_descriptors_pauses_accepting_until_the_next_tick() {
    let mut server = Server::start(&small());
    // The kernel's answer when the table is full; to fill it would disturb other tests.
    server.ring.stop_listening();
    server.idle();
    server.ring.acceptor = Acceptor::default();
    server
        .ring
        .listen(listen((Ipv4Addr::LOCALHOST, 0).into(), 16, true).unwrap());
    let full = Cqe::for_test(op::UserData::of_ring(Operation::Accept), -libc::EMFILE);
    let told = server.ring.on_accept(full);
    assert!(matches!(told, Some(Completion::AcceptPaused(libc::EMFILE))));
    let submissions = server.ring.counters().submissions;
    server.idle();
    assert_eq!(server.ring.counters().submissions, submissions, "it spins");
    server.tick(1);
    assert_eq!(server.ring.counters().submissions, submissions + 1);
    assert_eq!(server.ring.counters().accept_pauses, 1);
}

#[test]
fn listening_stops_and_resumes() {
    let mut server = Server::start(&small());
    server.turn();
    server.ring.stop_listening();
    server.turn();
    let early = TcpStream::connect(server.address).unwrap();
    server.idle();
    assert!(server.aside.is_empty(), "accepted: {:?}", server.aside);
    server.ring.resume_listening();
    let number = server.until(|completion| match completion {
        Completion::Accepted { number, .. } => Some(*number),
        _ => None,
    });
    assert_eq!(peer_address(number).unwrap(), early.local_addr().unwrap());
    drop(own(number));
    server.finish();
}

#[test]
fn a_dropped_ring_closes_its_sockets_and_outlived_leases_stay_readable() {
    let mut server = Server::start(&small());
    let mut ordinary = server.connect(Slot(0));
    server.ring.receive(Slot(0));
    let mut direct = server.connect_promoted(Slot(1));
    direct.write_all(b"kept").unwrap();
    let lease = server.until(|completion| match completion {
        Completion::Received(_, _) => {
            let taken = std::mem::replace(completion, Completion::Woken);
            let Completion::Received(_, lease) = taken else {
                unreachable!("matched above");
            };
            Some(lease)
        }
        _ => None,
    });
    server.ring.send_owned(Slot(1), pattern(32 << 20));
    server.turn();
    drop(server);
    assert_eq!(&lease[..], b"kept");
    assert_eq!(ordinary.read(&mut [0; 8]).unwrap(), 0);
    let mut rest = Vec::new();
    // A reset or an end, according to what the client had sent.
    let _either = direct.read_to_end(&mut rest);
    assert!(pattern(32 << 20).starts_with(&rest));
}

/// A dropped ring closed the ordinary descriptors of slots whose close was already with the kernel a
/// second time, which the standard library answers with an abort in debug builds.
#[test]
fn a_ring_dropped_while_it_closes_closes_no_descriptor_twice() {
    for teardown in [Teardown::Cancel, Teardown::Shutdown] {
        for turns in 0..3 {
            let mut server = Server::start(&RingConfig {
                teardown: Some(teardown),
                ..small()
            });
            let mut client = server.connect(Slot(0));
            server.ring.receive(Slot(0));
            server.ring.close(Slot(0));
            for _ in 0..turns {
                server.ring.submit_and_wait(TURN, |_| {}).unwrap();
            }
            drop(server);
            assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
        }
    }
}

#[test]
fn a_half_close_asked_for_twice_or_on_a_released_slot_does_no_harm() {
    let mut server = Server::start(&small());
    let mut client = server.connect(Slot(0));
    server.ring.shutdown_write(Slot(0));
    server.ring.shutdown_write(Slot(0));
    let number = server.ring.release(Slot(0));
    server.ring.adopt(Slot(0), number);
    server.turn();
    server.ring.shutdown_write(Slot(0));
    server.turn();
    server.ring.shutdown_write(Slot(0));
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    while server.ring.socket(Slot(0)).in_flight > 0 {
        server.turn();
    }
    let number = server.ring.release(Slot(0));
    server.turn();
    drop(own(number));
    server.finish();
}

#[test]
fn a_ring_that_overflows_its_completion_queue_loses_nothing() {
    let mut server = Server::start(&RingConfig {
        submission_entries: 8,
        completion_entries: 8,
        ..small()
    });
    let mut clients: Vec<TcpStream> = (0..60)
        .map(|slot| server.connect_promoted(Slot(slot)))
        .collect();
    server.turn();
    for round in 0..3_u8 {
        for client in &mut clients {
            client.write_all(&[round; 5]).unwrap();
        }
        for slot in 0..60 {
            assert_eq!(server.receive(Slot(slot), 5), [round; 5]);
        }
    }
    assert!(server.ring.counters().cq_overflows > 0);
    server.finish();
}

#[test]
fn a_ring_accepts_on_each_of_its_listeners() {
    let mut server = Server::start(&small());
    let second = listen((Ipv4Addr::LOCALHOST, 0).into(), 16, true).unwrap();
    let address = local_address(&second).unwrap();
    server.ring.listen(second);
    for address in [address, server.address, address] {
        let _client = TcpStream::connect(address).unwrap();
        let number = server.until(|completion| match completion {
            Completion::Accepted { number, .. } => Some(*number),
            _ => None,
        });
        drop(own(number));
    }
    assert_eq!(server.ring.counters().accepts, 3);
    assert_eq!(server.ring.take_listeners().len(), 2);
}
