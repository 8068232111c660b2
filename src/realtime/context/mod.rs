//! What a handler is handed.

mod publishing;
mod rooms;

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use super::external::Outside;
use super::mail::{Asker, InRoom, Letter, Mail, Then};
use super::options::{Namespaces, Roles};
use super::outlet::Outlet;
use super::protocol::{
    Fields, MessageId, OwnedRequestId, Profile, Rejection, RequestId, Timestamp,
};
use super::registry::HandlerError;
use super::rooms::{Members, Room, RoomCtx};
use super::state::State;
use super::{Realtime, RealtimeOptions, Session};
use crate::auth::Gate;
use crate::id::{ConnectionId, UserId};
use crate::shard::{Context, Socket};
use crate::time::Now;
use crate::ws::CloseCode;

pub(super) use rooms::Wish;

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
/// Payloads are written by a closure that adds members to [`Fields`]; what the server owns (`type`,
/// `id`, `room_id`, `user_id`, `timestamp`) is written around them, once for each profile that
/// somebody reads. What is sent to a connection that is closing goes nowhere, without an error.
pub struct Ctx<'a> {
    context: Context<'a, Realtime>,
    state: &'a mut State,
    connection: ConnectionId,
    user: UserId,
    profile: Profile,
    id: Option<RequestId<'a>>,
    message_type: &'a str,
    /// The room that this message has made the connection ask for.
    asked: Option<(Room, u32)>,
    /// In place of the connection, for who has none.
    outside: Option<Arc<Outside>>,
}

