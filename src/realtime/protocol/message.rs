//! One inbound message: what its envelope says, and access to its payload.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use smol_str::SmolStr;

use super::Rejection;
use super::json::{Cursor, InvalidKind, OUTERMOST, RawString};
use super::scan::Name;
use super::write::write_string;

/// A message type whose name is the server's: most of them it takes from clients itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BuiltIn {
    /// A token, at first or as a refresh.
    Authentication,
    /// Joins a room or topic.
    Subscribe,
    /// Leaves a room or topic.
    Unsubscribe,
    /// Opaque data to a topic.
    Publish,
    /// A chat message to a room.
    Chat,
    /// What became of a chat message at its reader.
    MessageStatus,
    /// Somebody types, or has stopped.
    Typing,
    /// Asks who is there.
    Presence,
    /// Calls a method.
    Rpc,
    /// Asks for a `pong`.
    Ping,
    /// Asks for a `heartbeat`.
    Heartbeat,
    /// A notice to a user. The server's own, unless a handler takes it.
    Notification,
    /// A notice of a request that another user makes. As `Notification`.
    RequestNotification,
    /// A notice to everybody. As `Notification`.
    Announcement,
}

impl BuiltIn {
    /// Every built-in type.
    pub const ALL: [Self; 14] = [
        Self::Chat,
        Self::Typing,
        Self::Ping,
        Self::Heartbeat,
        Self::Publish,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::MessageStatus,
        Self::Presence,
        Self::Rpc,
        Self::Authentication,
        Self::Notification,
        Self::RequestNotification,
        Self::Announcement,
    ];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authentication => "authentication",
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Publish => "publish",
            Self::Chat => "chat",
            Self::MessageStatus => "message-status",
            Self::Typing => "typing",
            Self::Presence => "presence",
            Self::Rpc => "rpc",
            Self::Ping => "ping",
            Self::Heartbeat => "heartbeat",
            Self::Notification => "notification",
            Self::RequestNotification => "request-notification",
            Self::Announcement => "announcement",
        }
    }

    /// The type of that name, in which `_` and `-` are the same.
    pub fn from_name(name: &str) -> Option<Self> {
        let same = |a: u8, b: u8| a == b || (a == b'-' && b == b'_');
        Self::ALL.into_iter().find(|built_in| {
            let own = built_in.as_str();
            own.len() == name.len() && own.bytes().zip(name.bytes()).all(|(a, b)| same(a, b))
        })
    }
}

/// A client's identifier for its request, as it stood in JSON: a string or a number, to be echoed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId<'a>(pub(super) &'a str);

impl<'a> RequestId<'a> {
    /// The identifier as JSON.
    pub fn as_json(self) -> &'a str {
        self.0
    }

    /// A copy that outlives the message, for an answer that comes later.
    pub fn to_owned(self) -> OwnedRequestId {
        OwnedRequestId(self.0.into())
    }
}

/// A [`RequestId`] that outlives its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRequestId(SmolStr);

impl OwnedRequestId {
    /// The identifier, as the message had it.
    pub fn as_id(&self) -> RequestId<'_> {
        RequestId(&self.0)
    }
}

/// One inbound message. The text that it borrows from is valid JSON to its end.
///
/// Its payload is what the profile's rules made of the frame: the object under `data` or `message`,
/// or the top level less the envelope's own members. Client-set `user_id` and `timestamp` are not
/// read.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    pub(super) message_type: Cow<'a, str>,
    pub(super) built_in: Option<BuiltIn>,
    pub(super) id: Option<RequestId<'a>>,
    pub(super) address: Option<(&'static str, &'a str)>,
    pub(super) token: Option<&'a str>,
    pub(super) method: Option<&'a str>,
    pub(super) payload: Payload<'a>,
    /// The whole object; empty for a plain text.
    pub(super) frame: &'a str,
    /// Its members `data` and `message`, nulls too.
    pub(super) data: Option<&'a str>,
    pub(super) message: Option<&'a str>,
    /// There is a member besides them that is no part of the envelope.
    pub(super) has_others: bool,
    pub(super) binary: Option<&'a [u8]>,
}

