//! A connection's private queue: what is sent to it alone. It exists only while it holds something.

/// A queue whose buffers are larger than this is not kept for reuse, bytes.
const POOLED_BYTES_MAX: usize = 16 * 1024;
/// Queues that one shard keeps for reuse.
const POOLED_QUEUES_MAX: usize = 4096;

/// Encoded frames that wait for the end of the turn, or for a slow peer. Control frames overtake
/// messages, never the rest of one: both parts begin and end on frame boundaries.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    /// Pongs and pings, and before them the 101, which nothing may overtake.
    pub control: Vec<u8>,
    /// Messages, and the close frame.
    pub data: Vec<u8>,
}

impl SendQueue {
    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.control.len() + self.data.len()
    }
}

/// Spare queues of one shard, so that a steady stream of replies allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct QueuePool {
    #[expect(
        clippy::vec_box,
        reason = "the boxes themselves are what is kept for reuse"
    )]
    spare: Vec<Box<SendQueue>>,
    /// So many of them, the lowest, have not been needed since the last [`QueuePool::trim`].
    idle: usize,
}

impl QueuePool {
    /// An empty queue.
    pub(crate) fn take(&mut self) -> Box<SendQueue> {
        let queue = self.spare.pop().unwrap_or_default();
        self.idle = self.idle.min(self.spare.len());
        queue
    }

    /// Takes a queue back, with whatever it still holds.
    pub(crate) fn give(&mut self, mut queue: Box<SendQueue>) {
        let bytes = queue.data.capacity() + queue.control.capacity();
        if bytes <= POOLED_BYTES_MAX && self.spare.len() < POOLED_QUEUES_MAX {
            queue.control.clear();
            queue.data.clear();
            self.spare.push(queue);
        }
    }

    /// Frees half of the queues that were not needed since the last call: to be called once in a
    /// while, so that a busy moment does not hold its memory for ever.
    pub(crate) fn trim(&mut self) {
        self.spare.drain(..self.idle.div_ceil(2));
        if self.spare.len() < self.spare.capacity() / 4 {
            self.spare.shrink_to(self.spare.len() * 2);
        }
        self.idle = self.spare.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_that_nobody_needs_go_and_those_in_use_stay() {
        let mut pool = QueuePool::default();
        let many: Vec<_> = (0..100).map(|_| pool.take()).collect();
        many.into_iter().for_each(|queue| pool.give(queue));
        pool.trim();
        assert_eq!(pool.spare.len(), 100, "all were needed");
        for _ in 0..10 {
            let three = [(); 3].map(|()| pool.take());
            three.into_iter().for_each(|queue| pool.give(queue));
            pool.trim();
        }
        assert_eq!(pool.spare.len(), 3);
        assert!(pool.spare.capacity() < 16);
        pool.trim();
        pool.trim();
        assert_eq!(pool.spare.len(), 0);
    }
}
