//! All that a shard can ask for. The io_uring worker and the simulator each implement it.

use super::app::App;
use super::event::Descriptor;
use super::mail::{Mail, ServiceRequest};
use crate::id::{ShardId, Slot};

/// Commands of a shard to its driver. None of them blocks, none fails towards the shard: what goes
/// wrong comes back as an [`Event`](super::Event).
///
/// A socket is in its *HTTP phase* from [`adopt`](Outbox::adopt) to [`promote`](Outbox::promote):
/// it is read only when [`receive`](Outbox::receive) asks, and can be given up. After it, it is
/// read all the time.
pub trait Outbox<A: App> {
    /// Takes charge of a socket under `slot`, in its HTTP phase.
    fn adopt(&mut self, slot: Slot, descriptor: Descriptor);
    /// HTTP phase: asks for one [`Event::Received`](super::Event::Received).
    fn receive(&mut self, slot: Slot);
    /// HTTP phase, nothing in flight: gives the socket up. The slot is free at once.
    fn release(&mut self, slot: Slot) -> Descriptor;
    /// Closes a socket that has no slot.
    fn discard(&mut self, descriptor: Descriptor);
    /// Whether TLS protects the connection. Not asked of open ones: their records have no room for it.
    fn is_secure(&self, slot: Slot) -> bool {
        let _ = slot;
        false
    }
    /// Ends the HTTP phase: the socket speaks WebSocket from here on.
    fn promote(&mut self, slot: Slot);
    /// Stops reading. What was received already still comes.
    fn pause_reading(&mut self, slot: Slot);
    /// While reading is stopped: wants [`Event::Ending`](super::Event::Ending), once, when the peer has
    /// sent its last byte. Over when it is read on.
    fn watch_end(&mut self, slot: Slot);
    /// Reads on.
    fn resume_reading(&mut self, slot: Slot);
    /// Writes `bytes` however long it takes, then [`Event::Sent`](super::Event::Sent). At most one
    /// in flight per socket, and no [`Sink::send`] while it is.
    fn send_owned(&mut self, slot: Slot, bytes: Vec<u8>);
    /// Half-closes: the peer sees the end of the stream after what was written.
    fn shutdown_write(&mut self, slot: Slot);
    /// Closes; [`Event::Released`](super::Event::Released) follows, and until then anything else
    /// about the slot may still come and is ignored.
    fn close(&mut self, slot: Slot);
    /// Mails another shard. Mail to one shard arrives in order.
    fn mail(&mut self, to: ShardId, mail: Mail<A>);
    /// Asks the service thread. Gives the request back if its queue is full.
    fn service(&mut self, request: ServiceRequest<A>) -> Result<(), ServiceRequest<A>>;
}

/// Takes the sends of one turn, by reference, at most one per socket.
///
/// The driver has let go of all bytes when the turn's submission returns. What a socket did not
/// take is reported by [`Shard::short`](super::Shard::short) before anything else happens.
pub trait Sink<'a> {
    /// Sends `pieces`, in order, as one write. Neither empty nor more than [`PIECES_MAX`] pieces.
    fn send(&mut self, slot: Slot, pieces: &[&'a [u8]]);
}

/// Most pieces of one send. Far below the kernel's `UIO_MAXIOV` (1024); what is beyond waits for
/// the next turn.
pub const PIECES_MAX: usize = 64;
