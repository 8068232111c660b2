//! The pretend driver of one shard, as strict about the contract of [`Outbox`] and [`Sink`] as a
//! kernel would be unforgiving.

use super::Fault;
use super::mailroom::{Mailroom, Service};
use super::network::{Network, descriptor, number};
use super::prng::Prng;
use super::stage::Witness;
use crate::id::{ShardId, Slot};
use crate::limits::RECV_BUFFER_BYTES;
use crate::shard::{App, Descriptor, Mail, Outbox, PIECES_MAX, ServiceRequest, Sink};

/// A send that goes on until it is whole.
#[derive(Debug)]
struct OwnedSend {
    bytes: Vec<u8>,
    written: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Http,
    WebSocket,
}

/// One adopted socket.
#[derive(Debug)]
struct Held {
    client: usize,
    phase: Phase,
    /// HTTP phase: a receive is in flight.
    receiving: bool,
    paused: bool,
    /// Chunks that the kernel had delivered before reading was paused.
    before_pause: u8,
    /// While it is paused, the end of the stream is to be told.
    end_watched: bool,
    owned: Option<OwnedSend>,
    shut: bool,
    closed: bool,
    ended_told: bool,
    failed_told: bool,
    sent_this_turn: bool,
}

/// What a socket has to say. Unlike an [`Event`](crate::shard::Event) it borrows nothing.
#[derive(Debug)]
pub(super) enum Happening {
    Received(Slot, Vec<u8>),
    EndOfStream(Slot),
    Ending(Slot),
    Failed(Slot),
    Progress(Slot),
    Sent(Slot, Vec<u8>),
    Released(Slot),
}

/// The sockets of one shard.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) shard: ShardId,
    slots: Vec<Option<Held>>,
    /// Percent of sends that are cut short though there is room.
    pub(super) short_percent: u32,
    pub(super) fault: Option<Fault>,
}

impl Driver {
    pub(super) fn new(shard: ShardId, short_percent: u32, fault: Option<Fault>) -> Self {
        Self {
            shard,
            slots: Vec::new(),
            short_percent,
            fault,
        }
    }

    fn held(&mut self, slot: Slot) -> &mut Held {
        self.slots
            .get_mut(slot.index())
            .and_then(Option::as_mut)
            .unwrap_or_else(|| panic!("{slot:?} is not adopted"))
    }

    /// A socket that the shard may still ask something of.
    fn live(&mut self, slot: Slot) -> &mut Held {
        let held = self.held(slot);
        assert!(
            !held.closed,
            "{slot:?} is closed: nothing may be asked of it"
        );
        held
    }

    /// The slots that are taken, in order.
    pub(super) fn slots(&self) -> Vec<Slot> {
        let taken = (0u32..).zip(&self.slots).filter(|(_, held)| held.is_some());
        taken.map(|(slot, _)| Slot(slot)).collect()
    }

    /// Lets one socket get on: something that happened to it, if anything did.
    pub(super) fn poll(
        &mut self,
        slot: Slot,
        network: &mut Network,
        prng: &mut Prng,
    ) -> Option<Happening> {
        let held = self.held(slot);
        let link = network.link(held.client);
        if let Some(owned) = &mut held.owned {
            let rest = &owned.bytes[owned.written..];
            let portion = rest.len().min(link.room());
            let portion = match prng.chance(50) {
                true => portion,
                false => prng.size(portion + 1),
            };
            if !held.closed {
                link.server_writes(&rest[..portion]);
                owned.written += portion;
            }
            if owned.written == owned.bytes.len() {
                let owned = held.owned.take().expect("just looked at");
                return Some(Happening::Sent(slot, owned.bytes));
            }
            if portion > 0 && prng.chance(50) {
                return Some(Happening::Progress(slot));
            }
        }
        if held.closed {
            return Self::wind_up(slot, &mut self.slots, prng);
        }
        if link.reset && !held.failed_told {
            held.failed_told = true;
            held.receiving = false;
            return Some(Happening::Failed(slot));
        }
        if held.end_watched && link.has_ended_for_server() && prng.chance(50) {
            held.end_watched = false;
            return Some(Happening::Ending(slot));
        }
        let may_read = match held.phase {
            Phase::Http => held.receiving,
            Phase::WebSocket => !held.paused || held.before_pause > 0,
        };
        if link.reset || !may_read || held.ended_told {
            return None;
        }
        if link.unread_by_server() > 0 {
            held.receiving = false;
            held.before_pause = held.before_pause.saturating_sub(1);
            let bytes = match prng.chance(50) {
                true => RECV_BUFFER_BYTES,
                false => prng.size(RECV_BUFFER_BYTES) + 1,
            };
            return Some(Happening::Received(slot, link.server_reads(bytes)));
        }
        if link.is_at_end_for_server() {
            held.ended_told = true;
            return Some(Happening::EndOfStream(slot));
        }
        None
    }

