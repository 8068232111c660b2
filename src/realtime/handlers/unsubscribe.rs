//! `unsubscribe`: to be in a room no more.

use crate::realtime::protocol::{BuiltIn, Message, Rejection, payload};
use crate::realtime::{Ctx, Handler, HandlerError};

/// Leaves a room and is answered `unsubscribed`. A membership that would last while the user is away
/// ends, too.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unsubscribe;

impl Handler for Unsubscribe {
    fn message_type(&self) -> &str {
        BuiltIn::Unsubscribe.as_str()
    }

    fn handle(&mut self, ctx: &mut Ctx<'_>, message: &Message<'_>) -> Result<(), HandlerError> {
        let room = message.room()?.ok_or(Rejection::RoomRequired)?;
        if !ctx.leave(&room) {
            return Err(Rejection::NotSubscribed.into());
        }
        ctx.reply("unsubscribed", |fields| {
            payload::unsubscribed(fields, &room, None)
        });
        Ok(())
    }
}
