//! `chat`: a message to a room.

use std::borrow::Cow;
use std::fmt;

use crate::realtime::content::{ContentFilter, Verdict};
use crate::realtime::post::{Answer, Content};
use crate::realtime::protocol::{
    BuiltIn, Chat as Payload, Fields, Members, Message, Profile, Rejection,
};
use crate::realtime::{Ctx, Handler, HandlerError};

/// Longest `client_message_id`, bytes.
pub(super) const CLIENT_MESSAGE_ID_BYTES_MAX: usize = 128;

/// Publishes a message to its room, which the sender joins if need be.
///
/// The payload goes on as it stands, less the members that the server writes itself. Its text is
/// `content`, `text` or a string `message`; where there is none of them, people are shown the
/// payload. The text must keep to the rules of the room's namespace, and may be changed or refused by
/// a [filter](Chat::filter).
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

    /// The text as it may be published, if it is another one than that of the message.
    fn check(
        &mut self,
        ctx: &Ctx<'_>,
        room: &str,
        text: &str,
    ) -> Result<Option<String>, Rejection> {
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
            (Verdict::Replace(text), _) => Ok(Some(text)),
            (Verdict::Pass, Cow::Owned(text)) => Ok(Some(text)),
            (Verdict::Pass, Cow::Borrowed(_)) => Ok(None),
        }
    }
}

impl Handler for Chat {
    fn message_type(&self) -> &str {
        BuiltIn::Chat.as_str()
    }

    fn handle(&mut self, ctx: &mut Ctx<'_>, message: &Message<'_>) -> Result<(), HandlerError> {
        let payload = message.chat()?;
        let client_message_id = client_message_id(message)?;
        let text = text(message, &payload)?;
        let named = message.room()?;
        let own = if named.is_none() {
            ctx.own_room()
        } else {
            None
        };
        let name = named.as_deref().or(own.as_ref().map(|room| room.name()));
        let name = name.ok_or(Rejection::RoomRequired)?;
        // Before the room is joined, so that what is refused has done nothing.
        let checked = match &text {
            Some(text) => self.check(ctx, name, text)?,
            None => None,
        };
        let object = match checked {
            Some(text) => Cow::Owned(with_text(&payload, &text)?),
            None => payload.object,
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
        let content = Content::Chat(&object, payload.text);
        let how = (ctx.exclude_sender(), answer, client_message_id.as_deref());
        ctx.post(&room, self.message_type(), content, how);
        Ok(())
    }
}

/// The text that people read; `None`: they are shown the payload.
fn text<'m>(
    message: &'m Message<'_>,
    payload: &Payload<'_>,
) -> Result<Option<Cow<'m, str>>, Rejection> {
    let Some(name) = payload.text.as_str() else {
        let says_nothing = Members::parse(&payload.object)?.all(|member| member.raw() == "null");
        let missing = Rejection::MissingMember(CONTENT.into());
        return if says_nothing { Err(missing) } else { Ok(None) };
    };
    match message.str(name)? {
        Some(text) if !text.is_empty() => Ok(Some(text)),
        _ => Err(Rejection::InvalidMember(name.into())),
    }
}

const CONTENT: &str = "content";

/// The payload with another text.
fn with_text(payload: &Payload<'_>, text: &str) -> Result<String, Rejection> {
    if text.is_empty() {
        return Err(Rejection::Content("nothing is left of the text".into()));
    }
    let name = payload.text.as_str().unwrap_or(CONTENT);
    let mut object = Vec::new();
    let rest = Members::parse(&payload.object)?.filter(|member| !member.is(name));
    Fields::write(&mut object, |fields| fields.str(name, text).members(rest));
    Ok(String::from_utf8(object).expect("written from text"))
}

/// The author's own name for the message, by which a repeat is known.
///
/// Errors: [`Rejection::InvalidMember`] if it is no string of 1 to 128 bytes, or no integer.
pub(super) fn client_message_id<'m>(
    message: &'m Message<'_>,
) -> Result<Option<Cow<'m, str>>, Rejection> {
    const NAME: &str = "client_message_id";
    let Some(id) = message.identifier(NAME)? else {
        return Ok(None);
    };
    if id.len() > CLIENT_MESSAGE_ID_BYTES_MAX {
        return Err(Rejection::InvalidMember(NAME.into()));
    }
    Ok(Some(id))
}
