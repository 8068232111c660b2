//! `campanile serve`: runs the server until it is told to stop.

use std::process::ExitCode;
use std::sync::Arc;

use campanile::api::pairing::{OpenPairingsError, PairingBook};
use campanile::api::{self, ApiOptions, State};
use campanile::auth::Authenticator;
use campanile::config::{AuthMode, Config, OnUserLimit, Origin, SlowPolicy};
use campanile::pairing::PairingOptions;
use campanile::realtime::Realtime;
use campanile::shard::{self, Compression, Options};
use campanile::store::{OpenError, Store};
use campanile::{Server, StartError};
use thiserror::Error;

use super::realtime_options::{realtime_options, store_options};

/// Why the server does not run.
#[derive(Debug, Error)]
enum ServeError {
    #[error("{0}")]
    Server(#[from] StartError),
    #[error("{0} (store.path)")]
    Store(#[from] OpenError),
    #[error("{0} (store.path)")]
    Pairings(#[from] OpenPairingsError),
}

/// Runs the server. Logging is set up and the configuration has been announced.
pub(crate) fn run(config: &Config, origin: &Origin) -> ExitCode {
    match serve(config, origin) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("the server cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(config: &Config, origin: &Origin) -> Result<(), ServeError> {
    let realtime = Arc::new(realtime_options(config));
    let (store, store_thread) = match store_options(config) {
        Some(options) => {
            let (store, thread) = Store::open(&options)?;
            tracing::info!("store: {}", options.directory.display());
            (Some(store), Some(thread))
        }
        None => (None, None),
    };
    let of_shards = store.clone();
    let application = move |_shard| match &of_shards {
        Some(store) => Realtime::with_store(Arc::clone(&realtime), store.clone()),
        None => Realtime::new(Arc::clone(&realtime)),
    };
    let mut server = Server::new(application)
        .options(core_options(config))
        .shards(config.server.shards)
        .sockets_per_shard_max(config.server.max_connections_per_shard)
        .drain(config.shutdown.drain);
    for address in &config.server.listen {
        server = server.listen(address);
    }
    let is_development = *origin == Origin::Development;
    let book = PairingBook::open(PairingOptions::default(), store.clone())?;
    let is_trusting = config.auth.mode == AuthMode::Trust;
    server = server.router_with(move |handle| {
        let options = ApiOptions {
            development: is_development,
            ..ApiOptions::default()
        };
        let mut state = State::new(handle.clone(), options);
        if is_trusting {
            state.auth = Arc::new(Authenticator::trusting());
        }
        state.pairing = Some(book.serve(handle));
        let router = api::router(state);
        match is_development {
            true => router.merge(super::chat_page::router()),
            false => router,
        }
    });
    let running = server.start()?;
    running.stop_on_signals();
    for address in running.addresses() {
        for route in &config.route {
            tracing::info!("listening on ws://{address}{}", route.path);
        }
        if *origin == Origin::Development {
            tracing::info!("chat page: http://{address}/");
        }
    }
    running.wait();
    // After the shards: what they have queued is still written.
    drop(store_thread);
    if let Some(store) = store {
        tracing::info!("the store has ended: {:?}", store.stats());
    }
    Ok(())
}

fn core_options(config: &Config) -> Options {
    let (heartbeat, limits) = (&config.heartbeat, &config.limits);
    Options {
        message_bytes_max: config.largest_message_size(),
        handshake_timeout: limits.handshake_timeout,
        ping_period: heartbeat.ping_period,
        pong_wait: heartbeat.pong_wait,
        write_wait: heartbeat.write_wait,
        idle_timeout: heartbeat.idle_timeout,
        connections_max: limits.max_connections,
        connections_per_user_max: u32::try_from(limits.max_connections_per_user)
            .expect("the configuration allows 2^24 at most"),
        on_user_limit: match limits.on_user_limit {
            OnUserLimit::Reject => shard::OnUserLimit::Reject,
            OnUserLimit::EvictOldest => shard::OnUserLimit::EvictOldest,
        },
        queue_bytes_max: limits.queue_bytes,
        topic_window_bytes: limits.topic_window_bytes as u64,
        slow_policy: match config.messaging.slow_policy {
            SlowPolicy::Gap => shard::SlowPolicy::Gap,
            SlowPolicy::Latest => shard::SlowPolicy::Latest,
            SlowPolicy::Disconnect => shard::SlowPolicy::Disconnect,
        },
        compression: config.compression.enabled.then_some(Compression {
            bytes_min: config.compression.min_size,
            level: config.compression.level,
        }),
        ..Options::default()
    }
}
