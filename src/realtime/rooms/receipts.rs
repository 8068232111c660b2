//! Delivered and read: what members have got of a room's messages, and what their authors hear of it.
//!
//! Each member has two marks, and a mark moves over all messages before it: who has got a message
//! has got those before it, and who has read it has read them.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::Room;
use super::delivery::Counts;
use super::room::RoomState;
use crate::id::{ConnectionId, ShardId, UserId};
use crate::realtime::lasting::is_replayed;
use crate::realtime::mail::{Asker, Letter, Mail, Push, Receipt};
use crate::realtime::options::DeliveryProof;
use crate::realtime::outlet::Outlet;
use crate::realtime::protocol::{Rejection, Status, payload};
use crate::realtime::writing::text;
use crate::shard::Proof;

/// In a crowd proof is asked for so many times less often.
const CROWD_PATIENCE: u32 = 10;

/// What is to be done about receipts when the second has passed.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    /// The second in which connections were last asked for proof.
    asked_s: u32,
    /// Messages wait for proof.
    is_awaited: bool,
    /// Among them some whose author wants to know.
    is_tracked: bool,
    /// The messages whose numbers have changed since their authors were told them, and perhaps some
    /// between.
    changed: Option<RangeInclusive<u64>>,
    /// Members whose marks the store does not know.
    pub(super) unstored: Vec<UserId>,
}

impl Receipts {
    pub(super) fn is_due(&self) -> bool {
        self.is_awaited || self.changed.is_some() || !self.unstored.is_empty()
    }

    /// Messages are on their way to somebody who had missed them.
    pub(super) fn expect(&mut self) {
        (self.is_awaited, self.is_tracked) = (true, true);
    }

    fn note_change(&mut self, news: &RangeInclusive<u64>) {
        let changed = self.changed.get_or_insert_with(|| news.clone());
        let start = *changed.start().min(news.start());
        *changed = start..=*changed.end().max(news.end());
    }
}

impl RoomState {
    /// A message went out: see to it that its arrival is proved, if anybody will ask.
    pub(super) fn await_receipts(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        is_tracked: bool,
    ) {
        let delivery = &outlet.desk.options.delivery;
        if !delivery.enabled || delivery.proof == DeliveryProof::Ack {
            self.receipts.is_awaited = false;
            return;
        }
        self.receipts.is_tracked |= is_tracked;
        let interval = u32::try_from(delivery.ping_interval.as_secs()).unwrap_or(u32::MAX);
        let interval = match self.crowd.is_crowded {
            true => interval.saturating_mul(CROWD_PATIENCE),
            false => interval,
        };
        let second = outlet.second();
        if second < self.receipts.asked_s.saturating_add(interval) {
            self.receipts.is_awaited = true;
            return;
        }
        self.receipts.asked_s = second;
        self.receipts.is_awaited = false;
        self.ask_for_proof(outlet, room);
    }

    /// Has the connections of those who lack messages prove that they have got them: of all, for an
    /// author who wants to know; else of those who would be given them once more when they come back.
    fn ask_for_proof(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room) {
        let offset = self.window.head();
        // A crowd is not asked for its authors: its members' own words are counted.
        let is_tracked = std::mem::take(&mut self.receipts.is_tracked) && !self.crowd.is_crowded;
        let mut shards: BTreeMap<ShardId, Vec<ConnectionId>> = BTreeMap::new();
        for seat in self.members.values() {
            if seat.marks.delivered() >= offset {
                continue;
            }
            for link in &seat.links {
                let is_replayed = seat.is_listed && is_replayed(&outlet.desk.options, link.profile);
                if is_tracked || is_replayed {
                    let connections = shards.entry(link.connection.shard()).or_default();
                    connections.push(link.connection);
                }
            }
        }
        for (shard, connections) in shards {
            if shard == outlet.context.shard() {
                outlet.prove(room, offset, &connections);
                continue;
            }
            let letter = Letter::Prove {
                room: room.clone(),
                offset,
                connections,
            };
            outlet
                .context
                .mail_in_order(shard, room.name(), Mail(letter));
        }
    }

    /// A connection of the user has got everything that it was sent, up to `offset`.
    pub(super) fn proved(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        (user, connection): (&UserId, ConnectionId),
        offset: u64,
    ) {
        let Some(seat) = self.members.get(user) else {
            return;
        };
        // What came before the connection was not sent to it: its authors are told nothing.
        let mut links = seat.links.iter();
        let Some(link) = links.find(|link| link.connection == connection) else {
            return;
        };
        let reached = link.from + 1..=offset.min(self.window.head());
        self.advance(outlet, room, user, reached, Status::Delivered);
    }

    /// Some of the messages so far were left out for a connection.
    pub(super) fn missed_some(&mut self, user: &UserId, connection: ConnectionId) {
        let head = self.window.head();
        let Some(seat) = self.members.get_mut(user) else {
            return;
        };
        let mut links = seat.links.iter_mut();
        if let Some(link) = links.find(|link| link.connection == connection) {
            link.from = head;
        }
    }

    /// A client says that it has got or read a message.
    pub(super) fn receipt(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        asker: &Asker,
        receipt: Receipt,
    ) {
        if !self.members.contains_key(&asker.user) {
            return outlet.refuse(asker, &Rejection::NotSubscribed);
        }
        let found = self.window.rfind(|record| record.id == receipt.message);
        let Some(offset) = found.map(|(offset, _)| offset) else {
            return outlet.refuse(asker, &Rejection::NotFound);
        };
        self.advance(outlet, room, &asker.user, 1..=offset, receipt.status);
    }

