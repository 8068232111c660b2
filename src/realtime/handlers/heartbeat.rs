//! `heartbeat`: a sign of life that is answered by one.

use crate::realtime::protocol::{BuiltIn, Message, payload};
use crate::realtime::{Ctx, Handler, HandlerError};

/// Answers `heartbeat` with the request's `id`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heartbeat;

impl Handler for Heartbeat {
    fn message_type(&self) -> &str {
        BuiltIn::Heartbeat.as_str()
    }

    fn handle(&mut self, ctx: &mut Ctx<'_>, _: &Message<'_>) -> Result<(), HandlerError> {
        ctx.reply("heartbeat", payload::nothing);
        Ok(())
    }
}
