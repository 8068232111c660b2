//! Cross-core queues: one bounded queue per ordered pair of shards, and one from outside per shard.
//!
//! Generic over the mail; knows neither rings nor connections. Single-producer queues (`rtrb`) cost
//! 8.6 ns a message across cores; a shared `ArrayQueue` 28, `std::sync::mpsc` 37, `flume` 329.
//!
//! ```text
//!   shard 0 ──queue──► shard 1          a full queue spills into the sender's backlog, in order
//!      ▲                  │
//!      └──────queue───────┘             Outside ──(mutex)──queue──► each shard
//! ```
//!
//! # Nobody sleeps over mail
//!
//! A shard about to wait in the kernel says so in a flag and then looks at its queues once more
//! ([`Endpoint::park`]); a sender puts mail into a queue and then looks at the flag
//! ([`Endpoint::wakes`]). With a `SeqCst` fence between the two steps on either side, at least one
//! of them sees the other. Whoever finds the flag set clears it, and owes the sleeper one wake: so
//! many senders wake a sleeper once, and a busy shard is never woken. The fence is paid once a turn,
//! not once a mail.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_utils::CachePadded;
use rtrb::{Consumer, Producer, PushError, RingBuffer};

use crate::id::ShardId;
use crate::limits::SHARDS_MAX;

/// Mails taken from one queue before the next one has its turn.
const BURST_MAX: u32 = 32;

/// Builds the queues for `shards` shards: their endpoints in the order of their numbers, and the
/// handle for threads that are no shard.
///
/// `capacity`: mails per queue. Memory: `shards² * capacity` mails, allocated at once.
///
/// Panics unless there are 1 to [`SHARDS_MAX`] shards and room for at least one mail.
pub fn mesh<M: Send>(shards: usize, capacity: usize) -> (Vec<Endpoint<M>>, Outside<M>) {
    assert!(shards >= 1);
    assert!(shards <= SHARDS_MAX);
    assert!(capacity >= 1);
    let sleepers: Sleepers = (0..shards)
        .map(|_| CachePadded::new(AtomicBool::new(false)))
        .collect();
    let mut outgoing: Vec<Vec<Lane<M>>> = (0..shards).map(|_| Vec::new()).collect();
    let mut incoming: Vec<Vec<Consumer<M>>> = (0..shards).map(|_| Vec::new()).collect();
    let mut outside = Vec::with_capacity(shards);
    for (to, inbox) in incoming.iter_mut().enumerate() {
        for (from, lanes) in outgoing.iter_mut().enumerate() {
            // A shard has a lane to itself in the table, so that numbers are indexes, but no use
            // for it: it gets the least memory.
            let (producer, consumer) = RingBuffer::new(if from == to { 0 } else { capacity });
            lanes.push(Lane::new(producer));
            if from != to {
                inbox.push(consumer);
            }
        }
        let (producer, consumer) = RingBuffer::new(capacity);
        outside.push(Mutex::new(Some(producer)));
        inbox.push(consumer);
    }
    let outside = Outside {
        lanes: outside.into(),
        sleepers: Arc::clone(&sleepers),
    };
    let endpoints = outgoing
        .into_iter()
        .zip(incoming)
        .enumerate()
        .map(|(index, (lanes, inbox))| Endpoint {
            shard: ShardId(u16::try_from(index).expect("SHARDS_MAX is a u16")),
            lanes,
            inbox,
            next: 0,
            burst: 0,
            touched: Vec::new(),
            backlog: 0,
            counters: Counters::default(),
            sleepers: Arc::clone(&sleepers),
            outside: Arc::clone(&outside.lanes),
        })
        .collect();
    (endpoints, outside)
}

/// One flag per shard: it waits in the kernel, or is about to.
type Sleepers = Arc<[CachePadded<AtomicBool>]>;

/// Whether the caller, having put mail into a queue and passed a `SeqCst` fence, owes the shard a
/// wake.
fn owes_wake(sleepers: &Sleepers, shard: ShardId) -> bool {
    let sleeping = &sleepers[shard.index()];
    // The plain load keeps the line shared between cores in the usual case that nobody sleeps.
    sleeping.load(Ordering::Relaxed) && sleeping.swap(false, Ordering::SeqCst)
}

/// The way to one peer.
struct Lane<M> {
    queue: Producer<M>,
    /// What did not fit, oldest first. Not empty: nothing enters the queue but from here.
    backlog: VecDeque<M>,
    /// In `Endpoint::touched`.
    is_touched: bool,
}

