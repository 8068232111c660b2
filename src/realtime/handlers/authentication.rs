//! `authentication`: a token after the connection is open.

use crate::auth::Verdict;
use crate::realtime::protocol::{BuiltIn, Message, Rejection};
use crate::realtime::{Ctx, Handler, HandlerError};

/// Takes a new token in place of the one that the connection came with, before that ends. It must be
/// of the same user: another's is `forbidden`, and the connection stays as it was. One that is not
/// valid ends the connection, as it would have kept it from opening.
///
/// Who came as a guest, or was believed, cannot become somebody else: `conflict`, reconnect with the
/// token.
#[derive(Clone, Copy, Debug, Default)]
pub struct Authentication;

impl Handler for Authentication {
    fn message_type(&self) -> &str {
        BuiltIn::Authentication.as_str()
    }

    fn handle(&mut self, ctx: &mut Ctx<'_>, message: &Message<'_>) -> Result<(), HandlerError> {
        let Some(token) = message.token()? else {
            return Err(Rejection::MissingMember("token".into()).into());
        };
        if !ctx.is_known() {
            return Err(Rejection::Conflict.into());
        }
        let now_s = ctx.now().unix_ms / 1000;
        match ctx.gate().authenticator().verify(&token, now_s) {
            Ok(Verdict::Known(identity)) => ctx.refresh(Ok(identity)),
            Ok(Verdict::Later(pending)) => {
                ctx.spawn(pending, |ctx, identity| ctx.refresh(identity));
                Ok(())
            }
            Ok(Verdict::Guest | Verdict::FirstMessage) => Err(Rejection::Unauthorized.into()),
            Err(error) => ctx.refresh(Err(error)),
        }
    }
}