#[derive(Clone, Debug)]
pub(super) enum Payload<'a> {
    /// An object's text.
    Object(Cow<'a, str>),
    /// The frame's own text, of which the envelope's members are no part.
    TopLevel(&'a str),
}

impl<'a> Message<'a> {
    /// The type: 1 to [`TYPE_BYTES_MAX`](super::TYPE_BYTES_MAX) bytes. A built-in type's name is
    /// the one of [`BuiltIn::as_str`], others are as written.
    pub fn message_type(&self) -> &str {
        &self.message_type
    }

    /// The built-in type, if it is one.
    pub fn built_in(&self) -> Option<BuiltIn> {
        self.built_in
    }

    /// The request identifier, if the client gave one.
    pub fn id(&self) -> Option<RequestId<'a>> {
        self.id
    }

    /// The room that the message is for, from `room_id`, `chat_id`, `topic` or `channel`: at top
    /// level, else in the payload. An integer becomes its decimal string.
    ///
    /// Errors: [`Rejection::InvalidMember`] for another kind of value or an empty string;
    /// [`Rejection::RepeatedMember`] if the payload names more than one.
    pub fn room(&self) -> Result<Option<Cow<'_, str>>, Rejection> {
        if let Some((name, raw)) = self.address {
            return identifier(name, raw).map(Some);
        }
        let Payload::Object(object) = &self.payload else {
            return Ok(None);
        };
        let mut found = None;
        for member in Members::new(object, false) {
            let Some(name) = Name::of(member.key).filter(|name| name.is_address()) else {
                continue;
            };
            if member.raw == "null" {
                continue;
            }
            if found.replace((name.as_str(), member.raw)).is_some() {
                return Err(Rejection::RepeatedMember(name.as_str().into()));
            }
        }
        found.map(|(name, raw)| identifier(name, raw)).transpose()
    }

    /// Whether the room stands at top level, so that the payload is content and nothing else.
    pub fn is_addressed(&self) -> bool {
        self.address.is_some()
    }

    /// The `token`, at top level or in the payload. Only `authentication` reads it.
    ///
    /// Errors: [`Rejection::InvalidMember`] if it is no string, [`Rejection::RepeatedMember`].
    pub fn token(&self) -> Result<Option<Cow<'_, str>>, Rejection> {
        match self.token {
            Some(raw) => string("token", raw).map(Some),
            None => self.str("token"),
        }
    }

    /// The `method`, at top level or in the payload. Only `rpc` reads it.
    ///
    /// Errors: as [`token`](Self::token).
    pub fn method(&self) -> Result<Option<Cow<'_, str>>, Rejection> {
        match self.method {
            Some(raw) => string("method", raw).map(Some),
            None => self.str("method"),
        }
    }

    /// The bytes behind the envelope of a binary message; only `publish` and `rpc` come with any.
    pub fn binary(&self) -> Option<&'a [u8]> {
        self.binary
    }

    /// The payload's members, in their order.
    pub fn members(&self) -> Members<'_> {
        match &self.payload {
            Payload::Object(object) => Members::new(object, false),
            Payload::TopLevel(frame) => Members::new(frame, true),
        }
    }

    /// The payload as the text of an object; borrowed if it stood as one in the frame.
    pub fn payload(&self) -> Cow<'_, str> {
        if let Payload::Object(object) = &self.payload {
            return Cow::Borrowed(object);
        }
        Cow::Owned(object_of(self.members()))
    }

    /// The payload's member `name`, as it stands in JSON; `None` if it is missing.
    ///
    /// Errors: [`Rejection::RepeatedMember`]: who reads a member must not read another one than
    /// those to whom the payload is relayed.
    pub fn raw(&self, name: &str) -> Result<Option<&str>, Rejection> {
        only(self.members(), name)
    }

    /// The payload's string `name`; `None` if it is missing or null.
    ///
    /// Errors: [`Rejection::InvalidMember`] if it is something else, [`Rejection::RepeatedMember`].
    pub fn str(&self, name: &str) -> Result<Option<Cow<'_, str>>, Rejection> {
        optional_string(name, self.raw(name)?)
    }

    /// The payload's identifier `name`, a non-empty string or an integer, which becomes its decimal
    /// string; `None` if it is missing or null.
    ///
    /// Errors: [`Rejection::InvalidMember`] if it is something else, [`Rejection::RepeatedMember`].
    pub fn identifier(&self, name: &'static str) -> Result<Option<Cow<'_, str>>, Rejection> {
        optional_identifier(name, self.raw(name)?)
    }

    /// The payload's truth value `name`; `None` if it is missing or null.
    ///
    /// Errors: [`Rejection::InvalidMember`] if it is something else, [`Rejection::RepeatedMember`].
    pub fn bool(&self, name: &str) -> Result<Option<bool>, Rejection> {
        truth(name, self.raw(name)?)
    }

    /// The payload as a value of type `T`.
    ///
    /// Errors: [`Rejection::InvalidPayload`] with what does not fit.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T, Rejection> {
        sonic_rs::from_str(&self.payload())
            .map_err(|error| Rejection::InvalidPayload(error.to_string()))
    }

    /// A chat whose content is a plain text.
    pub(super) fn plain_text(text: &str) -> Self {
        let mut object = b"{\"content\":".to_vec();
        write_string(&mut object, text);
        object.push(b'}');
        let object = String::from_utf8(object).expect("UTF-8 in, UTF-8 out");
        Message {
            message_type: Cow::Borrowed(BuiltIn::Chat.as_str()),
            built_in: Some(BuiltIn::Chat),
            id: None,
            address: None,
            token: None,
            method: None,
            payload: Payload::Object(Cow::Owned(object)),
            frame: "",
            data: None,
            message: None,
            has_others: false,
            binary: None,
        }
    }
}

