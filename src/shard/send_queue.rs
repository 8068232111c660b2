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
}

impl QueuePool {
    /// An empty queue.
    pub(crate) fn take(&mut self) -> Box<SendQueue> {
        self.spare.pop().unwrap_or_default()
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
}
