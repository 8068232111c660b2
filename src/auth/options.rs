//! What an [`Authenticator`](super::Authenticator) is told: who is let in, by what, and with which keys.

use std::fmt;
use std::time::Duration;

pub use jsonwebtoken::Algorithm;

/// Who is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Whoever shows a token or a session that is valid, before the upgrade.
    Required,
    /// As [`Required`](Self::Required); or whoever shows a token in the first message, in time.
    FirstMessage,
    /// Also whoever shows nothing, as a guest. What is shown and is not valid is refused.
    Optional,
    /// Whoever comes, as whom they say. For development, and behind a gateway that asks.
    Trust,
}

/// Where a token may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// `Authorization: Bearer <token>`.
    Header,
    /// `Sec-WebSocket-Protocol: bearer.<token>`, or the pair `bearer, <token>`: what a browser can send.
    Subprotocol,
    /// The cookie of [`AuthOptions::cookie_name`]; with a [`session_url`](AuthOptions::session_url),
    /// the session.
    Cookie,
    /// `?token=` or `?access_token=`. It stands in the logs of every proxy on the way.
    Query,
}

impl Source {
    /// All of them but [`Query`](Self::Query), which must be asked for.
    pub const DEFAULT: [Self; 3] = [Self::Header, Self::Subprotocol, Self::Cookie];
}

/// Options of authentication.
#[derive(Clone, Debug, PartialEq)]
pub struct AuthOptions {
    /// Who is let in.
    pub mode: Mode,
    /// Where a credential may stand, in the order in which they count. Others are not looked at.
    pub sources: Vec<Source>,
    /// The cookie with the token. With a `session_url`: the cookie that makes a request one with a
    /// session, where a request without one is let in as well.
    pub cookie_name: String,
    /// How tokens are checked.
    pub token: TokenOptions,
    /// Asked who a session is: GET with the request's own `Cookie` field. The cookie then is never a
    /// token.
    pub session_url: Option<String>,
    /// Longest that an answer about a session may take.
    pub session_timeout: Duration,
    /// How long an answer about a session holds. Zero: not at all.
    pub session_cache: Duration,
    /// Deadline of the first message, where that may authenticate.
    pub first_message_timeout: Duration,
    /// How long a connection goes on after its token has expired, for a refresh.
    pub expiry_grace: Duration,
    /// How long before its token expires a connection is told so.
    pub expiry_notice: Duration,
    /// How often an open connection is checked again. Zero: never.
    pub revalidate_interval: Duration,
    /// How long a revocation is kept: at least as long as the tokens live that are issued.
    pub revocation_memory: Duration,
}

impl Default for AuthOptions {
    /// [`Mode::Required`] without any key: [`Authenticator::new`](super::Authenticator::new) wants one.
    fn default() -> Self {
        Self {
            mode: Mode::Required,
            sources: Source::DEFAULT.into(),
            cookie_name: "campanile_token".into(),
            token: TokenOptions::default(),
            session_url: None,
            session_timeout: Duration::from_secs(5),
            session_cache: Duration::from_secs(10),
            first_message_timeout: Duration::from_secs(10),
            expiry_grace: Duration::from_secs(25),
            expiry_notice: Duration::from_secs(30),
            revalidate_interval: Duration::from_mins(5),
            revocation_memory: Duration::from_hours(30 * 24),
        }
    }
}

/// How tokens are checked.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenOptions {
    /// Keys that are given. At most [`KEYS_MAX`](super::KEYS_MAX).
    pub keys: Vec<KeyOptions>,
    /// Where a set of further public keys is fetched. RFC 7517 section 5.
    pub jwks_url: Option<String>,
    /// How often the set is fetched again.
    pub jwks_refresh: Duration,
    /// Longest that fetching the set may take.
    pub jwks_timeout: Duration,
    /// Algorithms that count, for keys that name none of their own.
    pub algorithms: Vec<Algorithm>,
    /// What `iss` must be. `None`: anything.
    pub issuer: Option<String>,
    /// What `aud` must have one of. Empty: anything.
    pub audience: Vec<String>,
    /// The claim with the user id: text, or a whole number.
    pub user_id_claim: String,
    /// The claim with the roles: a list, or text with spaces or commas between them.
    pub roles_claim: String,
    /// How far clocks may differ.
    pub leeway: Duration,
    /// Longest token, bytes.
    pub token_bytes_max: usize,
    /// Whether a token must say when it expires.
    pub is_expiry_required: bool,
}

