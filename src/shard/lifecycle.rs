//! How an open connection ends, and what is looked at after its bytes have gone out.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use super::app::App;
use super::connection::{Phase, Reading, Unread};
use super::core::{Core, Staged};
use super::outbox::Outbox;
use super::send_queue::SendQueue;
use crate::id::{ConnectionId, Slot, UserId, hexadecimal};
use crate::ws::{self, CloseCode, Opcode};

/// Nothing more of a peer is decoded while more than this waits to be sent to it, or half of
/// `queue_bytes_max` if that is less, bytes; and nothing more is read while its socket is full or as
/// much waits to be decoded. TCP then pushes back on whoever asks faster than they read.
const READ_WATERMARK_BYTES: usize = 1 << 20;

impl<A: App> Core<A> {
    /// Starts the close handshake: what was sent and published before still goes out, then a close
    /// frame. The application hears of it after the present callback.
    pub(crate) fn begin_close(&mut self, slot: Slot, code: CloseCode, reason: &str) {
        if !self.in_phase(slot, Phase::Open) {
            return;
        }
        self.unsubscribe_all(slot);
        let Some(connection) = self.connections.get_mut(slot.0) else {
            return;
        };
        let queue = connection.queue.get_or_insert_with(|| self.queues.take());
        let before = queue.data.len();
        ws::close_frame_into(
            &mut queue.data,
            code.is_sendable().then_some((code, reason)),
        );
        self.held.queues += (queue.data.len() - before) as u64;
        self.leave_open(slot, Phase::Closing, code, reason);
        let timeout = self.options().close_timeout;
        self.phase_ends(slot, timeout);
        self.compose(slot);
    }

    /// Cuts the connection: nothing more goes out. The application hears of it after the present
    /// callback, then the driver closes.
    pub(crate) fn cut(&mut self, slot: Slot, code: CloseCode, reason: &str) {
        let Some(connection) = self.connection(slot) else {
            return;
        };
        let phase = connection.phase;
        match phase {
            Phase::Released => return,
            Phase::Open => {
                self.unsubscribe_all(slot);
                self.leave_open(slot, Phase::Released, code, reason);
            }
            Phase::Head | Phase::Asked | Phase::Deferred | Phase::Refused | Phase::Closing => {}
        }
        let Some(connection) = self.connections.get_mut(slot.0) else {
            return;
        };
        connection.phase = Phase::Released;
        self.held.held -= connection.held_bytes() as u64;
        connection.held = None;
        if let Some(queue) = connection.queue.take() {
            self.held.queues -= queue.len() as u64;
            self.queues.give(queue);
        }
        self.staged.push(Staged::Cut(slot));
    }

    fn leave_open(&mut self, slot: Slot, phase: Phase, code: CloseCode, reason: &str) {
        let Some(connection) = self.connections.get_mut(slot.0) else {
            return;
        };
        connection.phase = phase;
        self.held.held -= connection.held_bytes() as u64;
        connection.held = None;
        self.closings.count(&code.as_u16());
        self.barriers.remove(slot);
        self.open -= 1;
        self.counters.closed += 1;
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
        self.staged.push(Staged::Close(slot, code, reason.into()));
    }

    /// Takes a closing connection off its user's list.
    pub(crate) fn leave_user(&mut self, slot: Slot) {
        if self.connection(slot).is_some_and(|c| c.user.is_some()) {
            self.users.detach(slot, &mut self.connections);
        }
        if let Some(connection) = self.connection_mut(slot) {
            connection.user = None;
        }
    }

    /// Pauses reading from a connection that has too much waiting for it.
    pub(crate) fn watch_backpressure(&mut self, slot: Slot, outbox: &mut impl Outbox<A>) {
        let watermark = self.watermark();
        let Some(connection) = self.connections.get_mut(slot.0) else {
            return;
        };
        let is_over = connection.buffered() > watermark;
        let unread = connection.unread().map_or(0, Unread::len);
        let is_stuck = connection.marks.blocked && is_over || unread > READ_WATERMARK_BYTES;
        let is_read = matches!(connection.marks.reading, Reading::On | Reading::Ending)
            && connection.phase == Phase::Open;
        if is_stuck && is_read {
            connection.marks.reading = Reading::Paused;
            self.counters.read_pauses += 1;
            outbox.pause_reading(slot);
        }
    }

    /// Whether so much waits to be sent to a connection that it is not to ask for more.
    pub(crate) fn is_over_watermark(&self, slot: Slot) -> bool {
        let watermark = self.watermark();
        self.connection(slot)
            .is_some_and(|connection| connection.buffered() > watermark)
    }

    fn watermark(&self) -> usize {
        READ_WATERMARK_BYTES.min(self.options().queue_bytes_max / 2)
    }

    /// What waited to be decoded has been. Reads on, or ends with the peer's stream.
    pub(crate) fn read_on(&mut self, slot: Slot, outbox: &mut impl Outbox<A>) {
        let Some(connection) = self.connections.get_mut(slot.0) else {
            return;
        };
        if connection.phase != Phase::Open || connection.unread().is_some() {
            return;
        }
        if connection.marks.ended {
            self.cut(slot, CloseCode::ABNORMAL, "connection ended");
        } else if connection.marks.reading == Reading::Paused && !connection.marks.blocked {
            connection.marks.reading = Reading::On;
            outbox.resume_reading(slot);
        }
    }