/// One member of a payload, borrowed from the text.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    key: RawString<'a>,
    raw: &'a str,
}

impl<'a> Member<'a> {
    /// The name.
    pub fn name(&self) -> Cow<'a, str> {
        self.key.decode()
    }

    /// Whether the name is `name`, however it is escaped.
    pub fn is(&self, name: &str) -> bool {
        self.key.is(name)
    }

    /// The name as it stands in JSON, without its quotes.
    pub fn raw_name(&self) -> &'a str {
        self.key.inner
    }

    /// The same value under another name, one that needs no escapes.
    #[must_use]
    pub fn renamed(self, name: &'a str) -> Self {
        let key = RawString {
            inner: name,
            escaped: false,
        };
        Self { key, ..self }
    }

    /// The value as it stands in JSON: valid, without white space around it.
    pub fn raw(&self) -> &'a str {
        self.raw
    }
}

/// The members of an object's text, or of a frame less its envelope.
#[derive(Clone, Debug)]
pub struct Members<'a> {
    cursor: Cursor<'a>,
    skip_envelope: bool,
    started: bool,
}

impl<'a> Members<'a> {
    /// The members of a text that is to be one JSON object, such as the body of an HTTP request.
    ///
    /// Errors: [`Rejection::InvalidJson`], [`Rejection::TooDeep`], [`Rejection::NotAnObject`].
    pub fn parse(text: &'a str) -> Result<Self, Rejection> {
        let mut cursor = Cursor::new(text);
        let is_object = cursor.peek() == Some(b'{');
        cursor.value(OUTERMOST).and_then(|_| cursor.end())?;
        if is_object {
            Ok(Self::new(text, false))
        } else {
            Err(Rejection::NotAnObject)
        }
    }

