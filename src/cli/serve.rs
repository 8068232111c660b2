//! `campanile serve`: runs the server until it is told to stop.

use std::process::ExitCode;
use std::sync::Arc;

use campanile::config::{Config, OnUserLimit, Origin, SlowPolicy};
use campanile::realtime::Realtime;
use campanile::server::Running;
use campanile::shard::{self, Compression, Options};
use campanile::store::{OpenError, Store};
use campanile::{Server, StartError};
use thiserror::Error;

use super::house::{House, HouseError, memory_options};
use super::notify;
use super::realtime_options::{realtime_options, store_options};
use super::reload::{Load, Reloader};

/// Why the server does not run.
#[derive(Debug, Error)]
enum ServeError {
    #[error("{0}")]
    Server(#[from] StartError),
    #[error("{0} (store.path)")]
    Store(#[from] OpenError),
    #[error(transparent)]
    House(#[from] HouseError),
}

/// Runs the server. Logging is set up and the configuration has been announced.
///
/// `load` reads the configuration again at SIGHUP.
pub(crate) fn run(config: &Config, origin: &Origin, load: Load) -> ExitCode {
    match serve(config, origin, load) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("the server cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(config: &Config, origin: &Origin, load: Load) -> Result<(), ServeError> {
    let realtime = Arc::new(realtime_options(config));
    let (store, store_thread) = match store_options(config, origin) {
        Some(options) => {
            let (store, thread) = Store::open(&options)?;
            tracing::info!("store: {}", options.directory.display());
            (Some(store), Some(thread))
        }
        None => (None, None),
    };
    let house = House::build(config, *origin == Origin::Development, store.clone())?;
    let (gate, of_shards) = (Arc::clone(&house.gate), store.clone());
    let application = move |_shard| {
        let realtime = match &of_shards {
            Some(store) => Realtime::with_store(Arc::clone(&realtime), store.clone()),
            None => Realtime::new(Arc::clone(&realtime)),
        };
        realtime.with_gate(Arc::clone(&gate))
    };
    let mut server = Server::new(application)
        .options(core_options(config))
        .shards(config.server.shards)
        .sockets_per_shard_max(config.server.max_connections_per_shard)
        .memory(memory_options(config))
        .drain(config.shutdown.drain);
    for (address, listen) in house.listeners(config) {
        server = server.listen_with(address, listen);
    }
    let (public, admin) = house.routers();
    let server = server
        .router_with(public)
        .admin(&config.server.admin_listen, admin);
    let running = server.start()?;
    running.stop_on_signals_after(notify::stopping);
    let reloader = Reloader::new(
        load,
        config.clone(),
        running.handle(),
        store.is_some(),
        house.parts(),
    );
    let reloader = Arc::new(tokio::sync::Mutex::new(reloader));
    running.on_hangup(move || {
        let reloader = Arc::clone(&reloader);
        async move { reloader.lock().await.reload().await }
    });
    running.spawn(notify::watchdog(running.handle()));
    running.spawn(campanile::keep_keys_fresh(
        house.gate.authenticator().clone(),
    ));
    if let Some(watch) = house.watch_certificates(config) {
        running.spawn(watch);
    }
    announce(config, origin, &running);
    notify::ready();
    running.wait();
    // After the shards: what they have queued is still written.
    drop(store_thread);
    if let Some(store) = store {
        tracing::info!("the store has ended: {:?}", store.stats());
    }
    Ok(())
}

/// Says where the server listens.
fn announce(config: &Config, origin: &Origin, running: &Running<Realtime>) {
    let (plain, tls) = running
        .addresses()
        .split_at(config.server.listen.len().min(running.addresses().len()));
    for (scheme, addresses) in [("ws", plain), ("wss", tls)] {
        for address in addresses {
            for route in &config.route {
                tracing::info!("listening on {scheme}://{address}{}", route.path);
            }
        }
    }
    if *origin == Origin::Development {
        for address in plain {
            tracing::info!("chat page: http://{address}/");
        }
    }
    for address in running.admin_addresses() {
        tracing::info!("dashboard: http://{address}/admin/");
    }
}

pub(super) fn core_options(config: &Config) -> Options {
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
        slow_turn: config.log.slow_turn,
        ..Options::default()
    }
}