    /// All that a connection had to be sent has been handed to the kernel.
    pub(crate) fn after_flush(&mut self, slot: Slot, outbox: &mut impl Outbox<A>) {
        let Some(connection) = self.connections.get_mut(slot.0) else {
            return;
        };
        if connection.buffered() > 0 {
            return;
        }
        if connection.unread().is_some() {
            self.readable.push(slot);
        }
        let is_paused = match connection.marks.reading {
            Reading::On | Reading::Ending => false,
            Reading::Paused => connection.unread().is_none(),
            // What a closing peer sends is thrown away; its end is to be seen.
            Reading::Pressed => connection.phase != Phase::Open,
        };
        if is_paused {
            connection.marks.reading = Reading::On;
            outbox.resume_reading(slot);
        }
        let marks = &mut connection.marks;
        match connection.phase {
            Phase::Open if marks.drain => {
                marks.drain = false;
                self.drained.push(slot);
            }
            Phase::Closing | Phase::Refused if !marks.shut => {
                marks.shut = true;
                if marks.ended {
                    connection.phase = Phase::Released;
                    outbox.close(slot);
                    return;
                }
                outbox.shutdown_write(slot);
                if connection.phase == Phase::Refused {
                    // The HTTP phase is read on demand: wait for the peer's end.
                    self.receive(slot, outbox);
                }
            }
            _ => {}
        }
    }

    /// HTTP phase: asks for more bytes, unless they are asked for already. A handshake that is
    /// refused because its head took too long is still waiting for the rest of it.
    pub(crate) fn receive(&mut self, slot: Slot, outbox: &mut impl Outbox<A>) {
        if let Some(connection) = self.connection_mut(slot)
            && !connection.marks.receiving
        {
            connection.marks.receiving = true;
            outbox.receive(slot);
        }
    }

    /// A proxy has said whose connection it is.
    pub(crate) fn proxied(&mut self, slot: Slot, peer: SocketAddr) {
        if let Some(connection) = self.connection_mut(slot) {
            connection.peer = peer.into();
        }
    }

    /// The peer has sent its last byte.
    pub(crate) fn ended(&mut self, slot: Slot) {
        let Some(connection) = self.connections.get_mut(slot.0) else {
            return;
        };
        connection.marks.ended = true;
        let unsent = connection.buffered() > 0;
        match connection.phase {
            // A peer that half-closes after its request still gets its refusal.
            Phase::Refused | Phase::Closing if unsent => {}
            // What it sent before its end has still to be decoded.
            Phase::Open if connection.unread().is_some() => {}
            Phase::Deferred => {}
            Phase::Head | Phase::Asked | Phase::Refused | Phase::Open | Phase::Closing => {
                self.cut(slot, CloseCode::ABNORMAL, "connection ended");
            }
            Phase::Released => {}
        }
    }

    pub(crate) fn send_to_connection(&mut self, id: ConnectionId, opcode: Opcode, payload: &[u8]) {
        match self.resolve(id) {
            Some(slot) => {
                let _ = self.send(slot, opcode, payload);
            }
            None => self.counters.mail_undeliverable += 1,
        }
    }

    pub(crate) fn send_to_user(&mut self, user: &str, opcode: Opcode, payload: &[u8]) {
        let mut next = self.users.find(user, &self.connections);
        if next.is_none() {
            self.counters.mail_undeliverable += 1;
        }
        while let Some(slot) = next {
            let _ = self.send(slot, opcode, payload);
            next = self
                .connection(slot)
                .and_then(|connection| connection.links.younger());
        }
    }

    /// A guest's identifier that is at home on this shard.
    pub(crate) fn guest_id(&mut self) -> UserId {
        loop {
            let mut name = *b"guest-............";
            hexadecimal(self.random.u64(..) >> 16, &mut name[6..]);
            let id = std::str::from_utf8(&name).expect("letters and digits");
            let is_at_home = self.shared.placement.home(id) == self.shard;
            if is_at_home && self.users.find(id, &self.connections).is_none() {
                return id.into();
            }
        }
    }

    /// Queues the 101: ahead of control frames, for the application may ping in `open`, and a ping
    /// that came with the request is answered before the 101 is written.
    pub(crate) fn queue_first(&mut self, slot: Slot, write: impl FnOnce(&mut Vec<u8>)) {
        self.queue(slot, |queue| write(&mut queue.control));
    }

    /// Queues a refusal.
    pub(crate) fn queue_last(&mut self, slot: Slot, write: impl FnOnce(&mut Vec<u8>)) {
        self.queue(slot, |queue| write(&mut queue.data));
    }

    fn queue(&mut self, slot: Slot, write: impl FnOnce(&mut SendQueue)) {
        let Some(connection) = self.connections.get_mut(slot.0) else {
            return;
        };
        let queue = connection.queue.get_or_insert_with(|| self.queues.take());
        let before = queue.len();
        write(queue);
        self.held.queues += (queue.len() - before) as u64;
        self.compose(slot);
    }
}
