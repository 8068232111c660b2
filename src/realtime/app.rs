//! The application itself: who is let in, and what becomes of their messages.

use std::sync::Arc;

use super::context::Wish;
use super::mail::{Leave, Letter, Mail};
use super::protocol::{Inbound, Profile, Refused, Rejection, payload, scan, scan_binary};
use super::rate::Rate;
use super::registry::{Handler, OTHER, Registry};
use super::rooms::{Members, Room};
use super::session::Session;
use super::state::{NoStore, State, Stats};
use super::{Ctx, PlainText, RealtimeOptions};
use crate::auth::{AuthError, Gate};
use crate::http::Refusal;
use crate::id::ShardId;
use crate::shard::{App, Asked, Context, Knock, Message, Request, Socket, Upgrade};
use crate::store::Store;
use crate::ws::CloseCode;

/// How often the store, which has no clock, is told the time, seconds.
const STORE_TIME_S: u32 = 60;

/// Users whose allowance is looked at in one second, to forget those who have it all again.
const SWEPT_USERS: usize = 4096;

/// Rooms, presence and typed messages: one instance per shard.
#[derive(Debug)]
pub struct Realtime {
    pub(super) registry: Registry,
    pub(super) state: State,
}

impl Realtime {
    /// With the handlers that come with Campanile. Shards can share the options in an [`Arc`].
    ///
    /// Panics if a route's room has no name that a topic can have, if there are more than 65,535
    /// routes, or if a namespace persists: that takes a [store](Realtime::with_store).
    pub fn new(options: impl Into<Arc<RealtimeOptions>>) -> Self {
        Self::build(options.into(), None, Registry::default())
    }

    /// With a store, where persistent rooms are kept. All shards share one store.
    ///
    /// Panics as [`new`](Realtime::new), but for the store.
    pub fn with_store(options: impl Into<Arc<RealtimeOptions>>, store: Store) -> Self {
        Self::build(options.into(), Some(store), Registry::default())
    }

    fn build(options: Arc<RealtimeOptions>, store: Option<Store>, registry: Registry) -> Self {
        Self {
            registry,
            state: State::new(options, store),
        }
    }

    /// With these handlers and no others. Panics as [`new`](Realtime::new).
    pub fn with_registry(options: impl Into<Arc<RealtimeOptions>>, registry: Registry) -> Self {
        Self::build(options.into(), None, registry)
    }

    /// Lets in whom this gate does. Without one everybody is a guest, from pages of the same origin. All
    /// shards share one gate, and with the HTTP API.
    #[must_use]
    pub fn with_gate(mut self, gate: Arc<Gate>) -> Self {
        self.state.desk.gate = gate;
        self
    }

    /// Adds a handler; one of the same type is replaced.
    #[must_use]
    pub fn with(mut self, handler: impl Handler) -> Self {
        self.registry.register(handler);
        self
    }

    /// Replaces the options of this shard's instance, from the next event on. Routes stay as they are:
    /// connections refer to them. A room that exists takes the namespace that fits it now; whether it
    /// persists stays as it was made.
    ///
    /// Errors: a namespace persists and there is no store; then nothing has changed. From other threads:
    /// `handle.ask(shard, move |app, _| app.set_options(options))`.
    pub fn set_options(&mut self, options: &Arc<RealtimeOptions>) -> Result<(), NoStore> {
        self.state.set_options(options)
    }

    /// What this shard's instance holds and has counted. From other threads:
    /// `handle.ask(shard, |app, _| app.stats())`.
    pub fn stats(&self) -> Stats {
        self.state.stats()
    }

    /// The types that messages are handled by, in the order of their handlers' numbers: what
    /// [`Figures::handlers`](crate::shard::Figures::handlers) is about.
    pub fn handler_names(&self) -> &[Box<str>] {
        self.registry.names()
    }

