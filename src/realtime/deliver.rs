//! Letters: where they belong, and what is done about them there.

use super::Realtime;
use super::mail::{Letter, Mail, Reason};
use super::outlet::Outlet;
use super::post::Post;
use super::protocol::{Body, Fields, Outbound, payload};
use super::rooms::Room;
use super::state::State;
use super::writing::text;
use crate::id::{ConnectionId, ShardId};
use crate::shard::Context;
use crate::ws::CloseCode;

impl Letter {
    /// The room that it is about, if it belongs to that room's home.
    fn room(&self) -> Option<&Room> {
        match self {
            Self::Join(join) => Some(&join.room),
            Self::Leave(leave) => Some(&leave.room),
            Self::Knock { room, .. }
            | Self::Post { room, .. }
            | Self::Ephemeral { room, .. }
            | Self::Typing { room, .. }
            | Self::Info { room, .. }
            | Self::Receipt { room, .. }
            | Self::Proved { room, .. }
            | Self::Missed { room, .. }
            | Self::Ask { room, .. }
            | Self::Run { room, .. }
            | Self::Loaded { room, .. }
            | Self::Stored { room, .. } => Some(room),
            _ => None,
        }
    }

    /// The type of the message with which a handler goes on here; `None`: it is no handler's.
    pub(super) fn resumes(&self) -> Option<&str> {
        match self {
            Self::Run { asker, .. } | Self::Continue { asker, .. } => Some(&asker.message_type),
            _ => None,
        }
    }

    /// The shard that it belongs to; `None`: any.
    fn shard(&self, context: &Context<'_, Realtime>) -> Option<ShardId> {
        if let Some(room) = self.room() {
            return Some(context.home(room.name()));
        }
        match self {
            Self::Joined(joined) => Some(joined.asker.connection.shard()),
            Self::Expelled { connection, .. } | Self::Rooms { connection, .. } => {
                Some(connection.shard())
            }
            Self::ToUser { user, .. } | Self::Lasting { user, .. } => Some(context.home(user)),
            Self::Continue { asker, .. } | Self::Answered { asker, .. } => {
                Some(asker.connection.shard())
            }
            Self::List(listing) => Some(listing.shard()),
            Self::Outside(errand) => errand.home().map(|name| context.home(name)),
            _ => None,
        }
    }
}

impl State {
    pub(super) fn outlet<'c, 'a>(
        &'c mut self,
        context: &'c mut Context<'a, Realtime>,
    ) -> Outlet<'c, 'a> {
        Outlet {
            context,
            desk: &mut self.desk,
        }
    }

    /// Gives a message its place in a room's order, at the room's home.
    pub(super) fn post(
        &mut self,
        context: &mut Context<'_, Realtime>,
        room: &Room,
        post: &Post<'_>,
    ) {
        let home = context.home(room.name());
        if home == context.shard() {
            let Self { rooms, desk } = self;
            return rooms.post(&mut Outlet { context, desk }, room, post);
        }
        let letter = Letter::Post {
            room: room.clone(),
            post: Box::new(post.to_owned()),
        };
        context.mail(home, Mail(letter));
    }

    /// Takes a letter to where it belongs.
    pub(super) fn deliver(&mut self, context: &mut Context<'_, Realtime>, letter: Letter) {
        match letter.shard(context) {
            Some(shard) if shard != context.shard() => context.mail(shard, Mail(letter)),
            _ => self.receive(context, letter),
        }
    }

