//! The way into a running server from any thread: axum handlers, background work, signals.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::memory::{MemoryGauge, MemoryReading};
use crate::id::{ConnectionId, ShardId};
use crate::mesh::{Delivered, Outside};
use crate::metrics::Counters;
use crate::ring::Waker;
use crate::shard::{
    App, Batch, BatchEntry, Context, EVERYBODY, Formats, Frame, Mail, Message, Options, Shared,
    Work,
};
use crate::time::Clock;
use crate::ws::CloseCode;

/// A shard's queue from outside is full: it is behind with its work. Try again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("shard {shard} is busy: its queue is full")]
pub struct Busy {
    /// Which shard. Shards before it (by number) have had the mail, those after it have not.
    pub shard: ShardId,
}

/// The queues into the shards, and what wakes them.
pub(crate) struct Reach<A: App> {
    pub(crate) outside: Outside<Mail<A>>,
    pub(crate) wakers: Vec<Waker>,
}

impl<A: App> Reach<A> {
    /// Mails a shard, or gives the mail back because the queue is full.
    pub(crate) fn mail(&self, to: ShardId, mail: Mail<A>) -> Result<(), Mail<A>> {
        if self.outside.send(to, mail)? == Delivered::Asleep {
            self.wakers[to.index()].wake();
        }
        Ok(())
    }
}

/// What a server has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Users with at least one open connection. Exact: a user is at home on one shard.
    pub total_users: usize,
    /// Open connections.
    pub total_connections: usize,
    /// The same by shard, in order.
    pub shards: Vec<ShardStats>,
}

/// What one shard has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardStats {
    /// Users at home here.
    pub users: usize,
    /// Open connections.
    pub connections: usize,
    /// Handshakes under way and connections closing.
    pub pending: usize,
    /// Since the start.
    pub counters: Counters,
}

/// The server, from any thread. Clones are cheap and equal.
///
/// What is done here reaches the shards by mail: it takes effect soon, in the order of the calls of
/// one thread, and not before the call returns.
pub struct ServerHandle<A: App> {
    shared: Arc<Shared>,
    reach: Arc<Reach<A>>,
    memory: Arc<MemoryGauge>,
}

/// What one shard answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered<T> {
    /// The answer.
    pub value: T,
    /// How long it took to come.
    pub took: Duration,
}

impl<A: App> Clone for ServerHandle<A> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            reach: Arc::clone(&self.reach),
            memory: Arc::clone(&self.memory),
        }
    }
}

impl<A: App> fmt::Debug for ServerHandle<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerHandle({} shards)", self.shard_count())
    }
}

impl<A: App> ServerHandle<A> {
    pub(crate) fn new(shared: Arc<Shared>, reach: Reach<A>, memory: Arc<MemoryGauge>) -> Self {
        Self {
            shared,
            reach: Arc::new(reach),
            memory,
        }
    }

    pub(crate) fn reach(&self) -> &Reach<A> {
        &self.reach
    }

    /// How many shards there are.
    pub fn shard_count(&self) -> u16 {
        self.shared.placement.shards()
    }

    /// The shard on which everything about a user or a room of that name is decided.
    pub fn home(&self, name: &str) -> ShardId {
        self.shared.placement.home(name)
    }

