//! A place for a store.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::store::{StoreOptions, Synchronous};

/// A folder of its own for a test's store, gone with all that is in it when this is dropped.
#[derive(Debug)]
pub struct StoreFolder(PathBuf);

impl StoreFolder {
    /// A folder in the system's place for temporary files, made when the store is opened.
    #[expect(clippy::new_without_default, reason = "no two are equal")]
    pub fn new() -> Self {
        Self(std::env::temp_dir().join(format!("campanile-testing-{}", Uuid::now_v7())))
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Options for a store in the folder, which does not wait for the disk: no test loses its power.
    pub fn options(&self) -> StoreOptions {
        StoreOptions {
            synchronous: Synchronous::Normal,
            ..StoreOptions::new(&self.0)
        }
    }
}

impl Drop for StoreFolder {
    fn drop(&mut self) {
        // What cannot be removed is left to whoever cleans such places.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