    /// Takes in what was mailed to this shard.
    pub(super) fn receive(&mut self, context: &mut Context<'_, Realtime>, letter: Letter) {
        if let Some(room) = letter.room().cloned() {
            let Self { rooms, desk } = self;
            return rooms.receive(&mut Outlet { context, desk }, room, letter);
        }
        match letter {
            Letter::Joined(joined) => self.outlet(context).admit(*joined),
            Letter::Expelled {
                connection,
                room,
                number,
                reason,
            } => {
                self.outlet(context)
                    .expelled(connection, &room, number, reason);
            }
            Letter::Prove {
                room,
                offset,
                connections,
            } => {
                self.outlet(context).prove(&room, offset, &connections);
            }
            Letter::ToUser { user, push } => {
                self.outlet(context).tell_user_here(&user, &push);
            }
            Letter::Lasting {
                user,
                room,
                is_member,
            } => self.desk.set_lasting(user, room, is_member),
            Letter::Continue { asker, then } if asker.connection.shard() == context.shard() => {
                self.go_on(context, &asker, then);
            }
            Letter::List(listing) if listing.shard() == context.shard() => {
                let Self { rooms, desk } = self;
                rooms.list(&mut Outlet { context, desk }, listing);
            }
            // What comes back from the service thread comes to the shard that sent it there.
            Letter::Continue { .. } | Letter::List(_) => self.deliver(context, letter),
            Letter::Answered { asker, answer } => match answer {
                Ok(result) => self.outlet(context).result_raw(&asker, &result),
                Err(rejection) => self.outlet(context).refuse(&asker, &rejection),
            },
            Letter::Broadcast { exclude, push } => self.outlet(context).broadcast(exclude, &push),
            Letter::Rooms { connection, rooms } => self.come_back(context, connection, &rooms),
            about_a_room => debug_assert!(false, "has a room: {about_a_room:?}"),
        }
    }
}

impl Outlet<'_, '_> {
    /// Tells a connection that messages of a room were left out for it.
    pub(super) fn tell_gap(&mut self, connection: ConnectionId, room: Option<&Room>) {
        self.tell(connection, "system", room, |fields| {
            payload::system(fields, "gap", "messages were missed: too slow")
        });
    }

    /// A connection of this shard is in a room no more.
    pub(super) fn expelled(
        &mut self,
        connection: ConnectionId,
        room: &Room,
        number: u32,
        reason: Reason,
    ) {
        let Some(mut socket) = self.context.socket(connection) else {
            return;
        };
        let session = socket.data_mut();
        let is_of_path = session.path_room() == Some(room);
        if let Some(membership) = session.find(room.name()) {
            // It may have asked anew before it heard of this; then the answer to that is what counts.
            if membership.number == number {
                session.remove(room.name());
                socket.unsubscribe(room.name());
            }
            if let Some((event, message)) = event(reason) {
                // The room's own word may come too late for who is no subscriber any more.
                self.tell(connection, "system", Some(room), |fields| {
                    payload::system(fields, event, message)
                });
            }
            self.tell(connection, "unsubscribed", None, |fields| {
                payload::unsubscribed(fields, room.name(), Some(reason.as_str()))
            });
        }
        if is_of_path {
            let (code, why) = match reason {
                Reason::Kicked => (4403, "sent away from the room"),
                Reason::Forbidden => (4403, "not allowed in this room"),
                Reason::RoomClosed => (4410, "the room was closed"),
            };
            self.context.close(connection, close_code(code), why);
        }
    }

    /// Sends a frame of the server's own to a connection of this shard.
    fn tell(
        &mut self,
        connection: ConnectionId,
        message_type: &str,
        room: Option<&Room>,
        fill: impl FnOnce(Fields<'_>) -> Fields<'_>,
    ) {
        let at = self.timestamp();
        let Some(mut socket) = self.context.socket(connection) else {
            return;
        };
        let object = self.desk.scratch.take_payload(fill);
        let outbound = Outbound {
            message_type,
            id: None,
            room: room.map(Room::name),
            user: None,
            at,
            position: None,
            body: Body::Object(text(&object)),
        };
        let profile = socket.data().profile;
        // A peer that does not read has been told enough; it is counted.
        let _ = socket.send(self.desk.scratch.write(&outbound, profile));
        self.desk.scratch.give_payload(object);
    }
}

/// What `system` says to somebody who is in a room no more.
fn event(reason: Reason) -> Option<(&'static str, &'static str)> {
    match reason {
        Reason::Kicked => Some(("kicked", "you were sent away")),
        Reason::RoomClosed => Some(("room_closed", "the room was closed")),
        Reason::Forbidden => None,
    }
}

/// A close code of ours.
pub(super) fn close_code(code: u16) -> CloseCode {
    CloseCode::new(code).expect("a code that RFC 6455 leaves to applications, or 1013")
}
