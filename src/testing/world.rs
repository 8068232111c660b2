//! A few shards, their drivers, the mail between them, and the clients: one thread, one clock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::driver::{Driver, Sends, descriptor};
use super::peer::Peer;
use super::work::{StillWaiting, Workbench};
use crate::id::{ShardId, Slot};
use crate::limits::CONNECTIONS_PER_SHARD_MAX;
use crate::realtime::Realtime;
use crate::shard::{Event, Mail, Options, ServiceRequest, Shard, Shared};
use crate::store::{Reply, Store, StoreBusy, StoreThread};
use crate::time::Now;

/// Time between two ticks, milliseconds.
const TICK_MS: u64 = 1000;
/// Rounds after which a server that is never done is taken to go in circles.
const ROUNDS_MAX: usize = 1_000_000;
/// How often in a row the store is waited for: work may ask it one thing after another.
const STORE_ROUNDS: usize = 4;
/// When a world begins, unless it is told. Monotonic time is not zero, so that nothing can take it for "never".
pub(super) const BEGINNING: Now = Now {
    monotonic_ms: 5_000,
    // 2026-11-21T02:00:00Z.
    unix_ms: 1_795_226_400_000,
};

/// One shard and its driver.
pub(super) struct Node {
    pub(super) shard: Shard<Realtime>,
    driver: Driver,
}

/// All that there is.
pub(super) struct World {
    pub(super) nodes: Vec<Node>,
    pub(super) shared: Arc<Shared>,
    pub(super) peers: Vec<Peer>,
    pub(super) now: Now,
    mail: VecDeque<(ShardId, Mail<Realtime>)>,
    work: Workbench,
    store: Option<(Store, StoreThread)>,
}

impl World {
    pub(super) fn new(
        shards: u16,
        core: Options,
        (seed, begin): (u64, Now),
        store: Option<(Store, StoreThread)>,
        app: impl Fn() -> Realtime,
    ) -> Self {
        let shared = Shared::new(core, shards, seed);
        let connections_max =
            u32::try_from(CONNECTIONS_PER_SHARD_MAX).expect("a slot's number has 24 bits");
        let node = |id: u16| {
            let shared = Arc::clone(&shared);
            let seed = seed.wrapping_add(id.into());
            Node {
                shard: Shard::new(ShardId(id), shared, app(), connections_max, begin, seed),
                driver: Driver::default(),
            }
        };
        Self {
            nodes: (0..shards).map(node).collect(),
            shared,
            peers: Vec::new(),
            now: begin,
            mail: VecDeque::new(),
            work: Workbench::new(),
            store,
        }
    }

    /// A new client connects, to shard 0, and writes its request.
    pub(super) fn accept(&mut self, request: Vec<u8>) -> usize {
        let number = self.peers.len();
        let mut peer = Peer::default();
        peer.outgoing.push_back(request);
        self.peers.push(peer);
        let event = Event::Accepted {
            descriptor: descriptor(number),
            peer: ([127, 0, 0, 1], 50_000).into(),
        };
        let Node { shard, driver } = &mut self.nodes[0];
        shard.handle(self.now, event, driver);
        number
    }

    /// Whether the service thread's queue counts as full.
    pub(super) fn refuse_work(&mut self, is_refused: bool) {
        for node in &mut self.nodes {
            node.driver.is_service_full = is_refused;
        }
    }

    /// Mails a shard from outside.
    pub(super) fn mail(&mut self, to: ShardId, mail: Mail<Realtime>) {
        self.mail.push_back((to, mail));
    }

    /// Goes on until nothing is left to do but to wait: for clients, time or I/O.
    pub(super) fn run(&mut self) {
        let mut store_rounds = 0;
        for _ in 0..ROUNDS_MAX {
            let mut is_busy = false;
            for index in 0..self.nodes.len() {
                is_busy |= self.turn(index);
            }
            if is_busy || !self.mail.is_empty() {
                store_rounds = 0;
                continue;
            }
            self.mail.extend(self.work.poll());
            if !self.mail.is_empty() {
                continue;
            }
            if store_rounds == STORE_ROUNDS || !self.work.is_busy() {
                return;
            }
            store_rounds += 1;
            self.await_store();
        }
        panic!("the server goes in circles: {ROUNDS_MAX} rounds, and still something to do");
    }

    /// Waits until the store, if there is one, has answered what it was asked so far.
    fn await_store(&mut self) {
        let Some((store, _)) = &self.store else {
            return;
        };
        // A question of our own, behind all others.
        while let Err(StoreBusy) = store.rooms_of("", 0).map(Reply::wait) {
            std::thread::yield_now();
        }
    }

    /// Ends the store: what it has been asked is still done.
    pub(super) fn stop_store(&mut self) {
        if let Some((_, thread)) = self.store.take() {
            thread.stop();
        }
    }

