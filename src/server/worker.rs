//! One core: where a shard and its ring meet. Completions become events, commands submissions.

use std::os::fd::{OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use core_affinity::CoreId;

use super::ToService;
use super::listen::Listen;
use super::slow_turns::SlowTurns;
use super::transport::{Arrived, End, Sealer, Transports};
use crate::id::{ShardId, Slot};
use crate::limits::{RECV_BUFFER_BYTES, RECV_BUFFERS};
use crate::mesh::Endpoint;
use crate::metrics::{Counters, Part};
use crate::ring::{self, Batch, Completion, PreparedRing, Ring, RingFd};
use crate::security;
use crate::service::ServiceMail;
use crate::shard::{App, Descriptor, Event, Mail, Outbox, ServiceRequest, Shard, Shared, Sink};
use crate::time::{Clock, Now, Stopwatch};
use crate::tls::Passage;

/// Mails handled in one turn, so that a flood of mail does not starve the sockets.
const MAIL_PER_TURN: usize = 1024;
/// How long a shard waits that has mail which a full queue does not take.
const BACKLOG_RETRY: Duration = Duration::from_millis(1);

/// Everything that a shard's thread starts with.
pub(super) struct Worker<A: App> {
    pub(super) id: ShardId,
    pub(super) ring: PreparedRing,
    pub(super) endpoint: Endpoint<Mail<A>>,
    pub(super) listeners: Vec<OwnedFd>,
    /// How to listen on each of them.
    pub(super) listens: Arc<[Listen]>,
    pub(super) shared: Arc<Shared>,
    pub(super) service: ToService<A>,
    pub(super) ring_fds: Arc<[RingFd]>,
    pub(super) core: Option<CoreId>,
    pub(super) clock: Clock,
    pub(super) seed: u64,
    pub(super) drain: Duration,
}

/// The outbox of a shard on a ring.
struct Driver<A: App> {
    shard: ShardId,
    ring: Ring,
    transports: Transports,
    endpoint: Endpoint<Mail<A>>,
    service: ToService<A>,
}

impl<A: App> Outbox<A> for Driver<A> {
    fn adopt(&mut self, slot: Slot, descriptor: Descriptor) {
        self.ring.adopt(slot, descriptor.number);
        if let Some(passage) = descriptor.passage {
            self.transports.adopt(slot, passage);
        }
    }

    fn receive(&mut self, slot: Slot) {
        self.transports.receiving(slot);
        self.ring.receive(slot);
    }

    fn release(&mut self, slot: Slot) -> Descriptor {
        Descriptor {
            number: self.ring.release(slot),
            passage: self.transports.remove(slot),
        }
    }

    fn discard(&mut self, descriptor: Descriptor) {
        drop(ring::own(descriptor.number));
    }

    fn is_secure(&self, slot: Slot) -> bool {
        self.transports.is_secure(slot)
    }

    fn promote(&mut self, slot: Slot) {
        self.transports.promoted(slot);
        self.ring.promote(slot);
    }

    fn pause_reading(&mut self, slot: Slot) {
        self.ring.pause_reading(slot);
    }

    fn watch_end(&mut self, slot: Slot) {
        self.ring.watch_end(slot);
    }

    fn resume_reading(&mut self, slot: Slot) {
        self.ring.resume_reading(slot);
    }

    fn send_owned(&mut self, slot: Slot, bytes: Vec<u8>) {
        if let Some(bytes) = self.transports.seal_owned(slot, bytes) {
            self.ring.send_owned(slot, bytes);
        }
    }

    fn shutdown_write(&mut self, slot: Slot) {
        self.transports.shut(slot, &mut self.ring);
        self.ring.shutdown_write(slot);
    }

    fn close(&mut self, slot: Slot) {
        self.transports.close(slot);
        self.ring.close(slot);
    }

    fn mail(&mut self, to: ShardId, mail: Mail<A>) {
        self.endpoint.send(to, mail);
    }

    fn service(&mut self, request: ServiceRequest<A>) -> Result<(), ServiceRequest<A>> {
        let mail = ServiceMail {
            from: self.shard,
            request,
        };
        self.service
            .try_send(mail)
            .map_err(|error| error.into_inner().request)
    }
}

/// The sends of one turn, on their way into the submission queue.
struct RingSink<'batch, 'ring, 'bytes>(&'batch mut Batch<'ring, 'bytes>);

impl<'bytes> Sink<'bytes> for RingSink<'_, '_, 'bytes> {
    fn send(&mut self, slot: Slot, pieces: &[&'bytes [u8]]) {
        match pieces {
            [bytes] => self.0.send(slot, bytes),
            pieces => self.0.send_pieces(slot, pieces),
        }
    }
}

