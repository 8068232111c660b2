//! The payload of every frame that the server sends: the object alone. What stands beside it is
//! [`Outbound`](super::Outbound)'s affair.
//!
//! Where a payload has a `timestamp` of its own, profiles that write the envelope's into the same
//! object write it once.
//!
//! ```
//! use campanile::realtime::protocol::{Fields, Timestamp, payload};
//!
//! let (mut object, now) = (Vec::new(), Timestamp::new(0));
//! Fields::write(&mut object, |fields| payload::draining(fields, 8421, &now));
//! assert!(object.starts_with(br#"{"status":"draining""#));
//! ```

use super::{Content, Fields, MessageId, Profile, Rejection, Status, Timestamp};
use crate::id::ConnectionId;

/// What a welcome says.
#[derive(Clone, Copy, Debug)]
pub struct Established<'a> {
    /// The connection.
    pub connection: ConnectionId,
    /// Its user.
    pub user: &'a str,
    /// The session, for connections that can be resumed.
    pub session: Option<&'a str>,
    /// Milliseconds between two of the server's pings.
    pub heartbeat_ms: u64,
    /// Largest message that the server takes, bytes.
    pub message_bytes_max: u64,
    /// When its authentication ends, if it does.
    pub expires_at: Option<Timestamp>,
}

/// `connection-status`, `established`: the welcome (4.2). `session`, `profile`, `heartbeat_ms` and
/// `max_message_size` are for profiles whose clients look for them.
pub fn established<'o>(
    fields: Fields<'o>,
    welcome: &Established<'_>,
    profile: Profile,
    at: &Timestamp,
) -> Fields<'o> {
    let fields = fields
        .str("status", "established")
        .time("timestamp", at)
        .str("connection_id", welcome.connection.encode(&mut [0; 16]))
        .str("user_id", welcome.user);
    if !profile.placement().long_welcome {
        return fields;
    }
    let fields = fields
        .optional_str("session", welcome.session)
        .str("profile", profile.as_str())
        .number("heartbeat_ms", welcome.heartbeat_ms)
        .number("max_message_size", welcome.message_bytes_max);
    optional_time(fields, "expires_at", welcome.expires_at)
}

fn optional_time<'o>(fields: Fields<'o>, name: &str, time: Option<Timestamp>) -> Fields<'o> {
    match time {
        Some(time) => fields.time(name, &time),
        None => fields,
    }
}

/// `connection-status`, `draining`: when to reconnect elsewhere.
pub fn draining<'o>(fields: Fields<'o>, reconnect_in_ms: u64, at: &Timestamp) -> Fields<'o> {
    fields
        .str("status", "draining")
        .time("timestamp", at)
        .number("reconnect_in_ms", reconnect_in_ms)
}

/// `connection-status`, `moved`: another process has taken the connection over.
pub fn moved<'o>(fields: Fields<'o>, at: &Timestamp) -> Fields<'o> {
    fields.str("status", "moved").time("timestamp", at)
}

/// `authentication`, `ok`: whose the connection is and for how long.
pub fn authenticated<'o>(
    fields: Fields<'o>,
    user: &str,
    expires_at: Option<Timestamp>,
) -> Fields<'o> {
    let fields = fields.str("status", "ok").str("user_id", user);
    optional_time(fields, "expires_at", expires_at)
}

/// `authentication`, `expiring`: a new token is wanted.
pub fn expiring<'o>(fields: Fields<'o>, expires_at: &Timestamp) -> Fields<'o> {
    fields
        .str("status", "expiring")
        .time("expires_at", expires_at)
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug)]
pub struct Subscribed<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The epoch of its history and the newest offset in it, if it has one.
    pub head: Option<(&'a str, u64)>,
    /// For a subscription that asked to recover: whether nothing is missing.
    pub recovered: Option<bool>,
    /// How many messages follow from history; given if a recovery was asked for.
    pub replayed: Option<u64>,
    /// How many users are there, if that is public.
    pub members: Option<u64>,
}

/// `subscribed`, the answer to `subscribe`.
pub fn subscribed<'o>(fields: Fields<'o>, subscribed: &Subscribed<'_>) -> Fields<'o> {
    let fields = position(fields.str("topic", subscribed.topic), subscribed.head);
    let fields = match subscribed.recovered {
        Some(recovered) => fields.bool("recovered", recovered),
        None => fields,
    };
    fields
        .optional_number("replayed", subscribed.replayed)
        .optional_number("members", subscribed.members)
}

