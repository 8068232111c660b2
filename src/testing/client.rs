//! The client in a test's hand.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use serde_json::Value;

use super::peer::Peer;
use super::world::World;
use super::{Payload, Received, payload};

/// One connection to a [`TestServer`](super::TestServer). Clones are the same connection; dropping
/// them does not end it.
///
/// What comes in waits in the order of its arrival until it is received, also after the connection
/// has ended. Methods that want something panic if it is not there, with what came in so far.
#[derive(Clone)]
pub struct Client {
    pub(super) world: Rc<RefCell<World>>,
    pub(super) number: usize,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.number)
    }
}

impl Client {
    /// Sends a message, and lets all happen that follows from it.
    ///
    /// Panics if the connection has ended.
    #[track_caller]
    pub fn send(&self, payload: impl Into<Payload>) {
        self.write(payload);
        self.world.borrow_mut().run();
    }

    /// Puts a message into the socket; nothing happens until [`TestServer::run`](super::TestServer::run)
    /// or the next thing that lets things happen. For what several clients do at once.
    ///
    /// Panics if the connection has ended.
    #[track_caller]
    pub fn write(&self, payload: impl Into<Payload>) {
        self.assert_open("send");
        let payload = payload.into();
        let (opcode, bytes) = payload.parts();
        self.peer(|peer| peer.write_frame(opcode, bytes));
    }

    /// The next message, as JSON. If there is none yet, work that handlers have spawned is waited for.
    ///
    /// Panics if nothing comes, or if what comes is no JSON text.
    #[track_caller]
    pub fn receive(&self) -> Value {
        match self.next() {
            Some(message) => self.json(message),
            None => self.fail("a message"),
        }
    }

    /// The next message whose `type` is this one; those before it are passed over. Waits as
    /// [`receive`](Client::receive) does.
    ///
    /// Panics if none comes, or if one on the way is no JSON text.
    #[track_caller]
    pub fn expect(&self, message_type: &str) -> Value {
        while let Some(message) = self.next() {
            let message = self.json(message);
            if message["type"] == message_type {
                return message;
            }
        }
        self.fail(&format!("a message of type {message_type:?}"))
    }

    /// The next message as it is, text or binary. Waits as [`receive`](Client::receive) does.
    ///
    /// Panics if nothing comes.
    #[track_caller]
    pub fn receive_raw(&self) -> Received {
        match self.next() {
            Some(message) => message,
            None => self.fail("a message"),
        }
    }

    /// The next message as it is, if there is one. Waits for nothing.
    pub fn try_receive_raw(&self) -> Option<Received> {
        self.peer(|peer| peer.messages.pop_front())
    }

    /// All messages that are there, as JSON; none, perhaps. Waits for nothing.
    ///
    /// Panics if one of them is no JSON text.
    #[track_caller]
    pub fn receive_all(&self) -> Vec<Value> {
        let messages = self.peer(|peer| std::mem::take(&mut peer.messages));
        let mut all = Vec::new();
        for message in messages {
            all.push(self.json(message));
        }
        all
    }

    /// All messages of this type that are there; the others are passed over. Waits for nothing.
    ///
    /// Panics if one of them is no JSON text.
    #[track_caller]
    pub fn receive_all_of(&self, message_type: &str) -> Vec<Value> {
        let mut all = self.receive_all();
        all.retain(|message| message["type"] == message_type);
        all
    }

    /// Panics if there is a message. Waits for nothing: see
    /// [`TestServer::finish_work`](super::TestServer::finish_work).
    #[track_caller]
    pub fn expect_nothing(&self) {
        let next = self.peer(|peer| peer.messages.front().cloned());
        if let Some(message) = next {
            panic!("{self:?} has received {message:?}\n{}", self.story());
        }
    }

    /// Passes over all messages that are there.
    pub fn forget(&self) {
        self.peer(|peer| peer.messages.clear());
    }

    /// The head of the response to the upgrade, with its status line and its empty line.
    pub fn response_head(&self) -> String {
        self.peer(|peer| peer.head.clone().unwrap_or_default())
    }

    /// The value of a header field of the response to the upgrade.
    pub fn response_header(&self, name: &str) -> Option<String> {
        self.peer(|peer| payload::field(peer.head.as_deref().unwrap_or_default(), name))
    }

    /// The close code and reason by which the server ended the connection, if it has; 1006 if it did
    /// without a close frame.
    pub fn closed(&self) -> Option<(u16, String)> {
        self.peer(|peer| peer.closed.clone())
    }

    /// Starts the close handshake, and lets all happen that follows from it.
    ///
    /// Panics if the connection has ended.
    #[track_caller]
    pub fn close(&self, code: u16, reason: &str) {
        self.assert_open("close");
        let payload = [&code.to_be_bytes()[..], reason.as_bytes()].concat();
        self.peer(|peer| peer.close(&payload));
        self.world.borrow_mut().run();
    }

    /// Vanishes without a word, as a client does whose machine fails, after what it has written. Lets
    /// all happen that follows from it.
    ///
    /// Panics if the connection has ended.
    #[track_caller]
    pub fn disconnect(&self) {
        self.hang_up();
        self.world.borrow_mut().run();
    }

    /// As [`disconnect`](Client::disconnect), but nothing happens until
    /// [`TestServer::run`](super::TestServer::run) or the next thing that lets things happen.
    ///
    /// Panics if the connection has ended.
    #[track_caller]
    pub fn hang_up(&self) {
        self.assert_open("disconnect");
        self.peer(Peer::vanish);
    }

    /// Stops reading: its socket is full, and what the server sends waits on the server's side until
    /// [`thaw`](Client::thaw). It can still send. After the server's `write_wait` it is closed.
    pub fn freeze(&self) {
        self.peer(|peer| peer.frozen = true);
    }

    /// Reads again, and lets all happen that follows from it.
    pub fn thaw(&self) {
        self.peer(|peer| peer.frozen = false);
        self.world.borrow_mut().run();
    }

    fn peer<T>(&self, look: impl FnOnce(&mut Peer) -> T) -> T {
        look(&mut self.world.borrow_mut().peers[self.number])
    }

    /// The next message; spawned work is waited for if there is none.
    #[track_caller]
    fn next(&self) -> Option<Received> {
        loop {
            if let Some(message) = self.peer(|peer| peer.messages.pop_front()) {
                return Some(message);
            }
            let waited = self.world.borrow_mut().wait();
            match waited {
                Ok(true) => {}
                Ok(false) => return None,
                Err(waiting) => panic!("{self:?} waits: {waiting}\n{}", self.story()),
            }
        }
    }

    #[track_caller]
    fn json(&self, message: Received) -> Value {
        let text = match message {
            Received::Text(text) => text,
            Received::Binary(bytes) => {
                panic!(
                    "{self:?} has received {} bytes, no text\n{}",
                    bytes.len(),
                    self.story()
                )
            }
        };
        match serde_json::from_str(&text) {
            Ok(value) => value,
            Err(error) => panic!(
                "{self:?} has received no JSON: {error}: {text}\n{}",
                self.story()
            ),
        }
    }

    #[track_caller]
    fn assert_open(&self, what: &str) {
        if self.peer(|peer| peer.is_gone) {
            panic!(
                "{self:?} cannot {what}: the connection has ended\n{}",
                self.story()
            );
        }
    }

    #[track_caller]
    fn fail(&self, wanted: &str) -> ! {
        panic!("{self:?} has not received {wanted}\n{}", self.story())
    }

    fn story(&self) -> String {
        self.peer(|peer| peer.story())
    }
}
