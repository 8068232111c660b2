//! `subscribe`: to be in a room, from now or from where the connection was lost.

use crate::realtime::context::Wish;
use crate::realtime::mail::Start;
use crate::realtime::protocol::{BuiltIn, Members, Message, Rejection};
use crate::realtime::rooms::Room;
use crate::realtime::{Ctx, Handler, HandlerError};

/// Longest epoch that is taken, bytes: ours are shorter.
const EPOCH_BYTES_MAX: usize = 64;

/// Joins a room, or topic, and is answered `subscribed`, after which the messages follow.
///
/// With `recover`, the last `epoch` and `offset` that the client knows, the messages since then come
/// first: all of them, or none and `recovered` is false. `presence` says whether to be told who is
/// there, `info` is what others are told about the user.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subscribe;

impl Handler for Subscribe {
    fn message_type(&self) -> &str {
        BuiltIn::Subscribe.as_str()
    }

    fn handle(&mut self, ctx: &mut Ctx<'_>, message: &Message<'_>) -> Result<(), HandlerError> {
        let room = Room::named(&message.room()?.ok_or(Rejection::RoomRequired)?)?;
        let is_default = ctx.session().is_some_and(|session| session.presence);
        let wish = Wish {
            start: start(message)?,
            presence: message.bool("presence")?.unwrap_or(is_default),
            info: info(ctx, message)?,
            is_answered: true,
            is_vital: false,
        };
        ctx.ask_to_join(&room, wish)?;
        Ok(())
    }
}

fn start(message: &Message<'_>) -> Result<Start, Rejection> {
    let invalid = || Rejection::InvalidMember("recover".into());
    let object = match message.raw("recover")? {
        None | Some("null") => return Ok(Start::Now),
        Some(raw) if raw.starts_with('{') => raw,
        Some(_) => return Err(invalid()),
    };
    let (mut epoch, mut offset) = (None, None);
    for member in Members::parse(object)? {
        let is_repeated = if member.is("epoch") {
            epoch.replace(member.raw()).is_some()
        } else if member.is("offset") {
            offset.replace(member.raw()).is_some()
        } else {
            false
        };
        if is_repeated {
            return Err(Rejection::RepeatedMember("recover".into()));
        }
    }
    let epoch: String = epoch
        .and_then(|raw| serde_json::from_str(raw).ok())
        .ok_or_else(invalid)?;
    let offset = offset
        .and_then(|raw| raw.parse().ok())
        .ok_or_else(invalid)?;
    if epoch.len() > EPOCH_BYTES_MAX {
        return Err(invalid());
    }
    Ok(Start::After {
        epoch: epoch.into(),
        offset,
    })
}

/// What the user says about itself, if it does: an object, not larger than allowed.
pub(super) fn info(ctx: &Ctx<'_>, message: &Message<'_>) -> Result<Option<Box<str>>, Rejection> {
    match message.raw("info")? {
        None | Some("null") => Ok(None),
        Some(raw) if !raw.starts_with('{') => Err(Rejection::InvalidMember("info".into())),
        Some(raw) => {
            let limit = ctx.options().presence.info_bytes_max;
            if raw.len() > limit {
                return Err(Rejection::PayloadTooLarge {
                    limit_bytes: limit as u64,
                });
            }
            Ok(Some(raw.into()))
        }
    }
}
