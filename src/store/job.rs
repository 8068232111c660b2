//! A request on its way: its place in the queue, its work, its reply.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::error::{StoreBusy, StoreError};
use super::stats::Shared;
use super::tables::Tables;

/// What a request costs in the queue beside its texts, bytes: a rough figure for boxes and channels.
const REQUEST_BYTES: usize = 256;

/// The answer of the store, some time later.
///
/// Ready once the request is committed, so that a crash cannot undo what it says. Dropping it does
/// not take the request back.
#[derive(Debug)]
#[must_use = "a request may fail after it was queued"]
pub struct Reply<T>(oneshot::Receiver<Result<T, StoreError>>);

impl<T> Reply<T> {
    /// Blocks the thread until the answer is there.
    ///
    /// Errors: as the request's.
    ///
    /// Panics: on a thread that runs asynchronous tasks. Await the reply there.
    pub fn wait(self) -> Result<T, StoreError> {
        self.0.blocking_recv().unwrap_or(Err(StoreError::Closed))
    }
}

impl<T> Future for Reply<T> {
    type Output = Result<T, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = Pin::new(&mut self.0).poll(context);
        answer.map(|answer| answer.unwrap_or(Err(StoreError::Closed)))
    }
}

/// A place in the queue, free again when it is dropped: after the answer, so that the bytes of the
/// group under way count, too.
#[derive(Debug)]
pub(super) struct Place {
    shared: Arc<Shared>,
    bytes: usize,
}

impl Place {
    /// Takes a place for a request with so many bytes of text, or counts a refusal.
    pub(super) fn take(shared: &Arc<Shared>, text_bytes: usize) -> Result<Self, StoreBusy> {
        let bytes = text_bytes.saturating_add(REQUEST_BYTES);
        if !shared.queue(bytes) {
            return Err(StoreBusy);
        }
        let shared = Arc::clone(shared);
        Ok(Self { shared, bytes })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.unqueue(self.bytes);
    }
}

/// Whether a request changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Changes nothing, so it can be asked again if the group around it fails.
    Read,
    /// Changes something.
    Write,
}

/// A request of any type, as the thread sees it.
pub(super) trait Work: Send {
    fn kind(&self) -> Kind;
    /// Does the work and keeps the outcome. May be called again if the group was rolled back.
    ///
    /// Errors: the work's own, a copy of which is kept as the outcome.
    fn run(&mut self, tables: &mut Tables) -> Result<(), StoreError>;
    /// Replaces the outcome: the group has failed.
    fn fail(&mut self, error: StoreError);
    /// Sends the outcome to who asked.
    fn answer(self: Box<Self>);
}

/// The work of one request, the outcome of it, and who waits for that.
struct Job<T, F> {
    kind: Kind,
    work: F,
    outcome: Result<T, StoreError>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

/// A request made of `work`, and the reply to it.
pub(super) fn job<T, F>(kind: Kind, work: F) -> (Box<dyn Work>, Reply<T>)
where
    T: Send + 'static,
    F: FnMut(&mut Tables) -> Result<T, StoreError> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    let job = Job {
        kind,
        work,
        outcome: Err(StoreError::Closed),
        reply,
    };
    (Box::new(job), Reply(answer))
}

impl<T, F> Work for Job<T, F>
where
    T: Send,
    F: FnMut(&mut Tables) -> Result<T, StoreError> + Send,
{
    fn kind(&self) -> Kind {
        self.kind
    }

    fn run(&mut self, tables: &mut Tables) -> Result<(), StoreError> {
        self.outcome = (self.work)(tables);
        match &self.outcome {
            Ok(_) => Ok(()),
            Err(error) => Err(error.clone()),
        }
    }

    fn fail(&mut self, error: StoreError) {
        self.outcome = Err(error);
    }

    fn answer(self: Box<Self>) {
        // Whoever dropped the reply does not want to know.
        let _ = self.reply.send(self.outcome);
    }
}
