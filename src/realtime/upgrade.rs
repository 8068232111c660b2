//! Who is let in: pure functions of a request head and the options.

use http::StatusCode;

use super::RealtimeOptions;
use crate::http::{Head, Refusal};
use crate::limits::USER_ID_BYTES_MAX;

/// The subprotocol that names the `flat` profile.
pub(super) const SUBPROTOCOL: &str = "campanile.flat.v1";

/// The place of the request's route in the options.
///
/// Errors: 404 `not_found`.
pub(super) fn route(head: &Head<'_>, options: &RealtimeOptions) -> Result<u16, Refusal> {
    let found = options.routes.iter().position(|r| r.path == head.path());
    found
        .and_then(|place| u16::try_from(place).ok())
        .ok_or_else(|| {
            let error = "there is no WebSocket endpoint under this path";
            Refusal::new(StatusCode::NOT_FOUND, "not_found", error)
        })
}

/// Checks the `Origin` of a request, if it has one.
///
/// Errors: 403 `forbidden`; 400 if the field stands twice or is no text.
pub(super) fn check_origin(head: &Head<'_>, options: &RealtimeOptions) -> Result<(), Refusal> {
    let Some(origin) = head.only_header("origin")? else {
        return Ok(());
    };
    let host = head.only_header("host")?.unwrap_or_default();
    let is_allowed = options
        .allowed_origins
        .iter()
        .any(|allowed| match &allowed[..] {
            "*" => true,
            "same-origin" => is_same_origin(origin, host),
            exact => exact.eq_ignore_ascii_case(origin),
        });
    if is_allowed {
        return Ok(());
    }
    let error = "the page's origin is not allowed here";
    Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden", error))
}

/// Whether a page of `origin` was served by who is called `host`. The scheme is not compared: TLS
/// ends before us, so that we do not know by which one the request came.
fn is_same_origin(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        // "null", from a sandboxed or local page.
        return false;
    };
    let default_port = if scheme.eq_ignore_ascii_case("https") {
        ":443"
    } else {
        ":80"
    };
    let host = host.strip_suffix(default_port).unwrap_or(host);
    let authority = authority.strip_suffix(default_port).unwrap_or(authority);
    !host.is_empty() && authority.eq_ignore_ascii_case(host)
}

/// The user that a request names, if requests are believed; `None`: a guest.
///
/// The first of `?user_id=`, `?player_id=` and `X-User-Id` counts.
/// Errors: 400 `invalid_user_id` if it is empty, longer than [`USER_ID_BYTES_MAX`] or has control
/// characters; 400 if it stands twice.
pub(super) fn user(head: &Head<'_>, options: &RealtimeOptions) -> Result<Option<String>, Refusal> {
    if !options.trust_user_ids {
        return Ok(None);
    }
    let mut named = head.query_param("user_id")?;
    if named.is_none() {
        named = head.query_param("player_id")?;
    }
    if named.is_none() {
        named = head.only_header("x-user-id")?.map(Into::into);
    }
    let Some(user) = named else { return Ok(None) };
    if user.is_empty() || user.len() > USER_ID_BYTES_MAX || user.contains(char::is_control) {
        let error = "the user id is empty, too long or has control characters";
        let refusal = Refusal::new(StatusCode::BAD_REQUEST, "invalid_user_id", error);
        return Err(refusal.detail("limit", USER_ID_BYTES_MAX));
    }
    Ok(Some(user.into_owned()))
}

/// The subprotocol to confirm, if it is among those offered.
pub(super) fn subprotocol(head: &Head<'_>) -> Option<String> {
    head.tokens("sec-websocket-protocol")
        .any(|offered| offered == SUBPROTOCOL)
        .then(|| SUBPROTOCOL.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_origin_means_host_and_port() {
        let table = [
            ("http://127.0.0.1:8080", "127.0.0.1:8080", true),
            ("http://Example.com", "example.com", true),
            ("http://example.com", "example.com:80", true),
            ("https://example.com:443", "example.com", true),
            ("https://example.com", "example.com:80", false),
            ("http://example.com:8081", "example.com:8080", false),
            ("http://example.com.evil.org", "example.com", false),
            ("http://example.com", "", false),
            ("http://", "", false),
            ("null", "null", false),
            ("http://[::1]:8080", "[::1]:8080", true),
        ];
        for (origin, host, expected) in table {
            assert_eq!(is_same_origin(origin, host), expected, "{origin} {host}");
        }
    }
}
