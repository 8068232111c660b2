//! A shard's state, as the application's callbacks see it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use super::app::App;
use super::barrier::Barriers;
use super::connection::{Connection, Phase};
use super::encode::Encoder;
use super::interest::Interest;
use super::keepalive::Punctuality;
use super::mail::{Mail, ServiceRequest};
use super::options::Options;
use super::outgoing::Outgoing;
use super::send_queue::QueuePool;
use super::topics::Topics;
use super::users::{Chain, Links, Placement, Users};
use crate::collections::{BitSet, Slab, TimerWheel};
use crate::id::{ConnectionId, ShardId, Slot, UserId};
use crate::metrics::{Counters, Memory, Part, Pressure, Tally, Times};
use crate::time::{Now, Stopwatch};
use crate::ws::CloseCode;

/// What all shards of a process share. Nothing in it is touched per message but `interest`, and
/// that only with more than one shard.
#[derive(Debug)]
pub struct Shared {
    /// Options that every shard starts with; [`Context::set_options`](super::Context::set_options)
    /// replaces one shard's.
    pub options: Options,
    /// Which shard is whose home.
    pub placement: Placement,
    /// Which shards have subscribers of a topic, and in which formats.
    pub interest: Interest,
    /// Connections of the process that are open or about to be, against `connections_max`.
    pub(crate) connections: AtomicUsize,
    /// A [`Pressure`], as a number.
    pressure: AtomicU8,
    /// The process was told to end.
    draining: AtomicBool,
}

impl Shared {
    /// Shared state for `shards` shards; `seed` decides the homes.
    pub fn new(options: Options, shards: u16, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            options,
            placement: Placement::new(shards, seed),
            interest: Interest::new(seed),
            connections: AtomicUsize::new(0),
            pressure: AtomicU8::new(0),
            draining: AtomicBool::new(false),
        })
    }

    /// How short of memory the process is, as it was last told.
    pub fn pressure(&self) -> Pressure {
        Pressure::from_u8(self.pressure.load(Ordering::Relaxed))
    }

    /// Tells all shards how short of memory the process is. They look at it at every handshake and
    /// once a second.
    pub fn set_pressure(&self, pressure: Pressure) {
        self.pressure.store(pressure as u8, Ordering::Relaxed);
    }

    /// Whether the process was told to end.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Notes that the process was told to end, for those who ask whether it is ready.
    pub(crate) fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }
}

/// The hidden topic of all connections. No application can name it: it is longer than
/// [`TOPIC_BYTES_MAX`](crate::limits::TOPIC_BYTES_MAX) allows.
pub(crate) const EVERYBODY: &str = match std::str::from_utf8(&[b'*'; 257]) {
    Ok(name) => name,
    Err(_) => "",
};

/// The mail that says that work was not taken.
type Refused<A> = Box<dyn FnOnce() -> <A as App>::Mail + Send>;

/// What a callback has asked for that needs the outbox, or another callback.
pub(crate) enum Staged<A: App> {
    Mail(ShardId, Mail<A>),
    /// Work for the service thread, and what comes in place of its answer if that has no room for it.
    Spawn(ServiceRequest<A>, Refused<A>),
    /// The connection is closing: [`App::close`] is due, then it leaves its user.
    Close(Slot, CloseCode, Box<str>),
    /// The driver is to close at once.
    Cut(Slot),
}

/// What happens at the end of the turn.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// The connections whose send must be put together from several places, or that have something
    /// to be looked at after it.
    pub(crate) composed: BitSet,
    pub(crate) composed_slots: Vec<Slot>,
    /// Scratch for finding connections with several fresh topics.
    pub(crate) seen: BitSet,
    /// What is published to other shards.
    pub(crate) outgoing: Outgoing,
    /// Connections that a topic's window has passed, to be told or closed when all lanes are done.
    pub(crate) passed: Vec<Slot>,
    /// There is something to do right after this turn's sends: the worker must not wait.
    pub(crate) more: bool,
    /// So much is to be sent at its end that of each connection only one more message is taken.
    pub(crate) full: bool,
}

/// One shard's connections, users and topics.
pub(crate) struct Core<A: App> {
    pub(crate) shard: ShardId,
    pub(crate) shared: Arc<Shared>,
    /// What holds on this shard now.
    options: Arc<Options>,
    pub(crate) now: Now,
    pub(crate) random: fastrand::Rng,
    pub(crate) connections: Slab<Connection<A::Data>>,
    pub(crate) users: Users,
    pub(crate) topics: Topics,
    pub(crate) wheel: TimerWheel<Slot>,
    pub(crate) punctuality: Punctuality,
    pub(crate) turn: Turn,
    pub(crate) queues: QueuePool,
    pub(crate) staged: Vec<Staged<A>>,
    /// Work that waits for a place in the service thread's queue, in its order.
    pub(crate) patient: VecDeque<ServiceRequest<A>>,
    /// Connections whose application is to hear that their queue has drained.
    pub(crate) drained: Vec<Slot>,
    pub(crate) barriers: Barriers,
    /// Connections whose application is to hear that a barrier's bytes are written, and its token.
    pub(crate) written: Vec<(Slot, u64)>,
    /// Connections that were sent all that waited and have bytes to be decoded.
    pub(crate) readable: Vec<Slot>,
    pub(crate) encoder: Encoder,
    pub(crate) counters: Counters,
    /// Refused handshakes by the refusal's code.
    pub(crate) refusals: Tally<Box<str>>,
    /// Ended connections by close code.
    pub(crate) closings: Tally<u16>,
    /// The running sums; the other kinds stay zero here, see [`Core::memory`].
    pub(crate) held: Memory,
    /// Connections that are not read from for want of memory, those pressed first in front.
    pub(crate) pressed: VecDeque<Slot>,
    /// Where the search for the fattest connections goes on.
    pub(crate) weighed: u32,
    pub(crate) stopwatch: Stopwatch,
    pub(crate) times: Times,
    /// What the driver receives into, bytes.
    pub(crate) receive_buffers: u64,
    /// What the driver keeps for TLS, bytes.
    pub(crate) tls_bytes: u64,
    /// Whether the driver takes new sockets.
    pub(crate) accepting: bool,
    /// Connections in [`Phase::Open`].
    pub(crate) open: usize,
    pub(crate) shutting_down: bool,
}

