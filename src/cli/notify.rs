//! What systemd is told: `sd_notify(3)`. Without `NOTIFY_SOCKET` nothing is sent.

use std::time::Duration;

use campanile::realtime::Realtime;
use campanile::server::ServerHandle;
use sd_notify::NotifyState;

/// The server listens, or goes on after a reload.
pub(crate) fn ready() {
    send(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// The configuration is being loaded again. [`ready`] follows.
pub(crate) fn reloading() {
    // Type=notify-reload wants the time with it: what was sent before is then not taken for an answer.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[
            NotifyState::Reloading,
            now,
            NotifyState::Status("reloading"),
        ]),
        Err(error) => tracing::warn!(%error, "systemd cannot be told of a reload"),
    }
}

/// The server takes leave of its clients.
pub(crate) fn stopping() {
    send(&[
        NotifyState::Stopping,
        NotifyState::Status("taking leave of clients"),
    ]);
}

/// Tells systemd twice in each of its watchdog's periods that the server lives, but only if every shard
/// has answered since. Returns at once if no watchdog is set.
pub(crate) async fn watchdog(handle: ServerHandle<Realtime>) {
    let Some(period) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut ticks = tokio::time::interval(period / 2);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match tokio::time::timeout(period, every_shard_answers(&handle)).await {
            Ok(true) => send(&[NotifyState::Watchdog]),
            // A full queue: asked again soon.
            Ok(false) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(_) => tracing::error!("a shard does not answer: systemd's watchdog is not told"),
        }
    }
}

async fn every_shard_answers(handle: &ServerHandle<Realtime>) -> bool {
    let shards = (0..handle.shard_count()).map(campanile::id::ShardId);
    let answers = shards.map(|shard| handle.ask(shard, |_, _| ()));
    let answers = futures_util::future::join_all(answers).await;
    answers.into_iter().all(|answer| answer == Ok(Some(())))
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use campanile::Server;
    use campanile::id::ShardId;
    use campanile::realtime::RealtimeOptions;

    use super::*;

    #[test]
    fn systemd_is_told_nothing_while_a_shard_hangs() {
        let options = Arc::new(RealtimeOptions::default());
        let server = Server::new(move |_| Realtime::new(Arc::clone(&options)))
            .shards(2)
            .listen("127.0.0.1:0");
        let running = server.start().unwrap();
        let handle = running.handle();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            assert!(every_shard_answers(&handle).await);
            let (free, held) = mpsc::channel::<()>();
            // Until the sender is dropped.
            let hangs = handle.ask(ShardId(1), move |_, _| held.recv().is_err());
            let asked = async {
                let answered = every_shard_answers(&handle);
                let answered = tokio::time::timeout(Duration::from_millis(200), answered).await;
                drop(free);
                answered
            };
            let (hung, answered) = tokio::join!(hangs, asked);
            assert_eq!(hung, Ok(Some(true)));
            assert!(answered.is_err());
            assert!(every_shard_answers(&handle).await);
        });
        handle.shutdown();
        running.wait();
    }
}
