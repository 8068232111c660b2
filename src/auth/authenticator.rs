//! The authenticator: one for all shards and the HTTP API.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;

use super::cache::Cache;
use super::credentials::{self, Credential};
use super::digest::fingerprint;
use super::error::AuthError;
use super::fetch::Fetch;
use super::jwks::{FetchedKeys, Jwks};
use super::keyset::{KEYS_MAX, Key, KeyPrint};
use super::options::{AuthOptions, AuthOptionsError, Mode, Source, TokenOptions};
use super::presented::Presented;
use super::revocation::{KeptRevocation, Revocation, Revocations, Revoked};
use super::session::{SessionServer, Sessions};
use super::stats::{AuthStats, Counters};
use super::{Identity, Pending, Proof, TokenHash, Verdict, token, trust};
use crate::who::Roles;

/// Tokens that are surely remembered once they were verified.
const CACHED_TOKENS: usize = 32_768;

/// Says who sends a request or a token.
///
/// Methods take the time as unix seconds. All of them are quick and none waits: what must wait is a
/// [`Verdict::Later`]. A clone is the same authenticator.
#[derive(Clone)]
pub struct Authenticator(Arc<Inner>);

struct Inner {
    setup: ArcSwap<Setup>,
    fetch: Option<Arc<dyn Fetch>>,
    sessions: Sessions,
    revocations: Revocations,
    counters: Counters,
}

/// Options and what was made of them.
struct Setup {
    options: Arc<AuthOptions>,
    keys: Vec<Key>,
    jwks: Option<Arc<Jwks>>,
    /// Tokens that were good by these very options: whoever still verifies by those from before tells
    /// nobody of it.
    tokens: Cache<TokenHash, Identity>,
}

/// Other options of an [`Authenticator`], sound, and not yet in force: see [`Authenticator::prepare`].
pub struct PreparedAuth(Arc<Setup>);

impl fmt::Debug for PreparedAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedAuth").finish_non_exhaustive()
    }
}

/// The keys that count at this moment.
struct Keys {
    setup: Arc<Setup>,
    fetched: Option<Arc<FetchedKeys>>,
}

impl Keys {
    fn iter(&self) -> impl Iterator<Item = &Key> + Clone {
        let fetched = self.fetched.as_deref().map(|fetched| &fetched.keys[..]);
        self.setup.keys.iter().chain(fetched.unwrap_or_default())
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator")
            .field("mode", &self.mode())
            .finish_non_exhaustive()
    }
}

impl Authenticator {
    /// An authenticator. `fetch` asks other servers, if the options name one.
    ///
    /// Nothing is fetched yet: see [`refresh_keys`](Self::refresh_keys).
    /// Errors: [`AuthOptionsError`], for options by which nobody could come in, or the wrong ones.
    pub fn new(
        options: AuthOptions,
        fetch: Option<Arc<dyn Fetch>>,
    ) -> Result<Self, AuthOptionsError> {
        let setup = Setup::new(options, fetch.as_ref(), None)?;
        Ok(Self(Arc::new(Inner {
            setup: ArcSwap::from_pointee(setup),
            fetch,
            sessions: Sessions::default(),
            revocations: Revocations::default(),
            counters: Counters::default(),
        })))
    }

    /// Lets everybody in as a guest. Credentials are not looked at.
    pub fn guests() -> Self {
        Self::without_credentials(Mode::Optional)
    }

    /// Believes whoever a request says it is from. See [`Mode::Trust`].
    pub fn trusting() -> Self {
        Self::without_credentials(Mode::Trust)
    }

    fn without_credentials(mode: Mode) -> Self {
        let options = AuthOptions {
            mode,
            sources: Vec::new(),
            ..AuthOptions::default()
        };
        Self::new(options, None).expect("modes that demand nothing need nothing")
    }

    /// Who is let in.
    pub fn mode(&self) -> Mode {
        self.0.setup.load().options.mode
    }

    /// The options.
    pub fn options(&self) -> Arc<AuthOptions> {
        self.0.setup.load().options.clone()
    }