fn position<'o>(fields: Fields<'o>, position: Option<(&str, u64)>) -> Fields<'o> {
    match position {
        Some((epoch, offset)) => fields.str("epoch", epoch).number("offset", offset),
        None => fields,
    }
}

/// `unsubscribed`, the answer to `unsubscribe`, or the server's own doing for a `reason`.
pub fn unsubscribed<'o>(fields: Fields<'o>, topic: &str, reason: Option<&str>) -> Fields<'o> {
    fields.str("topic", topic).optional_str("reason", reason)
}

/// `ack`, the answer to `publish`. `at` is the message's epoch and offset in a room with history.
pub fn ack<'o>(
    fields: Fields<'o>,
    topic: &str,
    message: MessageId,
    at: Option<(&str, u64)>,
) -> Fields<'o> {
    position(
        fields.str("topic", topic).message_id("message_id", message),
        at,
    )
}

/// `publish`: what was published. Bytes are no part of the object: they go behind the envelope.
pub fn publish<'o>(
    fields: Fields<'o>,
    topic: &str,
    event: Option<&str>,
    content: &Content<'_>,
) -> Fields<'o> {
    let fields = fields.str("topic", topic).optional_str("event", event);
    match content {
        Content::Json(json) => fields.raw("data", json),
        Content::Binary(_) => fields,
    }
}

/// What has become of a chat.
#[derive(Clone, Copy, Debug)]
pub struct MessageStatus<'a> {
    /// The chat.
    pub message: MessageId,
    /// Its author's own name for it.
    pub client_message_id: Option<&'a str>,
    /// How far it has come.
    pub status: Status,
    /// To whom.
    pub reached: Reached<'a>,
    /// The room.
    pub chat: Option<&'a str>,
    /// The author.
    pub sender: Option<&'a str>,
}

/// Whom a status is about.
#[derive(Clone, Copy, Debug)]
pub enum Reached<'a> {
    /// The server itself.
    Server,
    /// One reader.
    Recipient(&'a str),
    /// So many readers, where there are too many to name.
    Counts {
        /// Who have it, with those who have read it.
        delivered: u64,
        /// Who have read it.
        read: u64,
    },
}

/// `message-status`.
pub fn message_status<'o>(
    fields: Fields<'o>,
    status: &MessageStatus<'_>,
    at: &Timestamp,
) -> Fields<'o> {
    let fields = fields
        .message_id("message_id", status.message)
        .optional_str("client_message_id", status.client_message_id)
        .str("status", status.status.as_str());
    let fields = match status.reached {
        Reached::Server => fields,
        Reached::Recipient(user) => fields.str("recipient_id", user),
        Reached::Counts { delivered, read } => fields.object("counts", |counts| {
            counts.number("delivered", delivered).number("read", read)
        }),
    };
    fields
        .optional_str("chat_id", status.chat)
        .optional_str("sender_id", status.sender)
        .time("timestamp", at)
}

/// `typing`.
pub fn typing(fields: Fields<'_>, is_typing: bool) -> Fields<'_> {
    fields.bool("is_typing", is_typing)
}

/// Information about a user that is not known.
pub const NO_INFO: &str = "{}";

/// A present user, in a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Present<'a> {
    /// Who.
    pub id: &'a str,
    /// The user's connections in the room.
    pub connections: u32,
    /// When the first of them came.
    pub since: Timestamp,
    /// What the user says of itself: a JSON object, [`NO_INFO`] if nothing.
    pub info: &'a str,
}

/// `presence`, `snapshot`: who is there. `count` is all of them, of whom `users` may be some;
/// `next_cursor` asks for the next ones, the outer `None` leaves it out: nobody asked for pages.
pub fn presence_snapshot<'o, 'u>(
    fields: Fields<'o>,
    count: u64,
    users: impl IntoIterator<Item = Present<'u>>,
    next_cursor: Option<Option<&str>>,
) -> Fields<'o> {
    let fields = fields
        .str("action", "snapshot")
        .number("count", count)
        .list("users", users, |item, user| {
            item.str("user_id", user.id)
                .number("connections", user.connections.into())
                .time("since", &user.since)
                .raw("info", user.info)
        });
    match next_cursor {
        None => fields,
        Some(None) => fields.null("next_cursor"),
        Some(Some(cursor)) => fields.str("next_cursor", cursor),
    }
}

