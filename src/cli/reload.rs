//! SIGHUP: the configuration is read again, and what can change does.

use std::sync::Arc;
use std::time::Duration;

use campanile::config::{Config, Problem, Reloaded};
use campanile::realtime::Realtime;
use campanile::server::ServerHandle;

use super::notify;
use super::realtime_options::realtime_options;
use super::serve::core_options;

/// How long to wait before a shard that was busy is asked again.
const BUSY_RETRY: Duration = Duration::from_millis(10);

/// Reads the configuration as the start did.
pub(crate) type Load = Box<dyn Fn() -> Result<Config, Vec<Problem>> + Send + Sync>;

/// Brings a part of the process beside the shards up to date. The error says what is not, and that the
/// old one of it holds.
pub(crate) type Apply = Box<dyn Fn(&Config) -> Result<(), String> + Send + Sync>;

/// What it takes to load a configuration again, and the one that is in force.
pub(crate) struct Reloader {
    load: Load,
    current: Config,
    handle: ServerHandle<Realtime>,
    has_store: bool,
    parts: Vec<Apply>,
}

impl Reloader {
    /// For a server that was started with `current`; `has_store`: its store is open. `parts` are called
    /// with each configuration that was loaded, before the shards have it.
    pub(crate) fn new(
        load: Load,
        current: Config,
        handle: ServerHandle<Realtime>,
        has_store: bool,
        parts: Vec<Apply>,
    ) -> Self {
        Self {
            load,
            current,
            handle,
            has_store,
            parts,
        }
    }

    /// Loads the configuration again. If anything is wrong with it, all of it is logged and the old one
    /// holds.
    pub(crate) async fn reload(&mut self) {
        notify::reloading();
        match self.checked() {
            Err(problems) => {
                for problem in &problems {
                    tracing::error!("{problem}");
                }
                tracing::error!(
                    problems = problems.len(),
                    "the configuration was not loaded again: the old one holds"
                );
            }
            Ok(reloaded) => self.put_in_force(reloaded).await,
        }
        notify::ready();
    }

    fn checked(&self) -> Result<Reloaded, Vec<Problem>> {
        let reloaded = self.current.reload((self.load)()?)?;
        let persists = |namespace: &campanile::config::Namespace| namespace.persist;
        if !self.has_store && reloaded.config.namespace.iter().any(persists) {
            return Err(vec![Problem {
                source: "reload".into(),
                line: None,
                key: "namespace".into(),
                message: "the first namespace that persists needs a restart, which opens the store"
                    .into(),
            }]);
        }
        Ok(reloaded)
    }

    async fn put_in_force(&mut self, reloaded: Reloaded) {
        let Reloaded {
            config,
            changed,
            waiting,
        } = reloaded;
        for warning in config.warnings() {
            tracing::warn!("{warning}");
        }
        // Also without a change: files that it names may have changed.
        for apply in &self.parts {
            if let Err(error) = apply(&config) {
                tracing::error!("not loaded again: {error}");
            }
        }
        let realtime = Arc::new(realtime_options(&config));
        while self
            .handle
            .reconfigure(core_options(&config))
            .await
            .is_err()
        {
            tokio::time::sleep(BUSY_RETRY).await;
        }
        for shard in (0..self.handle.shard_count()).map(campanile::id::ShardId) {
            loop {
                let options = Arc::clone(&realtime);
                let set = self
                    .handle
                    .ask(shard, move |app, _| app.set_options(&options));
                match set.await {
                    Err(_busy) => tokio::time::sleep(BUSY_RETRY).await,
                    Ok(Some(Err(error))) => {
                        tracing::error!(%shard, "rooms were not configured again: {error}");
                        break;
                    }
                    // A shard that is gone is so because the process ends.
                    Ok(Some(Ok(())) | None) => break,
                }
            }
        }
        self.current = config;
        if !waiting.is_empty() {
            tracing::warn!("changed, but needs a restart: {}", waiting.join(", "));
        }
        match changed.as_slice() {
            [] => tracing::info!("configuration loaded again: nothing else has changed"),
            changed => tracing::info!("configuration loaded again: {}", changed.join(", ")),
        }
    }
}
