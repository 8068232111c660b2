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

/// Makes of a configuration what a part of the process beside the shards needs of it, and gives back what
/// puts that in force, which cannot fail. The error says what is wrong; nothing has changed then.
pub(crate) type Part = Box<dyn Fn(&Config) -> Result<PutInForce, String> + Send + Sync>;

/// The second half of a [`Part`].
pub(crate) type PutInForce = Box<dyn FnOnce() + Send>;

/// What it takes to load a configuration again, and the one that is in force.
pub(crate) struct Reloader {
    load: Load,
    current: Config,
    handle: ServerHandle<Realtime>,
    has_store: bool,
    parts: Vec<Part>,
}

impl Reloader {
    /// For a server that was started with `current`; `has_store`: its store is open. `parts` are all
    /// made of each configuration that was loaded, before any of them or a shard has it.
    pub(crate) fn new(
        load: Load,
        current: Config,
        handle: ServerHandle<Realtime>,
        has_store: bool,
        parts: Vec<Part>,
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
            Ok((reloaded, parts)) => self.put_in_force(reloaded, parts).await,
        }
        notify::ready();
    }

    /// All that can fail, before anything changes.
    fn checked(&self) -> Result<(Reloaded, Vec<PutInForce>), Vec<Problem>> {
        let reloaded = self.current.reload((self.load)()?)?;
        let persists = |namespace: &campanile::config::Namespace| namespace.persist;
        if !self.has_store && reloaded.config.namespace.iter().any(persists) {
            let message =
                "the first namespace that persists needs a restart, which opens the store";
            return Err(vec![problem("namespace", message)]);
        }
        // Also without a change: files that it names may have changed.
        let (mut parts, mut problems) = (Vec::new(), Vec::new());
        for part in &self.parts {
            match part(&reloaded.config) {
                Ok(part) => parts.push(part),
                Err(message) => problems.push(problem("", message)),
            }
        }
        if problems.is_empty() {
            Ok((reloaded, parts))
        } else {
            Err(problems)
        }
    }

    async fn put_in_force(&mut self, reloaded: Reloaded, parts: Vec<PutInForce>) {
        let Reloaded {
            config,
            changed,
            waiting,
        } = reloaded;
        for warning in config.warnings() {
            tracing::warn!("{warning}");
        }
        for put_in_force in parts {
            put_in_force();
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

fn problem(key: &str, message: impl Into<String>) -> Problem {
    Problem {
        source: "reload".into(),
        line: None,
        key: key.into(),
        message: message.into(),
    }
}
