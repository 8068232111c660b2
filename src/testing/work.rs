//! Where the work runs that handlers spawn.

use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::id::ShardId;
use crate::realtime::Realtime;
use crate::shard::Mail;

/// Longest wait, in real time, for work that waits for I/O.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// How often work is let on without any of it ending, until it is taken to wait for something.
const ROUNDS_IDLE: usize = 16;

/// An answer, and the shard that it is for.
pub(super) type Answer = (ShardId, Mail<Realtime>);

/// A tokio runtime on the test's own thread, whose clock stands still.
#[derive(Debug)]
pub(super) struct Workbench {
    // Before the runtime, so that it is dropped first.
    tasks: JoinSet<Answer>,
    runtime: Runtime,
}

impl Workbench {
    pub(super) fn new() -> Self {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build();
        Self {
            tasks: JoinSet::new(),
            runtime: runtime.expect("the system has a file descriptor left for a runtime"),
        }
    }

    pub(super) fn spawn(
        &mut self,
        from: ShardId,
        work: Pin<Box<dyn Future<Output = Mail<Realtime>> + Send>>,
    ) {
        let work = async move { (from, work.await) };
        self.tasks.spawn_on(work, self.runtime.handle());
    }

    /// Whether work is under way.
    pub(super) fn is_busy(&self) -> bool {
        !self.tasks.is_empty()
    }

    /// Lets all work on until it waits; what has ended, in the order of its end.
    pub(super) fn poll(&mut self) -> Vec<Answer> {
        let tasks = &mut self.tasks;
        self.runtime.block_on(async {
            let mut answers = Vec::new();
            let mut idle = 0;
            while !tasks.is_empty() && idle < ROUNDS_IDLE {
                tokio::task::yield_now().await;
                idle += 1;
                while let Some(ended) = tasks.try_join_next() {
                    idle = 0;
                    // Work of the core's that panicked has no answer, here as on the service thread.
                    answers.extend(ended.ok());
                }
            }
            answers
        })
    }

    /// Waits in real time until some work ends. `None`: it ended without an answer.
    ///
    /// Errors: none did in time.
    pub(super) fn wait(&mut self) -> Result<Option<Answer>, StillWaiting> {
        let tasks = &mut self.tasks;
        self.runtime.block_on(async {
            // A real clock, as the runtime's stands still. While a blocking task is under way tokio
            // does not move its clock to the next timer of its own accord, so that a timeout around
            // I/O does not fire at once.
            let (done, is_done) = mpsc::channel::<()>();
            let limit = tokio::task::spawn_blocking(move || is_done.recv_timeout(WAIT_MAX));
            let ended = tokio::select! {
                biased;
                ended = tasks.join_next() => Ok(ended.and_then(Result::ok)),
                _ = limit => Err(StillWaiting),
            };
            drop(done);
            ended
        })
    }

    /// Moves the runtime's clock on.
    pub(super) fn advance(&mut self, elapsed: Duration) {
        self.runtime.block_on(tokio::time::advance(elapsed));
    }
}

/// Work has not ended in [`WAIT_MAX`].
#[derive(Debug)]
pub(super) struct StillWaiting;