    /// The members of a room that is at home on this shard; nobody, for any other. From other
    /// threads: `handle.ask(handle.home(room), |app, _| app.members(room))`.
    pub fn members(&self, room: &str) -> Members {
        let limit = self.state.desk.options.presence.members_max;
        self.state.rooms.members(room, limit)
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
                Ctx::new(socket, state, id, "").fail(rejection.into());
                return socket.context().handled(OTHER);
            }
        };
        let (connection, message_type) = (socket.id(), message.message_type());
        verbose!(state.desk.options, %connection, message_type, "message");
        let mut ctx = Ctx::new(socket, state, message.id(), message_type);
        if let Err(error) = registry.handle(&mut ctx, &message) {
            ctx.fail(error);
        }
    }

    /// Takes a message from what the connection and its user may send. `false`: it is refused, and
    /// whoever goes on for long is closed.
    fn is_allowed(
        &mut self,
        socket: &mut Socket<'_, Self>,
        id: Option<super::protocol::RequestId<'_>>,
    ) -> bool {
        let Err(retry_after_ms) = self.take(socket) else {
            return true;
        };
        let now_ms = socket.context().now().monotonic_ms;
        let insists = socket.data_mut().insistence.refused(now_ms);
        let rejection = Rejection::RateLimited { retry_after_ms };
        Ctx::new(socket, &mut self.state, id, "").fail(rejection.into());
        if insists {
            self.state.desk.counts.rate_closed += 1;
            let code = super::deliver::close_code(4529);
            socket.close(
                code,
                &format!("too many messages; retry_in_ms={retry_after_ms}"),
            );
        }
        false
    }

    fn take(&mut self, socket: &mut Socket<'_, Self>) -> Result<(), u64> {
        let limits = &self.state.desk.options.limits;
        let now_ms = socket.context().now().monotonic_ms;
        let own = Rate {
            per_second: limits.messages_per_second,
            burst: limits.burst,
        };
        let of_user = Rate {
            per_second: limits.user_messages_per_second,
            burst: limits.user_burst,
        };
        let taken = if of_user.per_second == 0 {
            socket.data_mut().bucket.take(now_ms, own, 1)
        } else {
            let users = self.state.desk.user_buckets.of(socket.user(), now_ms);
            let bucket = &mut socket.data_mut().bucket;
            bucket.take_with(now_ms, own, (users, of_user))
        };
        taken.map_err(|wait| wait.0)
    }

    fn text(&mut self, socket: &mut Socket<'_, Self>, text: &str) {
        let profile = socket.data().profile;
        // Which texts are chats is a matter of the profile, unless it is said otherwise.
        let reader = match self.state.desk.options.plain_text {
            PlainText::Profile => profile,
            PlainText::Chat if is_plain(text) => Profile::Flat,
            PlainText::Reject if is_plain(text) => Profile::V1,
            PlainText::Chat | PlainText::Reject => profile,
        };
        match scan(text, reader) {
            Ok(Inbound::One(message)) => self.one(socket, Ok(message)),
            Ok(Inbound::Batch(messages)) => {
                for message in messages {
                    if !socket.is_open() {
                        break;
                    }
                    self.one(socket, message);
                }
            }
            Err(refused) => self.one(socket, Err(refused)),
        }
    }

    fn one(
        &mut self,
        socket: &mut Socket<'_, Self>,
        message: Result<super::protocol::Message<'_>, Refused<'_>>,
    ) {
        let id = match &message {
            Ok(message) => message.id(),
            Err(refused) => refused.id,
        };
        if self.is_allowed(socket, id) {
            self.dispatch(socket, message);
        } else {
            socket.context().handled(OTHER);
        }
    }
}

/// Whether a text does not begin like JSON.
fn is_plain(text: &str) -> bool {
    let text = text.trim_start_matches([' ', '\t', '\n', '\r']);
    !text.is_empty() && !text.starts_with(['{', '['])
}

impl App for Realtime {
    type Data = Session;
    type Mail = Mail;

    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<Session> {
        self.state.desk.admit(request)
    }

    fn knocked(&mut self, context: &mut Context<'_, Self>, knock: Knock<Session>) {
        match knock.accept.data.path_room().cloned() {
            Some(room) => {
                let knock = Box::new(knock);
                self.state.deliver(context, Letter::Knock { room, knock });
            }
            None => context.admit(knock),
        }
    }

    fn asked(
        &mut self,
        asked: &mut Asked<'_, Self>,
        message: Message<'_>,
    ) -> Option<Upgrade<Session>> {
        self.state.desk.hear(asked, message)
    }

    fn refused(&mut self, asked: &mut Asked<'_, Self>, refusal: &Refusal) {
        self.state.desk.turn_away(asked, refusal);
    }

