//! The gate: all that decides whether a request comes in, in one place for the shards and the HTTP API.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::http::StatusCode;
use arc_swap::ArcSwap;

use super::addresses::{AddressError, AddressLimits, Addresses, Permit};
use super::authenticator::Authenticator;
use super::origin::{OriginRuleError, OriginRules, Own};
use super::presented::Presented;
use super::proxies::{NetworkError, TrustedProxies};
use crate::http::Refusal;
use crate::time::Now;

/// Microseconds of a second.
const SECOND_US: u64 = 1_000_000;

/// Which requests must name the page that they are from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OriginRequired {
    /// Those whose path names the room, and those with a cookie; others may be programs, which are on
    /// no page.
    #[default]
    Auto,
    /// All of them.
    Always,
    /// None of them, but those with a cookie. An origin that is named must still be an allowed one.
    Never,
}

/// What can be set about the gate besides who is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateOptions {
    /// Allowed origins: see [`OriginRules`].
    pub origins: Vec<String>,
    /// Which requests must name one.
    pub origin_required: OriginRequired,
    /// Addresses and networks of the proxies whose word about clients counts.
    pub trusted_proxies: Vec<String>,
    /// Handshakes a second of the whole process, over time; as many at once. 0: no limit.
    pub handshakes_per_second: u32,
    /// What one address may do.
    pub addresses: AddressLimits,
}

impl Default for GateOptions {
    fn default() -> Self {
        Self {
            origins: vec!["same-origin".into()],
            origin_required: OriginRequired::default(),
            trusted_proxies: Vec::new(),
            handshakes_per_second: 0,
            addresses: AddressLimits::default(),
        }
    }
}

/// Options that the gate cannot take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// An origin that is none.
    #[error(transparent)]
    Origin(#[from] OriginRuleError),
    /// A proxy that is no address.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

/// Who sends a request, as far as its way here tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visitor<'r> {
    /// The client's address: the peer's, or what a trusted proxy says.
    pub address: IpAddr,
    /// `http` or `https`: how the client came, to us or to a trusted proxy.
    pub scheme: &'static str,
    /// The host that the client asked for; empty if it named none.
    pub host: Cow<'r, str>,
}

impl Visitor<'_> {
    /// By which name the request came.
    pub fn own(&self) -> Own<'_> {
        Own {
            scheme: self.scheme,
            host: &self.host,
        }
    }
}

/// Who comes in, from where, and from which pages.
#[derive(Debug)]
pub struct Gate {
    authenticator: Authenticator,
    rules: ArcSwap<Rules>,
    addresses: Arc<Addresses>,
    /// When all handshakes so far would have been due, microseconds of the monotonic clock.
    due_us: AtomicU64,
}

#[derive(Debug)]
struct Rules {
    origins: OriginRules,
    origin_required: OriginRequired,
    proxies: TrustedProxies,
    handshakes_per_second: u32,
}

impl Rules {
    fn new(options: &GateOptions) -> Result<Self, GateError> {
        Ok(Self {
            origins: OriginRules::new(&options.origins)?,
            origin_required: options.origin_required,
            proxies: TrustedProxies::new(&options.trusted_proxies)?,
            handshakes_per_second: options.handshakes_per_second,
        })
    }
}

impl Default for Gate {
    /// Lets everybody in as a guest, from pages of the same origin.
    fn default() -> Self {
        let options = GateOptions::default();
        Self::new(Authenticator::guests(), &options).expect("the defaults are sound")
    }
}

impl Gate {
    /// A gate. Errors: [`GateError`].
    pub fn new(authenticator: Authenticator, options: &GateOptions) -> Result<Self, GateError> {
        Ok(Self {
            authenticator,
            rules: ArcSwap::from_pointee(Rules::new(options)?),
            addresses: Arc::new(Addresses::new(options.addresses)),
            due_us: AtomicU64::new(0),
        })
    }

    /// Believes whoever requests say they are from: for tests and development. See
    /// [`Mode::Trust`](super::Mode::Trust).
    pub fn trusting() -> Self {
        Self {
            authenticator: Authenticator::trusting(),
            ..Self::default()
        }
    }

    /// Takes other options, for those who come from now on.
    ///
    /// Errors: [`GateError`]; then all is as before.
    pub fn set(&self, options: &GateOptions) -> Result<(), GateError> {
        self.rules.store(Arc::new(Rules::new(options)?));
        self.addresses.set_limits(options.addresses);
        Ok(())
    }

