//! `presence`: who is there, and what one says about oneself.

use super::methods::{cursor, limit};
use super::subscribe::info;
use crate::realtime::mail::Letter;
use crate::realtime::protocol::{BuiltIn, Message, Rejection};
use crate::realtime::rooms::Question;
use crate::realtime::{Ctx, Handler, HandlerError};

/// Answers `query` with members of a room that the sender is in, in pages by identifier, and takes
/// `update`, what the user says about itself there.
///
/// The other actions are the server's to say, and refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct Presence;

impl Handler for Presence {
    fn message_type(&self) -> &str {
        BuiltIn::Presence.as_str()
    }

    fn handle(&mut self, ctx: &mut Ctx<'_>, message: &Message<'_>) -> Result<(), HandlerError> {
        match message.str("action")?.as_deref() {
            Some("query") => {
                let members = message.members();
                let limit = limit(members.clone(), ctx.options().presence.members_max)?;
                let question = Question::Presence {
                    cursor: cursor(members)?,
                    limit,
                };
                let room = ctx.joined_room(message)?;
                ctx.ask_room(room, question);
            }
            Some("update") => {
                let info = info(ctx, message)?;
                let letter = Letter::Info {
                    room: ctx.joined_room(message)?,
                    asker: ctx.asker(),
                    info: info.ok_or(Rejection::MissingMember("info".into()))?,
                };
                ctx.deliver(letter);
            }
            Some(_) => return Err(Rejection::InvalidMember("action".into()).into()),
            None => return Err(Rejection::MissingMember("action".into()).into()),
        }
        Ok(())
    }
}
