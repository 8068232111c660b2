//! What the built-in types read in their payloads, decided once when a message comes in: the text of
//! a chat, the content of a publication, the parameters of a call.

use std::borrow::Cow;

use super::message::{Members, Payload, object_of, only, optional_string, truth};
use super::{Member, Message, Rejection, TextName};

/// Members of a chat that the server alone writes, in one profile or another.
const OWNED_IN_CHAT: [&str; 4] = ["message_id", "chat_id", "sender_id", "sent_at"];
/// Names of a room besides `chat_id`: no part of a chat that is addressed by them.
const ADDRESSES: [&str; 3] = ["room_id", "topic", "channel"];
/// Members of a publication that say how it is to be published.
const PUBLISH_OPTIONS: [&str; 3] = ["event", "echo", "key"];

/// The payload of a chat as it is relayed and kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chat<'a> {
    /// The text of an object, less the members that the server owns and those that gave the room.
    pub object: Cow<'a, str>,
    /// Which member is its text.
    pub text: TextName,
}

impl<'a> Chat<'a> {
    /// A chat's payload that came by another way than a frame: the body of an HTTP request.
    ///
    /// Errors: those of [`Members::parse`] and of [`Message::chat`].
    pub fn parse(object: &'a str) -> Result<Self, Rejection> {
        let members = Members::parse(object)?;
        Self::new(members, Some(object), true)
    }

    /// `object` is the text of `members`, if there is one already.
    fn new(
        members: Members<'a>,
        object: Option<&'a str>,
        is_addressed: bool,
    ) -> Result<Self, Rejection> {
        let is_left_out = |member: &Member<'_>| {
            let is = |name: &&str| member.is(name);
            OWNED_IN_CHAT.iter().any(is) || !is_addressed && ADDRESSES.iter().any(is)
        };
        let text = text_name(&members)?;
        let object = match object {
            Some(object) if !members.clone().any(|member| is_left_out(&member)) => {
                Cow::Borrowed(object)
            }
            _ => Cow::Owned(object_of(members.filter(|member| !is_left_out(member)))),
        };
        Ok(Self { object, text })
    }
}

/// `content`, else `text`, else `message` if it is a string.
fn text_name(members: &Members<'_>) -> Result<TextName, Rejection> {
    for name in [TextName::Content, TextName::Text, TextName::Message] {
        let Some(member) = name.as_str() else {
            continue;
        };
        match only(members.clone(), member)? {
            None | Some("null") => {}
            Some(raw) if name == TextName::Message && !raw.starts_with('"') => {}
            Some(_) => return Ok(name),
        }
    }
    Ok(TextName::Whole)
}

/// What a `publish` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// The application's name for what has happened.
    pub event: Option<Cow<'a, str>>,
    /// Whether the sending connection is to get it too.
    pub echo: Option<bool>,
    /// What it is about: of one key, the latest is the one that counts.
    pub key: Option<Cow<'a, str>>,
    /// What is published.
    pub content: Content<'a>,
}

