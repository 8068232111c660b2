//! One inbound text to messages: which members are the envelope's, which the payload's.
//!
//! The whole text is validated in the same pass, before anything of it can be relayed.

use std::borrow::Cow;

use super::json::{Cursor, Invalid, RawString};
use super::message::{BuiltIn, Message, Payload, RequestId, string};
use super::{BATCH_MAX, Profile, REQUEST_ID_BYTES_MAX, Rejection, TYPE_BYTES_MAX};

/// What a text holds.
#[derive(Clone, Debug)]
pub enum Inbound<'a> {
    /// One message.
    One(Message<'a>),
    /// 1 to [`BATCH_MAX`] messages, each good or refused by itself.
    Batch(Vec<Result<Message<'a>, Refused<'a>>>),
}

/// A refused message, and what is needed to tell its sender which one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused<'a> {
    /// Why.
    pub rejection: Rejection,
    /// The request identifier, where the text could be read that far.
    pub id: Option<RequestId<'a>>,
}

impl From<Rejection> for Refused<'_> {
    fn from(rejection: Rejection) -> Self {
        Self {
            rejection,
            id: None,
        }
    }
}

impl From<Invalid> for Refused<'_> {
    fn from(invalid: Invalid) -> Self {
        Rejection::from(invalid).into()
    }
}

/// Reads one inbound text by the rules of `profile`.
///
/// Valid means: JSON and Unicode to its end, no lone surrogate escapes, at most
/// [`JSON_DEPTH_MAX`](super::JSON_DEPTH_MAX) levels, members that the server reads once each.
/// Numbers of any size and repeated names inside the payload pass. Unknown members are payload or
/// ignored. Allocates for plain text, batches and an escaped type only.
///
/// Errors: a [`Rejection`] of code `invalid_json` or `invalid_message`. Nothing of the text counts
/// then, but a batch's messages are refused one by one.
pub fn scan(text: &str, profile: Profile) -> Result<Inbound<'_>, Refused<'_>> {
    let mut cursor = Cursor::new(text);
    match cursor.peek() {
        Some(b'{') => {
            let found = Found::read(&mut cursor, 0)?;
            cursor.end()?;
            found.into_message(profile).map(Inbound::One)
        }
        Some(b'[') => batch(cursor, profile).map(Inbound::Batch),
        Some(_) if profile.placement().plain_text => Ok(Inbound::One(Message::plain_text(text))),
        Some(_) => Err(Rejection::PlainText.into()),
        None => Err(Rejection::Empty.into()),
    }
}

fn batch<'a>(
    mut cursor: Cursor<'a>,
    profile: Profile,
) -> Result<Vec<Result<Message<'a>, Refused<'a>>>, Refused<'a>> {
    cursor.expect(b'[')?;
    let mut messages = Vec::new();
    if cursor.peek() != Some(b']') {
        loop {
            if messages.len() == BATCH_MAX {
                return Err(Rejection::BatchTooLong.into());
            }
            messages.push(if cursor.peek() == Some(b'{') {
                Found::read(&mut cursor, 1)?.into_message(profile)
            } else {
                cursor.value(1)?;
                Err(Rejection::NotAnObject.into())
            });
            if !cursor.take(b',') {
                break;
            }
        }
    }
    cursor.expect(b']')?;
    cursor.end()?;
    if messages.is_empty() {
        Err(Rejection::BatchEmpty.into())
    } else {
        Ok(messages)
    }
}

/// A name at top level that means something to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Type,
    Id,
    RoomId,
    ChatId,
    Topic,
    Channel,
    Token,
    Method,
    Data,
    Message,
    UserId,
    Timestamp,
    Offset,
    Epoch,
}

impl Name {
    pub(super) fn of(key: RawString<'_>) -> Option<Self> {
        if key.escaped {
            Self::of_plain(&key.decode())
        } else {
            Self::of_plain(key.inner)
        }
    }

    fn of_plain(name: &str) -> Option<Self> {
        Some(match name {
            "type" => Self::Type,
            "id" => Self::Id,
            "room_id" => Self::RoomId,
            "chat_id" => Self::ChatId,
            "topic" => Self::Topic,
            "channel" => Self::Channel,
            "token" => Self::Token,
            "method" => Self::Method,
            "data" => Self::Data,
            "message" => Self::Message,
            "user_id" => Self::UserId,
            "timestamp" => Self::Timestamp,
            "offset" => Self::Offset,
            "epoch" => Self::Epoch,
            _ => return None,
        })
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Id => "id",
            Self::RoomId => "room_id",
            Self::ChatId => "chat_id",
            Self::Topic => "topic",
            Self::Channel => "channel",
            Self::Token => "token",
            Self::Method => "method",
            Self::Data => "data",
            Self::Message => "message",
            Self::UserId => "user_id",
            Self::Timestamp => "timestamp",
            Self::Offset => "offset",
            Self::Epoch => "epoch",
        }
    }

    /// One of the four names of a room.
    pub(super) fn is_address(self) -> bool {
        matches!(
            self,
            Self::RoomId | Self::ChatId | Self::Topic | Self::Channel
        )
    }

    /// Never part of a payload that is the top level. `method` is, for a custom type may mean
    /// something else by it; `data` and `message` are what they are there.
    pub(super) fn is_envelope(self) -> bool {
        !matches!(self, Self::Method | Self::Data | Self::Message)
    }
}

