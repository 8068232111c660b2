//! Rooms: made, loaded whole, changed, removed, listed.

use rusqlite::OptionalExtension as _;

use super::super::error::StoreError;
use super::super::record::{Page, Retention, StoredRoom};
use super::messages::PAGE_MAX;
use super::{Tables, integer, unsigned};

impl Tables {
    /// Makes a room. `false`: there is one of this name, which stays as it is.
    pub(in super::super) fn create_room(
        &self,
        name: &str,
        epoch: &str,
        meta: &str,
    ) -> Result<bool, StoreError> {
        let sql =
            "INSERT INTO rooms (name, epoch, meta) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        let mut statement = self.connection.prepare_cached(sql)?;
        let is_new = statement.execute((name, epoch, meta))? > 0;
        if is_new {
            let room = self.connection.last_insert_rowid();
            let sql = "INSERT INTO heads (room) VALUES (?1)";
            self.connection.prepare_cached(sql)?.execute([room])?;
        }
        Ok(is_new)
    }

    /// Replaces a room's metadata. `false`: no such room.
    pub(in super::super) fn update_room(&self, name: &str, meta: &str) -> Result<bool, StoreError> {
        let sql = "UPDATE rooms SET meta = ?2 WHERE name = ?1";
        let changed = self.connection.prepare_cached(sql)?.execute((name, meta))?;
        Ok(changed > 0)
    }

    /// Removes a room; what is in it is deleted by and by. `false`: no such room.
    pub(in super::super) fn remove_room(&mut self, name: &str) -> Result<bool, StoreError> {
        let sql = "UPDATE rooms SET name = NULL WHERE name = ?1";
        let is_removed = self.connection.prepare_cached(sql)?.execute([name])? > 0;
        if is_removed {
            self.pruning.expect_removed();
        }
        Ok(is_removed)
    }

    /// Sets what is kept of a room's messages. `false`: no such room.
    pub(in super::super) fn set_retention(
        &mut self,
        name: &str,
        retention: Retention,
    ) -> Result<bool, StoreError> {
        let Some(room) = self.room_key(name)? else {
            return Ok(false);
        };
        let sql =
            "UPDATE rooms SET messages_max = ?2, age_ms_max = ?3, bytes_max = ?4 WHERE key = ?1";
        self.connection.prepare_cached(sql)?.execute((
            room,
            integer(retention.messages_max),
            integer(retention.age_ms_max),
            integer(retention.bytes_max),
        ))?;
        self.pruning.touch(room);
        Ok(true)
    }

    /// A room with its newest messages and first members.
    pub(in super::super) fn room(
        &self,
        name: &str,
        newest_max: u32,
        members_max: u32,
    ) -> Result<Option<StoredRoom>, StoreError> {
        let sql = "SELECT key, meta, epoch, next_offset, oldest_offset, messages_max, age_ms_max, bytes_max,
                (SELECT count(*) FROM members WHERE room = key)
            FROM rooms JOIN heads ON room = key WHERE name = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let room = statement.query_row([name], |row| {
            let room = StoredRoom {
                meta: row.get(1)?,
                epoch: row.get(2)?,
                next_offset: unsigned(row.get(3)?),
                oldest_offset: unsigned(row.get(4)?),
                retention: Retention {
                    messages_max: unsigned(row.get(5)?),
                    age_ms_max: unsigned(row.get(6)?),
                    bytes_max: unsigned(row.get(7)?),
                },
                members_count: unsigned(row.get(8)?),
                members: Vec::new(),
                newest: Vec::new(),
            };
            Ok((row.get(0)?, room))
        });
        let Some((key, mut room)): Option<(i64, StoredRoom)> = room.optional()? else {
            return Ok(None);
        };
        room.members = self.members_of(key, None, members_max)?;
        let newest = Page {
            limit: newest_max,
            ..Page::default()
        };
        room.newest = self.page(key, newest)?;
        Ok(Some(room))
    }

    /// Rooms whose name begins with `prefix` and comes after `after`, by name, with their metadata.
    pub(in super::super) fn rooms(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let sql = "SELECT name, meta FROM rooms
            WHERE name >= ?1 AND (?2 IS NULL OR name > ?2) AND substr(name, 1, length(?1)) = ?1
            ORDER BY name LIMIT ?3";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rooms = statement.query_map((prefix, after, limit.min(PAGE_MAX)), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        Ok(rooms.collect::<rusqlite::Result<_>>()?)
    }
}
