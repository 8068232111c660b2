//! One core's state machine: events in, commands out.
//!
//! A [`Shard`] never blocks, reads no clock, draws no randomness it was not given and touches no
//! descriptor. The io_uring worker and the simulator drive the same code, in this order:
//!
//! 1. [`Shard::handle`] for everything that has happened: sockets, mail, ticks;
//! 2. [`Shard::prepare`], which settles who is sent what and mails what was published;
//! 3. [`Shard::flush`], which hands out the turn's sends by reference;
//! 4. when the driver holds no reference any more: [`Shard::short`] for each socket that did not
//!    take all of its bytes, then [`Shard::flushed`].
//!
//! The core knows users, topics and frames; it knows no JSON and no rooms.
#![forbid(unsafe_code)]

mod app;
mod asking;
mod barrier;
pub mod codes;
mod connection;
mod context;
mod core;
mod encode;
mod event;
mod fanout;
mod figures;
mod format;
mod handshake;
mod interest;
mod keepalive;
mod lifecycle;
pub mod log;
mod mail;
mod memory;
mod options;
mod outbox;
mod outgoing;
mod send_queue;
#[cfg(test)]
mod tests;
mod topics;
mod turn;
mod users;

use std::fmt;
use std::sync::Arc;

pub use app::{Accept, App, Ask, Deferred, Dropped, Message, Request, Sent, Upgrade};
pub use barrier::Proof;
pub use context::{Asked, Context, Socket};
pub use event::{Descriptor, Event};
pub use fanout::Subscribed;
pub use figures::{Figures, SlowTurn};
pub use format::{Encode, Format, Formats};
pub use interest::Interest;
pub use mail::{Arrival, Batch, BatchEntry, Frame, Handshake, Mail, ServiceRequest, Work};
pub use options::{Compression, OnUserLimit, Options, SlowPolicy};
pub use outbox::{Outbox, PIECES_MAX, Sink};
pub use users::Placement;

pub(crate) use self::core::EVERYBODY;
pub use self::core::Shared;
use self::core::{Core, Staged};
use crate::id::{ShardId, Slot};
use crate::metrics::Counters;
use crate::time::{Now, Stopwatch};
use crate::ws::{CloseCode, Incoming, Inflater, Opcode, Role, Rules};
use connection::{Phase, Unread};
use keepalive::Due;

/// Due checks for which there is room between ticks.
const DUE_KEPT: usize = 256;

/// One core's connections, users and topics, and the application on them.
pub struct Shard<A: App> {
    app: A,
    core: Core<A>,
    inflater: Inflater,
    due: Vec<Slot>,
}

impl<A: App> fmt::Debug for Shard<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shard({}, {} open)", self.core.shard, self.core.open)
    }
}

impl<A: App> Shard<A> {
    /// A shard for at most `connections_max` sockets, handshakes included. `seed` feeds its random
    /// numbers.
    pub fn new(
        id: ShardId,
        shared: Arc<Shared>,
        app: A,
        connections_max: u32,
        now: Now,
        seed: u64,
    ) -> Self {
        Self {
            app,
            core: Core::new(id, shared, connections_max, now, seed),
            inflater: Inflater::new(),
            due: Vec::new(),
        }
    }

    /// Gives the shard a stopwatch to measure its turns with. Without one all take no time.
    #[must_use]
    pub fn with_stopwatch(mut self, stopwatch: Stopwatch) -> Self {
        self.core.stopwatch = stopwatch;
        self
    }

