//! Tests of your own handlers: a whole server in one thread, without sockets, clocks or a kernel.
//!
//! ```toml
//! [dev-dependencies]
//! campanile = { version = "0.1", features = ["testing"] }
//! ```
//!
//! A [`TestServer`] is the server of production, with a pretend kernel beneath it: the same shards,
//! registry, rooms and limits. Its [`Client`]s send and receive whole messages. Sending is also
//! waiting: when [`Client::send`] returns, all that follows from the message has happened, on all
//! shards, and what it led to lies with the clients.
//!
//! ```
//! use std::time::Duration;
//!
//! use campanile::realtime::protocol::{Message, Rejection};
//! use campanile::realtime::{Ctx, Exclude, Handler, HandlerError};
//! use campanile::testing::TestServer;
//! use serde_json::json;
//!
//! /// Rings a bell in the room, and tells who rang when it was heard.
//! struct Bell;
//!
//! impl Handler for Bell {
//!     fn message_type(&self) -> &str {
//!         "bell"
//!     }
//!
//!     fn handle(&mut self, ctx: &mut Ctx<'_>, message: &Message<'_>) -> Result<(), HandlerError> {
//!         let Some(tone) = message.str("tone")?.map(|tone| tone.into_owned()) else {
//!             return Err(Rejection::MissingMember("tone".into()).into());
//!         };
//!         let room = ctx.room(message)?;
//!         ctx.publish(&room, "bell", Exclude::Sender, |frame| frame.str("tone", &tone));
//!         let echo = async {
//!             tokio::time::sleep(Duration::from_secs(3)).await;
//!             "from the mountains"
//!         };
//!         ctx.spawn(echo, |ctx, from| {
//!             ctx.reply("echo", |frame| frame.str("from", from));
//!             Ok(())
//!         });
//!         Ok(())
//!     }
//! }
//!
//! let server = TestServer::builder().handler(|| Bell).start();
//! let (ann, bob) = (server.connect("ann"), server.connect("bob"));
//! server.forget(); // The welcomes, and that bob has joined the lobby.
//!
//! ann.send(json!({"type": "bell", "id": 1, "tone": "g"}));
//! let heard = bob.receive();
//! assert_eq!((&heard["type"], &heard["tone"]), (&json!("bell"), &json!("g")));
//! assert_eq!(heard["user_id"], "ann");
//! ann.expect_nothing();
//!
//! server.advance(Duration::from_secs(3));
//! assert_eq!(ann.receive()["from"], "from the mountains");
//!
//! ann.send(json!({"type": "bell", "id": 2}));
//! assert_eq!(ann.expect("error")["code"], "invalid_message");
//! server.end();
//! ```
//!
//! # What is real and what is not
//!
//! - *Shards.* There are two unless [`Builder::shards`] says otherwise: each has its own instance of
//!   a handler, so that one that keeps a room's state in itself fails its test and not its users.
//! - *Time* stands still until [`TestServer::advance`], for time stamps, deadlines and presence as
//!   for tokio's timers in [spawned](crate::realtime::Ctx::spawn) work.
//! - *Spawned work* runs on a tokio runtime on the test's thread: until it waits for something when a
//!   message is sent, and on when something is received. I/O is real: [`Client::receive`] waits for
//!   it, up to ten seconds, and [`TestServer::finish_work`] for all of it.
//!   As in production, a shard's thread is in no runtime: make tokio's timers and sockets inside of the
//!   future, not before it.
//! - *Order.* The same test does the same thing every time, work that waits for I/O excepted. All
//!   identifiers follow from [`Builder::seed`].
//! - *Clients* connect to shard 0 and move to their users' homes from there. They answer pings and
//!   close frames, know no extension and read at once, unless they are [frozen](Client::freeze).
//! - *The store* of [persistent rooms](Builder::store) is real: a thread, and a file in a folder. It is
//!   waited for like a shard.
//! - There is no plain HTTP, and no signal.
//!
//! A `TestServer` has a runtime of its own: its tests are plain `#[test]`s, not `#[tokio::test]`s.
#![forbid(unsafe_code)]

mod client;
mod driver;
mod folder;
mod payload;
mod peer;
mod server;
#[cfg(test)]
mod tests;
mod work;
mod world;

pub use client::Client;
pub use folder::StoreFolder;
pub use payload::{Payload, Received, Refused};
#[cfg(any(test, feature = "sim"))]
pub(crate) use peer::Peer;
pub use server::{Builder, TestServer};
