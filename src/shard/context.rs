//! What callbacks are handed: the shard ([`Context`]) and one connection on it ([`Socket`]).

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::app::{App, Message, Sent};
use super::barrier::Proof;
use super::connection::{Connection, Phase};
use super::core::{Core, EVERYBODY, Staged};
use super::fanout::{Subscribed, is_topic};
use super::format::{Encode, Format};
use super::mail::{Frame, Mail, ServiceRequest};
use super::options::Options;
use crate::id::{ConnectionId, ShardId, Slot, UserId};
use crate::limits::CONTROL_PAYLOAD_BYTES_MAX;
use crate::metrics::Counters;
use crate::time::Now;
use crate::ws::{CloseCode, Opcode};

/// The shard on which a callback runs.
pub struct Context<'a, A: App> {
    pub(crate) core: &'a mut Core<A>,
}

impl<A: App> fmt::Debug for Context<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context(shard {})", self.core.shard)
    }
}

impl Message<'_> {
    pub(crate) fn opcode(&self) -> Opcode {
        match self {
            Self::Text(_) => Opcode::Text,
            Self::Binary(_) => Opcode::Binary,
        }
    }

    fn to_frame(self) -> Arc<Frame> {
        Arc::new(Frame {
            opcode: self.opcode(),
            payload: self.as_bytes().to_vec(),
        })
    }
}

