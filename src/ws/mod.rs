//! The WebSocket codec: RFC 6455 and, for compression, RFC 7692. Sans-IO: bytes in, messages out.
//!
//! It knows no sockets, no clock and no connections; what to answer is the caller's business.
//!
//! ```text
//!  Decoder, one per connection
//!                          whole frame in the input: handed out in place
//!                        ┌───────────────────────────────────────────────┐
//!                        ▼                                               │
//!   ┌──────┐  bytes   ┌──────────┐  header whole   ┌───────────────┐     │
//!   │ idle │ ───────► │ header   │ ──────────────► │ control frame │ ────┤──► Ping, Pong, Close
//!   │ None │          │ cut      │                 └───────────────┘     │
//!   └──────┘ ◄──┐     └──────────┘ ◄──────────┐    ┌───────────────┐     │
//!               │                 fragment    ├─── │ data frame    │ ────┘──► Text, Binary
//!               │                 ends        │    │ gathering     │
//!               │                             ▼    └───────────────┘
//!               └─ message ends ◄── between fragments (control frames may come here)
//! ```
//!
//! | RFC 6455 | file | | RFC 7692 | file |
//! |---|---|---|---|---|
//! | 4.2 opening handshake | [`handshake`] | | 5, 7.1 negotiation | [`extensions`] |
//! | 5.2 frame header | [`frame`] | | 6 RSV1 | [`frame`] |
//! | 5.3 masking | [`mask`] | | 7.2 compression | [`deflate`] |
//! | 5.4 fragmentation | [`decoder`], `message` | | | |
//! | 5.5, 5.6 opcodes | [`opcode`] | | | |
//! | 5.5.1, 7.4 closing | [`close`] | | | |
//! | 8.1 UTF-8 | [`utf8`] | | | |
//! | 9.1 extensions | [`extensions`] | | | |
//! | 7.1.7 what fails a connection | [`error`] | | | |

pub mod close;
pub mod decoder;
pub mod deflate;
pub mod error;
pub mod extensions;
pub mod frame;
pub mod handshake;
pub mod mask;
mod message;
pub mod opcode;
pub mod utf8;

pub use close::CloseCode;
pub use decoder::{Decoder, Incoming, Rules};
pub use deflate::{Deflater, Inflater, WindowBits};
pub use error::Violation;
pub use extensions::{MalformedExtensions, Negotiated, negotiate};
pub use frame::{
    Header, HeaderBytes, Role, client_frame_into, close_frame_into, frame_into, server_header_bytes,
};
pub use mask::MaskingKey;
pub use opcode::Opcode;

#[cfg(test)]
mod tests;
