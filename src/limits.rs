//! Every fixed bound of the product, with its unit and its reason.
//!
//! Bounds that a user may change live in [`crate::config`]; the ones here follow from a standard or
//! from a measurement, and are tied together by assertions at compile time.

/// Largest payload of a control frame, bytes. RFC 6455 section 5.5.
pub const CONTROL_PAYLOAD_BYTES_MAX: usize = 125;
/// Largest frame header, bytes: 2 fixed, 8 of extended length, 4 of masking key. RFC 6455 section 5.2.
pub const FRAME_HEADER_BYTES_MAX: usize = 14;
/// Largest frame header that a server writes, bytes: without a masking key. RFC 6455 section 5.1.
pub const SERVER_HEADER_BYTES_MAX: usize = 10;
/// Longest close reason, bytes: a control payload less the two bytes of the code.
pub const CLOSE_REASON_BYTES_MAX: usize = CONTROL_PAYLOAD_BYTES_MAX - 2;

/// One provided receive buffer, bytes. Holds any control frame whole.
pub const RECV_BUFFER_BYTES: usize = 4 * 1024;
/// Provided receive buffers per shard. A power of two, as the kernel demands (`io_uring_buf_ring`, 5.19).
pub const RECV_BUFFERS: u16 = 256;
/// Submission queue entries per shard: also the chunk in which a fan-out is submitted.
pub const SUBMISSION_QUEUE_ENTRIES: u32 = 256;
/// Completion queue entries per shard. An overflow ends multishot operations, so it is generous.
pub const COMPLETION_QUEUE_ENTRIES: u32 = 65_536;

/// Largest request head, bytes; more is answered 431.
pub const REQUEST_HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most header fields in a request head; more is answered 431.
pub const REQUEST_HEADERS_MAX: usize = 100;

/// Most shards in one process.
pub const SHARDS_MAX: usize = 1024;
/// Most connections of one shard: the kernel's own bound on a ring's table of direct descriptors
/// (`IORING_MAX_FIXED_FILES`).
pub const CONNECTIONS_PER_SHARD_MAX: usize = 1 << 20;

const _: () = assert!(RECV_BUFFER_BYTES >= FRAME_HEADER_BYTES_MAX + CONTROL_PAYLOAD_BYTES_MAX);
const _: () = assert!(RECV_BUFFERS.is_power_of_two());
const _: () = assert!(COMPLETION_QUEUE_ENTRIES >= SUBMISSION_QUEUE_ENTRIES);

/// Largest user identifier, bytes. A UUID, an e-mail address or a JWT subject fits.
pub const USER_ID_BYTES_MAX: usize = 256;
/// Largest topic name, bytes.
pub const TOPIC_BYTES_MAX: usize = 256;
