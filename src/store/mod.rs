//! The store of persistent rooms, pairings and revocations: SQLite behind one thread, a bounded queue before it,
//! and a reply for each request once it is committed.
//!
//! ```text
//!  shards ──► queue: at most so many requests and bytes, else StoreBusy
//!               │
//!               ▼  the store's thread
//!             group ─► BEGIN, one savepoint per request, COMMIT (one fsync) ─► replies
//!               ▲                                                   │
//!               └────────── a little pruning in between ◄───────────┘
//! ```
//!
//! It stores rooms, messages, members, marks, pairings and revocations, and knows what none of them mean: texts
//! are opaque, time is told by who asks. `docs/STORE.md` has the guarantees and what a full or slow disk does.
#![forbid(unsafe_code)]

mod error;
mod job;
mod record;
mod stats;
mod tables;
#[cfg(test)]
mod tests;
mod thread;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

pub use error::{OpenError, StoreBusy, StoreError};
pub use job::Reply;
use job::{Kind, Place};
pub use record::{
    Append, Appended, Marks, Page, Record, Retention, StoredMember, StoredRevocation, StoredRoom,
    StoredStatus,
};
use stats::Shared;
pub use stats::StoreStats;
pub use tables::PAGE_MAX;
use tables::Tables;
use thread::{Message, Queued, Worker};

/// What an acknowledged message outlives. Either way it outlives a crash or kill of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// A loss of power, too: the disk is told to write at each commit.
    #[default]
    Full,
    /// Not a loss of power: the last seconds before it may be gone. Commits do not wait for the disk.
    Normal,
}

/// Where and how to store.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The directory of the files, made if it is not there. No two stores may share one.
    pub directory: PathBuf,
    /// What acknowledged messages outlive.
    pub synchronous: Synchronous,
    /// Most requests not answered yet; a further one is refused with [`StoreBusy`].
    pub queue_max: usize,
    /// Most bytes of all those requests, roughly; a larger request is always refused.
    pub queue_bytes_max: usize,
    /// Most requests committed together. At least 1 is taken.
    pub group_max: usize,
    /// Largest database file, bytes, beside the write-ahead log. 0: as large as the disk allows.
    pub file_bytes_max: u64,
}

impl StoreOptions {
    /// The defaults: safe against loss of power, 65,536 requests and 64 MiB in the queue, groups of
    /// at most 1,024, a file as large as the disk allows.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            synchronous: Synchronous::Full,
            queue_max: 65_536,
            queue_bytes_max: 64 * 1024 * 1024,
            group_max: 1024,
            file_bytes_max: 0,
        }
    }
}

/// A handle to the store; clones share it.
///
/// Every request answers [`StoreBusy`] at once if the queue is full, and otherwise a [`Reply`]. Requests
/// take effect in the order in which they were made by one thread. None of them blocks.
#[derive(Clone)]
pub struct Store {
    messages: mpsc::Sender<Message>,
    shared: Arc<Shared>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = self.stats();
        f.debug_struct("Store")
            .field("stats", &stats)
            .finish_non_exhaustive()
    }
}

/// The store's thread. Dropping it stops the store: what is queued is still done, later requests are
/// answered with [`StoreError::Closed`].
pub struct StoreThread {
    messages: mpsc::Sender<Message>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for StoreThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreThread").finish_non_exhaustive()
    }
}

