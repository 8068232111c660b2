//! What rooms and handlers tell others with.

use std::net::IpAddr;

use super::Realtime;
use super::deliver::close_code;
use super::mail::{Admission, Asker, Joined, Leave, Letter, Mail, Push};
use super::protocol::{
    Body, ErrorCode, Fields, Id, MessageId, Outbound, Rejection, Timestamp, payload,
};
use super::registry::{Blame, HandlerError};
use super::rooms::Room;
use super::session;
use super::state::Desk;
use super::writing::{Audience, Written, text};
use crate::id::{ConnectionId, UserId};
use crate::security::{self, Event, Kind};
use crate::shard::{Context, Format, Subscribed};

/// The core below, and the desk beside: what is needed to tell somebody something.
pub(super) struct Outlet<'c, 'a> {
    pub(super) context: &'c mut Context<'a, Realtime>,
    pub(super) desk: &'c mut Desk,
}

impl Outlet<'_, '_> {
    pub(super) fn timestamp(&mut self) -> Timestamp {
        self.desk.scratch.timestamp(self.unix_ms())
    }

    pub(super) fn message_id(&mut self) -> MessageId {
        MessageId::new(self.context.now().unix_ms, self.context.random())
    }

    pub(super) fn second(&self) -> u32 {
        self.context.now().seconds()
    }

    pub(super) fn unix_ms(&self) -> u64 {
        self.context.now().unix_ms
    }

