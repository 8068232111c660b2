//! Frames of the `flat` profile, written straight into bytes.
//!
//! Members that the server owns are written by the server alone: what a client's payload says under
//! their names is left out.

use super::json::plain_end;
use super::{BuiltIn, Member, MessageId, Refused, RequestId, Timestamp};
use crate::id::ConnectionId;

/// Names that the server writes at top level of a frame.
const OWNED: [&str; 7] = [
    "type",
    "id",
    "room_id",
    "user_id",
    "timestamp",
    "offset",
    "epoch",
];
/// Names that it writes in a chat besides, in one profile or another, and the room's other names.
const OWNED_IN_CHAT: [&str; 6] = [
    "message_id",
    "chat_id",
    "sender_id",
    "sent_at",
    "topic",
    "channel",
];

/// Appends `text` as a JSON string, in its quotes. RFC 8259 section 7.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    out.push(b'"');
    let mut from = 0;
    loop {
        let to = plain_end(bytes, from);
        out.extend_from_slice(&bytes[from..to]);
        let Some(&special) = bytes.get(to) else { break };
        escape(out, special);
        from = to + 1;
    }
    out.push(b'"');
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0C => b'f',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend([HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            return;
        }
    };
    out.extend([b'\\', short]);
}

/// A frame being written: members are appended in the order of the calls.
///
/// The bytes are JSON only after [`end`](Frame::end).
#[derive(Debug)]
#[must_use = "a frame is not JSON before its end"]
pub struct Frame<'o> {
    out: &'o mut Vec<u8>,
}

/// A present user, in a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct User<'a> {
    /// Who.
    pub id: &'a str,
    /// The user's connections in the room.
    pub connections: u32,
    /// When the first of them came.
    pub since: Timestamp,
}

impl<'o> Frame<'o> {
    /// Begins a frame of a type.
    pub fn new(out: &'o mut Vec<u8>, message_type: &str) -> Self {
        out.extend_from_slice(b"{\"type\":");
        write_string(out, message_type);
        Self { out }
    }

    /// Ends the frame.
    pub fn end(self) {
        self.out.push(b'}');
    }

    fn name(&mut self, name: &str) {
        self.out.push(b',');
        write_string(self.out, name);
        self.out.push(b':');
    }

    /// Adds a string.
    pub fn str(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        write_string(self.out, value);
        self
    }

    /// Adds a number.
    pub fn number(mut self, name: &str, value: u64) -> Self {
        self.name(name);
        write_number(self.out, value);
        self
    }

    /// Adds a truth value.
    pub fn bool(mut self, name: &str, value: bool) -> Self {
        self.name(name);
        self.out
            .extend_from_slice(if value { b"true" } else { b"false" });
        self
    }

    /// Adds a value that is valid JSON already.
    pub fn raw(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        self.out.extend_from_slice(value.as_bytes());
        self
    }

    /// Adds `timestamp`.
    pub fn timestamp(self, timestamp: &Timestamp) -> Self {
        self.str("timestamp", timestamp.as_str())
    }

    /// Adds the `id` of a push.
    pub fn id(self, id: MessageId) -> Self {
        self.out.extend_from_slice(b",\"id\":\"");
        id.write(self.out);
        self.out.push(b'"');
        self
    }

    /// Adds the `id` of a reply: the request's own.
    pub fn reply_to(self, id: Option<RequestId<'_>>) -> Self {
        match id {
            Some(id) => self.raw("id", id.as_json()),
            None => self,
        }
    }

