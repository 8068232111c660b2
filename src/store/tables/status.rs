//! What has become of one message: how far the members of its room have got.

use rusqlite::OptionalExtension as _;

use super::super::error::StoreError;
use super::super::record::StoredStatus;
use super::{Tables, integer, unsigned};

impl Tables {
    /// The name of the room that has a message of this id.
    pub(in super::super) fn room_of(&self, id: u128) -> Result<Option<String>, StoreError> {
        let sql = "SELECT name FROM messages JOIN rooms ON key = room
            WHERE id = ?1 AND name IS NOT NULL LIMIT 1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let name = statement.query_row([id.to_be_bytes()], |row| row.get(0));
        Ok(name.optional()?)
    }

    /// The message of this id, and what members besides its author have got and read of it, by name if they
    /// are `named_max` at most. Looks at each member of the room.
    pub(in super::super) fn status(
        &self,
        room: &str,
        id: u128,
        named_max: u32,
    ) -> Result<Option<StoredStatus>, StoreError> {
        let sql = "SELECT key, offset, unix_ms, user FROM rooms JOIN messages ON room = key
            WHERE name = ?1 AND id = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let message = statement.query_row((room, id.to_be_bytes()), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        });
        let Some((room, offset, unix_ms, user)): Option<(i64, i64, i64, String)> =
            message.optional()?
        else {
            return Ok(None);
        };
        let sql = "SELECT count(*), count(*) FILTER (WHERE max(delivered, read) >= ?3),
                count(*) FILTER (WHERE read >= ?3)
            FROM members WHERE room = ?1 AND user <> ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let counts = statement.query_row((room, &user, offset), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
        let (others, delivered, read): (i64, i64, i64) = counts;
        let mut status = StoredStatus {
            offset: unsigned(offset),
            unix_ms: unsigned(unix_ms),
            user,
            others: unsigned(others),
            delivered: unsigned(delivered),
            read: unsigned(read),
            members: None,
        };
        if others <= integer(named_max.into()) {
            // The author may be one of them.
            let mut members = self.members_of(room, None, named_max.saturating_add(1))?;
            members.retain(|member| member.user != status.user);
            status.members = Some(members);
        }
        Ok(Some(status))
    }
}
