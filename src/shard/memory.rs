//! What a shard's bytes are for, and what it does when the process runs short of memory.
//!
//! Each kind is a running sum, kept where bytes are allocated and freed, so that asking costs nothing
//! and looks at no connection. Under pressure ([`Shared::pressure`](super::Shared::pressure)) a tick
//! stops reading from the connections that hold most; TCP then pushes back on their peers. It goes on
//! reading when they hold little, or the pressure is over, and also when the peer has sent its last byte:
//! then no more than a socket's receive buffer is left to come, and all of it can be freed. One that
//! holds on to what it has for as long as a silent peer may be silent (`pong_wait`) is closed 1013.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::app::App;
use super::connection::{Connection, Opening, Phase, Reading, Unread};
use super::core::Core;
use super::outbox::Outbox;
use crate::id::Slot;
use crate::metrics::{Memory, Pressure};

/// Places in the table of connections that are looked at in one tick, for the fattest and among those
/// that are pressed: about a millisecond.
const WEIGHED_PER_TICK: u32 = 65_536;
/// Of them so many, the fattest, are no longer read from.
const PRESSED_PER_TICK: usize = 1024;
/// A connection that holds less, or less than a quarter of `queue_bytes_max`, is not fat, bytes.
const FAT_BYTES: usize = 16 * 1024;

impl<A: App> Core<A> {
    /// What the shard holds, by kind.
    pub(crate) fn memory(&self) -> Memory {
        let pool = &self.topics.pool;
        Memory {
            connections: self.connections.bytes() as u64,
            topic_logs: pool.lent_bytes() as u64,
            barriers: self.barriers.bytes() as u64,
            spare: (pool.spare_bytes() + self.queues.bytes()) as u64,
            receive_buffers: self.receive_buffers,
            tls: self.tls_bytes,
            ..self.held
        }
    }

    /// Takes a connection out of the table, and what it held out of the sums.
    pub(crate) fn remove(&mut self, slot: Slot) {
        let Some(connection) = self.connections.remove(slot.0) else {
            return;
        };
        let queue = connection.queue.as_ref();
        self.held.queues -= queue.map_or(0, |queue| queue.len()) as u64;
        self.held.in_flight -= u64::from(connection.in_flight_bytes);
        self.held.held -= connection.held_bytes() as u64;
        self.held.partial -= connection.decoder.held_bytes() as u64;
    }

    /// Keeps what is known of a handshake; nothing was kept.
    pub(crate) fn keep_opening(&mut self, slot: Slot, opening: Opening) {
        if let Some(connection) = self.connections.get_mut(slot.0) {
            self.held.held += opening.bytes.len() as u64;
            connection.keep_opening(opening);
        }
    }

    /// Once a second: holds back while memory is short, and lets go when it is not.
    pub(crate) fn mind_memory(&mut self, outbox: &mut impl Outbox<A>) {
        let pressure = self.shared.pressure();
        self.relieve(pressure, outbox);
        if pressure >= Pressure::Soft {
            self.queues.clear();
            self.topics.pool.clear();
            for slot in self.fattest() {
                self.press(slot, outbox);
            }
        }
    }

    fn fat_bytes(&self) -> usize {
        FAT_BYTES.min(self.options().queue_bytes_max / 4)
    }

    /// The fattest among the next connections of the table that are read from.
    fn fattest(&mut self) -> Vec<Slot> {
        let (span, fat) = (self.connections.span(), self.fat_bytes());
        let mut fattest = BinaryHeap::new();
        for _ in 0..span.min(WEIGHED_PER_TICK) {
            let slot = Slot(self.weighed % span);
            self.weighed = (slot.0 + 1) % span;
            let Some(connection) = self.connection(slot) else {
                continue;
            };
            let bytes = weight(connection);
            let is_done = matches!(connection.marks.reading, Reading::Pressed | Reading::Ending);
            if bytes < fat || connection.phase != Phase::Open || is_done {
                continue;
            }
            fattest.push(Reverse((bytes, slot)));
            if fattest.len() > PRESSED_PER_TICK {
                fattest.pop();
            }
        }
        fattest.into_iter().map(|Reverse((_, slot))| slot).collect()
    }

    /// Reads no more from a connection.
    fn press(&mut self, slot: Slot, outbox: &mut impl Outbox<A>) {
        let Some(connection) = self.connections.get_mut(slot.0) else {
            return;
        };
        if connection.marks.reading == Reading::On {
            outbox.pause_reading(slot);
        }
        connection.marks.reading = Reading::Pressed;
        outbox.watch_end(slot);
        self.counters.pressed += 1;
        self.pressed.push_back(slot);
    }

    /// The peer of a pressed connection has sent its last byte: what is there of it is read.
    pub(crate) fn ending(&mut self, slot: Slot, outbox: &mut impl Outbox<A>) {
        let Some(connection) = self.connections.get_mut(slot.0) else {
            return;
        };
        if connection.marks.reading == Reading::Pressed && connection.phase != Phase::Released {
            connection.marks.reading = Reading::Ending;
            outbox.resume_reading(slot);
        }
    }

    /// Reads on from connections that have become lean; from all, when the pressure is over.
    fn relieve(&mut self, pressure: Pressure, outbox: &mut impl Outbox<A>) {
        let (second, fat) = (self.now.seconds(), self.fat_bytes());
        for _ in 0..self.pressed.len().min(WEIGHED_PER_TICK as usize) {
            let Some(slot) = self.pressed.pop_front() else {
                break;
            };
            let Some(connection) = self.connections.get_mut(slot.0) else {
                continue;
            };
            // The place may have another tenant by now, who is not pressed.
            if connection.marks.reading != Reading::Pressed || connection.phase != Phase::Open {
                continue;
            }
            if pressure >= Pressure::Soft && weight(connection) >= fat {
                self.pressed.push_back(slot);
                continue;
            }
            // The peer was not heard, which is not the same as silent.
            connection.heard_s = second;
            let is_stuck = connection.marks.blocked || connection.unread().is_some();
            connection.marks.reading = if is_stuck {
                Reading::Paused
            } else {
                outbox.resume_reading(slot);
                Reading::On
            };
            self.schedule(slot);
        }
    }
}

/// What a connection's own bytes come to: what waits for it, and what waits of it.
fn weight<D>(connection: &Connection<D>) -> usize {
    let unread = connection.unread().map_or(0, Unread::len);
    connection.buffered() + unread + connection.decoder.held_bytes()
}
