//! Messages of a room: each gets its place in the one order, is kept for those who come later, and
//! goes to everybody who is there.

use super::Room;
use super::room::RoomState;
use crate::id::UserId;
use crate::realtime::options::{Roles, Standing, Who};
use crate::realtime::outlet::Outlet;
use crate::realtime::post::{Answer, Post, Record, Source, Stamped, Terms};
use crate::realtime::protocol::{
    MessageId, Position, Recipient, Rejection, Status, Timestamp, payload,
};
use crate::realtime::writing::Audience;

/// What a message was answered when it came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct First {
    pub(super) id: MessageId,
    /// 0 in a room without history.
    pub(super) offset: u64,
    pub(super) unix_ms: u64,
}

impl RoomState {
    /// A message has come for the room.
    pub(super) fn post(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room, post: &Post<'_>) {
        if self.storage.hold_back_post(outlet, room, post) {
            return;
        }
        if let Source::Client {
            asker,
            roles,
            asked,
        } = &post.terms.source
        {
            if asker.outside.is_some() {
                if let Err(rejection) = self.may_say(outlet, &asker.user, roles) {
                    return outlet.refuse(asker, &rejection);
                }
            } else if !self.allows(&self.namespace(outlet).publish, asker, roles) {
                let is_here = self
                    .members
                    .get(&asker.user)
                    .is_some_and(|seat| seat.is_present());
                return match (is_here, outlet.desk.has_refused(asker, *asked)) {
                    (true, _) => outlet.refuse(asker, &Rejection::Forbidden),
                    // It was not let in, and knows.
                    (false, true) => {}
                    (false, false) => outlet.refuse(asker, &Rejection::NotSubscribed),
                };
            }
        }
        if self.is_repeat(outlet, room, post) {
            return;
        }
        let stamped = Stamped::new(post, outlet.message_id(), outlet.unix_ms());
        if self.storage.is_stored() {
            return self.store(outlet, room, stamped.to_record(), post.terms.clone());
        }
        let offset = self.has_history(outlet).then(|| self.window.head() + 1);
        self.publish(outlet, room, stamped, &post.terms, offset);
        if offset.is_some() {
            self.keep(outlet, room, stamped.to_record());
        }
    }

    /// Whether a user who has no connection may say something: who could come in counts as a member.
    fn may_say(
        &self,
        outlet: &Outlet<'_, '_>,
        user: &UserId,
        roles: &Roles,
    ) -> Result<(), Rejection> {
        if !self.is_master(user, roles) {
            self.may_enter(outlet, user)?;
        }
        let standing = Standing {
            is_member: true,
            is_owner: self.meta.is_owner(user),
            roles,
        };
        let is_allowed = Who::any_allows(&self.namespace(outlet).publish, standing);
        is_allowed.then_some(()).ok_or(Rejection::Forbidden)
    }

    /// Answers a message that has come before as it was answered then.
    fn is_repeat(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room, post: &Post<'_>) -> bool {
        let Some(id) = post.client_message_id else {
            return false;
        };
        // The server's own messages are nobody's, whose name no user has.
        let user = post.terms.user().map_or("", |user| user);
        let Some(first) = self.recent.get(user, id, outlet.unix_ms()) else {
            return false;
        };
        outlet.desk.counts.repeats += 1;
        self.answer_post(outlet, room, first, Some(id), &post.terms);
        true
    }

    /// Gives a message that is in the store its place.
    pub(super) fn commit(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        record: Record,
        terms: &Terms,
        offset: u64,
    ) {
        self.publish(outlet, room, record.stamped(), terms, Some(offset));
        self.keep(outlet, room, record);
    }

    /// Tells everybody who is there, and the author: `offset` is the message's place, if the room
    /// keeps its messages.
    fn publish(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        stamped: Stamped<'_>,
        terms: &Terms,
        offset: Option<u64>,
    ) {
        outlet.desk.counts.posted += 1;
        let position = offset.map(|offset| Position {
            offset,
            epoch: None,
        });
        let at = outlet.desk.scratch.timestamp(stamped.unix_ms);
        let mut recipients = outlet.desk.scratch.take_recipients();
        self.list_recipients(outlet, stamped, at, &mut recipients);
        let outbound = stamped.outbound(room.name(), at, position, &recipients);
        outlet.publish(Audience::Everybody, terms.exclude, &outbound);
        outlet.desk.scratch.give_recipients(recipients);
        let first = First {
            id: stamped.id,
            offset: offset.unwrap_or(0),
            unix_ms: stamped.unix_ms,
        };
        if let Some(id) = stamped.client_message_id {
            let user = stamped.user.cloned();
            let user = user.unwrap_or_else(|| UserId::from(""));
            self.recent.insert(&user, id, first, stamped.unix_ms);
        }
        self.answer_post(outlet, room, first, stamped.client_message_id, terms);
    }

    /// Keeps a message for those who come later.
    fn keep(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room, record: Record) {
        let is_tracked = record.is_tracked;
        let bounds = self.bounds(outlet);
        self.window.push(record, outlet.unix_ms(), &bounds);
        self.await_receipts(outlet, room, is_tracked);
    }

    /// Tells the author that the message has its place.
    pub(super) fn answer_post(
        &self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        first: First,
        client_message_id: Option<&str>,
        terms: &Terms,
    ) {
        let Some(asker) = terms.asker() else { return };
        let has_offset = first.offset > 0;
        let answer = match asker.outside {
            Some(_) => Answer::Ack,
            None => terms.answer,
        };
        match answer {
            Answer::None => {}
            Answer::Ack => outlet.answer(asker, "ack", None, |fields| {
                let at = has_offset.then_some((&*self.epoch, first.offset));
                payload::ack(fields, room.name(), first.id, at)
            }),
            Answer::Status => {
                let at = outlet.desk.scratch.timestamp(first.unix_ms);
                outlet.answer(asker, "message-status", None, |fields| {
                    let status = payload::MessageStatus {
                        message: first.id,
                        client_message_id,
                        status: Status::Sent,
                        reached: payload::Reached::Server,
                        chat: Some(room.name()),
                        sender: Some(&asker.user),
                    };
                    payload::message_status(fields, &status, &at)
                });
            }
        }
    }

    /// Whom a tracked message is for, unless they are too many to be named.
    fn list_recipients<'a>(
        &'a self,
        outlet: &Outlet<'_, '_>,
        stamped: Stamped<'_>,
        updated_at: Timestamp,
        recipients: &mut Vec<Recipient<'a>>,
    ) {
        let delivery = &outlet.desk.options.delivery;
        let limit = delivery.recipients_max;
        if !stamped.is_tracked || !delivery.enabled || self.members.len() > limit.saturating_add(1)
        {
            return;
        }
        let others = self
            .members
            .keys()
            .filter(|user| Some(*user) != stamped.user);
        recipients.extend(others.map(|user| Recipient {
            user,
            status: Status::Sent,
            updated_at,
        }));
    }
}
