//! `chat`: a message to a room.

use std::borrow::Cow;
use std::fmt;

use crate::realtime::content::{ContentFilter, Verdict};
use crate::realtime::post::{Answer, Content};
use crate::realtime::protocol::{
    BuiltIn, Chat as Payload, Fields, Member, Members, Message, Profile, Rejection, TextName,
};
use crate::realtime::{Ctx, Handler, HandlerError};

/// Longest `client_message_id`, bytes.
pub(super) const CLIENT_MESSAGE_ID_BYTES_MAX: usize = 128;

/// Publishes a message to its room, which the sender joins if need be.
///
/// The payload goes on as it stands, less the members that the server writes itself. Its text is
/// `content`, `text` or a string `message`; where there is none of them, people are shown the
/// payload, as JSON. What they are shown must keep to the rules of the room's namespace, and may be
/// changed or refused by a [filter](Chat::filter).
///
/// An author who can be told which message it is about (the `message` profile, an `id` or a
/// `client_message_id`) is told `message-status`.
#[derive(Default)]
pub struct Chat {
    filter: Option<Box<dyn ContentFilter>>,
}

impl fmt::Debug for Chat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chat").finish_non_exhaustive()
    }
}

impl Chat {
    /// With a say in every text: `Realtime::new(options).with(Chat::filter(NoLinks))`.
    pub fn filter(filter: impl ContentFilter) -> Self {
        Self {
            filter: Some(Box::new(filter)),
        }
    }

    /// The payload as it may be published, and where its text is, if that is another one.
    fn check(
        &mut self,
        ctx: &Ctx<'_>,
        room: &str,
        payload: &Payload<'_>,
        text: &str,
    ) -> Result<Option<(String, TextName)>, Rejection> {
        let rules = ctx.namespaces().find(room).content;
        let checked = rules
            .check(text)
            .map_err(|bad| Rejection::Content(bad.to_string().into()))?;
        let verdict = match &mut self.filter {
            Some(filter) => filter.check(room, ctx.user(), &checked),
            None => Verdict::Pass,
        };
        match (verdict, checked) {
            (Verdict::Refuse(why), _) => Err(Rejection::Content(why.into())),
            (Verdict::Replace(text), _) => with_text(payload, &text).map(Some),
            (Verdict::Pass, Cow::Borrowed(_)) => Ok(None),
            // It is JSON still: what was taken out can stand in its strings only, or between values.
            (Verdict::Pass, Cow::Owned(json)) if payload.text == TextName::Whole => {
                let payload = Payload::parse(&json)?;
                Ok(Some((payload.object.into_owned(), payload.text)))
            }
            (Verdict::Pass, Cow::Owned(text)) => with_text(payload, &text).map(Some),
        }
    }

    fn publish(
        &mut self,
        ctx: &mut Ctx<'_>,
        message: &Message<'_>,
        payload: &Payload<'_>,
    ) -> Result<(), Rejection> {
        let client_message_id = bounded(payload.client_message_id()?)?;
        let text = text(payload)?;
        let named = message.room()?;
        let own = if named.is_none() {
            ctx.own_room()
        } else {
            None
        };
        let name = named.as_deref().or(own.as_ref().map(|room| room.name()));
        let name = name.ok_or(Rejection::RoomRequired)?;
        // Before the room is joined, so that what is refused has done nothing.
        let changed = self.check(ctx, name, payload, &text)?;
        let content = match &changed {
            Some((object, text)) => Content::Chat(object, *text),
            None => Content::Chat(&payload.object, payload.text),
        };
        let room = ctx.room_or_own(named)?;
        let is_told = ctx.profile() == Profile::Message
            || message.id().is_some()
            || client_message_id.is_some();
        let answer = if is_told {
            Answer::Status
        } else {
            Answer::None
        };
        let how = (ctx.exclude_sender(), answer, client_message_id.as_deref());
        ctx.post(&room, self.message_type(), content, how);
        Ok(())
    }
}

impl Handler for Chat {
    fn message_type(&self) -> &str {
        BuiltIn::Chat.as_str()
    }

    fn handle(&mut self, ctx: &mut Ctx<'_>, message: &Message<'_>) -> Result<(), HandlerError> {
        let mut buffer = ctx.take_buffer();
        let payload = message.chat_in(&mut buffer);
        let result = payload.and_then(|payload| self.publish(ctx, message, &payload));
        ctx.give_buffer(buffer);
        Ok(result?)
    }
}

/// The text that people read: a member, or the payload itself.
///
/// Errors: [`Rejection::InvalidMember`] if that member is no text or empty, [`Rejection::MissingMember`] if
/// nothing is said at all.
pub(in crate::realtime) fn text<'p>(payload: &'p Payload<'_>) -> Result<Cow<'p, str>, Rejection> {
    if let Some(name) = payload.text.as_str() {
        let text = payload.said()?.filter(|text| !text.is_empty());
        return text.ok_or(Rejection::InvalidMember(name.into()));
    }
    // A null is no text, and what the author calls the message is not what it says.
    let says = |member: Member<'_>| {
        let is_text = TEXTS.iter().any(|text| member.is(text));
        !(is_text && member.raw() == "null" || member.is(CLIENT_MESSAGE_ID))
    };
    if Members::parse(&payload.object)?.any(says) {
        Ok(Cow::Borrowed(&payload.object))
    } else {
        Err(Rejection::MissingMember(CONTENT.into()))
    }
}

const CONTENT: &str = "content";
const TEXTS: [&str; 3] = [CONTENT, "text", "message"];
const CLIENT_MESSAGE_ID: &str = "client_message_id";

/// The payload with another text; the text alone, if it was all text.
fn with_text(payload: &Payload<'_>, text: &str) -> Result<(String, TextName), Rejection> {
    if text.is_empty() {
        return Err(Rejection::Content("nothing is left of the text".into()));
    }
    let mut object = Vec::new();
    let name = payload.text.as_str();
    let rest =
        Members::parse(&payload.object)?.filter(|member| name.is_some_and(|name| !member.is(name)));
    Fields::write(&mut object, |fields| {
        fields.str(name.unwrap_or(CONTENT), text).members(rest)
    });
    let object = String::from_utf8(object).expect("written from text");
    Ok((object, name.map_or(TextName::Content, |_| payload.text)))
}

/// The author's own name for the message, by which a repeat is known.
///
/// Errors: [`Rejection::InvalidMember`] if it is longer than [`CLIENT_MESSAGE_ID_BYTES_MAX`].
pub(super) fn bounded(
    client_message_id: Option<Cow<'_, str>>,
) -> Result<Option<Cow<'_, str>>, Rejection> {
    match client_message_id {
        Some(id) if id.len() > CLIENT_MESSAGE_ID_BYTES_MAX => {
            Err(Rejection::InvalidMember(CLIENT_MESSAGE_ID.into()))
        }
        id => Ok(id),
    }
}
