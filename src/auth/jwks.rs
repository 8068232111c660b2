//! Keys that are fetched: a JSON Web Key Set, kept fresh. RFC 7517 section 5.
//!
//! ```text
//!            start, interval                 a token with an unknown kid
//!                  │                                    │ 10 s since the last try?
//!                  ▼                                    ▼
//!               fetch ◄────────── one at a time ─── wait for it (at most 1,024 do)
//!            ok │  │ not
//!     new keys ◄┘  └► the old keys hold; counted, logged
//! ```

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use jsonwebtoken::Algorithm;
use serde::Deserialize;

use super::error::AuthError;
use super::fetch::{Fetch, FetchError};
use super::keyset::{KEYS_MAX, Key};

/// Seconds between two tries that tokens bring about: an unknown `kid` costs an attacker nothing.
const RETRY_S: u64 = 10;
/// Most that wait for the outside world at once, tokens and sessions each.
pub(super) const WAITERS_MAX: usize = 1024;

/// The keys of a set.
#[derive(Debug, Default)]
pub(super) struct FetchedKeys {
    pub(super) keys: Vec<Key>,
    /// Members of the set that cannot be used.
    pub(super) skipped: usize,
}

/// Why a set gave no keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum JwksError {
    #[error("{0}")]
    Fetch(#[from] FetchError),
    #[error("the server answered {0}")]
    Status(u16),
    #[error("the answer is no JSON Web Key Set")]
    NotASet,
    #[error("the set has no key that can be used, and {0} that cannot")]
    NoKeys(usize),
}

type Fetching = Shared<BoxFuture<'static, Result<(), Arc<JwksError>>>>;

/// A set of keys at a URL.
pub(super) struct Jwks {
    url: String,
    algorithms: Vec<Algorithm>,
    timeout: Duration,
    fetch: Arc<dyn Fetch>,
    keys: Arc<ArcSwap<FetchedKeys>>,
    /// The fetch under way or done last, and when it began (unix seconds).
    last: Mutex<Option<(u64, Fetching)>>,
    waiting: Arc<AtomicUsize>,
    fetches: Arc<AtomicU64>,
    failures: Arc<AtomicU64>,
}

impl std::fmt::Debug for Jwks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jwks")
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

impl Jwks {
    pub(super) fn new(
        url: &str,
        algorithms: &[Algorithm],
        timeout: Duration,
        fetch: Arc<dyn Fetch>,
    ) -> Self {
        Self {
            url: url.to_owned(),
            algorithms: algorithms.to_vec(),
            timeout,
            fetch,
            keys: Arc::default(),
            last: Mutex::default(),
            waiting: Arc::default(),
            fetches: Arc::default(),
            failures: Arc::default(),
        }
    }

    /// Whether this set is the one that these options mean.
    pub(super) fn is_for(&self, url: &str, algorithms: &[Algorithm], timeout: Duration) -> bool {
        self.url == url && self.algorithms == algorithms && self.timeout == timeout
    }

    /// The keys that were fetched last.
    pub(super) fn keys(&self) -> Arc<FetchedKeys> {
        self.keys.load_full()
    }