    fn open(&mut self, socket: &mut Socket<'_, Self>) {
        let (connection, user) = (socket.id(), socket.user().clone());
        let peer = socket.remote_address();
        let profile = socket.data().profile;
        verbose!(self.state.desk.options, %connection, %user, %peer, %profile, "open");
        let (heartbeat, message_bytes_max) = (socket.ping_period(), socket.message_bytes_max());
        let presence = socket.data().presence;
        let expires_at = socket
            .data()
            .known
            .as_ref()
            .and_then(|known| known.expires_at());
        self.state.watch(socket);
        // Revoked on its way here, where nobody has looked for it yet.
        let is_revoked = self.state.is_revoked(socket);
        let mut ctx = Ctx::new(socket, &mut self.state, None, "");
        if is_revoked {
            return ctx.expel(AuthError::Revoked);
        }
        let at = ctx.timestamp();
        let welcome = payload::Established {
            connection,
            user: &user,
            session: None,
            heartbeat_ms: u64::try_from(heartbeat.as_millis()).unwrap_or(u64::MAX),
            message_bytes_max: message_bytes_max as u64,
            expires_at,
        };
        let _ = ctx.send("connection-status", |fields| {
            payload::established(fields, &welcome, profile, &at)
        });
        if let Some(room) = ctx.own_room() {
            let wish = Wish {
                start: ctx.start_after_absence(),
                presence,
                info: None,
                is_answered: false,
                is_vital: ctx.is_path_room(),
            };
            if let Err(rejection) = ctx.ask_to_join(&room, wish) {
                ctx.fail(rejection.into());
            }
        }
        self.state
            .find_lasting_rooms(&mut socket.context(), connection, &user, profile);
    }

    fn message(&mut self, socket: &mut Socket<'_, Self>, message: Message<'_>) {
        match message {
            Message::Text(text) => self.text(socket, text),
            Message::Binary(bytes) => {
                let message = scan_binary(bytes, socket.data().profile);
                self.one(socket, message);
            }
        }
    }

    fn lagged(&mut self, socket: &mut Socket<'_, Self>, topic: &str, missed_bytes: u64) {
        let room = socket.data().find(topic).map(|joined| joined.room.clone());
        let connection = socket.id();
        let name = room.as_ref().map(Room::name);
        verbose!(self.state.desk.options, %connection, room = name, missed_bytes, "messages missed");
        self.state
            .outlet(&mut socket.context())
            .tell_gap(connection, room.as_ref());
        if let Some(room) = room {
            let user = socket.user().clone();
            let missed = Letter::Missed {
                room,
                user,
                connection,
            };
            self.state.deliver(&mut socket.context(), missed);
        }
    }

    fn passed(&mut self, socket: &mut Socket<'_, Self>, token: u64) {
        let connection = socket.id();
        let mut context = socket.context();
        for letter in self.state.outlet(&mut context).passed(connection, token) {
            self.state.deliver(&mut context, letter);
        }
    }

    fn close(&mut self, socket: &mut Socket<'_, Self>, code: CloseCode, reason: &str) {
        let (connection, user) = (socket.id(), socket.user().clone());
        verbose!(self.state.desk.options, %connection, %user, %code, reason, "close");
        for joined in std::mem::take(&mut socket.data_mut().rooms) {
            let leave = Leave {
                room: joined.room,
                user: user.clone(),
                connection,
                number: joined.number,
                for_good: false,
            };
            self.state
                .deliver(&mut socket.context(), Letter::Leave(leave));
        }
    }

    fn tick(&mut self, context: &mut Context<'_, Self>) {
        self.state.look_again(context);
        let State { rooms, desk } = &mut self.state;
        desk.user_buckets
            .sweep(context.now().monotonic_ms, SWEPT_USERS);
        // One shard's word is enough.
        if let Some(store) = &desk.store
            && context.shard() == ShardId(0)
            && context.now().seconds().is_multiple_of(STORE_TIME_S)
        {
            // A store that is busy has just been told by who keeps it so.
            let _ = store.set_time(context.now().unix_ms);
        }
        rooms.tick(&mut super::outlet::Outlet { context, desk });
    }

    fn handler_name(&self, handler: u8) -> &str {
        self.registry.name(handler)
    }

    fn mail(&mut self, context: &mut Context<'_, Self>, mail: Mail) {
        match mail.0 {
            Letter::Outside(errand) => self.run_errand(context, *errand),
            letter => match letter
                .resumes()
                .and_then(|name| self.registry.number_of(name))
            {
                Some(handler) => {
                    context.resume(handler, |context| self.state.receive(context, letter));
                }
                None => self.state.receive(context, letter),
            },
        }
    }
}