/// The same, where some connections are not plain: those have been looked at before.
struct PlainSink<'batch, 'ring, 'bytes> {
    sink: RingSink<'batch, 'ring, 'bytes>,
    transports: &'bytes Transports,
}

impl<'bytes> Sink<'bytes> for PlainSink<'_, '_, 'bytes> {
    fn send(&mut self, slot: Slot, pieces: &[&'bytes [u8]]) {
        if !self.transports.has(slot) {
            self.sink.send(slot, pieces);
        }
    }
}

impl<A: App> Worker<A> {
    /// Runs the shard until it has shut down; returns what it has counted. A panic ends the process:
    /// the connections of this shard would otherwise hang for ever, unseen.
    pub(super) fn run(self, factory: impl FnOnce() -> A) -> Counters {
        let id = self.id;
        catch_unwind(AssertUnwindSafe(|| self.serve(factory))).unwrap_or_else(|_| {
            tracing::error!(shard = %id, "a shard has panicked; the process ends");
            std::process::abort();
        })
    }

    fn serve(self, factory: impl FnOnce() -> A) -> Counters {
        if let Some(core) = self.core {
            core_affinity::set_for_current(core);
        }
        let mut ring = self
            .ring
            .enable()
            .expect("a ring that was set up can be enabled");
        let sockets_max = ring.sockets_max();
        for listener in self.listeners {
            ring.listen(listener);
        }
        let now = self.clock.now();
        let stopwatch = self.clock.stopwatch();
        let mut shard = Shard::new(self.id, self.shared, factory(), sockets_max, now, self.seed)
            .with_stopwatch(stopwatch.clone());
        shard.note_receive_buffers(RECV_BUFFER_BYTES as u64 * u64::from(RECV_BUFFERS));
        let driver = Driver {
            shard: self.id,
            ring,
            transports: Transports::default(),
            endpoint: self.endpoint,
            service: self.service,
        };
        let turns = Turns {
            shard,
            driver,
            clock: self.clock,
            listens: self.listens,
            stopwatch,
            ring_fds: self.ring_fds,
            now,
            ticked_s: now.seconds(),
            sockets_max: sockets_max as usize,
            accepting: true,
            drain: self.drain,
            drain_ends_ms: None,
            held: Vec::new(),
            slow_turns: SlowTurns::default(),
        };
        turns.run()
    }
}

/// The loop of a shard's thread.
struct Turns<A: App> {
    shard: Shard<A>,
    driver: Driver<A>,
    clock: Clock,
    /// By the number of the listener.
    listens: Arc<[Listen]>,
    stopwatch: Stopwatch,
    ring_fds: Arc<[RingFd]>,
    now: Now,
    ticked_s: u32,
    sockets_max: usize,
    accepting: bool,
    drain: Duration,
    /// Set once the shard shuts down, monotonic.
    drain_ends_ms: Option<u64>,
    /// Completions read while looking for short sends, to be handled before others.
    held: Vec<Completion>,
    slow_turns: SlowTurns,
}

impl<A: App> Turns<A> {
    /// Runs until the shard has shut down; returns what it has counted.
    fn run(mut self) -> Counters {
        while !self.is_over() {
            let backlog = self.take_mail();
            self.tick();
            self.throttle_accepting();
            self.submit(backlog);
            let (now, now_ns) = self.clock.read();
            self.now = now;
            self.shard.begin_turn(now_ns);
            self.take_shorts();
            if self.driver.endpoint.backlog_len() == 0 || self.drain_ends_ms.is_some() {
                self.take_completions();
            } else {
                // Backpressure: what comes from sockets waits until the mail is through.
                std::thread::yield_now();
            }
        }
        self.discard_arrivals();
        self.note_driver();
        *self.shard.counters()
    }

    /// Whether the shard has shut down, or must not take longer over it.
    fn is_over(&self) -> bool {
        self.drain_ends_ms
            .is_some_and(|ends| self.shard.socket_count() == 0 || self.now.monotonic_ms >= ends)
    }

    /// Handles a bounded number of mails. `true`: some mail of ours still waits for room.
    fn take_mail(&mut self) -> bool {
        let mut mails = 0;
        while mails < MAIL_PER_TURN {
            let Some(mail) = self.driver.endpoint.receive() else {
                break;
            };
            if mails == 0 {
                self.shard.lap(Part::Completions);
            }
            mails += 1;
            if matches!(mail, Mail::Shutdown) && self.drain_ends_ms.is_none() {
                let drain = u64::try_from(self.drain.as_millis()).unwrap_or(u64::MAX);
                self.drain_ends_ms = Some(self.now.monotonic_ms.saturating_add(drain));
                // Closed, so that who connects from here on is refused, or served by a successor,
                // rather than left waiting.
                drop(self.driver.ring.take_listeners());
            }
            self.shard
                .handle(self.now, Event::Mail(mail), &mut self.driver);
        }
        if mails > 0 {
            self.shard.lap(Part::Mail);
        }
        !self.driver.endpoint.flush()
    }

