//! Sessions by cookie: another server says who it is.
//!
//! The request's own `Cookie` field is sent on. `200` with `{"user": {"id", "role"?, "roles"?}}`
//! (further members are ignored) is somebody; `401`, `403` and a body of `null` are nobody;
//! everything else means that the question has no answer now.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use serde_json::Value;

use super::cache::Cache;
use super::digest::fingerprint;
use super::error::AuthError;
use super::fetch::{Fetch, Fetched};
use super::jwks::Place;
use super::token::{roles_of, user_of};
use super::{Identity, Proof, Source};

/// Sessions that are surely remembered for [`AuthOptions::session_cache`](super::AuthOptions).
const CACHED: usize = 16_384;

/// The sessions that were confirmed lately.
#[derive(Debug)]
pub(super) struct Sessions {
    confirmed: Cache<[u8; 16], Identity>,
    waiting: Arc<AtomicUsize>,
}

/// How the session server is asked.
pub(super) struct SessionServer {
    pub(super) url: String,
    pub(super) timeout: Duration,
    pub(super) fetch: Arc<dyn Fetch>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            confirmed: Cache::new(CACHED),
            waiting: Arc::default(),
        }
    }
}

impl Sessions {
    /// Who the session of these cookies is, if that was confirmed less than `lasts` ago.
    pub(super) fn find(&self, cookies: &str, lasts: Duration, now_s: u64) -> Option<Identity> {
        let identity = self.confirmed.find(&fingerprint(cookies.as_bytes()))?;
        let confirmed_s = identity.issued_s.unwrap_or_default();
        (now_s < confirmed_s.saturating_add(lasts.as_secs())).then_some(identity)
    }

    /// Forgets all that was confirmed.
    pub(super) fn clear(&self) {
        self.confirmed.clear();
    }

    /// A place among those who wait. Errors: [`AuthError::Unavailable`].
    pub(super) fn enter(&self) -> Result<Place, AuthError> {
        Place::take(&self.waiting)
    }

    /// Asks the server, and remembers who was confirmed.
    ///
    /// Errors: [`AuthError::SessionRefused`]; [`AuthError::NoUser`] and [`AuthError::BadClaim`] for
    /// what the server should not have said; [`AuthError::Unavailable`].
    pub(super) async fn ask(
        &self,
        server: SessionServer,
        cookies: &str,
        now_s: u64,
    ) -> Result<Identity, AuthError> {
        let headers = vec![
            ("cookie", cookies.to_owned()),
            ("accept", "application/json".into()),
        ];
        let asked = server.fetch.get(&server.url, headers, server.timeout).await;
        let key = fingerprint(cookies.as_bytes());
        let found = asked
            .map_err(|error| {
                tracing::warn!("the session server cannot be asked: {error}");
                AuthError::Unavailable
            })
            .and_then(|fetched| read(&fetched, cookies, now_s));
        match &found {
            Ok(identity) => self.confirmed.insert(key, identity.clone()),
            Err(_) => self.confirmed.remove(&key),
        }
        found
    }
}

/// Who an answer of the session server says it is.
fn read(fetched: &Fetched, cookies: &str, now_s: u64) -> Result<Identity, AuthError> {
    match fetched.status {
        200 => {}
        401 | 403 => return Err(AuthError::SessionRefused),
        status => {
            tracing::warn!("the session server answered {status}");
            return Err(AuthError::Unavailable);
        }
    }
    let body: Value = serde_json::from_slice(&fetched.body).map_err(|_| {
        tracing::warn!("the session server answered with what is not JSON");
        AuthError::Unavailable
    })?;
    if body.is_null() || body.get("user").is_some_and(Value::is_null) {
        return Err(AuthError::SessionRefused);
    }
    let user = body.get("user").ok_or(AuthError::NoUser)?;
    let roles = user.get("roles").or_else(|| user.get("role"));
    Ok(Identity {
        user: user_of(user.get("id")).ok_or(AuthError::NoUser)?,
        roles: roles_of(roles).ok_or(AuthError::BadClaim("roles"))?,
        expires_s: None,
        issued_s: Some(now_s),
        token_id: None,
        proof: Proof::Session(cookies.into()),
        source: Some(Source::Cookie),
    })
}
