//! Mail between shards, first in, first out per ordered pair, and the pretend service thread.

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::app::TestApp;
use crate::id::ShardId;
use crate::shard::{Descriptor, Mail, ServiceRequest};

/// The queues of all ordered pairs; the last row is that of the other threads.
#[derive(Debug)]
pub(super) struct Mailroom {
    shards: usize,
    queues: Vec<VecDeque<Mail<TestApp>>>,
}

impl Mailroom {
    pub(super) fn new(shards: u16) -> Self {
        let shards = usize::from(shards);
        Self {
            shards,
            queues: (0..(shards + 1) * shards)
                .map(|_| VecDeque::new())
                .collect(),
        }
    }

    pub(super) fn post(&mut self, from: ShardId, to: ShardId, mail: Mail<TestApp>) {
        self.queues[from.index() * self.shards + to.index()].push_back(mail);
    }

    /// Mail of the service thread, or of any thread that has a handle.
    pub(super) fn post_from_outside(&mut self, to: ShardId, mail: Mail<TestApp>) {
        self.queues[self.shards * self.shards + to.index()].push_back(mail);
    }

    /// The queues that lead to `to`.
    pub(super) fn queues_to(
        &mut self,
        to: ShardId,
    ) -> impl Iterator<Item = &mut VecDeque<Mail<TestApp>>> {
        self.queues.iter_mut().skip(to.index()).step_by(self.shards)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty)
    }
}

type Work = Pin<Box<dyn Future<Output = Mail<TestApp>> + Send>>;

/// A plain HTTP request that a shard has given away.
#[derive(Debug)]
pub(super) struct HttpRequest {
    pub(super) descriptor: Descriptor,
    pub(super) peer: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

/// What the service thread has in hand.
pub(super) struct Service {
    capacity: usize,
    work: VecDeque<(ShardId, Work)>,
    pub(super) requests: VecDeque<HttpRequest>,
}

impl Service {
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
        request: ServiceRequest<TestApp>,
    ) -> Result<(), ServiceRequest<TestApp>> {
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
    pub(super) fn work(&mut self) -> Option<(ShardId, Mail<TestApp>)> {
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
