//! Pairings: kept, forgotten, and all read again at a start.

use super::super::error::StoreError;
use super::Tables;
use super::messages::PAGE_MAX;

impl Tables {
    /// Keeps pairings, in place of what was kept under the same identifiers, and forgets others.
    pub(in super::super) fn put_pairings(
        &self,
        records: &[(u128, String)],
        forgotten: &[u128],
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO pairings (id, record) VALUES (?1, ?2)
            ON CONFLICT (id) DO UPDATE SET record = excluded.record";
        let mut statement = self.connection.prepare_cached(sql)?;
        for (id, record) in records {
            statement.execute((id.to_be_bytes(), record))?;
        }
        let sql = "DELETE FROM pairings WHERE id = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        for id in forgotten {
            statement.execute([id.to_be_bytes()])?;
        }
        Ok(())
    }

    /// Pairings after an identifier, sorted by it; at most `limit` and [`PAGE_MAX`].
    pub(in super::super) fn pairings(
        &self,
        after: Option<u128>,
        limit: u32,
    ) -> Result<Vec<(u128, String)>, StoreError> {
        let sql =
            "SELECT id, record FROM pairings WHERE ?1 IS NULL OR id > ?1 ORDER BY id LIMIT ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let after = after.map(u128::to_be_bytes);
        let rows = statement.query_map((after, limit.min(PAGE_MAX)), |row| {
            let id: [u8; 16] = row.get(0)?;
            Ok((u128::from_be_bytes(id), row.get(1)?))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}
