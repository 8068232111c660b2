//! Trust mode: a request is believed when it says who it is from.

use super::error::AuthError;
use super::presented::Presented;
use super::{Identity, Proof};
use crate::id::UserId;
use crate::who::Roles;

/// The user and the roles that a request names; `None`: a guest, whose roles are asked for by themselves.
///
/// Errors: those of [`user`] and [`roles`].
pub(super) fn identity(
    request: &impl Presented,
    now_s: u64,
) -> Result<Option<Identity>, AuthError> {
    let roles = roles(request)?;
    Ok(user(request)?.map(|user| Identity {
        user,
        roles,
        expires_s: None,
        issued_s: Some(now_s),
        token_id: None,
        proof: Proof::Trusted,
        source: None,
    }))
}

/// The user that a request names; `None`: a guest.
///
/// The first of `?user_id=`, `?player_id=` and `X-User-Id` counts.
/// Errors: [`AuthError::InvalidUserId`]; [`AuthError::Request`] if it stands twice.
pub fn user(request: &impl Presented) -> Result<Option<UserId>, AuthError> {
    let mut named = request.query("user_id")?;
    if named.is_none() {
        named = request.query("player_id")?;
    }
    if named.is_none() {
        named = request.header("x-user-id")?.map(Into::into);
    }
    match named {
        None => Ok(None),
        Some(user) if UserId::is_valid(&user) => Ok(Some((&*user).into())),
        Some(_) => Err(AuthError::InvalidUserId),
    }
}

/// The roles that a request names in `?roles=` or, without it, in `X-User-Roles`.
///
/// Errors: [`AuthError::InvalidRoles`]; [`AuthError::Request`] if the list stands twice.
pub fn roles(request: &impl Presented) -> Result<Roles, AuthError> {
    let list = match request.query("roles")? {
        Some(list) => list,
        None => request.header("x-user-roles")?.unwrap_or_default().into(),
    };
    Roles::from_list(&list).ok_or(AuthError::InvalidRoles)
}