impl<A: App> Context<'_, A> {
    /// Replaces the options of the core on this shard, from the next event on. What an open connection
    /// was promised stays as it is, and so does `compression`, which holds until the process ends.
    pub fn set_options(&mut self, options: &Arc<Options>) {
        self.core.set_options(options);
    }

    /// The same shard, for a shorter time.
    pub(crate) fn reborrow(&mut self) -> Context<'_, A> {
        Context { core: self.core }
    }

    /// The clocks, read once a turn.
    pub fn now(&self) -> Now {
        self.core.now
    }

    /// This shard.
    pub fn shard(&self) -> ShardId {
        self.core.shard
    }

    /// How many shards there are.
    pub fn shards(&self) -> u16 {
        self.core.shared.placement.shards()
    }

    /// The shard on which everything about a user or a room of that name is decided.
    pub fn home(&self, name: &str) -> ShardId {
        self.core.shared.placement.home(name)
    }

    /// A random number, from the shard's own seed.
    pub fn random(&mut self) -> u64 {
        self.core.random.u64(..)
    }

    /// A connection of this shard that is open.
    pub fn socket(&mut self, connection: ConnectionId) -> Option<Socket<'_, A>> {
        let slot = self.core.resolve(connection)?;
        self.core.in_phase(slot, Phase::Open).then_some(Socket {
            core: self.core,
            slot,
        })
    }

    /// The address of a connection of this shard, in whatever phase it is: as [`Socket::remote_address`].
    pub fn remote_address(&self, connection: ConnectionId) -> Option<SocketAddr> {
        let slot = self.core.resolve(connection)?;
        Some(self.core.connection(slot)?.peer.into())
    }

    /// Publishes to every subscriber of a topic on every shard, but `exclude`: the same bytes to all,
    /// whatever their formats. The bytes are written once per shard and go out at the end of the turn.
    /// A name that nobody can subscribe to reaches nobody.
    pub fn publish<'m>(
        &mut self,
        topic: &str,
        message: impl Into<Message<'m>>,
        exclude: Option<ConnectionId>,
    ) {
        if is_topic(topic) {
            self.core.publish(topic, message.into(), exclude);
        }
    }

    /// As [`Context::publish`], but to each subscriber in its own format: `message` is asked for the
    /// formats that some subscriber has, on whatever shard, once each, before this call returns.
    pub fn publish_encoded(
        &mut self,
        topic: &str,
        message: &mut impl Encode,
        exclude: Option<ConnectionId>,
    ) {
        if is_topic(topic) {
            self.core.publish_encoded(topic, message, exclude);
        }
    }

    /// Sends to every open connection of the process, but `exclude`.
    pub fn broadcast<'m>(
        &mut self,
        message: impl Into<Message<'m>>,
        exclude: Option<ConnectionId>,
    ) {
        self.core.publish(EVERYBODY, message.into(), exclude);
    }

    /// As [`Context::broadcast`], but to each connection in its own format ([`Accept::format`]).
    ///
    /// [`Accept::format`]: super::Accept::format
    pub fn broadcast_encoded(&mut self, message: &mut impl Encode, exclude: Option<ConnectionId>) {
        self.core.publish_encoded(EVERYBODY, message, exclude);
    }

    /// Sends to one connection, on whatever shard it is. If it is gone, nothing happens but a count.
    pub fn send<'m>(&mut self, connection: ConnectionId, message: impl Into<Message<'m>>) {
        let message = message.into();
        if connection.shard() == self.core.shard {
            self.core
                .send_to_connection(connection, message.opcode(), message.as_bytes());
        } else {
            let mail = Mail::ToConnection(connection, message.to_frame());
            self.core
                .staged
                .push(Staged::Mail(connection.shard(), mail));
        }
    }

    /// Sends to all connections of a user, wherever that user is at home.
    pub fn send_to_user<'m>(&mut self, user: &str, message: impl Into<Message<'m>>) {
        let message = message.into();
        let home = self.home(user);
        if home == self.core.shard {
            self.core
                .send_to_user(user, message.opcode(), message.as_bytes());
        } else {
            let mail = Mail::ToUser(user.into(), message.to_frame());
            self.core.staged.push(Staged::Mail(home, mail));
        }
    }

    /// Closes one connection, on whatever shard it is.
    pub fn close(&mut self, connection: ConnectionId, code: CloseCode, reason: &str) {
        if connection.shard() != self.core.shard {
            let mail = Mail::Close(connection, code, reason.into());
            self.core
                .staged
                .push(Staged::Mail(connection.shard(), mail));
        } else if let Some(slot) = self.core.resolve(connection) {
            self.core.begin_close(slot, code, reason);
        }
    }

    /// Mails the application's instance on `shard`, which may be this one: it is delivered after
    /// the callback. Mail from one shard to another arrives in order.
    pub fn mail(&mut self, shard: ShardId, mail: A::Mail) {
        self.core.staged.push(Staged::Mail(shard, Mail::App(mail)));
    }

    /// Mails the application's instance on `shard`, in order with what this shard publishes to
    /// `topic`: what it has published before this call reaches `shard` before the mail, what it
    /// publishes after it, in this turn too, after the mail. So who decides about a topic can tell
    /// another shard after which message somebody joins; [`Context::hold`] sees to it that all later
    /// ones go there.
    ///
    /// To this shard itself it is ordinary mail, delivered after the callback. All that was published
    /// before is in the topic's log by then, but so is what the callback publishes after this call:
    /// whoever decides on the joiner's own shard subscribes it at once rather than by mail.
    pub fn mail_in_order(&mut self, shard: ShardId, topic: &str, mail: A::Mail) {
        self.core.mail_in_order(shard, topic, mail);
    }

    /// Has this shard mailed what other shards publish to `topic`, for subscribers in `format` that
    /// are still to come. Nothing is kept of it for nobody. Holds are counted, and are the shard's: no
    /// end of a connection takes one back.
    ///
    /// Nothing happens if nobody can subscribe to that name.
    ///
    /// Panics if the format is not below [`Format::COUNT`].
    pub fn hold(&mut self, topic: &str, format: Format) {
        self.core.hold(topic, format);
    }

    /// Takes back one [`Context::hold`]; nothing happens if there is none.
    pub fn release(&mut self, topic: &str, format: Format) {
        self.core.release(topic, format);
    }

    /// Runs `work` on the service thread's runtime; what it returns comes back to this instance as
    /// [`App::mail`]. A panic in `work` ends it without an answer.
    ///
    /// If the service thread's queue is full the work is dropped and counted (`service_busy`), and what
    /// `refused` returns comes in place of its answer, once the callback that asked has returned. Do not
    /// spawn again right then: it would be refused again.
    pub fn spawn(
        &mut self,
        work: impl Future<Output = A::Mail> + Send + 'static,
        refused: impl FnOnce() -> A::Mail + Send + 'static,
    ) {
        let work = Box::pin(async move { Mail::App(work.await) });
        let request = ServiceRequest::Spawn(work);
        let staged = Staged::Spawn(request, Box::new(refused));
        self.core.staged.push(staged);
    }

    /// The same for work whose answer must come: if the service thread's queue is full it waits for a
    /// place. The caller bounds how much there is of it.
    pub(crate) fn spawn_patiently(&mut self, work: impl Future<Output = A::Mail> + Send + 'static) {
        let work = Box::pin(async move { Mail::App(work.await) });
        self.core.patient.push_back(ServiceRequest::Spawn(work));
    }

    /// Open connections on this shard.
    pub fn connection_count(&self) -> usize {
        self.core.open
    }

    /// Users with a connection on this shard: those who are at home here.
    pub fn user_count(&self) -> usize {
        self.core.users.len()
    }

    /// Connections of a user who is at home on this shard; 0 for anybody else.
    pub fn user_connection_count(&self, user: &str) -> u32 {
        self.core.user_connection_count(user)
    }

    /// The open connections of a user who is at home on this shard, the oldest first; none of
    /// anybody else. Up to eight of them cost no allocation.
    pub fn connections_of(&self, user: &str) -> SmallVec<[ConnectionId; 8]> {
        let core = &*self.core;
        let oldest = core.users.find(user, &core.connections);
        let younger = |&slot: &Slot| core.connection(slot).and_then(|c| c.links.younger());
        std::iter::successors(oldest, younger)
            .filter(|&slot| core.in_phase(slot, Phase::Open))
            .map(|slot| core.id(slot))
            .collect()
    }

    /// The open connections of this shard whose slots are `first` or later, by slot. Costs a look at
    /// each slot in use on the way.
    pub fn connections_from(&self, first: Slot) -> impl Iterator<Item = ConnectionId> + '_ {
        let core = &*self.core;
        let slots = core.connections.indices_from(first.0).map(Slot);
        slots
            .filter(|&slot| core.in_phase(slot, Phase::Open))
            .map(|slot| core.id(slot))
    }

    /// Whether a connection of this shard is the oldest open one of its user's.
    pub fn is_oldest(&self, connection: ConnectionId) -> bool {
        let core = &*self.core;
        let Some(slot) = core.resolve(connection) else {
            return false;
        };
        let user = core.connection(slot).and_then(|c| c.user.as_ref());
        user.is_some_and(|user| {
            let oldest = core.users.find(user, &core.connections);
            let younger = |&slot: &Slot| core.connection(slot).and_then(|c| c.links.younger());
            std::iter::successors(oldest, younger).find(|&slot| core.in_phase(slot, Phase::Open))
                == Some(slot)
        })
    }

    /// Subscribers of a topic on this shard.
    pub fn subscriber_count(&self, topic: &str) -> usize {
        self.core.topics.subscriber_count(topic)
    }

    /// Connections of this shard that are still in their handshake or already closing
    /// (`pendingWebSockets` counts both).
    pub fn pending_count(&self) -> usize {
        self.core.connections.len() - self.core.open
    }

    /// What this shard has counted.
    pub fn counters(&self) -> &Counters {
        &self.core.counters
    }
}

