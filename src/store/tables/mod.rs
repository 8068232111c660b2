//! The tables and what can be asked of them, on one connection and one thread. Knows no queue.

mod members;
mod messages;
mod pairings;
mod pruning;
mod revocations;
mod rooms;
mod status;

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _};

use super::error::{OpenError, StoreError};
use super::{StoreOptions, Synchronous};
pub use messages::PAGE_MAX;
use pruning::Pruning;

/// The database in the store's directory.
const FILE: &str = "campanile.sqlite3";
/// What a store locks in its directory: a file of its own, since closing any descriptor of the
/// database would give up the locks that SQLite holds on it.
const LOCK_FILE: &str = "lock";
/// The steps from an empty file to the newest version, which is their number.
const MIGRATIONS: [&str; 3] = [
    include_str!("schema.sql"),
    include_str!("schema-2.sql"),
    include_str!("schema-3.sql"),
];
/// How long to wait for another process that reads or copies the file, before failing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a page of the file; SQLite's own default, fixed here because limits are counted in it.
const PAGE_BYTES: u64 = 4096;
/// Statements kept prepared; there are fewer than that.
const STATEMENTS_MAX: usize = 64;

/// What a group of requests has changed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) appended: u64,
    pub(super) repeats: u64,
    pub(super) pruned: u64,
}

/// The open database.
#[derive(Debug)]
pub(super) struct Tables {
    connection: Connection,
    pruning: Pruning,
    tally: Tally,
    /// Locked as long as it is open. The last field: unlocked after the connection is closed.
    _lock: File,
}

impl Tables {
    /// Opens the database, makes it if it is not there, brings it up to date.
    pub(super) fn open(options: &StoreOptions) -> Result<Self, OpenError> {
        let lock = lock(&options.directory)?;
        let path = options.directory.join(FILE);
        let failed = |error: rusqlite::Error| OpenError::Database {
            path: path.clone(),
            reason: error.to_string(),
        };
        let mut connection = Connection::open(&path).map_err(failed)?;
        configure(&connection, options).map_err(failed)?;
        let version: i64 = connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(failed)?;
        let known = MIGRATIONS.len();
        let done = usize::try_from(version).ok().filter(|&done| done <= known);
        let Some(done) = done else {
            let known = known as i64;
            return Err(OpenError::TooNew {
                path,
                version,
                known,
            });
        };
        migrate(&mut connection, done).map_err(failed)?;
        Ok(Self {
            connection,
            pruning: Pruning::new(),
            tally: Tally::default(),
            _lock: lock,
        })
    }

    /// Begins a transaction.
    pub(super) fn begin(&mut self) -> Result<(), StoreError> {
        self.tally = Tally::default();
        self.execute("BEGIN")
    }

    /// Commits it, and says what it has changed.
    pub(super) fn commit(&mut self) -> Result<Tally, StoreError> {
        self.execute("COMMIT")?;
        Ok(std::mem::take(&mut self.tally))
    }

    /// Undoes the transaction, if there still is one.
    pub(super) fn roll_back(&mut self) {
        self.tally = Tally::default();
        if !self.has_lost_transaction()
            && let Err(error) = self.execute("ROLLBACK")
        {
            tracing::error!(%error, "the store could not roll back");
        }
    }

    /// Whether SQLite has rolled the transaction back by itself.
    pub(super) fn has_lost_transaction(&self) -> bool {
        self.connection.is_autocommit()
    }

    /// Marks where [`undo`](Self::undo) goes back to.
    pub(super) fn savepoint(&self) -> Result<(), StoreError> {
        self.execute("SAVEPOINT request")
    }

    /// Forgets the savepoint, keeps what came after.
    pub(super) fn release(&self) -> Result<(), StoreError> {
        self.execute("RELEASE request")
    }

    /// Undoes what came after the savepoint.
    pub(super) fn undo(&self) -> Result<(), StoreError> {
        self.execute("ROLLBACK TO request")?;
        self.release()
    }

    fn execute(&self, sql: &str) -> Result<(), StoreError> {
        self.connection.prepare_cached(sql)?.execute(())?;
        Ok(())
    }

    /// The key of a room that is there.
    fn room_key(&self, name: &str) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT key FROM rooms WHERE name = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.query_row([name], |row| row.get(0)).optional()?)
    }
}

/// Makes the directory, for its owner only, and locks it for this store.
fn lock(directory: &Path) -> Result<File, OpenError> {
    let unusable = |source: io::Error| OpenError::Directory {
        path: directory.to_owned(),
        source,
    };
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(directory).map_err(unusable)?;
    let file = File::create(directory.join(LOCK_FILE)).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse {
            path: directory.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

fn configure(connection: &Connection, options: &StoreOptions) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.pragma_update(None, "page_size", PAGE_BYTES as i64)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let synchronous = match options.synchronous {
        Synchronous::Full => "FULL",
        Synchronous::Normal => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    // In KiB when negative.
    connection.pragma_update(None, "cache_size", -16 * 1024)?;
    // SQLite takes 32 bits less two, and answers with what it has taken: never less than there is.
    let pages_max = match options.file_bytes_max {
        0 => u64::from(u32::MAX - 1),
        bytes => (bytes / PAGE_BYTES).clamp(1, u64::from(u32::MAX - 1)),
    };
    connection.pragma_update(None, "max_page_count", integer(pages_max))
}

/// Runs the migrations after the first `done`, each with its version in one transaction.
fn migrate(connection: &mut Connection, done: usize) -> rusqlite::Result<()> {
    for (version, sql) in (1_i64..).zip(MIGRATIONS).skip(done) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

/// SQLite's integers end at 2⁶³ - 1; what is greater counts as that. No offset or time comes near.
fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Back from SQLite; only [`integer`] has written it, so it is never negative.
fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