    /// The members of an object's text that has been validated.
    pub(super) fn new(object: &'a str, skip_envelope: bool) -> Self {
        Self {
            cursor: Cursor::new(object),
            skip_envelope,
            started: false,
        }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        const VALID: &str = "the text was validated when it came in";
        loop {
            let begins = !std::mem::replace(&mut self.started, true);
            if begins {
                self.cursor.expect(b'{').expect(VALID);
                if self.cursor.peek() == Some(b'}') {
                    return None;
                }
            } else if !self.cursor.take(b',') {
                return None;
            }
            let key = self.cursor.key().expect(VALID);
            let raw = self.cursor.value(1).expect(VALID);
            if !(self.skip_envelope && Name::of(key).is_some_and(Name::is_envelope)) {
                return Some(Member { key, raw });
            }
        }
    }
}

impl From<super::json::Invalid> for Rejection {
    fn from(invalid: super::json::Invalid) -> Self {
        match invalid.kind {
            InvalidKind::Syntax => Self::InvalidJson {
                offset: invalid.offset,
            },
            InvalidKind::TooDeep => Self::TooDeep,
        }
    }
}

/// The text of an object of these members.
pub(super) fn object_of<'m>(members: impl Iterator<Item = Member<'m>>) -> String {
    let mut object = String::from("{");
    for member in members {
        if object.len() > 1 {
            object.push(',');
        }
        object.push('"');
        object.push_str(member.key.inner);
        object.push_str("\":");
        object.push_str(member.raw);
    }
    object.push('}');
    object
}

/// The value of the member `name`, if there is one.
///
/// Errors: [`Rejection::RepeatedMember`] if there are more.
pub(super) fn only<'a>(members: Members<'a>, name: &str) -> Result<Option<&'a str>, Rejection> {
    let mut found = None;
    for member in members {
        if member.is(name) && found.replace(member.raw).is_some() {
            return Err(Rejection::RepeatedMember(name.to_owned().into()));
        }
    }
    Ok(found)
}

/// The truth value that a valid JSON value is; none for null.
pub(super) fn truth(name: &str, raw: Option<&str>) -> Result<Option<bool>, Rejection> {
    match raw {
        None | Some("null") => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => Err(Rejection::InvalidMember(name.to_owned().into())),
    }
}

/// The string that a valid JSON value is; none for null.
pub(super) fn optional_string<'a>(
    name: &str,
    raw: Option<&'a str>,
) -> Result<Option<Cow<'a, str>>, Rejection> {
    raw.filter(|raw| *raw != "null")
        .map(|raw| string(name, raw))
        .transpose()
}

/// The string that a valid JSON value is.
pub(super) fn string<'a>(name: &str, raw: &'a str) -> Result<Cow<'a, str>, Rejection> {
    match raw.as_bytes() {
        [b'"', inner @ .., b'"'] => {
            let escaped = memchr::memchr(b'\\', inner).is_some();
            Ok(RawString {
                inner: &raw[1..raw.len() - 1],
                escaped,
            }
            .decode())
        }
        _ => Err(Rejection::InvalidMember(name.to_owned().into())),
    }
}

/// The identifier that a valid JSON value is; none for null.
pub(super) fn optional_identifier<'a>(
    name: &'static str,
    raw: Option<&'a str>,
) -> Result<Option<Cow<'a, str>>, Rejection> {
    raw.filter(|raw| *raw != "null")
        .map(|raw| identifier(name, raw))
        .transpose()
}

/// The identifier that a valid JSON value is: a non-empty string, or an integer's digits.
fn identifier<'a>(name: &'static str, raw: &'a str) -> Result<Cow<'a, str>, Rejection> {
    let is_integer = raw
        .strip_prefix('-')
        .unwrap_or(raw)
        .bytes()
        .all(|b| b.is_ascii_digit());
    if is_integer && raw != "-0" {
        return Ok(Cow::Borrowed(raw));
    }
    match string(name, raw) {
        Ok(text) if !text.is_empty() => Ok(text),
        _ => Err(Rejection::InvalidMember(name.into())),
    }
}