    /// Writes a payload and lends it.
    pub(super) fn with_payload<R>(
        &mut self,
        fill: impl FnOnce(Fields<'_>) -> Fields<'_>,
        then: impl FnOnce(&mut Self, &str) -> R,
    ) -> R {
        let payload = self.desk.scratch.take_payload(fill);
        let result = then(self, text(&payload));
        self.desk.scratch.give_payload(payload);
        result
    }

    /// Publishes to a room that is at home here.
    pub(super) fn publish(
        &mut self,
        audience: Audience,
        exclude: Option<ConnectionId>,
        outbound: &Outbound<'_>,
    ) {
        let Some(room) = outbound.room else { return };
        let mut encoder = self.desk.scratch.encoder(outbound, audience);
        self.context.publish_encoded(room, &mut encoder, exclude);
    }

    /// Tells a room that is at home here something that is not kept.
    pub(super) fn tell_room(
        &mut self,
        room: &Room,
        (message_type, user): (&str, Option<&str>),
        audience: Audience,
        exclude: Option<ConnectionId>,
        fill: impl FnOnce(Fields<'_>) -> Fields<'_>,
    ) {
        let at = self.timestamp();
        self.with_payload(fill, |outlet, object| {
            let outbound = Outbound {
                message_type,
                id: None,
                room: Some(room.name()),
                user,
                at,
                position: None,
                body: Body::Object(object),
            };
            outlet.publish(audience, exclude, &outbound);
        });
    }

    /// Sends a message to everybody.
    pub(super) fn broadcast(&mut self, exclude: Option<ConnectionId>, push: &Push) {
        let outbound = push.outbound(None, self.timestamp());
        let mut encoder = self.desk.scratch.encoder(&outbound, Audience::Everybody);
        self.context.broadcast_encoded(&mut encoder, exclude);
    }

    /// Sends a message to all connections of a user, wherever that user is at home.
    pub(super) fn tell_user(&mut self, user: &UserId, push: Push) {
        let home = self.context.home(user);
        if home == self.context.shard() {
            self.tell_user_here(user, &push);
            return;
        }
        let letter = Letter::ToUser {
            user: user.clone(),
            push: Box::new(push),
        };
        self.context.mail(home, Mail(letter));
    }

    /// Sends a message to all connections of a user who is at home here. Gives how many they are.
    pub(super) fn tell_user_here(&mut self, user: &str, push: &Push) -> usize {
        let connections = self.context.connections_of(user);
        self.tell_each(&connections, push)
    }

    /// Sends a message to connections of this shard. Gives how many of them are open.
    pub(super) fn tell_each(&mut self, connections: &[ConnectionId], push: &Push) -> usize {
        let outbound = push.outbound(None, self.timestamp());
        let mut told = 0;
        for &connection in connections {
            let Some(mut socket) = self.context.socket(connection) else {
                continue;
            };
            let profile = socket.data().profile;
            // A peer that does not read has been told enough; it is counted.
            let _ = socket.send(self.desk.scratch.write(&outbound, profile));
            told += 1;
        }
        told
    }

    /// Answers a message of a connection, on whatever shard that is.
    pub(super) fn answer(
        &mut self,
        asker: &Asker,
        message_type: &str,
        room: Option<&Room>,
        fill: impl FnOnce(Fields<'_>) -> Fields<'_>,
    ) {
        if let Some(outside) = &asker.outside {
            return self.with_payload(fill, |_, object| outside.answer(Ok(object.into())));
        }
        let at = self.timestamp();
        self.with_payload(fill, |outlet, object| {
            let outbound = Outbound {
                message_type,
                id: asker.id.as_ref().map(|id| Id::Request(id.as_id())),
                room: room.map(Room::name),
                user: None,
                at,
                position: None,
                body: Body::Object(object),
            };
            let frame = outlet.desk.scratch.write(&outbound, asker.profile);
            outlet.context.send(asker.connection, frame);
        });
    }

    /// Answers a remote procedure call with its result.
    pub(super) fn result(&mut self, asker: &Asker, fill: impl FnOnce(Fields<'_>) -> Fields<'_>) {
        match asker.outside {
            None => self.answer(asker, "rpc", None, |fields| fields.object("result", fill)),
            Some(_) => self.answer(asker, "rpc", None, fill),
        }
    }

    /// Tells a connection that its message is refused, and counts it.
    pub(super) fn refuse(&mut self, asker: &Asker, rejection: &Rejection) {
        self.count(rejection);
        if rejection.code() == ErrorCode::Forbidden && asker.outside.is_none() {
            report_forbidden(asker.address, Some(&asker.user), &asker.message_type);
        }
        self.tell_error(asker, rejection);
    }

    /// Answers a remote procedure call with its result, valid JSON.
    pub(super) fn result_raw(&mut self, asker: &Asker, result: &str) {
        if let Some(outside) = &asker.outside {
            return outside.answer(Ok(result.into()));
        }
        self.answer(asker, "rpc", None, |fields| {
            payload::rpc_result(fields, result)
        });
    }

    /// Tells the peer and the log that its message was not handled.
    pub(super) fn fail(&mut self, asker: &Asker, error: HandlerError) {
        let Asker {
            connection,
            user,
            message_type,
            ..
        } = asker;
        match error.blame() {
            Blame::Peer => {
                tracing::debug!(%user, %connection, %message_type, %error, "message refused");
                return self.refuse(asker, &error.into_rejection());
            }
            Blame::Handler => {
                self.desk.counts.handler_errors += 1;
                tracing::warn!(%user, %connection, %message_type, %error, "handler failed");
            }
            Blame::Bug => {
                self.desk.counts.handler_panics += 1;
                tracing::error!(%user, %connection, %message_type, %error, "handler panicked");
            }
        }
        self.tell_error(asker, &error.into_rejection());
    }

    fn tell_error(&mut self, asker: &Asker, rejection: &Rejection) {
        if let Some(outside) = &asker.outside {
            return outside.answer(Err(rejection.clone()));
        }
        let at = self.timestamp();
        let ref_type = Some(&*asker.message_type).filter(|name| !name.is_empty());
        self.answer(asker, "error", None, |fields| {
            payload::error(fields, rejection, ref_type, &at)
        });
    }

    /// Counts a refused message.
    pub(super) fn count(&mut self, rejection: &Rejection) {
        let counts = &mut self.desk.counts;
        counts.refused += 1;
        match rejection.code() {
            ErrorCode::RateLimited => counts.rate_limited += 1,
            ErrorCode::RoomFull => counts.room_full += 1,
            ErrorCode::Forbidden => counts.forbidden += 1,
            ErrorCode::Unavailable => counts.unavailable += 1,
            _ => {}
        }
        match rejection {
            Rejection::Content(_) => counts.content_refused += 1,
            Rejection::TooManyRooms { .. } => counts.too_many_rooms += 1,
            _ => {}
        }
    }

    /// Tells a connection what became of its joining. The connection's shard holds the room's topic
    /// since it asked: what was published before this goes there before it, what is published
    /// afterwards after it.
    pub(super) fn joined(&mut self, joined: Joined) {
        if joined.outcome.is_err() {
            self.desk.note_refused(&joined.asker, joined.number);
        }
        let shard = joined.asker.connection.shard();
        if shard == self.context.shard() {
            return self.admit(joined);
        }
        let room = joined.room.clone();
        let mail = Mail(Letter::Joined(Box::new(joined)));
        self.context.mail_in_order(shard, room.name(), mail);
    }

    /// Takes a connection of this shard into a room, or tells it why not.
    pub(super) fn admit(&mut self, joined: Joined) {
        let Joined {
            room,
            asker,
            number,
            is_vital,
            presence,
            outcome,
        } = joined;
        let format = session::format(asker.profile, presence);
        self.take_in(&room, &asker, (number, format, is_vital), outcome);
        // Only now: this shard's interest in the topic must not end in between.
        self.context.release(room.name(), format);
    }

    fn take_in(
        &mut self,
        room: &Room,
        asker: &Asker,
        (number, format, is_vital): (u32, Format, bool),
        outcome: Result<Admission, Rejection>,
    ) {
        let Some(mut socket) = self.context.socket(asker.connection) else {
            return;
        };
        let membership = socket.data_mut().find_mut(room.name());
        let Some(membership) = membership.filter(|m| m.is_pending && m.number == number) else {
            // It has left meanwhile, or asked again: the room's home has heard that, too. Whether what
            // it has said was refused it does not know yet.
            if let Err(rejection) = &outcome {
                self.refuse(asker, rejection);
            }
            return;
        };
        let admission = match outcome {
            Ok(admission) => admission,
            Err(rejection) => {
                socket.data_mut().remove(room.name());
                self.refuse(asker, &rejection);
                if is_vital {
                    let (code, reason) = why_closed(&rejection);
                    self.context
                        .close(asker.connection, close_code(code), reason);
                }
                return;
            }
        };
        membership.is_pending = false;
        let subscribed = socket.subscribe_as(room.name(), format);
        debug_assert_ne!(subscribed, Subscribed::BadTopic, "a room's name is a topic");
        if matches!(subscribed, Subscribed::TooMany | Subscribed::BadTopic) {
            socket.data_mut().remove(room.name());
            let limit = socket.data().rooms.len() as u64;
            let leave = Letter::Leave(Leave {
                room: room.clone(),
                user: asker.user.clone(),
                connection: asker.connection,
                number,
                for_good: false,
            });
            let home = self.context.home(room.name());
            self.context.mail(home, Mail(leave));
            self.refuse(asker, &Rejection::TooManyRooms { limit });
            return;
        }
        let bytes: usize = admission.frames.iter().map(Written::frame_bytes_max).sum();
        let fits = socket.queue_space() >= bytes;
        let (frames, replayed) = match fits {
            true => (&admission.frames, admission.replayed),
            false => (&admission.without_replay, 0),
        };
        session::send_all(&mut socket, frames);
        if !fits {
            let missed = Letter::Missed {
                room: room.clone(),
                user: asker.user.clone(),
                connection: asker.connection,
            };
            let home = self.context.home(room.name());
            self.context.mail(home, Mail(missed));
        }
        let counts = &mut self.desk.counts;
        match admission.recovered {
            Some(true) if fits || admission.replayed == 0 => counts.recovered += 1,
            Some(_) => counts.unrecovered += 1,
            None => {}
        }
        counts.replayed += replayed as u64;
    }
}

/// Tells the security log of somebody who has asked for what they may not.
pub(super) fn report_forbidden(address: Option<IpAddr>, user: Option<&str>, detail: &str) {
    security::report(Event {
        kind: Kind::Forbidden,
        reason: "not_allowed",
        address,
        user,
        detail,
    });
}

/// How a connection ends that cannot be in the room of its path.
pub(super) fn why_closed(rejection: &Rejection) -> (u16, &'static str) {
    match rejection.code() {
        ErrorCode::NotFound => (4404, "no such room"),
        ErrorCode::RoomFull => (4413, "the room is full"),
        ErrorCode::Unavailable => (1013, "try again later"),
        _ => (4403, "not allowed in this room"),
    }
}

impl Push {
    pub(super) fn outbound<'a>(&'a self, room: Option<&'a str>, at: Timestamp) -> Outbound<'a> {
        Outbound {
            message_type: &self.message_type,
            id: self.id.map(Id::Message),
            room,
            user: self.user.as_deref(),
            at,
            position: None,
            body: Body::Object(&self.payload),
        }
    }
}
