//! What requests and answers say, and the words about it in the OpenAPI document.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::{Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoParams, IntoResponses, ToSchema};

/// A room.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(super) struct Room {
    /// Its identifier, which is also the topic's.
    #[schema(example = "kitchen")]
    id: String,
    /// What people call it; its identifier, if nobody has named it.
    #[schema(example = "The kitchen")]
    name: String,
    /// RFC 3339, UTC.
    #[schema(format = DateTime, example = "2026-11-21T02:12:29.123Z")]
    created_at: String,
    /// The user who may do all to it; null if there is none.
    #[schema(required = true)]
    created_by: Option<String>,
    /// Most users at once; 0: as many as the configuration allows.
    max_clients: u32,
    /// Whether only those on its access list may come in.
    is_private: bool,
    /// Whatever its makers keep with it.
    #[schema(value_type = Object)]
    metadata: Box<RawValue>,
    /// Users who are there.
    members: u64,
}

/// Some of the rooms, by identifier.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(super) struct RoomPage {
    pub(super) rooms: Vec<Room>,
    /// Where the next page begins; null: this was the last.
    #[schema(required = true)]
    pub(super) next_cursor: Option<String>,
}

/// A room that is to be made.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct NewRoom {
    /// What it is to be called, 1 to 256 bytes; missing: an identifier is made up.
    #[schema(min_length = 1, max_length = 256, example = "kitchen")]
    pub(super) id: Option<String>,
    /// At most 256 bytes.
    #[schema(max_length = 256, example = "The kitchen")]
    name: Option<String>,
    /// Most users at once; 0: as many as the configuration allows.
    #[schema(maximum = 4294967295_u64)]
    max_clients: Option<u32>,
    /// Missing: as the configuration says.
    is_private: Option<bool>,
    /// At most 8 KiB.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Box<RawValue>>,
    /// Users on its access list, who are members while they are away; its maker is added.
    #[serde(default)]
    #[schema(max_items = 1000)]
    pub(super) members: Vec<String>,
}

impl NewRoom {
    pub(super) fn into_changes(self) -> crate::realtime::RoomChanges {
        crate::realtime::RoomChanges {
            name: self.name,
            max_clients: self.max_clients,
            is_private: self.is_private,
            metadata: self.metadata,
        }
    }
}

/// What is to be another about a room; what is missing or null stays, or in a `PUT` becomes the default.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub(super) struct RoomChanges {
    /// At most 256 bytes.
    #[schema(max_length = 256, example = "The kitchen")]
    name: Option<String>,
    /// Most users at once; 0: as many as the configuration allows.
    #[schema(maximum = 4294967295_u64)]
    max_clients: Option<u32>,
    is_private: Option<bool>,
    /// At most 8 KiB.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Box<RawValue>>,
}

impl RoomChanges {
    pub(super) fn into_changes(self) -> crate::realtime::RoomChanges {
        let Self {
            name,
            max_clients,
            is_private,
            metadata,
        } = self;
        crate::realtime::RoomChanges {
            name,
            max_clients,
            is_private,
            metadata,
        }
    }

    /// With the default for all that is missing.
    pub(super) fn whole(self) -> Self {
        let nothing = || RawValue::from_string("{}".into()).expect("valid JSON");
        Self {
            name: Some(self.name.unwrap_or_default()),
            max_clients: Some(self.max_clients.unwrap_or_default()),
            is_private: Some(self.is_private.unwrap_or_default()),
            metadata: Some(self.metadata.unwrap_or_else(nothing)),
        }
    }
}

/// A user who is in a room.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(super) struct Participant {
    user_id: String,
    /// Its connections in the room.
    connections: u32,
    /// Since when it has been there.
    #[schema(format = DateTime)]
    since: String,
    /// What it says about itself.
    #[schema(value_type = Object)]
    info: Box<RawValue>,
}

/// Some of the users in a room, by identifier.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(super) struct ParticipantPage {
    /// All who are there.
    count: u64,
    members: Vec<Participant>,
    /// Where the next page begins; null: this was the last.
    #[schema(required = true)]
    pub(super) next_cursor: Option<String>,
}

/// A message of a room, as connections of the profile `v1` get it.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(super) struct Message {
    #[serde(rename = "type")]
    #[schema(example = "chat")]
    message_type: String,
    /// A UUIDv7.
    id: String,
    room_id: String,
    /// Who said it; missing: the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    /// Its place in the room.
    offset: u64,
    #[schema(format = DateTime)]
    timestamp: String,
    #[schema(value_type = Object)]
    data: Box<RawValue>,
}

/// Some of a room's messages, in the order of their offsets.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(super) struct MessagePage {
    messages: Vec<Message>,
    /// Where the next page begins, in the same direction; null: this was the last.
    #[schema(required = true)]
    pub(super) next_cursor: Option<String>,
}

