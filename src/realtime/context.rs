//! What a handler is handed.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

use super::mail::{Asker, Letter, Mail, Then};
use super::protocol::{Frame, Message, MessageId, Refused, Rejection, RequestId, Timestamp};
use super::registry::{Blame, HandlerError};
use super::rooms::{Members, Outlet, Room};
use super::state::State;
use super::{Realtime, Session};
use crate::id::{ConnectionId, UserId};
use crate::limits::TOPIC_BYTES_MAX;
use crate::shard::{Context, Dropped, Sent, Socket, Subscribed};
use crate::time::Now;
use crate::ws::CloseCode;

/// Whom a message to many leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exclude {
    /// Nobody.
    None,
    /// The connection whose message is being handled; not the user's other connections.
    Sender,
}

/// The world of a handler, for the length of a call: the connection whose message it handles, and
/// what can be sent to whom.
///
/// Frames are written by a closure that adds members to a [`Frame`]; what the server owns (`type`,
/// `id`, `room_id`, `user_id`, `timestamp`) is there already. What is sent to a connection that is
/// closing goes nowhere, without an error.
pub struct Ctx<'a> {
    pub(super) context: Context<'a, Realtime>,
    pub(super) state: &'a mut State,
    pub(super) connection: ConnectionId,
    pub(super) user: UserId,
    pub(super) id: Option<RequestId<'a>>,
    pub(super) message_type: &'a str,
}

impl fmt::Debug for Ctx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ctx({:?}, {:?})", self.connection, self.user)
    }
}

/// What the server writes into a frame for others.
pub(super) struct Stamp<'s> {
    pub(super) id: MessageId,
    pub(super) user: &'s str,
    pub(super) at: Timestamp,
}

impl Stamp<'_> {
    /// Writes a frame that comes from a user and is for no room.
    fn write(
        &self,
        out: &mut Vec<u8>,
        message_type: &str,
        members: impl FnOnce(Frame<'_>) -> Frame<'_>,
    ) {
        let frame = Frame::new(out, message_type)
            .id(self.id)
            .str("user_id", self.user);
        members(frame.timestamp(&self.at)).end();
    }
}

impl<'a> Ctx<'a> {
    /// For the connection of `socket`, whose message has that type and request identifier.
    pub(super) fn new(
        socket: &'a mut Socket<'_, Realtime>,
        state: &'a mut State,
        id: Option<RequestId<'a>>,
        message_type: &'a str,
    ) -> Self {
        Self {
            connection: socket.id(),
            user: socket.user().clone(),
            context: socket.context(),
            state,
            id,
            message_type,
        }
    }