/// What one pass over an envelope found: values as they stand in JSON, nulls left out.
#[derive(Default)]
struct Found<'a> {
    frame: &'a str,
    message_type: Option<&'a str>,
    id: Option<&'a str>,
    address: Option<(&'static str, &'a str)>,
    token: Option<&'a str>,
    method: Option<&'a str>,
    data: Option<&'a str>,
    message: Option<&'a str>,
    /// Some member is neither the envelope's nor an object under `data` or `message`.
    has_loose_members: bool,
    /// The first member of those read that stands twice.
    repeated: Option<Name>,
}

impl<'a> Found<'a> {
    /// Reads the object at the cursor, which is `depth` levels down.
    fn read(cursor: &mut Cursor<'a>, depth: u32) -> Result<Self, Invalid> {
        let mut found = Self::default();
        let start = cursor.offset();
        cursor.expect(b'{')?;
        if !cursor.take(b'}') {
            loop {
                let key = cursor.key()?;
                let value = cursor.value(depth + 1)?;
                found.member(key, value);
                if !cursor.take(b',') {
                    break;
                }
            }
            cursor.expect(b'}')?;
        }
        found.frame = cursor.since(start);
        Ok(found)
    }

    fn member(&mut self, key: RawString<'a>, value: &'a str) {
        let Some(name) = Name::of(key) else {
            self.has_loose_members = true;
            return;
        };
        let is_repeated = match name {
            Name::Type => self.message_type.replace(value).is_some(),
            Name::Id => self.id.replace(value).is_some(),
            Name::RoomId | Name::ChatId | Name::Topic | Name::Channel => {
                self.address.replace((name.as_str(), value)).is_some()
            }
            Name::Token => self.token.replace(value).is_some(),
            Name::Method => self.method.replace(value).is_some(),
            Name::Data => {
                self.has_loose_members |= !value.starts_with('{');
                self.data.replace(value).is_some()
            }
            Name::Message => {
                self.has_loose_members |= !value.starts_with('{');
                self.message.replace(value).is_some()
            }
            Name::UserId | Name::Timestamp | Name::Offset | Name::Epoch => false,
        };
        if is_repeated {
            self.repeated.get_or_insert(name);
        }
    }

    fn into_message(self, profile: Profile) -> Result<Message<'a>, Refused<'a>> {
        let present = |value: Option<&'a str>| value.filter(|raw| *raw != "null");
        let id = match present(self.id) {
            Some(raw) => Some(request_id(raw)?),
            None => None,
        };
        let refuse = |rejection| Refused { rejection, id };
        if let Some(name) = self.repeated {
            return Err(refuse(Rejection::RepeatedMember(name.as_str().into())));
        }
        let written = self
            .message_type
            .ok_or_else(|| refuse(Rejection::TypeMissing))?;
        let written = message_type(written).map_err(refuse)?;
        let built_in = BuiltIn::from_name(&written);
        Ok(Message {
            message_type: built_in.map_or(written, |known| Cow::Borrowed(known.as_str())),
            built_in,
            id,
            address: self.address.filter(|(_, raw)| *raw != "null"),
            token: present(self.token),
            method: present(self.method),
            payload: self.payload(profile),
        })
    }

    /// Where the payload is: the table of conflict 2.
    fn payload(&self, profile: Profile) -> Payload<'a> {
        if profile.placement().top_level_first && self.has_loose_members {
            return Payload::TopLevel(self.frame);
        }
        let is_object = |value: &&str| value.starts_with('{');
        match self
            .data
            .filter(is_object)
            .or(self.message.filter(is_object))
        {
            Some(object) => Payload::Object(Cow::Borrowed(object)),
            None => Payload::TopLevel(self.frame),
        }
    }
}

fn request_id(raw: &str) -> Result<RequestId<'_>, Rejection> {
    let is_scalar = matches!(raw.as_bytes().first(), Some(b'"' | b'-' | b'0'..=b'9'));
    if is_scalar && raw.len() <= REQUEST_ID_BYTES_MAX {
        Ok(RequestId(raw))
    } else {
        Err(Rejection::InvalidMember("id".into()))
    }
}

fn message_type(raw: &str) -> Result<Cow<'_, str>, Rejection> {
    match string("type", raw) {
        Ok(written) if written.is_empty() => Err(Rejection::TypeInvalid),
        Ok(written) if written.len() > TYPE_BYTES_MAX => Err(Rejection::TypeTooLong),
        Ok(written) => Ok(written),
        Err(_) => Err(Rejection::TypeInvalid),
    }
}
