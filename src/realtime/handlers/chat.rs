//! `chat`: a message to a room.

use crate::realtime::protocol::{BuiltIn, Frame, Message, Rejection};
use crate::realtime::{Ctx, Handler, HandlerError};

/// Publishes a message to its room, which the sender joins if need be.
///
/// The payload goes on as it stands, less the members that the server writes itself. Its text is a
/// non-empty string called `content`; `text` or `message`, which other clients call it, become that.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chat;

const CONTENT: &str = "content";

impl Handler for Chat {
    fn message_type(&self) -> &str {
        BuiltIn::Chat.as_str()
    }

    fn handle(&mut self, ctx: &mut Ctx<'_>, message: &Message<'_>) -> Result<(), HandlerError> {
        let named = content_name(message)?;
        let room = ctx.room(message)?;
        let exclude = ctx.exclude_sender();
        ctx.publish_written(&room, exclude, |out, stamp| {
            let members = message.members().filter_map(|member| {
                if member.is(named) {
                    Some(member.renamed(CONTENT))
                } else {
                    // A null, if the text has another name.
                    (!member.is(CONTENT)).then_some(member)
                }
            });
            Frame::chat(out, stamp.id, room.name(), stamp.user, &stamp.at, members);
        });
        Ok(())
    }
}

/// The member that is the message's text.
fn content_name(message: &Message<'_>) -> Result<&'static str, Rejection> {
    for name in [CONTENT, "text", "message"] {
        match message.raw(name)? {
            None | Some("null") => {}
            Some(raw) if raw.len() > 2 && raw.starts_with('"') => return Ok(name),
            Some(_) => return Err(Rejection::InvalidMember(name.into())),
        }
    }
    Err(Rejection::MissingMember(CONTENT.into()))
}