/// A message for a room.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct NewMessage {
    /// `chat` (as if missing) or `publish`; with a server key any type of 1 to 64 bytes.
    #[serde(rename = "type")]
    #[schema(min_length = 1, max_length = 64, example = "chat")]
    pub(super) message_type: Option<String>,
    /// An object; in a `publish` any value.
    #[schema(value_type = Value, example = json!({"content": "who has the kettle?"}))]
    pub(super) data: Box<RawValue>,
    /// Its author's own name for it, at most 128 bytes: within the window of `messaging.dedupe_window` a
    /// message of the same name is answered as the first was, and not published again.
    #[schema(max_length = 128)]
    pub(super) client_message_id: Option<String>,
}

/// Something to be published.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Publication {
    /// The room, 1 to 256 bytes.
    #[schema(min_length = 1, max_length = 256, example = "prices")]
    pub(super) topic: String,
    /// Missing: `publish`.
    #[serde(rename = "type")]
    #[schema(min_length = 1, max_length = 64, example = "publish")]
    pub(super) message_type: Option<String>,
    /// Any value in a `publish`, else an object.
    #[schema(value_type = Value, example = json!({"tea": 2.5}))]
    pub(super) data: Box<RawValue>,
    /// A connection that is not to hear of it.
    #[schema(example = "00010000010000a7")]
    pub(super) exclude_connection: Option<String>,
    /// As `client_message_id`: at most 128 bytes.
    #[schema(max_length = 128)]
    pub(super) idempotency_key: Option<String>,
}

/// A message that has its place.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(super) struct Published {
    /// A UUIDv7.
    message_id: String,
    topic: String,
    /// The life of the room to which the offset belongs; null in a room without history.
    #[schema(required = true)]
    epoch: Option<String>,
    /// Its place in the room; null in a room without history.
    #[schema(required = true)]
    offset: Option<u64>,
}

/// How far a message has come.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reached {
    Sent,
    Delivered,
    Read,
}

/// What has become of a message at one member.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(super) struct RecipientStatus {
    recipient_id: String,
    status: Reached,
}

/// What has become of a message at those who are members now.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(super) struct MessageStatus {
    message_id: String,
    room_id: String,
    /// Its author; missing: the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    sender_id: Option<String>,
    #[schema(format = DateTime)]
    sent_at: String,
    /// The furthest that it has come with any of them.
    status: Reached,
    /// Members besides the author.
    recipient_count: u64,
    /// How many of them have got it.
    delivered: u64,
    /// How many of them have read it.
    read: u64,
    /// Each of them; missing if they are more than `delivery.max_recipients`.
    #[serde(skip_serializing_if = "Option::is_none")]
    recipients: Option<Vec<RecipientStatus>>,
}

/// What every refused request is answered with.
#[derive(ToSchema)]
#[expect(dead_code, reason = "written by `Refusal`; here for the document")]
pub(super) struct Error {
    /// For people.
    error: String,
    /// For programs: stable.
    #[schema(example = "not_found")]
    code: String,
    /// The HTTP status.
    status: u16,
    /// What a program can use besides, such as `member`, `limit` or `retry_after_ms`.
    #[schema(value_type = Object)]
    details: (),
    /// As in `X-Request-Id`.
    request_id: String,
    #[schema(format = DateTime)]
    timestamp: String,
}

/// The statuses that any route may answer with, each with the body [`Error`].
pub(super) struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let problems = [
            ("400", "Not HTTP, not JSON, or not Unicode"),
            ("401", "No credentials, or such as are not valid"),
            ("403", "Not allowed: by role, scope, ownership or origin"),
            ("404", "No such thing"),
            ("408", "The body did not come in time"),
            (
                "409",
                "The present state does not allow it, or the same Idempotency-Key is under way",
            ),
            ("413", "The body is too large"),
            ("415", "The body is not said to be JSON"),
            (
                "422",
                "A member, a parameter or a name is missing or wrong; `details.member` says which",
            ),
            ("429", "Too many requests; `Retry-After` says when"),
            ("500", "A defect of the server; it is in the log"),
            (
                "503",
                "A shard or the store is behind; `Retry-After` says when",
            ),
            ("504", "The answer took too long"),
        ];
        let body = || {
            ContentBuilder::new()
                .schema(Some(Ref::from_schema_name("Error")))
                .build()
        };
        let response = |description: &str| {
            let response = ResponseBuilder::new().description(description);
            RefOr::T(response.content("application/json", body()).build())
        };
        problems
            .into_iter()
            .map(|(status, description)| (status.to_owned(), response(description)))
            .collect()
    }
}

/// By which a request is known if it is sent again.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by a layer; here for the document")]
pub(super) struct IdempotencyKey {
    /// The caller's own name for the request: what is sent again under it within ten minutes is answered
    /// as it was, with `Idempotency-Replayed: true`, and not done again.
    #[param(
        rename = "Idempotency-Key",
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]([ -~]*[!-~])?$"
    )]
    key: Option<String>,
}

/// Which part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PageOf {
    /// How many at most, 1 to 1,000, and never more than the list's own bound; missing: 50.
    #[param(minimum = 1, maximum = 1000)]
    pub(super) limit: Option<u32>,
    /// Where the page before has ended.
    pub(super) cursor: Option<String>,
}

/// Items on a page whose size is not said, and most of them on one page.
const PAGE_SIZE: usize = 50;
const PAGE_SIZE_MAX: usize = 1000;

