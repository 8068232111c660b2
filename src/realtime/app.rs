//! The application itself: who is let in, and what becomes of their messages.

use std::sync::Arc;

use smallvec::SmallVec;

use super::mail::Mail;
use super::protocol::{Frame, Inbound, Profile, Refused, Rejection, scan};
use super::registry::{Handler, HandlerError, Registry};
use super::rooms::{Members, Outlet, Room};
use super::state::{State, Stats};
use super::upgrade::{self, Admission};
use super::{Ctx, RealtimeOptions};
use crate::http::Refusal;
use crate::shard::{Accept, App, Context, Message, Request, Socket, Upgrade};
use crate::ws::CloseCode;

/// A line per connection or message: at `info` if they are wanted, else at `debug`.
macro_rules! verbose {
    ($options:expr, $($line:tt)+) => {
        if $options.verbose_logging {
            tracing::info!($($line)+);
        } else {
            tracing::debug!($($line)+);
        }
    };
}

/// Rooms, presence and typed messages: one instance per shard.
#[derive(Debug)]
pub struct Realtime {
    registry: Registry,
    state: State,
}

/// What the application keeps with a connection.
#[derive(Debug, Default)]
pub struct Session {
    /// The room that it joins when it opens, and that a message goes to which names none.
    pub(super) default_room: Option<Room>,
    /// The rooms that the connection is in: it is subscribed to their topics and their homes know.
    pub(super) rooms: SmallVec<[Room; 1]>,
}

impl Session {
    pub(super) fn find(&self, room: &str) -> Option<&Room> {
        self.rooms.iter().find(|joined| joined.name() == room)
    }
}

impl Realtime {
    /// With the handlers that come with Campanile. Shards can share the options in an [`Arc`].
    ///
    /// Panics if a route's room has no name that a topic can have, or if there are more than 65,535
    /// routes.
    pub fn new(options: impl Into<Arc<RealtimeOptions>>) -> Self {
        Self::with_registry(options, Registry::default())
    }

    /// With these handlers and no others. Panics as [`new`](Realtime::new).
    pub fn with_registry(options: impl Into<Arc<RealtimeOptions>>, registry: Registry) -> Self {
        Self {
            registry,
            state: State::new(options.into()),
        }
    }

    /// Adds a handler; one of the same type is replaced.
    #[must_use]
    pub fn with(mut self, handler: impl Handler) -> Self {
        self.registry.register(handler);
        self
    }

    /// What this shard's instance holds and has counted. From other threads:
    /// `handle.ask(shard, |app, _| app.stats())`.
    pub fn stats(&self) -> Stats {
        self.state.stats()
    }

    /// The members of a room that is at home on this shard; nobody, for any other. From other
    /// threads: `handle.ask(handle.home(room), |app, _| app.members(room))`.
    pub fn members(&self, room: &str) -> Members {
        self.state.rooms.members(room)
    }

    fn admit(&self, request: &Request<'_>) -> Result<Accept<Session>, Refusal> {
        let (head, options) = (request.head(), &self.state.options);
        let admission = upgrade::admit(head, options)?;
        let Admission {
            profile,
            presence,
            batch,
            ref roles,
            ..
        } = admission;
        verbose!(options, %profile, presence, batch, ?roles, "upgrade");
        Ok(Accept {
            user: admission.user,
            subprotocol: admission.subprotocol.map(Into::into),
            message_bytes_max: options.routes[usize::from(admission.route)].message_bytes_max,
            ..Accept::new(Session {
                default_room: admission.room.as_deref().map(Room::new),
                ..Session::default()
            })
        })
    }

    fn dispatch(
        &mut self,
        socket: &mut Socket<'_, Self>,
        message: Result<super::protocol::Message<'_>, Refused<'_>>,
    ) {
        let Self { registry, state } = self;
        let message = match message {
            Ok(message) => message,
            Err(Refused { rejection, id }) => {
                return Ctx::new(socket, state, id, "").fail(rejection.into());
            }
        };
        let (connection, message_type) = (socket.id(), message.message_type());
        verbose!(state.options, %connection, message_type, "message");
        let mut ctx = Ctx::new(socket, state, message.id(), message_type);
        let outcome: Result<(), HandlerError> = registry.handle(&mut ctx, &message);
        if let Err(error) = outcome {
            ctx.fail(error);
        }
    }
}

impl App for Realtime {
    type Data = Session;
    type Mail = Mail;

    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<Session> {
        match self.admit(request) {
            Ok(accept) => Upgrade::Accept(accept),
            Err(refusal) => {
                let (peer, path) = (request.remote_address(), request.path());
                let code = refusal.code();
                verbose!(self.state.options, %peer, path, code, "upgrade refused");
                Upgrade::Refuse(refusal)
            }
        }
    }

    fn open(&mut self, socket: &mut Socket<'_, Self>) {
        let (connection, user) = (socket.id(), socket.user().clone());
        let peer = socket.remote_address();
        verbose!(self.state.options, %connection, %user, %peer, "open");
        let mut ctx = Ctx::new(socket, &mut self.state, None, "");
        ctx.reply_written(|out, _, at| Frame::established(out, at, connection, &user));
        let room = ctx.default_room();
        if let Some(Err(rejection)) = room.map(|room| ctx.enter(room)) {
            ctx.fail(rejection.into());
        }
    }

    fn message(&mut self, socket: &mut Socket<'_, Self>, message: Message<'_>) {
        let Message::Text(text) = message else {
            return self.dispatch(socket, Err(Rejection::Binary.into()));
        };
        match scan(text, Profile::Flat) {
            Ok(Inbound::One(message)) => self.dispatch(socket, Ok(message)),
            Ok(Inbound::Batch(messages)) => {
                for message in messages {
                    if !socket.is_open() {
                        break;
                    }
                    self.dispatch(socket, message);
                }
            }
            Err(refused) => self.dispatch(socket, Err(refused)),
        }
    }

    fn lagged(&mut self, socket: &mut Socket<'_, Self>, topic: &str, missed_bytes: u64) {
        let room = socket.data().find(topic).cloned();
        let room = room.as_ref().map(Room::name);
        let connection = socket.id();
        verbose!(self.state.options, %connection, room, missed_bytes, "messages missed");
        let mut ctx = Ctx::new(socket, &mut self.state, None, "");
        ctx.reply_written(|out, _, at| {
            Frame::system(out, room, at, "gap", "messages were missed: too slow");
        });
    }

    fn close(&mut self, socket: &mut Socket<'_, Self>, code: CloseCode, reason: &str) {
        let (connection, user) = (socket.id(), socket.user().clone());
        verbose!(self.state.options, %connection, %user, %code, reason, "close");
        for room in std::mem::take(&mut socket.data_mut().rooms) {
            let user = user.clone();
            self.state.leave(&mut socket.context(), room, user);
        }
    }

    fn tick(&mut self, context: &mut Context<'_, Self>) {
        let State { rooms, scratch, .. } = &mut self.state;
        rooms.tick(&mut Outlet { context, scratch });
    }

    fn mail(&mut self, context: &mut Context<'_, Self>, mail: Mail) {
        self.state.receive(context, mail.0);
    }
}
