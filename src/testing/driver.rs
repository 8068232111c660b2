//! The pretend driver of one shard: what the shard asks for is written down, and done by the world.

use std::collections::BTreeMap;

use crate::id::{ShardId, Slot};
use crate::realtime::Realtime;
use crate::shard::{Descriptor, Mail, Outbox, ServiceRequest, Sink};

/// One adopted socket.
#[derive(Debug, Default)]
pub(super) struct Socket {
    /// The client at its far end: an index into the world's peers.
    pub(super) peer: usize,
    /// HTTP phase: one receive is in flight.
    receiving: bool,
    promoted: bool,
    paused: bool,
    /// An owned send that waits for a client that does not read.
    pub(super) owned: Option<Vec<u8>>,
    pub(super) shut: bool,
    pub(super) closed: bool,
    pub(super) ended_told: bool,
}

impl Socket {
    pub(super) fn is_read(&self) -> bool {
        match self.promoted {
            true => !self.paused,
            false => self.receiving,
        }
    }

    /// Something was received: in the HTTP phase the shard asks for each receive.
    pub(super) fn received(&mut self) {
        self.receiving = false;
    }
}

/// The sockets of one shard, and what it has asked for since somebody looked.
#[derive(Default)]
pub(super) struct Driver {
    pub(super) sockets: BTreeMap<Slot, Socket>,
    pub(super) mail: Vec<(ShardId, Mail<Realtime>)>,
    pub(super) requests: Vec<ServiceRequest<Realtime>>,
    pub(super) discarded: Vec<usize>,
}

impl Driver {
    fn socket(&mut self, slot: Slot) -> &mut Socket {
        let socket = self.sockets.get_mut(&slot);
        socket.expect("a shard asks for adopted sockets only")
    }
}

impl Outbox<Realtime> for Driver {
    fn adopt(&mut self, slot: Slot, descriptor: Descriptor) {
        let socket = Socket {
            peer: peer(descriptor),
            ..Socket::default()
        };
        self.sockets.insert(slot, socket);
    }

    fn receive(&mut self, slot: Slot) {
        self.socket(slot).receiving = true;
    }

    fn release(&mut self, slot: Slot) -> Descriptor {
        let socket = self.sockets.remove(&slot);
        descriptor(socket.expect("a shard gives up adopted sockets only").peer)
    }

    fn discard(&mut self, descriptor: Descriptor) {
        self.discarded.push(peer(descriptor));
    }

    fn promote(&mut self, slot: Slot) {
        self.socket(slot).promoted = true;
    }

    fn pause_reading(&mut self, slot: Slot) {
        self.socket(slot).paused = true;
    }

    fn watch_end(&mut self, _slot: Slot) {
        // Asked for when memory is short, which it never is here.
    }

    fn resume_reading(&mut self, slot: Slot) {
        self.socket(slot).paused = false;
    }

    fn send_owned(&mut self, slot: Slot, bytes: Vec<u8>) {
        self.socket(slot).owned = Some(bytes);
    }

    fn shutdown_write(&mut self, slot: Slot) {
        self.socket(slot).shut = true;
    }

    fn close(&mut self, slot: Slot) {
        self.socket(slot).closed = true;
    }

    fn mail(&mut self, to: ShardId, mail: Mail<Realtime>) {
        self.mail.push((to, mail));
    }

    fn service(
        &mut self,
        request: ServiceRequest<Realtime>,
    ) -> Result<(), ServiceRequest<Realtime>> {
        self.requests.push(request);
        Ok(())
    }
}

/// Copies the sends of one turn.
#[derive(Debug, Default)]
pub(super) struct Sends(pub(super) Vec<(Slot, Vec<u8>)>);

impl<'a> Sink<'a> for Sends {
    fn send(&mut self, slot: Slot, pieces: &[&'a [u8]]) {
        self.0.push((slot, pieces.concat()));
    }
}

/// The socket of a client, as a shard knows it.
pub(super) fn descriptor(peer: usize) -> Descriptor {
    Descriptor::plain(i32::try_from(peer).expect("a test has not that many clients"))
}

/// The client of a socket.
pub(super) fn peer(descriptor: Descriptor) -> usize {
    usize::try_from(descriptor.number).expect("made from a client's number")
}
