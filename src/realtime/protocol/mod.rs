//! The wire protocol: envelopes in, frames out, codes. Sans-IO; knows no rooms and no handlers.
//!
//! ```text
//!  text ──► scan ──► Inbound ──► Message ──► handlers ──► Frame ──► bytes
//!             └────► Refused ──► Rejection ─────────────────┘
//! ```
//!
//! | file | what |
//! |---|---|
//! | `json` | the JSON grammar: validate without building anything |
//! | `scan` | one text to messages: envelope members, profile rules, batches, plain text |
//! | `message` | one message: type, id, room, and its payload's members |
//! | `profile` | where each profile keeps its payload |
//! | `write` | frames of the `flat` profile |
//! | `message_id` | message identifiers |
//! | `codes` | error codes, [`Rejection`] |
#![forbid(unsafe_code)]

mod codes;
mod json;
mod message;
mod message_id;
mod profile;
mod scan;
mod write;

pub use crate::time::Timestamp;
pub use codes::{ErrorCode, Rejection};
pub use json::JSON_DEPTH_MAX;
pub use message::{BuiltIn, Member, Members, Message, OwnedRequestId, RequestId};
pub use message_id::MessageId;
pub use profile::Profile;
pub use scan::{Inbound, Refused, scan};
pub use write::{Frame, User, write_string};

/// Largest message type, bytes after decoding. Longer is [`Rejection::TypeTooLong`].
pub const TYPE_BYTES_MAX: usize = 64;
/// Largest request identifier, bytes as it stands in JSON: it is echoed on the reply.
pub const REQUEST_ID_BYTES_MAX: usize = 128;
/// Most messages in one batch. More is [`Rejection::BatchTooLong`].
pub const BATCH_MAX: usize = 64;
