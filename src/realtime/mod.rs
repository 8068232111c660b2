//! The realtime application: rooms, presence and typed messages on top of the core.
//!
//! [`Realtime`] is one implementation of the core's [`App`](crate::App). A message's `type` finds its
//! [`Handler`] in the [`Registry`]; the handler is handed a [`Ctx`] to answer and publish with. Chat,
//! typing, ping and the others that come with it are ordinary handlers, which a handler of your own
//! with the same type replaces.
//!
//! ```no_run
//! use campanile::Server;
//! use campanile::realtime::protocol::Message;
//! use campanile::realtime::{Ctx, Exclude, Handler, HandlerError, Realtime, RealtimeOptions};
//!
//! struct Dice;
//!
//! impl Handler for Dice {
//!     fn message_type(&self) -> &str {
//!         "dice"
//!     }
//!
//!     fn handle(&mut self, ctx: &mut Ctx<'_>, message: &Message<'_>) -> Result<(), HandlerError> {
//!         let room = ctx.room(message)?;
//!         let eyes = ctx.random() % 6 + 1;
//!         ctx.publish(&room, "dice", Exclude::None, |fields| fields.number("eyes", eyes));
//!         Ok(())
//!     }
//! }
//!
//! Server::new(|_shard| Realtime::new(RealtimeOptions::default()).with(Dice))
//!     .listen("127.0.0.1:8080")
//!     .run()?;
//! # Ok::<(), campanile::StartError>(())
//! ```
//!
//! The way of a message:
//!
//! ```text
//!   sender's shard                                room's home shard            every shard
//!   text ► scan ► registry ► handler ► frame ──mail──► publish ──────batch──────► topic log
//!                                └ home is here: no mail ─┘
//! ```
//!
//! A room is a topic of the core under the same name. Everything that is decided about it, its
//! members and the order of its messages, is decided on its home shard.
#![forbid(unsafe_code)]

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

mod app;
mod content;
mod context;
mod deliver;
mod entry;
mod external;
pub mod handlers;
mod identity;
mod lasting;
mod mail;
mod options;
mod outlet;
mod overview;
mod post;
pub mod protocol;
mod rate;
mod registry;
mod rooms;
#[cfg(any(test, feature = "sim"))]
pub(crate) mod seam;
mod session;
mod state;
#[cfg(test)]
mod tests;
mod upgrade;
mod writing;

pub use crate::who::{Roles, Standing, UnknownWho, Who};
pub use app::Realtime;
pub use content::{ContentFilter, ContentOptions, ControlCharacters, Verdict};
pub use context::{Ctx, Exclude};
pub use external::{Answer, Answered, Asking, Errand, Said};
pub use mail::Mail;
pub use options::{
    Create, DeliveryOptions, DeliveryProof, HistoryOptions, LimitOptions, Namespace, Namespaces,
    PlainText, PresenceOptions, RealtimeOptions, RetentionOptions, Route,
};
pub use overview::{ConnectionView, UserView, UsersPage};
pub use registry::{Handler, HandlerError, Registry};
pub use rooms::{Changes as RoomChanges, Member, Members, Room, RoomCtx};
pub use session::Session;
pub use state::{Counts, NoStore, Stats};
