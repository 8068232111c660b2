//! `ping`: is anybody there?

use crate::realtime::protocol::{BuiltIn, Message, payload};
use crate::realtime::{Ctx, Handler, HandlerError};

/// Answers `pong` with the request's `id`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ping;

impl Handler for Ping {
    fn message_type(&self) -> &str {
        BuiltIn::Ping.as_str()
    }

    fn handle(&mut self, ctx: &mut Ctx<'_>, _: &Message<'_>) -> Result<(), HandlerError> {
        ctx.reply("pong", payload::nothing);
        Ok(())
    }
}
