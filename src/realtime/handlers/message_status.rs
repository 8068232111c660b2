//! `message-status`: what became of a message at its reader.

use crate::realtime::mail::{Letter, Receipt};
use crate::realtime::protocol::{BuiltIn, Message, MessageId, Rejection, Status};
use crate::realtime::{Ctx, Handler, HandlerError};

/// Notes that the user has got or read a message and all before it, and has its authors told.
///
/// The message is `message_id` or `up_to`, its room `chat_id` or another name for it, `status` is
/// `delivered` or `read` in any case.
#[derive(Clone, Copy, Debug, Default)]
pub struct MessageStatus;

impl Handler for MessageStatus {
    fn message_type(&self) -> &str {
        BuiltIn::MessageStatus.as_str()
    }

    fn handle(&mut self, ctx: &mut Ctx<'_>, message: &Message<'_>) -> Result<(), HandlerError> {
        let status = match message.str("status")?.as_deref().map(Status::from_name) {
            Some(Some(status @ (Status::Delivered | Status::Read))) => status,
            // Whether a message is sent is the server's to say.
            Some(_) => return Err(Rejection::InvalidMember("status".into()).into()),
            None => return Err(Rejection::MissingMember("status".into()).into()),
        };
        let (name, id) = match (message.str("message_id")?, message.str("up_to")?) {
            (Some(_), Some(_)) => return Err(Rejection::RepeatedMember("message_id".into()).into()),
            (Some(id), None) => ("message_id", id),
            (None, Some(id)) => ("up_to", id),
            (None, None) => return Err(Rejection::MissingMember("message_id".into()).into()),
        };
        let id = MessageId::parse(&id).ok_or(Rejection::InvalidMember(name.into()))?;
        let room = ctx.joined_room(message)?;
        let asker = ctx.asker();
        let receipt = Receipt {
            message: id,
            status,
        };
        ctx.deliver(Letter::Receipt {
            room,
            asker,
            receipt,
        });
        Ok(())
    }
}
