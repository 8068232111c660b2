//! Where in a request a token or a session stands.

use std::borrow::Cow;

use super::error::AuthError;
use super::options::{AuthOptions, Mode, Source};
use super::presented::Presented;
use crate::http::BadRequest;

/// What a request shows of who sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Credential<'r> {
    /// A token, and where it stood.
    Token(Cow<'r, str>, Source),
    /// The `Cookie` field of what may be a session.
    Session(&'r str),
}

/// The credential of a request: that of the first of the sources that has one. The others are not
/// looked at, so that a bad one is never passed over for a better one.
///
/// Errors: [`AuthError::Ambiguous`] if one source has two; [`AuthError::Malformed`] for an empty
/// one; [`AuthError::Request`] if a field or parameter stands twice or cannot be decoded.
pub(super) fn find<'r>(
    request: &'r impl Presented,
    options: &AuthOptions,
) -> Result<Option<Credential<'r>>, AuthError> {
    for source in &options.sources {
        let found = match source {
            Source::Header => bearer(request)?.map(Cow::Borrowed),
            Source::Subprotocol => subprotocol(request)?.map(Cow::Borrowed),
            Source::Cookie if options.session_url.is_some() => match session(request, options)? {
                Some(cookies) => return Ok(Some(Credential::Session(cookies))),
                None => None,
            },
            Source::Cookie => {
                let cookies = request.header("cookie")?.unwrap_or_default();
                cookie(cookies, &options.cookie_name)?.map(Cow::Borrowed)
            }
            Source::Query => query(request)?,
        };
        match found {
            Some(token) if token.is_empty() => return Err(AuthError::Malformed),
            Some(token) => return Ok(Some(Credential::Token(token, *source))),
            None => {}
        }
    }
    Ok(None)
}

/// The token of `Authorization: Bearer`. Other schemes are not ours: a proxy may have used them.
/// RFC 6750 section 2.1; the scheme's name is compared without regard to case.
pub fn bearer(request: &impl Presented) -> Result<Option<&str>, BadRequest> {
    let value = request.header("authorization")?.unwrap_or_default();
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    Ok(scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_ascii()))
}

/// The token among the subprotocols: `bearer.<token>`, or what follows `bearer`.
fn subprotocol(request: &impl Presented) -> Result<Option<&str>, AuthError> {
    let mut found = None;
    let mut offered = request.subprotocols();
    while let Some(name) = offered.next() {
        let token = match name.strip_prefix("bearer.") {
            Some(token) => token,
            None if name == "bearer" => offered.next().unwrap_or_default(),
            None => continue,
        };
        if found.replace(token).is_some() {
            return Err(AuthError::Ambiguous);
        }
    }
    Ok(found)
}

/// The token of the query.
fn query(request: &impl Presented) -> Result<Option<Cow<'_, str>>, AuthError> {
    match (request.query("token")?, request.query("access_token")?) {
        (Some(_), Some(_)) => Err(AuthError::Ambiguous),
        (token, other) => Ok(token.or(other)),
    }
}

/// The value of the cookie called `name`, without the quotes that may be around it.
///
/// Errors: [`AuthError::Ambiguous`] if it stands twice, which a page on a sibling domain can bring
/// about. Source: RFC 6265 section 4.2.1, and 5.4 for the order, on which nothing rests here.
pub(super) fn cookie<'c>(cookies: &'c str, name: &str) -> Result<Option<&'c str>, AuthError> {
    let mut found = None;
    for pair in cookies.split(';') {
        let Some((key, value)) = pair.split_once('=') else {
            continue;
        };
        if key.trim_ascii() != name {
            continue;
        }
        let value = value.trim_ascii();
        let unquoted = value
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        if found.replace(unquoted.unwrap_or(value)).is_some() {
            return Err(AuthError::Ambiguous);
        }
    }
    Ok(found)
}

/// The `Cookie` field, if the session server is to be asked about it.
///
/// Where everybody must show something, any cookie may be the session's. Where a visitor without
/// one is let in as well, it takes the cookie that is named in the options: other cookies are no
/// claim to be somebody.
fn session<'r>(
    request: &'r impl Presented,
    options: &AuthOptions,
) -> Result<Option<&'r str>, AuthError> {
    let Some(cookies) = request.header("cookie")? else {
        return Ok(None);
    };
    let is_meant = match options.mode {
        Mode::Required => !cookies.is_empty(),
        Mode::FirstMessage | Mode::Optional | Mode::Trust => {
            cookie(cookies, &options.cookie_name)?.is_some()
        }
    };
    Ok(is_meant.then_some(cookies))
}
