//! `announcement`: a message to everybody who is connected (4.10, 4.13).

use crate::realtime::protocol::{BuiltIn, Message, Rejection, payload};
use crate::realtime::{Ctx, Exclude, Handler, HandlerError, Standing, Who};

/// Sends a text to everybody, for those whom `may_broadcast` lets.
///
/// The text is `message` or `content`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Announcement;

impl Handler for Announcement {
    fn message_type(&self) -> &str {
        BuiltIn::Announcement.as_str()
    }

    fn handle(&mut self, ctx: &mut Ctx<'_>, message: &Message<'_>) -> Result<(), HandlerError> {
        let allowed = ctx.options().may_broadcast.clone();
        if !is_allowed(ctx, &allowed) {
            return Err(Rejection::Forbidden.into());
        }
        let text = match message.str("message")? {
            Some(text) => Some(text),
            None => message.str("content")?,
        };
        let text = text.filter(|text| !text.is_empty());
        let text = text.ok_or(Rejection::MissingMember("message".into()))?;
        ctx.broadcast(self.message_type(), Exclude::None, |fields| {
            payload::announcement(fields, &text)
        });
        Ok(())
    }
}

/// Whether the connection is meant by a list that is about no room.
pub(super) fn is_allowed(ctx: &mut Ctx<'_>, list: &[Who]) -> bool {
    let roles = ctx.roles();
    let standing = Standing {
        is_member: false,
        is_owner: false,
        roles: &roles,
    };
    Who::any_allows(list, standing)
}
