//! What the embedder implements and is handed: the core's public face, shaped like Bun's
//! `serve({ websocket })`.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use super::context::{Asked, Context, Socket};
use super::format::Format;
use super::knocking::Knock;
use crate::http::{Head, Refusal};
use crate::time::Now;
use crate::ws::CloseCode;

/// An application on the core: one instance per shard, made by a factory on the shard's own thread.
///
/// Callbacks run on the shard and must not block: for I/O there is [`Context::spawn`]. A panic in a
/// callback takes the process down; the realtime application catches those of its handlers.
///
/// Order per connection: [`upgrade`](App::upgrade) on the shard that accepted, there perhaps
/// [`asked`](App::asked) or [`knocked`](App::knocked), then on the user's
/// home shard [`open`](App::open), any number of [`message`](App::message), [`drain`](App::drain),
/// [`lagged`](App::lagged) and [`passed`](App::passed), and [`close`](App::close) exactly once if
/// `open` was called.
pub trait App: Sized + 'static {
    /// What the application keeps with each connection (`ws.data` in Bun).
    type Data: Default + Send + 'static;
    /// What instances on different shards say to each other, and what spawned work answers with.
    type Mail: Send + 'static;

    /// Decides about a well-formed opening handshake. By default everybody is accepted as a guest.
    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<Self::Data> {
        let _ = request;
        Upgrade::Accept(Accept::default())
    }

    /// A handshake that [knocks](Accept::knocks) is accepted, and its 101 is not written. The application
    /// answers it by [`Context::admit`] or [`Context::refuse`], at once or after asking another shard;
    /// if it does not within the handshake's time, the answer is 503. By default it goes on.
    fn knocked(&mut self, context: &mut Context<'_, Self>, knock: Knock<Self::Data>) {
        context.admit(knock);
    }

    /// A connection to which [`upgrade`](App::upgrade) answered [`Upgrade::Ask`] has sent a message.
    /// `None`: it has not said yet whose it is. [`Upgrade::Refuse`] closes it: 4401, 4403, 4429 or 1013
    /// by the refusal's status, else 4400 or 4500. By default all messages are passed over, so that
    /// the deadline ends it.
    fn asked(
        &mut self,
        asked: &mut Asked<'_, Self>,
        message: Message<'_>,
    ) -> Option<Upgrade<Self::Data>> {
        let _ = (asked, message);
        None
    }

    /// A connection that was asked whose it is will be closed, for want of a user, of room or of
    /// time: the last occasion to send to it.
    fn refused(&mut self, asked: &mut Asked<'_, Self>, refusal: &Refusal) {
        let _ = (asked, refusal);
    }

    /// A connection is open. What is sent here follows the 101 at once.
    fn open(&mut self, socket: &mut Socket<'_, Self>) {
        let _ = socket;
    }

    /// A whole message has come in; text is valid UTF-8.
    fn message(&mut self, socket: &mut Socket<'_, Self>, message: Message<'_>);

    /// A connection that had bytes waiting for its peer has written them all.
    fn drain(&mut self, socket: &mut Socket<'_, Self>) {
        let _ = socket;
    }

    /// A slow subscriber missed `missed_bytes` bytes of `topic`: the window passed it, and the
    /// policy is [`SlowPolicy::Gap`](super::SlowPolicy) or `Latest`.
    fn lagged(&mut self, socket: &mut Socket<'_, Self>, topic: &str, missed_bytes: u64) {
        let _ = (socket, topic, missed_bytes);
    }

    /// What was sent and published to a connection before it was asked to tell so
    /// ([`Socket::barrier`]) is written or has arrived, as asked. Of what it missed by a window
    /// [`lagged`](App::lagged) has told before.
    fn passed(&mut self, socket: &mut Socket<'_, Self>, token: u64) {
        let _ = (socket, token);
    }

    /// A connection is closing: nothing can be sent to it any more, its subscriptions are gone, its
    /// data and user are still there and it still counts among the user's connections. `code` is
    /// the peer's or ours, 1005 if the peer gave none, 1006 if the connection broke.
    fn close(&mut self, socket: &mut Socket<'_, Self>, code: CloseCode, reason: &str) {
        let _ = (socket, code, reason);
    }

    /// About a second has passed: for what is due by the clock. Called once a second on every shard.
    fn tick(&mut self, context: &mut Context<'_, Self>) {
        let _ = context;
    }

    /// What the handler of that number is called, for metrics and warnings: see [`Context::handled`].
    fn handler_name(&self, handler: u8) -> &str {
        let _ = handler;
        "message"
    }

    /// Mail from another instance, from spawned work or from a [`ServerHandle`](crate::server).
    fn mail(&mut self, context: &mut Context<'_, Self>, mail: Self::Mail) {
        let _ = (context, mail);
    }
}