    /// The user whose message it is.
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// The connection that the message came by.
    pub fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// The request identifier of the message, which [`reply`](Ctx::reply) echoes.
    pub fn request_id(&self) -> Option<RequestId<'a>> {
        self.id
    }

    /// The clocks, read once a turn.
    pub fn now(&self) -> Now {
        self.context.now()
    }

    /// The time of this turn as it stands in frames.
    pub fn timestamp(&mut self) -> Timestamp {
        self.state.scratch.timestamp(self.context.now())
    }

    /// A new message identifier.
    pub fn message_id(&mut self) -> MessageId {
        MessageId::new(self.context.now().unix_ms, self.context.random())
    }

    /// A random number, from the shard's own seed: the same in a replay, and no secret.
    pub fn random(&mut self) -> u64 {
        self.context.random()
    }

    /// The core below, for what this has no word for.
    pub fn core(&mut self) -> &mut Context<'a, Realtime> {
        &mut self.context
    }

    /// The room that a message is for: the one it names, else that of the connection's route. The
    /// connection joins it if it is not in it.
    ///
    /// Errors: [`Rejection::RoomRequired`] if there is neither; those of [`join`](Ctx::join);
    /// [`Rejection::InvalidMember`] and [`Rejection::RepeatedMember`] about the room's name.
    pub fn room(&mut self, message: &Message<'_>) -> Result<Room, Rejection> {
        match message.room()? {
            Some(name) => self.join(&name),
            None => {
                let room = self.default_room().ok_or(Rejection::RoomRequired)?;
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
                let room = self.default_room().ok_or(Rejection::RoomRequired)?;
                self.find(room.name()).ok_or(Rejection::NotSubscribed)
            }
        }
    }

    /// The rooms that the connection is in, in the order in which it joined them.
    pub fn rooms(&mut self) -> Vec<Room> {
        let connection = self.connection;
        let socket = self.context.socket(connection);
        socket.map_or_else(Vec::new, |socket| socket.data().rooms.to_vec())
    }

    /// Whether the connection is in a room.
    pub fn is_joined(&mut self, room: &str) -> bool {
        self.find(room).is_some()
    }

    /// Joins a room, which is made if it is not there. The connection gets the room's members, the
    /// others hear of its user if it is the user's first connection in the room.
    ///
    /// Errors: [`Rejection::InvalidMember`] for a name that is empty or longer than
    /// [`TOPIC_BYTES_MAX`]; [`Rejection::Conflict`] if the connection is closing, or is in
    /// `limits.rooms_per_connection_max` rooms.
    pub fn join(&mut self, room: &str) -> Result<Room, Rejection> {
        match self.find(room) {
            Some(room) => Ok(room),
            None if room.is_empty() || room.len() > TOPIC_BYTES_MAX => {
                Err(Rejection::InvalidMember("room_id".into()))
            }
            None => self.enter(Room::new(room)),
        }
    }

    /// Leaves a room. `false` if the connection was not in it.
    pub fn leave(&mut self, room: &str) -> bool {
        let connection = self.connection;
        let Some(mut socket) = self.context.socket(connection) else {
            return false;
        };
        let rooms = &mut socket.data_mut().rooms;
        let Some(place) = rooms.iter().position(|joined| joined.name() == room) else {
            return false;
        };
        let room = rooms.remove(place);
        socket.unsubscribe(room.name());
        let user = self.user.clone();
        self.state.leave(&mut self.context, room, user);
        true
    }

    fn find(&mut self, room: &str) -> Option<Room> {
        let connection = self.connection;
        let socket = self.context.socket(connection)?;
        socket.data().find(room).cloned()
    }

    pub(super) fn default_room(&mut self) -> Option<Room> {
        let connection = self.connection;
        self.context.socket(connection)?.data().default_room.clone()
    }

    /// Joins a room unless the connection is in it.
    pub(super) fn enter(&mut self, room: Room) -> Result<Room, Rejection> {
        let rooms_max = self.state.options.limits.rooms_per_connection_max;
        let connection = self.connection;
        let mut socket = self.context.socket(connection).ok_or(Rejection::Conflict)?;
        let session: &Session = socket.data();
        if session.find(room.name()).is_some() {
            return Ok(room);
        }
        if session.rooms.len() >= rooms_max {
            return Err(Rejection::Conflict);
        }
        match socket.subscribe(room.name()) {
            // Already: a handler has subscribed to the topic below us.
            Subscribed::New | Subscribed::Already => {}
            Subscribed::BadTopic => return Err(Rejection::InvalidMember("room_id".into())),
            Subscribed::TooMany | Subscribed::Closed => return Err(Rejection::Conflict),
        }
        socket.data_mut().rooms.push(room.clone());
        let user = self.user.clone();
        self.state
            .join(&mut self.context, room.clone(), user, connection);
        Ok(room)
    }

    /// Asks a room's home who is there, and goes on with the answer, in this turn at the earliest
    /// after the handler has returned. If the connection is gone by then, `then` is dropped.
    pub fn members(
        &mut self,
        room: &Room,
        then: impl FnOnce(&mut Ctx<'_>, Members) -> Result<(), HandlerError> + Send + 'static,
    ) {
        let letter = Letter::Members {
            room: room.clone(),
            asker: self.asker(),
            then: Then::new(then),
        };
        let home = self.context.home(room.name());
        self.context.mail(home, Mail(letter));
    }

    /// [`Exclude::Sender`], unless the option `echo_to_sender` is on.
    pub fn exclude_sender(&self) -> Exclude {
        if self.state.options.echo_to_sender {
            Exclude::None
        } else {
            Exclude::Sender
        }
    }

    /// Answers the message: a frame to its connection, with the request's `id` and `timestamp`.
    pub fn reply(&mut self, message_type: &str, members: impl FnOnce(Frame<'_>) -> Frame<'_>) {
        self.reply_written(|out, id, at| {
            members(Frame::new(out, message_type).reply_to(id).timestamp(at)).end();
        });
    }

    /// Sends a frame to the message's connection that is no answer: with an `id` of its own.
    pub fn send(
        &mut self,
        message_type: &str,
        members: impl FnOnce(Frame<'_>) -> Frame<'_>,
    ) -> Sent {
        let (id, at) = (self.message_id(), self.timestamp());
        let frame = self.state.scratch.write(|out| {
            members(Frame::new(out, message_type).id(id).timestamp(&at)).end();
        });
        match self.context.socket(self.connection) {
            Some(mut socket) => socket.send(frame),
            None => Sent::Dropped(Dropped::Closed),
        }
    }

    /// Sends a frame to all connections of a user, this shard's or another's.
    pub fn send_to_user(
        &mut self,
        user: &str,
        message_type: &str,
        members: impl FnOnce(Frame<'_>) -> Frame<'_>,
    ) {
        let (id, at) = (self.message_id(), self.timestamp());
        let stamp = Stamp {
            id,
            user: &self.user,
            at,
        };
        let frame = self
            .state
            .scratch
            .write(|out| stamp.write(out, message_type, members));
        self.context.send_to_user(user, frame);
    }

    /// Publishes a frame to a room. All messages to one room have one order, that of their arrival
    /// at the room's home; those of one connection arrive as they were sent.
    ///
    /// If the room is at home on this shard nothing is allocated.
    pub fn publish(
        &mut self,
        room: &Room,
        message_type: &str,
        exclude: Exclude,
        members: impl FnOnce(Frame<'_>) -> Frame<'_>,
    ) {
        self.publish_written(room, exclude, |out, stamp| {
            let frame = Frame::new(out, message_type)
                .id(stamp.id)
                .str("room_id", room.name())
                .str("user_id", stamp.user)
                .timestamp(&stamp.at);
            members(frame).end();
        });
    }

    /// Sends a frame to every open connection of the server, whatever its rooms.
    pub fn broadcast(
        &mut self,
        message_type: &str,
        exclude: Exclude,
        members: impl FnOnce(Frame<'_>) -> Frame<'_>,
    ) {
        let (id, at) = (self.message_id(), self.timestamp());
        let stamp = Stamp {
            id,
            user: &self.user,
            at,
        };
        let frame = self
            .state
            .scratch
            .write(|out| stamp.write(out, message_type, members));
        let exclude = (exclude == Exclude::Sender).then_some(self.connection);
        self.context.broadcast(frame, exclude);
    }

    /// Runs `work` on the service thread's runtime, where it may wait for I/O, then goes on here
    /// with what it returned. If the connection is gone by then, `then` is dropped. A panic in
    /// `work` is answered like one in the handler.
    ///
    /// If the service thread's queue is full the work is dropped and counted (`service_busy`).
    pub fn spawn<T: Send + 'static>(
        &mut self,
        work: impl Future<Output = T> + Send + 'static,
        then: impl FnOnce(&mut Ctx<'_>, T) -> Result<(), HandlerError> + Send + 'static,
    ) {
        let asker = self.asker();
        self.context.spawn(async move {
            // What a panic leaves behind is dropped with the work.
            let then = match AssertUnwindSafe(work).catch_unwind().await {
                Ok(value) => Then::new(move |ctx, ()| then(ctx, value)),
                Err(panic) => {
                    let error = HandlerError::panicked(&*panic);
                    Then::new(move |_, ()| Err(error))
                }
            };
            Mail(Letter::Continue { asker, then })
        });
    }

    /// Starts the close handshake of the message's connection; what was sent before still goes out.
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        self.context.close(self.connection, code, reason);
    }

    /// Bytes that wait for the connection's peer, besides rooms. 0 if it is closing.
    pub fn buffered_amount(&mut self) -> usize {
        let connection = self.connection;
        let socket = self.context.socket(connection);
        socket.map_or(0, |socket| socket.buffered_amount())
    }

    pub(super) fn typing(&mut self, room: &Room, is_typing: bool) {
        let user = self.user.clone();
        let letter = Letter::Typing {
            room: room.clone(),
            user,
            connection: self.connection,
            is_typing,
        };
        self.state.deliver(&mut self.context, letter);
    }

    pub(super) fn reply_written(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>, Option<RequestId<'_>>, &Timestamp),
    ) {
        let (at, id) = (self.timestamp(), self.id);
        let frame = self.state.scratch.write(|out| write(out, id, &at));
        if let Some(mut socket) = self.context.socket(self.connection) {
            // A peer that does not read its answers has been told enough; it is counted.
            let _ = socket.send(frame);
        }
    }

    pub(super) fn publish_written(
        &mut self,
        room: &Room,
        exclude: Exclude,
        write: impl FnOnce(&mut Vec<u8>, &Stamp<'_>),
    ) {
        let stamp = Stamp {
            id: self.message_id(),
            at: self.timestamp(),
            user: &self.user,
        };
        let frame = self.state.scratch.write(|out| write(out, &stamp));
        let exclude = (exclude == Exclude::Sender).then_some(self.connection);
        let home = self.context.home(room.name());
        if home == self.context.shard() {
            self.context.publish(room.name(), frame, exclude);
        } else {
            let letter = Letter::Publish {
                room: room.clone(),
                exclude,
                frame: frame.into(),
            };
            self.context.mail(home, Mail(letter));
        }
    }

    /// Tells the peer and the log that its message was not handled.
    pub(super) fn fail(&mut self, error: HandlerError) {
        let (user, connection) = (&self.user, self.connection);
        let message_type = self.message_type;
        match error.blame() {
            Blame::Peer => {
                self.state.refused += 1;
                tracing::debug!(%user, %connection, message_type, %error, "message refused");
            }
            Blame::Handler => {
                self.state.handler_errors += 1;
                tracing::warn!(%user, %connection, message_type, %error, "handler failed");
            }
            Blame::Bug => {
                self.state.handler_panics += 1;
                tracing::error!(%user, %connection, message_type, %error, "handler panicked");
            }
        }
        self.tell(error.into_rejection());
    }

    fn tell(&mut self, rejection: Rejection) {
        let ref_type = Some(self.message_type).filter(|name| !name.is_empty());
        self.reply_written(|out, id, at| {
            Frame::error(out, &Refused { rejection, id }, ref_type, at);
        });
    }

    fn asker(&self) -> Asker {
        Asker {
            connection: self.connection,
            id: self.id.map(RequestId::to_owned),
            message_type: self.message_type.into(),
        }
    }
}

/// What goes to a room's home: at once if that is here, else by mail.
impl State {
    pub(super) fn join(
        &mut self,
        context: &mut Context<'_, Realtime>,
        room: Room,
        user: UserId,
        connection: ConnectionId,
    ) {
        let letter = Letter::Join {
            room,
            user,
            connection,
        };
        self.deliver(context, letter);
    }

    pub(super) fn leave(&mut self, context: &mut Context<'_, Realtime>, room: Room, user: UserId) {
        self.deliver(context, Letter::Leave { room, user });
    }

    pub(super) fn deliver(&mut self, context: &mut Context<'_, Realtime>, letter: Letter) {
        let home = match &letter {
            Letter::Join { room, .. }
            | Letter::Leave { room, .. }
            | Letter::Publish { room, .. }
            | Letter::Typing { room, .. }
            | Letter::Members { room, .. } => context.home(room.name()),
            Letter::Continue { asker, .. } => asker.connection.shard(),
        };
        if home == context.shard() {
            self.receive(context, letter);
        } else {
            context.mail(home, Mail(letter));
        }
    }

    /// Takes in what was for this shard.
    pub(super) fn receive(&mut self, context: &mut Context<'_, Realtime>, letter: Letter) {
        let Self { rooms, scratch, .. } = self;
        let mut outlet = Outlet {
            context: &mut *context,
            scratch,
        };
        match letter {
            Letter::Join {
                room,
                user,
                connection,
            } => rooms.join(&mut outlet, room, user, connection),
            Letter::Leave { room, user } => rooms.leave(&mut outlet, room, &user),
            Letter::Publish {
                room,
                exclude,
                frame,
            } => context.publish(room.name(), &*frame, exclude),
            Letter::Typing {
                room,
                user,
                connection,
                is_typing,
            } => rooms.typing(&mut outlet, room, &user, connection, is_typing),
            Letter::Members { room, asker, then } => {
                let members = rooms.members(room.name());
                let then = Then::new(move |ctx, ()| (then.0)(ctx, members));
                let shard = asker.connection.shard();
                context.mail(shard, Mail(Letter::Continue { asker, then }));
            }
            Letter::Continue { asker, then } => self.go_on(context, &asker, then),
        }
    }

    fn go_on(&mut self, context: &mut Context<'_, Realtime>, asker: &Asker, then: Then<()>) {
        let Some(mut socket) = context.socket(asker.connection) else {
            return;
        };
        let id = asker.id.as_ref().map(|id| id.as_id());
        let mut ctx = Ctx::new(&mut socket, self, id, &asker.message_type);
        if let Err(error) = super::registry::catching(|| (then.0)(&mut ctx, ())) {
            ctx.fail(error);
        }
    }
}