    /// Moves a mark to the end of `reached`, and tells the authors of what is in it.
    fn advance(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        user: &UserId,
        reached: RangeInclusive<u64>,
        status: Status,
    ) {
        let offset = *reached.end();
        let Some(seat) = self.members.get_mut(user) else {
            return;
        };
        let news = match status {
            Status::Sent => None,
            Status::Delivered => seat.marks.deliver(offset),
            Status::Read => seat.marks.mark_read(offset),
        };
        let Some(news) = news else { return };
        let news = *news.start().max(reached.start())..=offset;
        if self.storage.is_stored() && !self.receipts.unstored.contains(user) {
            self.receipts.unstored.push(user.clone());
        }
        if !outlet.desk.options.delivery.enabled || news.is_empty() {
            return;
        }
        let named_max = outlet.desk.options.delivery.recipients_max;
        if self.members.len() > named_max.saturating_add(1) {
            return self.receipts.note_change(&news);
        }
        self.tell_authors(outlet, room, user, &news, status);
    }

    /// Tells each author of tracked messages that `user` has got or read them.
    fn tell_authors(
        &self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        user: &UserId,
        news: &RangeInclusive<u64>,
        status: Status,
    ) {
        let first = (*news.start()).max(self.window.oldest().unwrap_or(u64::MAX));
        for offset in first..=*news.end() {
            let Some(record) = self.window.get(offset) else {
                continue;
            };
            let Some(author) = record
                .user
                .as_ref()
                .filter(|author| record.is_tracked && *author != user)
            else {
                continue;
            };
            let told = payload::MessageStatus {
                message: record.id,
                client_message_id: record.client_message_id.as_deref(),
                status,
                reached: payload::Reached::Recipient(user),
                chat: Some(room.name()),
                sender: Some(author),
            };
            tell(outlet, author, &told);
        }
    }

    /// Does what has waited for the second to pass.
    pub(super) fn tick_receipts(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room) {
        if self.receipts.is_awaited {
            self.await_receipts(outlet, room, false);
        }
        if let Some(changed) = self.receipts.changed.take() {
            self.tell_counts(outlet, room, &changed);
        }
        self.store_marks(outlet, room);
    }

    /// Tells the authors of these messages how many have got and read them.
    fn tell_counts(&self, outlet: &mut Outlet<'_, '_>, room: &Room, changed: &RangeInclusive<u64>) {
        let from = (*changed.start()).max(self.window.oldest().unwrap_or(u64::MAX));
        let tracked = (from..=*changed.end()).filter(|offset| {
            self.window
                .get(*offset)
                .is_some_and(|record| record.is_tracked)
        });
        let offsets: Vec<u64> = tracked.collect();
        let counts = Counts::of(&offsets, self.members.values().map(|seat| seat.marks));
        for (offset, mut counts) in offsets.into_iter().zip(counts) {
            let Some(record) = self.window.get(offset) else {
                continue;
            };
            let Some(author) = &record.user else { continue };
            if let Some(own) = self.members.get(author) {
                counts.delivered -= u64::from(own.marks.status(offset) >= Status::Delivered);
                counts.read -= u64::from(own.marks.status(offset) == Status::Read);
            }
            if counts.delivered == 0 {
                // The news was the author's own.
                continue;
            }
            let told = payload::MessageStatus {
                message: record.id,
                client_message_id: record.client_message_id.as_deref(),
                status: if counts.read > 0 {
                    Status::Read
                } else {
                    Status::Delivered
                },
                reached: payload::Reached::Counts {
                    delivered: counts.delivered,
                    read: counts.read,
                },
                chat: Some(room.name()),
                sender: Some(author),
            };
            tell(outlet, author, &told);
        }
    }
}

fn tell(outlet: &mut Outlet<'_, '_>, author: &UserId, status: &payload::MessageStatus<'_>) {
    let at = outlet.timestamp();
    let scratch = &mut outlet.desk.scratch;
    let object = scratch.take_payload(|fields| payload::message_status(fields, status, &at));
    let push = Push::from_server("message-status", text(&object));
    outlet.desk.scratch.give_payload(object);
    outlet.tell_user(author, push);
}

impl Outlet<'_, '_> {
    /// Has connections of this shard prove that they have got a room's messages up to `offset`.
    pub(in crate::realtime) fn prove(
        &mut self,
        room: &Room,
        offset: u64,
        connections: &[ConnectionId],
    ) {
        let proof = match self.desk.options.delivery.proof {
            DeliveryProof::Pong => Proof::Pong,
            DeliveryProof::Write => Proof::Written,
            DeliveryProof::Ack => return,
        };
        for &connection in connections {
            let Some(mut socket) = self.context.socket(connection) else {
                continue;
            };
            let is_there = socket
                .data()
                .find(room.name())
                .is_some_and(|joined| !joined.is_pending);
            if is_there {
                let token = socket.data_mut().extra().proofs.await_room(room, offset);
                socket.barrier(token, proof);
            }
        }
    }

    /// A barrier has passed: the homes of the rooms that it proved hear of it.
    pub(in crate::realtime) fn passed(
        &mut self,
        connection: ConnectionId,
        token: u64,
    ) -> Vec<Letter> {
        let Some(mut socket) = self.context.socket(connection) else {
            return Vec::new();
        };
        let user = socket.user().clone();
        let Some(extra) = socket.data_mut().extra_mut() else {
            return Vec::new();
        };
        let proved = extra.proofs.passed(token);
        let letter = |(room, offset)| {
            let user = user.clone();
            Letter::Proved {
                room,
                user,
                connection,
                offset,
            }
        };
        proved.map(letter).collect()
    }
}
