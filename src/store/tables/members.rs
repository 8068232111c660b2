//! Members and their marks.

use super::super::error::StoreError;
use super::super::record::{Marks, StoredMember};
use super::messages::PAGE_MAX;
use super::{Tables, integer, unsigned};

impl Tables {
    /// Makes a user a member, or changes the role of one. `false`: no such room.
    pub(in super::super) fn set_member(
        &self,
        room: &str,
        user: &str,
        role: u8,
    ) -> Result<bool, StoreError> {
        let sql =
            "INSERT INTO members (room, user, role) SELECT key, ?2, ?3 FROM rooms WHERE name = ?1
            ON CONFLICT DO UPDATE SET role = excluded.role";
        let changed = self
            .connection
            .prepare_cached(sql)?
            .execute((room, user, role))?;
        Ok(changed > 0)
    }

    /// Ends a membership. `false`: there was none.
    pub(in super::super) fn remove_member(
        &self,
        room: &str,
        user: &str,
    ) -> Result<bool, StoreError> {
        let sql = "DELETE FROM members
            WHERE room = (SELECT key FROM rooms WHERE name = ?1) AND user = ?2";
        let deleted = self.connection.prepare_cached(sql)?.execute((room, user))?;
        Ok(deleted > 0)
    }

    /// Raises marks of members. `false`: no such room.
    pub(in super::super) fn set_marks(
        &self,
        room: &str,
        marks: &[Marks],
    ) -> Result<bool, StoreError> {
        let Some(room) = self.room_key(room)? else {
            return Ok(false);
        };
        let sql = "UPDATE members SET delivered = max(delivered, ?3), read = max(read, ?4)
            WHERE room = ?1 AND user = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        for Marks {
            user,
            delivered,
            read,
        } in marks
        {
            statement.execute((room, user, integer(*delivered), integer(*read)))?;
        }
        Ok(true)
    }

    /// Members of a room after `after`, by name.
    ///
    /// Errors: `UnknownRoom`, and the environment's.
    pub(in super::super) fn members(
        &self,
        room: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<StoredMember>, StoreError> {
        let room = self.room_key(room)?.ok_or(StoreError::UnknownRoom)?;
        self.members_of(room, after, limit)
    }

    /// Members of the room of this key after `after`, by name.
    pub(super) fn members_of(
        &self,
        room: i64,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<StoredMember>, StoreError> {
        let sql = "SELECT user, role, delivered, read FROM members
            WHERE room = ?1 AND (?2 IS NULL OR user > ?2) ORDER BY user LIMIT ?3";
        let mut statement = self.connection.prepare_cached(sql)?;
        let members = statement.query_map((room, after, limit.min(PAGE_MAX)), |row| {
            Ok(StoredMember {
                user: row.get(0)?,
                role: row.get(1)?,
                delivered: unsigned(row.get(2)?),
                read: unsigned(row.get(3)?),
            })
        })?;
        Ok(members.collect::<rusqlite::Result<_>>()?)
    }

    /// The rooms that a user is a member of, by name.
    pub(in super::super) fn rooms_of(
        &self,
        user: &str,
        limit: u32,
    ) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT name FROM members JOIN rooms ON key = room
            WHERE user = ?1 AND name IS NOT NULL ORDER BY name LIMIT ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let names = statement.query_map((user, limit.min(PAGE_MAX)), |row| row.get(0))?;
        Ok(names.collect::<rusqlite::Result<_>>()?)
    }
}