/// What is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// Any JSON value.
    Json(Cow<'a, str>),
    /// Bytes.
    Binary(&'a [u8]),
}

impl Message<'_> {
    /// The message as a chat: its payload less what the server owns.
    ///
    /// Borrowed if it stood as one object in the frame with nothing to leave out.
    ///
    /// Errors: [`Rejection::RepeatedMember`] for the member that is its text.
    pub fn chat(&self) -> Result<Chat<'_>, Rejection> {
        let object = match &self.payload {
            Payload::Object(object) => Some(object.as_ref()),
            Payload::TopLevel(_) => None,
        };
        Chat::new(self.members(), object, self.is_addressed())
    }

    /// The message as a publication.
    ///
    /// If the room stands at top level, or the payload does, `data` is the content, or else
    /// `message`, or else an object of what other members there are. If not, the payload is an
    /// object that has the room in it, and the content is that object's `data`.
    ///
    /// Errors: [`Rejection::MissingMember`] if there is no content; [`Rejection::InvalidMember`] for
    /// an `event`, `echo` or `key` of the wrong kind; [`Rejection::RepeatedMember`], also for a
    /// binary message with content in its envelope.
    pub fn publish(&self) -> Result<Publish<'_>, Rejection> {
        let at_top_level = self.is_top_level(self.is_addressed());
        let members = if at_top_level {
            Members::new(self.frame, true)
        } else {
            self.members()
        };
        let read = |name| only(members.clone(), name);
        let mut content = read("data")?.map(Cow::Borrowed);
        if at_top_level && content.is_none() {
            content = read("message")?.map(Cow::Borrowed);
        }
        if at_top_level && content.is_none() {
            let is_option =
                |member: &Member<'_>| PUBLISH_OPTIONS.iter().any(|name| member.is(name));
            let mut rest = members
                .clone()
                .filter(|member| !is_option(member))
                .peekable();
            content = rest.peek().is_some().then(|| Cow::Owned(object_of(rest)));
        }
        let content = match (self.binary, content) {
            (None, Some(json)) => Content::Json(json),
            (None, None) => return Err(Rejection::MissingMember("data".into())),
            (Some(bytes), None) => Content::Binary(bytes),
            (Some(_), Some(_)) => return Err(Rejection::RepeatedMember("data".into())),
        };
        Ok(Publish {
            event: optional_string("event", read("event")?)?,
            echo: truth("echo", read("echo")?)?,
            key: optional_string("key", read("key")?)?,
            content,
        })
    }

    /// The `params` of an `rpc`, as they stand in JSON. If the method stands at top level, `data` or
    /// `message` are the parameters where there are no `params`.
    ///
    /// Errors: [`Rejection::RepeatedMember`].
    pub fn params(&self) -> Result<Option<&str>, Rejection> {
        if !self.is_top_level(self.method.is_some()) {
            return self.raw("params");
        }
        let members = Members::new(self.frame, true);
        for name in ["params", "data", "message"] {
            if let Some(raw) = only(members.clone(), name)? {
                return Ok(Some(raw));
            }
        }
        Ok(None)
    }

    /// Whether what a built-in type reads stands at top level: because what says where it goes does,
    /// or because nothing is anywhere else.
    fn is_top_level(&self, is_directed: bool) -> bool {
        // A plain text has no frame.
        !self.frame.is_empty() && (is_directed || matches!(self.payload, Payload::TopLevel(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Inbound, Profile, scan};
    use super::*;

    fn one(text: &str, profile: Profile) -> Message<'_> {
        match scan(text, profile) {
            Ok(Inbound::One(message)) => message,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn req_2_6_the_text_of_a_chat_is_found_once() {
        let table = [
            (
                r#"{"content":"a","text":"b","message":"c"}"#,
                TextName::Content,
            ),
            (
                r#"{"content":null,"text":"b","message":"c"}"#,
                TextName::Text,
            ),
            (r#"{"t\u0065xt":"b"}"#, TextName::Text),
            (r#"{"text":null,"message":"c"}"#, TextName::Message),
            (r#"{"message":{"c":1}}"#, TextName::Whole),
            (r#"{}"#, TextName::Whole),
        ];
        for (object, text) in table {
            let chat = Chat::parse(object).unwrap();
            assert_eq!((chat.text, chat.object), (text, Cow::Borrowed(object)));
        }
        assert_eq!(
            Chat::parse(r#"{"text":1,"text":2}"#),
            Err(Rejection::RepeatedMember("text".into()))
        );
        assert_eq!(Chat::parse("[]"), Err(Rejection::NotAnObject));
    }

    #[test]
    fn a_chat_is_its_payload_less_what_the_server_owns() {
        let table = [
            // Nothing to leave out: borrowed as it stood.
            (
                r#"{"type":"chat","data":{ "text": "hi" },"room_id":"7"}"#,
                r#"{ "text": "hi" }"#,
            ),
            (
                r#"{"type":"chat","message":{"chat_id":"7","content":"hi"}}"#,
                r#"{"content":"hi"}"#,
            ),
            (
                r#"{"type":"chat","content":"hi","room_id":7,"user_id":1}"#,
                r#"{"content":"hi"}"#,
            ),
            (
                r#"{"type":"chat","data":{"message_id":1,"sender_id":2,"sent_\u0061t":3,"topic":"7","x":4}}"#,
                r#"{"x":4}"#,
            ),
            // With the room at top level the payload's `topic` is about something else.
            (
                r#"{"type":"chat","room_id":"7","data":{"topic":"cats"}}"#,
                r#"{"topic":"cats"}"#,
            ),
        ];
        for (text, object) in table {
            assert_eq!(
                one(text, Profile::V1).chat().unwrap().object,
                object,
                "{text}"
            );
        }
        let plain = one("hi", Profile::Flat);
        let chat = plain.chat().unwrap();
        assert_eq!(
            (&*chat.object, chat.text),
            (r#"{"content":"hi"}"#, TextName::Content)
        );
    }

    #[test]
    fn req_1_3_a_publication_is_read_in_both_shapes() {
        // (text, content)
        let table = [
            (
                r#"{"type":"publish","data":{"topic":"p","data":{"btc":1},OPTIONS}}"#,
                r#"{"btc":1}"#,
            ),
            (
                r#"{"type":"publish","message":{"topic":"p","data":{"btc":1},OPTIONS}}"#,
                r#"{"btc":1}"#,
            ),
            (
                r#"{"type":"publish","topic":"p","data":{"btc":1},OPTIONS}"#,
                r#"{"btc":1}"#,
            ),
            (
                r#"{"type":"publish","topic":"p","data":[1],OPTIONS}"#,
                "[1]",
            ),
            (
                r#"{"type":"publish","topic":"p","data":null,OPTIONS}"#,
                "null",
            ),
            (
                r#"{"type":"publish","topic":"p","message":"up",OPTIONS}"#,
                r#""up""#,
            ),
            (
                r#"{"type":"publish","topic":"p","btc":1,OPTIONS}"#,
                r#"{"btc":1}"#,
            ),
        ];
        for (text, content) in table {
            let text = &text.replace("OPTIONS", r#""event":"tick","echo":false,"key":"btc""#);
            for profile in Profile::ALL {
                let message = one(text, profile);
                assert_eq!(
                    message.publish().unwrap(),
                    Publish {
                        event: Some("tick".into()),
                        echo: Some(false),
                        key: Some("btc".into()),
                        content: Content::Json(content.into()),
                    },
                    "{text}"
                );
                assert_eq!(message.room().unwrap().unwrap(), "p");
            }
        }
    }

    #[test]
    fn a_publication_without_content_or_with_wrong_options_is_refused() {
        let table = [
            (
                r#"{"type":"publish","data":{"topic":"p"}}"#,
                Rejection::MissingMember("data".into()),
            ),
            (
                r#"{"type":"publish","topic":"p","event":"e"}"#,
                Rejection::MissingMember("data".into()),
            ),
            (
                r#"{"type":"publish","topic":"p","data":1,"event":7}"#,
                Rejection::InvalidMember("event".into()),
            ),
            (
                r#"{"type":"publish","topic":"p","data":1,"echo":"no"}"#,
                Rejection::InvalidMember("echo".into()),
            ),
            (
                r#"{"type":"publish","data":{"topic":"p","data":1,"data":2}}"#,
                Rejection::RepeatedMember("data".into()),
            ),
            (
                r#"{"type":"publish","topic":"p","data":1,"key":"a","key":"b"}"#,
                Rejection::RepeatedMember("key".into()),
            ),
        ];
        for (text, rejection) in table {
            assert_eq!(one(text, Profile::V1).publish(), Err(rejection), "{text}");
        }
    }

    #[test]
    fn the_parameters_of_a_call_are_read_in_both_shapes() {
        let table = [
            (
                r#"{"type":"rpc","data":{"method":"m","params":{"a":1}}}"#,
                Some(r#"{"a":1}"#),
            ),
            (r#"{"type":"rpc","data":{"method":"m"}}"#, None),
            (
                r#"{"type":"rpc","method":"m","data":{"a":1}}"#,
                Some(r#"{"a":1}"#),
            ),
            (r#"{"type":"rpc","method":"m","params":[1]}"#, Some("[1]")),
            (r#"{"type":"rpc","method":"m"}"#, None),
        ];
        for (text, params) in table {
            for profile in Profile::ALL {
                assert_eq!(one(text, profile).params().unwrap(), params, "{text}");
            }
        }
    }
}
