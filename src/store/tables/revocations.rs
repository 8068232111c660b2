//! Revocations: kept, forgotten, and all read again at a start.

use super::super::error::StoreError;
use super::super::record::StoredRevocation;
use super::messages::PAGE_MAX;
use super::{Tables, integer, unsigned};

impl Tables {
    /// Keeps a revocation as the newest, in place of one of the same kind and name, with the later of both
    /// times and ends; and forgets those whose end is not after `now_s`, and another, if one is named.
    pub(in super::super) fn put_revocation(
        &self,
        revocation: &StoredRevocation,
        displaced: Option<&(u8, String)>,
        now_s: u64,
    ) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO revocations (kind, name, before_s, until_s)
            SELECT ?1, ?2, max(?3, ifnull(max(before_s), 0)), max(?4, ifnull(max(until_s), 0))
            FROM revocations WHERE kind = ?1 AND name = ?2";
        let StoredRevocation {
            kind,
            name,
            before_s,
            until_s,
        } = revocation;
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.execute((kind, name, integer(*before_s), integer(*until_s)))?;
        self.forget_ended(now_s)?;
        if let Some((kind, name)) = displaced {
            let sql = "DELETE FROM revocations WHERE kind = ?1 AND name = ?2";
            self.connection.prepare_cached(sql)?.execute((kind, name))?;
        }
        Ok(())
    }

    /// Forgets revocations whose end is not after `now_s`, and of the others the oldest, until `count_max`
    /// are left.
    pub(in super::super) fn purge_revocations(
        &self,
        now_s: u64,
        count_max: u32,
    ) -> Result<(), StoreError> {
        self.forget_ended(now_s)?;
        let sql = "DELETE FROM revocations WHERE place <=
            (SELECT place FROM revocations ORDER BY place DESC LIMIT 1 OFFSET ?1)";
        self.connection.prepare_cached(sql)?.execute([count_max])?;
        Ok(())
    }

    fn forget_ended(&self, now_s: u64) -> Result<(), StoreError> {
        let sql = "DELETE FROM revocations WHERE until_s <= ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.execute([integer(now_s)])?;
        Ok(())
    }

    /// Revocations of a greater place, the oldest first; at most `limit` and [`PAGE_MAX`].
    pub(in super::super) fn revocations(
        &self,
        after: u64,
        limit: u32,
    ) -> Result<Vec<(u64, StoredRevocation)>, StoreError> {
        let sql = "SELECT place, kind, name, before_s, until_s FROM revocations
            WHERE place > ?1 ORDER BY place LIMIT ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map((integer(after), limit.min(PAGE_MAX)), |row| {
            let revocation = StoredRevocation {
                kind: row.get(1)?,
                name: row.get(2)?,
                before_s: unsigned(row.get(3)?),
                until_s: unsigned(row.get(4)?),
            };
            Ok((unsigned(row.get(0)?), revocation))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}
