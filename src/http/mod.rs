//! HTTP/1.1 as far as an upgrade needs it: request head in, refusal or 101 out. RFC 9110, RFC 9112.
//!
//! Sans-IO, and not an HTTP server: what is no WebSocket upgrade is only told apart
//! ([`Head::is_upgrade`]) and goes, bytes untouched, to whoever serves plain HTTP.
//!
//! ```text
//!            parse                 is_upgrade?          check
//!  bytes ───────────► Head ────────────┬──── yes ───────────────► Upgrade ──► SwitchingProtocols
//!    │  more needed                    │                             │
//!    └───► None                        └──── no ───► plain HTTP      └─ BadRequest ──► Refusal
//! ```
#![forbid(unsafe_code)]

mod error;
mod request;
mod response;
mod upgrade;

pub use error::{BadRequest, Malformed};
pub(crate) use request::query_param;
pub use request::{Head, parse, percent_decode};
pub use response::{InvalidHeader, Refusal, SwitchingProtocols};
pub use upgrade::{Upgrade, check};