impl<M> Lane<M> {
    fn new(queue: Producer<M>) -> Self {
        Self {
            queue,
            backlog: VecDeque::new(),
            is_touched: false,
        }
    }

    /// Moves backlog into the queue as far as there is room; returns how many mails.
    fn flush(&mut self) -> usize {
        let before = self.backlog.len();
        while let Some(mail) = self.backlog.pop_front() {
            if let Err(PushError::Full(mail)) = self.queue.push(mail) {
                self.backlog.push_front(mail);
                break;
            }
        }
        before - self.backlog.len()
    }
}

/// What an endpoint has counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Mails sent to peers, those in the backlog included.
    pub sent: u64,
    /// Mails received.
    pub received: u64,
    /// Mails that found their queue full and went into the backlog.
    pub delayed: u64,
    /// Sleeping peers that this endpoint undertook to wake.
    pub wakes: u64,
}

/// One shard's end of the mesh: it sends to every other shard, and receives from all and from
/// outside.
///
/// A turn: [`Self::receive`] a bounded number of times; work, and [`Self::send`]; [`Self::flush`];
/// [`Self::wakes`]; [`Self::park`] and wait if it agrees; [`Self::unpark`].
pub struct Endpoint<M> {
    shard: ShardId,
    /// By peer.
    lanes: Vec<Lane<M>>,
    /// From every peer, and from outside last.
    inbox: Vec<Consumer<M>>,
    /// The queue that has its turn, and how much it has used of it.
    next: usize,
    burst: u32,
    /// Peers whose queue got mail since the last `wakes`.
    touched: Vec<ShardId>,
    /// Mails in all backlogs together.
    backlog: usize,
    counters: Counters,
    sleepers: Sleepers,
    /// To take the own lane away at the end.
    outside: OutsideLanes<M>,
}

