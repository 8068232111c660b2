//! What a `publish` reads in its payload, in one walk over its members at most.

use std::borrow::Cow;

use super::content::{CLIENT_MESSAGE_ID, Once};
use super::message::{Members, Payload, object_of, optional_string, truth};
use super::{Member, Message, Rejection};

/// Members of a publication that say how it is to be published.
const PUBLISH_OPTIONS: [&str; 3] = ["event", "echo", "key"];

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
    client_message_id: Once<'a>,
}

impl<'a> Publish<'a> {
    /// The author's own name for the message. Errors: as
    /// [`Chat::client_message_id`](super::Chat::client_message_id).
    pub fn client_message_id(&self) -> Result<Option<Cow<'a, str>>, Rejection> {
        self.client_message_id.as_client_message_id()
    }
}

/// What one pass over the members of a publication finds.
#[derive(Default)]
struct Published<'a> {
    data: Once<'a>,
    message: Once<'a>,
    event: Once<'a>,
    echo: Once<'a>,
    key: Once<'a>,
    client_message_id: Once<'a>,
    /// There is a member that says nothing of how to publish, nor is `data` or `message`.
    has_others: bool,
}

impl<'a> Published<'a> {
    fn in_members(members: Members<'a>) -> Self {
        let mut found = Self::default();
        for member in members {
            let raw = member.raw();
            match &*member.name() {
                "data" => found.data.add(raw),
                "message" => found.message.add(raw),
                "event" => found.event.add(raw),
                "echo" => found.echo.add(raw),
                "key" => found.key.add(raw),
                name => {
                    found.has_others = true;
                    if name == CLIENT_MESSAGE_ID {
                        found.client_message_id.add(raw);
                    }
                }
            }
        }
        found
    }
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
        let found = if at_top_level && !self.has_others {
            // What has read the frame has found all that there is.
            Published {
                data: Once::of(self.data),
                message: Once::of(self.message),
                ..Published::default()
            }
        } else {
            Published::in_members(members.clone())
        };
        let mut content = found.data.only("data")?.map(Cow::Borrowed);
        if at_top_level && content.is_none() {
            content = found.message.only("message")?.map(Cow::Borrowed);
        }
        if at_top_level && content.is_none() && found.has_others {
            let is_option =
                |member: &Member<'_>| PUBLISH_OPTIONS.iter().any(|name| member.is(name));
            let others = members.filter(|member| !is_option(member));
            content = Some(Cow::Owned(object_of(others)));
        }
        let content = match (self.binary, content) {
            (None, Some(json)) => Content::Json(json),
            (None, None) => return Err(Rejection::MissingMember("data".into())),
            (Some(bytes), None) => Content::Binary(bytes),
            (Some(_), Some(_)) => return Err(Rejection::RepeatedMember("data".into())),
        };
        // The author's name for the message is part of the payload, wherever the rest stands.
        let client_message_id = match &self.payload {
            Payload::Object(_) if at_top_level => {
                Published::in_members(self.members()).client_message_id
            }
            _ => found.client_message_id,
        };
        Ok(Publish {
            event: optional_string("event", found.event.only("event")?)?,
            echo: truth("echo", found.echo.only("echo")?)?,
            key: optional_string("key", found.key.only("key")?)?,
            content,
            client_message_id,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::message::{only, optional_identifier};
    use super::super::{Inbound, Profile, scan};
    use super::*;

    fn one(text: &str, profile: Profile) -> Message<'_> {
        match scan(text, profile) {
            Ok(Inbound::One(message)) => message,
            other => panic!("{text}: {other:?}"),
        }
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
                        client_message_id: Once::default(),
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

    /// A publication and its author's name for it, as a walk for each member reads them.
    fn by_many_walks<'m>(
        message: &'m Message<'_>,
    ) -> Result<(Publish<'m>, Option<Cow<'m, str>>), Rejection> {
        let at_top_level = message.is_top_level(message.is_addressed());
        let members = match at_top_level {
            true => Members::new(message.frame, true),
            false => message.members(),
        };
        let read = |name| only(members.clone(), name);
        let mut content = read("data")?.map(Cow::Borrowed);
        if at_top_level && content.is_none() {
            content = read("message")?.map(Cow::Borrowed);
        }
        if at_top_level && content.is_none() {
            let is_option =
                |member: &Member<'_>| ["event", "echo", "key"].contains(&&*member.name());
            let mut others = members.clone().filter(|m| !is_option(m)).peekable();
            content = others
                .peek()
                .is_some()
                .then(|| Cow::Owned(object_of(others)));
        }
        let content = match (message.binary, content) {
            (None, Some(json)) => Content::Json(json),
            (None, None) => return Err(Rejection::MissingMember("data".into())),
            (Some(bytes), None) => Content::Binary(bytes),
            (Some(_), Some(_)) => return Err(Rejection::RepeatedMember("data".into())),
        };
        let publish = Publish {
            event: optional_string("event", read("event")?)?,
            echo: truth("echo", read("echo")?)?,
            key: optional_string("key", read("key")?)?,
            content,
            client_message_id: Once::default(),
        };
        let name = only(message.members(), CLIENT_MESSAGE_ID)?;
        Ok((publish, optional_identifier(CLIENT_MESSAGE_ID, name)?))
    }

    fn by_one_walk<'m>(
        message: &'m Message<'_>,
    ) -> Result<(Publish<'m>, Option<Cow<'m, str>>), Rejection> {
        let publish = message.publish()?;
        let name = publish.client_message_id()?;
        let client_message_id = Once::default();
        Ok((
            Publish {
                client_message_id,
                ..publish
            },
            name,
        ))
    }

    fn members() -> impl Strategy<Value = String> {
        const NAMES: &[&str] = &[
            "data",
            "d\\u0061ta",
            "message",
            "event",
            "echo",
            "key",
            "k\\u0065y",
            "client_message_id",
            "topic",
            "room_id",
            "user_id",
            "method",
            "other",
        ];
        const VALUES: &[&str] = &[
            "null",
            "true",
            "7",
            "\"s\"",
            "\"\"",
            "\"\\u0073\"",
            "[{}]",
            "{}",
            r#"{"data":1,"echo":true}"#,
            r#"{"topic":"t","data":"d","client_message_id":"c"}"#,
            r#"{"client_message_id":7,"other":1}"#,
        ];
        let member = (prop::sample::select(NAMES), prop::sample::select(VALUES));
        let member = member.prop_map(|(name, value)| format!(r#","{name}":{value}"#));
        prop::collection::vec(member, 0..6).prop_map(|members| members.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn one_walk_finds_what_a_walk_for_each_member_finds(
            members in members(), is_binary in any::<bool>(),
        ) {
            let text = format!(r#"{{"type":"publish"{members}}}"#);
            for profile in Profile::ALL {
                let Ok(Inbound::One(mut message)) = scan(&text, profile) else { continue };
                message.binary = is_binary.then_some(b"bytes");
                prop_assert_eq!(by_one_walk(&message), by_many_walks(&message), "{} {}", profile, text);
            }
        }
    }
}
