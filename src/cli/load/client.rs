//! Very many WebSocket clients on one ring: opening them, cutting what comes into messages, sending.
//!
//! A [`Mode`] says what they talk about. One turn: what is ready is sent, all that has come is handled.

mod receive;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use campanile::id::Slot;
use campanile::ring::{Completion, PreparedRing, Ring, RingConfig};
use campanile::time::Clock;

use super::clock::Pacer;
use super::crowd::Command;
use super::fault::Fault;
use super::frames::Fragments;
use super::latency::Latencies;
use super::shared::{Gauge, Shared};
use super::tls::{Session, Tls};

/// What clients say and what they must hear.
pub(crate) trait Mode: Send + 'static {
    /// The number that stands for `{room}` in a connection's URL.
    fn room(&self, _share: Share, _client: u32) -> u32 {
        0
    }

    /// Does what the leading thread asks for.
    fn command(&mut self, core: &mut Core, command: Command) -> Result<(), Fault>;

    /// A connection is established.
    fn opened(&mut self, _core: &mut Core, _slot: Slot) -> Result<(), Fault> {
        Ok(())
    }

    /// A whole text has come.
    fn text(&mut self, core: &mut Core, slot: Slot, text: &[u8]) -> Result<(), Fault>;

    /// Does what is due by the clock, and tells when it wants to be called again.
    fn due(&mut self, core: &mut Core) -> Result<Option<u64>, Fault>;
}

/// Handshakes of one thread that may wait for their answers.
const OPENING_MAX: usize = 128;
/// How long a handshake may take.
const HANDSHAKE_US: u64 = 30_000_000;
/// Longest wait of a turn.
const TURN: Duration = Duration::from_millis(250);
/// Buffers that are kept for reuse, and how large they may be.
const SPARE_MAX: usize = 4096;
const SPARE_BYTES_MAX: usize = 64 * 1024;
/// What may wait for one connection that does not read, in bytes or messages, whichever is more.
const BACKLOG_BYTES_MAX: usize = 64 << 20;
const BACKLOG_MESSAGES_MAX: usize = 1024;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Absent,
    /// The request is on its way; `partial` gathers the answer.
    Opening,
    Open,
    /// Until the ring gives the slot back.
    Closing,
}

/// One client: what it has in flight. Both vectors are without memory while they are empty.
#[derive(Debug, Default)]
struct Client {
    /// Frames on their way out.
    out: Vec<u8>,
    /// The beginning of a frame whose rest has not come yet.
    partial: Vec<u8>,
    phase: Phase,
    /// An owned send is in flight: `out` waits.
    is_blocked: bool,
    /// In `Core::ready`.
    is_ready: bool,
    /// Over TLS: `out` becomes records at the end of a turn.
    tls: Option<Box<Session>>,
}

/// The place of a thread among the others. Clients are dealt out in turn: thread `index` has those
/// whose number is `index` modulo `of`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    pub(crate) index: usize,
    pub(crate) of: usize,
}

impl Share {
    /// How many of the first `count` are this thread's.
    pub(crate) fn part_of(self, count: usize) -> usize {
        (count + self.of - 1 - self.index) / self.of
    }

    /// The number of a client among all.
    pub(crate) fn client(self, slot: Slot) -> u32 {
        u32::try_from(slot.index() * self.of + self.index).expect("below 2^23")
    }
}

/// The clients of one thread.
#[derive(Debug)]
pub(crate) struct Core {
    ring: Ring,
    clock: Clock,
    shared: Arc<Shared>,
    pub(crate) share: Share,
    clients: Vec<Client>,
    message_bytes_max: usize,
    /// Clients with something to send in the coming turn.
    ready: Vec<Slot>,
    spare: Vec<Vec<u8>>,
    fragments: Fragments,
    /// What has come over TLS: memory for the next.
    plaintext: Vec<u8>,
    /// The completion that ended the short sends.
    held: Option<Completion>,
    /// Slots yet to be opened, and at what pace.
    to_open: VecDeque<Slot>,
    open_pacer: Option<Pacer>,
    /// Those whose answer has not come, with their deadline.
    opening: VecDeque<(Slot, u64)>,
    waiting: usize,
    ticked_s: u32,
    epoch: u64,
    /// When this turn's completions came, microseconds.
    pub(crate) now_us: u64,
    open: u64,
    opened_us: u64,
    pub(crate) sent: u64,
    /// Messages that must come before the run may end.
    pub(crate) due: u64,
    /// Clients that their application has let in.
    pub(crate) joined: u64,
    /// Messages that were taken and are none of ours.
    pub(crate) others: u64,
    reopened: u64,
    /// TLS sessions that have come back by a ticket.
    resumed: u64,
    received: u64,
    received_us: u64,
    latencies: Latencies,
}