impl<M> Drop for Endpoint<M> {
    /// Nobody will read what still comes from outside: from here on it is not taken in any more,
    /// and what is in the queue goes with it. Else it would lie there, unanswered, for as long as
    /// anybody can still send.
    fn drop(&mut self) {
        let lane = &self.outside[self.shard.index()];
        *lane.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl<M> Endpoint<M> {
    /// Whose end this is.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// Sends mail to another shard, in order behind what was sent there before.
    ///
    /// Never fails: what finds the queue full waits in a backlog for [`Self::flush`]. The caller
    /// bounds [`Self::backlog_len`], by taking in less. The peer learns of the mail when it next
    /// looks, or by [`Self::wakes`].
    ///
    /// Panics if `to` is this shard itself or no shard of the mesh.
    pub fn send(&mut self, to: ShardId, mail: M) {
        assert_ne!(to, self.shard, "a shard writes no letters to itself");
        self.counters.sent += 1;
        let lane = &mut self.lanes[to.index()];
        if !lane.backlog.is_empty() {
            self.counters.delayed += 1;
            self.backlog += 1;
            lane.backlog.push_back(mail);
            return;
        }
        if let Err(PushError::Full(mail)) = lane.queue.push(mail) {
            self.counters.delayed += 1;
            self.backlog += 1;
            lane.backlog.push_back(mail);
            return;
        }
        self.touch(to);
    }

    fn touch(&mut self, to: ShardId) {
        let lane = &mut self.lanes[to.index()];
        if !lane.is_touched {
            lane.is_touched = true;
            self.touched.push(to);
        }
    }

    /// Moves backlog into the queues as far as there is room. `true`: no backlog is left.
    ///
    /// Nobody tells when a full queue has room again: with a backlog, wait with a short timeout.
    pub fn flush(&mut self) -> bool {
        if self.backlog == 0 {
            return true;
        }
        for index in 0..self.lanes.len() {
            let moved = self.lanes[index].flush();
            if moved > 0 {
                self.backlog -= moved;
                self.touch(ShardId(u16::try_from(index).expect("SHARDS_MAX is a u16")));
            }
        }
        self.backlog == 0
    }

    /// Mails that wait for room, to all peers together.
    pub fn backlog_len(&self) -> usize {
        self.backlog
    }

    /// Names the peers that sleep and have got mail since the last call, each once. The caller owes
    /// each of them a wake (`MSG_RING`), and must deliver it: nobody else will.
    ///
    /// Once a turn, after sending and flushing.
    pub fn wakes(&mut self, mut wake: impl FnMut(ShardId)) {
        if self.touched.is_empty() {
            return;
        }
        // Between the mail and the flag; pairs with the fence in `park`.
        fence(Ordering::SeqCst);
        for peer in self.touched.drain(..) {
            self.lanes[peer.index()].is_touched = false;
            if owes_wake(&self.sleepers, peer) {
                self.counters.wakes += 1;
                wake(peer);
            }
        }
    }

    /// The next mail. Queues take turns, a bounded burst each; within one queue the order is that of
    /// sending. Call it a bounded number of times a turn; `park` refuses to sleep over the rest.
    pub fn receive(&mut self) -> Option<M> {
        // One round, and the first queue once more, which may have been left at its burst.
        for _ in 0..=self.inbox.len() {
            if self.burst < BURST_MAX
                && let Ok(mail) = self.inbox[self.next].pop()
            {
                self.burst += 1;
                self.counters.received += 1;
                return Some(mail);
            }
            self.burst = 0;
            self.next = (self.next + 1) % self.inbox.len();
        }
        None
    }

    /// Announces that this shard is about to wait. `false`: there is mail, do not wait (the
    /// announcement is taken back). After `true` every sender of mail sees to a wake.
    ///
    /// A backlog does not keep it from parking; see [`Self::flush`].
    pub fn park(&mut self) -> bool {
        let sleeping = &self.sleepers[self.shard.index()];
        sleeping.store(true, Ordering::SeqCst);
        // Between the flag and the queues; pairs with the fences in `wakes` and `Outside::send`.
        fence(Ordering::SeqCst);
        if self.inbox.iter().all(Consumer::is_empty) {
            return true;
        }
        sleeping.store(false, Ordering::SeqCst);
        false
    }

    /// Takes the announcement back: awake again, whatever woke it. A wake that is on its way may
    /// still come.
    pub fn unpark(&mut self) {
        self.sleepers[self.shard.index()].store(false, Ordering::SeqCst);
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }
}

impl<M> fmt::Debug for Endpoint<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("shard", &self.shard)
            .field("backlog", &self.backlog)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

/// What a sender from outside owes the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a sleeping shard does not find its mail by itself"]
pub enum Delivered {
    /// The shard is awake and will look.
    Awake,
    /// The shard sleeps, and this caller has to wake it (by its ring's eventfd).
    Asleep,
    /// The shard has ended. The mail is dropped.
    Gone,
}

/// One queue per shard; `None`: the shard has ended.
type OutsideLanes<M> = Arc<[Mutex<Option<Producer<M>>>]>;

/// The way into every shard for threads that are no shard: the service thread, server handles.
pub struct Outside<M> {
    lanes: OutsideLanes<M>,
    sleepers: Sleepers,
}

impl<M: Send> Outside<M> {
    /// Shards in the mesh.
    pub fn shards(&self) -> usize {
        self.lanes.len()
    }

    /// Sends mail to a shard, in order behind what other callers have sent there. Takes a lock, held
    /// for a few nanoseconds. Mail to a shard that has ended is dropped.
    ///
    /// `Err`: the queue is full; here is the mail.
    ///
    /// Panics if `to` is no shard of the mesh.
    pub fn send(&self, to: ShardId, mail: M) -> Result<Delivered, M> {
        // A panic while the lock is held cannot leave the queue half-written: push is all or nothing.
        let mut lane = self.lanes[to.index()]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = lane.as_mut() else {
            // The mail's destructor is anybody's code: not under the lock.
            drop(lane);
            return Ok(Delivered::Gone);
        };
        queue.push(mail).map_err(|PushError::Full(mail)| mail)?;
        drop(lane);
        // Between the mail and the flag; pairs with the fence in `park`.
        fence(Ordering::SeqCst);
        if owes_wake(&self.sleepers, to) {
            Ok(Delivered::Asleep)
        } else {
            Ok(Delivered::Awake)
        }
    }
}

impl<M> Clone for Outside<M> {
    fn clone(&self) -> Self {
        Self {
            lanes: Arc::clone(&self.lanes),
            sleepers: Arc::clone(&self.sleepers),
        }
    }
}

impl<M> fmt::Debug for Outside<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outside({} shards)", self.lanes.len())
    }
}

#[cfg(test)]
mod tests;
