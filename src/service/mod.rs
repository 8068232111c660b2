//! The service thread: a tokio runtime for everything that is not a WebSocket frame. Plain HTTP
//! requests come here with their socket, and so does work that a shard must not wait for.
#![forbid(unsafe_code)]

mod admin;
mod fetch;
mod http;
mod patient;
mod tls_stream;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use tokio::runtime::{Builder, Handle};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, watch};

pub(crate) use admin::{Admin, listen as listen_admin};
pub use fetch::{HttpFetch, NoHttpClient, keep_keys_fresh};

use crate::id::ShardId;
use crate::ring;
use crate::security::{self, Event, Kind};
use crate::shard::{App, Mail, ServiceRequest};

/// Exit code after a second signal: 128 + SIGINT, as a shell would say.
const EXIT_SECOND_SIGNAL: i32 = 130;
/// How long work waits between two tries to mail its result to a busy shard.
const MAIL_RETRY: Duration = Duration::from_millis(1);
/// Most plain HTTP connections at once; further ones are closed unanswered.
const HTTP_CONNECTIONS_MAX: usize = 4096;
/// How long HTTP requests under way may take once the server has shut down.
const HTTP_DRAIN: Duration = Duration::from_secs(1);

/// What a shard asks, and which shard an answer goes to.
#[derive(Debug)]
pub(crate) struct ServiceMail<A: App> {
    pub(crate) from: ShardId,
    pub(crate) request: ServiceRequest<A>,
}

/// Mails a shard, or gives the mail back because its queue is full.
pub(crate) trait MailShard<A: App>:
    Fn(ShardId, Mail<A>) -> Result<(), Mail<A>> + Clone + Send + Sync + 'static
{
}

impl<A: App, F> MailShard<A> for F where
    F: Fn(ShardId, Mail<A>) -> Result<(), Mail<A>> + Clone + Send + Sync + 'static
{
}

/// The service thread. Ends when it is told to.
#[derive(Debug)]
pub(crate) struct Service {
    thread: JoinHandle<()>,
    runtime: Handle,
    stopping: watch::Sender<bool>,
}

impl Service {
    /// Starts the thread. `routers` is called within its runtime, so that it may spawn what goes on
    /// beside the requests; `mail` mails a shard, or gives the mail back if the shard is busy.
    ///
    /// Errors: no thread, or no runtime on it.
    pub(crate) fn start<A: App>(
        routers: impl FnOnce() -> (Router, Admin),
        mail: impl MailShard<A>,
        requests: mpsc::Receiver<ServiceMail<A>>,
    ) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stopping, stopped) = watch::channel(false);
        let context = runtime.enter();
        let (router, admin) = routers();
        drop(context);
        let thread = std::thread::Builder::new()
            .name("service".into())
            .spawn(move || runtime.block_on(serve(router, admin, mail, requests, stopped)))?;
        Ok(Self {
            thread,
            runtime: handle,
            stopping,
        })
    }

    /// Calls `shut_down` at the first SIGTERM or SIGINT, ends the process at the second.
    pub(crate) fn stop_on_signals(&self, shut_down: impl Fn() + Send + 'static) {
        // Caught from here on, not only when the service thread gets round to it: whoever sees the
        // server listen may end it.
        let runtime = self.runtime.enter();
        let signals = (
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
        );
        drop(runtime);
        let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
            tracing::error!("signals cannot be caught; they end the process at once");
            return;
        };
        self.runtime.spawn(async move {
            for is_first in [true, false] {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                if is_first {
                    tracing::info!(signal = name, "shutting down; a second signal ends at once");
                    shut_down();
                }
            }
            tracing::warn!("second signal: ending at once");
            std::process::exit(EXIT_SECOND_SIGNAL);
        });
    }

    /// Runs `reload` at each SIGHUP, one after the other; signals that come meanwhile are one.
    pub(crate) fn on_hangup<F>(&self, mut reload: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send,
    {
        let runtime = self.runtime.enter();
        let hangup = signal(SignalKind::hangup());
        drop(runtime);
        let Ok(mut hangup) = hangup else {
            tracing::error!("SIGHUP cannot be caught; it ends the process");
            return;
        };
        self.runtime.spawn(async move {
            while hangup.recv().await.is_some() {
                reload().await;
            }
        });
    }

    /// Runs work on the thread, until it is done or the thread ends.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(work);
    }

    /// Ends the thread: HTTP requests under way are answered, no others taken.
    pub(crate) fn stop(self) {
        // An error of either kind says that the thread has ended already.
        let _ = self.stopping.send(true);
        let _ = self.thread.join();
    }
}

async fn serve<A: App>(
    router: Router,
    admin: Admin,
    mail_shard: impl MailShard<A>,
    mut requests: mpsc::Receiver<ServiceMail<A>>,
    mut stopped: watch::Receiver<bool>,
) {
    let admin = tokio::spawn(admin::serve(admin, stopped.clone()));
    let places = Arc::new(Semaphore::new(HTTP_CONNECTIONS_MAX));
    let mut stopping = false;
    loop {
        let mail = tokio::select! {
            mail = requests.recv() => mail,
            _ = stopped.wait_for(|stopped| *stopped), if !stopping => {
                // What the shards have sent is still taken: a request among it is a socket.
                requests.close();
                stopping = true;
                continue;
            }
        };
        let Some(ServiceMail { from, request }) = mail else {
            break;
        };
        match request {
            ServiceRequest::Http {
                descriptor,
                peer,
                bytes,
            } => {
                let socket = ring::own(descriptor.number);
                let passage = descriptor.passage;
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    // As many as anybody likes: told where lines are limited.
                    security::report(Event {
                        kind: Kind::Limit,
                        reason: "http_connections",
                        address: Some(peer.ip()),
                        user: None,
                        detail: "too many HTTP connections: one is closed unanswered",
                    });
                    continue;
                };
                let (router, stopped) = (router.clone(), stopped.clone());
                tokio::spawn(async move {
                    http::serve(socket, passage, peer, bytes, router, stopped).await;
                    drop(place);
                });
            }
            ServiceRequest::Spawn(work) => {
                let mail_shard = mail_shard.clone();
                tokio::spawn(async move {
                    let mut mail = work.await;
                    // Never lost: a busy shard gets it later, a shard that is gone with the process.
                    while let Err(back) = mail_shard(from, mail) {
                        mail = back;
                        tokio::time::sleep(MAIL_RETRY).await;
                    }
                });
            }
        }
    }
    // All places free again: no request is under way.
    let all = u32::try_from(HTTP_CONNECTIONS_MAX).expect("a few thousand");
    let drained = futures_util::future::join(places.acquire_many(all), admin);
    let _ = tokio::time::timeout(HTTP_DRAIN, drained).await;
}