/// The receive buffers that suit so many clients: the fewer, the larger.
fn ring_config(clients: usize, message_bytes: usize) -> Result<RingConfig, Fault> {
    let (recv_buffers, recv_buffer_bytes) = match (clients, message_bytes) {
        (..=2048, 4096..) => (1024, 16_384),
        (..=256, _) => (1024, 4096),
        (257..=2048, _) => (4096, 2048),
        _ => (16_384, 256),
    };
    Ok(RingConfig {
        sockets_max: u32::try_from(clients).map_err(io::Error::other)?,
        recv_buffers,
        recv_buffer_bytes,
        ..RingConfig::default()
    })
}

/// Sets up a ring for so many clients. It may be enabled on another thread.
pub(crate) fn prepare(clients: usize, message_bytes: usize) -> Result<PreparedRing, Fault> {
    Ok(Ring::prepare(&ring_config(clients.max(1), message_bytes)?)?)
}

impl Core {
    /// Enables the ring for this thread. Messages from the server have at most `message_bytes_max`.
    pub(crate) fn new(
        ring: PreparedRing,
        shared: Arc<Shared>,
        share: Share,
        capacity: usize,
        message_bytes_max: usize,
    ) -> Result<Self, Fault> {
        let ring = ring.enable()?;
        if (ring.sockets_max() as usize) < capacity {
            let most = ring.sockets_max();
            return Err(Fault::Impossible(format!(
                "{capacity} connections for one thread, but RLIMIT_NOFILE allows {most}"
            )));
        }
        let mut clients = Vec::new();
        clients.resize_with(capacity, Client::default);
        Ok(Self {
            ring,
            clock: Clock::start(),
            now_us: shared.origin.us(),
            shared,
            share,
            clients,
            message_bytes_max,
            ready: Vec::new(),
            spare: Vec::new(),
            fragments: Fragments::default(),
            plaintext: Vec::new(),
            held: None,
            to_open: VecDeque::new(),
            open_pacer: None,
            opening: VecDeque::new(),
            waiting: 0,
            ticked_s: 0,
            epoch: 0,
            open: 0,
            opened_us: 0,
            sent: 0,
            due: 0,
            joined: 0,
            others: 0,
            reopened: 0,
            resumed: 0,
            received: 0,
            received_us: 0,
            latencies: Latencies::new(),
        })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn read_clock(&mut self) {
        self.now_us = self.shared.origin.us();
    }

    fn gauge(&self) -> &Gauge {
        &self.shared.gauges[self.share.index]
    }

    /// Opens clients so that the first `count` of all threads are open, `per_s` a second of them all.
    pub(crate) fn open_until(&mut self, count: usize, per_s: Option<f64>) {
        let of_ours = self.share.part_of(count).min(self.clients.len());
        for index in 0..of_ours {
            if self.clients[index].phase == Phase::Absent {
                self.to_open
                    .push_back(Slot(u32::try_from(index).expect("a slot")));
            }
        }
        let Share { index, of } = self.share;
        self.open_pacer = per_s.map(|per_s| Pacer::new(self.now_us, per_s, index, of));
    }

    /// Opens one client again, as soon as there is room.
    pub(crate) fn open_again(&mut self, slot: Slot) {
        self.reopened += 1;
        self.to_open.push_back(slot);
    }

    /// Whether the slot may be opened again.
    pub(crate) fn is_absent(&self, slot: Slot) -> bool {
        self.clients[slot.index()].phase == Phase::Absent
    }

    /// Closes a connection with a reset. What it has not sent is not sent.
    pub(crate) fn close(&mut self, slot: Slot) {
        let client = &mut self.clients[slot.index()];
        match client.phase {
            Phase::Absent | Phase::Closing => return,
            Phase::Opening => self.waiting -= 1,
            Phase::Open => self.open -= 1,
        }
        client.phase = Phase::Closing;
        client.is_blocked = false;
        client.is_ready = false;
        client.out = Vec::new();
        client.partial = Vec::new();
        client.tls = None;
        self.fragments.forget(slot);
        self.ready.retain(|&ready| ready != slot);
        self.ring.close(slot);
    }

    /// Closes all. (To drop a ring with very many of them takes the kernel a time that grows with
    /// their square, to cancel what is armed.)
    pub(crate) fn close_all(&mut self) {
        self.to_open.clear();
        self.ready.clear();
        for index in 0..self.clients.len() {
            self.close(Slot(u32::try_from(index).expect("a slot")));
        }
    }

    /// Opens what is to be opened and may be by now. Returns when it wants to go on.
    fn open_due<M: Mode>(&mut self, mode: &M) -> Result<Option<u64>, Fault> {
        while self.waiting < OPENING_MAX && !self.to_open.is_empty() {
            if let Some(pacer) = &mut self.open_pacer
                && pacer.take(self.now_us).is_none()
            {
                return Ok(Some(pacer.next_us()));
            }
            let slot = self.to_open.pop_front().expect("it is not empty");
            let user = self.share.client(slot);
            let number = self
                .shared
                .handshakes
                .connect()
                .map_err(|error| Fault::Socket {
                    client: user,
                    error,
                })?;
            self.ring.adopt(slot, number);
            self.ring.promote(slot);
            let tls = self.shared.handshakes.tls.as_ref().map(Tls::connect);
            let tls = tls.transpose().map_err(|error| Fault::Handshake {
                client: user,
                what: error.to_string(),
            })?;
            let client = &mut self.clients[slot.index()];
            client.phase = Phase::Opening;
            client.tls = tls;
            self.opening.push_back((slot, self.now_us + HANDSHAKE_US));
            self.waiting += 1;
            let (shared, room) = (Arc::clone(&self.shared), mode.room(self.share, user));
            self.queue(slot, |out| {
                shared.handshakes.request_into(out, user, room);
            })?;
        }
        while let Some(&(slot, deadline)) = self.opening.front() {
            if self.clients[slot.index()].phase != Phase::Opening {
                self.opening.pop_front();
            } else if deadline < self.now_us {
                let what = format!("no answer within {} s", HANDSHAKE_US / 1_000_000);
                let client = self.share.client(slot);
                return Err(Fault::Handshake { client, what });
            } else {
                break;
            }
        }
        Ok(None)
    }

    /// One turn: opens and sends what is due, waits, handles what has come.
    pub(crate) fn turn<M: Mode>(&mut self, mode: &mut M) -> Result<(), Fault> {
        let wake_us = [self.open_due(mode)?, mode.due(self)?];
        let wait_us = wake_us
            .iter()
            .flatten()
            .map(|wake_us| wake_us.saturating_sub(self.now_us))
            .min();
        let timeout = wait_us.map_or(TURN, |us| TURN.min(Duration::from_micros(us)));
        self.seal()?;
        let Self {
            ring,
            clients,
            ready,
            ..
        } = self;
        ring.submit_and_wait(Some(timeout), |batch| {
            for &slot in ready.iter() {
                let out = &clients[slot.index()].out;
                if !out.is_empty() {
                    batch.send(slot, out);
                }
            }
        })?;
        self.read_clock();
        if self.latencies.is_due(self.now_us) {
            self.hand_over();
        }
        self.take_shorts()?;
        while let Some(completion) = self.held.take().or_else(|| self.ring.next_completion()) {
            self.complete(mode, completion)?;
        }
        let now = self.clock.now();
        if now.seconds() > self.ticked_s {
            self.ticked_s = now.seconds();
            self.ring.tick(now);
        }
        self.publish();
        Ok(())
    }

    /// Makes records of what is sent over TLS in this turn.
    fn seal(&mut self) -> Result<(), Fault> {
        if self.shared.handshakes.tls.is_none() {
            return Ok(());
        }
        for &slot in &self.ready {
            let client = &mut self.clients[slot.index()];
            if let Some(session) = &mut client.tls {
                let sealed = session.seal(&mut client.out);
                sealed.map_err(|error| Fault::Socket {
                    client: self.share.client(slot),
                    error,
                })?;
            }
        }
        Ok(())
    }

    /// Hands over the latencies of what has come: when a period is over, and before the thread ends.
    pub(crate) fn hand_over(&mut self) {
        let gauge = &self.shared.gauges[self.share.index];
        let is_measuring = self.epoch % 2 == 1;
        self.latencies
            .hand_over(self.now_us, &mut gauge.published(), is_measuring);
    }

    /// Tells the leading thread where this one stands.
    fn publish(&mut self) {
        let epoch = self.shared.epoch.load(Ordering::Acquire);
        if epoch != self.epoch {
            self.hand_over();
            self.epoch = epoch;
        }
        let gauge = self.gauge();
        gauge.sent.store(self.sent, Ordering::Release);
        gauge.due.store(self.due, Ordering::Release);
        gauge.joined.store(self.joined, Ordering::Release);
        gauge.others.store(self.others, Ordering::Release);
        gauge.reopened.store(self.reopened, Ordering::Release);
        gauge.resumed.store(self.resumed, Ordering::Release);
        gauge.received_us.store(self.received_us, Ordering::Release);
        gauge.received.store(self.received, Ordering::Release);
        gauge.opened_us.store(self.opened_us, Ordering::Release);
        gauge.open.store(self.open, Ordering::Release);
        let sockets = u64::from(self.ring.sockets_open());
        gauge.sockets.store(sockets, Ordering::Release);
        gauge.epoch.store(self.epoch, Ordering::Release);
    }

    /// What a full socket did not take is sent on by the ring; all else was sent.
    fn take_shorts(&mut self) -> Result<(), Fault> {
        while let Some(completion) = self.ring.next_completion() {
            let Completion::Short { slot, taken } = completion else {
                self.held = Some(completion);
                break;
            };
            let client = &mut self.clients[slot.index()];
            client.is_blocked = true;
            let mut rest = std::mem::take(&mut client.out);
            rest.drain(..taken);
            self.ring.send_owned(slot, rest);
        }
        while let Some(slot) = self.ready.pop() {
            let client = &mut self.clients[slot.index()];
            client.is_ready = false;
            let out = std::mem::take(&mut client.out);
            self.recycle(out);
        }
        Ok(())
    }

    fn recycle(&mut self, mut buffer: Vec<u8>) {
        let is_useful = (1..=SPARE_BYTES_MAX).contains(&buffer.capacity());
        if is_useful && self.spare.len() < SPARE_MAX {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    fn complete<M: Mode>(&mut self, mode: &mut M, completion: Completion) -> Result<(), Fault> {
        match completion {
            Completion::Received(slot, lease) => self.receive(mode, slot, &lease),
            Completion::Sent(slot, bytes) => {
                self.recycle(bytes);
                let client = &mut self.clients[slot.index()];
                client.is_blocked = false;
                if !client.out.is_empty() {
                    client.is_ready = true;
                    self.ready.push(slot);
                }
                self.answer_records(slot)
            }
            Completion::EndOfStream(slot) => self.ended(slot),
            Completion::Failed(slot, errno) => {
                let (client, error) =
                    (self.share.client(slot), io::Error::from_raw_os_error(errno));
                Err(Fault::Socket { client, error })
            }
            Completion::Released(slot) => {
                self.clients[slot.index()] = Client::default();
                Ok(())
            }
            Completion::Woken | Completion::Progress(_) => Ok(()),
            other => Err(io::Error::other(format!("unexpected: {other:?}")).into()),
        }
    }

    fn ended(&self, slot: Slot) -> Result<(), Fault> {
        let client = self.share.client(slot);
        match self.clients[slot.index()].phase {
            Phase::Opening => Err(Fault::Handshake {
                client,
                what: "the server has ended the connection".to_owned(),
            }),
            _ => Err(Fault::Ended { client }),
        }
    }

    /// Counts a message that was checked. `sent_us`: when it was sent, or due.
    #[inline]
    pub(crate) fn count(&mut self, sent_us: u64) {
        self.received += 1;
        self.received_us = self.now_us;
        self.latencies.record(self.now_us.saturating_sub(sent_us));
    }

    /// Appends to what a client sends in the coming turn.
    #[inline]
    pub(crate) fn queue(
        &mut self,
        slot: Slot,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Fault> {
        let client = &mut self.clients[slot.index()];
        if client.out.capacity() == 0 {
            client.out = self.spare.pop().unwrap_or_default();
        }
        if !client.is_ready && !client.is_blocked {
            client.is_ready = true;
            self.ready.push(slot);
        }
        write(&mut client.out);
        let bytes = client.out.len();
        let bytes_max = BACKLOG_BYTES_MAX.max(BACKLOG_MESSAGES_MAX * self.message_bytes_max);
        if bytes > bytes_max {
            let client = self.share.client(slot);
            return Err(Fault::Backlog { client, bytes });
        }
        Ok(())
    }
}
