//! Error codes, and what a peer is told when a message is refused.

use std::borrow::Cow;
use std::fmt;

use serde_json::json;
use thiserror::Error;

/// The `code` of an error, on frames and in HTTP bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The text is not JSON.
    InvalidJson,
    /// The JSON is no message, or a member is missing or wrong.
    InvalidMessage,
    /// Nobody handles this message type.
    UnknownType,
    /// Not authenticated.
    Unauthorized,
    /// The token's time is over.
    TokenExpired,
    /// Authenticated, and still not allowed.
    Forbidden,
    /// No such thing.
    NotFound,
    /// The message needs a room and names none.
    RoomRequired,
    /// The connection has not subscribed to this room.
    NotSubscribed,
    /// There is one already.
    AlreadyExists,
    /// The state of things does not allow it.
    Conflict,
    /// Its time is over.
    Expired,
    /// The room takes no more members.
    RoomFull,
    /// The message is too large.
    PayloadTooLarge,
    /// Too many connections of this user or of the server.
    ConnectionLimit,
    /// Too many messages; says when to try again.
    RateLimited,
    /// The handler of this message type failed.
    HandlerError,
    /// An answer took too long.
    Timeout,
    /// Something that is needed cannot be reached.
    Unavailable,
    /// The server's fault.
    Internal,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [Self; 20] = [
        Self::InvalidJson,
        Self::InvalidMessage,
        Self::UnknownType,
        Self::Unauthorized,
        Self::TokenExpired,
        Self::Forbidden,
        Self::NotFound,
        Self::RoomRequired,
        Self::NotSubscribed,
        Self::AlreadyExists,
        Self::Conflict,
        Self::Expired,
        Self::RoomFull,
        Self::PayloadTooLarge,
        Self::ConnectionLimit,
        Self::RateLimited,
        Self::HandlerError,
        Self::Timeout,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The code on the wire, and the status of its HTTP twin.
    const fn row(self) -> (&'static str, u16) {
        match self {
            Self::InvalidJson => ("invalid_json", 400),
            Self::InvalidMessage => ("invalid_message", 422),
            Self::UnknownType => ("unknown_type", 400),
            Self::Unauthorized => ("unauthorized", 401),
            Self::TokenExpired => ("token_expired", 401),
            Self::Forbidden => ("forbidden", 403),
            Self::NotFound => ("not_found", 404),
            Self::RoomRequired => ("room_required", 400),
            Self::NotSubscribed => ("not_subscribed", 409),
            Self::AlreadyExists => ("already_exists", 409),
            Self::Conflict => ("conflict", 409),
            Self::Expired => ("expired", 410),
            Self::RoomFull => ("room_full", 409),
            Self::PayloadTooLarge => ("payload_too_large", 413),
            Self::ConnectionLimit => ("connection_limit", 429),
            Self::RateLimited => ("rate_limited", 429),
            Self::HandlerError => ("handler_error", 500),
            Self::Timeout => ("timeout", 504),
            Self::Unavailable => ("unavailable", 503),
            Self::Internal => ("internal", 500),
        }
    }

    /// The code on the wire.
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The status with which HTTP says the same.
    pub const fn http_status(self) -> u16 {
        self.row().1
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a message is refused: what the peer is told, and its log line.
///
/// The connection lives on; whoever refuses decides otherwise by closing it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Rejection {
    /// Not JSON, from this byte on.
    #[error("the text is not valid JSON")]
    InvalidJson {
        /// Bytes of the text before the fault.
        offset: usize,
    },
    /// More than [`JSON_DEPTH_MAX`](super::JSON_DEPTH_MAX) levels.
    #[error("the JSON is nested too deeply")]
    TooDeep,
    /// Plain text on a connection whose profile takes none.
    #[error("plain text is not accepted here, send JSON")]
    PlainText,
    /// A binary message on a connection whose profile takes none.
    #[error("binary messages are not accepted here, send text")]
    Binary,
    /// A binary message with fewer bytes than its header and envelope take.
    #[error("the binary message ends before its envelope does")]
    BinaryTooShort,
    /// A binary message of another version than [`BINARY_VERSION`](super::BINARY_VERSION).
    #[error("this version of binary messages is not known")]
    BinaryVersion(u8),
    /// A binary message with flags, of which there are none yet.
    #[error("the binary message has flags that are not known")]
    BinaryFlags(u8),
    /// The envelope of a binary message is no text in UTF-8.
    #[error("the binary message's envelope is not UTF-8")]
    BinaryNotText,
    /// A binary message of another type than `publish` and `rpc`.
    #[error("messages of this type are sent as text")]
    BinaryType,
    /// A text of nothing but white space.
    #[error("the text is empty")]
    Empty,
    /// An element of a batch is no object.
    #[error("a message is a JSON object")]
    NotAnObject,
    /// No `type`.
    #[error("the message has no type")]
    TypeMissing,
    /// `type` is no string, or an empty one.
    #[error("the message's type is not a non-empty string")]
    TypeInvalid,
    /// `type` is longer than [`TYPE_BYTES_MAX`](super::TYPE_BYTES_MAX).
    #[error("the message's type is too long")]
    TypeTooLong,
    /// A batch of no messages.
    #[error("the batch is empty")]
    BatchEmpty,
    /// A batch of more than [`BATCH_MAX`](super::BATCH_MAX) messages.
    #[error("the batch has too many messages")]
    BatchTooLong,
    /// A member that the server reads stands more than once, under one of its names.
    #[error("the member {0:?} stands more than once")]
    RepeatedMember(Cow<'static, str>),
    /// A member that the message needs is missing.
    #[error("the member {0:?} is missing")]
    MissingMember(Cow<'static, str>),
    /// A member has the wrong type or a value that it cannot have.
    #[error("the member {0:?} has a value that is not allowed")]
    InvalidMember(Cow<'static, str>),
    /// The payload does not fit the type that the handler wants; what the parser says.
    #[error("the payload does not fit: {0}")]
    InvalidPayload(String),
    /// The text is none that may be published here; why.
    #[error("{0}")]
    Content(Cow<'static, str>),
    /// Nobody handles this type.
    #[error("nobody handles this message type")]
    UnknownType,
    /// Not authenticated.
    #[error("not authenticated")]
    Unauthorized,
    /// The token's time is over.
    #[error("the token has expired")]
    TokenExpired,
    /// Not allowed.
    #[error("not allowed")]
    Forbidden,
    /// No such thing.
    #[error("not found")]
    NotFound,
    /// The message names no room.
    #[error("the message names no room")]
    RoomRequired,
    /// Not subscribed.
    #[error("not subscribed to this room")]
    NotSubscribed,
    /// There is one already.
    #[error("there is one already")]
    AlreadyExists,
    /// Not in this state of things.
    #[error("the present state does not allow this")]
    Conflict,
    /// The connection is in `limit` rooms.
    #[error("in as many rooms as a connection may be in")]
    TooManyRooms {
        /// The limit.
        limit: u64,
    },
    /// Its time is over.
    #[error("its time is over")]
    Expired,
    /// The room is full.
    #[error("the room is full")]
    RoomFull,
    /// Larger than `limit_bytes`.
    #[error("message too long")]
    PayloadTooLarge {
        /// The limit, bytes.
        limit_bytes: u64,
    },
    /// More connections than `limit`.
    #[error("too many connections")]
    ConnectionLimit {
        /// The limit.
        limit: u64,
    },
    /// Too many messages.
    #[error("too many messages")]
    RateLimited {
        /// Milliseconds after which there is room again.
        retry_after_ms: u64,
    },
    /// The handler refused or failed; its own words.
    #[error("{0}")]
    Handler(Cow<'static, str>),
    /// An answer took too long.
    #[error("timed out")]
    Timeout,
    /// Something that is needed cannot be reached.
    #[error("not available at the moment")]
    Unavailable {
        /// Milliseconds after which it may be.
        retry_after_ms: u64,
    },
    /// The server's fault. What exactly is in the log, not on the wire.
    #[error("internal error")]
    Internal,
}

impl Rejection {
    /// The server has too much to do, or the store has: try again in a second.
    pub(in crate::realtime) const fn busy() -> Self {
        Self::Unavailable {
            retry_after_ms: 1000,
        }
    }

    /// The code that the peer is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::InvalidJson { .. } | Self::TooDeep | Self::PlainText => ErrorCode::InvalidJson,
            Self::Binary
            | Self::BinaryTooShort
            | Self::BinaryVersion(_)
            | Self::BinaryFlags(_)
            | Self::BinaryNotText
            | Self::BinaryType
            | Self::Empty
            | Self::NotAnObject
            | Self::TypeMissing
            | Self::TypeInvalid
            | Self::TypeTooLong
            | Self::BatchEmpty
            | Self::BatchTooLong
            | Self::RepeatedMember(_)
            | Self::MissingMember(_)
            | Self::InvalidMember(_)
            | Self::InvalidPayload(_)
            | Self::Content(_) => ErrorCode::InvalidMessage,
            Self::UnknownType => ErrorCode::UnknownType,
            Self::Unauthorized => ErrorCode::Unauthorized,
            Self::TokenExpired => ErrorCode::TokenExpired,
            Self::Forbidden => ErrorCode::Forbidden,
            Self::NotFound => ErrorCode::NotFound,
            Self::RoomRequired => ErrorCode::RoomRequired,
            Self::NotSubscribed => ErrorCode::NotSubscribed,
            Self::AlreadyExists => ErrorCode::AlreadyExists,
            Self::Conflict | Self::TooManyRooms { .. } => ErrorCode::Conflict,
            Self::Expired => ErrorCode::Expired,
            Self::RoomFull => ErrorCode::RoomFull,
            Self::PayloadTooLarge { .. } => ErrorCode::PayloadTooLarge,
            Self::ConnectionLimit { .. } => ErrorCode::ConnectionLimit,
            Self::RateLimited { .. } => ErrorCode::RateLimited,
            Self::Handler(_) => ErrorCode::HandlerError,
            Self::Timeout => ErrorCode::Timeout,
            Self::Unavailable { .. } => ErrorCode::Unavailable,
            Self::Internal => ErrorCode::Internal,
        }
    }

    /// What a program can use besides the code: the text of a JSON object, or nothing.
    pub fn details(&self) -> Option<String> {
        let object = match self {
            Self::InvalidJson { offset } => json!({ "offset": offset }),
            Self::TooDeep => json!({ "limit": super::JSON_DEPTH_MAX }),
            Self::TypeTooLong => json!({ "member": "type", "limit": super::TYPE_BYTES_MAX }),
            Self::TypeMissing | Self::TypeInvalid => json!({ "member": "type" }),
            Self::BatchTooLong => json!({ "limit": super::BATCH_MAX }),
            Self::BinaryVersion(version) => {
                json!({ "version": version, "supported": [super::BINARY_VERSION] })
            }
            Self::BinaryFlags(flags) => json!({ "flags": flags }),
            Self::RepeatedMember(member)
            | Self::MissingMember(member)
            | Self::InvalidMember(member) => json!({ "member": member }),
            Self::PayloadTooLarge { limit_bytes } => json!({ "limit": limit_bytes }),
            Self::ConnectionLimit { limit } | Self::TooManyRooms { limit } => {
                json!({ "limit": limit })
            }
            _ => return None,
        };
        Some(object.to_string())
    }

    /// Milliseconds after which it makes sense to try again, where that is known.
    pub fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after_ms } | Self::Unavailable { retry_after_ms } => {
                Some(*retry_after_ms)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_code_has_one_name_and_an_http_error_status() {
        let mut names: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ErrorCode::ALL.len());
        assert!(
            ErrorCode::ALL
                .iter()
                .all(|code| (400..600).contains(&code.http_status()))
        );
    }

    #[test]
    fn details_are_json_objects_for_programs() {
        let limit = Rejection::PayloadTooLarge {
            limit_bytes: 32_768,
        };
        assert_eq!(limit.details().as_deref(), Some(r#"{"limit":32768}"#));
        let member = Rejection::MissingMember("con\"tent".into());
        assert_eq!(
            member.details().as_deref(),
            Some(r#"{"member":"con\"tent"}"#)
        );
        assert_eq!(Rejection::Forbidden.details(), None);
    }
}
