//! A frame in no profile's shape: what a client of any kind makes of what it reads.

use serde_json::Value;

/// How a client is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    V1,
    Room,
    Message,
    Flat,
}

impl Profile {
    pub(super) const ALL: [Self; 4] = [Self::V1, Self::Room, Self::Message, Self::Flat];

    /// Whether messages tell their offsets.
    pub(super) fn has_offsets(self) -> bool {
        matches!(self, Self::V1 | Self::Room)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::Room => "room",
            Self::Message => "message",
            Self::Flat => "flat",
        }
    }
}

/// One frame.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) kind: String,
    /// The request's on an answer, the message's own otherwise.
    pub(super) id: Option<String>,
    pub(super) room: Option<String>,
    pub(super) user: Option<String>,
    pub(super) offset: Option<u64>,
    /// What it says.
    pub(super) data: Value,
}

impl Frame {
    /// Reads what was written for a profile. Panics if it was not.
    pub(super) fn read(value: &Value, profile: Profile) -> Self {
        let data = match profile {
            Profile::V1 | Profile::Room => value.get("data").cloned().unwrap_or_default(),
            Profile::Message => value["message"].clone(),
            Profile::Flat => value.clone(),
        };
        let beside = if profile == Profile::Message {
            &data
        } else {
            value
        };
        let (room, user) = match profile {
            Profile::Message => ("chat_id", "sender_id"),
            Profile::V1 | Profile::Room | Profile::Flat => ("room_id", "user_id"),
        };
        let id = match profile {
            Profile::Message => text(&value["id"]).or_else(|| text(&data["message_id"])),
            Profile::V1 | Profile::Room | Profile::Flat => text(&value["id"]),
        };
        let user = text(&beside[user]).or_else(|| text(&beside["user_id"]));
        let offset = value.get("offset").and_then(Value::as_u64);
        assert!(
            profile.has_offsets() || offset.is_none() || profile == Profile::Flat,
            "{value}"
        );
        Self {
            kind: text(&value["type"]).expect("every frame has a type"),
            id,
            room: text(&beside[room]),
            user,
            offset: offset.filter(|_| profile.has_offsets()),
            data,
        }
    }

    pub(super) fn str(&self, name: &str) -> Option<&str> {
        self.data[name].as_str()
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.data[name].as_u64()
    }

    /// The words by which we know a message of a room again.
    pub(super) fn tag(&self) -> Option<&str> {
        let text = match &*self.kind {
            "chat" => self.str("content"),
            "publish" => self.data["data"]["tag"].as_str(),
            _ => None,
        };
        text?.split(' ').next()
    }
}

/// A string or a number, as text.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
