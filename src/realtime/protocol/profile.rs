//! Profiles: where a connection's frames keep their payload.

use std::fmt;

/// How the frames of one connection are laid out. Chosen at the upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// Payload under `data`.
    V1,
    /// Payload under `data`, numeric user identifiers as numbers.
    Room,
    /// Payload under `message`.
    Message,
    /// Payload at the top level; plain text is a chat.
    Flat,
}

/// The rules of a profile, as a row of a table: how its frames are read, and how they are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placement {
    name: &'static str,
    /// A member at top level that belongs to nothing else makes the top level the payload, even if
    /// there is an object under `data` or `message`.
    pub(super) top_level_first: bool,
    /// A text that does not begin like JSON is a chat.
    pub(super) plain_text: bool,
    /// Where the payload of an outbound frame is, and the server's own members beside it or in it.
    pub(super) layout: Layout,
    /// The names of the server's own members.
    pub(super) names: Names,
    /// Their names in a chat.
    pub(super) chat_names: Names,
    /// The text of a chat is always a member `content`.
    pub(super) content: bool,
    /// A numeric user identifier of the envelope is a number.
    pub(super) numeric_users: bool,
    /// Frames carry their place in the room's history.
    pub(super) position: bool,
    /// The welcome says what the client can reckon with: profile, heartbeat, largest message.
    pub(super) long_welcome: bool,
}

/// Where the payload of an outbound frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// An object of that name; the server's members are at top level.
    Beside(&'static str),
    /// An object of that name, which holds the server's members too.
    Within(&'static str),
    /// At top level, as the server's members are.
    TopLevel,
}

/// What the server calls its own members of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    pub(super) id: &'static str,
    pub(super) room: &'static str,
    pub(super) user: &'static str,
    pub(super) time: &'static str,
    /// The list of a chat's readers, where there is one.
    pub(super) recipients: Option<&'static str>,
}

const ENVELOPE: Names = Names {
    id: "id",
    room: "room_id",
    user: "user_id",
    time: "timestamp",
    recipients: None,
};

const V1: Placement = Placement {
    name: "v1",
    top_level_first: false,
    plain_text: false,
    layout: Layout::Beside("data"),
    names: ENVELOPE,
    chat_names: ENVELOPE,
    content: false,
    numeric_users: false,
    position: true,
    long_welcome: true,
};
const ROOM: Placement = Placement {
    name: "room",
    numeric_users: true,
    long_welcome: false,
    ..V1
};
const MESSAGE: Placement = Placement {
    name: "message",
    layout: Layout::Within("message"),
    names: Names {
        id: "message_id",
        room: "chat_id",
        ..ENVELOPE
    },
    chat_names: Names {
        id: "message_id",
        room: "chat_id",
        user: "sender_id",
        time: "sent_at",
        recipients: Some("recipients"),
    },
    content: true,
    position: false,
    long_welcome: false,
    ..V1
};
const FLAT: Placement = Placement {
    name: "flat",
    top_level_first: true,
    plain_text: true,
    layout: Layout::TopLevel,
    content: true,
    position: false,
    long_welcome: false,
    ..V1
};

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 4] = [Self::V1, Self::Room, Self::Message, Self::Flat];

    /// The name, as in `?profile=` and `connection-status`.
    pub fn as_str(self) -> &'static str {
        self.placement().name
    }

    /// The profile of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|profile| profile.as_str() == name)
    }

    pub(super) const fn placement(self) -> &'static Placement {
        match self {
            Self::V1 => &V1,
            Self::Room => &ROOM,
            Self::Message => &MESSAGE,
            Self::Flat => &FLAT,
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
