//! Mail between shards, first in, first out per ordered pair, and the pretend service thread.

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::id::ShardId;
use crate::shard::{App, Descriptor, Mail, ServiceRequest};

/// The queues of all ordered pairs; the last row is that of the other threads.
pub(super) struct Mailroom<A: App> {
    shards: usize,
    queues: Vec<VecDeque<Mail<A>>>,
}

impl<A: App> Mailroom<A> {
    pub(super) fn new(shards: u16) -> Self {
        let shards = usize::from(shards);
        Self {
            shards,
            queues: (0..(shards + 1) * shards)
                .map(|_| VecDeque::new())
                .collect(),
        }
    }

    /// The queue from one shard to another.
    pub(super) fn queue(&mut self, from: ShardId, to: ShardId) -> &mut VecDeque<Mail<A>> {
        &mut self.queues[from.index() * self.shards + to.index()]
    }

    /// Mail of the service thread, or of any thread that has a handle.
    pub(super) fn post_from_outside(&mut self, to: ShardId, mail: Mail<A>) {
        self.queues[self.shards * self.shards + to.index()].push_back(mail);
    }

    /// The queues that lead to `to`.
    pub(super) fn queues_to(
        &mut self,
        to: ShardId,
    ) -> impl Iterator<Item = &mut VecDeque<Mail<A>>> {
        self.queues.iter_mut().skip(to.index()).step_by(self.shards)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty)
    }
}

type Work<A> = Pin<Box<dyn Future<Output = Mail<A>> + Send>>;

/// A plain HTTP request that a shard has given away.
#[derive(Debug)]
pub(super) struct HttpRequest {
    pub(super) descriptor: Descriptor,
    pub(super) peer: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

/// What the service thread has in hand.
pub(super) struct Service<A: App> {
    capacity: usize,
    work: VecDeque<(ShardId, Work<A>)>,
    pub(super) requests: VecDeque<HttpRequest>,
}

impl<A: App> Service<A> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            work: VecDeque::new(),
            requests: VecDeque::new(),
        }
    }

    pub(super) fn ask(
        &mut self,
        from: ShardId,
        request: ServiceRequest<A>,
    ) -> Result<(), ServiceRequest<A>> {
        if self.work.len() + self.requests.len() >= self.capacity {
            return Err(request);
        }
        match request {
            ServiceRequest::Spawn(work) => self.work.push_back((from, work)),
            ServiceRequest::Http {
                descriptor,
                peer,
                bytes,
            } => self.requests.push_back(HttpRequest {
                descriptor,
                peer,
                bytes,
            }),
        }
        Ok(())
    }

    /// Polls the piece of work that has waited longest; one that never ends is given up.
    pub(super) fn work(&mut self) -> Option<(ShardId, Mail<A>)> {
        let (shard, mut work) = self.work.pop_front()?;
        let mut context = Context::from_waker(Waker::noop());
        match work.as_mut().poll(&mut context) {
            Poll::Ready(mail) => Some((shard, mail)),
            Poll::Pending => None,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.work.is_empty() && self.requests.is_empty()
    }
}
