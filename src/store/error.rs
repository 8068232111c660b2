//! What can go wrong with the store: at the queue, with a request, at the start.

use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;
use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;
use thiserror::Error;

/// The queue before the store is full, in requests or in bytes: the disk does not keep up. Nothing
/// was queued; the same request may succeed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the queue of the store is full")]
pub struct StoreBusy;

/// Why a request that was queued came to nothing. Nothing of it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// The disk, or the file as far as [`StoreOptions::file_bytes_max`] lets it grow, is full.
    /// Requests succeed again as soon as there is room.
    ///
    /// [`StoreOptions::file_bytes_max`]: super::StoreOptions::file_bytes_max
    #[error("the disk or the store's file is full")]
    Full,
    /// The disk or SQLite failed; the text is SQLite's, for the log. Later requests are tried afresh.
    #[error("the store failed: {0}")]
    Failed(String),
    /// There is no room of this name.
    #[error("no such room in the store")]
    UnknownRoom,
    /// The room has a message of this id already.
    #[error("the room has a message of this id")]
    DuplicateId,
    /// The store has been stopped.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Whether the disk is to blame, not the request.
    pub fn is_environment(&self) -> bool {
        match self {
            Self::Full | Self::Failed(_) => true,
            Self::UnknownRoom | Self::DuplicateId | Self::Closed => false,
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let is_full = error.sqlite_error().is_some_and(|cause| {
            // The index of the write-ahead log lies in a file of its own, whose growth fails its own way.
            cause.code == ErrorCode::DiskFull || cause.extended_code == SQLITE_IOERR_SHMSIZE
        });
        if is_full {
            Self::Full
        } else {
            Self::Failed(error.to_string())
        }
    }
}

/// Why a store cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The directory cannot be made or used, or the lock file in it.
    #[error("the store's directory {} cannot be used: {source}", path.display())]
    Directory {
        /// The directory, as the options have it.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process, or another store of this one, has the directory open.
    #[error("the store in {} is in use by another process; each server needs a directory of its own",
        path.display())]
    InUse {
        /// The directory, as the options have it.
        path: PathBuf,
    },
    /// A later release has written the file.
    #[error("{} has version {version}, this release knows up to {known}: use a later release, or a backup",
        path.display())]
    TooNew {
        /// The database file.
        path: PathBuf,
        /// Its version.
        version: i64,
        /// The newest version that this release reads.
        known: i64,
    },
    /// SQLite cannot open the file, or not bring it up to date: no database, no permission, no space.
    #[error("{} cannot be opened: {reason}", path.display())]
    Database {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// The system has no thread to give.
    #[error("the store's thread cannot be started: {0}")]
    Thread(io::Error),
}