/// An opening handshake that has passed the checks of RFC 6455 section 4.2.1.
#[derive(Debug)]
pub struct Request<'a> {
    pub(crate) head: Head<'a>,
    pub(crate) remote_address: SocketAddr,
    pub(crate) now: Now,
    pub(crate) is_secure: bool,
}

impl<'a> Request<'a> {
    /// The request head: path, query, headers.
    pub fn head(&self) -> &Head<'a> {
        &self.head
    }

    /// The path of the request target, without the query.
    pub fn path(&self) -> &str {
        self.head.path()
    }

    /// The clocks, read once a turn.
    pub fn now(&self) -> Now {
        self.now
    }

    /// Whether the connection came over TLS that ends here. Of a proxy in front it says nothing.
    pub fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// The address of the TCP peer (a proxy's, behind one, unless it speaks the PROXY protocol).
    pub fn remote_address(&self) -> SocketAddr {
        self.remote_address
    }
}

/// The answer to a handshake.
pub enum Upgrade<D> {
    /// Welcome.
    Accept(Accept<D>),
    /// An HTTP refusal; the connection is closed after it.
    Refuse(Refusal),
    /// The answer needs I/O: it is awaited on the service thread, within the handshake's time.
    Defer(Deferred<D>),
    /// The 101 is written, and the first messages have to say whose the connection is:
    /// [`App::asked`].
    Ask(Ask<D>),
}

/// How a connection is set up that is asked whose it is.
#[derive(Debug)]
pub struct Ask<D> {
    /// Its data while it is asked, and what the 101 says. The user is not looked at.
    pub accept: Accept<D>,
    /// How long it may take: then it is closed with 4408. Grain: one second.
    pub timeout: Duration,
}

/// A handshake's answer to come.
pub type Deferred<D> = Pin<Box<dyn Future<Output = Result<Accept<D>, Refusal>> + Send>>;

impl<D> From<Accept<D>> for Upgrade<D> {
    fn from(accept: Accept<D>) -> Self {
        Self::Accept(accept)
    }
}

impl<D> From<Refusal> for Upgrade<D> {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

impl<D> fmt::Debug for Upgrade<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accept(_) => "Accept",
            Self::Refuse(_) => "Refuse",
            Self::Defer(_) => "Defer",
            Self::Ask(_) => "Ask",
        })
    }
}

/// How an accepted connection is set up.
#[derive(Debug, Default)]
pub struct Accept<D> {
    /// Who this is. `None`: a guest, who gets a generated identifier and stays on the shard that
    /// accepted. Non-empty, at most [`USER_ID_BYTES_MAX`](crate::limits::USER_ID_BYTES_MAX) bytes.
    pub user: Option<String>,
    /// The application's data for the connection.
    pub data: D,
    /// The one subprotocol to confirm; it must be among those offered.
    pub subprotocol: Option<String>,
    /// The client's address, where that of the TCP peer is a proxy's.
    pub remote_address: Option<SocketAddr>,
    /// Further header fields of the 101.
    pub headers: Vec<(String, String)>,
    /// Largest message of this connection, bytes, in place of the server's own limit.
    pub message_bytes_max: Option<usize>,
    /// In which the connection takes broadcasts, and topics that it is subscribed to without saying
    /// which.
    pub format: Format,
    /// Whether the application has a last word before the 101, when it is known whose the connection
    /// is: [`App::knocked`]. Not of a connection that was [asked](Upgrade::Ask), which has its 101.
    pub knocks: bool,
}

impl<D> Accept<D> {
    /// Accepts with `data`, as a guest.
    pub fn new(data: D) -> Self {
        Self {
            user: None,
            data,
            subprotocol: None,
            remote_address: None,
            headers: Vec::new(),
            message_bytes_max: None,
            format: Format::default(),
            knocks: false,
        }
    }

    /// Accepts as `user`.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }
}

/// One message, in or out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
}

impl Message<'_> {
    /// The payload's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

impl<'a> From<&'a str> for Message<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Message<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Binary(bytes)
    }
}

/// What became of a message that was sent to one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a dropped message is the caller's to deal with"]
pub enum Sent {
    /// Goes to the kernel at the end of this turn: that many bytes, header included.
    Written(usize),
    /// Waits behind a slow peer: that many bytes are buffered now.
    Queued(usize),
    /// Not sent.
    Dropped(Dropped),
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// The connection is closing or gone.
    Closed,
    /// The private queue would exceed `queue_bytes_max`.
    Backpressure,
}
