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
    /// Everybody is a guest with a generated user id.
    Optional,
    /// The user id in the request is believed.
    Trust,
}

impl Named for AuthMode {
    const NAMES: &'static [(&'static str, Self)] =
        &[("optional", Self::Optional), ("trust", Self::Trust)];
    const NOT_YET: &'static [&'static str] = &["required", "first_message"];
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
