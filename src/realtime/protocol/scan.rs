//! One inbound text to messages: which members are the envelope's, which the payload's.
//!
//! The whole text is validated in the same pass, before anything of it can be relayed.

use std::borrow::Cow;

use super::json::{Cursor, Invalid, OUTERMOST, RawString};
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
            let found = Found::read(&mut cursor, OUTERMOST)?;
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
                Found::read(&mut cursor, OUTERMOST + 1)?.into_message(profile)
            } else {
                cursor.value(OUTERMOST + 1)?;
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
    #[inline]
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
    /// Some member's name means nothing to the server.
    has_others: bool,
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
            self.has_others = true;
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
            Name::Data => self.data.replace(value).is_some(),
            Name::Message => self.message.replace(value).is_some(),
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
            frame: self.frame,
            data: self.data,
            message: self.message,
            has_others: self.has_others || self.method.is_some(),
            binary: None,
        })
    }

    /// Where the payload is: the table of conflict 2.
    fn payload(&self, profile: Profile) -> Payload<'a> {
        let is_object = |value: &&str| value.starts_with('{');
        // Some member is neither the envelope's nor an object under `data` or `message`.
        let is_loose = |value: Option<&str>| value.is_some_and(|value| !is_object(&value));
        let has_loose = self.has_others || is_loose(self.data) || is_loose(self.message);
        if profile.placement().top_level_first && has_loose {
            return Payload::TopLevel(self.frame);
        }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::json::tests::{reference, texts};
    use super::*;

    fn one(text: &str, profile: Profile) -> Result<Message<'_>, Rejection> {
        match scan(text, profile) {
            Ok(Inbound::One(message)) => Ok(message),
            Ok(Inbound::Batch(_)) => panic!("a batch: {text}"),
            Err(refused) => Err(refused.rejection),
        }
    }

    /// The payload of a valid frame, without regard to white space or order.
    fn payload(text: &str, profile: Profile) -> serde_json::Value {
        let message = one(text, profile).expect(text);
        serde_json::from_str(&message.payload()).expect(text)
    }

    #[test]
    fn conflict_2_the_payload_is_found_where_each_profile_keeps_it() {
        // (frame, payload in v1, room and message, payload in flat)
        let table = [
            (r#"{"type":"x"}"#, "{}", "{}"),
            (r#"{"type":"x","data":{"a":1}}"#, r#"{"a":1}"#, r#"{"a":1}"#),
            (
                r#"{"type":"x","message":{"a":1}}"#,
                r#"{"a":1}"#,
                r#"{"a":1}"#,
            ),
            (
                r#"{"type":"x","message":{"a":1},"data":{"b":2}}"#,
                r#"{"b":2}"#,
                r#"{"b":2}"#,
            ),
            (
                r#"{"type":"x","content":"hi"}"#,
                r#"{"content":"hi"}"#,
                r#"{"content":"hi"}"#,
            ),
            (
                r#"{"type":"x","content":"hi","data":{"a":1}}"#,
                r#"{"a":1}"#,
                r#"{"content":"hi","data":{"a":1}}"#,
            ),
            (
                r#"{"type":"x","message":"hi"}"#,
                r#"{"message":"hi"}"#,
                r#"{"message":"hi"}"#,
            ),
            (
                r#"{"type":"x","message":"hi","data":{"a":1}}"#,
                r#"{"a":1}"#,
                r#"{"message":"hi","data":{"a":1}}"#,
            ),
            (
                r#"{"type":"x","data":[1]}"#,
                r#"{"data":[1]}"#,
                r#"{"data":[1]}"#,
            ),
            (
                r#"{"type":"x","data":7,"message":{"a":1}}"#,
                r#"{"a":1}"#,
                { r#"{"data":7,"message":{"a":1}}"# },
            ),
            (
                r#"{"type":"x","id":"1","room_id":"7","user_id":1,"timestamp":"t","token":"k",
                    "offset":1,"epoch":"e","data":{"a":1}}"#,
                r#"{"a":1}"#,
                r#"{"a":1}"#,
            ),
            (
                r#"{"type":"x","chat_id":"7","a":1}"#,
                r#"{"a":1}"#,
                r#"{"a":1}"#,
            ),
            (
                r#"{"type":"rpc","method":"m","data":{"p":1}}"#,
                r#"{"p":1}"#,
                r#"{"p":1}"#,
            ),
            (
                r#"{"type":"pay","method":"card","n":1}"#,
                r#"{"method":"card","n":1}"#,
                { r#"{"method":"card","n":1}"# },
            ),
        ];
        for (frame, elsewhere, flat) in table {
            let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            assert_eq!(payload(frame, Profile::Flat), json(flat), "{frame}");
            for profile in [Profile::V1, Profile::Room, Profile::Message] {
                assert_eq!(
                    payload(frame, profile),
                    json(elsewhere),
                    "{profile}: {frame}"
                );
            }
        }
    }

    #[test]
    fn req_4_3_a_flat_frame_is_type_and_payload() {
        let message = one(
            r#"{"type":"chat","content":"h\u0069","n":null}"#,
            Profile::Flat,
        );
        let message = message.unwrap();
        assert_eq!(message.built_in(), Some(BuiltIn::Chat));
        assert_eq!(message.str("content").unwrap().as_deref(), Some("hi"));
        assert_eq!(message.str("n"), Ok(None));
        assert_eq!(message.raw("n"), Ok(Some("null")));
        assert_eq!(message.str("missing"), Ok(None));
        assert_eq!(message.room(), Ok(None));
        assert_eq!(message.id(), None);
    }

    #[test]
    fn req_4_4_plain_text_is_a_chat_in_the_flat_profile_alone() {
        for text in [
            "hi",
            " \"hi\"\n",
            "42",
            "null",
            "a{}",
            "\\ud800 \u{1}",
            "\u{feff}{}",
        ] {
            let message = one(text, Profile::Flat).unwrap();
            assert_eq!(message.built_in(), Some(BuiltIn::Chat));
            assert_eq!(message.str("content").unwrap().as_deref(), Some(text));
            for profile in [Profile::V1, Profile::Room, Profile::Message] {
                assert_eq!(one(text, profile).unwrap_err(), Rejection::PlainText);
            }
        }
        for profile in Profile::ALL {
            assert_eq!(one(" \n", profile).unwrap_err(), Rejection::Empty);
            for begins_like_json in ["{hi", " [hi", "{}}", "{", "[", "[]x"] {
                let code = one(begins_like_json, profile).unwrap_err().code();
                assert_eq!(code.as_str(), "invalid_json", "{begins_like_json}");
            }
        }
    }

    #[test]
    fn conflict_6_a_room_has_four_names_and_may_be_a_number() {
        for name in ["room_id", "chat_id", "topic", "channel"] {
            for (value, room) in [
                ("\"7\"", "7"),
                ("7", "7"),
                ("-12", "-12"),
                (r#""\u0037""#, "7"),
            ] {
                let top = format!(r#"{{"type":"chat","{name}":{value},"data":{{"topic":"no"}}}}"#);
                let message = one(&top, Profile::V1).unwrap();
                assert_eq!(message.room().unwrap().as_deref(), Some(room), "{top}");
                assert!(message.is_addressed());
                let within = format!(r#"{{"type":"chat","message":{{"a":1,"{name}":{value}}}}}"#);
                let message = one(&within, Profile::Flat).unwrap();
                assert_eq!(message.room().unwrap().as_deref(), Some(room), "{within}");
                assert!(!message.is_addressed());
            }
            for value in ["\"\"", "1.0", "1e3", "-0", "true", "[]", "{}"] {
                let text = format!(r#"{{"type":"chat","{name}":{value}}}"#);
                let rejection = one(&text, Profile::Flat).unwrap().room().unwrap_err();
                assert_eq!(rejection, Rejection::InvalidMember(name.into()));
            }
            let null = format!(r#"{{"type":"chat","{name}":null}}"#);
            assert_eq!(one(&null, Profile::Flat).unwrap().room(), Ok(None));
        }
        let twice = r#"{"type":"chat","data":{"topic":"a","channel":"b"}}"#;
        let rejection = one(twice, Profile::V1).unwrap().room().unwrap_err();
        assert_eq!(rejection, Rejection::RepeatedMember("channel".into()));
    }

    #[test]
    fn a_type_is_a_string_of_1_to_64_bytes() {
        let longest = format!(r#"{{"type":"{}"}}"#, "x".repeat(TYPE_BYTES_MAX));
        assert!(one(&longest, Profile::Flat).is_ok());
        let too_long = format!(r#"{{"type":"{}"}}"#, "x".repeat(TYPE_BYTES_MAX + 1));
        let table = [
            (too_long.as_str(), Rejection::TypeTooLong),
            ("{}", Rejection::TypeMissing),
            (r#"{"Type":"x"}"#, Rejection::TypeMissing),
            (r#"{"data":{"type":"x"}}"#, Rejection::TypeMissing),
            (r#"{"type":""}"#, Rejection::TypeInvalid),
            (r#"{"type":1}"#, Rejection::TypeInvalid),
            (r#"{"type":null}"#, Rejection::TypeInvalid),
            (r#"{"type":{"type":"x"}}"#, Rejection::TypeInvalid),
        ];
        for (text, rejection) in table {
            assert_eq!(rejection.code().as_str(), "invalid_message");
            assert_eq!(one(text, Profile::Flat).unwrap_err(), rejection, "{text}");
        }
    }

    #[test]
    fn conflict_17_dash_and_underscore_are_one_in_built_in_types_only() {
        let table = [
            (
                "message_status",
                "message-status",
                Some(BuiltIn::MessageStatus),
            ),
            (
                "message-status",
                "message-status",
                Some(BuiltIn::MessageStatus),
            ),
            ("custom_message", "custom_message", None),
            ("custom-message", "custom-message", None),
            ("Chat", "Chat", None),
            (r"ch\u0061t", "chat", Some(BuiltIn::Chat)),
        ];
        for (written, expected, built_in) in table {
            let text = format!(r#"{{"type":"{written}"}}"#);
            let message = one(&text, Profile::Flat).unwrap();
            assert_eq!(
                (message.message_type(), message.built_in()),
                (expected, built_in)
            );
        }
    }

    #[test]
    fn conflict_4_a_request_id_is_a_string_or_a_number_and_kept_as_written() {
        for (value, id) in [
            ("\"4\"", Some("\"4\"")),
            ("4", Some("4")),
            (r#""\"""#, Some(r#""\"""#)),
            ("null", None),
        ] {
            let text = format!(r#"{{"id":{value},"type":"ping"}}"#);
            let message = one(&text, Profile::Flat).unwrap();
            assert_eq!(message.id().map(RequestId::as_json), id);
        }
        let too_long = format!("\"{}\"", "4".repeat(REQUEST_ID_BYTES_MAX - 1));
        for value in ["true", "[]", "{}", &too_long] {
            let text = format!(r#"{{"id":{value},"type":"ping"}}"#);
            let rejection = one(&text, Profile::Flat).unwrap_err();
            assert_eq!(rejection, Rejection::InvalidMember("id".into()));
        }
        let refused = scan(r#"{"type":1,"id":"4"}"#, Profile::Flat).unwrap_err();
        assert_eq!(refused.id.map(RequestId::as_json), Some("\"4\""));
    }

    #[test]
    fn detail_12_a_member_that_the_server_reads_stands_once() {
        let table = [
            (r#"{"type":"a","type":"b"}"#, "type"),
            (r#"{"type":"a","\u0074ype":"b"}"#, "type"),
            (r#"{"type":"a","id":1,"id":2}"#, "id"),
            (r#"{"type":"a","room_id":1,"room_id":1}"#, "room_id"),
            (r#"{"type":"a","topic":1,"chat_id":2}"#, "chat_id"),
            (r#"{"type":"a","token":"k","token":"k"}"#, "token"),
            (r#"{"type":"a","method":"k","method":"k"}"#, "method"),
            (r#"{"type":"a","data":{},"data":{}}"#, "data"),
            (r#"{"type":"a","message":"","message":{}}"#, "message"),
        ];
        for (text, member) in table {
            for profile in Profile::ALL {
                let rejection = one(text, profile).unwrap_err();
                assert_eq!(
                    rejection,
                    Rejection::RepeatedMember(member.into()),
                    "{text}"
                );
            }
        }
        // What the server does not read may stand as often as the application likes.
        let opaque = r#"{"type":"a","user_id":1,"user_id":2,"x":1,"x":1e999,"data":{"y":1,"y":2}}"#;
        let message = one(opaque, Profile::Flat).unwrap();
        assert_eq!(message.members().count(), 3);
        assert_eq!(message.raw("x"), Err(Rejection::RepeatedMember("x".into())));
    }

    #[test]
    fn nothing_is_taken_from_a_text_that_is_not_valid_to_its_end() {
        let invalid = [
            r#"{"type":"chat","content":"hi"} x"#,
            r#"{"type":"chat","content":"hi"}{}"#,
            r#"{"type":"chat","content":"\ud800"}"#,
            r#"{"type":"chat","content":"hi","x":01}"#,
            r#"{"type":"chat","content":"hi",}"#,
            r#"{"type":"chat","content":"hi""#,
            r#"[{"type":"chat","content":"hi"},{"type":"chat","x":tru}]"#,
            "{\"type\":\"chat\",\"content\":\"a\tb\"}",
        ];
        for text in invalid {
            let code = scan(text, Profile::Flat).unwrap_err().rejection.code();
            assert_eq!(code.as_str(), "invalid_json", "{text}");
        }
        for hostile in ["[", "{\"data\":", "{\"type\":\"a\",\"x\":["] {
            let text = hostile.repeat(100_000);
            assert_eq!(
                scan(&text, Profile::Flat).unwrap_err().rejection,
                Rejection::TooDeep
            );
        }
    }

    #[test]
    fn a_batch_is_taken_whole_and_refused_one_by_one() {
        let text = r#" [ {"type":"ping","id":1} , {"id":2}, 3, {"type":"chat","content":"x"} ] "#;
        let Ok(Inbound::Batch(messages)) = scan(text, Profile::Flat) else {
            panic!()
        };
        assert_eq!(messages.len(), 4);
        assert_eq!(
            messages[0].as_ref().unwrap().built_in(),
            Some(BuiltIn::Ping)
        );
        let missing = messages[1].as_ref().unwrap_err();
        assert_eq!(missing.rejection, Rejection::TypeMissing);
        assert_eq!(missing.id.map(RequestId::as_json), Some("2"));
        assert_eq!(
            messages[2].as_ref().unwrap_err().rejection,
            Rejection::NotAnObject
        );
        let chat = messages[3].as_ref().unwrap();
        assert_eq!(chat.str("content").unwrap().as_deref(), Some("x"));

        let of = |count: usize| format!("[{}]", vec![r#"{"type":"ping"}"#; count].join(","));
        assert!(scan(&of(BATCH_MAX), Profile::V1).is_ok());
        let rejection = |text: &str| scan(text, Profile::V1).unwrap_err().rejection;
        assert_eq!(rejection(&of(BATCH_MAX + 1)), Rejection::BatchTooLong);
        assert_eq!(rejection("[ ]"), Rejection::BatchEmpty);
    }

    #[test]
    fn req_2_4_and_1_1_a_token_stands_at_top_level_or_in_the_payload() {
        for text in [
            r#"{"type":"authentication","token":"k"}"#,
            r#"{"type":"authentication","id":"1","data":{"token":"k"}}"#,
        ] {
            for profile in Profile::ALL {
                let message = one(text, profile).unwrap();
                assert_eq!(message.token().unwrap().as_deref(), Some("k"), "{text}");
            }
        }
        let message = one(r#"{"type":"authentication","token":7}"#, Profile::V1).unwrap();
        assert_eq!(
            message.token(),
            Err(Rejection::InvalidMember("token".into()))
        );
    }

    #[test]
    fn a_payload_deserialises_without_the_envelope() {
        #[derive(Debug, PartialEq, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Typing {
            is_typing: bool,
        }
        for text in [
            r#"{"type":"typing","room_id":"7","user_id":"forged","is_typing":true}"#,
            r#"{"type":"typing","data":{"is_typing":true}}"#,
        ] {
            let message = one(text, Profile::Flat).unwrap();
            assert_eq!(message.deserialize(), Ok(Typing { is_typing: true }));
            assert_eq!(message.bool("is_typing"), Ok(Some(true)));
            let wrong = message.deserialize::<[u8; 2]>().unwrap_err();
            assert_eq!(wrong.code().as_str(), "invalid_message");
        }
        let text = r#"{"type":"typing","is_typing":"yes"}"#;
        let rejection = one(text, Profile::Flat)
            .unwrap()
            .bool("is_typing")
            .unwrap_err();
        assert_eq!(rejection, Rejection::InvalidMember("is_typing".into()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn whatever_is_accepted_is_json_elsewhere_and_so_is_its_payload(
            inner in texts(), profile in prop::sample::select(Profile::ALL.to_vec()),
        ) {
            let frames = [
                inner.clone(),
                format!(r#"{{"type":"x","content":{inner}}}"#),
                format!(r#"{{"data":{inner},"type":"x"}}"#),
                format!(r#"[{{"type":"x","y":1,"message":{inner}}}]"#),
            ];
            for text in &frames {
                // White space as JSON has it: a vertical tab before a brace is plain text.
                let like_json = text
                    .trim_start_matches([' ', '\t', '\n', '\r'])
                    .starts_with(['{', '[']);
                let messages = match scan(text, profile) {
                    Ok(Inbound::One(message)) => vec![message],
                    Ok(Inbound::Batch(batch)) => batch.into_iter().flatten().collect(),
                    Err(refused) if refused.rejection.code().as_str() == "invalid_json" => {
                        prop_assert!(!like_json || reference(text) != Some(true), "{}", text);
                        continue;
                    }
                    Err(_) => vec![],
                };
                prop_assert!(!like_json || reference(text) != Some(false), "{}", text);
                for message in messages {
                    prop_assert!(reference(&message.payload()) != Some(false), "{}", text);
                }
            }
        }
    }
}
