//! JSON Web Tokens: whether one is signed by a key of ours, and what it says. RFC 7519, RFC 7515.
//!
//! The claims are read only once the signature is known to be right. The advice of RFC 8725 is kept:
//! algorithms are a property of keys (3.1), issuer and audience are compared (3.8, 3.9).

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::digest::fingerprint;
use super::error::AuthError;
use super::keyset::Key;
use super::options::TokenOptions;
use super::{Identity, Proof, TokenHash};
use crate::id::UserId;
use crate::who::Roles;

/// Longest `kid` and longest `jti`, bytes.
const ID_BYTES_MAX: usize = 256;
/// Largest number that is exact in JSON: 2^53 - 1. Times beyond are no times.
const EXACT_MAX: u64 = (1 << 53) - 1;

/// The parts of a token, not verified.
#[derive(Debug)]
pub(super) struct Parts<'t> {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    /// Header and claims as they were signed.
    message: &'t str,
    claims: &'t str,
    signature: &'t str,
}

/// What of a header is understood. RFC 7515 section 4.1.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood. None is.
    #[serde(default)]
    crit: IsThere,
}

/// Whether a member is there, whatever it says, `null` too.
#[derive(Default)]
struct IsThere(bool);

impl<'de> Deserialize<'de> for IsThere {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

/// Takes a token apart.
///
/// Errors: [`AuthError::TooLong`], [`AuthError::Malformed`], [`AuthError::Algorithm`].
pub(super) fn parts<'t>(token: &'t str, options: &TokenOptions) -> Result<Parts<'t>, AuthError> {
    if token.len() > options.token_bytes_max {
        return Err(AuthError::TooLong);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(AuthError::Malformed)?;
    let (header, claims) = message.split_once('.').ok_or(AuthError::Malformed)?;
    if claims.contains('.') {
        return Err(AuthError::Malformed);
    }
    let header: Header = json(header)?;
    let is_understood = !header.crit.0;
    let is_short = header
        .kid
        .as_deref()
        .is_none_or(|kid| kid.len() <= ID_BYTES_MAX);
    if !is_understood || !is_short {
        return Err(AuthError::Malformed);
    }
    Ok(Parts {
        algorithm: Algorithm::from_str(&header.alg).map_err(|_| AuthError::Algorithm)?,
        kid: header.kid,
        message,
        claims,
        signature,
    })
}

/// Verifies a token by the keys that fit, and reads who it says somebody is.
///
/// Errors: [`AuthError::Algorithm`] if none of the keys is for its algorithm; [`AuthError::UnknownKey`]
/// if none of those is the one it names; [`AuthError::BadSignature`]; then those of its claims.
pub(super) fn verify<'k>(
    token: &str,
    parts: &Parts<'_>,
    keys: impl Iterator<Item = &'k Key> + Clone,
    options: &TokenOptions,
    now_s: u64,
) -> Result<Identity, AuthError> {
    let (algorithm, kid) = (parts.algorithm, parts.kid.as_deref());
    let mut fitting = keys
        .clone()
        .filter(|key| key.fits(algorithm, kid))
        .peekable();
    if fitting.peek().is_none() {
        return Err(match keys.clone().any(|key| key.is_for(algorithm)) {
            true => AuthError::UnknownKey,
            false => AuthError::Algorithm,
        });
    }
    let signer = fitting
        .find(|key| key.verifies(algorithm, parts.message, parts.signature))
        .ok_or(AuthError::BadSignature)?;
    let claims: Map<String, Value> = json(parts.claims)?;
    check(&claims, options, now_s)?;
    Ok(Identity {
        user: user(&claims, options)?,
        roles: roles(&claims, options)?,
        expires_s: time(&claims, "exp")?,
        issued_s: time(&claims, "iat")?,
        token_id: token_id(&claims)?,
        proof: Proof::Token {
            hash: TokenHash(fingerprint(token.as_bytes())),
            key: signer.print,
        },
        source: None,
    })
}

/// Whether a time has passed by more than the leeway.
pub(super) fn has_expired(expires_s: Option<u64>, options: &TokenOptions, now_s: u64) -> bool {
    expires_s.is_some_and(|expires_s| now_s >= expires_s.saturating_add(options.leeway.as_secs()))
}

