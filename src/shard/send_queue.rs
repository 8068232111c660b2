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

    fn capacity(&self) -> usize {
        self.control.capacity() + self.data.capacity()
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
    /// What they have allocated, bytes.
    bytes: usize,
    /// So many of them, the lowest, have not been needed since the last [`QueuePool::trim`].
    idle: usize,
}

impl QueuePool {
    /// An empty queue.
    pub(crate) fn take(&mut self) -> Box<SendQueue> {
        let queue = self.spare.pop().unwrap_or_default();
        self.bytes -= queue.capacity();
        self.idle = self.idle.min(self.spare.len());
        queue
    }

    /// Takes a queue back, with whatever it still holds.
    pub(crate) fn give(&mut self, mut queue: Box<SendQueue>) {
        let bytes = queue.capacity();
        if bytes <= POOLED_BYTES_MAX && self.spare.len() < POOLED_QUEUES_MAX {
            queue.control.clear();
            queue.data.clear();
            self.bytes += bytes;
            self.spare.push(queue);
        }
    }

    /// Frees half of the queues that were not needed since the last call: to be called once in a
    /// while, so that a busy moment does not hold its memory for ever.
    pub(crate) fn trim(&mut self) {
        let unneeded = self.spare.drain(..self.idle.div_ceil(2));
        self.bytes -= unneeded.map(|queue| queue.capacity()).sum::<usize>();
        if self.spare.len() < self.spare.capacity() / 4 {
            self.spare.shrink_to(self.spare.len() * 2);
        }
        self.idle = self.spare.len();
    }

    /// Frees all spare queues.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// What the spare queues have allocated, bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
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

    #[test]
    fn spare_bytes_are_those_of_the_spare_queues() {
        let mut pool = QueuePool::default();
        let queues = [10, 20, 30, POOLED_BYTES_MAX + 1].map(|bytes| {
            let mut queue = pool.take();
            queue.data.reserve_exact(bytes);
            queue
        });
        queues.into_iter().for_each(|queue| pool.give(queue));
        assert_eq!(pool.bytes(), 60, "the large one is not kept");
        drop(pool.take());
        assert_eq!(pool.bytes(), 30);
        pool.trim();
        pool.trim();
        assert_eq!((pool.spare.len(), pool.bytes()), (1, 20));
        pool.clear();
        assert_eq!((pool.spare.len(), pool.bytes()), (0, 0));
    }
}
