//! Transports on a real ring, with sockets that take next to nothing.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::IntoRawFd;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, version};
use socket2::{Domain, SockRef, Socket, Type};

use super::*;
use crate::ring::{Completion, RingConfig};
use crate::tls::tests::{Folder, acceptor, client_config};

const SLOT: Slot = Slot(0);

/// A shard's thread without the shard.
struct Bench {
    ring: Ring,
    transports: Transports,
    plaintext: Vec<u8>,
    /// Owned sends of the shard's, as far as it is told of them.
    taken_over: usize,
    sent: usize,
    was_held: bool,
}

impl Bench {
    /// A server's end that buffers so little that a flight of the handshake does not fit.
    fn new(stream: TcpStream, passage: Passage) -> Self {
        SockRef::from(&stream).set_send_buffer_size(1).unwrap();
        let config = RingConfig {
            sockets_max: 8,
            ..RingConfig::default()
        };
        let mut ring = Ring::prepare(&config).unwrap().enable().unwrap();
        let mut transports = Transports::default();
        ring.adopt(SLOT, stream.into_raw_fd());
        transports.adopt(SLOT, Box::new(passage));
        transports.receiving(SLOT);
        ring.receive(SLOT);
        Self {
            ring,
            transports,
            plaintext: Vec::new(),
            taken_over: 0,
            sent: 0,
            was_held: false,
        }
    }

    /// One turn, as `Turns` has it, in which the shard sends `pieces`.
    fn turn(&mut self, pieces: &[&[u8]]) {
        let Self {
            ring, transports, ..
        } = self;
        if !pieces.is_empty() {
            Sealer { transports, ring }.send(SLOT, pieces);
        }
        transports.seal_waiting(ring);
        let timeout = Some(Duration::from_millis(5));
        ring.submit_and_wait(timeout, |batch| transports.flush(batch))
            .unwrap();
        let mut held = Vec::new();
        while let Some(completion) = self.ring.next_completion() {
            match completion {
                Completion::Short { slot, taken } => {
                    self.transports.short(slot, taken, &mut self.ring);
                }
                other => held.push(other),
            }
        }
        while let Some((slot, bytes)) = self.transports.pop_taken_over() {
            assert!(slot == SLOT && bytes > 0);
            self.taken_over += 1;
        }
        self.transports.flushed();
        for completion in held {
            self.complete(completion);
        }
    }

    fn complete(&mut self, completion: Completion) {
        let Self {
            ring, transports, ..
        } = self;
        let arrived = match completion {
            Completion::Received(slot, mut lease) => {
                let arrived = transports.received(slot, &mut lease, ring);
                self.was_held |= ring.is_sending(slot);
                arrived
            }
            Completion::Sent(slot, _) => match transports.sent(slot, ring) {
                Some(arrived) => arrived,
                None => {
                    self.sent += 1;
                    return;
                }
            },
            Completion::Progress(_) => return,
            other => panic!("{other:?}"),
        };
        assert_eq!(arrived.end, End::Open);
        if !arrived.plaintext.is_empty() {
            // The shard may give the socket away at this moment.
            assert!(!ring.is_sending(SLOT));
        }
        self.plaintext.extend_from_slice(&arrived.plaintext);
        self.transports.recycle(arrived.plaintext);
    }
}

#[test]
fn nothing_reaches_the_shard_while_a_flight_of_our_own_is_under_way() {
    let folder = Folder::new();
    let hosts: Vec<String> = (0..1500)
        .map(|n| format!("host-{n}.example.test"))
        .collect();
    let mut hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    hosts.push("a.test");
    let files = folder.certificate("long", &hosts);
    let acceptor = Arc::new(acceptor(std::slice::from_ref(&files)));
    let config = Arc::new(client_config(&[&files.chain], &[&version::TLS13]));
    let host = ServerName::try_from("a.test").unwrap();
    let mut client = ClientConnection::new(config, host).unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // Before it connects, so that no larger window is ever announced.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(1).unwrap();
    let address = listener.local_addr().unwrap();
    socket.connect(&address.into()).unwrap();
    let mut socket = TcpStream::from(socket);
    let passage = Passage::new(Some(&acceptor), None).unwrap();
    let mut bench = Bench::new(listener.accept().unwrap().0, passage);

    client.write_tls(&mut socket).unwrap();
    let is_under_way = |bench: &mut Bench| {
        bench.turn(&[]);
        bench.ring.is_sending(SLOT)
    };
    assert!(
        (0..1000).any(|_| is_under_way(&mut bench)),
        "the flight was taken"
    );
    // What comes meanwhile is held: a record that is allowed here, without meaning.
    socket.write_all(&[0x14, 3, 3, 0, 1, 1]).unwrap();
    assert!((0..1000).any(|_| {
        bench.turn(&[]);
        bench.was_held
    }));
    // The client reads on; its request comes with the end of its handshake.
    client.writer().write_all(b"request").unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut rounds = 0;
    while bench.plaintext.is_empty() {
        bench.turn(&[]);
        if client.read_tls(&mut socket).is_ok() {
            client.process_new_packets().unwrap();
        }
        while client.wants_write() && client.write_tls(&mut socket).is_ok() {}
        rounds += 1;
        assert!(rounds < 20_000, "the handshake does not end");
    }
    assert_eq!((&*bench.plaintext, bench.taken_over), (&b"request"[..], 0));

    // What the shard writes, and the socket does not take, it is told of.
    let answer = vec![b'a'; 200_000];
    bench.turn(&[b"answer ", &answer]);
    assert_eq!(bench.taken_over, 1);
    let mut heard = Vec::new();
    while bench.sent == 0 || heard.len() < 7 + answer.len() {
        bench.turn(&[]);
        rounds += 1;
        assert!(rounds < 20_000, "{} bytes were heard", heard.len());
        while client.read_tls(&mut socket).is_ok_and(|read| read > 0) {
            client.process_new_packets().unwrap();
            let _would_block = client.reader().read_to_end(&mut heard);
        }
    }
    assert!(heard == [b"answer ", &answer[..]].concat());
    assert_eq!(bench.sent, 1);
}
