//! Who somebody is, and whether they may come in: tokens, sessions, origins, addresses.
//!
//! No I/O and no clock: time is an argument, and what must be fetched is fetched by a [`Fetch`].
//!
//! ```text
//!            credentials::find             token::verify ──► Known(Identity)
//!  request ──────────────────► Token ──┬──────┤
//!   Presented │                        │      └ unknown kid ─► Later ─► jwks ─► verify
//!             ├──────────────► Session └ cache
//!             │                   └─────────► Later ─► session_url ─► Identity
//!             └──────────────► nothing ─────► Guest, FirstMessage or Missing, by the Mode
//! ```
#![forbid(unsafe_code)]

pub mod addresses;
mod authenticator;
mod cache;
mod credentials;
mod digest;
mod error;
mod fetch;
mod gate;
mod jwks;
pub mod keys;
mod keyset;
mod options;
pub mod origin;
mod presented;
pub mod proxies;
mod revocation;
mod session;
mod stats;
mod token;
pub mod trust;

pub use authenticator::{Authenticator, PreparedAuth};
pub use credentials::bearer;
pub use error::AuthError;
pub use fetch::{FETCHED_BODY_BYTES_MAX, Fetch, FetchError, Fetched};
pub use gate::{Gate, GateError, GateOptions, OriginRequired, PreparedGate, Visitor};
pub use keyset::{KEYS_MAX, KeyPrint};
pub use options::{
    Algorithm, AuthOptions, AuthOptionsError, KeyError, KeyOptions, Material, Mode,
    SECRET_BYTES_MIN, Source, TokenOptions,
};
pub use presented::Presented;

/// The subprotocol that announces a token as the next element.
pub const BEARER: &str = "bearer";
pub use revocation::{KeptRevocation, REVOCATIONS_MAX, Revocation, Revoked};
pub use stats::AuthStats;

use std::fmt;
use std::pin::Pin;

use crate::id::UserId;
use crate::who::Roles;

/// Who a token, a session or a trusted request says somebody is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: UserId,
    /// The user's roles.
    pub roles: Roles,
    /// When what was shown expires, unix seconds. `None`: it does not say.
    pub expires_s: Option<u64>,
    /// When it was issued, unix seconds; for a session or a trusted request, when it was shown.
    pub issued_s: Option<u64>,
    /// The token's `jti`, by which it can be revoked: at most 256 bytes.
    pub token_id: Option<Box<str>>,
    /// How it was shown.
    pub proof: Proof,
    /// Where it stood. `None`: in a message, or in a request that is believed.
    pub source: Option<Source>,
}

impl Identity {
    /// Whether the request was merely believed, so that there is nothing to look at again.
    pub fn is_trusted(&self) -> bool {
        self.proof == Proof::Trusted
    }

    /// Whether it is known by a cookie: a browser sends that along for any page, so that a request
    /// without an `Origin` is refused then.
    pub fn is_from_cookie(&self) -> bool {
        self.source == Some(Source::Cookie)
    }
}

/// How somebody was known.
#[derive(Clone, PartialEq, Eq)]
pub enum Proof {
    /// By a token: which one, and which key had signed it.
    Token {
        /// The token.
        hash: TokenHash,
        /// The key.
        key: KeyPrint,
    },
    /// By a session: the `Cookie` field, to ask again.
    Session(Box<str>),
    /// The request was believed.
    Trusted,
}

impl fmt::Debug for Proof {
    /// A cookie is as good as a password: it is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token { .. } => "Token",
            Self::Session(_) => "Session(…)",
            Self::Trusted => "Trusted",
        })
    }
}

/// Which token it was: 16 bytes of its SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 16]);

/// What is known of who sends a request or a token.
pub enum Verdict {
    /// Who it is.
    Known(Identity),
    /// Nothing was shown, and guests are let in.
    Guest,
    /// Nothing was shown, and the first message may.
    FirstMessage,
    /// It takes an answer from elsewhere.
    Later(Pending),
}

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(identity) => f.debug_tuple("Known").field(identity).finish(),
            Self::Guest => f.write_str("Guest"),
            Self::FirstMessage => f.write_str("FirstMessage"),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}

/// Who it is, once another server has answered. Bounded in time by the options' time-outs and in
/// number; it can be dropped at any time, and is polled on the service thread.
pub type Pending = Pin<Box<dyn Future<Output = Result<Identity, AuthError>> + Send>>;

#[cfg(test)]
mod tests;