    /// Says who sends a request, by what it shows: before an upgrade, and for the HTTP API.
    ///
    /// The Origin is not looked at; a cookie demands one ([`Identity::is_from_cookie`]).
    /// Errors: [`AuthError`], counted.
    pub fn identify(&self, request: &impl Presented, now_s: u64) -> Result<Verdict, AuthError> {
        self.0
            .identify(request, now_s)
            .map_err(|error| self.0.counters.refuse(error))
    }

    /// The roles of a guest: in trust mode those that its request names, else none.
    ///
    /// Errors: [`AuthError::InvalidRoles`]; [`AuthError::Request`] if the list stands twice.
    pub fn guest_roles(&self, request: &impl Presented) -> Result<Roles, AuthError> {
        match self.mode() {
            Mode::Trust => trust::roles(request),
            Mode::Required | Mode::FirstMessage | Mode::Optional => Ok(Roles::default()),
        }
    }

    /// Says whose a token is that came in a message: [`Verdict::Known`] or [`Verdict::Later`].
    ///
    /// Errors: [`AuthError`], counted.
    pub fn verify(&self, token: &str, now_s: u64) -> Result<Verdict, AuthError> {
        self.0
            .verify(token, None, now_s)
            .map_err(|error| self.0.counters.refuse(error))
    }

    /// Whether somebody who was known before still is: not expired beyond the leeway, not revoked,
    /// and the key still there. A session is asked about again.
    ///
    /// Errors: [`AuthError`], counted; [`AuthError::UnknownKey`] if the key was withdrawn.
    pub fn recheck(&self, identity: &Identity, now_s: u64) -> Result<Verdict, AuthError> {
        self.0
            .recheck(identity, now_s)
            .map_err(|error| self.0.counters.refuse(error))
    }

    /// Whether a revocation means somebody. A look at one number, if there never was one.
    pub fn is_revoked(&self, identity: &Identity) -> bool {
        self.0.revocations.has(identity)
    }

    /// Whether a user was revoked whose request was let in at `since_s`, and who has shown nothing: a
    /// request that was believed, or a guest's.
    pub fn is_user_revoked(&self, user: &str, since_s: u64) -> bool {
        self.0.revocations.has_user(user, since_s)
    }

    /// Revokes, from here on and for [`revocation_memory`](AuthOptions::revocation_memory). At most
    /// [`REVOCATIONS_MAX`](super::REVOCATIONS_MAX) are kept.
    ///
    /// It is kept in memory alone: what is to outlive the process is the caller's to write down, and to
    /// [`restore`](Self::restore).
    pub fn revoke(&self, revocation: Revocation, now_s: u64) -> Revoked {
        let keep_s = self.options().revocation_memory.as_secs();
        let revocations = &self.0.revocations;
        let revoked = revocations.add(revocation, now_s, now_s.saturating_add(keep_s));
        self.0.sessions.clear();
        revoked
    }

    /// Puts revocations in force again that were written down, the oldest first, before anybody is let in.
    pub fn restore(&self, kept: impl IntoIterator<Item = KeptRevocation>, now_s: u64) {
        let kept = kept.into_iter().filter(|kept| kept.until_s > now_s);
        for KeptRevocation {
            revocation,
            until_s,
        } in kept
        {
            self.0.revocations.add(revocation, now_s, until_s);
        }
    }

    /// What was revoked after an [epoch](Self::revocation_epoch) and still is, the oldest first.
    pub fn revoked_since(&self, epoch: u64) -> Vec<Revocation> {
        self.0.revocations.since(epoch)
    }

    /// Grows with each revocation: who sees it changed looks at its connections.
    pub fn revocation_epoch(&self) -> u64 {
        self.0.revocations.epoch()
    }

    /// Takes other options. Fetched keys stay if they come from the same place; revocations stay.
    ///
    /// Errors: [`AuthOptionsError`]; then all is as before.
    pub fn reload(&self, options: AuthOptions) -> Result<(), AuthOptionsError> {
        self.prepare(options).map(|prepared| self.take(prepared))
    }

