//! What is asked about pairings, and who asks.

use std::fmt;
use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::DeskError;
use crate::api::caller::{Arrival, Caller};
use crate::api::error::ApiError;
use crate::api::state::State;
use crate::auth::keys::Scope;
use crate::auth::{Mode, Proof};
use crate::id::UserId;
use crate::pairing::{Invalid, PairingError, PairingObject, Patch, Status};
use crate::realtime::protocol::ErrorCode;

/// A player's identifier. A whole number is read as its digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlayerId(pub(super) UserId);

impl<'de> Deserialize<'de> for PlayerId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Id;
        impl Visitor<'_> for Id {
            type Value = PlayerId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a player's identifier")
            }

            fn visit_str<E: serde::de::Error>(self, id: &str) -> Result<PlayerId, E> {
                match UserId::is_valid(id) {
                    true => Ok(PlayerId(id.into())),
                    false => Err(E::custom(
                        "a player's identifier has 1 to 256 bytes and no control characters",
                    )),
                }
            }

            fn visit_u64<E>(self, id: u64) -> Result<PlayerId, E> {
                Ok(PlayerId(id.to_string().into()))
            }

            fn visit_i64<E>(self, id: i64) -> Result<PlayerId, E> {
                Ok(PlayerId(id.to_string().into()))
            }
        }
        from.deserialize_any(Id)
    }
}

/// A status, in whatever case.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnyCase(pub(super) Status);

impl<'de> Deserialize<'de> for AnyCase {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        let status = name.parse().map(Self);
        status.map_err(|_| D::Error::custom("a status is pending, active or expired"))
    }
}

/// What is there, if only as a null: a missing member is `None` by its default.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// A pairing that is to be made.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct NewPairing {
    /// Who makes it. In trust mode, and for a server key, it says who; a user's own is known.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 256)]
    pub(super) player_id: Option<PlayerId>,
    /// The only player who may join, who is told: a friend request.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 256)]
    pub(super) target_player_id: Option<PlayerId>,
    /// What to call it.
    #[schema(max_length = 100)]
    pub(super) name: Option<String>,
    /// How long it waits to be joined, seconds.
    #[schema(minimum = 1)]
    pub(super) expires_in_s: Option<u64>,
    /// What the players' programs keep with it, at most 2 KiB.
    #[schema(value_type = Option<Object>)]
    pub(super) metadata: Option<Map<String, Value>>,
}

/// A code.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct JoinByCode {
    /// As it was told: in upper or lower case, with blanks and hyphens or without.
    #[schema(example = "K7Q2ZP")]
    pub(super) code: String,
    /// Who joins. In trust mode, and for a server key, it says who; a user's own is known.
    #[schema(value_type = Option<String>)]
    pub(super) player_id: Option<PlayerId>,
}

/// Who joins.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct Join {
    /// In trust mode, and for a server key, it says who; a user's own is known.
    #[schema(value_type = Option<String>)]
    pub(super) player_id: Option<PlayerId>,
}

/// What is to be another about a pairing; what is missing stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct PairingChanges {
    /// Who changes it. In trust mode, and for a server key, it says who; a user's own is known.
    #[schema(value_type = Option<String>)]
    pub(super) player_id: Option<PlayerId>,
    /// `pending`, `active` or `expired`, in upper or lower case.
    #[schema(value_type = Option<String>, example = "expired")]
    status: Option<AnyCase>,
    /// Null takes it away.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, max_length = 100)]
    name: Option<Option<String>>,
    /// All of it; null takes it away.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Option<Map<String, Value>>>,
}

impl PairingChanges {
    pub(super) fn into_patch(self) -> Patch {
        Patch {
            status: self.status.map(|AnyCase(status)| status),
            name: self.name,
            metadata: self.metadata.map(Option::unwrap_or_default),
        }
    }
}

/// Who asks.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct By {
    /// In trust mode, and for a server key, it says who asks; a user's own is known.
    #[param(value_type = Option<String>)]
    pub(super) player_id: Option<PlayerId>,
}

/// Which pairings.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct OfStatus {
    /// Only those: `pending`, `active` or `expired`, in upper or lower case.
    #[param(value_type = Option<String>)]
    pub(super) status: Option<AnyCase>,
}

/// Some of a player's pairings, the youngest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PairingPage {
    pub(super) connections: Vec<PairingObject>,
    /// Where the next page begins; null: this was the last.
    #[schema(required = true)]
    pub(super) next_cursor: Option<String>,
}

/// Where the request came from.
pub(super) struct From(pub(super) Option<IpAddr>);

impl FromRequestParts<State> for From {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        Ok(Self(Arrival::of(state, parts).address()))
    }
}