    /// Adds a client's members as they stand, less those that the server owns.
    pub fn members<'m>(mut self, members: impl IntoIterator<Item = Member<'m>>) -> Self {
        for member in members {
            if !OWNED.iter().any(|owned| member.is(owned)) {
                self.member(member);
            }
        }
        self
    }

    fn member(&mut self, member: Member<'_>) {
        self.out.extend_from_slice(b",\"");
        self.out.extend_from_slice(member.raw_name().as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out.extend_from_slice(member.raw().as_bytes());
    }

    /// Writes `connection-status` with status `established`: the welcome (4.2).
    pub fn established(
        out: &'o mut Vec<u8>,
        timestamp: &Timestamp,
        connection: ConnectionId,
        user: &str,
    ) {
        Self::new(out, "connection-status")
            .str("status", "established")
            .timestamp(timestamp)
            .str("connection_id", &connection.to_string())
            .str("user_id", user)
            .end();
    }

    /// Writes `connection-status` with status `draining`: when to reconnect elsewhere.
    pub fn draining(out: &'o mut Vec<u8>, timestamp: &Timestamp, reconnect_in_ms: u64) {
        Self::new(out, "connection-status")
            .str("status", "draining")
            .timestamp(timestamp)
            .number("reconnect_in_ms", reconnect_in_ms)
            .end();
    }

    fn presence(out: &'o mut Vec<u8>, room: &str, user: Option<&str>, at: &Timestamp) -> Self {
        let frame = Self::new(out, BuiltIn::Presence.as_str()).str("room_id", room);
        let frame = match user {
            Some(user) => frame.str("user_id", user),
            None => frame,
        };
        frame.timestamp(at)
    }

    /// Writes `presence` with action `snapshot`: the user list (4.2). `count` is all who are there,
    /// of whom `users` may be the first.
    pub fn presence_snapshot<'u>(
        out: &'o mut Vec<u8>,
        room: &str,
        timestamp: &Timestamp,
        count: u64,
        users: impl IntoIterator<Item = User<'u>>,
    ) {
        let mut frame = Self::presence(out, room, None, timestamp)
            .str("action", "snapshot")
            .number("count", count);
        frame.name("users");
        frame.out.push(b'[');
        for (index, user) in users.into_iter().enumerate() {
            frame
                .out
                .extend_from_slice(if index == 0 { b"" } else { b"," });
            frame.out.extend_from_slice(b"{\"user_id\":");
            write_string(frame.out, user.id);
            frame.out.extend_from_slice(b",\"connections\":");
            write_number(frame.out, user.connections.into());
            frame.out.extend_from_slice(b",\"since\":\"");
            frame.out.extend_from_slice(user.since.as_str().as_bytes());
            frame.out.extend_from_slice(b"\"}");
        }
        frame.out.push(b']');
        frame.end();
    }

    /// Writes `presence` with action `join`: a user's first connection has come into the room.
    pub fn presence_join(
        out: &'o mut Vec<u8>,
        room: &str,
        timestamp: &Timestamp,
        user: &str,
        count: u64,
    ) {
        let mut frame = Self::presence(out, room, Some(user), timestamp)
            .str("action", "join")
            .number("count", count);
        frame.name("user");
        frame.out.extend_from_slice(b"{\"user_id\":");
        write_string(frame.out, user);
        frame.out.push(b'}');
        frame.end();
    }

    /// Writes `presence` with action `leave`: a user's last connection has left the room (4.11).
    pub fn presence_leave(
        out: &'o mut Vec<u8>,
        room: &str,
        timestamp: &Timestamp,
        user: &str,
        count: u64,
    ) {
        Self::presence(out, room, Some(user), timestamp)
            .str("action", "leave")
            .number("count", count)
            .end();
    }

    /// Writes `presence` with action `count`, for rooms with too many people to name.
    pub fn presence_count(out: &'o mut Vec<u8>, room: &str, timestamp: &Timestamp, count: u64) {
        Self::presence(out, room, None, timestamp)
            .str("action", "count")
            .number("count", count)
            .end();
    }

    /// Writes a `chat` to a room: the client's payload, less what the server owns.
    pub fn chat<'m>(
        out: &'o mut Vec<u8>,
        id: MessageId,
        room: &str,
        user: &str,
        timestamp: &Timestamp,
        members: impl IntoIterator<Item = Member<'m>>,
    ) {
        let members = members.into_iter();
        Self::new(out, BuiltIn::Chat.as_str())
            .id(id)
            .str("room_id", room)
            .str("user_id", user)
            .timestamp(timestamp)
            .members(members.filter(|m| !OWNED_IN_CHAT.iter().any(|owned| m.is(owned))))
            .end();
    }

    /// Writes `typing` to a room.
    pub fn typing(
        out: &'o mut Vec<u8>,
        room: &str,
        user: &str,
        timestamp: &Timestamp,
        is_typing: bool,
    ) {
        Self::new(out, BuiltIn::Typing.as_str())
            .str("room_id", room)
            .str("user_id", user)
            .timestamp(timestamp)
            .bool("is_typing", is_typing)
            .end();
    }

    /// Writes `pong`, the answer to `ping`.
    pub fn pong(out: &'o mut Vec<u8>, id: Option<RequestId<'_>>, timestamp: &Timestamp) {
        Self::new(out, "pong")
            .reply_to(id)
            .timestamp(timestamp)
            .end();
    }

    /// Writes `heartbeat`, the answer to `heartbeat`.
    pub fn heartbeat(out: &'o mut Vec<u8>, id: Option<RequestId<'_>>, timestamp: &Timestamp) {
        Self::new(out, BuiltIn::Heartbeat.as_str())
            .reply_to(id)
            .timestamp(timestamp)
            .end();
    }

    /// Writes `error`. `ref_type` is the type of the refused message, where it is known.
    pub fn error(
        out: &'o mut Vec<u8>,
        refused: &Refused<'_>,
        ref_type: Option<&str>,
        timestamp: &Timestamp,
    ) {
        let rejection = &refused.rejection;
        let mut frame = Self::new(out, "error")
            .reply_to(refused.id)
            .str("error", &rejection.to_string())
            .str("code", rejection.code().as_str())
            .timestamp(timestamp);
        if let Some(ref_type) = ref_type {
            frame = frame.str("ref_type", ref_type);
        }
        if let Some(retry_after_ms) = rejection.retry_after_ms() {
            frame = frame.number("retry_after_ms", retry_after_ms);
        }
        if let Some(details) = rejection.details() {
            frame = frame.raw("details", &details);
        }
        frame.end();
    }

    /// Writes `system`: something happened to a room, or to all with no room.
    pub fn system(
        out: &'o mut Vec<u8>,
        room: Option<&str>,
        timestamp: &Timestamp,
        event: &str,
        message: &str,
    ) {
        let frame = Self::new(out, "system");
        let frame = match room {
            Some(room) => frame.str("room_id", room),
            None => frame,
        };
        frame
            .timestamp(timestamp)
            .str("event", event)
            .str("message", message)
            .end();
    }

    /// Writes a message of any type with a given payload, such as an announcement (4.10).
    pub fn push<'m>(
        out: &'o mut Vec<u8>,
        message_type: &str,
        timestamp: &Timestamp,
        members: impl IntoIterator<Item = Member<'m>>,
    ) {
        Self::new(out, message_type)
            .timestamp(timestamp)
            .members(members)
            .end();
    }
}

fn write_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + u8::try_from(number % 10).expect("one decimal digit");
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}
