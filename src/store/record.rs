//! What is stored, and how it is asked for. Texts are opaque: the store reads none of them.

/// A message to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The room, which must be there.
    pub room: String,
    /// The message's id, unique in its room.
    pub id: u128,
    /// When it was sent, milliseconds since 1970. The store has no clock: it takes this for now.
    pub unix_ms: u64,
    /// Who sent it.
    pub user: String,
    /// Its type.
    pub message_type: String,
    /// Its payload.
    pub body: Vec<u8>,
    /// Whatever the caller wants to know of it later.
    pub flags: u32,
    /// The sender's own id of the message, by which a repeat is known.
    pub client_message_id: Option<String>,
    /// How long a repeat is known, milliseconds from `unix_ms`. 0: not at all.
    pub dedupe_window_ms: u64,
}

/// Where a message has been stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its offset: the first message of a room has 1, each further one the next number.
    pub offset: u64,
    /// Whether it had been stored before: then all else here is the first one's.
    pub is_repeat: bool,
    /// Its id.
    pub id: u128,
    /// When it was sent, milliseconds since 1970.
    pub unix_ms: u64,
}

/// A message as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its offset in the room, from 1.
    pub offset: u64,
    /// Its id.
    pub id: u128,
    /// When it was sent, milliseconds since 1970.
    pub unix_ms: u64,
    /// Who sent it.
    pub user: String,
    /// Its type.
    pub message_type: String,
    /// Its payload.
    pub body: Vec<u8>,
    /// As given with it.
    pub flags: u32,
    /// The sender's own id of it.
    pub client_message_id: Option<String>,
}

/// A member of a room, and how far messages have come to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMember {
    /// Who.
    pub user: String,
    /// What it may, in the caller's numbers.
    pub role: u8,
    /// Delivered up to this offset; 0: nothing yet.
    pub delivered: u64,
    /// Read up to this offset; 0: nothing yet.
    pub read: u64,
}

/// What has become of a message in the room that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredStatus {
    /// Its offset.
    pub offset: u64,
    /// When it was sent, milliseconds since 1970.
    pub unix_ms: u64,
    /// Who sent it.
    pub user: String,
    /// How many members the room has besides the author.
    pub others: u64,
    /// To how many of them it was delivered, those included who have read it.
    pub delivered: u64,
    /// How many of them have read it.
    pub read: u64,
    /// Each of them by name; `None`: they are more than was asked for.
    pub members: Option<Vec<StoredMember>>,
}

/// A revocation, in the caller's terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRevocation {
    /// Of what, in the caller's numbers.
    pub kind: u8,
    /// Of whom or which.
    pub name: String,
    /// Of what was issued before this second, unix time; the caller may have no use for it.
    pub before_s: u64,
    /// When it may be forgotten, unix seconds.
    pub until_s: u64,
}

/// A room with all that its home needs to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRoom {
    /// As the caller wrote it.
    pub meta: String,
    /// Under which epoch its offsets count.
    pub epoch: String,
    /// The offset that the next message will have.
    pub next_offset: u64,
    /// The offset of the oldest message still there; `next_offset` if there is none.
    pub oldest_offset: u64,
    /// What is kept.
    pub retention: Retention,
    /// How many members the room has; more than `members.len()` if that was cut short.
    pub members_count: u64,
    /// The first members, by name.
    pub members: Vec<StoredMember>,
    /// The newest messages, by offset.
    pub newest: Vec<Record>,
}

/// Which part of a room's history.
///
/// With `after`: the oldest messages after that offset (and before `before`). Without: the newest
/// messages (before `before`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Only messages of a smaller offset.
    pub before: Option<u64>,
    /// Only messages of a greater offset, beginning with the next one.
    pub after: Option<u64>,
    /// Most messages; at most [`PAGE_MAX`](super::PAGE_MAX) anyway.
    pub limit: u32,
}

/// What is kept of a room's messages. A zero is no limit; the default keeps all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Most messages.
    pub messages_max: u64,
    /// Oldest message, milliseconds.
    pub age_ms_max: u64,
    /// Most bytes of all bodies together.
    pub bytes_max: u64,
}

/// Marks of a member: how far messages have been delivered to it, and read by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Who.
    pub user: String,
    /// Delivered up to this offset. A lower one than is stored changes nothing.
    pub delivered: u64,
    /// Read up to this offset. A lower one than is stored changes nothing.
    pub read: u64,
}