impl fmt::Debug for Ctx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ctx({:?}, {:?})", self.connection, self.user)
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
            profile: socket.data().profile,
            context: socket.context(),
            state,
            id,
            message_type,
            asked: None,
            outside: None,
        }
    }

    /// For somebody who has no connection.
    pub(super) fn outside(
        context: &'a mut Context<'_, Realtime>,
        state: &'a mut State,
        asker: &'a Asker,
    ) -> Self {
        Self {
            context: context.reborrow(),
            state,
            connection: asker.connection,
            user: asker.user.clone(),
            profile: asker.profile,
            id: asker.id.as_ref().map(OwnedRequestId::as_id),
            message_type: &asker.message_type,
            asked: None,
            outside: asker.outside.clone(),
        }
    }

    /// The user whose message it is.
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// The connection that the message came by. For who asked over HTTP it is no connection at all:
    /// nothing can be sent to it but the answer.
    pub fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// How frames of the connection are laid out.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// The roles of the connection.
    pub fn roles(&mut self) -> Roles {
        if let Some(outside) = &self.outside {
            return outside.roles().clone();
        }
        let session = self.session();
        session.map_or_else(Roles::default, |session| session.roles.clone())
    }

    /// The request identifier of the message, which [`reply`](Ctx::reply) echoes.
    pub fn request_id(&self) -> Option<RequestId<'a>> {
        self.id
    }

    /// The options of the application.
    pub fn options(&self) -> &RealtimeOptions {
        &self.state.desk.options
    }

    /// Who is let in.
    pub(super) fn gate(&self) -> Arc<Gate> {
        self.state.desk.gate.clone()
    }

    /// Whether the connection's user is known by a token or a session.
    pub(super) fn is_known(&mut self) -> bool {
        self.session()
            .is_some_and(|session| session.known.is_some())
    }

    /// What handlers share, and the core.
    pub(super) fn parts(&mut self) -> (&mut State, &mut Context<'a, Realtime>) {
        (self.state, &mut self.context)
    }

    pub(super) fn namespaces(&self) -> &Namespaces {
        &self.state.desk.namespaces
    }

    /// The clocks, read once a turn.
    pub fn now(&self) -> Now {
        self.context.now()
    }

    /// The time of this turn as it stands in frames.
    pub fn timestamp(&mut self) -> Timestamp {
        let unix_ms = self.context.now().unix_ms;
        self.state.desk.scratch.timestamp(unix_ms)
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

    /// The value of type `T` that is kept with the connection, made if it is not there. `None` if
    /// the connection is closing.
    pub fn data<T: Default + Send + 'static>(&mut self) -> Option<&mut T> {
        let connection = self.connection;
        let socket = self.context.socket(connection)?;
        Some(socket.into_data().extra().data())
    }

    pub(super) fn session(&mut self) -> Option<&mut Session> {
        let socket = self.context.socket(self.connection)?;
        Some(socket.into_data())
    }

    pub(super) fn outlet(&mut self) -> Outlet<'_, 'a> {
        Outlet {
            context: &mut self.context,
            desk: &mut self.state.desk,
        }
    }

    /// Runs `work` at the room's home, on whatever shard that is, and in the room's one order: for
    /// what all members share, such as the votes of a poll. If the room is not there it is made,
    /// where joining it would.
    ///
    /// It runs after the handler has returned, or before if the room is at home here.
    pub fn in_room(
        &mut self,
        room: &Room,
        work: impl FnOnce(&mut RoomCtx<'_, '_, '_>) -> Result<(), HandlerError> + Send + 'static,
    ) {
        let letter = Letter::Run {
            room: room.clone(),
            asker: self.asker(),
            run: InRoom(Box::new(work)),
        };
        self.state.deliver(&mut self.context, letter);
    }

    /// Asks a room's home who is there, and goes on with the answer, after the handler has returned.
    /// If the connection is gone by then, `then` is dropped.
    pub fn members(
        &mut self,
        room: &Room,
        then: impl FnOnce(&mut Ctx<'_>, Members) -> Result<(), HandlerError> + Send + 'static,
    ) {
        self.in_room(room, move |room| {
            let members = room.members();
            room.go_on(Then::new(move |ctx, ()| then(ctx, members)));
            Ok(())
        });
    }

    /// Runs `work` on the service thread's runtime, where it may wait for I/O, then goes on here
    /// with what it returned. If the connection is gone by then, `then` is dropped. A panic in
    /// `work` is answered like one in the handler. In a remote procedure call the work must be done
    /// within `rpc_timeout`, else it is dropped and the caller told `timeout`.
    ///
    /// If the service thread's queue is full the work is dropped and counted (`service_busy`), and the
    /// peer told `unavailable`; [`spawn_or_else`](Self::spawn_or_else) does something else then.
    pub fn spawn<T: Send + 'static>(
        &mut self,
        work: impl Future<Output = T> + Send + 'static,
        then: impl FnOnce(&mut Ctx<'_>, T) -> Result<(), HandlerError> + Send + 'static,
    ) {
        self.spawn_or_else(work, then, |_| Err(Rejection::busy().into()));
    }

    /// The same with words of its own for a full queue: `refused` is called in place of `then`, after the
    /// handler has returned, and what it returns is the message's answer. To spawn again from there is to
    /// be refused again.
    pub fn spawn_or_else<T: Send + 'static>(
        &mut self,
        work: impl Future<Output = T> + Send + 'static,
        then: impl FnOnce(&mut Ctx<'_>, T) -> Result<(), HandlerError> + Send + 'static,
        refused: impl FnOnce(&mut Ctx<'_>) -> Result<(), HandlerError> + Send + 'static,
    ) {
        let asker = self.asker();
        let refused = {
            let asker = asker.clone();
            let then = Then::new(move |ctx, ()| refused(ctx));
            move || Mail(Letter::Continue { asker, then })
        };
        let deadline = (self.message_type == "rpc").then_some(self.options().rpc_timeout);
        let work = async move {
            // What a panic leaves behind is dropped with the work.
            let work = AssertUnwindSafe(work).catch_unwind();
            let then = match within(deadline, work).await {
                Some(Ok(value)) => Then::new(move |ctx, ()| then(ctx, value)),
                Some(Err(panic)) => {
                    let error = HandlerError::panicked(&*panic);
                    Then::new(move |_, ()| Err(error))
                }
                None => Then::new(|_, ()| Err(Rejection::Timeout.into())),
            };
            Mail(Letter::Continue { asker, then })
        };
        self.context.spawn(work, refused);
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

    /// Tells the peer and the log that its message was not handled.
    pub(super) fn fail(&mut self, error: HandlerError) {
        let asker = self.asker();
        self.outlet().fail(&asker, error);
    }

    pub(super) fn asker(&self) -> Asker {
        let address = self.context.remote_address(self.connection);
        Asker {
            connection: self.connection,
            user: self.user.clone(),
            profile: self.profile,
            id: self.id.map(RequestId::to_owned),
            message_type: self.message_type.into(),
            address: address.map(|address| address.ip()),
            outside: self.outside.clone(),
        }
    }

    /// Answers the remote procedure call with its result.
    pub fn result(&mut self, fill: impl FnOnce(Fields<'_>) -> Fields<'_>) {
        let asker = self.asker();
        self.outlet().result(&asker, fill);
    }

    /// Answers the remote procedure call with a value.
    ///
    /// Errors: the value cannot be written as JSON.
    pub fn result_value(&mut self, value: &impl serde::Serialize) -> Result<(), HandlerError> {
        self.result_raw(&serde_json::to_string(value)?);
        Ok(())
    }

    pub(super) fn result_raw(&mut self, result: &str) {
        let asker = self.asker();
        self.outlet().result_raw(&asker, result);
    }
}

/// Awaits work, if there is a deadline only so long.
async fn within<T>(deadline: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(deadline) => tokio::time::timeout(deadline, work).await.ok(),
        None => Some(work.await),
    }
}

impl State {
    /// Goes on with what a handler began.
    pub(super) fn go_on(
        &mut self,
        context: &mut Context<'_, Realtime>,
        asker: &Asker,
        then: Then<()>,
    ) {
        let run = |mut ctx: Ctx<'_>| {
            if let Err(error) = super::registry::catching(|| (then.0)(&mut ctx, ())) {
                ctx.fail(error);
            }
        };
        if asker.outside.is_some() {
            return run(Ctx::outside(context, self, asker));
        }
        let Some(mut socket) = context.socket(asker.connection) else {
            return;
        };
        let id = asker.id.as_ref().map(OwnedRequestId::as_id);
        run(Ctx::new(&mut socket, self, id, &asker.message_type));
    }
}
