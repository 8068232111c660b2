//! The ring against real sockets on loopback. Where io_uring is refused these tests fail.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;

use super::*;

mod echo;
mod lifecycle;
mod reading;
mod sending;
mod teardown;
mod waking;

/// Turns before a test that waits for something gives up: at 10 ms each, 20 seconds.
const TURNS_MAX: u32 = 2000;
const TURN: Option<Duration> = Some(Duration::from_millis(10));

fn small() -> RingConfig {
    RingConfig {
        completion_entries: 1024,
        sockets_max: 128,
        recv_buffers: 64,
        ..RingConfig::default()
    }
}

/// A ring with a listener of its own.
struct Server {
    ring: Ring,
    address: SocketAddr,
    /// Completions that a wait for something else came across.
    aside: VecDeque<Completion>,
}

impl Server {
    fn start(config: &RingConfig) -> Self {
        let mut ring = Ring::prepare(config).unwrap().enable().unwrap();
        let listener = listen((Ipv4Addr::LOCALHOST, 0).into(), 128, true).unwrap();
        let address = local_address(&listener).unwrap();
        ring.listen(listener);
        Self {
            ring,
            address,
            aside: VecDeque::new(),
        }
    }

    /// One turn without sends.
    fn turn(&mut self) {
        self.ring.submit_and_wait(TURN, |_| {}).unwrap();
        while let Some(completion) = self.ring.next_completion() {
            self.aside.push_back(completion);
        }
    }

    /// Waits for the first completion that `pick` takes; the others stay for later, in order.
    fn until<T>(&mut self, mut pick: impl FnMut(&mut Completion) -> Option<T>) -> T {
        for _ in 0..TURNS_MAX {
            let found = self
                .aside
                .iter_mut()
                .enumerate()
                .find_map(|(index, completion)| Some((index, pick(completion)?)));
            if let Some((index, found)) = found {
                self.aside.remove(index);
                return found;
            }
            self.turn();
        }
        panic!(
            "nothing came; aside: {:?}, ring: {:?}",
            self.aside, self.ring
        );
    }

    /// A new connection in its HTTP phase under `slot`, and the client's end.
    fn connect(&mut self, slot: Slot) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let number = self.until(|completion| match completion {
            Completion::Accepted { number, .. } => Some(*number),
            _ => None,
        });
        self.ring.adopt(slot, number);
        client
    }

    /// A promoted connection.
    fn connect_promoted(&mut self, slot: Slot) -> TcpStream {
        let client = self.connect(slot);
        self.ring.promote(slot);
        client
    }

    /// Waits until `count` bytes have been received on `slot`.
    fn receive(&mut self, slot: Slot, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            let more = self.until(|completion| match completion {
                Completion::Received(from, lease) if *from == slot => Some(lease.to_vec()),
                _ => None,
            });
            bytes.extend(more);
        }
        assert_eq!(bytes.len(), count);
        bytes
    }

    fn until_ended(&mut self, slot: Slot) {
        self.until(|completion| {
            matches!(completion, Completion::EndOfStream(from) if *from == slot).then_some(())
        });
    }

    fn until_failed(&mut self, slot: Slot) -> i32 {
        self.until(|completion| match completion {
            Completion::Failed(from, errno) if *from == slot => Some(*errno),
            _ => None,
        })
    }

    fn close(&mut self, slot: Slot) {
        self.ring.close(slot);
        self.until(|completion| {
            matches!(completion, Completion::Released(from) if *from == slot).then_some(())
        });
    }

    /// A few turns in which nothing is expected to happen.
    fn idle(&mut self) {
        for _ in 0..5 {
            self.turn();
        }
    }

    fn tick(&mut self, seconds: u64) {
        self.ring.tick(Now {
            monotonic_ms: seconds * 1000,
            unix_ms: 0,
        });
    }

    /// Closes what is open, and checks that everything lent has come back.
    fn finish(mut self) {
        self.aside.clear();
        let taken: Vec<usize> = (self.ring.sockets.iter())
            .filter(|(_, socket)| socket.phase != Phase::Free)
            .map(|(index, _)| index)
            .collect();
        for index in taken {
            self.close(Slot(u32::try_from(index).unwrap()));
        }
        self.idle();
        assert!(self.aside.is_empty(), "unexpected: {:?}", self.aside);
        assert!(self.ring.is_quiet(), "{:?}", self.ring);
        let counters = self.ring.counters();
        let in_flight = counters.submissions - counters.completions;
        assert_eq!(in_flight, self.ring.queues.in_flight());
        assert_eq!(in_flight, 2, "the accept and the waker: {:?}", self.ring);
    }
}

/// Bytes that show any loss, repetition or reordering.
fn pattern(count: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(42);
    (0..count).map(|_| rng.u8(..)).collect()
}

fn read_exact(client: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    client.read_exact(&mut bytes).unwrap();
    bytes
}
