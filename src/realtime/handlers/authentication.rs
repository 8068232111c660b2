//! `authentication`: a token after the connection is open.

use crate::realtime::protocol::{BuiltIn, Message, Rejection};
use crate::realtime::{Ctx, Handler, HandlerError};

/// Tells a connection that it is who it is: whoever is connected has been let in as a guest, or by
/// the name that the request had, and cannot become somebody else. The answer is `conflict`, and the
/// connection goes on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Authentication;

impl Handler for Authentication {
    fn message_type(&self) -> &str {
        BuiltIn::Authentication.as_str()
    }

    fn handle(&mut self, _: &mut Ctx<'_>, message: &Message<'_>) -> Result<(), HandlerError> {
        match message.token()? {
            Some(_) => Err(Rejection::Conflict.into()),
            None => Err(Rejection::MissingMember("token".into()).into()),
        }
    }
}