    /// Publishes to every subscriber of a topic, whatever its format, but `exclude`.
    ///
    /// Errors: [`Busy`].
    pub fn publish<'m>(
        &self,
        topic: &str,
        message: impl Into<Message<'m>>,
        exclude: Option<ConnectionId>,
    ) -> Result<(), Busy> {
        let message = message.into();
        let payload = message.as_bytes();
        let entry = BatchEntry {
            opcode: message.opcode(),
            bytes: payload.len(),
            formats: Formats::ALL,
            exclude,
        };
        let batch = Arc::new(Batch {
            topic: topic.into(),
            payloads: payload.to_vec(),
            entries: vec![entry],
        });
        if self.shard_count() == 1 {
            return self.send(ShardId(0), Mail::Publish(batch));
        }
        for shard in self.shared.interest.shards(topic) {
            self.send(shard, Mail::Publish(Arc::clone(&batch)))?;
        }
        Ok(())
    }

    /// Sends to every open connection.
    ///
    /// Errors: [`Busy`].
    pub fn broadcast<'m>(&self, message: impl Into<Message<'m>>) -> Result<(), Busy> {
        self.publish(EVERYBODY, message, None)
    }

    /// Sends to all connections of a user.
    ///
    /// Errors: [`Busy`].
    pub fn send_to_user<'m>(
        &self,
        user: &str,
        message: impl Into<Message<'m>>,
    ) -> Result<(), Busy> {
        let message = message.into();
        let frame = Frame {
            opcode: message.opcode(),
            payload: message.as_bytes().to_vec(),
        };
        self.send(self.home(user), Mail::ToUser(user.into(), Arc::new(frame)))
    }

    /// Closes one connection; if it is gone, nothing happens.
    ///
    /// Errors: [`Busy`].
    pub fn close(
        &self,
        connection: ConnectionId,
        code: CloseCode,
        reason: &str,
    ) -> Result<(), Busy> {
        self.send(
            connection.shard(),
            Mail::Close(connection, code, reason.into()),
        )
    }

    /// Mails the application on one shard: [`App::mail`].
    ///
    /// Errors: [`Busy`].
    pub fn mail(&self, shard: ShardId, mail: A::Mail) -> Result<(), Busy> {
        self.send(shard, Mail::App(mail))
    }

    /// Asks one shard a question, which is answered between two events of it. `None`: the shard is
    /// gone, because the server shuts down.
    ///
    /// Errors: [`Busy`].
    pub async fn ask<T: Send + 'static>(
        &self,
        shard: ShardId,
        question: impl FnOnce(&mut A, &mut Context<'_, A>) -> T + Send + 'static,
    ) -> Result<Option<T>, Busy> {
        let (answer, answered) = oneshot::channel();
        let work: Work<A> = Box::new(move |app, context| {
            // Nobody waits for the answer any more: then it is not wanted.
            let _ = answer.send(question(app, context));
        });
        self.send(shard, Mail::Run(work))?;
        Ok(answered.await.ok())
    }

    /// Asks all shards the same question at the same time, and waits for their answers together. The
    /// answers come in the order of the shards; `None` for one that is too busy to be asked, does not
    /// answer within `wait`, or is gone. Needs a tokio runtime with time, as that of axum handlers is.
    pub async fn ask_all<T: Send + 'static>(
        &self,
        wait: Duration,
        question: impl Fn(&mut A, &mut Context<'_, A>) -> T + Clone + Send + 'static,
    ) -> Vec<Option<Answered<T>>> {
        let stopwatch = Clock::start().stopwatch();
        let asks = self.shards().map(|shard| {
            let (question, stopwatch) = (question.clone(), stopwatch.clone());
            async move {
                let answer = self.ask(shard, move |app, context| question(app, context));
                let value = tokio::time::timeout(wait, answer).await.ok()?.ok()??;
                let took = Duration::from_nanos(stopwatch.read());
                Some(Answered { value, took })
            }
        });
        join_all(asks).await
    }

    /// How much memory the process uses, against its budget.
    pub fn memory(&self) -> MemoryReading {
        self.memory.reading(self.shared.pressure())
    }

    /// Whether the server was told to shut down.
    pub fn is_draining(&self) -> bool {
        self.shared.is_draining()
    }

    /// Subscribers of a topic, on all shards.
    ///
    /// Errors: [`Busy`].
    pub async fn subscriber_count(&self, topic: &str) -> Result<usize, Busy> {
        let mut count = 0;
        for shard in self.shards() {
            let topic = topic.to_owned();
            let here = self
                .ask(shard, move |_, context| context.subscriber_count(&topic))
                .await?;
            count += here.unwrap_or(0);
        }
        Ok(count)
    }

    /// Users, connections and counters, of all shards. The shards answer one after the other, so
    /// that the numbers are not of one instant.
    ///
    /// Errors: [`Busy`].
    pub async fn stats(&self) -> Result<Stats, Busy> {
        let mut stats = Stats::default();
        for shard in self.shards() {
            let here = self.ask(shard, |_, context| ShardStats {
                users: context.user_count(),
                connections: context.connection_count(),
                pending: context.pending_count(),
                counters: *context.counters(),
            });
            let here = here.await?.unwrap_or_default();
            stats.total_users += here.users;
            stats.total_connections += here.connections;
            stats.shards.push(here);
        }
        Ok(stats)
    }

    /// Replaces the options of the core on every shard, one after the other: see
    /// [`Context::set_options`]. `compression` stays as it was at the start.
    ///
    /// Errors: [`Busy`]; then try again, since shards before that one have the new options.
    pub async fn reconfigure(&self, options: Options) -> Result<(), Busy> {
        let options = Arc::new(options);
        for shard in self.shards() {
            let options = Arc::clone(&options);
            self.ask(shard, move |_, context| context.set_options(&options))
                .await?;
        }
        Ok(())
    }

    /// Shuts the server down: no new connections, close 1001 to all, then the threads end. Returns
    /// at once; [`Running::wait`](super::Running::wait) returns when it is done.
    pub fn shutdown(&self) {
        self.shared.set_draining();
        for shard in self.shards() {
            let mut mail = Mail::Shutdown;
            // A shard that is behind with its work still gets to it; nothing is lost by waiting.
            while let Err(back) = self.reach.mail(shard, mail) {
                mail = back;
                std::thread::yield_now();
            }
        }
    }

    fn shards(&self) -> impl Iterator<Item = ShardId> + use<A> {
        (0..self.shard_count()).map(ShardId)
    }

    fn send(&self, shard: ShardId, mail: Mail<A>) -> Result<(), Busy> {
        self.reach.mail(shard, mail).map_err(|_| Busy { shard })
    }
}
