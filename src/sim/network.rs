//! The pretend network: a pair of byte pipes per socket.
//!
//! A pipe has no packets: whoever reads takes any number of the bytes that lie in it, so that every
//! chunking happens. Delay is a reader whose turn has not come.

use std::collections::VecDeque;

use super::prng::Prng;
use crate::shard::Descriptor;

/// Bytes on their way to the server, at most: a client writes no more until some are read.
const INBOUND_BYTES_MAX: usize = 16 * 1024;

/// One socket, both ways.
#[derive(Debug)]
pub(super) struct Link {
    /// From the client, not yet read by the server.
    inbound: VecDeque<u8>,
    /// From the server, not yet read by the client.
    outbound: VecDeque<u8>,
    /// Send buffer of the server's end, bytes.
    capacity: usize,
    client_ended: bool,
    server_ended: bool,
    /// Broken: neither end reads what the other has written.
    pub(super) reset: bool,
    /// The server has closed its descriptor.
    pub(super) closed: bool,
}

impl Link {
    /// The client writes; the number of bytes taken.
    pub(super) fn client_writes(&mut self, bytes: &[u8]) -> usize {
        let room = INBOUND_BYTES_MAX.saturating_sub(self.inbound.len());
        let taken = bytes.len().min(room);
        if !self.reset && !self.closed {
            self.inbound.extend(&bytes[..taken]);
        }
        taken
    }

    pub(super) fn client_ends(&mut self) {
        self.client_ended = true;
    }

    /// Up to `bytes` bytes of what the server has written.
    pub(super) fn client_reads(&mut self, bytes: usize) -> Vec<u8> {
        let bytes = self.outbound.len().min(bytes);
        self.outbound.drain(..bytes).collect()
    }

    /// Whether nothing more will come to the client.
    pub(super) fn is_over_for_client(&self) -> bool {
        self.outbound.is_empty() && (self.server_ended || self.closed || self.reset)
    }

    pub(super) fn unread_by_client(&self) -> usize {
        self.outbound.len()
    }

    pub(super) fn unread_by_server(&self) -> usize {
        if self.reset { 0 } else { self.inbound.len() }
    }

    pub(super) fn is_at_end_for_server(&self) -> bool {
        self.inbound.is_empty() && self.client_ended
    }

    /// Whether the client has sent its last byte, read or not.
    pub(super) fn has_ended_for_server(&self) -> bool {
        self.client_ended
    }

    pub(super) fn server_reads(&mut self, bytes: usize) -> Vec<u8> {
        let bytes = self.inbound.len().min(bytes);
        self.inbound.drain(..bytes).collect()
    }

    pub(super) fn room(&self) -> usize {
        match self.reset {
            true => 0,
            false => self.capacity.saturating_sub(self.outbound.len()),
        }
    }

    /// The server writes what there is [`Self::room`] for.
    pub(super) fn server_writes(&mut self, bytes: &[u8]) {
        assert!(
            bytes.len() <= self.room(),
            "the driver looks for room first"
        );
        self.outbound.extend(bytes);
    }

    pub(super) fn server_ends(&mut self) {
        self.server_ended = true;
    }
}

/// All sockets there ever were, by descriptor: a number is not used twice.
#[derive(Debug, Default)]
pub(super) struct Network {
    links: Vec<Link>,
}

impl Network {
    /// A client connects. The descriptor is the client's number as well.
    pub(super) fn connect(&mut self, capacity: usize) -> usize {
        self.links.push(Link {
            inbound: VecDeque::new(),
            outbound: VecDeque::new(),
            capacity,
            client_ended: false,
            server_ended: false,
            reset: false,
            closed: false,
        });
        self.links.len() - 1
    }

    pub(super) fn link(&mut self, client: usize) -> &mut Link {
        &mut self.links[client]
    }

    /// Breaks a connection; what is under way is lost, sometimes but for a part of it.
    pub(super) fn reset(&mut self, client: usize, prng: &mut Prng) {
        let link = &mut self.links[client];
        link.reset = true;
        link.inbound.clear();
        let left = prng.number(0..link.outbound.len() + 1);
        link.outbound.truncate(left);
    }

    /// The server closes a descriptor, which it must do once.
    pub(super) fn close(&mut self, descriptor: Descriptor) {
        let client = number(descriptor);
        let link = &mut self.links[client];
        assert!(
            !link.closed,
            "the descriptor of client {client} is closed twice"
        );
        link.closed = true;
    }

    /// Lets every send buffer take anything, for a world that heals.
    pub(super) fn widen(&mut self) {
        self.links
            .iter_mut()
            .for_each(|link| link.capacity = usize::MAX);
    }

    /// Panics unless the server has closed every descriptor.
    pub(super) fn assert_closed(&self) {
        for (client, link) in self.links.iter().enumerate() {
            assert!(link.closed, "the descriptor of client {client} leaks");
        }
    }
}

/// A descriptor as an index.
pub(super) fn number(descriptor: Descriptor) -> usize {
    usize::try_from(descriptor.number).expect("descriptors of the pretend network are indices")
}

/// An index as a descriptor.
pub(super) fn descriptor(client: usize) -> Descriptor {
    Descriptor::plain(i32::try_from(client).expect("a run has few clients"))
}
