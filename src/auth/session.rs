//! Sessions by cookie: another server says who it is.
//!
//! The request's own `Cookie` field is sent on. `200` with `{"user": {"id", "role"?, "roles"?}}`
//! (further members are ignored) is somebody; `401`, `403` and a body of `null` are nobody;
//! everything else means that the question has no answer now.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
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

/// Seconds between two lines of the log about a session server that says nothing: whoever sends cookies
/// brings each of them about.
const TOLD_EVERY_S: u64 = 10;

/// The sessions that were confirmed lately.
#[derive(Debug)]
pub(super) struct Sessions {
    /// By the hash of the cookies, and without them: whoever has one session can send as many others
    /// along as fit into a request, and other ones each time.
    confirmed: Cache<[u8; 16], Identity>,
    waiting: Arc<AtomicUsize>,
    /// When the log may be told again, unix seconds.
    told_again_s: AtomicU64,
}

/// Why nobody is known by an answer.
#[derive(Debug, PartialEq, Eq)]
enum Unknown {
    /// It says so, or says what it should not.
    Refused(AuthError),
    /// It says nothing.
    Unanswered(String),
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
            told_again_s: AtomicU64::default(),
        }
    }
}

impl Sessions {
    /// Who the session of these cookies is, if that was confirmed less than `lasts` ago.
    pub(super) fn find(&self, cookies: &str, lasts: Duration, now_s: u64) -> Option<Identity> {
        let identity = self.confirmed.find(&fingerprint(cookies.as_bytes()))?;
        let confirmed_s = identity.issued_s.unwrap_or_default();
        // Also where the clock was put back: what lies ahead is long ago.
        let is_fresh = now_s.abs_diff(confirmed_s) < lasts.as_secs();
        is_fresh.then(|| Identity {
            proof: Proof::Session(cookies.into()),
            ..identity
        })
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
            .map_err(|error| Unknown::Unanswered(error.to_string()))
            .and_then(|fetched| read(&fetched, cookies, now_s))
            .map_err(|unknown| match unknown {
                Unknown::Refused(error) => error,
                Unknown::Unanswered(why) => {
                    if self.tells(now_s) {
                        tracing::warn!("the session server does not say who it is: {why}");
                    }
                    AuthError::Unavailable
                }
            });
        match &found {
            Ok(identity) => {
                let proof = Proof::Session(Box::default());
                let remembered = Identity {
                    proof,
                    ..identity.clone()
                };
                self.confirmed.insert(key, remembered);
            }
            Err(_) => self.confirmed.remove(&key),
        }
        found
    }

    /// Whether the log is told once more.
    fn tells(&self, now_s: u64) -> bool {
        let again = |due_s| (due_s <= now_s).then(|| now_s.saturating_add(TOLD_EVERY_S));
        self.told_again_s
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, again)
            .is_ok()
    }
}

/// Who an answer of the session server says it is.
fn read(fetched: &Fetched, cookies: &str, now_s: u64) -> Result<Identity, Unknown> {
    let refused = Unknown::Refused;
    match fetched.status {
        200 => {}
        401 | 403 => return Err(refused(AuthError::SessionRefused)),
        status => return Err(Unknown::Unanswered(format!("it answered {status}"))),
    }
    let body: Value = serde_json::from_slice(&fetched.body)
        .map_err(|_| Unknown::Unanswered("its answer is not JSON".into()))?;
    if body.is_null() || body.get("user").is_some_and(Value::is_null) {
        return Err(refused(AuthError::SessionRefused));
    }
    let user = body.get("user").ok_or(refused(AuthError::NoUser))?;
    let roles = user.get("roles").or_else(|| user.get("role"));
    Ok(Identity {
        user: user_of(user.get("id")).ok_or(refused(AuthError::NoUser))?,
        roles: roles_of(roles).ok_or(refused(AuthError::BadClaim("roles")))?,
        expires_s: None,
        issued_s: Some(now_s),
        token_id: None,
        proof: Proof::Session(cookies.into()),
        source: Some(Source::Cookie),
    })
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;

    use super::super::fetch::FetchError;
    use super::*;

    /// One user with one session made the server hold half a gigabyte of other cookies.
    #[test]
    fn the_cookies_of_a_session_are_not_remembered() {
        struct Ann;
        impl Fetch for Ann {
            fn get(
                &self,
                _: &str,
                _: Vec<(&'static str, String)>,
                _: Duration,
            ) -> BoxFuture<'static, Result<Fetched, FetchError>> {
                let body = br#"{"user":{"id":"ann"}}"#.to_vec();
                std::future::ready(Ok(Fetched { status: 200, body })).boxed()
            }
        }
        let (sessions, cookies) = (Sessions::default(), format!("s=1; x={}", "x".repeat(9999)));
        let server = SessionServer {
            url: String::new(),
            timeout: Duration::ZERO,
            fetch: Arc::new(Ann),
        };
        let asked = sessions.ask(server, &cookies, 7).now_or_never().unwrap();
        let held = sessions.confirmed.find(&fingerprint(cookies.as_bytes()));
        assert_eq!(held.unwrap().proof, Proof::Session("".into()));
        let found = sessions.find(&cookies, Duration::from_secs(1), 7);
        assert_eq!(found, asked.ok(), "and yet it can be asked about again");
    }

    /// Each request with a cookie wrote a line while the session server was away.
    #[test]
    fn the_log_is_told_of_a_silent_server_once_in_a_while() {
        let sessions = Sessions::default();
        let told = |now_s| (0..100).filter(|_| sessions.tells(now_s)).count();
        assert_eq!([told(1000), told(1009), told(1010)], [1, 0, 1]);
    }
}
