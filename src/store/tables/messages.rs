//! Messages: appended, found, paged through.

use rusqlite::{ErrorCode, OptionalExtension as _, Row, params};

use super::super::error::StoreError;
use super::super::record::{Append, Appended, Page, Record};
use super::{Tables, integer, unsigned};

/// Most messages, members or rooms in one answer, whatever limit was asked for.
pub const PAGE_MAX: u32 = 10_000;

impl Tables {
    /// Stores a message unless it is a repeat.
    ///
    /// Errors: `UnknownRoom`, `DuplicateId`, and the environment's.
    pub(in super::super) fn append(&mut self, append: &Append) -> Result<Appended, StoreError> {
        self.pruning.set_time(append.unix_ms);
        let head = "SELECT key, next_offset, messages_max > 0 OR bytes_max > 0
            FROM rooms JOIN heads ON room = key WHERE name = ?1";
        let mut head = self.connection.prepare_cached(head)?;
        let head = head.query_row([&append.room], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        });
        let Some((room, offset, is_limited)): Option<(i64, i64, bool)> = head.optional()? else {
            return Err(StoreError::UnknownRoom);
        };
        if let Some(first) = self.first_sent(room, append)? {
            self.tally.repeats += 1;
            return Ok(first);
        }
        self.insert(room, offset, append)?;
        let head =
            "UPDATE heads SET next_offset = next_offset + 1, bytes = bytes + ?2 WHERE room = ?1";
        let mut head = self.connection.prepare_cached(head)?;
        head.execute((room, integer(append.body.len() as u64)))?;
        self.note_sent(room, offset, append)?;
        if is_limited {
            self.pruning.touch(room);
        }
        self.tally.appended += 1;
        Ok(Appended {
            offset: unsigned(offset),
            is_repeat: false,
            id: append.id,
            unix_ms: append.unix_ms,
        })
    }

    /// What was answered to the first message of this sender's id, if the window is still open.
    fn first_sent(&self, room: i64, append: &Append) -> Result<Option<Appended>, StoreError> {
        let Some(client_message_id) = &append.client_message_id else {
            return Ok(None);
        };
        let sql = "SELECT offset, id, unix_ms FROM sent
            WHERE room = ?1 AND user = ?2 AND client_message_id = ?3 AND expires_ms > ?4";
        let mut statement = self.connection.prepare_cached(sql)?;
        let keys = (
            room,
            &append.user,
            client_message_id,
            integer(append.unix_ms),
        );
        let first = statement.query_row(keys, |row| {
            Ok(Appended {
                offset: unsigned(row.get(0)?),
                is_repeat: true,
                id: u128::from_be_bytes(row.get(1)?),
                unix_ms: unsigned(row.get(2)?),
            })
        });
        Ok(first.optional()?)
    }

    /// Remembers the sender's id of a message for its window.
    fn note_sent(&self, room: i64, offset: i64, append: &Append) -> Result<(), StoreError> {
        let (Some(client_message_id), 1..) = (&append.client_message_id, append.dedupe_window_ms)
        else {
            return Ok(());
        };
        let sql = "INSERT OR REPLACE INTO sent VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let expires_ms = append.unix_ms.saturating_add(append.dedupe_window_ms);
        self.connection.prepare_cached(sql)?.execute(params![
            room,
            append.user,
            client_message_id,
            offset,
            append.id.to_be_bytes(),
            integer(append.unix_ms),
            integer(expires_ms),
        ])?;
        Ok(())
    }

    fn insert(&self, room: i64, offset: i64, append: &Append) -> Result<(), StoreError> {
        let sql = "INSERT INTO messages VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        let inserted = self.connection.prepare_cached(sql)?.execute(params![
            room,
            offset,
            append.id.to_be_bytes(),
            integer(append.unix_ms),
            append.user,
            append.message_type,
            append.flags,
            append.client_message_id,
            append.body,
        ]);
        match inserted {
            Ok(_) => Ok(()),
            // Of the two keys the offset is ours, and new.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                Err(StoreError::DuplicateId)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A page of a room's messages, by offset.
    ///
    /// Errors: `UnknownRoom`, and the environment's.
    pub(in super::super) fn history(
        &self,
        room: &str,
        page: Page,
    ) -> Result<Vec<Record>, StoreError> {
        let room = self.room_key(room)?.ok_or(StoreError::UnknownRoom)?;
        self.page(room, page)
    }

    /// A page of the messages of the room of this key, by offset.
    pub(super) fn page(&self, room: i64, page: Page) -> Result<Vec<Record>, StoreError> {
        let order = if page.after.is_some() { "ASC" } else { "DESC" };
        let sql = format!(
            "SELECT offset, id, unix_ms, user, type, flags, client_message_id, body FROM messages
            WHERE room = ?1 AND offset > ?2 AND offset < ?3 ORDER BY offset {order} LIMIT ?4"
        );
        let after = page.after.map_or(0, integer);
        let before = page.before.map_or(i64::MAX, integer);
        let limit = page.limit.min(PAGE_MAX);
        let mut statement = self.connection.prepare_cached(&sql)?;
        let records = statement.query_map((room, after, before, limit), record)?;
        let mut records = records.collect::<rusqlite::Result<Vec<Record>>>()?;
        if page.after.is_none() {
            records.reverse();
        }
        Ok(records)
    }

    /// The offset of the message of this id, if the room has one.
    pub(in super::super) fn find(&self, room: &str, id: u128) -> Result<Option<u64>, StoreError> {
        let sql =
            "SELECT offset FROM rooms JOIN messages ON room = key WHERE name = ?1 AND id = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let offset = statement.query_row((room, id.to_be_bytes()), |row| row.get(0));
        Ok(offset.optional()?.map(unsigned))
    }
}

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record {
        offset: unsigned(row.get(0)?),
        id: u128::from_be_bytes(row.get(1)?),
        unix_ms: unsigned(row.get(2)?),
        user: row.get(3)?,
        message_type: row.get(4)?,
        flags: row.get(5)?,
        client_message_id: row.get(6)?,
        body: row.get(7)?,
    })
}