    /// A closed socket: stale news, the end of what was in flight, and at last the release.
    fn wind_up(slot: Slot, slots: &mut [Option<Held>], prng: &mut Prng) -> Option<Happening> {
        let held = slots[slot.index()]
            .as_mut()
            .expect("polled slots are taken");
        match prng.number(0..8) {
            0 if !held.ended_told => {
                held.ended_told = true;
                Some(Happening::EndOfStream(slot))
            }
            1 if !held.failed_told => {
                held.failed_told = true;
                Some(Happening::Failed(slot))
            }
            2 if !held.ended_told => Some(Happening::Received(slot, b"stale".to_vec())),
            3..6 => {
                // Whatever was in flight was cancelled, and its completion has come.
                slots[slot.index()] = None;
                Some(Happening::Released(slot))
            }
            _ => None,
        }
    }

    /// Ends a turn: every socket may be sent to again.
    pub(super) fn turn_ended(&mut self) {
        self.slots
            .iter_mut()
            .flatten()
            .for_each(|held| held.sent_this_turn = false);
    }

    pub(super) fn client(&mut self, slot: Slot) -> usize {
        self.held(slot).client
    }
}

/// A driver with all that it acts on: what a shard sees as its [`Outbox`].
pub(super) struct Bench<'a, A: App, W> {
    pub(super) driver: &'a mut Driver,
    pub(super) network: &'a mut Network,
    pub(super) mailroom: &'a mut Mailroom<A>,
    pub(super) service: &'a mut Service<A>,
    pub(super) witness: &'a W,
    pub(super) prng: &'a mut Prng,
}

