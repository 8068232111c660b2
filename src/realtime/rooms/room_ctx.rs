//! What a handler's work at a room's home is handed.

use std::fmt;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

use super::members::Seat;
use super::room::RoomState;
use super::{Members, Room};
use crate::id::UserId;
use crate::realtime::context::Exclude;
use crate::realtime::mail::{Asker, InRoom, Letter, Mail, Then};
use crate::realtime::outlet::Outlet;
use crate::realtime::post::{Answer, Content, Post, Source, Terms};
use crate::realtime::protocol::{Fields, Rejection};
use crate::realtime::registry::HandlerError;
use crate::realtime::session::find_or_make;
use crate::realtime::writing::{Audience, text};

/// A room at its home, for the length of a call: what is done here is done for all shards, in one
/// order with everything else that happens to the room. Made by [`Ctx::in_room`](crate::realtime::Ctx::in_room).
pub struct RoomCtx<'r, 'c, 'a> {
    state: &'r mut RoomState,
    outlet: &'r mut Outlet<'c, 'a>,
    room: &'r Room,
    asker: Asker,
}

impl fmt::Debug for RoomCtx<'_, '_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoomCtx({}, {:?})", self.room, self.asker.user)
    }
}

impl<'r, 'c, 'a> RoomCtx<'r, 'c, 'a> {
    pub(super) fn new(
        state: &'r mut RoomState,
        outlet: &'r mut Outlet<'c, 'a>,
        room: &'r Room,
        asker: Asker,
    ) -> Self {
        Self {
            state,
            outlet,
            room,
            asker,
        }
    }

    /// The room.
    pub fn room(&self) -> &Room {
        self.room
    }

    /// The user whose message began this.
    pub fn user(&self) -> &UserId {
        &self.asker.user
    }

    /// The user who made the room by request, if anybody did.
    pub fn owner(&self) -> Option<&UserId> {
        self.state.meta.created_by()
    }

    /// Whether a user has a connection in the room.
    pub fn is_member(&self, user: &str) -> bool {
        self.state.members.get(user).is_some_and(Seat::is_present)
    }

    /// Who is in the room, as many as presence names.
    pub fn members(&self) -> Members {
        self.state
            .members(self.outlet.desk.options.presence.members_max)
    }

    /// The value of type `T` that is kept with the room, made if it is not there. It ends with the
    /// room; of a persistent room, when nobody has been in it for `cleanup_after`.
    pub fn data<T: Default + Send + 'static>(&mut self) -> &mut T {
        find_or_make(&mut self.state.data)
    }

    /// Publishes a message to the room, in the name of the user whose message began this, who need
    /// not be a member.
    pub fn publish(
        &mut self,
        message_type: &str,
        exclude: Exclude,
        fill: impl FnOnce(Fields<'_>) -> Fields<'_>,
    ) {
        let Self {
            state,
            outlet,
            room,
            asker,
        } = self;
        let exclude = (exclude == Exclude::Sender).then_some(asker.connection);
        let (asker, user) = (asker.clone(), asker.user.clone());
        let object = outlet.desk.scratch.take_payload(fill);
        let post = Post {
            message_type,
            content: Content::Object(text(&object)),
            client_message_id: None,
            terms: Terms {
                source: Source::Handler { asker, user },
                exclude,
                answer: Answer::None,
            },
        };
        state.post(outlet, room, &post);
        outlet.desk.scratch.give_payload(object);
    }

    /// Tells the room something that is not kept for those who come later.
    pub fn publish_ephemeral(
        &mut self,
        message_type: &str,
        exclude: Exclude,
        fill: impl FnOnce(Fields<'_>) -> Fields<'_>,
    ) {
        let exclude = (exclude == Exclude::Sender).then_some(self.asker.connection);
        let kind = (message_type, Some(&*self.asker.user));
        self.outlet
            .tell_room(self.room, kind, Audience::Everybody, exclude, fill);
    }

    /// Answers the message that began this, with the request's `id`.
    pub fn reply(&mut self, message_type: &str, fill: impl FnOnce(Fields<'_>) -> Fields<'_>) {
        self.outlet.answer(&self.asker, message_type, None, fill);
    }

    /// Answers the remote procedure call that began this with its result.
    pub fn result(&mut self, fill: impl FnOnce(Fields<'_>) -> Fields<'_>) {
        self.outlet.result(&self.asker, fill);
    }

    /// Goes on at the connection whose message began this, if it is still there.
    pub(in crate::realtime) fn go_on(&mut self, then: Then<()>) {
        let letter = Letter::Continue {
            asker: self.asker.clone(),
            then,
        };
        let shard = self.asker.connection.shard();
        self.outlet.context.mail(shard, Mail(letter));
    }

    /// Runs `work` on the service thread's runtime, where it may wait for I/O, then goes on here with
    /// what it returned, whether the connection that began it is still there or not. A panic in `work`
    /// is answered like one in the handler.
    ///
    /// If the room has gone meanwhile it is made again, where joining it would.
    ///
    /// If the service thread's queue is full the work is dropped and counted (`service_busy`), and the
    /// peer told `unavailable`; [`spawn_or_else`](Self::spawn_or_else) does something else then.
    pub fn spawn<T: Send + 'static>(
        &mut self,
        work: impl Future<Output = T> + Send + 'static,
        then: impl FnOnce(&mut RoomCtx<'_, '_, '_>, T) -> Result<(), HandlerError> + Send + 'static,
    ) {
        self.spawn_or_else(work, then, |_| Err(Rejection::busy().into()));
    }

    /// The same with words of its own for a full queue: `refused` is called in place of `then`, after the
    /// work in hand has returned, such as to take back that the room waits for an answer. To spawn again
    /// from there is to be refused again.
    pub fn spawn_or_else<T: Send + 'static>(
        &mut self,
        work: impl Future<Output = T> + Send + 'static,
        then: impl FnOnce(&mut RoomCtx<'_, '_, '_>, T) -> Result<(), HandlerError> + Send + 'static,
        refused: impl FnOnce(&mut RoomCtx<'_, '_, '_>) -> Result<(), HandlerError> + Send + 'static,
    ) {
        let (room, asker) = (self.room.clone(), self.asker.clone());
        let refused = {
            let (room, asker) = (room.clone(), asker.clone());
            let run = InRoom(Box::new(refused));
            move || Mail(Letter::Run { room, asker, run })
        };
        let work = async move {
            // What a panic leaves behind is dropped with the work.
            let run = match AssertUnwindSafe(work).catch_unwind().await {
                Ok(value) => InRoom(Box::new(move |room| then(room, value))),
                Err(panic) => {
                    let error = HandlerError::panicked(&*panic);
                    InRoom(Box::new(move |_| Err(error)))
                }
            };
            Mail(Letter::Run { room, asker, run })
        };
        self.outlet.context.spawn(work, refused);
    }

    pub(super) fn fail(&mut self, error: HandlerError) {
        let asker = self.asker.clone();
        self.outlet.fail(&asker, error);
    }

    /// Refuses the message that began this; the same as returning the rejection.
    pub fn refuse(&mut self, rejection: &Rejection) {
        self.outlet.refuse(&self.asker, rejection);
    }
}
