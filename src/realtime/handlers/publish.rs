//! `publish`: opaque data to a topic.

use super::chat::bounded;
use crate::realtime::post::{Answer, Content};
use crate::realtime::protocol::{self, BuiltIn, Fields, Message, payload};
use crate::realtime::writing::text;
use crate::realtime::{Ctx, Exclude, Handler, HandlerError};

/// Publishes any JSON value, or bytes, to a topic, which the sender joins if need be.
///
/// A request with an `id` is answered `ack` when the message has its place. The sending connection
/// gets the message too if `echo` is true, or if it is missing and the server echoes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Publish;

impl Handler for Publish {
    fn message_type(&self) -> &str {
        BuiltIn::Publish.as_str()
    }

    fn handle(&mut self, ctx: &mut Ctx<'_>, message: &Message<'_>) -> Result<(), HandlerError> {
        let publish = message.publish()?;
        let client_message_id = bounded(publish.client_message_id()?)?;
        let room = ctx.room(message)?;
        let exclude = match publish.echo {
            Some(true) => Exclude::None,
            Some(false) => Exclude::Sender,
            None => ctx.exclude_sender(),
        };
        let mut buffer = ctx.take_buffer();
        Fields::write(&mut buffer, |fields| {
            let event = publish.event.as_deref();
            let fields = payload::publish(fields, room.name(), event, &publish.content);
            fields.optional_str("key", publish.key.as_deref())
        });
        let object = text(&buffer);
        let content = match publish.content {
            protocol::Content::Json(_) => Content::Object(object),
            protocol::Content::Binary(bytes) => Content::Binary(object, bytes),
        };
        let answer = if message.id().is_some() {
            Answer::Ack
        } else {
            Answer::None
        };
        let how = (exclude, answer, client_message_id.as_deref());
        ctx.post(&room, self.message_type(), content, how);
        ctx.give_buffer(buffer);
        Ok(())
    }
}