/// `presence`, `join`: a user's first connection has come into the room.
pub fn presence_join<'o>(fields: Fields<'o>, count: u64, user: &str, info: &str) -> Fields<'o> {
    let fields = fields.str("action", "join").number("count", count);
    presence_user(fields, user, info)
}

/// `presence`, `update`: a user says something else of itself.
pub fn presence_update<'o>(fields: Fields<'o>, user: &str, info: &str) -> Fields<'o> {
    presence_user(fields.str("action", "update"), user, info)
}

fn presence_user<'o>(fields: Fields<'o>, user: &str, info: &str) -> Fields<'o> {
    fields.object("user", |inner| inner.str("user_id", user).raw("info", info))
}

/// `presence`, `leave`: a user's last connection has left the room (4.11).
pub fn presence_leave(fields: Fields<'_>, count: u64) -> Fields<'_> {
    fields.str("action", "leave").number("count", count)
}

/// `presence`, `count`, for rooms with too many people to name.
pub fn presence_count(fields: Fields<'_>, count: u64) -> Fields<'_> {
    fields.str("action", "count").number("count", count)
}

/// `system`: something has happened to a room, or to all.
pub fn system<'o>(fields: Fields<'o>, event: &str, message: &str) -> Fields<'o> {
    fields.str("event", event).str("message", message)
}

/// `notification`: a notice to a user.
pub fn notification<'o>(
    fields: Fields<'o>,
    notification: MessageId,
    title: &str,
    body: &str,
    at: &Timestamp,
) -> Fields<'o> {
    fields
        .message_id("notification_id", notification)
        .str("title", title)
        .str("body", body)
        .time("timestamp", at)
}

/// `request-notification`: another user asks for something, or what became of that.
pub fn request_notification<'o>(
    fields: Fields<'o>,
    request: &str,
    sender: &str,
    receiver: &str,
    status: &str,
    at: &Timestamp,
) -> Fields<'o> {
    fields
        .str("request_id", request)
        .str("sender_id", sender)
        .str("receiver_id", receiver)
        .str("status", status)
        .time("timestamp", at)
}

/// What has happened to a room, as its members are told.
#[derive(Clone, Copy, Debug)]
pub struct ChatNotification<'a> {
    /// The room.
    pub chat: &'a str,
    /// Who made it.
    pub creator: &'a str,
    /// What it is called.
    pub name: Option<&'a str>,
    /// Whether more than two can be in it.
    pub is_group: bool,
    /// Who is in it, where that is told.
    pub members: Option<&'a [&'a str]>,
    /// `created`, `updated`, `deleted`, `member_added` or `member_removed`.
    pub action: &'a str,
}

/// `chat-notification`.
pub fn chat_notification<'o>(
    fields: Fields<'o>,
    notification: &ChatNotification<'_>,
    at: &Timestamp,
) -> Fields<'o> {
    let fields = fields
        .str("chat_id", notification.chat)
        .str("creator_id", notification.creator)
        .optional_str("name", notification.name)
        .bool("is_group", notification.is_group)
        .time("timestamp", at);
    let fields = match notification.members {
        Some(members) => fields.strings("members", members.iter().copied()),
        None => fields,
    };
    fields.str("action", notification.action)
}

/// `error`. `ref_type` is the type of the refused message, where it is known.
pub fn error<'o>(
    fields: Fields<'o>,
    rejection: &Rejection,
    ref_type: Option<&str>,
    at: &Timestamp,
) -> Fields<'o> {
    let fields = fields
        .str("error", &rejection.to_string())
        .str("code", rejection.code().as_str())
        .optional_str("ref_type", ref_type)
        .time("timestamp", at)
        .optional_number("retry_after_ms", rejection.retry_after_ms());
    match rejection.details() {
        Some(details) => fields.raw("details", &details),
        None => fields,
    }
}

/// `rpc`: a call's result, valid JSON.
pub fn rpc_result<'o>(fields: Fields<'o>, result: &str) -> Fields<'o> {
    fields.raw("result", result)
}

/// `announcement`: a notice to everybody (4.10).
pub fn announcement<'o>(fields: Fields<'o>, message: &str) -> Fields<'o> {
    fields.str("message", message)
}

/// `pong`, `heartbeat`: nothing; what counts is in the envelope.
pub fn nothing(fields: Fields<'_>) -> Fields<'_> {
    fields
}