    fn tick(&mut self) {
        if self.now.seconds() > self.ticked_s {
            self.ticked_s = self.now.seconds();
            self.shard.lap(Part::Completions);
            self.shard.handle(self.now, Event::Tick, &mut self.driver);
            self.driver.ring.tick(self.now);
            self.note_driver();
            self.shard.lap(Part::Tick);
        }
    }

    /// Brings what the ring and the mesh have counted into the shard's counters.
    fn note_driver(&mut self) {
        let (ring, mesh) = (self.driver.ring.counters(), self.driver.endpoint.counters());
        self.shard.note(|counters| {
            counters.mail_sent = mesh.sent;
            counters.mail_delayed = mesh.delayed;
            counters.receive_buffers_exhausted = ring.enobufs;
            counters.completion_overflows = ring.cq_overflows;
            counters.accept_pauses = ring.accept_pauses;
            counters.enters = ring.enters;
            counters.sends = ring.sends;
            counters.wakes = mesh.wakes;
            self.driver.transports.tell(counters);
        });
        self.shard.note_tls(self.driver.transports.bytes());
    }

    /// Stops accepting before the table of descriptors is full, with room for connections that come
    /// home from other shards; goes on when there is more room.
    fn throttle_accepting(&mut self) {
        let sockets = self.shard.socket_count();
        let (stop, go_on) = (
            self.sockets_max - self.sockets_max / 32,
            self.sockets_max / 16 * 15,
        );
        if self.drain_ends_ms.is_some() {
            return;
        }
        if self.accepting && sockets >= stop {
            self.accepting = false;
            self.shard.note_accepting(false);
            self.driver.ring.stop_listening();
            tracing::warn!(shard = %self.driver.shard, sockets, "full: accepting is paused");
        } else if !self.accepting && sockets <= go_on {
            self.accepting = true;
            self.shard.note_accepting(true);
            self.driver.ring.resume_listening();
        }
    }

    /// Ends the turn: mail out, sends out, and a wait if there is nothing else to do.
    ///
    /// By the stopwatch the turn ends with the last send that is handed over, short of the system call
    /// that waits: in that one the kernel makes the sends that do not fill a submission queue.
    fn submit(&mut self, backlog: bool) {
        let Self { shard, driver, .. } = self;
        shard.prepare(driver);
        let backlog = !driver.endpoint.flush() || backlog;
        let Driver { ring, endpoint, .. } = driver;
        endpoint.wakes(|peer| ring.wake_ring(self.ring_fds[peer.index()]));
        let until_tick = 1000 - self.now.monotonic_ms % 1000;
        let timeout = if shard.has_more() || !endpoint.park() {
            Duration::ZERO
        } else if backlog {
            BACKLOG_RETRY
        } else {
            Duration::from_millis(until_tick)
        };
        let last = shard.last_part();
        let mut ended_ns = 0;
        let stopwatch = &self.stopwatch;
        let Driver {
            ring, transports, ..
        } = driver;
        let submitted = if transports.is_empty() {
            ring.submit_and_wait(Some(timeout), |batch| {
                shard.flush(&mut RingSink(batch));
                ended_ns = stopwatch.read();
            })
        } else {
            shard.flush(&mut Sealer { transports, ring });
            transports.seal_waiting(ring);
            let transports = &*transports;
            ring.submit_and_wait(Some(timeout), |batch| {
                transports.flush(batch);
                let sink = RingSink(batch);
                shard.flush(&mut PlainSink { sink, transports });
                ended_ns = stopwatch.read();
            })
        };
        submitted.expect("a working ring does not refuse to be entered");
        driver.endpoint.unpark();
        if let Some(slow) = self.shard.end_turn(last, ended_ns) {
            let (shard, second) = (self.driver.shard, self.now.seconds());
            self.slow_turns.warn(shard, second, &slow);
        }
    }

    /// Handles the sends that were short, which come before all else, and ends the turn's sends.
    fn take_shorts(&mut self) {
        while let Some(completion) = self.driver.ring.next_completion() {
            match completion {
                Completion::Short { slot, taken } if self.driver.transports.has(slot) => {
                    let Driver {
                        ring, transports, ..
                    } = &mut self.driver;
                    transports.short(slot, taken, ring);
                }
                Completion::Short { slot, taken } => {
                    self.shard.short(slot, taken, &mut self.driver);
                }
                // A send may fail as well; the others' bytes must not go before their turn.
                Completion::Failed(..) => self.held.push(completion),
                _ => {
                    self.held.push(completion);
                    break;
                }
            }
        }
        while let Some((slot, bytes)) = self.driver.transports.pop_taken_over() {
            self.shard.taken_over(slot, bytes, &mut self.driver);
        }
        self.driver.transports.flushed();
        self.shard.flushed(&mut self.driver);
        while let Some(slot) = self.driver.transports.pop_failed() {
            let event = Event::Failed { slot };
            self.shard.handle(self.now, event, &mut self.driver);
        }
    }

