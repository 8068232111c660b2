//! What the shards' instances say to each other.

use std::fmt;

use super::protocol::OwnedRequestId;
use super::rooms::{Members, Room};
use super::{Ctx, HandlerError};
use crate::id::{ConnectionId, UserId};

/// One item of mail between instances of [`Realtime`](super::Realtime).
#[derive(Debug)]
pub struct Mail(pub(super) Letter);

impl Mail {
    /// Publishes a frame, the text of a JSON object, to a room: to be mailed to the room's home
    /// (`handle.mail(handle.home(room), Mail::publish(room, frame))`), which puts it in the room's
    /// one order.
    pub fn publish(room: &str, frame: &str) -> Self {
        Self(Letter::Publish {
            room: Room::new(room),
            exclude: None,
            frame: frame.into(),
        })
    }
}

/// To a room's home, unless it says otherwise.
#[derive(Debug)]
pub(super) enum Letter {
    /// A connection has subscribed to the room.
    Join {
        room: Room,
        user: UserId,
        connection: ConnectionId,
    },
    /// A connection that had joined is not subscribed any more.
    Leave { room: Room, user: UserId },
    /// A finished frame for the room.
    Publish {
        room: Room,
        exclude: Option<ConnectionId>,
        frame: Box<str>,
    },
    /// A member types, or has stopped.
    Typing {
        room: Room,
        user: UserId,
        connection: ConnectionId,
        is_typing: bool,
    },
    /// Somebody wants to know who is there.
    Members {
        room: Room,
        asker: Asker,
        then: Then<Members>,
    },
    /// To a connection's shard: goes on with what a handler began.
    Continue { asker: Asker, then: Then<()> },
}

/// The rest of a handler's work, to be done with what was waited for.
pub(super) struct Then<T>(pub(super) Rest<T>);

type Rest<T> = Box<dyn FnOnce(&mut Ctx<'_>, T) -> Result<(), HandlerError> + Send>;

impl<T> Then<T> {
    pub(super) fn new(
        run: impl FnOnce(&mut Ctx<'_>, T) -> Result<(), HandlerError> + Send + 'static,
    ) -> Self {
        Self(Box::new(run))
    }
}

impl<T> fmt::Debug for Then<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Then")
    }
}

/// Whose message began it.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) connection: ConnectionId,
    pub(super) id: Option<OwnedRequestId>,
    pub(super) message_type: Box<str>,
}
