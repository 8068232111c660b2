//! What the shards' instances say to each other.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use smol_str::SmolStr;

use super::external::{Errand, Outside};
use super::options::Roles;
use super::post::OwnedPost;
use super::protocol::{MessageId, OwnedRequestId, Profile, Rejection, Status};
use super::rooms::{Listing, Loaded, Question, Room, RoomCtx, Stored};
use super::session::Session;
use super::writing::Written;
use super::{Ctx, HandlerError};
use crate::id::{ConnectionId, UserId};
use crate::shard::Knock;

/// One item of mail between instances of [`Realtime`](super::Realtime).
#[derive(Debug)]
pub struct Mail(pub(super) Letter);

impl Mail {
    /// Publishes a message to a room, from the server itself: to be mailed to the room's home
    /// (`handle.mail(handle.home(room), Mail::publish(room, "news", r#"{"text":"hi"}"#)?)`), which
    /// puts it in the room's one order. `payload` is the text of a JSON object.
    ///
    /// Errors: [`Rejection::InvalidJson`], [`Rejection::TooDeep`], [`Rejection::NotAnObject`] about
    /// the payload, [`Rejection::InvalidMember`] about a room or a type that nothing can be called.
    pub fn publish(room: &str, message_type: &str, payload: &str) -> Result<Self, Rejection> {
        checked(message_type, payload)?;
        let room = Room::named(room)?;
        let post = OwnedPost::from_server(message_type, payload);
        Ok(Self(Letter::Post {
            room,
            post: Box::new(post),
        }))
    }

    /// Sends a message to all connections of a user, from the server itself: to be mailed to the
    /// user's home. `payload` is the text of a JSON object.
    ///
    /// Errors: as [`publish`](Mail::publish) about type and payload.
    pub fn send_to_user(user: &str, message_type: &str, payload: &str) -> Result<Self, Rejection> {
        checked(message_type, payload)?;
        let push = Push::from_server(message_type, payload);
        Ok(Self(Letter::ToUser {
            user: user.into(),
            push: Box::new(push),
        }))
    }
}

impl Mail {
    /// Sends a message to every open connection of the server, from the server itself: to be mailed
    /// to any one shard. `payload` is the text of a JSON object.
    ///
    /// Errors: as [`publish`](Mail::publish) about type and payload.
    pub fn broadcast(message_type: &str, payload: &str) -> Result<Self, Rejection> {
        checked(message_type, payload)?;
        let push = Box::new(Push::from_server(message_type, payload));
        Ok(Self(Letter::Broadcast {
            exclude: None,
            push,
        }))
    }
}

/// Errors: what cannot be a message.
fn checked(message_type: &str, payload: &str) -> Result<(), Rejection> {
    super::external::members(payload)?;
    let is_type = super::external::is_type(message_type);
    let invalid = Rejection::InvalidMember("type".into());
    is_type.then_some(()).ok_or(invalid)
}

/// What one shard writes to another.
#[derive(Debug)]
pub(super) enum Letter {
    /// To a room's home: a connection wants to join.
    Join(Box<Join>),
    /// To a room's home: a handshake whose path names the room. It makes no room.
    Knock {
        room: Room,
        knock: Box<Knock<Session>>,
    },
    /// To a room's home: a connection that had asked to join is not in the room any more.
    Leave(Leave),
    /// To a room's home: a message for the room.
    Post { room: Room, post: Box<OwnedPost> },
    /// To a room's home: something that is told now and never again.
    Ephemeral {
        room: Room,
        exclude: Option<ConnectionId>,
        push: Box<Push>,
    },
    /// To a room's home: a member types, or has stopped.
    Typing {
        room: Room,
        user: UserId,
        connection: ConnectionId,
        is_typing: bool,
    },
    /// To a room's home: a member says something about itself. The text of a JSON object.
    Info {
        room: Room,
        asker: Asker,
        info: Box<str>,
    },
    /// To a room's home: a member has got or read a message.
    Receipt {
        room: Room,
        asker: Asker,
        receipt: Receipt,
    },
    /// To a room's home: a barrier has proved that a member's connection has got the messages up to
    /// there.
    Proved {
        room: Room,
        user: UserId,
        connection: ConnectionId,
        offset: u64,
    },
    /// To a room's home: messages were left out for a member's connection.
    Missed {
        room: Room,
        user: UserId,
        connection: ConnectionId,
    },
    /// To a room's home: a question that its state answers.
    Ask {
        room: Room,
        asker: Asker,
        roles: Roles,
        question: Box<Question>,
    },
    /// To a room's home: a handler's own work on the room.
    Run {
        room: Room,
        asker: Asker,
        run: InRoom,
    },
    /// To a room's home: what the store knows of the room.
    Loaded { room: Room, loaded: Box<Loaded> },
    /// To a room's home: what became of a message that the store was to keep.
    Stored { room: Room, stored: Stored },
    /// To a connection's shard: what became of its joining.
    Joined(Box<Joined>),
    /// To a connection's shard: it is not in the room any more.
    Expelled {
        connection: ConnectionId,
        room: Room,
        /// Which of the connection's memberships this ends.
        number: u32,
        reason: Reason,
    },
    /// To a connection's shard: prove that the room's messages up to there have arrived.
    Prove {
        room: Room,
        offset: u64,
        connections: Vec<ConnectionId>,
    },
    /// To a user's home: a message for all of the user's connections.
    ToUser { user: UserId, push: Box<Push> },
    /// To a user's home: the user is a lasting member of the room, or no more.
    Lasting {
        user: UserId,
        room: Room,
        is_member: bool,
    },
    /// To a connection's shard: goes on with what a handler began.
    Continue { asker: Asker, then: Then<()> },
    /// To each shard in turn: the rooms of all, for a page of them.
    List(Box<Listing>),
    /// To a connection's shard: rooms that its user belongs to.
    Rooms {
        connection: ConnectionId,
        rooms: Vec<Room>,
    },
    /// To the shard that decides about it: what somebody asks who has no connection.
    Outside(Box<Errand>),
    /// To the shard that asked the store: the answer to somebody's question, as JSON.
    Answered {
        asker: Asker,
        answer: Result<String, Rejection>,
    },
    /// To any shard: a message for everybody.
    Broadcast {
        exclude: Option<ConnectionId>,
        push: Box<Push>,
    },
}