/// A connection that is asked whose it is ([`Upgrade::Ask`](super::Upgrade::Ask)), for the length of a
/// callback. It is not open: it has no user and no subscriptions.
pub struct Asked<'a, A: App> {
    pub(crate) core: &'a mut Core<A>,
    pub(crate) slot: Slot,
}

impl<A: App> fmt::Debug for Asked<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Asked({:?})", self.core.id(self.slot))
    }
}

impl<A: App> Asked<'_, A> {
    fn record(&self) -> &Connection<A::Data> {
        self.core
            .connection(self.slot)
            .expect("a socket outlives its callback")
    }

    /// The shard.
    pub fn context(&mut self) -> Context<'_, A> {
        Context { core: self.core }
    }

    /// Sends one message, uncompressed. There is no bound but that on the frames which the peer may
    /// send meanwhile: one answer each.
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) {
        let message = message.into();
        self.core
            .send_asked(self.slot, message.opcode(), message.as_bytes());
    }

    /// The data with which it is asked.
    pub fn data(&self) -> &A::Data {
        &self.record().data
    }

    /// The data with which it is asked, to change, or to take along into an [`Accept`](super::Accept).
    pub fn data_mut(&mut self) -> &mut A::Data {
        let connection = self.core.connection_mut(self.slot);
        &mut connection.expect("a socket outlives its callback").data
    }

    /// The address of the TCP peer.
    pub fn remote_address(&self) -> SocketAddr {
        self.record().peer.into()
    }
}

