//! Rooms, from a connection's side.

use std::borrow::Cow;

use super::Ctx;
use crate::realtime::mail::{Join, Leave, Letter, Start};
use crate::realtime::protocol::{Message, Rejection};
use crate::realtime::rooms::Room;
use crate::realtime::session::{self, Membership};

/// How a connection wants to be in a room.
#[derive(Debug)]
pub(in crate::realtime) struct Wish {
    pub(in crate::realtime) start: Start,
    /// Whether it wants to be told who is there.
    pub(in crate::realtime) presence: bool,
    pub(in crate::realtime) info: Option<Box<str>>,
    /// Whether the peer asked for it, and is answered.
    pub(in crate::realtime) is_answered: bool,
    /// Whether a refusal ends the connection.
    pub(in crate::realtime) is_vital: bool,
}

impl Ctx<'_> {
    /// The room that a message is for: the one it names, else that of the connection's path or
    /// route. The connection asks to join it if it is not in it.
    ///
    /// Errors: [`Rejection::RoomRequired`] if there is neither; those of [`join`](Ctx::join);
    /// [`Rejection::InvalidMember`] and [`Rejection::RepeatedMember`] about the room's name.
    pub fn room(&mut self, message: &Message<'_>) -> Result<Room, Rejection> {
        let named = message.room()?;
        self.room_or_own(named)
    }

    /// The same for a room that was looked for already.
    pub(in crate::realtime) fn room_or_own(
        &mut self,
        named: Option<Cow<'_, str>>,
    ) -> Result<Room, Rejection> {
        match named {
            Some(name) => self.join(&name),
            None => {
                let room = self.own_room().ok_or(Rejection::RoomRequired)?;
                self.enter(room)
            }
        }
    }

    /// The room that a message is for, as [`room`](Ctx::room), if the connection is in it.
    ///
    /// Errors: [`Rejection::NotSubscribed`], [`Rejection::RoomRequired`], and those about its name.
    pub fn joined_room(&mut self, message: &Message<'_>) -> Result<Room, Rejection> {
        match message.room()? {
            Some(name) => self.find(&name).ok_or(Rejection::NotSubscribed),
            None => {
                let room = self.own_room().ok_or(Rejection::RoomRequired)?;
                self.find(room.name()).ok_or(Rejection::NotSubscribed)
            }
        }
    }

    /// The rooms that the connection is in or has asked to join, in the order in which it did.
    pub fn rooms(&mut self) -> Vec<Room> {
        let session = self.session();
        let rooms = session.map_or(&[][..], |session| &session.rooms);
        rooms.iter().map(|joined| joined.room.clone()).collect()
    }

    /// Whether the connection is in a room, or has asked to join it.
    pub fn is_joined(&mut self, room: &str) -> bool {
        self.find(room).is_some()
    }

    /// Asks to join a room, which is made if its namespace says so. The room's home decides: if it
    /// refuses, the peer is told with the `id` of the message that is being handled, and what was
    /// published to the room meanwhile reaches nobody.
    ///
    /// Errors: [`Rejection::InvalidMember`] for a name that is empty or longer than
    /// [`TOPIC_BYTES_MAX`](crate::limits::TOPIC_BYTES_MAX); [`Rejection::Conflict`] if the
    /// connection is closing, [`Rejection::TooManyRooms`] if it is in `rooms_per_connection_max`.
    pub fn join(&mut self, room: &str) -> Result<Room, Rejection> {
        match self.find(room) {
            Some(room) => Ok(room),
            None => {
                let room = Room::named(room)?;
                self.enter(room)
            }
        }
    }

    /// Leaves a room, for good: a membership that would last while the user is away ends, too.
    /// `false` if the connection was not in it.
    pub fn leave(&mut self, room: &str) -> bool {
        let connection = self.connection;
        let Some(mut socket) = self.context.socket(connection) else {
            return false;
        };
        let Some(Membership { room, number, .. }) = socket.data_mut().remove(room) else {
            return false;
        };
        socket.unsubscribe(room.name());
        let leave = Leave {
            room,
            user: self.user.clone(),
            connection,
            number,
            for_good: true,
        };
        self.state.deliver(&mut self.context, Letter::Leave(leave));
        true
    }

    fn find(&mut self, room: &str) -> Option<Room> {
        let joined = self.session()?.find(room)?;
        Some(joined.room.clone())
    }

    /// The room of the connection's path, else of its route.
    pub(in crate::realtime) fn own_room(&mut self) -> Option<Room> {
        let session = self.session()?;
        let route = usize::from(session.route);
        let path_room = session.path_room().cloned();
        path_room.or_else(|| self.state.desk.route_rooms.get(route)?.clone())
    }

    /// Joins a room unless the connection is in it.
    fn enter(&mut self, room: Room) -> Result<Room, Rejection> {
        if self.outside.is_some() {
            // Nobody comes in; the room's home decides whether the user could.
            return Ok(room);
        }
        let session = self.session().ok_or(Rejection::Conflict)?;
        if session.find(room.name()).is_some() {
            return Ok(room);
        }
        let wish = Wish {
            start: Start::Now,
            presence: session.presence,
            info: None,
            is_answered: false,
            is_vital: false,
        };
        let number = self.ask_to_join(&room, wish)?;
        self.asked = Some((room.clone(), number));
        Ok(room)
    }

    /// Asks a room's home to let the connection in. A connection that is in it begins anew: what it
    /// has missed is told again from where it says. Gives the number of the question.
    ///
    /// Errors: as [`join`](Ctx::join).
    pub(in crate::realtime) fn ask_to_join(
        &mut self,
        room: &Room,
        wish: Wish,
    ) -> Result<u32, Rejection> {
        let rooms_max = self.state.desk.options.limits.rooms_per_connection_max;
        let number = self.state.desk.next_question();
        let asker = self.asker();
        let mut socket = self
            .context
            .socket(self.connection)
            .ok_or(Rejection::Conflict)?;
        let session = socket.data_mut();
        let membership = Membership {
            room: room.clone(),
            number,
            is_pending: true,
        };
        let roles = session.roles.clone();
        if let Some(extra) = session.extra_mut() {
            extra.proofs.forget(room);
        }
        if let Some(joined) = session.find_mut(room.name()) {
            *joined = membership;
            socket.unsubscribe(room.name());
        } else if session.rooms.len() >= rooms_max {
            let limit = rooms_max as u64;
            return Err(Rejection::TooManyRooms { limit });
        } else {
            session.rooms.push(membership);
        }
        // From here on this shard is told what the room publishes.
        let format = session::format(self.profile, wish.presence);
        self.context.hold(room.name(), format);
        let join = Join {
            room: room.clone(),
            asker,
            roles,
            number,
            start: wish.start,
            presence: wish.presence,
            info: wish.info,
            is_answered: wish.is_answered,
            is_vital: wish.is_vital,
        };
        self.state
            .deliver(&mut self.context, Letter::Join(Box::new(join)));
        Ok(number)
    }
}