    /// Takes in one thing that has happened.
    pub fn handle(&mut self, now: Now, event: Event<'_, A>, outbox: &mut impl Outbox<A>) {
        self.core.now = now;
        match event {
            Event::Accepted { descriptor, peer } => self.accepted(descriptor, peer, outbox),
            Event::Proxied { slot, peer } => self.core.proxied(slot, peer),
            Event::NotTls { slot } => self.not_tls(slot),
            Event::Received { slot, bytes } => self.received(slot, bytes, outbox),
            Event::EndOfStream { slot } => self.core.ended(slot),
            Event::Ending { slot } => self.core.ending(slot, outbox),
            Event::Failed { slot } => self
                .core
                .cut(slot, CloseCode::ABNORMAL, "connection failed"),
            Event::Progress { slot } => self.core.progressed(slot),
            Event::Sent { slot, buffer } => self.sent(slot, buffer),
            Event::Released { slot } => self.released(slot),
            Event::Mail(mail) => self.mail(mail, outbox),
            Event::Tick => self.tick(outbox),
        }
        self.settle_staged(outbox);
    }

    /// Ends the turn: settles who is sent what, mails what was published to other shards.
    pub fn prepare(&mut self, outbox: &mut impl Outbox<A>) {
        self.core.prepare(outbox);
        self.pass_on_patient(outbox);
        // The service thread takes its work quickly: the driver looks again at once.
        self.core.turn.more |= !self.core.patient.is_empty();
        let Core {
            turn,
            shared,
            shard: here,
            ..
        } = &mut self.core;
        // Asked only now: somebody may have subscribed since the batch was begun.
        turn.outgoing.mail(|batch| {
            batch.each_reader(&shared.interest, *here, |shard| {
                outbox.mail(shard, Mail::Publish(Arc::clone(batch)));
            });
        });
    }

