//! Paths that take upgrades.

use super::super::protocol::Profile;

/// How the template of a path names its room.
const ROOM_PLACEHOLDER: &str = "{room_id}";

/// A path that takes upgrades, and what its connections get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The path of the request target, compared byte by byte, without a query.
    ///
    /// Or a template that ends in `/{room_id}`: then the last segment of the request's path,
    /// percent-decoded, is the room that the connection joins when it opens. A path that is
    /// written out counts before a template.
    pub path: String,
    /// How messages are laid out, unless the client asks for another profile.
    pub profile: Profile,
    /// The room that a connection joins when it opens, and that a message goes to which names none.
    /// 1 to [`TOPIC_BYTES_MAX`](crate::limits::TOPIC_BYTES_MAX) bytes. Not read where the path
    /// names the room.
    pub room: Option<String>,
    /// Whether connections are told who is in their rooms, unless they ask for the contrary.
    pub presence: bool,
    /// Largest message, bytes, in place of the core's limit.
    pub message_bytes_max: Option<usize>,
}

impl Route {
    /// A route whose connections join no room and are told nothing of presence.
    pub fn new(path: impl Into<String>, profile: Profile) -> Self {
        Self {
            path: path.into(),
            profile,
            room: None,
            presence: false,
            message_bytes_max: None,
        }
    }

    /// The four routes that are there when nobody sets others.
    pub fn defaults() -> Vec<Self> {
        vec![
            Self::new("/api/v1/ws", Profile::Message),
            Self {
                presence: true,
                ..Self::new("/ws/{room_id}", Profile::Room)
            },
            Self {
                room: Some("lobby".into()),
                presence: true,
                ..Self::new("/ws", Profile::Flat)
            },
            Self::new("/v1/connect", Profile::V1),
        ]
    }

    /// Whether the path names the room.
    pub fn is_template(&self) -> bool {
        self.prefix().is_some()
    }

    /// What stands before the room in a template, with the slash at its end.
    fn prefix(&self) -> Option<&str> {
        let prefix = self.path.strip_suffix(ROOM_PLACEHOLDER)?;
        prefix.ends_with('/').then_some(prefix)
    }

    /// The segment that names the room, still percent-encoded, if this is a template and matches.
    /// It may be empty.
    pub(in crate::realtime) fn room_segment<'p>(&self, path: &'p str) -> Option<&'p str> {
        let segment = path.strip_prefix(self.prefix()?)?;
        (!segment.contains('/')).then_some(segment)
    }
}
