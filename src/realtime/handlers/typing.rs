//! `typing`: somebody types, or has stopped.

use crate::realtime::protocol::{BuiltIn, Message, Rejection};
use crate::realtime::{Ctx, Handler, HandlerError};

/// Tells the others in a room, which the sender must be in, at most once a second and user.
///
/// `is_typing` is a truth value. Who does not repeat it for six seconds has stopped.
#[derive(Clone, Copy, Debug, Default)]
pub struct Typing;

impl Handler for Typing {
    fn message_type(&self) -> &str {
        BuiltIn::Typing.as_str()
    }

    fn handle(&mut self, ctx: &mut Ctx<'_>, message: &Message<'_>) -> Result<(), HandlerError> {
        let is_typing = message.bool("is_typing")?;
        let is_typing = is_typing.ok_or(Rejection::MissingMember("is_typing".into()))?;
        let room = ctx.joined_room(message)?;
        ctx.typing(&room, is_typing);
        Ok(())
    }
}
