//! The load: very many WebSocket clients on one ring, which check every message they get.

use std::io;
use std::net::TcpStream;
use std::os::fd::IntoRawFd;
use std::time::Duration;

use campanile::id::Slot;
use campanile::ring::{Completion, PreparedRing, Ring, RingConfig};
use campanile::time::Clock;

use crate::clock::{Histogram, Time};
use crate::message;

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// All send, and each gets back what it has sent.
    Echo,
    /// The first so many send, and all get all of it.
    FanOut {
        /// How many send.
        senders: usize,
    },
}

/// One client.
#[derive(Debug, Default)]
struct Client {
    /// Frames on their way out.
    out: Vec<u8>,
    /// The beginning of a frame whose rest has not come yet.
    partial: Vec<u8>,
    /// Number of the next message that it sends.
    next: u64,
    /// Of all that it has received, in order.
    digest: u64,
    received: u64,
    /// An owned send is in flight: `out` waits.
    blocked: bool,
}

/// Clients that share a ring.
#[derive(Debug)]
pub(crate) struct Clients {
    ring: Ring,
    clock: Clock,
    pattern: Pattern,
    clients: Vec<Client>,
    /// Number of the next message that client `i` must get from sender `j`: `i * senders + j`, with
    /// one sender for an echo.
    expected: Vec<u64>,
    /// When each sender sent its latest messages, by number modulo [`REMEMBERED`].
    sent_us: Vec<u32>,
    /// Clients with something to send in the coming turn.
    ready: Vec<Slot>,
    /// Scratch for a frame that came in several parts.
    gathered: Vec<u8>,
    /// The completion that ended the short sends.
    held: Option<Completion>,
    began: Time,
    now_us: u64,
    ticked_s: u32,
    stopping: bool,
    sent: u64,
    pub(crate) received: u64,
    pub(crate) latency: Histogram,
}

/// Sending times that are kept per sender, more than it has in flight. The latency of a receiver who
/// lags farther behind than that is measured too short.
const REMEMBERED: u64 = 64;

/// Longest payload of a frame with a header of two bytes; the server has no reason to send others.
const CONTROL_OR_OURS_MAX: u8 = 125;

/// Longest wait of a turn.
const TURN: Duration = Duration::from_millis(100);

fn wrong(slot: Slot, what: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("client {}: {what}", slot.0))
}