    fn take_completions(&mut self) {
        let mut held = std::mem::take(&mut self.held);
        for completion in held.drain(..) {
            self.complete(completion);
        }
        self.held = held;
        while let Some(completion) = self.driver.ring.next_completion() {
            self.complete(completion);
        }
    }

    fn complete(&mut self, completion: Completion) {
        let event = match completion {
            Completion::Received(slot, mut lease) if self.driver.transports.has(slot) => {
                let Driver {
                    ring, transports, ..
                } = &mut self.driver;
                let arrived = transports.received(slot, &mut lease, ring);
                // The buffer is the kernel's again before the shard gets to work.
                drop(lease);
                return self.arrive(slot, arrived);
            }
            Completion::Received(slot, mut lease) => {
                let event = Event::Received {
                    slot,
                    bytes: &mut lease,
                };
                return self.shard.handle(self.now, event, &mut self.driver);
            }
            Completion::Accepted { number, listener } => return self.accepted(number, listener),
            Completion::EndOfStream(slot) if self.driver.transports.ended(slot) => {
                Event::EndOfStream { slot }
            }
            // A `close_notify` has said so already.
            Completion::EndOfStream(_) => return,
            Completion::Ending(slot) => Event::Ending { slot },
            Completion::Failed(slot, errno) => {
                tracing::debug!(shard = %self.driver.shard, slot = slot.0, errno, "socket failed");
                Event::Failed { slot }
            }
            Completion::Progress(slot) => Event::Progress { slot },
            Completion::Sent(slot, buffer) => {
                let Driver {
                    ring, transports, ..
                } = &mut self.driver;
                if let Some(arrived) = transports.sent(slot, ring) {
                    return self.arrive(slot, arrived);
                }
                Event::Sent { slot, buffer }
            }
            Completion::Released(slot) => {
                self.driver.transports.remove(slot);
                Event::Released { slot }
            }
            Completion::Short { slot, taken } => {
                unreachable!("short sends come first: {slot:?} {taken}")
            }
            Completion::AcceptPaused(errno) => {
                let error = std::io::Error::from_raw_os_error(errno);
                tracing::warn!(shard = %self.driver.shard, %error, "accepting is paused");
                return;
            }
            Completion::Woken => return,
        };
        self.shard.handle(self.now, event, &mut self.driver);
    }

    fn accepted(&mut self, number: RawFd, listener: usize) {
        let Ok(peer) = ring::peer_address(number) else {
            // The peer has gone again.
            return drop(ring::own(number));
        };
        let listen = &self.listens[listener];
        let Ok(proxy) = listen.proxy(peer) else {
            self.driver.transports.note_untrusted();
            security::report(security::Event {
                kind: security::Kind::Refused,
                reason: "untrusted_proxy",
                address: Some(peer.ip()),
                user: None,
                detail: "only trusted proxies may connect to a port that speaks the PROXY protocol",
            });
            return drop(ring::own(number));
        };
        let passage = Passage::new(listen.tls.as_ref(), proxy);
        let descriptor = Descriptor {
            number,
            passage: passage.map(Box::new),
        };
        let event = Event::Accepted { descriptor, peer };
        self.shard.handle(self.now, event, &mut self.driver);
    }

    /// Tells the shard what has come of received bytes.
    fn arrive(&mut self, slot: Slot, arrived: Arrived) {
        let Arrived {
            peer,
            mut plaintext,
            end,
        } = arrived;
        let Self {
            shard, driver, now, ..
        } = self;
        if let Some(peer) = peer {
            shard.handle(*now, Event::Proxied { slot, peer }, driver);
        }
        if !plaintext.is_empty() {
            let bytes = &mut plaintext[..];
            shard.handle(*now, Event::Received { slot, bytes }, driver);
        }
        match end {
            End::Open => {}
            End::PeerClosed => shard.handle(*now, Event::EndOfStream { slot }, driver),
            End::NotTls => shard.handle(*now, Event::NotTls { slot }, driver),
            End::Failed => shard.handle(*now, Event::Failed { slot }, driver),
        }
        driver.transports.recycle(plaintext);
    }

    /// Closes the connections that were still on their way here.
    fn discard_arrivals(&mut self) {
        while let Some(mail) = self.driver.endpoint.receive() {
            if let Mail::Arrival(arrival) = mail {
                self.driver.discard(arrival.descriptor);
            }
        }
    }
}