/// A connection's wish to be in a room.
#[derive(Debug)]
pub(super) struct Join {
    pub(super) room: Room,
    pub(super) asker: Asker,
    pub(super) roles: Roles,
    /// Which of the connection's questions this is; names the membership that it begins.
    pub(super) number: u32,
    pub(super) start: Start,
    /// Whether the connection wants to be told who is there.
    pub(super) presence: bool,
    /// What the user says about itself, the text of a JSON object.
    pub(super) info: Option<Box<str>>,
    /// Whether the peer asked for it with `subscribe`, and is answered.
    pub(super) is_answered: bool,
    /// Whether a refusal ends the connection: the room is that of its path.
    pub(super) is_vital: bool,
}

/// Where in a room's messages a new subscriber starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// With what comes.
    Now,
    /// After the last message that it knows.
    After { epoch: Box<str>, offset: u64 },
    /// After the last message that the user is known to have got, if the membership lasts.
    Undelivered,
}

#[derive(Debug)]
pub(super) struct Leave {
    pub(super) room: Room,
    pub(super) user: UserId,
    pub(super) connection: ConnectionId,
    /// Which of the connection's memberships ends: it may have begun a new one meanwhile.
    pub(super) number: u32,
    /// Whether the user gives up a lasting membership, too.
    pub(super) for_good: bool,
}

/// What a room's home says to a connection that wants to join.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) room: Room,
    pub(super) asker: Asker,
    pub(super) number: u32,
    pub(super) is_vital: bool,
    /// Whether the connection wants to be told who is there.
    pub(super) presence: bool,
    pub(super) outcome: Result<Admission, Rejection>,
}

/// How a connection begins in a room.
#[derive(Debug)]
pub(super) struct Admission {
    /// Frames in the connection's profile, to be sent before anything that follows: the answer to
    /// its `subscribe`, messages that it has missed, the members.
    pub(super) frames: Vec<Written>,
    /// What to send in their place if they do not fit the connection's queue: the messages that
    /// were missed are left out, and the answer says so.
    pub(super) without_replay: Vec<Written>,
    /// Whether the messages that were missed are all among the frames; `None`: it did not ask.
    pub(super) recovered: Option<bool>,
    /// How many they are.
    pub(super) replayed: usize,
}

/// A client's word about messages that it has got.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receipt {
    pub(super) message: MessageId,
    pub(super) status: Status,
}

/// Why a connection is in a room no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Kicked,
    RoomClosed,
    Forbidden,
}

impl Reason {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Kicked => "kicked",
            Self::RoomClosed => "room_closed",
            Self::Forbidden => "forbidden",
        }
    }
}

/// A message that is in no room's history: its type, payload, and who caused it.
#[derive(Clone, Debug)]
pub(super) struct Push {
    pub(super) message_type: SmolStr,
    pub(super) id: Option<MessageId>,
    pub(super) user: Option<UserId>,
    /// The text of a JSON object.
    pub(super) payload: Box<str>,
}

impl Push {
    pub(super) fn from_server(message_type: &str, payload: &str) -> Self {
        Self {
            message_type: message_type.into(),
            id: None,
            user: None,
            payload: payload.into(),
        }
    }
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

/// A handler's work at a room's home.
pub(super) struct InRoom(pub(super) RoomWork);

type RoomWork = Box<dyn FnOnce(&mut RoomCtx<'_, '_, '_>) -> Result<(), HandlerError> + Send>;

impl fmt::Debug for InRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InRoom")
    }
}

/// Whose message began it, and how that connection is spoken to.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    pub(super) connection: ConnectionId,
    pub(super) user: UserId,
    pub(super) profile: Profile,
    pub(super) id: Option<OwnedRequestId>,
    pub(super) message_type: SmolStr,
    /// Where it came from, for the security log; `None`: not by a connection.
    pub(super) address: Option<IpAddr>,
    /// Who asks without a connection, and is answered by this; `connection` is nobody's then.
    pub(super) outside: Option<Arc<Outside>>,
}
