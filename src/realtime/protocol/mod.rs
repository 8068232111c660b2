//! The wire protocol: envelopes in, frames out, codes. Sans-IO; knows no rooms and no handlers.
//!
//! ```text
//!  text ───► scan ────────► Inbound ──► Message ──► handlers ──► Outbound ──► bytes
//!  bytes ──► scan_binary ──────┘                                    │
//!             └────────────► Refused ──► Rejection ─────────────────┘
//! ```
//!
//! | file | what |
//! |---|---|
//! | `json` | the JSON grammar: validate without building anything |
//! | `scan` | one text to messages: envelope members, profile rules, batches, plain text |
//! | `message` | one message: type, id, room, and its payload's members |
//! | `binary` | one binary message: its envelope and its bytes |
//! | `content` | what `chat` and `rpc` read in their payloads |
//! | `publication` | what `publish` reads in its payload |
//! | `profile` | the table of profiles: where each keeps what, and how it names it |
//! | `outbound` | a message in no profile's shape, and its frame in each |
//! | `fields` | the builder of a payload object |
//! | [`payload`] | the payload of every frame that the server sends |
//! | `batch` | several frames as one JSON array |
//! | `write` | strings and numbers |
//! | `message_id` | message identifiers |
//! | `codes` | error codes, [`Rejection`] |
#![forbid(unsafe_code)]

mod batch;
mod binary;
mod codes;
mod content;
mod fields;
mod json;
mod message;
mod message_id;
mod outbound;
pub mod payload;
mod profile;
mod publication;
mod scan;
#[cfg(test)]
mod tests;
mod write;

pub use crate::time::Timestamp;
pub use batch::Batch;
pub use binary::scan_binary;
pub use codes::{ErrorCode, Rejection};
pub use content::Chat;
pub use fields::Fields;
pub use json::JSON_DEPTH_MAX;
pub use message::{BuiltIn, Member, Members, Message, OwnedRequestId, RequestId};
pub use message_id::MessageId;
pub use outbound::{
    BINARY_ENVELOPE_BYTES_MAX, Body, Id, Kind, Outbound, Position, Recipient, Status, TextName,
};
pub use profile::Profile;
pub use publication::{Content, Publish};
pub use scan::{Inbound, Refused, scan};
pub use write::write_string;

/// Largest message type, bytes after decoding. Longer is [`Rejection::TypeTooLong`].
pub const TYPE_BYTES_MAX: usize = 64;
/// Largest request identifier, bytes as it stands in JSON: it is echoed on the reply.
pub const REQUEST_ID_BYTES_MAX: usize = 128;
/// Most messages in one batch. More is [`Rejection::BatchTooLong`].
pub const BATCH_MAX: usize = 64;
/// The version of binary messages, their first byte.
pub const BINARY_VERSION: u8 = 1;
