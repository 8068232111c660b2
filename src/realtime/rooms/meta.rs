//! What is known of a room besides who is there, and how it is changed.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Room;
use crate::id::UserId;
use crate::realtime::protocol::{Fields, Rejection, Timestamp};

/// Longest name of a room, bytes.
const NAME_BYTES_MAX: usize = 256;
/// Largest metadata of a room, bytes of JSON.
const METADATA_BYTES_MAX: usize = 8 * 1024;
/// Most users on a new room's access list, and most of a list who are told of a change.
pub(super) const MEMBERS_MAX: usize = 1000;

/// What is known of a room besides who is there (3.8).
#[derive(Debug)]
pub(super) struct Meta {
    pub(super) name: Box<str>,
    created_ms: u64,
    /// Who may do all to the room; `None`: it was made by being entered.
    created_by: Option<UserId>,
    /// Made by request, a user's or the server's own.
    pub(super) is_made: bool,
    /// Most users at once; 0: as many as the namespace allows.
    pub(super) max_clients: u32,
    pub(super) is_private: bool,
    /// The text of a JSON object.
    metadata: Box<str>,
}

/// [`Meta`] as it stands in the store.
#[derive(Serialize, Deserialize)]
struct StoredMeta {
    name: String,
    created_ms: u64,
    created_by: Option<String>,
    #[serde(default)]
    is_made: bool,
    max_clients: u32,
    is_private: bool,
    metadata: Box<RawValue>,
}

/// What a new room is to be.
#[derive(Debug, Default)]
pub(in crate::realtime) struct Spec {
    pub(in crate::realtime) changes: Changes,
    /// Users who may come in though the room is private, and who are members while they are away.
    pub(in crate::realtime) members: Vec<UserId>,
}

/// What is to change about a room: what is `None` stays.
#[derive(Debug, Default, Deserialize)]
pub struct Changes {
    /// What people call it, at most 256 bytes.
    pub name: Option<String>,
    /// Most users at once; 0: as many as the namespace allows.
    pub max_clients: Option<u32>,
    /// Whether only those on its access list may come in.
    pub is_private: Option<bool>,
    /// A JSON object of at most 8 KiB.
    pub metadata: Option<Box<RawValue>>,
}

impl Changes {
    /// Errors: [`Rejection::InvalidMember`] for what is too long, or metadata that is no object.
    pub(in crate::realtime) fn check(&self) -> Result<(), Rejection> {
        if self
            .name
            .as_ref()
            .is_some_and(|name| name.len() > NAME_BYTES_MAX)
        {
            return Err(Rejection::InvalidMember("name".into()));
        }
        let metadata = self.metadata.as_ref().map(|metadata| metadata.get());
        let is_fine = |text: &str| text.starts_with('{') && text.len() <= METADATA_BYTES_MAX;
        if metadata.is_some_and(|text| !is_fine(text)) {
            return Err(Rejection::InvalidMember("metadata".into()));
        }
        Ok(())
    }
}

impl Spec {
    /// Errors: as [`Changes::check`], and [`Rejection::InvalidMember`] about too many members.
    pub(in crate::realtime) fn check(&self) -> Result<(), Rejection> {
        if self.members.len() > MEMBERS_MAX {
            return Err(Rejection::InvalidMember("members".into()));
        }
        self.changes.check()
    }
}

impl Meta {
    pub(super) fn new(created_ms: u64, is_private: bool) -> Self {
        Self {
            name: "".into(),
            created_ms,
            created_by: None,
            is_made: false,
            max_clients: 0,
            is_private,
            metadata: "{}".into(),
        }
    }

    /// A user makes the room by request; `None`: the server itself.
    pub(super) fn create(&mut self, user: Option<&UserId>, created_ms: u64, changes: Changes) {
        self.apply(changes);
        self.created_by = user.cloned();
        self.is_made = true;
        self.created_ms = created_ms;
    }

    pub(super) fn is_owner(&self, user: &UserId) -> bool {
        self.created_by.as_ref() == Some(user)
    }

    pub(super) fn created_by(&self) -> Option<&UserId> {
        self.created_by.as_ref()
    }

    pub(super) fn apply(&mut self, changes: Changes) {
        let Changes {
            name,
            max_clients,
            is_private,
            metadata,
        } = changes;
        if let Some(name) = name {
            self.name = name.into();
        }
        self.max_clients = max_clients.unwrap_or(self.max_clients);
        self.is_private = is_private.unwrap_or(self.is_private);
        if let Some(metadata) = metadata {
            self.metadata = metadata.get().into();
        }
    }

    pub(super) fn to_json(&self) -> String {
        let stored = StoredMeta {
            name: (*self.name).into(),
            created_ms: self.created_ms,
            created_by: self.created_by.as_deref().map(Into::into),
            is_made: self.is_made,
            max_clients: self.max_clients,
            is_private: self.is_private,
            metadata: RawValue::from_string((*self.metadata).into())
                .expect("checked when it came in"),
        };
        serde_json::to_string(&stored).expect("plain data")
    }

    pub(super) fn from_json(text: &str) -> Option<Self> {
        let stored: StoredMeta = serde_json::from_str(text).ok()?;
        Some(Self {
            name: stored.name.into(),
            created_ms: stored.created_ms,
            is_made: stored.is_made || stored.created_by.is_some(),
            created_by: stored.created_by.as_deref().map(UserId::from),
            max_clients: stored.max_clients,
            is_private: stored.is_private,
            metadata: stored.metadata.get().into(),
        })
    }

    pub(super) fn write<'o>(&self, fields: Fields<'o>, room: &Room) -> Fields<'o> {
        let name = if self.name.is_empty() {
            room.name()
        } else {
            &*self.name
        };
        let fields = fields
            .str("id", room.name())
            .str("name", name)
            .time("created_at", &Timestamp::new(self.created_ms));
        let fields = match &self.created_by {
            Some(user) => fields.str("created_by", user),
            None => fields.null("created_by"),
        };
        fields
            .number("max_clients", self.max_clients.into())
            .bool("is_private", self.is_private)
            .raw("metadata", &self.metadata)
    }
}
