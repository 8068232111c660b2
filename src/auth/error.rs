//! Why somebody is not let in, and what they are told.

use http::StatusCode;

use crate::http::{BadRequest, Refusal};
use crate::limits::USER_ID_BYTES_MAX;
use crate::who::Roles;

/// How long a client is asked to wait when nobody can say who it is, seconds.
const RETRY_AFTER_S: &str = "5";

/// Why nobody is known by what was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Nothing was shown, and something must be.
    #[error("no token or session was shown")]
    Missing,
    /// It is no token: not three parts of base64url, a header or claims that are not JSON.
    #[error("it is no JSON Web Token")]
    Malformed,
    /// The token, or one of its claims that is kept, is longer than allowed.
    #[error("the token is too long")]
    TooLong,
    /// A second credential of the same kind: which one is meant would be a guess.
    #[error("the token stands twice")]
    Ambiguous,
    /// Signed by an algorithm that no key here is for; `none` is one of them.
    #[error("the token's algorithm is not accepted here")]
    Algorithm,
    /// Signed by a key that is not known here.
    #[error("the token's key is not known here")]
    UnknownKey,
    /// The signature is not that of the key.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// Its time is over (`exp`), beyond the leeway.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come (`nbf`), or it was made in the future (`iat`), beyond the leeway.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// From another issuer, or from none.
    #[error("the token is from another issuer")]
    WrongIssuer,
    /// For another audience, or for none.
    #[error("the token is for another audience")]
    WrongAudience,
    /// It says no user id, or one that nobody can be called.
    #[error("the token or session names no user")]
    NoUser,
    /// The claim of this name is missing or is not what it must be.
    #[error("the claim {0:?} is missing or malformed")]
    BadClaim(&'static str),
    /// It was revoked.
    #[error("the token or session was revoked")]
    Revoked,
    /// The session server knows no such session.
    #[error("the session is not valid")]
    SessionRefused,
    /// Nobody could say: the keys or the session could not be fetched, or too many wait for them.
    #[error("who you are cannot be checked now")]
    Unavailable,
    /// The request itself is wrong: a field twice, an escape that does not decode.
    #[error("{}", .0.text())]
    Request(BadRequest),
    /// Where requests are believed: a user id that nobody can be called.
    #[error("the user id is empty, too long or has control characters")]
    InvalidUserId,
    /// Where requests are believed: no list of roles.
    #[error("expected role names with commas between them")]
    InvalidRoles,
}

impl AuthError {
    /// Number of [reasons](Self::reason).
    pub const REASONS: usize = 19;

    /// A word for it, for counters and logs: one of [`REASONS`](Self::REASONS), never a value from
    /// the request.
    pub fn reason(self) -> &'static str {
        self.place_and_reason().1
    }

    /// The place among the counters.
    pub(super) fn place(self) -> usize {
        self.place_and_reason().0
    }

    fn place_and_reason(self) -> (usize, &'static str) {
        match self {
            Self::Missing => (0, "missing"),
            Self::Malformed => (1, "malformed"),
            Self::TooLong => (2, "too_long"),
            Self::Ambiguous => (3, "ambiguous"),
            Self::Algorithm => (4, "algorithm"),
            Self::UnknownKey => (5, "unknown_key"),
            Self::BadSignature => (6, "bad_signature"),
            Self::Expired => (7, "expired"),
            Self::NotYetValid => (8, "not_yet_valid"),
            Self::WrongIssuer => (9, "wrong_issuer"),
            Self::WrongAudience => (10, "wrong_audience"),
            Self::NoUser => (11, "no_user"),
            Self::BadClaim(_) => (12, "bad_claim"),
            Self::Revoked => (13, "revoked"),
            Self::SessionRefused => (14, "session_refused"),
            Self::Unavailable => (15, "unavailable"),
            Self::Request(_) => (16, "bad_request"),
            Self::InvalidUserId => (17, "invalid_user_id"),
            Self::InvalidRoles => (18, "invalid_roles"),
        }
    }

    /// The word at a place among the counters; each place below [`REASONS`](Self::REASONS) has one.
    pub(super) fn reason_at(place: usize) -> &'static str {
        const ALL: [AuthError; AuthError::REASONS] = [
            AuthError::Missing,
            AuthError::Malformed,
            AuthError::TooLong,
            AuthError::Ambiguous,
            AuthError::Algorithm,
            AuthError::UnknownKey,
            AuthError::BadSignature,
            AuthError::Expired,
            AuthError::NotYetValid,
            AuthError::WrongIssuer,
            AuthError::WrongAudience,
            AuthError::NoUser,
            AuthError::BadClaim(""),
            AuthError::Revoked,
            AuthError::SessionRefused,
            AuthError::Unavailable,
            AuthError::Request(BadRequest::Escape),
            AuthError::InvalidUserId,
            AuthError::InvalidRoles,
        ];
        ALL[place].reason()
    }

    /// The `code` that a client is told: `token_expired`, `unavailable`, one of a bad request, else
    /// `unauthorized`.
    pub fn code(self) -> &'static str {
        match self {
            Self::Expired => "token_expired",
            Self::Unavailable => "unavailable",
            Self::Request(bad) => bad.code(),
            Self::InvalidUserId => "invalid_user_id",
            Self::InvalidRoles => "invalid_roles",
            Self::Missing
            | Self::Malformed
            | Self::TooLong
            | Self::Ambiguous
            | Self::Algorithm
            | Self::UnknownKey
            | Self::BadSignature
            | Self::NotYetValid
            | Self::WrongIssuer
            | Self::WrongAudience
            | Self::NoUser
            | Self::BadClaim(_)
            | Self::Revoked
            | Self::SessionRefused => "unauthorized",
        }
    }

    /// What stands in `WWW-Authenticate`. RFC 6750 section 3: no error where nothing was shown.
    fn challenge(self) -> &'static str {
        match self {
            Self::Missing => "Bearer",
            _ => "Bearer error=\"invalid_token\"",
        }
    }
}