    /// Waits for work that waits for I/O, if there is any, and goes on with its answer. `false`:
    /// there is none.
    pub(super) fn wait(&mut self) -> Result<bool, StillWaiting> {
        if !self.work.is_busy() {
            return Ok(false);
        }
        let answer = self.work.wait()?;
        self.mail.extend(answer);
        self.run();
        Ok(true)
    }

    /// Lets time pass, second by second.
    pub(super) fn advance(&mut self, elapsed: Duration) {
        let end = self.now.after(elapsed).monotonic_ms;
        while self.now.monotonic_ms < end {
            let since_tick = self.now.monotonic_ms % TICK_MS;
            let step = (TICK_MS - since_tick).min(end - self.now.monotonic_ms);
            let step = Duration::from_millis(step);
            self.now = self.now.after(step);
            self.work.advance(step);
            if self.now.monotonic_ms.is_multiple_of(TICK_MS) {
                for Node { shard, driver } in &mut self.nodes {
                    shard.handle(self.now, Event::Tick, driver);
                }
            }
            self.run();
        }
    }

    /// One turn of a shard, as a worker takes it. `false`: nothing happened.
    fn turn(&mut self, index: usize) -> bool {
        let mut is_busy = self.take_mail(index);
        let slots: Vec<Slot> = self.nodes[index].driver.sockets.keys().copied().collect();
        for slot in slots {
            is_busy |= self.poll(index, slot);
        }
        is_busy |= self.send(index);
        is_busy | self.settle(index)
    }

    fn take_mail(&mut self, index: usize) -> bool {
        let Node { shard, driver } = &mut self.nodes[index];
        let (mine, others) = self.mail.drain(..).partition(|(to, _)| to.index() == index);
        self.mail = others;
        let mine: VecDeque<_> = mine;
        let is_busy = !mine.is_empty();
        for (_, mail) in mine {
            shard.handle(self.now, Event::Mail(mail), driver);
        }
        is_busy
    }

    /// Lets one socket get on: `false` if nothing happened to it.
    fn poll(&mut self, index: usize, slot: Slot) -> bool {
        let Node { shard, driver } = &mut self.nodes[index];
        let Some(socket) = driver.sockets.get_mut(&slot) else {
            return false;
        };
        let peer = &mut self.peers[socket.peer];
        if socket.closed {
            peer.stream_ended();
            driver.sockets.remove(&slot);
            shard.handle(self.now, Event::Released { slot }, driver);
            return true;
        }
        if !peer.frozen
            && let Some(buffer) = socket.owned.take()
        {
            peer.receive(&buffer);
            shard.handle(self.now, Event::Sent { slot, buffer }, driver);
            return true;
        }
        if !socket.is_read() {
            return false;
        }
        if let Some(mut bytes) = peer.outgoing.pop_front() {
            socket.received();
            let bytes = &mut bytes[..];
            shard.handle(self.now, Event::Received { slot, bytes }, driver);
            return true;
        }
        if peer.is_gone && !socket.ended_told {
            socket.ended_told = true;
            shard.handle(self.now, Event::EndOfStream { slot }, driver);
            return true;
        }
        false
    }

    /// The end of a turn: what is sent, and to whom it does not get through.
    fn send(&mut self, index: usize) -> bool {
        let Node { shard, driver } = &mut self.nodes[index];
        shard.prepare(driver);
        let mut is_busy = shard.has_more();
        let mut sends = Sends::default();
        shard.flush(&mut sends);
        for (slot, bytes) in sends.0 {
            is_busy = true;
            let peer = &mut self.peers[driver.sockets[&slot].peer];
            match peer.frozen {
                true => shard.short(slot, 0, driver),
                false => peer.receive(&bytes),
            }
        }
        shard.flushed(driver);
        is_busy
    }

    /// Does what the shard has asked for besides.
    fn settle(&mut self, index: usize) -> bool {
        let Node { driver, .. } = &mut self.nodes[index];
        let id = ShardId(u16::try_from(index).expect("made from a u16"));
        let mut is_busy = false;
        for socket in driver.sockets.values() {
            let peer = &mut self.peers[socket.peer];
            if socket.shut && socket.owned.is_none() && !peer.frozen && !peer.is_gone {
                is_busy = true;
                peer.stream_ended();
            }
        }
        for peer in driver.discarded.drain(..) {
            self.peers[peer].stream_ended();
        }
        self.mail.extend(driver.mail.drain(..));
        for request in driver.requests.drain(..) {
            is_busy = true;
            match request {
                ServiceRequest::Spawn(work) => self.work.spawn(id, work),
                ServiceRequest::Http { .. } => {
                    panic!("a plain HTTP request: the harness has upgrades only")
                }
            }
        }
        is_busy
    }
}
