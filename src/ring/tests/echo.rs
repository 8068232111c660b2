//! Everything at once: an echo server as a shard would write it.

use super::*;

/// An echo server over one ring: borrowed sends for those who keep up, one owned send at a time for
/// those who do not, and no reading from them meanwhile.
struct Echo {
    server: Server,
    /// What this turn received, by slot, with the leases that hold it.
    turn: Vec<(Slot, Vec<Lease>)>,
    /// What came for a laggard while its send was in flight.
    behind: std::collections::HashMap<Slot, Vec<u8>>,
    ended: Vec<Slot>,
    released: usize,
    next_slot: u32,
}

impl Echo {
    fn start(config: &RingConfig) -> Self {
        Self {
            server: Server::start(config),
            turn: Vec::new(),
            behind: std::collections::HashMap::new(),
            ended: Vec::new(),
            released: 0,
            next_slot: 0,
        }
    }

    fn turn(&mut self) {
        let turn = &self.turn;
        self.server
            .ring
            .submit_and_wait(TURN, |batch| {
                for (slot, leases) in turn {
                    let pieces: Vec<&[u8]> = leases.iter().map(|lease| &lease[..]).collect();
                    match pieces[..] {
                        [piece] => batch.send(*slot, piece),
                        _ => batch.send_pieces(*slot, &pieces),
                    }
                }
            })
            .unwrap();
        // Shorts come first, while the leases of the turn are still there.
        let mut sent = std::mem::take(&mut self.turn);
        while let Some(completion) = self.server.ring.next_completion() {
            if !matches!(completion, Completion::Short { .. }) {
                sent.clear();
            }
            self.handle(completion, &sent);
        }
        let ring = &mut self.server.ring;
        self.ended.retain(|slot| {
            let is_done = !ring.is_sending(*slot)
                && !self.behind.contains_key(slot)
                && !self.turn.iter().any(|(other, _)| other == slot);
            if is_done {
                ring.close(*slot);
            }
            !is_done
        });
    }

    fn handle(&mut self, completion: Completion, sent: &[(Slot, Vec<Lease>)]) {
        let ring = &mut self.server.ring;
        match completion {
            Completion::Accepted { number, .. } => {
                let slot = Slot(self.next_slot);
                self.next_slot += 1;
                ring.adopt(slot, number);
                ring.promote(slot);
            }
            Completion::Received(slot, lease) => {
                if ring.is_sending(slot) {
                    self.behind.entry(slot).or_default().extend(&lease[..]);
                } else if let Some((_, leases)) = self.turn.iter_mut().find(|(s, _)| *s == slot) {
                    leases.push(lease);
                } else {
                    self.turn.push((slot, vec![lease]));
                }
            }
            Completion::Short { slot, taken } => {
                let (_, leases) = sent.iter().find(|(other, _)| *other == slot).unwrap();
                let rest = leases.iter().flat_map(|lease| lease.iter().copied());
                ring.pause_reading(slot);
                ring.send_owned(slot, rest.skip(taken).collect());
            }
            Completion::Sent(slot, _) => match self.behind.remove(&slot) {
                Some(bytes) => ring.send_owned(slot, bytes),
                None => ring.resume_reading(slot),
            },
            Completion::EndOfStream(slot) => self.ended.push(slot),
            Completion::Released(_) => self.released += 1,
            unexpected => panic!("{unexpected:?}"),
        }
    }

    /// Gives up when nothing completes for long.
    fn run_until(&mut self, mut is_done: impl FnMut(&Self) -> bool) {
        let mut idle_turns = 0;
        while !is_done(self) {
            let before = self.server.ring.counters().completions;
            self.turn();
            let is_idle = self.server.ring.counters().completions == before;
            idle_turns = if is_idle { idle_turns + 1 } else { 0 };
            assert!(idle_turns < TURNS_MAX, "stuck: {:?}", self.server.ring);
        }
    }
}

/// Sends `bytes` and half-closes, while another thread reads until the end.
fn talk(address: SocketAddr, bytes: Vec<u8>, go: Option<mpsc::Receiver<()>>) -> Vec<u8> {
    let mut client = TcpStream::connect(address).unwrap();
    let mut writer = client.try_clone().unwrap();
    let writing = thread::spawn(move || {
        writer.write_all(&bytes).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    if let Some(go) = go {
        go.recv().unwrap();
    }
    let mut echoed = Vec::new();
    client.read_to_end(&mut echoed).unwrap();
    writing.join().unwrap();
    echoed
}

#[test]
fn several_clients_get_megabytes_back_byte_for_byte() {
    let mut echo = Echo::start(&small());
    let address = echo.server.address;
    let sent = pattern(3 << 20);
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let sent = sent.clone();
            thread::spawn(move || talk(address, sent, None))
        })
        .collect();
    echo.run_until(|echo| echo.released == 4);
    for client in clients {
        assert!(client.join().unwrap() == sent, "the echo differs");
    }
    echo.server.finish();
}

#[test]
fn a_client_that_does_not_read_at_first_gets_everything_by_owned_sends() {
    let mut echo = Echo::start(&small());
    let address = echo.server.address;
    // More than the socket buffers of both ends hold, so that a send must come out short.
    let sent = pattern(24 << 20);
    let (go, gone) = mpsc::channel();
    let expected = sent.clone();
    let client = thread::spawn(move || talk(address, sent, Some(gone)));
    echo.run_until(|echo| echo.server.ring.counters().short_sends > 0);
    go.send(()).unwrap();
    echo.run_until(|echo| echo.released == 1);
    assert!(client.join().unwrap() == expected, "the echo differs");
    echo.server.finish();
}
