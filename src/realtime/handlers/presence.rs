//! `presence`: who is there?

use crate::realtime::protocol::{BuiltIn, Frame, Message, Rejection, Timestamp, User};
use crate::realtime::{Ctx, Handler, HandlerError};

/// Answers `query` with the members of a room that the sender is in: the first of them by identifier,
/// as many as presence names, and the number of all.
///
/// The other actions are the server's to say, and refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct Presence;

impl Handler for Presence {
    fn message_type(&self) -> &str {
        BuiltIn::Presence.as_str()
    }

    fn validate(&self, message: &Message<'_>) -> Result<(), Rejection> {
        match message.str("action")?.as_deref() {
            Some("query") => Ok(()),
            Some(_) => Err(Rejection::InvalidMember("action".into())),
            None => Err(Rejection::MissingMember("action".into())),
        }
    }

    fn handle(&mut self, ctx: &mut Ctx<'_>, message: &Message<'_>) -> Result<(), HandlerError> {
        let room = ctx.joined_room(message)?;
        let name = room.clone();
        ctx.members(&room, move |ctx, members| {
            let count = members.count as u64;
            let users = members.users.iter().map(|member| User {
                id: &member.user,
                connections: member.connections,
                since: Timestamp::new(member.since_ms),
            });
            ctx.reply_written(|out, id, at| {
                Frame::presence_answer(out, id, name.name(), at, count, users);
            });
            Ok(())
        });
        Ok(())
    }
}