    /// Hands out every send of the turn. The bytes stay in place until [`Shard::flushed`].
    pub fn flush<'a>(&'a self, sink: &mut impl Sink<'a>) {
        self.core.flush(sink);
    }

    /// A socket took only `taken` bytes of its send, perhaps none.
    pub fn short(&mut self, slot: Slot, taken: usize, outbox: &mut impl Outbox<A>) {
        self.core.short(slot, taken, outbox);
    }

    /// The driver has taken charge of a connection's send, and the socket did not take all of it: as
    /// after [`Shard::short`] an owned send is in flight, of about `bytes` bytes. Between
    /// [`Shard::flush`] and [`Shard::flushed`], not after a `short` of the same turn.
    pub fn taken_over(&mut self, slot: Slot, bytes: usize, outbox: &mut impl Outbox<A>) {
        self.core.taken_over(slot, bytes, outbox);
    }

    /// The turn's sends are done and nobody holds a reference to their bytes.
    pub fn flushed(&mut self, outbox: &mut impl Outbox<A>) {
        self.core.flushed(outbox);
        while let Some(slot) = self.core.turn.passed.pop() {
            // One whose socket is full hears of all that it missed when it is written to again.
            if self.core.connection(slot).is_some_and(|c| !c.marks.blocked) {
                self.report_missed(slot);
            }
        }
        while let Some(slot) = self.core.readable.pop() {
            self.unread_received(slot, outbox);
        }
        while let Some(slot) = self.core.drained.pop() {
            if self.core.in_phase(slot, Phase::Open) {
                self.app.drain(&mut Socket {
                    core: &mut self.core,
                    slot,
                });
            }
        }
        while let Some((slot, token)) = self.core.written.pop() {
            if self.core.in_phase(slot, Phase::Open) {
                let core = &mut self.core;
                self.app.passed(&mut Socket { core, slot }, token);
            }
        }
        self.settle_staged(outbox);
    }

    /// Whether there is something to do after this turn's sends even if nothing more happens: the
    /// driver must not wait before [`Shard::flushed`]. Ask after [`Shard::prepare`].
    pub fn has_more(&self) -> bool {
        self.core.turn.more
    }

    /// Sockets on this shard, whatever their phase.
    pub fn socket_count(&self) -> usize {
        self.core.connections.len()
    }

    /// Open connections.
    pub fn open_count(&self) -> usize {
        self.core.open
    }

    /// Users with an open connection.
    pub fn user_count(&self) -> usize {
        self.core.users.len()
    }

    /// What the shard has counted.
    pub fn counters(&self) -> &Counters {
        &self.core.counters
    }

    /// Lets the driver note what it has counted itself.
    pub fn note(&mut self, note: impl FnOnce(&mut Counters)) {
        note(&mut self.core.counters);
    }

    /// The application.
    pub fn app(&self) -> &A {
        &self.app
    }

    /// Checks that a shard without sockets holds nothing: for tests and the end of a process.
    ///
    /// Panics if anything is left over.
    pub fn assert_quiet(&self) {
        let core = &self.core;
        assert!(core.connections.is_empty(), "sockets are left");
        assert_eq!(
            (core.open, core.users.len()),
            (0, 0),
            "connections or users are left"
        );
        assert!(
            core.topics.lanes.is_empty() && core.topics.topics.is_empty(),
            "topics are left"
        );
        assert!(
            core.turn.composed.is_empty() && core.staged.is_empty(),
            "work is left"
        );
        assert!(
            core.barriers.is_empty() && core.written.is_empty(),
            "barriers are left"
        );
        let held = core.held;
        assert_eq!(held, crate::metrics::Memory::default(), "bytes are left");
        assert_eq!(core.topics.pool.lent_bytes(), 0, "chunks are left");
        assert_eq!(core.counters.opened, core.counters.closed);
    }

    fn received(&mut self, slot: Slot, bytes: &mut [u8], outbox: &mut impl Outbox<A>) {
        let second = self.core.now.seconds();
        let Some(connection) = self.core.connection_mut(slot) else {
            return;
        };
        connection.heard_s = second;
        connection.marks.pinged = false;
        connection.marks.receiving = false;
        match connection.phase {
            Phase::Head => self.head_received(slot, bytes, outbox),
            Phase::Asked => self.asked_received(slot, bytes, outbox),
            Phase::Open => {
                self.frames_received(slot, bytes);
                self.core.watch_backpressure(slot, outbox);
            }
            // Thrown away, but read, so that the end of the stream is seen.
            Phase::Refused => self.core.receive(slot, outbox),
            Phase::Deferred | Phase::Closing | Phase::Released => {}
        }
    }

    /// Lets the application have what an open connection sent, or keeps it for later.
    fn frames_received(&mut self, slot: Slot, bytes: &mut [u8]) {
        let Some(connection) = self.core.connections.get_mut(slot.0) else {
            return;
        };
        if let Some(unread) = connection.unread_mut() {
            self.core.held.held -= unread.held_bytes() as u64;
            unread.push(bytes);
            self.core.held.held += unread.held_bytes() as u64;
            return;
        }
        let rest = self.decode(slot, bytes);
        // In a full turn what else comes of this connection waits, even if this was a whole message.
        if (rest > 0 || self.core.turn.full)
            && let Some(connection) = self.core.connection_mut(slot)
            && connection.phase == Phase::Open
        {
            let unread = Unread::new(&bytes[bytes.len() - rest..]);
            connection.keep_unread(unread);
            self.core.held.held += rest as u64;
            self.core.compose(slot);
        }
    }

    /// Decodes what was kept while too much waited to be sent, to this connection or by the turn.
    fn unread_received(&mut self, slot: Slot, outbox: &mut impl Outbox<A>) {
        let Some(connection) = self.core.connection_mut(slot) else {
            return;
        };
        let held = connection.held_bytes() as u64;
        let Some(mut unread) = connection.take_unread() else {
            return;
        };
        self.core.held.held -= held;
        if !self.core.in_phase(slot, Phase::Open) {
            return;
        }
        let rest = self.decode(slot, unread.rest());
        if rest > 0
            && let Some(connection) = self.core.connection_mut(slot)
        {
            unread.keep(rest);
            connection.keep_unread(unread);
            self.core.held.held += held;
            self.core.compose(slot);
        }
        self.core.read_on(slot, outbox);
    }

    /// Decodes frames until there are no more, the connection is closing, or so much waits to be
    /// sent that it must go out first: to this connection, so that no answer is dropped for want of
    /// room, or to all, so that nobody waits long for their turn. Returns how many bytes, at the end,
    /// are left to be decoded in that last case.
    fn decode(&mut self, slot: Slot, mut bytes: &mut [u8]) -> usize {
        let Self {
            app,
            core,
            inflater,
            ..
        } = self;
        let fragments_max = core.options().fragments_max;
        let Some(connection) = core.connection_mut(slot) else {
            return 0;
        };
        let message_bytes_max = connection.message_bytes_max as usize;
        let compression = connection.window_bits.is_some();
        // Taken out, so that messages can borrow from it while the application has the core.
        let mut decoder = std::mem::take(&mut connection.decoder);
        core.held.partial -= decoder.held_bytes() as u64;
        let rules = Rules {
            role: Role::Server,
            message_bytes_max,
            fragments_max,
        };
        let mut rest = 0;
        // Until the decoder says that there is no more: it then holds no memory of what is whole.
        loop {
            let inflater = compression.then_some(&mut *inflater);
            match decoder.next(&mut bytes, &rules, inflater) {
                Ok(Some(incoming)) => deliver(app, core, slot, incoming),
                Ok(None) => break,
                Err(violation) => {
                    core.counters.violations += 1;
                    core.begin_close(slot, violation.close_code(), &violation.to_string());
                }
            }
            if !core.in_phase(slot, Phase::Open) {
                return 0;
            }
            if !bytes.is_empty() && (core.turn.full || core.is_over_watermark(slot)) {
                rest = bytes.len();
                break;
            }
        }
        core.held.partial += decoder.held_bytes() as u64;
        if let Some(connection) = core.connection_mut(slot) {
            connection.decoder = decoder;
        }
        rest
    }

    fn sent(&mut self, slot: Slot, buffer: Vec<u8>) {
        self.core.unblock(slot, buffer);
        self.report_missed(slot);
    }

    /// Tells the application what a connection has missed since it was last told.
    fn report_missed(&mut self, slot: Slot) {
        for (topic, missed) in self.core.take_missed(slot) {
            if self.core.in_phase(slot, Phase::Open) {
                self.app.lagged(
                    &mut Socket {
                        core: &mut self.core,
                        slot,
                    },
                    &topic,
                    missed,
                );
            }
        }
    }

    fn released(&mut self, slot: Slot) {
        debug_assert!(self.core.in_phase(slot, Phase::Released));
        self.core.remove(slot);
    }

    fn mail(&mut self, mail: Mail<A>, outbox: &mut impl Outbox<A>) {
        let core = &mut self.core;
        match mail {
            Mail::Arrival(arrival) => self.arrived(*arrival, outbox),
            Mail::Answer(connection, answer) => self.answered(connection, *answer, outbox),
            Mail::Publish(batch) => core.publish_batch(&batch),
            Mail::ToUser(user, frame) => core.send_to_user(&user, frame.opcode, &frame.payload),
            Mail::ToConnection(connection, frame) => {
                core.send_to_connection(connection, frame.opcode, &frame.payload);
            }
            Mail::Close(connection, code, reason) => match core.resolve(connection) {
                Some(slot) => core.begin_close(slot, code, &reason),
                None => core.counters.mail_undeliverable += 1,
            },
            Mail::App(mail) => self.app.mail(&mut Context { core }, mail),
            Mail::Run(work) => work(&mut self.app, &mut Context { core }),
            Mail::Shutdown => self.shut_down(),
        }
    }

    /// Closes everything, each connection with its own moment to come back.
    fn shut_down(&mut self) {
        self.core.shutting_down = true;
        let spread = self.core.options().reconnect_spread.as_millis();
        let spread = u64::try_from(spread).unwrap_or(u64::MAX).max(1);
        let slots: Vec<u32> = self.core.connections.indices().collect();
        for slot in slots.into_iter().map(Slot) {
            match self
                .core
                .connection(slot)
                .map(|connection| connection.phase)
            {
                Some(Phase::Open) => {
                    let retry_in_ms = self.core.random.u64(..spread);
                    let reason = format!("server shutting down; retry_in_ms={retry_in_ms}");
                    self.core.begin_close(slot, CloseCode::GOING_AWAY, &reason);
                }
                Some(Phase::Asked) => {
                    let code = Some(CloseCode::GOING_AWAY);
                    self.core.turn_away(slot, code, "server shutting down");
                }
                Some(Phase::Head) => self.core.cut(slot, CloseCode::ABNORMAL, "shutting down"),
                _ => {}
            }
        }
    }

    fn tick(&mut self, outbox: &mut impl Outbox<A>) {
        let mut due = std::mem::take(&mut self.due);
        let second = self.core.now.seconds();
        self.core.keep_time();
        self.core.wheel.advance(second, &mut due);
        for slot in due.drain(..) {
            match self.core.check(slot) {
                Some((slot, Due::PhaseEnded)) => self.phase_ended(slot),
                Some((slot, due)) => self.core.enforce(slot, due),
                None => {}
            }
        }
        due.shrink_to(DUE_KEPT);
        self.due = due;
        self.core.queues.trim();
        self.core.barriers.trim();
        self.core.mind_memory(outbox);
        self.app.tick(&mut Context {
            core: &mut self.core,
        });
    }

    /// Carries out what callbacks have asked for, until nothing is left.
    fn settle_staged(&mut self, outbox: &mut impl Outbox<A>) {
        while !self.core.staged.is_empty() {
            let mut staged = std::mem::take(&mut self.core.staged);
            for staged in staged.drain(..) {
                self.settle_one(staged, outbox);
            }
            if self.core.staged.is_empty() {
                self.core.staged = staged;
                break;
            }
        }
        self.pass_on_patient(outbox);
    }

    /// Gives the service thread the work that waits for a place in its queue, as far as there is one.
    fn pass_on_patient(&mut self, outbox: &mut impl Outbox<A>) {
        while let Some(request) = self.core.patient.pop_front() {
            if let Err(request) = outbox.service(request) {
                self.core.patient.push_front(request);
                break;
            }
        }
    }

    fn settle_one(&mut self, staged: Staged<A>, outbox: &mut impl Outbox<A>) {
        match staged {
            Staged::Mail(shard, Mail::App(mail)) if shard == self.core.shard => {
                self.app.mail(
                    &mut Context {
                        core: &mut self.core,
                    },
                    mail,
                );
            }
            Staged::Mail(shard, mail) => outbox.mail(shard, mail),
            Staged::Service(request) => {
                if let Err(request) = outbox.service(request) {
                    self.core.counters.service_busy += 1;
                    tracing::warn!(shard = %self.core.shard, ?request, "service queue is full");
                }
            }
            Staged::Close(slot, code, reason) => {
                self.app.close(
                    &mut Socket {
                        core: &mut self.core,
                        slot,
                    },
                    code,
                    &reason,
                );
                self.core.leave_user(slot);
            }
            Staged::Cut(slot) => outbox.close(slot),
        }
    }
}

fn deliver<A: App>(app: &mut A, core: &mut Core<A>, slot: Slot, incoming: Incoming<'_>) {
    let message = match incoming {
        Incoming::Text(text) => Message::Text(text),
        Incoming::Binary(bytes) => Message::Binary(bytes),
        Incoming::Ping(payload) => return core.send_control(slot, Opcode::Pong, payload),
        Incoming::Pong(payload) => {
            if let Some(token) = core.pong_received(slot, payload) {
                app.passed(&mut Socket { core, slot }, token);
            }
            return;
        }
        Incoming::Close(close) => {
            let (code, reason) = close.unwrap_or((CloseCode::NO_STATUS, ""));
            return core.begin_close(slot, code, reason);
        }
    };
    core.counters.messages_in += 1;
    core.counters.bytes_in += message.as_bytes().len() as u64;
    let second = core.now.seconds();
    if let Some(connection) = core.connection_mut(slot).filter(|c| c.phase == Phase::Open) {
        connection.moment_s = second;
    }
    app.message(&mut Socket { core, slot }, message);
}
