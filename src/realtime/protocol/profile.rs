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

/// The rules of a profile, as a row of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placement {
    name: &'static str,
    /// A member at top level that belongs to nothing else makes the top level the payload, even if
    /// there is an object under `data` or `message`.
    pub(super) top_level_first: bool,
    /// A text that does not begin like JSON is a chat.
    pub(super) plain_text: bool,
}

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

    pub(super) const fn placement(self) -> Placement {
        const fn row(name: &'static str, top_level_first: bool, plain_text: bool) -> Placement {
            Placement {
                name,
                top_level_first,
                plain_text,
            }
        }
        match self {
            Self::V1 => row("v1", false, false),
            Self::Room => row("room", false, false),
            Self::Message => row("message", false, false),
            Self::Flat => row("flat", true, true),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