    /// Makes of other options what [`take`](Self::take) puts in force: the half of a
    /// [`reload`](Self::reload) that can fail.
    ///
    /// Errors: as [`reload`](Self::reload).
    pub fn prepare(&self, options: AuthOptions) -> Result<PreparedAuth, AuthOptionsError> {
        let before = self.0.setup.load_full();
        let setup = Setup::new(options, self.0.fetch.as_ref(), before.jwks.as_ref())?;
        Ok(PreparedAuth(Arc::new(setup)))
    }

    /// Puts in force what [`prepare`](Self::prepare) made.
    pub fn take(&self, prepared: PreparedAuth) {
        self.0.setup.store(prepared.0);
        self.0.sessions.clear();
    }

    /// Fetches the key set, if there is one: at the start, and every
    /// [`jwks_refresh`](TokenOptions::jwks_refresh). A failure is logged and counted, and the keys
    /// from before hold.
    pub async fn refresh_keys(&self, now_s: u64) {
        let jwks = self.0.setup.load().jwks.clone();
        if let Some(jwks) = jwks {
            // What went wrong has been logged where it did.
            let _ = jwks.refresh(now_s).await;
        }
    }

    /// Counters.
    pub fn stats(&self) -> AuthStats {
        let keys = self.0.keys();
        let counters = &self.0.counters;
        let (jwks_fetches, jwks_failures) = match &keys.setup.jwks {
            Some(jwks) => jwks.counts(),
            None => (0, 0),
        };
        AuthStats {
            verified: counters.verified.load(Ordering::Relaxed),
            cached: counters.cached.load(Ordering::Relaxed),
            sessions: counters.sessions.load(Ordering::Relaxed),
            refused: counters.refused(),
            jwks_fetches,
            jwks_failures,
            keys: keys.iter().count(),
            keys_skipped: keys.fetched.as_ref().map_or(0, |fetched| fetched.skipped),
            revocations: self.0.revocations.len(),
        }
    }
}

impl Inner {
    fn keys(&self) -> Keys {
        let setup = self.setup.load_full();
        let fetched = setup.jwks.as_ref().map(|jwks| jwks.keys());
        Keys { setup, fetched }
    }

    fn identify(
        self: &Arc<Self>,
        request: &impl Presented,
        now_s: u64,
    ) -> Result<Verdict, AuthError> {
        let setup = self.setup.load();
        let options = &*setup.options;
        if options.mode == Mode::Trust {
            let Some(identity) = trust::identity(request, now_s)? else {
                return Ok(Verdict::Guest);
            };
            // Only for a time that is yet to come: it is shown now.
            return match self.revocations.has(&identity) {
                true => Err(AuthError::Revoked),
                false => Ok(Verdict::Known(identity)),
            };
        }
        match credentials::find(request, options)? {
            Some(Credential::Token(token, source)) => self.verify(&token, Some(source), now_s),
            Some(Credential::Session(cookies)) => self.session(cookies, options, now_s),
            None => match options.mode {
                Mode::Required => Err(AuthError::Missing),
                Mode::FirstMessage => Ok(Verdict::FirstMessage),
                Mode::Optional | Mode::Trust => Ok(Verdict::Guest),
            },
        }
    }

    fn verify(
        self: &Arc<Self>,
        token: &str,
        source: Option<Source>,
        now_s: u64,
    ) -> Result<Verdict, AuthError> {
        let keys = self.keys();
        match self.verify_now(token, source, &keys, now_s) {
            Ok(identity) => Ok(Verdict::Known(identity)),
            // The set may have the key by now. Which algorithms it is for is not known, either,
            // before it was fetched.
            Err(error @ (AuthError::UnknownKey | AuthError::Algorithm))
                if may_be_fetched(token, &keys.setup.options.token) =>
            {
                let Some(jwks) = keys.setup.jwks.clone() else {
                    return Err(error);
                };
                let waiting = jwks.await_key(now_s)?.ok_or(error)?;
                let (inner, token) = (self.clone(), token.to_owned());
                let pending: Pending = Box::pin(async move {
                    let identity = match waiting.done().await {
                        Ok(()) => inner.verify_now(&token, source, &inner.keys(), now_s),
                        Err(error) => Err(error),
                    };
                    identity.map_err(|error| inner.counters.refuse(error))
                });
                Ok(Verdict::Later(pending))
            }
            Err(error) => Err(error),
        }
    }