impl Clients {
    /// Room for `capacity` clients. Many clients get small receive buffers.
    pub(crate) fn new(capacity: usize, pattern: Pattern) -> io::Result<Self> {
        let (recv_buffers, recv_buffer_bytes) = match capacity {
            ..=256 => (1024, 4096),
            257..=2048 => (4096, 2048),
            _ => (16_384, 256),
        };
        let config = RingConfig {
            sockets_max: u32::try_from(capacity).map_err(io::Error::other)?,
            recv_buffers,
            recv_buffer_bytes,
            ..RingConfig::default()
        };
        let ring = Ring::prepare(&config)
            .and_then(PreparedRing::enable)
            .map_err(io::Error::other)?;
        if (ring.sockets_max() as usize) < capacity {
            return Err(io::Error::other(
                "RLIMIT_NOFILE is below the clients of one ring",
            ));
        }
        let senders = match pattern {
            Pattern::Echo => capacity,
            Pattern::FanOut { senders } => senders,
        };
        Ok(Self {
            ring,
            clock: Clock::start(),
            pattern,
            clients: Vec::with_capacity(capacity),
            expected: Vec::new(),
            sent_us: vec![0; senders * usize::try_from(REMEMBERED).expect("small")],
            ready: Vec::new(),
            gathered: Vec::new(),
            held: None,
            began: Time::now(),
            now_us: 0,
            ticked_s: 0,
            stopping: false,
            sent: 0,
            received: 0,
            latency: Histogram::new(),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Takes a connection whose handshake is done into the ring.
    pub(crate) fn adopt(&mut self, stream: TcpStream) -> io::Result<()> {
        let slot = Slot(u32::try_from(self.clients.len()).map_err(io::Error::other)?);
        self.ring.adopt(slot, stream.into_raw_fd());
        self.ring.promote(slot);
        self.clients.push(Client::default());
        let senders = match self.pattern {
            Pattern::Echo => 1,
            Pattern::FanOut { senders } => senders,
        };
        self.expected.resize(self.expected.len() + senders, 0);
        // Promotions close the ordinary descriptors, of which there are few.
        if self.clients.len().is_multiple_of(crate::handshake::AT_ONCE) {
            self.catch_up()?;
        }
        Ok(())
    }

    /// Handles all that has come, without waiting for more.
    pub(crate) fn catch_up(&mut self) -> io::Result<()> {
        // The kernel hands completions out in portions of twenty or so (liburing 1474), and some lead
        // to nothing but another submission.
        loop {
            let before = self.ring.counters();
            let completions = self.turn(Duration::ZERO)?;
            if completions == 0 && self.ring.counters().completions == before.completions {
                return Ok(());
            }
        }
    }

    /// Every sender sends `in_flight` messages; from then on each that comes back is followed by
    /// another.
    pub(crate) fn start(&mut self, in_flight: usize) {
        self.stopping = false;
        let senders = match self.pattern {
            Pattern::Echo => self.clients.len(),
            Pattern::FanOut { senders } => senders.min(self.clients.len()),
        };
        for index in 0..senders {
            let slot = Slot(u32::try_from(index).expect("below the ring's capacity"));
            for _ in 0..in_flight {
                self.send(slot);
            }
        }
    }

    /// Runs for so long.
    pub(crate) fn run(&mut self, us: u64) -> io::Result<()> {
        let began = Time::now();
        while began.elapsed_us() < us {
            self.turn(TURN)?;
        }
        Ok(())
    }

    /// Sends no more, and waits until everything has come, in the same order to everybody.
    pub(crate) fn finish(&mut self, within_us: u64) -> io::Result<()> {
        self.stopping = true;
        let fan_out = match self.pattern {
            Pattern::Echo => 1,
            Pattern::FanOut { .. } => self.clients.len() as u64,
        };
        let began = Time::now();
        while self.received < self.sent * fan_out {
            if began.elapsed_us() > within_us {
                let (received, sent) = (self.received, self.sent * fan_out);
                return Err(io::Error::other(format!(
                    "{received} messages of {sent} came"
                )));
            }
            self.turn(TURN)?;
        }
        if let (Pattern::FanOut { .. }, Some(first)) = (self.pattern, self.clients.first()) {
            let first = (first.received, first.digest);
            let differs = |client: &Client| (client.received, client.digest) != first;
            if self.clients.iter().any(differs) {
                return Err(io::Error::other("two subscribers got different orders"));
            }
        }
        Ok(())
    }

    /// Closes all connections. (To drop a ring with very many of them takes the kernel a time that
    /// grows with their square, to cancel what is armed.)
    pub(crate) fn close(mut self) -> io::Result<()> {
        for index in 0..self.clients.len() {
            self.ring
                .close(Slot(u32::try_from(index).map_err(io::Error::other)?));
        }
        while self.ring.sockets_open() > 0 {
            self.ring.submit_and_wait(Some(TURN), |_| {})?;
            while self.ring.next_completion().is_some() {}
        }
        Ok(())
    }

    /// One turn: sends what is ready, waits, handles what has come and tells how much that was.
    fn turn(&mut self, timeout: Duration) -> io::Result<usize> {
        let Self {
            ring,
            clients,
            ready,
            ..
        } = self;
        ring.submit_and_wait(Some(timeout), |batch| {
            for &slot in ready.iter() {
                batch.send(slot, &clients[slot.index()].out);
            }
        })?;
        self.now_us = self.began.elapsed_us();
        self.take_shorts()?;
        let mut completions = 0;
        while let Some(completion) = self.held.take().or_else(|| self.ring.next_completion()) {
            self.complete(completion)?;
            completions += 1;
        }
        let now = self.clock.now();
        if now.seconds() > self.ticked_s {
            self.ticked_s = now.seconds();
            self.ring.tick(now);
        }
        Ok(completions)
    }

    /// What a full socket did not take is sent on by the ring; all else was sent.
    fn take_shorts(&mut self) -> io::Result<()> {
        while let Some(completion) = self.ring.next_completion() {
            let Completion::Short { slot, taken } = completion else {
                self.held = Some(completion);
                break;
            };
            let client = &mut self.clients[slot.index()];
            client.blocked = true;
            self.ring.send_owned(slot, client.out[taken..].to_vec());
        }
        for slot in self.ready.drain(..) {
            self.clients[slot.index()].out.clear();
        }
        Ok(())
    }

    fn complete(&mut self, completion: Completion) -> io::Result<()> {
        match completion {
            Completion::Received(slot, lease) => self.receive(slot, &lease),
            Completion::Sent(slot, _) => {
                let client = &mut self.clients[slot.index()];
                client.blocked = false;
                if !client.out.is_empty() {
                    self.ready.push(slot);
                }
                Ok(())
            }
            Completion::EndOfStream(slot) => Err(wrong(slot, "the server has ended it")),
            Completion::Failed(slot, errno) => {
                Err(wrong(slot, io::Error::from_raw_os_error(errno)))
            }
            Completion::Woken => Ok(()),
            other => Err(io::Error::other(format!("unexpected: {other:?}"))),
        }
    }

    /// Cuts what came into frames, and keeps the beginning of the last for later.
    fn receive(&mut self, slot: Slot, bytes: &[u8]) -> io::Result<()> {
        let mut partial = std::mem::take(&mut self.clients[slot.index()].partial);
        if partial.is_empty() {
            partial.extend_from_slice(self.frames(slot, bytes)?);
        } else {
            let mut gathered = std::mem::take(&mut self.gathered);
            gathered.clear();
            gathered.extend_from_slice(&partial);
            gathered.extend_from_slice(bytes);
            partial.clear();
            partial.extend_from_slice(self.frames(slot, &gathered)?);
            self.gathered = gathered;
        }
        self.clients[slot.index()].partial = partial;
        Ok(())
    }

    /// Handles whole frames; returns what follows them.
    fn frames<'b>(&mut self, slot: Slot, mut bytes: &'b [u8]) -> io::Result<&'b [u8]> {
        while let Some(&[_, length]) = bytes.first_chunk() {
            if length > CONTROL_OR_OURS_MAX {
                return Err(wrong(slot, "a frame that is not ours"));
            }
            let Some((frame, rest)) = bytes.split_at_checked(2 + usize::from(length)) else {
                break;
            };
            self.frame(slot, frame)?;
            bytes = rest;
        }
        Ok(bytes)
    }

    fn frame(&mut self, slot: Slot, frame: &[u8]) -> io::Result<()> {
        const PING: u8 = 0x89;
        if frame[0] == PING {
            self.queue(slot, message::write_pong);
            return Ok(());
        }
        let (sender, sequence) =
            message::read(frame).ok_or_else(|| wrong(slot, format!("not ours: {frame:?}")))?;
        let expected = match self.pattern {
            Pattern::Echo if sender == slot => &mut self.expected[slot.index()],
            Pattern::FanOut { senders } if sender.index() < senders => {
                &mut self.expected[slot.index() * senders + sender.index()]
            }
            _ => return Err(wrong(slot, format!("a message of {}", sender.0))),
        };
        if *expected != sequence {
            let what = format!("message {sequence} of {} instead of {expected}", sender.0);
            return Err(wrong(slot, what));
        }
        *expected += 1;
        self.received += 1;
        let client = &mut self.clients[slot.index()];
        client.received += 1;
        let which = u64::from(sender.0) << 40 ^ sequence;
        client.digest = (client.digest ^ which).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let sent_us = self.sent_us[remembered(sender, sequence)];
        self.latency
            .record(self.now_us.saturating_sub(u64::from(sent_us)));
        if sender == slot && !self.stopping {
            self.send(slot);
        }
        Ok(())
    }

    fn send(&mut self, slot: Slot) {
        let client = &mut self.clients[slot.index()];
        let sequence = client.next;
        client.next += 1;
        self.sent += 1;
        // An hour and more; a run takes seconds.
        self.sent_us[remembered(slot, sequence)] = u32::try_from(self.now_us).unwrap_or(u32::MAX);
        self.queue(slot, |out| message::write(out, slot, sequence));
    }

    fn queue(&mut self, slot: Slot, write: impl FnOnce(&mut Vec<u8>)) {
        let client = &mut self.clients[slot.index()];
        if client.out.is_empty() && !client.blocked {
            self.ready.push(slot);
        }
        write(&mut client.out);
    }
}

fn remembered(sender: Slot, sequence: u64) -> usize {
    let sequence = usize::try_from(sequence % REMEMBERED).expect("small");
    sender.index() * usize::try_from(REMEMBERED).expect("small") + sequence
}