    /// Fetches and failures since the start.
    pub(super) fn counts(&self) -> (u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.fetches), count(&self.failures))
    }

    /// A fetch of the set, or the one that is under way.
    pub(super) fn refresh(&self, now_s: u64) -> Fetching {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((_, fetching)) if is_awaited(fetching) => fetching.clone(),
            _ => last.insert((now_s, self.begin())).1.clone(),
        }
    }

    /// A fetch to wait for because a token names a key that is not here, until it is over.
    ///
    /// `None`: the set was fetched within the last ten seconds, so the key is none of it.
    /// Errors: [`AuthError::Unavailable`], too many wait, or that fetch failed.
    pub(super) fn await_key(&self, now_s: u64) -> Result<Option<Waiting>, AuthError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // Also where the clock was put back: what lies ahead is long ago.
        let is_recent = |began_s: u64| now_s.abs_diff(began_s) < RETRY_S;
        if let Some((began_s, fetching)) = &*last
            && let Some(done) = fetching.peek()
            && is_recent(*began_s)
        {
            return done
                .as_ref()
                .map(|()| None)
                .map_err(|_| AuthError::Unavailable);
        }
        let place = Place::take(&self.waiting)?;
        let fetching = match &*last {
            Some((began_s, fetching)) if is_recent(*began_s) || is_awaited(fetching) => {
                fetching.clone()
            }
            _ => last.insert((now_s, self.begin())).1.clone(),
        };
        Ok(Some(Waiting { fetching, place }))
    }

    fn begin(&self) -> Fetching {
        let keys = self.keys.clone();
        let (fetches, failures) = (self.fetches.clone(), self.failures.clone());
        let algorithms = self.algorithms.clone();
        let accept = vec![(
            "accept",
            "application/jwk-set+json, application/json".into(),
        )];
        let answer = self.fetch.get(&self.url, accept, self.timeout);
        // The query may hold a secret.
        let url = self.url.split('?').next().unwrap_or_default().to_owned();
        let fetching = async move {
            fetches.fetch_add(1, Ordering::Relaxed);
            let read =
                answer
                    .await
                    .map_err(JwksError::from)
                    .and_then(|fetched| match fetched.status {
                        200 => parse(&fetched.body, &algorithms),
                        status => Err(JwksError::Status(status)),
                    });
            match read {
                Ok(new) => {
                    tracing::debug!(url, keys = new.keys.len(), skipped = new.skipped, "key set");
                    keys.store(Arc::new(new));
                    Ok(())
                }
                Err(error) => {
                    failures.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(
                        url,
                        "the key set could not be fetched: {error}; old keys hold"
                    );
                    Err(Arc::new(error))
                }
            }
        };
        fetching.boxed().shared()
    }
}

/// Whether somebody besides us waits for a fetch, and so moves it on. One that all have left (who asks over
/// HTTP may hang up) stands still, and when it is moved on again its time is over.
fn is_awaited(fetching: &Fetching) -> bool {
    fetching.strong_count().is_some_and(|holders| holders > 1) && fetching.peek().is_none()
}

/// Somebody who waits for a fetch.
pub(super) struct Waiting {
    fetching: Fetching,
    place: Place,
}

impl Waiting {
    /// Waits until the fetch is over. Errors: [`AuthError::Unavailable`].
    pub(super) async fn done(self) -> Result<(), AuthError> {
        let done = self.fetching.await;
        drop(self.place);
        done.map_err(|_| AuthError::Unavailable)
    }
}

/// One of a bounded number of places, until it is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Place {
    /// Errors: [`AuthError::Unavailable`], all [`WAITERS_MAX`] are taken.
    pub(super) fn take(taken: &Arc<AtomicUsize>) -> Result<Self, AuthError> {
        let place = Self(taken.clone());
        // Given back by the drop of `place`, also if it is one too many.
        match taken.fetch_add(1, Ordering::Relaxed) < WAITERS_MAX {
            true => Ok(place),
            false => Err(AuthError::Unavailable),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Reads a set. What cannot be used is left out and counted: a set may have keys for others.
///
/// Errors: [`JwksError::NotASet`]; [`JwksError::NoKeys`], so that a set by mistake empty does not
/// take the keys away.
pub(super) fn parse(body: &[u8], algorithms: &[Algorithm]) -> Result<FetchedKeys, JwksError> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let set: Set = serde_json::from_slice(body).map_err(|_| JwksError::NotASet)?;
    let mut read = FetchedKeys::default();
    for member in set.keys {
        match Key::of_json(member, algorithms) {
            Ok(key) if read.keys.len() < KEYS_MAX => read.keys.push(key),
            _ => read.skipped += 1,
        }
    }
    match read.keys.len() {
        0 => Err(JwksError::NoKeys(read.skipped)),
        _ => Ok(read),
    }
}