    /// Verifies by the keys that are here, or by having done so before.
    fn verify_now(
        &self,
        token: &str,
        source: Option<Source>,
        keys: &Keys,
        now_s: u64,
    ) -> Result<Identity, AuthError> {
        let options = &keys.setup.options.token;
        if token.len() > options.token_bytes_max {
            return Err(AuthError::TooLong);
        }
        let hash = TokenHash(fingerprint(token.as_bytes()));
        let cached = keys.setup.tokens.find(&hash);
        let is_still_signed = |identity: &Identity| match &identity.proof {
            Proof::Token { key, .. } => has_key(keys, *key),
            Proof::Session(_) | Proof::Trusted => false,
        };
        let known = match cached.filter(is_still_signed) {
            Some(identity) => {
                if token::has_expired(identity.expires_s, options, now_s) {
                    return Err(AuthError::Expired);
                }
                Counters::count(&self.counters.cached);
                identity
            }
            None => {
                let parts = token::parts(token, options)?;
                let identity = token::verify(token, &parts, keys.iter(), options, now_s)?;
                Counters::count(&self.counters.verified);
                keys.setup.tokens.insert(hash, identity.clone());
                identity
            }
        };
        if self.revocations.has(&known) {
            return Err(AuthError::Revoked);
        }
        Ok(Identity { source, ..known })
    }

    fn session(
        self: &Arc<Self>,
        cookies: &str,
        options: &AuthOptions,
        now_s: u64,
    ) -> Result<Verdict, AuthError> {
        let known = self.sessions.find(cookies, options.session_cache, now_s);
        match known.filter(|identity| !self.revocations.has(identity)) {
            Some(identity) => Ok(Verdict::Known(identity)),
            None => self.ask_session(cookies, options, now_s),
        }
    }

    fn ask_session(
        self: &Arc<Self>,
        cookies: &str,
        options: &AuthOptions,
        now_s: u64,
    ) -> Result<Verdict, AuthError> {
        let (Some(url), Some(fetch)) = (&options.session_url, &self.fetch) else {
            // The session server was taken out of the options while the session was open.
            return Err(AuthError::SessionRefused);
        };
        let place = self.sessions.enter()?;
        let server = SessionServer {
            url: url.clone(),
            timeout: options.session_timeout,
            fetch: fetch.clone(),
        };
        let (inner, cookies) = (self.clone(), cookies.to_owned());
        let pending: Pending = Box::pin(async move {
            let identity = inner.sessions.ask(server, &cookies, now_s).await;
            drop(place);
            // Perhaps it was revoked while the answer was on its way.
            let identity = identity.and_then(|identity| match inner.revocations.has(&identity) {
                false => Ok(identity),
                true => Err(AuthError::Revoked),
            });
            match identity {
                // While the question was under way, or for a time that is yet to come.
                Ok(identity) if inner.revocations.has(&identity) => {
                    Err(inner.counters.refuse(AuthError::Revoked))
                }
                Ok(identity) => {
                    Counters::count(&inner.counters.sessions);
                    Ok(identity)
                }
                Err(error) => Err(inner.counters.refuse(error)),
            }
        });
        Ok(Verdict::Later(pending))
    }

    fn recheck(self: &Arc<Self>, identity: &Identity, now_s: u64) -> Result<Verdict, AuthError> {
        if self.revocations.has(identity) {
            return Err(AuthError::Revoked);
        }
        match &identity.proof {
            Proof::Trusted => Ok(Verdict::Known(identity.clone())),
            Proof::Session(cookies) => {
                let options = self.setup.load().options.clone();
                self.ask_session(cookies, &options, now_s)
            }
            Proof::Token { key, .. } => {
                let keys = self.keys();
                if token::has_expired(identity.expires_s, &keys.setup.options.token, now_s) {
                    return Err(AuthError::Expired);
                }
                match has_key(&keys, *key) {
                    true => Ok(Verdict::Known(identity.clone())),
                    false => Err(AuthError::UnknownKey),
                }
            }
        }
    }
}

fn has_key(keys: &Keys, print: KeyPrint) -> bool {
    keys.iter().any(|key| key.print == print)
}