/// A part of a token: base64url of JSON.
fn json<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, AuthError> {
    let bytes = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| AuthError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| AuthError::Malformed)
}

/// Issuer, audience and times.
fn check(claims: &Map<String, Value>, options: &TokenOptions, now_s: u64) -> Result<(), AuthError> {
    if let Some(issuer) = &options.issuer
        && claims.get("iss").and_then(Value::as_str) != Some(issuer)
    {
        return Err(AuthError::WrongIssuer);
    }
    let is_ours = |audience: &Value| {
        let name = audience.as_str();
        options.audience.iter().any(|ours| Some(&ours[..]) == name)
    };
    if !options.audience.is_empty()
        && !match claims.get("aud") {
            Some(Value::Array(several)) => several.iter().any(is_ours),
            Some(one) => is_ours(one),
            None => false,
        }
    {
        return Err(AuthError::WrongAudience);
    }
    let expires_s = time(claims, "exp")?;
    if expires_s.is_none() && options.is_expiry_required {
        return Err(AuthError::BadClaim("exp"));
    }
    if has_expired(expires_s, options, now_s) {
        return Err(AuthError::Expired);
    }
    let latest_s = now_s.saturating_add(options.leeway.as_secs());
    for claim in ["nbf", "iat"] {
        if time(claims, claim)?.is_some_and(|since_s| since_s > latest_s) {
            return Err(AuthError::NotYetValid);
        }
    }
    Ok(())
}

/// A time in whole seconds since 1970. RFC 7519 section 2 allows a fraction, which is cut off.
fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<u64>, AuthError> {
    let Some(value) = claims.get(name).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let whole = value.as_u64().or_else(|| whole(value.as_f64()?));
    match whole {
        Some(seconds) if seconds <= EXACT_MAX => Ok(Some(seconds)),
        _ => Err(AuthError::BadClaim(name)),
    }
}

/// The whole part of a number that is not negative and exact.
fn whole(number: f64) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the fraction is to be cut off, and the range has been looked at"
    )]
    (0.0..9_007_199_254_740_992.0)
        .contains(&number)
        .then_some(number as u64)
}

/// Who it is. Errors: [`AuthError::NoUser`].
fn user(claims: &Map<String, Value>, options: &TokenOptions) -> Result<UserId, AuthError> {
    user_of(claims.get(&options.user_id_claim)).ok_or(AuthError::NoUser)
}

/// A user id of JSON: text, or a whole number, which is its decimal form.
pub(super) fn user_of(value: Option<&Value>) -> Option<UserId> {
    let name = match value? {
        Value::String(name) => name.clone(),
        Value::Number(number) if number.is_u64() || number.is_i64() => number.to_string(),
        _ => return None,
    };
    UserId::is_valid(&name).then(|| name.into())
}

fn roles(claims: &Map<String, Value>, options: &TokenOptions) -> Result<Roles, AuthError> {
    roles_of(claims.get(&options.roles_claim)).ok_or(AuthError::BadClaim("roles"))
}

/// Roles of JSON: a list of names, or text with white space or commas between them. None, if nothing
/// is said; `None`, if it is something else.
pub(super) fn roles_of(value: Option<&Value>) -> Option<Roles> {
    let list = match value {
        None | Some(Value::Null) => return Some(Roles::default()),
        Some(Value::String(text)) => text.split_whitespace().collect::<Vec<_>>().join(","),
        Some(Value::Array(names)) => {
            let names = names.iter().map(|name| {
                // A comma within a name would make two of it.
                name.as_str().filter(|name| !name.contains(','))
            });
            names.collect::<Option<Vec<_>>>()?.join(",")
        }
        Some(_) => return None,
    };
    Roles::from_list(&list)
}

fn token_id(claims: &Map<String, Value>) -> Result<Option<Box<str>>, AuthError> {
    match claims.get("jti") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(id)) if id.len() <= ID_BYTES_MAX => Ok(Some(id.as_str().into())),
        Some(_) => Err(AuthError::BadClaim("jti")),
    }
}