impl From<BadRequest> for AuthError {
    fn from(bad: BadRequest) -> Self {
        Self::Request(bad)
    }
}

impl From<AuthError> for Refusal {
    /// 401 with `WWW-Authenticate`, 503 with `Retry-After`, or 400 for what is wrong with the request.
    fn from(error: AuthError) -> Self {
        let refusal = |status, field, value: &str| {
            Self::new(status, error.code(), error.to_string())
                .header(field, value)
                .expect("name and value are our own")
        };
        let bad_request = || Self::new(StatusCode::BAD_REQUEST, error.code(), error.to_string());
        let refusal = match error {
            AuthError::Request(bad) => bad.into(),
            AuthError::InvalidUserId => bad_request().detail("limit", USER_ID_BYTES_MAX),
            AuthError::InvalidRoles => bad_request()
                .detail("roles", Roles::COUNT_MAX)
                .detail("bytes", Roles::NAME_BYTES_MAX),
            AuthError::Unavailable => refusal(
                StatusCode::SERVICE_UNAVAILABLE,
                "retry-after",
                RETRY_AFTER_S,
            ),
            _ => refusal(
                StatusCode::UNAUTHORIZED,
                "www-authenticate",
                error.challenge(),
            ),
        };
        refusal.because(error.reason())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_place_of_its_own() {
        let reasons: std::collections::BTreeSet<_> =
            (0..AuthError::REASONS).map(AuthError::reason_at).collect();
        assert_eq!(reasons.len(), AuthError::REASONS);
    }

    #[test]
    fn a_client_is_told_status_code_and_challenge() {
        for (error, status, code, field) in [
            (
                AuthError::Missing,
                401,
                "unauthorized",
                "www-authenticate: Bearer\r\n",
            ),
            (
                AuthError::BadSignature,
                401,
                "unauthorized",
                "www-authenticate: Bearer error=\"invalid_token\"\r\n",
            ),
            (
                AuthError::Expired,
                401,
                "token_expired",
                "www-authenticate: Bearer error=\"invalid_token\"\r\n",
            ),
            (
                AuthError::Unavailable,
                503,
                "unavailable",
                "retry-after: 5\r\n",
            ),
            (
                AuthError::Request(BadRequest::RepeatedHeader("cookie")),
                400,
                "repeated_header",
                "",
            ),
            (AuthError::InvalidUserId, 400, "invalid_user_id", ""),
            (AuthError::InvalidRoles, 400, "invalid_roles", ""),
        ] {
            let refusal = Refusal::from(error);
            assert_eq!((refusal.status().as_u16(), refusal.code()), (status, code));
            let mut bytes = Vec::new();
            refusal.write(&mut bytes, "1", "t");
            let text = String::from_utf8(bytes).unwrap();
            assert!(text.contains(field), "{text}");
        }
    }
}