/// Whether a fetched key could have signed a token: by an algorithm of the options, and not by a
/// secret, which is never fetched.
fn may_be_fetched(token: &str, options: &TokenOptions) -> bool {
    token::parts(token, options).is_ok_and(|parts| {
        is_public(parts.algorithm) && options.algorithms.contains(&parts.algorithm)
    })
}

fn is_public(algorithm: super::Algorithm) -> bool {
    algorithm.family() != jsonwebtoken::AlgorithmFamily::Hmac
}

impl Setup {
    fn new(
        options: AuthOptions,
        fetch: Option<&Arc<dyn Fetch>>,
        before: Option<&Arc<Jwks>>,
    ) -> Result<Self, AuthOptionsError> {
        let token = &options.token;
        let is_demanded = matches!(options.mode, Mode::Required | Mode::FirstMessage);
        if is_demanded && !token.has_keys() && options.session_url.is_none() {
            return Err(AuthOptionsError::NoAuthenticator);
        }
        if options.mode == Mode::FirstMessage && !token.has_keys() {
            return Err(AuthOptionsError::NoTokenKeys);
        }
        if token.keys.len() > KEYS_MAX {
            return Err(AuthOptionsError::TooManyKeys);
        }
        for (name, url) in [
            ("session_url", &options.session_url),
            ("jwks_url", &token.jwks_url),
        ] {
            let Some(url) = url else { continue };
            if !url.starts_with("http://") && !url.starts_with("https://") {
                return Err(AuthOptionsError::Url(name));
            }
            if fetch.is_none() {
                return Err(AuthOptionsError::NoFetch(name));
            }
        }
        let keys = token.keys.iter().enumerate().map(|(place, key)| {
            Key::new(key, &token.algorithms).map_err(|why| AuthOptionsError::Key { place, why })
        });
        Ok(Self {
            keys: keys.collect::<Result<_, _>>()?,
            jwks: jwks(token, fetch, before)?,
            tokens: Cache::new(CACHED_TOKENS),
            options: Arc::new(options),
        })
    }
}

/// The set of keys to fetch: the one from before, if it is the same.
fn jwks(
    options: &TokenOptions,
    fetch: Option<&Arc<dyn Fetch>>,
    before: Option<&Arc<Jwks>>,
) -> Result<Option<Arc<Jwks>>, AuthOptionsError> {
    let (Some(url), Some(fetch)) = (&options.jwks_url, fetch) else {
        return Ok(None);
    };
    if !options
        .algorithms
        .iter()
        .any(|algorithm| is_public(*algorithm))
    {
        return Err(AuthOptionsError::JwksAlgorithms);
    }
    let (algorithms, timeout) = (&options.algorithms, options.jwks_timeout);
    Ok(Some(match before {
        Some(same) if same.is_for(url, algorithms, timeout) => same.clone(),
        _ => Arc::new(Jwks::new(url, algorithms, timeout, fetch.clone())),
    }))
}

#[cfg(test)]
mod tests {
    use super::super::{KeyOptions, Material};
    use super::*;

    /// Whoever had begun to verify when the options changed put the token back among those that were
    /// known, and it stayed good by options that no longer held.
    #[test]
    fn what_was_good_by_the_options_before_is_not_known_by_those_of_now() {
        let key = KeyOptions {
            id: None,
            algorithms: Vec::new(),
            material: Material::Secret(vec![7; 32]),
        };
        let mut options = AuthOptions::default();
        options.token.keys = vec![key];
        let auth = Authenticator::new(options.clone(), None).unwrap();
        let signer = jsonwebtoken::EncodingKey::from_secret(&[7; 32]);
        let claims = serde_json::json!({"sub": "ann", "exp": 1000});
        let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &signer);
        let token = token.unwrap();
        let before = auth.0.keys();
        options.token.audience = vec!["chat".into()];
        auth.reload(options).unwrap();
        assert!(auth.0.verify_now(&token, None, &before, 0).is_ok());
        let now = auth.verify(&token, 0).unwrap_err();
        assert_eq!(now, AuthError::WrongAudience);
    }
}
