//! What the routes work with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::answers::Answers;
use super::idempotency::Idempotency;
use super::pairing::PairingDesk;
use super::rate::Rates;
use crate::ServerHandle;
use crate::auth::Gate;
use crate::auth::keys::ServerKeys;
use crate::realtime::Realtime;
use crate::store::Store;
use crate::time::Clock;

/// What may be set about the HTTP API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiOptions {
    /// Largest request body, bytes. Larger is 413. Default: 64 KiB.
    pub body_bytes_max: usize,
    /// How long a request body may take to come in. Longer is 408. Default: 10 s.
    pub body_timeout: Duration,
    /// How long the shards may take to answer. Longer is 504. Default: 5 s.
    pub answer_timeout: Duration,
    /// How long the answer to an `Idempotency-Key` is kept. Default: 10 minutes.
    pub idempotency_window: Duration,
    /// Most requests a second of one key, user or address, twice as many at once; 0: no limit, which is
    /// the default. More is 429.
    pub requests_per_second: u32,
    /// Whether who shows no credentials may do all. Only for a listener on loopback in development:
    /// such requests must name a loopback host. Default: no.
    pub development: bool,
}

impl Default for ApiOptions {
    fn default() -> Self {
        Self {
            body_bytes_max: 64 * 1024,
            body_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(5),
            idempotency_window: Duration::from_secs(10 * 60),
            requests_per_second: 0,
            development: false,
        }
    }
}

/// What the routes work with. Clones are cheap, and share what is counted and remembered.
#[derive(Clone)]
pub struct State {
    /// The way to the shards.
    pub server: ServerHandle<Realtime>,
    /// Who users are and which pages may ask. [`new`](State::new): everybody is a guest, and the
    /// server's own pages may.
    pub gate: Arc<Gate>,
    /// The keys of the server API. [`new`](State::new): none.
    pub keys: Arc<ArcSwap<ServerKeys>>,
    /// Where persistent rooms are kept, if there are any, and revocations, which are to be
    /// [restored](super::revocations::restore) first.
    pub store: Option<Store>,
    /// Where players are paired. [`new`](State::new): nowhere, and its routes are not found.
    pub pairing: Option<PairingDesk>,
    /// Limits.
    pub options: Arc<ApiOptions>,
    pub(super) clock: Clock,
    pub(super) idempotency: Arc<Idempotency>,
    pub(super) rates: Arc<Rates>,
    pub(super) answers: Arc<Answers>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("server", &self.server)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl State {
    /// For a server where everybody is a guest; the fields say what else there may be.
    pub fn new(server: ServerHandle<Realtime>, options: ApiOptions) -> Self {
        Self {
            server,
            gate: Arc::default(),
            keys: Arc::new(ArcSwap::default()),
            store: None,
            pairing: None,
            idempotency: Arc::new(Idempotency::new(options.idempotency_window)),
            rates: Arc::new(Rates::new(options.requests_per_second)),
            answers: Arc::default(),
            options: Arc::new(options),
            clock: Clock::start(),
        }
    }

    /// Puts another [`ApiOptions::requests_per_second`] in force, for all clones.
    pub fn limit_requests(&self, per_second: u32) {
        self.rates.set(per_second);
    }
}