    /// Who is believed, and for how long.
    pub fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// The addresses that are counted.
    pub fn addresses(&self) -> &Arc<Addresses> {
        &self.addresses
    }

    /// Whether the word of an address about others counts.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.rules.load().proxies.trusts(peer)
    }

    /// Who sends a request that came from `peer`, by TLS if `is_secure`.
    pub fn visitor<'r>(
        &self,
        peer: SocketAddr,
        is_secure: bool,
        request: &'r impl Presented,
    ) -> Visitor<'r> {
        let client = self.rules.load().proxies.client(peer.ip(), request);
        // A host that stands twice is nobody's: no page is of the same origin then.
        let own_host = || request.header("host").ok().flatten().unwrap_or_default();
        Visitor {
            address: client.address,
            scheme: client
                .scheme
                .unwrap_or(if is_secure { "https" } else { "http" }),
            host: match client.host {
                Some(host) => Cow::Owned(host.into()),
                None => Cow::Borrowed(own_host()),
            },
        }
    }

    /// Counts a handshake of an address in. `None`: nobody counts them.
    ///
    /// Errors: 503 `unavailable` where all together are too many; 429 `rate_limited` with
    /// `Retry-After`, or `connection_limit`.
    pub fn enter(&self, address: IpAddr, now: Now) -> Result<Option<Permit>, Refusal> {
        self.take_handshake(now)?;
        match self.addresses.enter(address, now) {
            Ok(permit) => Ok(permit.is_counted().then_some(permit)),
            Err(error) => Err(too_many(error)),
        }
    }

    /// Takes one of the process's handshakes, by the generic cell rate algorithm with a second's worth at
    /// once.
    fn take_handshake(&self, now: Now) -> Result<(), Refusal> {
        let per_second = self.rules.load().handshakes_per_second;
        if per_second == 0 {
            return Ok(());
        }
        let each_us = SECOND_US / u64::from(per_second);
        let now_us = now.monotonic_ms.saturating_mul(1000);
        let take = |due_us: u64| {
            let due_us = due_us.max(now_us).saturating_add(each_us);
            (due_us <= now_us.saturating_add(SECOND_US)).then_some(due_us)
        };
        let taken = self
            .due_us
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.map(drop).map_err(|_| {
            let error = "too many handshakes at the moment";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", error)
                .header("retry-after", "1")
                .expect("a plain header field")
        })
    }

    /// Checks the page that a request is from. Whether it names one.
    ///
    /// Errors: 403 `forbidden`; 400 for two origins.
    pub fn check_origin(
        &self,
        request: &impl Presented,
        visitor: &Visitor<'_>,
        path_names_room: bool,
    ) -> Result<bool, Refusal> {
        let rules = self.rules.load();
        let is_required = match rules.origin_required {
            OriginRequired::Auto => path_names_room,
            OriginRequired::Always => true,
            OriginRequired::Never => false,
        };
        let origin = request.header("origin")?;
        rules.origins.check(origin, visitor.own(), is_required)?;
        Ok(origin.is_some())
    }

    /// Checks the page that a plain HTTP request is from, which need not name one. Whether it does.
    ///
    /// Errors: 403 `forbidden`; 400 for two origins.
    pub fn check_page(
        &self,
        request: &impl Presented,
        visitor: &Visitor<'_>,
    ) -> Result<bool, Refusal> {
        let origin = request.header("origin")?;
        self.rules
            .load()
            .origins
            .check(origin, visitor.own(), false)?;
        Ok(origin.is_some())
    }

    /// Whether a page of an origin may read what a plain HTTP request is answered, and if so whether it
    /// may ask with its cookies: see [`OriginRules::cors`].
    pub fn cors(&self, origin: &str, visitor: &Visitor<'_>) -> Option<bool> {
        let rules = self.rules.load();
        let allowed = rules.origins.cors(origin, visitor.own())?;
        Some(allowed.allows_credentials)
    }
}

fn too_many(error: AddressError) -> Refusal {
    let (code, retry_after_ms) = match error {
        AddressError::Rate { retry_after_ms } => ("rate_limited", Some(retry_after_ms)),
        AddressError::Connections => ("connection_limit", None),
    };
    let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, code, error.to_string());
    let Some(wait) = retry_after_ms else {
        return refusal;
    };
    let seconds = wait.div_ceil(1000).max(1).to_string();
    refusal
        .detail("retry_after_ms", wait)
        .header("retry-after", &seconds)
        .expect("a number is a plain header field")
}
