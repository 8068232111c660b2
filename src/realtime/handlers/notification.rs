//! `notification` and `request-notification`: from one user to another, past all rooms.

use std::borrow::Cow;

use super::announcement::is_allowed;
use crate::limits::USER_ID_BYTES_MAX;
use crate::realtime::protocol::{BuiltIn, Message, Rejection, payload};
use crate::realtime::{Ctx, Handler, HandlerError};

/// Longest `request_id` and `status`, bytes.
const WORD_BYTES_MAX: usize = 128;

/// Sends a notification to all connections of the user `receiver_id`, for those whom `may_notify`
/// lets. It has a `title`, a `body`, or both.
#[derive(Clone, Copy, Debug, Default)]
pub struct Notification;

impl Handler for Notification {
    fn message_type(&self) -> &str {
        BuiltIn::Notification.as_str()
    }

    fn handle(&mut self, ctx: &mut Ctx<'_>, message: &Message<'_>) -> Result<(), HandlerError> {
        check(ctx)?;
        let receiver = receiver(message)?;
        let title = message.str("title")?.unwrap_or_default();
        let body = message.str("body")?.unwrap_or_default();
        if title.is_empty() && body.is_empty() {
            return Err(Rejection::MissingMember("body".into()).into());
        }
        ctx.notify(&receiver, &title, &body);
        Ok(())
    }
}

/// Tells all connections of the user `receiver_id` that the sender asks for something, such as to be
/// friends, or what became of that: `request_id` and `status`, which is `pending` if it is missing.
/// For those whom `may_notify` lets.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestNotification;

impl Handler for RequestNotification {
    fn message_type(&self) -> &str {
        BuiltIn::RequestNotification.as_str()
    }

    fn handle(&mut self, ctx: &mut Ctx<'_>, message: &Message<'_>) -> Result<(), HandlerError> {
        check(ctx)?;
        let receiver = receiver(message)?;
        let request = word(message, "request_id")?;
        let request = request.ok_or(Rejection::MissingMember("request_id".into()))?;
        let status = word(message, "status")?.unwrap_or(Cow::Borrowed("pending"));
        let (sender, at) = (ctx.user().clone(), ctx.timestamp());
        ctx.send_to_user(&receiver, self.message_type(), |fields| {
            payload::request_notification(fields, &request, &sender, &receiver, &status, &at)
        });
        Ok(())
    }
}

fn check(ctx: &mut Ctx<'_>) -> Result<(), Rejection> {
    let allowed = ctx.options().may_notify.clone();
    is_allowed(ctx, &allowed)
        .then_some(())
        .ok_or(Rejection::Forbidden)
}

fn receiver<'m>(message: &'m Message<'_>) -> Result<Cow<'m, str>, Rejection> {
    let receiver = message.identifier("receiver_id")?;
    let receiver = receiver.ok_or(Rejection::MissingMember("receiver_id".into()))?;
    if receiver.len() > USER_ID_BYTES_MAX {
        return Err(Rejection::InvalidMember("receiver_id".into()));
    }
    Ok(receiver)
}

fn word<'m>(
    message: &'m Message<'_>,
    name: &'static str,
) -> Result<Option<Cow<'m, str>>, Rejection> {
    let word = message.str(name)?;
    if word
        .as_ref()
        .is_some_and(|word| word.is_empty() || word.len() > WORD_BYTES_MAX)
    {
        return Err(Rejection::InvalidMember(name.into()));
    }
    Ok(word)
}