impl StoreThread {
    /// Stops the store and waits until all is written and the file is closed.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for StoreThread {
    fn drop(&mut self) {
        // An error of either kind says that the thread has ended already.
        let _ = self.messages.send(Message::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Store {
    /// Opens the store and starts its thread.
    ///
    /// Errors: [`OpenError`], which says what to do.
    pub fn open(options: &StoreOptions) -> Result<(Self, StoreThread), OpenError> {
        let tables = Tables::open(options)?;
        let (messages, receiver) = mpsc::channel();
        let shared = Arc::new(Shared::new(options.queue_max, options.queue_bytes_max));
        let worker = Worker {
            tables,
            messages: receiver,
            shared: Arc::clone(&shared),
            group_max: options.group_max.max(1),
        };
        let builder = std::thread::Builder::new().name("store".into());
        let thread = builder
            .spawn(move || worker.run())
            .map_err(OpenError::Thread)?;
        let guard = StoreThread {
            messages: messages.clone(),
            thread: Some(thread),
        };
        Ok((Self { messages, shared }, guard))
    }

    /// What the store has counted so far.
    pub fn stats(&self) -> StoreStats {
        self.shared.snapshot()
    }

    /// Stores a message at the room's next offset, unless the same user has sent one of the same
    /// `client_message_id` to the room within its window: then the first one's place is answered.
    /// A failed request uses up no offset.
    ///
    /// Errors: [`StoreError::UnknownRoom`], [`StoreError::DuplicateId`].
    pub fn append(&self, append: Append) -> Result<Reply<Appended>, StoreBusy> {
        let client_message_id = append.client_message_id.as_ref().map_or(0, String::len);
        let texts = [&append.room, &append.user, &append.message_type];
        let texts: usize = texts.iter().map(|text| text.len()).sum();
        let bytes = texts + client_message_id + append.body.len();
        self.request(Kind::Write, bytes, move |tables| tables.append(&append))
    }

    /// A room with all that its home needs: at most `newest_max` of its newest messages, and
    /// `members_max` of its members. `None`: no such room.
    pub fn room(
        &self,
        name: &str,
        newest_max: u32,
        members_max: u32,
    ) -> Result<Reply<Option<StoredRoom>>, StoreBusy> {
        let name = name.to_owned();
        self.request(Kind::Read, name.len(), move |tables| {
            tables.room(&name, newest_max, members_max)
        })
    }

    /// Makes a room without members and messages. `false`: there is one of this name, which stays as
    /// it is.
    pub fn create_room(
        &self,
        name: &str,
        epoch: &str,
        meta: &str,
    ) -> Result<Reply<bool>, StoreBusy> {
        let (name, epoch, meta) = (name.to_owned(), epoch.to_owned(), meta.to_owned());
        let bytes = name.len() + epoch.len() + meta.len();
        self.request(Kind::Write, bytes, move |tables| {
            tables.create_room(&name, &epoch, &meta)
        })
    }

    /// Replaces a room's metadata. `false`: no such room.
    pub fn update_room(&self, name: &str, meta: &str) -> Result<Reply<bool>, StoreBusy> {
        let (name, meta) = (name.to_owned(), meta.to_owned());
        self.request(Kind::Write, name.len() + meta.len(), move |tables| {
            tables.update_room(&name, &meta)
        })
    }

    /// Removes a room with its messages and members. `false`: no such room.
    ///
    /// It is gone at once, and its name free; the space of a large one comes back by and by.
    pub fn remove_room(&self, name: &str) -> Result<Reply<bool>, StoreBusy> {
        let name = name.to_owned();
        self.request(Kind::Write, name.len(), move |tables| {
            tables.remove_room(&name)
        })
    }

    /// Rooms whose name begins with `prefix` and comes after `after`, sorted by the bytes of the name,
    /// with their metadata; at most `limit` and [`PAGE_MAX`].
    pub fn rooms(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Reply<Vec<(String, String)>>, StoreBusy> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        let bytes = prefix.len() + after.as_ref().map_or(0, String::len);
        self.request(Kind::Read, bytes, move |tables| {
            tables.rooms(&prefix, after.as_deref(), limit)
        })
    }

    /// Makes a user a member of a room with marks at 0, or changes the role of one. `false`: no such
    /// room.
    pub fn set_member(&self, room: &str, user: &str, role: u8) -> Result<Reply<bool>, StoreBusy> {
        let (room, user) = (room.to_owned(), user.to_owned());
        self.request(Kind::Write, room.len() + user.len(), move |tables| {
            tables.set_member(&room, &user, role)
        })
    }

    /// Ends a membership, and forgets its marks. `false`: there was none.
    pub fn remove_member(&self, room: &str, user: &str) -> Result<Reply<bool>, StoreBusy> {
        let (room, user) = (room.to_owned(), user.to_owned());
        self.request(Kind::Write, room.len() + user.len(), move |tables| {
            tables.remove_member(&room, &user)
        })
    }

    /// Raises marks of members; never lowers one, and passes over who is no member. `false`: no such
    /// room.
    pub fn set_marks(&self, room: &str, marks: Vec<Marks>) -> Result<Reply<bool>, StoreBusy> {
        let room = room.to_owned();
        let users = marks
            .iter()
            .map(|marks| size_of::<Marks>() + marks.user.len());
        let bytes = room.len() + users.sum::<usize>();
        self.request(Kind::Write, bytes, move |tables| {
            tables.set_marks(&room, &marks)
        })
    }

    /// Members of a room after `after`, sorted by the bytes of the name; at most `limit` and
    /// [`PAGE_MAX`].
    ///
    /// Errors: [`StoreError::UnknownRoom`].
    pub fn members(
        &self,
        room: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Reply<Vec<StoredMember>>, StoreBusy> {
        let (room, after) = (room.to_owned(), after.map(str::to_owned));
        let bytes = room.len() + after.as_ref().map_or(0, String::len);
        self.request(Kind::Read, bytes, move |tables| {
            tables.members(&room, after.as_deref(), limit)
        })
    }

    /// The names of the rooms that a user is a member of, sorted by bytes; at most `limit` and
    /// [`PAGE_MAX`].
    pub fn rooms_of(&self, user: &str, limit: u32) -> Result<Reply<Vec<String>>, StoreBusy> {
        let user = user.to_owned();
        self.request(Kind::Read, user.len(), move |tables| {
            tables.rooms_of(&user, limit)
        })
    }

    /// A page of a room's messages, by offset.
    ///
    /// Errors: [`StoreError::UnknownRoom`].
    pub fn history(&self, room: &str, page: Page) -> Result<Reply<Vec<Record>>, StoreBusy> {
        let room = room.to_owned();
        self.request(Kind::Read, room.len(), move |tables| {
            tables.history(&room, page)
        })
    }

    /// The offset of the message of this id. `None`: no such room, or no such message in it any more.
    pub fn find(&self, room: &str, id: u128) -> Result<Reply<Option<u64>>, StoreBusy> {
        let room = room.to_owned();
        self.request(Kind::Read, room.len(), move |tables| tables.find(&room, id))
    }

    /// The name of the room that has the message of this id. `None`: no room has it any more.
    pub fn room_of(&self, id: u128) -> Result<Reply<Option<String>>, StoreBusy> {
        self.request(Kind::Read, 0, move |tables| tables.room_of(id))
    }

    /// What has become of the message of this id: how many members besides its author have got and read it,
    /// and by name who, if they are `named_max` at most. `None`: no such room, or no such message in it any
    /// more. Takes a look at each member of the room.
    pub fn status(
        &self,
        room: &str,
        id: u128,
        named_max: u32,
    ) -> Result<Reply<Option<StoredStatus>>, StoreBusy> {
        let room = room.to_owned();
        self.request(Kind::Read, room.len(), move |tables| {
            tables.status(&room, id, named_max)
        })
    }

    /// Sets what is kept of a room's messages, now and from here on. `false`: no such room.
    ///
    /// What is over a limit is deleted soon, not at once, from the oldest on.
    pub fn set_retention(
        &self,
        room: &str,
        retention: Retention,
    ) -> Result<Reply<bool>, StoreBusy> {
        let room = room.to_owned();
        self.request(Kind::Write, room.len(), move |tables| {
            tables.set_retention(&room, retention)
        })
    }

    /// Tells the time, milliseconds since 1970, as every [`append`](Self::append) does: for a server
    /// in which nothing is sent, and messages grow old all the same. Once a minute is enough.
    pub fn set_time(&self, unix_ms: u64) -> Result<Reply<()>, StoreBusy> {
        self.request(Kind::Read, 0, move |tables| {
            tables.set_time(unix_ms);
            Ok(())
        })
    }

    /// Keeps pairings, in place of what was kept under the same identifiers, and forgets others: all of
    /// it or nothing. Forgetting what is not there is no error.
    pub fn put_pairings(
        &self,
        records: Vec<(u128, String)>,
        forgotten: Vec<u128>,
    ) -> Result<Reply<()>, StoreBusy> {
        let of_record = |(_, record): &(u128, String)| size_of::<u128>() + record.len();
        let bytes = records.iter().map(of_record).sum::<usize>();
        let bytes = bytes + size_of_val(&forgotten[..]);
        self.request(Kind::Write, bytes, move |tables| {
            tables.put_pairings(&records, &forgotten)
        })
    }

    /// Pairings with an identifier above `after`, sorted by it: at most `limit` and [`PAGE_MAX`].
    pub fn pairings(
        &self,
        after: Option<u128>,
        limit: u32,
    ) -> Result<Reply<Vec<(u128, String)>>, StoreBusy> {
        self.request(Kind::Read, 0, move |tables| tables.pairings(after, limit))
    }

    /// Keeps a revocation as the newest, in place of one of the same kind and name, with the later of both
    /// times and of both ends; and forgets those that end at `now_s` or before, unix seconds, and another, if
    /// one is named. Forgetting what is not there is no error.
    pub fn put_revocation(
        &self,
        revocation: StoredRevocation,
        displaced: Option<(u8, String)>,
        now_s: u64,
    ) -> Result<Reply<()>, StoreBusy> {
        let other = displaced.as_ref().map_or(0, |(_, name)| name.len());
        let bytes = revocation.name.len() + other;
        self.request(Kind::Write, bytes, move |tables| {
            tables.put_revocation(&revocation, displaced.as_ref(), now_s)
        })
    }

    /// Forgets revocations that end at `now_s` or before, unix seconds, and of the others the oldest until
    /// `count_max` are left.
    pub fn purge_revocations(&self, now_s: u64, count_max: u32) -> Result<Reply<()>, StoreBusy> {
        self.request(Kind::Write, 0, move |tables| {
            tables.purge_revocations(now_s, count_max)
        })
    }

    /// Revocations with their places, by which they are sorted, beginning behind `after`: the oldest first,
    /// at most `limit` and [`PAGE_MAX`]. The first place is 1.
    pub fn revocations(
        &self,
        after: u64,
        limit: u32,
    ) -> Result<Reply<Vec<(u64, StoredRevocation)>>, StoreBusy> {
        self.request(Kind::Read, 0, move |tables| {
            tables.revocations(after, limit)
        })
    }

    /// Queues a request with so many bytes of text.
    fn request<T: Send + 'static>(
        &self,
        kind: Kind,
        bytes: usize,
        work: impl FnMut(&mut Tables) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Reply<T>, StoreBusy> {
        let place = Place::take(&self.shared, bytes)?;
        let (work, reply) = job::job(kind, work);
        // A thread that has ended drops the work, by which the reply knows that the store is closed.
        let _ = self.messages.send(Message::Request(Queued { work, place }));
        Ok(reply)
    }
}
