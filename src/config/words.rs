//! The closed sets of words that options take.

use super::kind::Named;

/// How messages are laid out on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// The payload stands under `data`.
    V1,
    /// The payload stands under `data`; numeric user identifiers are numbers.
    Room,
    /// The payload stands under `message`.
    Message,
    /// Members of the payload stand beside `type`.
    Flat,
}

impl Named for Profile {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("v1", Self::V1),
        ("room", Self::Room),
        ("message", Self::Message),
        ("flat", Self::Flat),
    ];
}

/// Who is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// [`Required`](Self::Required) where anything can tell who connects, else [`Optional`](Self::Optional).
    Auto,
    /// Who shows a valid token or session before the upgrade.
    Required,
    /// Who shows one before the upgrade, or a token in the first message.
    FirstMessage,
    /// Everybody; who shows nothing is a guest with a generated user id.
    Optional,
    /// Everybody; the user id in the request is believed.
    Trust,
}

impl Named for AuthMode {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("required", Self::Required),
        ("first_message", Self::FirstMessage),
        ("optional", Self::Optional),
        ("trust", Self::Trust),
    ];
}

/// Where a request may carry a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `Authorization: Bearer`.
    Header,
    /// `Sec-WebSocket-Protocol: bearer, <token>`, or `bearer.<token>`.
    Subprotocol,
    /// A cookie.
    Cookie,
    /// `?token=`.
    Query,
}

impl Named for Source {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("header", Self::Header),
        ("subprotocol", Self::Subprotocol),
        ("cookie", Self::Cookie),
        ("query", Self::Query),
    ];
}

/// How a token is signed. Source: RFC 7518 section 3.1, RFC 8037.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the RFC")]
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl Named for Algorithm {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("HS256", Self::HS256),
        ("HS384", Self::HS384),
        ("HS512", Self::HS512),
        ("RS256", Self::RS256),
        ("RS384", Self::RS384),
        ("RS512", Self::RS512),
        ("PS256", Self::PS256),
        ("PS384", Self::PS384),
        ("PS512", Self::PS512),
        ("ES256", Self::ES256),
        ("ES384", Self::ES384),
        ("EdDSA", Self::EdDSA),
    ];
}

impl Algorithm {
    /// The algorithm's name, as a token's header has it.
    pub fn name(self) -> &'static str {
        let name = Self::NAMES.iter().find(|(_, other)| *other == self);
        name.expect("every algorithm has its name").0
    }

    /// Shortest secret, bytes, if it is an HMAC; `None` if it takes a public key.
    /// Source: RFC 7518 section 3.2.
    pub fn secret_bytes_min(self) -> Option<usize> {
        match self {
            Self::HS256 => Some(32),
            Self::HS384 => Some(48),
            Self::HS512 => Some(64),
            _ => None,
        }
    }
}

/// What a key of the HTTP API may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Publish, broadcast, send to users.
    Publish,
    /// See and disconnect users.
    Users,
    /// Make, change and remove rooms.
    Rooms,
    /// Everything.
    Admin,
}

impl Named for Scope {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("publish", Self::Publish),
        ("users", Self::Users),
        ("rooms", Self::Rooms),
        ("admin", Self::Admin),
    ];
}

/// What the kernel is asked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// The best that the kernel has.
    Auto,
    /// io_uring.
    IoUring,
}

impl Named for Io {
    const NAMES: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("io_uring", Self::IoUring)];
    const NOT_YET: &'static [&'static str] = &["epoll"];
}

/// Whether connections begin with a PROXY protocol header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// They do not.
    Off,
    /// Those of trusted proxies do, in version 1 or 2.
    V1V2,
}

impl Named for ProxyProtocol {
    const NAMES: &'static [(&'static str, Self)] = &[("off", Self::Off), ("v1v2", Self::V1V2)];
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2, RFC 5246.
    Tls12,
    /// TLS 1.3, RFC 8446.
    Tls13,
}

impl Named for TlsVersion {
    const NAMES: &'static [(&'static str, Self)] = &[("1.2", Self::Tls12), ("1.3", Self::Tls13)];
}

/// What gives when a user has too many connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUserLimit {
    /// The new connection: 429 before the upgrade.
    Reject,
    /// The oldest connection: close code 4409.
    EvictOldest,
}

impl Named for OnUserLimit {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("reject", Self::Reject),
        ("evict_oldest", Self::EvictOldest),
    ];
}

/// What a subscriber gets who fell out of a topic's window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlowPolicy {
    /// What the window still holds; what fell out of it is missing.
    Gap,
    /// Only what comes next.
    Latest,
    /// Close code 4508.
    Disconnect,
}

impl Named for SlowPolicy {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("gap", Self::Gap),
        ("latest", Self::Latest),
        ("disconnect", Self::Disconnect),
    ];
}

/// Which upgrades must name the origin of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginRequire {
    /// Those on routes whose path names the room.
    Auto,
    /// All of them.
    Always,
    /// None of them.
    Never,
}

impl Named for OriginRequire {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("always", Self::Always),
        ("never", Self::Never),
    ];
}

/// What becomes of a text that does not begin like JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainText {
    /// A chat in the `flat` profile, refused in the others.
    Profile,
    /// A chat in every profile.
    Chat,
    /// Refused in every profile.
    Reject,
}

impl Named for PlainText {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("profile", Self::Profile),
        ("chat", Self::Chat),
        ("reject", Self::Reject),
    ];
}

/// What counts as proof that a connection has got a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryProof {
    /// The pong to a ping that was sent behind it.
    Pong,
    /// The client's acknowledgement.
    Ack,
    /// The kernel took its bytes.
    Write,
}

impl Named for DeliveryProof {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("pong", Self::Pong),
        ("ack", Self::Ack),
        ("write", Self::Write),
    ];
}

/// Whether joining an absent room makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    /// It does.
    OnDemand,
    /// Rooms are made by request only.
    ApiOnly,
}

impl Named for Create {
    const NAMES: &'static [(&'static str, Self)] =
        &[("on_demand", Self::OnDemand), ("api_only", Self::ApiOnly)];
}

/// What becomes of control characters in the text of a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlCharacters {
    /// They are passed on.
    Allow,
    /// They are taken out.
    Strip,
    /// The message is refused.
    Reject,
}

impl Named for ControlCharacters {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("allow", Self::Allow),
        ("strip", Self::Strip),
        ("reject", Self::Reject),
    ];
}

/// When the store's disk has to confirm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synchronous {
    /// Before a message is acknowledged: it outlives a loss of power.
    Full,
    /// Now and then: messages outlive the process, the last ones perhaps no loss of power.
    Normal,
}

impl Named for Synchronous {
    const NAMES: &'static [(&'static str, Self)] =
        &[("full", Self::Full), ("normal", Self::Normal)];
}