/// How many are wanted on a page, at most `max`.
///
/// Errors: 422 about `limit`, if it is 0 or above 1,000.
pub(super) fn page_size(limit: Option<u32>, max: usize) -> Result<usize, super::ApiError> {
    let Some(limit) = limit else {
        return Ok(PAGE_SIZE.min(max));
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if (1..=PAGE_SIZE_MAX).contains(&limit) {
        Ok(limit.min(max))
    } else {
        Err(super::ApiError::invalid_member(
            "limit",
            "expected 1 to 1000",
        ))
    }
}

/// A user who is connected.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct User {
    pub(super) user_id: String,
    /// Its open connections.
    pub(super) connections: u32,
}

/// Some of the users who are connected, in no order.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UserPage {
    pub(super) users: Vec<User>,
    /// Where the next page begins; null: this was the last. A page may be empty and not the last.
    #[schema(required = true)]
    pub(super) next_cursor: Option<String>,
}

/// An open connection.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Connection {
    #[schema(example = "00010000010000a7")]
    pub(super) connection_id: String,
    /// Address and port of its TCP peer.
    pub(super) remote_address: String,
    /// `v1`, `room`, `message` or `flat`.
    pub(super) profile: String,
    pub(super) roles: Vec<String>,
    /// The rooms that it is in, or has asked to join.
    pub(super) rooms: Vec<String>,
    /// Bytes that wait for it, besides rooms.
    pub(super) buffered_bytes: u64,
}

/// A user's open connections, the oldest first; none if it is not connected.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Connections {
    pub(super) user_id: String,
    pub(super) connections: Vec<Connection>,
}

/// A message for somebody, past all rooms.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Push {
    /// 1 to 64 bytes.
    #[serde(rename = "type")]
    #[schema(min_length = 1, max_length = 64, example = "notification")]
    pub(super) message_type: String,
    #[schema(value_type = Object, example = json!({"title": "Tea", "body": "It is ready"}))]
    pub(super) data: Box<RawValue>,
}

/// A message for everybody.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Broadcast {
    /// 1 to 64 bytes.
    #[serde(rename = "type")]
    #[schema(min_length = 1, max_length = 64, example = "announcement")]
    pub(super) message_type: String,
    #[schema(value_type = Object, example = json!({"message": "Server maintenance in 5 minutes"}))]
    pub(super) data: Box<RawValue>,
    /// Only for connections that have one of these roles; missing or null: for all.
    #[schema(max_items = 32)]
    pub(super) roles: Option<Vec<String>>,
}

/// A message that was sent to somebody.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Sent {
    /// A UUIDv7.
    pub(super) message_id: String,
    /// To how many connections.
    pub(super) connections: u64,
}

/// A message that was sent to many.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Broadcasted {
    /// To how many connections.
    pub(super) connections: u64,
}

/// How connections are to end.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct Disconnect {
    /// A close code: 1000, 1001, 1008, 1011 to 1013, 3000 to 4999. Missing: 4403, which means "do not come
    /// back".
    #[schema(minimum = 1000, maximum = 4999, example = 4403)]
    pub(super) code: Option<u16>,
    /// At most 123 bytes.
    #[schema(max_length = 123)]
    pub(super) reason: Option<String>,
    /// Only this one; missing: all of the user's.
    #[schema(example = "00010000010000a7")]
    pub(super) connection_id: Option<String>,
}

/// Connections that were closed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Disconnected {
    /// How many.
    pub(super) closed: u64,
}

/// What is valid no more of what a user can show.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct Revocation {
    /// Tokens and sessions made before this, seconds since 1970 UTC. Missing: before now.
    pub(super) issued_before: Option<u64>,
    /// Only the token with this `jti`, whenever it was made: 1 to 256 bytes.
    #[schema(min_length = 1, max_length = 256)]
    pub(super) token_id: Option<String>,
}

/// What has been revoked.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Revoked {
    pub(super) user_id: String,
    /// Null if one token was meant.
    #[schema(required = true)]
    pub(super) issued_before: Option<u64>,
    /// Null if all were meant.
    #[schema(required = true)]
    pub(super) token_id: Option<String>,
}

/// What one shard holds and has counted since the start.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ShardStats {
    pub(super) users: u64,
    pub(super) connections: u64,
    /// Handshakes under way and connections closing.
    pub(super) pending: u64,
    pub(super) rooms: u64,
    /// Users in rooms: a user counts once per room.
    pub(super) members: u64,
    /// Messages that rooms keep in memory.
    pub(super) history_messages: u64,
    pub(super) history_bytes: u64,
    /// Messages that rooms have given a place in their order.
    pub(super) posted: u64,
    /// Messages refused, for whatever reason.
    pub(super) refused: u64,
}

/// What the server holds. The shards answer one after the other: it is not of one instant.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Stats {
    /// Users with at least one open connection.
    pub(super) total_users: u64,
    pub(super) total_connections: u64,
    pub(super) rooms: u64,
    /// Since the start, seconds.
    pub(super) uptime_s: u64,
    pub(super) shards: Vec<ShardStats>,
}
