//! One sampler for all viewers, which runs only while somebody watches.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::snapshot::Sampler;

/// Time between two snapshots.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

/// Where viewers get snapshots. Who is slow sees the newest, and not those between.
#[derive(Debug)]
pub(super) struct Feed {
    newest: watch::Sender<Utf8Bytes>,
    /// The sampler, while it does not run.
    idle: Mutex<Option<Sampler>>,
}

impl Feed {
    pub(super) fn new(sampler: Sampler) -> Self {
        Self {
            newest: watch::Sender::new(Utf8Bytes::default()),
            idle: Mutex::new(Some(sampler)),
        }
    }

    /// Snapshots from now on. The first comes at once: a new one, or the one that others saw last.
    ///
    /// Panics outside a tokio runtime.
    pub(super) fn watch(self: &Arc<Self>) -> watch::Receiver<Utf8Bytes> {
        let mut newest = self.newest.subscribe();
        if let Some(sampler) = self.lock().take() {
            tokio::spawn(Arc::clone(self).run(sampler));
        }
        if !newest.borrow_and_update().is_empty() {
            newest.mark_changed();
        }
        newest
    }

    async fn run(self: Arc<Self>, mut sampler: Sampler) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            {
                // Under the lock: who comes now either is counted here or finds the sampler idle.
                let mut idle = self.lock();
                if self.newest.receiver_count() == 0 {
                    // Old numbers are nothing to greet the next viewer with.
                    self.newest.send_replace(Utf8Bytes::default());
                    *idle = Some(sampler);
                    return;
                }
            }
            let snapshot = sampler.take(self.newest.receiver_count()).await;
            self.newest.send_replace(snapshot.into());
        }
    }

    /// Whether the sampler rests.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.lock().is_some()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Sampler>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