impl<D> Chain for Slab<Connection<D>> {
    fn member(&self, slot: Slot) -> (&UserId, &Links) {
        let connection = self.get(slot.0);
        let connection = connection.expect("a chained connection is in the slab");
        let user = connection.user.as_ref();
        (
            user.expect("whoever is chained has a user"),
            &connection.links,
        )
    }

    fn links(&mut self, slot: Slot) -> &mut Links {
        &mut self
            .get_mut(slot.0)
            .expect("a chained connection is in the slab")
            .links
    }
}

impl<A: App> Core<A> {
    pub(crate) fn new(
        shard: ShardId,
        shared: Arc<Shared>,
        connections_max: u32,
        now: Now,
        seed: u64,
    ) -> Self {
        let placement = shared.placement.clone();
        let encoder = Encoder::new(shared.options.compression);
        let options = Arc::new(shared.options.clone());
        Self {
            shard,
            shared,
            options,
            now,
            random: fastrand::Rng::with_seed(seed),
            connections: Slab::with_capacity_max(connections_max),
            users: Users::new(placement.clone()),
            topics: Topics::new(placement),
            wheel: TimerWheel::new(now.seconds()),
            punctuality: Punctuality::new(now),
            turn: Turn::default(),
            queues: QueuePool::default(),
            staged: Vec::new(),
            patient: VecDeque::new(),
            drained: Vec::new(),
            barriers: Barriers::default(),
            written: Vec::new(),
            readable: Vec::new(),
            encoder,
            counters: Counters::default(),
            refusals: Tally::default(),
            closings: Tally::default(),
            held: Memory::default(),
            pressed: VecDeque::new(),
            weighed: 0,
            stopwatch: Stopwatch::default(),
            times: Times::default(),
            receive_buffers: 0,
            tls_bytes: 0,
            accepting: true,
            open: 0,
            shutting_down: false,
        }
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// Replaces the options. What a connection was promised when it opened stays: its largest message,
    /// its compression. Deadlines that are nearer now are kept from now on.
    pub(crate) fn set_options(&mut self, options: &Arc<Options>) {
        let compression = self.options.compression;
        self.options = if options.compression == compression {
            Arc::clone(options)
        } else {
            Arc::new(Options {
                compression,
                ..(**options).clone()
            })
        };
        let slots: Vec<u32> = self.connections.indices().collect();
        for slot in slots {
            self.schedule(Slot(slot));
        }
    }

    pub(crate) fn connection(&self, slot: Slot) -> Option<&Connection<A::Data>> {
        self.connections.get(slot.0)
    }

    pub(crate) fn connection_mut(&mut self, slot: Slot) -> Option<&mut Connection<A::Data>> {
        self.connections.get_mut(slot.0)
    }

    /// The connection in that phase, if it is.
    pub(crate) fn in_phase(&self, slot: Slot, phase: Phase) -> bool {
        self.connection(slot)
            .is_some_and(|connection| connection.phase == phase)
    }

    /// The identifier of the connection in `slot`.
    ///
    /// Panics if there is none.
    pub(crate) fn id(&self, slot: Slot) -> ConnectionId {
        let generation = self
            .connections
            .generation(slot.0)
            .expect("the slot is taken");
        ConnectionId::new(self.shard, slot, generation)
    }

    /// The slot of a connection that is still there.
    pub(crate) fn resolve(&self, id: ConnectionId) -> Option<Slot> {
        let slot = id.slot();
        if id.shard() != self.shard || self.connections.get(slot.0).is_none() {
            return None;
        }
        (self.id(slot) == id).then_some(slot)
    }

    /// Connections of a user who is at home here.
    pub(crate) fn user_connection_count(&self, user: &str) -> u32 {
        self.users.connection_count(user, &self.connections)
    }

    /// All that took time since the last lap of this turn was `part`.
    pub(crate) fn lap(&mut self, part: Part) {
        self.times.lap(part, self.stopwatch.read());
    }

    /// Marks a connection for the end of the turn.
    pub(crate) fn compose(&mut self, slot: Slot) {
        if self.turn.composed.insert(slot.0) {
            self.turn.composed_slots.push(slot);
        }
    }
}