impl<A: App, W: Witness<A>> Outbox<A> for Bench<'_, A, W> {
    fn adopt(&mut self, slot: Slot, descriptor: Descriptor) {
        let slots = &mut self.driver.slots;
        if slots.len() <= slot.index() {
            slots.resize_with(slot.index() + 1, || None);
        }
        let place = &mut slots[slot.index()];
        assert!(place.is_none(), "{slot:?} is adopted though it is not free");
        *place = Some(Held {
            client: number(descriptor),
            phase: Phase::Http,
            receiving: false,
            paused: false,
            before_pause: 0,
            end_watched: false,
            owned: None,
            shut: false,
            closed: false,
            ended_told: false,
            failed_told: false,
            sent_this_turn: false,
        });
    }

    fn receive(&mut self, slot: Slot) {
        let held = self.driver.live(slot);
        assert_eq!(
            held.phase,
            Phase::Http,
            "a promoted {slot:?} is read all the time"
        );
        assert!(!held.receiving, "two receives are in flight for {slot:?}");
        held.receiving = true;
    }

    fn release(&mut self, slot: Slot) -> Descriptor {
        let held = self.driver.live(slot);
        assert_eq!(
            held.phase,
            Phase::Http,
            "{slot:?} is promoted and cannot be given up"
        );
        assert!(
            !held.receiving && held.owned.is_none(),
            "something of {slot:?} is in flight"
        );
        let client = held.client;
        self.driver.slots[slot.index()] = None;
        descriptor(client)
    }

    fn discard(&mut self, descriptor: Descriptor) {
        self.network.close(descriptor);
    }

    fn promote(&mut self, slot: Slot) {
        let held = self.driver.live(slot);
        assert_eq!(held.phase, Phase::Http, "{slot:?} is promoted twice");
        assert!(!held.receiving, "a receive is in flight for {slot:?}");
        held.phase = Phase::WebSocket;
    }

    fn pause_reading(&mut self, slot: Slot) {
        let before_pause = u8::from(self.prng.chance(50));
        let held = self.driver.live(slot);
        assert_eq!(held.phase, Phase::WebSocket);
        assert!(!held.paused, "{slot:?} is paused twice");
        held.paused = true;
        held.before_pause = before_pause;
    }

    fn watch_end(&mut self, slot: Slot) {
        let held = self.driver.live(slot);
        assert!(held.paused, "{slot:?} is not paused");
        held.end_watched = true;
    }

    fn resume_reading(&mut self, slot: Slot) {
        let held = self.driver.live(slot);
        assert!(held.paused, "{slot:?} is not paused");
        held.paused = false;
        held.end_watched = false;
    }

    fn send_owned(&mut self, slot: Slot, bytes: Vec<u8>) {
        let held = self.driver.live(slot);
        assert!(
            held.owned.is_none(),
            "two owned sends are in flight for {slot:?}"
        );
        assert!(!held.shut, "{slot:?} is shut");
        assert!(!bytes.is_empty(), "an owned send has something to send");
        let client = held.client;
        held.owned = Some(OwnedSend { bytes, written: 0 });
        self.witness.blocked(client, true);
    }

    fn shutdown_write(&mut self, slot: Slot) {
        let held = self.driver.live(slot);
        assert!(!held.shut, "{slot:?} is shut twice");
        assert!(
            held.owned.is_none(),
            "{slot:?} is shut while something is in flight"
        );
        held.shut = true;
        self.network.link(held.client).server_ends();
    }

    fn close(&mut self, slot: Slot) {
        let held = self.driver.live(slot);
        held.closed = true;
        held.receiving = false;
        self.network.close(descriptor(held.client));
    }

    fn mail(&mut self, to: ShardId, mail: Mail<A>) {
        assert_ne!(to, self.driver.shard, "nobody mails themselves");
        self.witness
            .posted(self.mailroom.queue(self.driver.shard, to), mail);
    }

    fn service(&mut self, request: ServiceRequest<A>) -> Result<(), ServiceRequest<A>> {
        self.service.ask(self.driver.shard, request)
    }
}

/// Takes the sends of one turn.
pub(super) struct Taker<'a> {
    pub(super) driver: &'a mut Driver,
    pub(super) network: &'a mut Network,
    pub(super) prng: &'a mut Prng,
    /// Sends that were not taken whole, and how much was.
    pub(super) shorts: Vec<(Slot, usize)>,
    pub(super) sends: usize,
}

impl<'b> Sink<'b> for Taker<'_> {
    fn send(&mut self, slot: Slot, pieces: &[&'b [u8]]) {
        assert!(
            !pieces.is_empty() && pieces.len() <= PIECES_MAX,
            "{} pieces",
            pieces.len()
        );
        assert!(
            pieces.iter().all(|piece| !piece.is_empty()),
            "a piece is empty"
        );
        self.sends += 1;
        let short_percent = self.driver.short_percent;
        let fault = self.driver.fault;
        let held = self.driver.live(slot);
        assert!(
            held.owned.is_none(),
            "an owned send is in flight for {slot:?}"
        );
        assert!(!held.shut, "{slot:?} is shut");
        assert!(!held.sent_this_turn, "two sends in one turn for {slot:?}");
        held.sent_this_turn = true;
        let link = self.network.link(held.client);
        let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
        let mut taken = bytes.min(link.room());
        if self.prng.chance(short_percent) {
            taken = self.prng.number(0..taken + 1);
        }
        let dropped = match fault {
            Some(Fault::DropPiece) if taken < bytes => Some(self.prng.number(0..pieces.len())),
            _ => None,
        };
        let mut pieces = pieces.to_vec();
        let is_ping = |piece: &&[u8]| piece.len() == 10 && piece.starts_with(b"\x89\x08");
        if fault == Some(Fault::PingAhead) && taken == bytes && pieces.last().is_some_and(is_ping) {
            pieces.rotate_right(1);
        }
        let mut rest = taken;
        for (index, piece) in pieces.iter().enumerate() {
            let portion = rest.min(piece.len());
            rest -= portion;
            if dropped != Some(index) {
                link.server_writes(&piece[..portion]);
            }
        }
        if taken < bytes {
            self.shorts.push((slot, taken));
        }
    }
}