/// One connection, for the length of a callback.
pub struct Socket<'a, A: App> {
    pub(crate) core: &'a mut Core<A>,
    pub(crate) slot: Slot,
}

impl<A: App> fmt::Debug for Socket<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Socket({:?})", self.id())
    }
}

impl<'a, A: App> Socket<'a, A> {
    fn record(&self) -> &Connection<A::Data> {
        self.core
            .connection(self.slot)
            .expect("a socket outlives its callback")
    }

    /// The shard, for everything that is not about this connection.
    pub fn context(&mut self) -> Context<'_, A> {
        Context { core: self.core }
    }

    /// The connection's identifier, unique in the process.
    pub fn id(&self) -> ConnectionId {
        self.core.id(self.slot)
    }

    /// Sends one message to this connection alone.
    ///
    /// Within a turn private messages go out before those of topics, whatever the order of the
    /// calls; each of the two keeps its own order.
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> Sent {
        let message = message.into();
        self.core
            .send(self.slot, message.opcode(), message.as_bytes())
    }

    /// Publishes to the topic's other subscribers; to this connection as well if `publish_to_self`
    /// is on. The connection itself need not be subscribed.
    pub fn publish<'m>(&mut self, topic: &str, message: impl Into<Message<'m>>) {
        let message = message.into();
        let exclude = (!self.core.options().publish_to_self).then(|| self.id());
        self.context().publish(topic, message, exclude);
    }

    /// Subscribes to a topic in the connection's own format: it gets what is published from here on.
    pub fn subscribe(&mut self, topic: &str) -> Subscribed {
        self.subscribe_as(topic, self.format())
    }

    /// Subscribes to a topic in a format of its own.
    ///
    /// Panics if the format is not below [`Format::COUNT`].
    pub fn subscribe_as(&mut self, topic: &str, format: Format) -> Subscribed {
        self.core.subscribe(self.slot, topic, format)
    }

    /// The connection's own format: [`Accept::format`](super::Accept::format).
    pub fn format(&self) -> Format {
        self.record().format
    }

    /// Unsubscribes. `false` if it was not subscribed. What was published before still goes out, but
    /// not to a slow peer whose socket is full: it gives up what it was not sent yet.
    pub fn unsubscribe(&mut self, topic: &str) -> bool {
        self.core.unsubscribe(self.slot, topic)
    }

    /// Whether the connection is subscribed to a topic.
    pub fn is_subscribed(&self, topic: &str) -> bool {
        self.core.subscription(self.slot, topic).is_some()
    }

    /// The connection's topics, in no particular order.
    pub fn subscriptions(&self) -> impl Iterator<Item = &str> {
        self.core.subscriptions(self.slot)
    }

    /// Bytes that wait for the peer besides topics: replies of this turn, and what a full socket
    /// left over.
    pub fn buffered_amount(&self) -> usize {
        self.record().buffered()
    }

    /// Whether the peer's socket is full, so that what is sent and published waits.
    pub fn is_blocked(&self) -> bool {
        self.record().marks.blocked
    }

    /// Asks to be told by [`App::passed`], with `token`, when everything that was sent to this
    /// connection, or published on this shard to its topics, up to this call, has been written to the
    /// kernel ([`Proof::Written`]) or has been answered for by the peer ([`Proof::Pong`]).
    ///
    /// Not among it is what the connection was not given: dropped messages ([`Sent::Dropped`]), what
    /// a window has passed (the application was told by [`App::lagged`] before; of a broadcast nobody
    /// is told), and what a slow peer gave up by unsubscribing.
    ///
    /// Each kind of proof has one barrier at a time: a further call replaces the token that waits, and
    /// the one callback speaks for both. While a ping is in flight its token stays; when the pong has
    /// come a next ping follows for the newest token. If the pong never comes there is no callback,
    /// and it is the keepalive that ends the connection. A peer that gets a [`ping`](Self::ping) of
    /// the application's behind it may answer that one alone; the barrier then waits until the
    /// keepalive asks again. Nothing happens on a closing connection, and none is told after its end.
    ///
    /// Costs an entry of 72 bytes in a table of the shard while it waits. Source: RFC 6455 sections
    /// 5.5.2 and 5.5.3.
    pub fn barrier(&mut self, token: u64, proof: Proof) {
        self.core.place_barrier(self.slot, token, proof);
    }

    /// Sends a ping. The payload is cut at 125 bytes.
    pub fn ping(&mut self, payload: &[u8]) {
        if self.record().phase == Phase::Open {
            let payload = &payload[..payload.len().min(CONTROL_PAYLOAD_BYTES_MAX)];
            self.core.send_control(self.slot, Opcode::Ping, payload);
        }
    }

    /// Starts the close handshake; what was sent before still goes out. A code that may not be sent
    /// (1005, 1006, 1015) closes without one; the reason is cut at 123 bytes.
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        self.core.begin_close(self.slot, code, reason);
    }

    /// Cuts the connection without a close frame.
    pub fn terminate(&mut self) {
        self.core.cut(self.slot, CloseCode::ABNORMAL, "terminated");
    }

    /// Bytes that can still be sent before the private queue is full and messages are dropped.
    pub fn queue_space(&self) -> usize {
        let limit = self.core.options().queue_bytes_max;
        limit.saturating_sub(self.record().buffered())
    }

    /// Time between two pings of the keepalive.
    pub fn ping_period(&self) -> Duration {
        self.core.options().ping_period
    }

    /// Largest message that the server takes from this connection, bytes.
    pub fn message_bytes_max(&self) -> usize {
        self.record().message_bytes_max as usize
    }

    /// The application's data.
    pub fn data(&self) -> &A::Data {
        &self.record().data
    }

    /// The application's data, to change.
    pub fn data_mut(&mut self) -> &mut A::Data {
        let slot = self.slot;
        &mut self
            .core
            .connection_mut(slot)
            .expect("a socket outlives its callback")
            .data
    }

    /// The application's data, for as long as the shard is borrowed.
    pub fn into_data(self) -> &'a mut A::Data {
        let slot = self.slot;
        let record = self.core.connection_mut(slot);
        &mut record.expect("a socket outlives its callback").data
    }

    /// The user.
    pub fn user(&self) -> &UserId {
        let user = self.record().user.as_ref();
        user.expect("a connection has a user until the application has heard of its end")
    }

    /// The address of the TCP peer.
    pub fn remote_address(&self) -> SocketAddr {
        self.record().peer.into()
    }

    /// Whether messages can be sent: not closing.
    pub fn is_open(&self) -> bool {
        self.record().phase == Phase::Open
    }
}