/// The player for whom something is done: the caller, or the one that is named by who may.
///
/// Errors: 401 to a guest, 403 to a user who names another and to a key without the scope `users`, 422 if
/// nobody is named who must be.
pub(super) fn player(
    state: &State,
    caller: &Caller,
    named: Option<PlayerId>,
) -> Result<UserId, ApiError> {
    let named = named.map(|PlayerId(player)| player);
    match caller {
        Caller::User(identity) if !matches!(identity.proof, Proof::Trusted) => {
            match named.is_none_or(|named| named == identity.user) {
                true => Ok(identity.user.clone()),
                false => {
                    Err(ApiError::forbidden("player_id is somebody else")
                        .detail("member", "player_id"))
                }
            }
        }
        Caller::User(identity) => Ok(named.unwrap_or_else(|| identity.user.clone())),
        Caller::Guest if state.gate.authenticator().mode() != Mode::Trust => {
            Err(ApiError::unauthorized())
        }
        Caller::Guest => named.ok_or_else(no_player),
        Caller::Server(_) | Caller::Development => {
            caller.server(Scope::Users)?;
            named.ok_or_else(no_player)
        }
    }
}

fn no_player() -> ApiError {
    ApiError::invalid_member(
        "player_id",
        "player_id is missing: nothing else says who asks",
    )
}

impl std::convert::From<DeskError> for ApiError {
    fn from(error: DeskError) -> Self {
        match error {
            DeskError::Unavailable => Self::unavailable(),
            DeskError::Pairing(error) => error.into(),
        }
    }
}

impl std::convert::From<PairingError> for ApiError {
    fn from(error: PairingError) -> Self {
        let words = error.to_string();
        let with = |code: ErrorCode| {
            let status = StatusCode::from_u16(code.http_status()).expect("an error status");
            Self::new(status, code.as_str(), words.clone())
        };
        let conflict = |reason: &'static str| with(ErrorCode::Conflict).detail("reason", reason);
        match error {
            PairingError::NotFound => with(ErrorCode::NotFound),
            PairingError::Own => conflict("own"),
            PairingError::Taken => conflict("taken"),
            PairingError::NotJoined => conflict("not_joined"),
            PairingError::Transition { from, to } => conflict("transition")
                .detail("from", from.as_str())
                .detail("to", to.as_str()),
            PairingError::TooMany { limit } => conflict("too_many").detail("limit", limit),
            PairingError::Expired => with(ErrorCode::Expired),
            PairingError::NotPaired => Self::forbidden(words),
            PairingError::Invalid(Invalid { member, .. }) => Self::invalid_member(member, words),
            PairingError::TooManyPending {
                limit,
                retry_after_ms,
            } => Self::rate_limited(retry_after_ms)
                .detail("reason", "pending")
                .detail("limit", limit),
            PairingError::TooManyGuesses { retry_after_ms } => {
                Self::rate_limited(retry_after_ms).detail("reason", "wrong_codes")
            }
            PairingError::Full => Self::unavailable(),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_player_is_a_string_or_a_whole_number() {
        let read = |value: Value| serde_json::from_value::<PlayerId>(value);
        assert_eq!(read(json!("p1")).unwrap(), PlayerId("p1".into()));
        assert_eq!(read(json!(42)).unwrap(), PlayerId("42".into()));
        for wrong in [json!(""), json!("a\nb"), json!(1.5), json!({}), json!(true)] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_missing_stays_and_what_is_null_goes() {
        let read = |value: Value| {
            let changes: PairingChanges = serde_json::from_value(value).unwrap();
            changes.into_patch()
        };
        let nothing = read(json!({}));
        assert!(nothing.status.is_none() && nothing.name.is_none() && nothing.metadata.is_none());
        let cleared = read(json!({"name": null, "metadata": null, "status": "EXPIRED"}));
        assert_eq!(
            (cleared.name, cleared.metadata),
            (Some(None), Some(Map::new()))
        );
        assert_eq!(cleared.status, Some(Status::Expired));
        assert!(serde_json::from_value::<PairingChanges>(json!({"status": "done"})).is_err());
    }

    #[test]
    fn each_error_has_its_status() {
        let transition = PairingError::Transition {
            from: Status::Active,
            to: Status::Pending,
        };
        let retry_after_ms = 7;
        for (error, status) in [
            (PairingError::NotFound, 404),
            (PairingError::Own, 409),
            (PairingError::Taken, 409),
            (PairingError::NotJoined, 409),
            (transition, 409),
            (PairingError::TooMany { limit: 1 }, 409),
            (PairingError::Expired, 410),
            (PairingError::NotPaired, 403),
            (Invalid::new("name", "is empty").into(), 422),
            (
                PairingError::TooManyPending {
                    limit: 1,
                    retry_after_ms,
                },
                429,
            ),
            (PairingError::TooManyGuesses { retry_after_ms }, 429),
            (PairingError::Full, 503),
        ] {
            let response = ApiError::from(error.clone()).into_response();
            assert_eq!(response.status().as_u16(), status, "{error}");
        }
    }
}
