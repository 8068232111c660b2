//! `campanile serve`: runs the server until it is told to stop.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use campanile::Server;
use campanile::config::{self, Config, OnUserLimit, Origin, SlowPolicy};
use campanile::realtime::Realtime;
use campanile::shard::{self, Compression, Options};
use campanile::store::{OpenError, Store, StoreOptions, StoreThread, Synchronous};

use super::realtime_options::realtime_options;

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

fn serve(config: &Config, origin: &Origin) -> Result<(), Box<dyn Error>> {
    let realtime = Arc::new(realtime_options(config));
    let (store, store_thread) = open_store(config)?.unzip();
    let new_realtime = move |_shard| match &store {
        Some(store) => Realtime::with_store(Arc::clone(&realtime), store.clone()),
        None => Realtime::new(Arc::clone(&realtime)),
    };
    let mut server = Server::new(new_realtime)
        .options(core_options(config))
        .shards(config.server.shards)
        .sockets_per_shard_max(config.server.max_connections_per_shard)
        .drain(config.shutdown.drain);
    for address in &config.server.listen {
        server = server.listen(address);
    }
    if *origin == Origin::Development {
        server = server.router(super::chat_page::router());
    }
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
    // Only now: until here the shards had something to store.
    drop(store_thread);
    Ok(())
}

/// Opens the store if there are rooms to be kept in it.
fn open_store(config: &Config) -> Result<Option<(Store, StoreThread)>, OpenError> {
    if !config.namespace.iter().any(|namespace| namespace.persist) {
        return Ok(None);
    }
    let options = StoreOptions {
        synchronous: match config.store.synchronous {
            config::Synchronous::Full => Synchronous::Full,
            config::Synchronous::Normal => Synchronous::Normal,
        },
        queue_max: config.store.max_queued_requests,
        queue_bytes_max: config.store.queue_bytes,
        ..StoreOptions::new(&config.store.path)
    };
    Store::open(&options).map(Some)
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