impl Default for TokenOptions {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            jwks_url: None,
            jwks_refresh: Duration::from_mins(10),
            jwks_timeout: Duration::from_secs(5),
            algorithms: vec![Algorithm::HS256],
            issuer: None,
            audience: Vec::new(),
            user_id_claim: "sub".into(),
            roles_claim: "roles".into(),
            leeway: Duration::from_secs(30),
            token_bytes_max: 8192,
            is_expiry_required: true,
        }
    }
}

impl TokenOptions {
    /// Whether any token can be valid: there is a key, or a place to fetch one.
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty() || self.jwks_url.is_some()
    }
}

/// A key that tokens are signed with.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyOptions {
    /// Its `kid`. A key without one is tried for tokens of every `kid`.
    pub id: Option<String>,
    /// The algorithms it is for. Empty: those of [`TokenOptions::algorithms`] that are of its kind.
    pub algorithms: Vec<Algorithm>,
    /// The key itself.
    pub material: Material,
}

/// The bytes of a key, in the form in which they were given. Never printed.
#[derive(Clone, PartialEq)]
pub enum Material {
    /// A secret for HS256, HS384 and HS512: at least [`SECRET_BYTES_MIN`] bytes.
    Secret(Vec<u8>),
    /// A public key in PEM: `PUBLIC KEY` (RSA, EC, Ed25519) or `RSA PUBLIC KEY`.
    PublicPem(String),
    /// A public key as a JSON Web Key. RFC 7517.
    PublicJwk(String),
}

/// Shortest secret, bytes: as long as the hash of HS256. RFC 7518 section 3.2.
pub const SECRET_BYTES_MIN: usize = 32;

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret(_) => "Secret(…)",
            Self::PublicPem(_) => "PublicPem(…)",
            Self::PublicJwk(_) => "PublicJwk(…)",
        })
    }
}

/// Why options make no authenticator. Nothing of a key is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthOptionsError {
    /// Credentials are demanded, and none could be valid.
    #[error("this mode needs a key (secret, public key), a JWKS URL or a session URL")]
    NoAuthenticator,
    /// A token is awaited in the first message, and none could be valid.
    #[error("the mode first_message needs a key (secret, public key) or a JWKS URL")]
    NoTokenKeys,
    /// A key of the list cannot be used.
    #[error("key {}: {why}", .place + 1)]
    Key {
        /// Its place in [`TokenOptions::keys`].
        place: usize,
        /// What is wrong with it.
        why: KeyError,
    },
    /// More keys than [`KEYS_MAX`](super::KEYS_MAX).
    #[error("more than {} keys", super::KEYS_MAX)]
    TooManyKeys,
    /// Keys are to be fetched that no algorithm of the list is for: secrets are never fetched.
    #[error("a JWKS URL needs an algorithm of public keys, such as RS256, ES256 or EdDSA")]
    JwksAlgorithms,
    /// A URL is not `http://` or `https://`.
    #[error("{0} is not an http:// or https:// URL")]
    Url(&'static str),
    /// Something must be fetched, and nobody was given who can.
    #[error("{0} needs a client that fetches it")]
    NoFetch(&'static str),
}

/// What is wrong with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Anybody could find it by trying.
    #[error("a secret has at least {SECRET_BYTES_MIN} bytes")]
    ShortSecret,
    /// It cannot be read.
    #[error("it is no public key in PEM, or no JSON Web Key, of RSA, EC (P-256, P-384) or Ed25519")]
    Unreadable,
    /// A private key, which has no business here.
    #[error("it is a private key; the server needs the public one")]
    Private,
    /// An RSA key that is too weak, or too large to be quick.
    #[error("an RSA key has 2048 to 8192 bits")]
    RsaSize,
    /// Its algorithms are for keys of another kind: a public key is never a secret.
    #[error("no algorithm is named that is for a key of this kind")]
    Algorithm,
}
