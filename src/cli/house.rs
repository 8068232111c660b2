//! What stands around the realtime application, as the configuration has it: the gate, the HTTP API, TLS,
//! pairing, the memory budget; and what of it is loaded again at SIGHUP.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use axum::Router;
use campanile::api::dashboard::DashboardOptions;
use campanile::api::pairing::{OpenPairingsError, PairingBook};
use campanile::api::revocations::{self, RestoreError};
use campanile::api::{self, ApiOptions, State};
use campanile::auth::keys::{ServerKeys, ServerKeysError};
use campanile::auth::{
    AuthOptions, AuthOptionsError, Authenticator, Fetch, Gate, GateError, PreparedGate,
};
use campanile::config::{self, Config, Problem, ProxyProtocol};
use campanile::realtime::Realtime;
use campanile::server::{Listen, MemoryOptions, MemoryUse};
use campanile::store::Store;
use campanile::tls::{Acceptor, CertificateFiles, TlsError, TlsOptions, TlsVersion};
use campanile::{HttpFetch, NoHttpClient, ServerHandle};
use thiserror::Error;

use super::auth_options::{admin_keys, auth_options, gate_options, server_keys};
use super::pairing_options::pairing_options;
use super::reload::Part;

/// Why the house cannot be built.
#[derive(Debug, Error)]
pub(super) enum HouseError {
    #[error("{0}")]
    File(String),
    #[error("{0} (auth)")]
    Auth(#[from] AuthOptionsError),
    #[error("{0} (origin.allowed or server.trusted_proxies)")]
    Gate(#[from] GateError),
    #[error("{0} (api.key)")]
    Keys(#[from] ServerKeysError),
    #[error("{0} (tls)")]
    Tls(#[from] TlsError),
    #[error("pairings cannot be opened: {0}")]
    Pairings(#[from] OpenPairingsError),
    #[error("{0} (store.path)")]
    Revocations(#[from] RestoreError),
    #[error("auth.jwt.jwks_url or auth.session_url: {0}")]
    Fetch(#[from] NoHttpClient),
}

/// Whether the gate, the keys of the API and the certificates can be made of a configuration; nothing is
/// kept of them. Errors: all that fails, each named.
pub(super) fn try_out(config: &Config) -> Result<(), Vec<Problem>> {
    let gate = || -> Result<(), HouseError> {
        let auth = auth_options(config).map_err(HouseError::File)?;
        let fetch = fetch(&auth)?;
        Gate::new(
            Authenticator::new(auth, Some(fetch))?,
            &gate_options(config),
        )?;
        Ok(())
    };
    let tls = || tls_options(config).map_or(Ok(()), |tls| tls.check());
    let keys = server_keys(config).and_then(|_| admin_keys(config));
    let tried = [
        gate(),
        keys.map(drop).map_err(HouseError::from),
        tls().map_err(HouseError::from),
    ];
    let problem = |error: HouseError| Problem {
        source: "start".into(),
        line: None,
        key: String::new(),
        message: error.to_string(),
    };
    let failed: Vec<_> = tried
        .into_iter()
        .filter_map(Result::err)
        .map(problem)
        .collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed)
    }
}

/// Who asks other servers: a server that has none to ask starts also where that cannot be done.
///
/// Errors: the options name a server to ask, and there is no client for it.
fn fetch(auth: &AuthOptions) -> Result<Arc<dyn Fetch>, NoHttpClient> {
    let asks = auth.token.jwks_url.is_some() || auth.session_url.is_some();
    Ok(Arc::new(if asks {
        HttpFetch::new()?
    } else {
        HttpFetch::at_need()
    }))
}

/// What stands around the realtime application.
pub(super) struct House {
    pub(super) gate: Arc<Gate>,
    keys: Arc<ArcSwap<ServerKeys>>,
    /// Those of the admin listener; `None`: it lets everybody in who reaches it.
    admin_keys: Option<Arc<ArcSwap<ServerKeys>>>,
    admin_token: Option<String>,
    acceptor: Option<Arc<Acceptor>>,
    certificates: Vec<CertificateFiles>,
    /// Taken by the first router that is made.
    pairings: Arc<Mutex<Option<PairingBook>>>,
    store: Option<Store>,
    options: ApiOptions,
    is_development: bool,
    /// What the routers work with, once there is one.
    state: Arc<OnceLock<State>>,
}

impl House {
    /// Builds it. Errors: a file that cannot be read, or options that do not fit each other.
    pub(super) fn build(
        config: &Config,
        is_development: bool,
        store: Option<Store>,
    ) -> Result<Self, HouseError> {
        let auth = auth_options(config).map_err(HouseError::File)?;
        let fetch = fetch(&auth)?;
        let authenticator = Authenticator::new(auth, Some(fetch))?;
        let gate = Gate::new(authenticator, &gate_options(config))?;
        if let Some(store) = &store {
            // Before anybody can come in.
            let count = revocations::restore(store, gate.authenticator())?;
            tracing::info!("revocations in force: {count}");
        }
        let swap = |keys| Arc::new(ArcSwap::from_pointee(keys));
        let tls = tls_options(config);
        let acceptor = tls.as_ref().map(Acceptor::from_options).transpose()?;
        let pairings = PairingBook::open(pairing_options(config), store.clone())?;
        let token = &config.admin.token;
        Ok(Self {
            gate: Arc::new(gate),
            keys: swap(server_keys(config)?),
            admin_keys: admin_keys(config)?.map(swap),
            admin_token: (!token.is_empty()).then(|| token.expose().to_owned()),
            acceptor: acceptor.map(Arc::new),
            certificates: tls.map_or_else(Vec::new, |tls| tls.certificates),
            pairings: Arc::new(Mutex::new(Some(pairings))),
            store,
            options: api_options(config, is_development),
            is_development,
            state: Arc::default(),
        })
    }

    /// Every address to listen on, and what is spoken there: first those without TLS.
    pub(super) fn listeners(&self, config: &Config) -> Vec<(std::net::SocketAddr, Listen)> {
        let proxies = match config.server.proxy_protocol {
            ProxyProtocol::Off => None,
            ProxyProtocol::V1V2 => Some(config.server.trusted_proxies.clone().into()),
        };
        let listen = |tls: &Option<Arc<Acceptor>>| Listen {
            tls: tls.clone(),
            proxies: proxies.clone(),
        };
        let plain = config.server.listen.iter().map(|a| (*a, listen(&None)));
        let tls = config
            .tls
            .listen
            .iter()
            .map(|a| (*a, listen(&self.acceptor)));
        plain.chain(tls).collect()
    }

    /// The routers of the public listeners and of the admin listener, which share what they count and
    /// remember.
    pub(super) fn routers(
        &self,
    ) -> (
        impl FnOnce(ServerHandle<Realtime>) -> Router + Send + use<>,
        impl FnOnce(ServerHandle<Realtime>) -> Router + Send + use<>,
    ) {
        let shared = self.state.clone();
        let (gate, keys, store) = (self.gate.clone(), self.keys.clone(), self.store.clone());
        let (pairings, options) = (self.pairings.clone(), self.options.clone());
        let state = move |handle: ServerHandle<Realtime>| {
            let build = || {
                let mut state = State::new(handle.clone(), options.clone());
                state.gate = gate.clone();
                state.keys = keys.clone();
                state.store = store.clone();
                let book = pairings
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take();
                state.pairing = book.map(|book| book.serve(handle));
                state
            };
            shared.get_or_init(build).clone()
        };
        let is_development = self.is_development;
        let of_public = state.clone();
        let public = move |handle| {
            let router = api::router(of_public(handle));
            match is_development {
                true => router.merge(super::chat_page::router()),
                false => router,
            }
        };
        let (keys, token) = (self.admin_keys.clone(), self.admin_token.clone());
        let mut options = self.options.clone();
        // Whoever reaches a listener on loopback is the operator, or the operator has set a token.
        options.development = token.is_none();
        let admin = move |handle: ServerHandle<Realtime>| {
            let mut state = state(handle.clone());
            state.options = Arc::new(options);
            if let Some(keys) = keys {
                state.keys = keys;
            }
            let dashboard = DashboardOptions {
                server: handle,
                store: state.store.clone(),
                token,
            };
            api::admin_router(state, dashboard)
        };
        (public, admin)
    }

    /// What is brought up to date when the configuration was loaded again.
    pub(super) fn parts(&self) -> Vec<Part> {
        let of_gate = self.gate.clone();
        let gate: Part = Box::new(move |config| {
            let auth = of_gate.authenticator().prepare(auth_options(config)?);
            let auth = auth.map_err(|error| HouseError::from(error).to_string())?;
            let rules = PreparedGate::new(&gate_options(config));
            let rules = rules.map_err(|error| HouseError::from(error).to_string())?;
            let gate = of_gate.clone();
            Ok(Box::new(move || {
                gate.authenticator().take(auth);
                gate.take(rules);
            }))
        });
        let (public, admin) = (self.keys.clone(), self.admin_keys.clone());
        let keys: Part = Box::new(move |config| {
            let failed = |error| HouseError::from(error).to_string();
            let keys = Arc::new(server_keys(config).map_err(failed)?);
            let of_admin = admin_keys(config).map_err(failed)?;
            let (public, admin) = (public.clone(), admin.clone());
            Ok(Box::new(move || {
                public.store(keys);
                // Whether there is a token at all is settled at the start.
                if let (Some(admin), Some(keys)) = (admin, of_admin) {
                    admin.store(Arc::new(keys));
                }
            }))
        });
        let state = self.state.clone();
        let rates: Part = Box::new(move |config| {
            let (state, per_second) = (state.clone(), config.api.requests_per_second);
            Ok(Box::new(move || {
                if let Some(state) = state.get() {
                    state.limit_requests(per_second);
                }
            }))
        });
        let mut parts = vec![gate, keys, rates];
        if let Some(acceptor) = self.acceptor.clone() {
            parts.push(Box::new(move |_| {
                let loaded = acceptor.prepare();
                let loaded = loaded.map_err(|error| HouseError::from(error).to_string())?;
                let acceptor = acceptor.clone();
                Ok(Box::new(move || acceptor.take(loaded)))
            }));
        }
        parts
    }

    /// Loads certificates again when their files change. `None`: nobody wants it.
    pub(super) fn watch_certificates(
        &self,
        config: &Config,
    ) -> Option<impl Future<Output = ()> + Send + use<>> {
        let acceptor = self.acceptor.clone()?;
        let (period, files) = (config.tls.reload_interval, self.certificates.clone());
        (!period.is_zero()).then(|| watch(acceptor, files, period))
    }
}

async fn watch(acceptor: Arc<Acceptor>, files: Vec<CertificateFiles>, period: Duration) {
    let mut seen = modified(&files);
    loop {
        tokio::time::sleep(period).await;
        let now = modified(&files);
        if now == seen {
            continue;
        }
        match acceptor.reload() {
            Ok(()) => seen = now,
            // Perhaps one of the two files is still to come: it is tried again.
            Err(error) => tracing::error!("certificates were not loaded again: {error}"),
        }
    }
}

fn modified(files: &[CertificateFiles]) -> Vec<Option<SystemTime>> {
    let paths = files.iter().flat_map(|pair| [&pair.chain, &pair.key]);
    let time = |path| {
        std::fs::metadata(path)
            .and_then(|data| data.modified())
            .ok()
    };
    paths.map(time).collect()
}

/// The HTTP API. `development`: who shows no credentials on loopback may do all, unless credentials are
/// demanded of everybody.
fn api_options(config: &Config, development: bool) -> ApiOptions {
    let api = &config.api;
    // Who sets up authentication by variables alone means it for the API, too.
    let is_demanded = matches!(
        config.auth_mode(),
        config::AuthMode::Required | config::AuthMode::FirstMessage
    );
    ApiOptions {
        body_bytes_max: api.max_body_size,
        idempotency_window: api.idempotency_window,
        requests_per_second: api.requests_per_second,
        development: development && !is_demanded,
        ..ApiOptions::default()
    }
}

/// Certificates; `None` if nothing speaks TLS.
fn tls_options(config: &Config) -> Option<TlsOptions> {
    let files = |pair: &config::Certificate| CertificateFiles {
        chain: pair.certificate.clone().into(),
        key: pair.key.clone().into(),
    };
    (!config.tls.listen.is_empty()).then(|| TlsOptions {
        certificates: config.certificate.iter().map(files).collect(),
        min_version: match config.tls.min_version {
            config::TlsVersion::Tls12 => TlsVersion::V1_2,
            config::TlsVersion::Tls13 => TlsVersion::V1_3,
        },
    })
}

pub(super) fn memory_options(config: &Config) -> MemoryOptions {
    let limits = &config.limits;
    MemoryOptions {
        limit: limits.memory_limit as u64,
        soft: f64::from(limits.memory_soft) / 100.0,
        hard: f64::from(limits.memory_hard) / 100.0,
        used: MemoryUse::Measured,
    }
}
