//! What `chat` and `rpc` read in their payloads, decided once when a message comes in: the text of a
//! chat, the parameters of a call.

use std::borrow::Cow;

use super::message::{Members, Payload, only, optional_identifier, string};
use super::{Fields, Message, Rejection, TextName};

/// The author's own name for a message.
pub(super) const CLIENT_MESSAGE_ID: &str = "client_message_id";

/// The payload of a chat as it is relayed and kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chat<'a> {
    /// The text of an object, less the members that the server owns and those that gave the room.
    pub object: Cow<'a, str>,
    /// Which member is its text.
    pub text: TextName,
    /// That member's value, as it stands in JSON.
    said: Option<&'a str>,
    client_message_id: Once<'a>,
}

impl<'a> Chat<'a> {
    /// A chat's payload that came by another way than a frame: the body of an HTTP request.
    ///
    /// Errors: those of [`Members::parse`] and of [`Message::chat`].
    pub fn parse(object: &'a str) -> Result<Self, Rejection> {
        let members = Members::parse(object)?;
        Found::in_members(members, Some(object), true).owned()
    }

    /// The text; `None` if the payload has no member for it.
    ///
    /// Errors: [`Rejection::InvalidMember`] if that is no string.
    pub fn said(&self) -> Result<Option<Cow<'a, str>>, Rejection> {
        let name = self.text.as_str().unwrap_or_default();
        self.said.map(|raw| string(name, raw)).transpose()
    }

    /// The author's own name for the message, a non-empty string or an integer, which becomes its
    /// decimal string; `None` if it is missing or null.
    ///
    /// Errors: [`Rejection::InvalidMember`] if it is something else, [`Rejection::RepeatedMember`].
    pub fn client_message_id(&self) -> Result<Option<Cow<'a, str>>, Rejection> {
        self.client_message_id.as_client_message_id()
    }
}

/// What one pass over the members of a chat finds.
#[derive(Clone, Debug)]
struct Found<'a> {
    members: Members<'a>,
    /// The text of the members, if they stand as an object and none is left out.
    whole: Option<&'a str>,
    is_addressed: bool,
    content: Once<'a>,
    text: Once<'a>,
    message: Once<'a>,
    client_message_id: Once<'a>,
}

impl<'a> Found<'a> {
    fn in_members(members: Members<'a>, object: Option<&'a str>, is_addressed: bool) -> Self {
        let mut found = Self {
            members: members.clone(),
            whole: object,
            is_addressed,
            content: Once::default(),
            text: Once::default(),
            message: Once::default(),
            client_message_id: Once::default(),
        };
        for member in members {
            let raw = member.raw();
            match &*member.name() {
                "content" => found.content.add(raw),
                "text" => found.text.add(raw),
                "message" => found.message.add(raw),
                CLIENT_MESSAGE_ID => found.client_message_id.add(raw),
                name if is_left_out(name, is_addressed) => found.whole = None,
                _ => {}
            }
        }
        found
    }

    /// The chat, its object written to `buffer` unless it stands in the frame.
    fn in_buffer(self, buffer: &'a mut Vec<u8>) -> Result<Chat<'a>, Rejection> {
        let object = self.whole.unwrap_or_else(|| {
            self.write(buffer);
            simdutf8::basic::from_utf8(buffer).expect("written from text")
        });
        self.chat(Cow::Borrowed(object))
    }

    fn owned(self) -> Result<Chat<'a>, Rejection> {
        let object = self.whole.map_or_else(
            || {
                let mut buffer = Vec::new();
                self.write(&mut buffer);
                Cow::Owned(String::from_utf8(buffer).expect("written from text"))
            },
            Cow::Borrowed,
        );
        self.chat(object)
    }

    fn write(&self, buffer: &mut Vec<u8>) {
        let members = self.members.clone();
        let kept = members.filter(|member| !is_left_out(&member.name(), self.is_addressed));
        buffer.clear();
        Fields::write(buffer, |fields| fields.members(kept));
    }

    fn chat(&self, object: Cow<'a, str>) -> Result<Chat<'a>, Rejection> {
        let (text, said) = self.said()?;
        Ok(Chat {
            object,
            text,
            said,
            client_message_id: self.client_message_id,
        })
    }

    /// `content`, else `text`, else `message` if it is a string.
    fn said(&self) -> Result<(TextName, Option<&'a str>), Rejection> {
        for (name, found) in [
            (TextName::Content, self.content),
            (TextName::Text, self.text),
            (TextName::Message, self.message),
        ] {
            match found.only(name.as_str().unwrap_or_default())? {
                None | Some("null") => {}
                Some(raw) if name == TextName::Message && !raw.starts_with('"') => {}
                said => return Ok((name, said)),
            }
        }
        Ok((TextName::Whole, None))
    }
}

/// Whether a member is no part of a chat: the server alone writes it, or it gave the room.
fn is_left_out(name: &str, is_addressed: bool) -> bool {
    match name {
        "message_id" | "chat_id" | "sender_id" | "sent_at" => true,
        "room_id" | "topic" | "channel" => !is_addressed,
        _ => false,
    }
}

/// The value of a member that may stand once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Once<'a> {
    raw: Option<&'a str>,
    is_repeated: bool,
}

impl<'a> Once<'a> {
    pub(super) fn of(raw: Option<&'a str>) -> Self {
        Self {
            raw,
            is_repeated: false,
        }
    }

    pub(super) fn add(&mut self, raw: &'a str) {
        self.is_repeated |= self.raw.replace(raw).is_some();
    }

    pub(super) fn only(self, name: &str) -> Result<Option<&'a str>, Rejection> {
        if self.is_repeated {
            return Err(Rejection::RepeatedMember(name.to_owned().into()));
        }
        Ok(self.raw)
    }

    pub(super) fn as_client_message_id(self) -> Result<Option<Cow<'a, str>>, Rejection> {
        optional_identifier(CLIENT_MESSAGE_ID, self.only(CLIENT_MESSAGE_ID)?)
    }
}

impl Message<'_> {
    /// The message as a chat: its payload less what the server owns.
    ///
    /// Borrowed if it stood as one object in the frame with nothing to leave out.
    ///
    /// Errors: [`Rejection::RepeatedMember`] for the member that is its text.
    pub fn chat(&self) -> Result<Chat<'_>, Rejection> {
        self.find_in_chat().owned()
    }

    /// The same, with an object that does not stand in the frame written to `buffer`.
    ///
    /// Errors: as [`chat`](Self::chat).
    pub fn chat_in<'b>(&'b self, buffer: &'b mut Vec<u8>) -> Result<Chat<'b>, Rejection> {
        self.find_in_chat().in_buffer(buffer)
    }

    fn find_in_chat(&self) -> Found<'_> {
        let object = match &self.payload {
            Payload::Object(object) => Some(object.as_ref()),
            Payload::TopLevel(_) => None,
        };
        Found::in_members(self.members(), object, self.is_addressed())
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
    pub(super) fn is_top_level(&self, is_directed: bool) -> bool {
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
