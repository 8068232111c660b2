//! Deleting what is not to be kept, in small steps: a large room does not hold up the others.

use std::collections::BTreeSet;

use rusqlite::OptionalExtension as _;

use super::super::error::StoreError;
use super::{Tables, Tally, integer};

/// Most rows that one step deletes of a room, and most rooms that it looks at.
const STEP_MAX: u32 = 256;
/// How often all rooms with a limit are looked at, since messages age by themselves, milliseconds.
const SWEEP_EVERY_MS: u64 = 60_000;
/// Most rooms remembered as touched; the next sweep finds the others.
const TOUCHED_MAX: usize = 65_536;

/// What is to be looked at. Lost at a restart, after which a sweep finds it again.
#[derive(Debug)]
pub(super) struct Pruning {
    /// The time of the latest request that told it, milliseconds since 1970.
    now_unix_ms: u64,
    /// Rooms that have grown, or whose limits have changed.
    touched: BTreeSet<i64>,
    /// Whether there may be rooms half removed.
    has_removed: bool,
    /// The room after which a sweep under way goes on.
    sweep: Option<i64>,
    /// Whether there may be repeats whose window has ended.
    has_expired: bool,
    /// When the last sweep began.
    sweep_unix_ms: u64,
}

impl Pruning {
    pub(super) fn new() -> Self {
        Self {
            now_unix_ms: 0,
            touched: BTreeSet::new(),
            has_removed: true,
            sweep: None,
            has_expired: false,
            sweep_unix_ms: 0,
        }
    }

    pub(super) fn set_time(&mut self, unix_ms: u64) {
        self.now_unix_ms = unix_ms;
        if unix_ms.abs_diff(self.sweep_unix_ms) >= SWEEP_EVERY_MS {
            self.sweep_unix_ms = unix_ms;
            self.sweep = Some(0);
            self.has_expired = true;
        }
    }

    fn start_over(&mut self) {
        self.sweep = Some(0);
        self.has_removed = true;
        self.has_expired = true;
    }

    pub(super) fn touch(&mut self, room: i64) {
        if self.touched.len() < TOUCHED_MAX {
            self.touched.insert(room);
        }
    }

    pub(super) fn expect_removed(&mut self) {
        self.has_removed = true;
    }
}

/// The end of a room's history: where it begins, what it weighs, and what is kept of it.
struct Tail {
    next_offset: i64,
    oldest_offset: i64,
    bytes: i64,
    messages_max: i64,
    age_ms_max: i64,
    bytes_max: i64,
}

impl Tables {
    /// Takes over the time of who asks, by which messages age.
    pub(in super::super) fn set_time(&mut self, unix_ms: u64) {
        self.pruning.set_time(unix_ms);
    }

    /// Whether there is anything to look at.
    pub(in super::super) fn has_pruning(&self) -> bool {
        let Pruning {
            touched,
            has_removed,
            sweep,
            has_expired,
            ..
        } = &self.pruning;
        !touched.is_empty() || *has_removed || sweep.is_some() || *has_expired
    }

    /// One step, in a transaction of its own, which is rolled back if it fails.
    pub(in super::super) fn prune(&mut self) -> Result<Tally, StoreError> {
        let pruned = self.prune_step();
        if pruned.is_err() {
            self.roll_back();
            // What was done is undone: look at everything again.
            self.pruning.start_over();
        }
        pruned
    }

    fn prune_step(&mut self) -> Result<Tally, StoreError> {
        self.begin()?;
        self.prune_touched()?;
        self.prune_removed()?;
        self.sweep()?;
        self.prune_sent()?;
        self.commit()
    }

    fn prune_touched(&mut self) -> Result<(), StoreError> {
        let mut rows_left = STEP_MAX;
        for _ in 0..STEP_MAX {
            let Some(&room) = self.pruning.touched.first() else {
                break;
            };
            rows_left -= self.prune_room(room, rows_left)?;
            if rows_left == 0 {
                // There may be more of this one, with which the next step begins.
                break;
            }
            self.pruning.touched.remove(&room);
        }
        Ok(())
    }

    fn sweep(&mut self) -> Result<(), StoreError> {
        let Some(after) = self.pruning.sweep else {
            return Ok(());
        };
        let sql = "SELECT key FROM rooms WHERE key > ?1
            AND (messages_max > 0 OR age_ms_max > 0 OR bytes_max > 0) ORDER BY key LIMIT ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rooms = statement.query_map((after, STEP_MAX), |row| row.get(0))?;
        let rooms = rooms.collect::<rusqlite::Result<Vec<i64>>>()?;
        drop(statement);
        if rooms.is_empty() {
            self.pruning.sweep = None;
        }
        let mut rows_left = STEP_MAX;
        for room in rooms {
            rows_left -= self.prune_room(room, rows_left)?;
            if rows_left == 0 {
                // There may be more of this one, with which the next step begins.
                self.pruning.sweep = Some(room - 1);
                break;
            }
            self.pruning.sweep = Some(room);
        }
        Ok(())
    }

    /// Deletes the oldest messages of a room that are over a limit, at most `rows_max`; how many.
    fn prune_room(&mut self, room: i64, rows_max: u32) -> Result<u32, StoreError> {
        let sql = "SELECT next_offset, oldest_offset, bytes, messages_max, age_ms_max, bytes_max
            FROM rooms JOIN heads ON room = key WHERE key = ?1 AND name IS NOT NULL";
        let mut statement = self.connection.prepare_cached(sql)?;
        let tail = statement.query_row([room], |row| {
            Ok(Tail {
                next_offset: row.get(0)?,
                oldest_offset: row.get(1)?,
                bytes: row.get(2)?,
                messages_max: row.get(3)?,
                age_ms_max: row.get(4)?,
                bytes_max: row.get(5)?,
            })
        });
        let Some(mut tail) = tail.optional()? else {
            return Ok(0);
        };
        let count = self.cut(room, &mut tail, rows_max)?;
        if count > 0 {
            let sql = "DELETE FROM messages WHERE room = ?1 AND offset < ?2";
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.execute((room, tail.oldest_offset))?;
            let sql = "UPDATE heads SET oldest_offset = ?2, bytes = ?3 WHERE room = ?1";
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.execute((room, tail.oldest_offset, tail.bytes))?;
            self.tally.pruned += u64::from(count);
        }
        Ok(count)
    }

    /// Moves the tail over the messages that are to go, at most `rows_max`; how many.
    fn cut(&self, room: i64, tail: &mut Tail, rows_max: u32) -> Result<u32, StoreError> {
        let sql = "SELECT offset, unix_ms, length(body) FROM messages WHERE room = ?1
            ORDER BY offset LIMIT ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query((room, rows_max))?;
        let oldest_unix_ms = integer(self.pruning.now_unix_ms) - tail.age_ms_max;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let (offset, unix_ms, bytes): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let is_over = tail.messages_max > 0 && tail.next_offset - offset > tail.messages_max
                || tail.age_ms_max > 0 && unix_ms < oldest_unix_ms
                || tail.bytes_max > 0 && tail.bytes > tail.bytes_max;
            if !is_over {
                break;
            }
            tail.oldest_offset = offset + 1;
            tail.bytes -= bytes;
            count += 1;
        }
        Ok(count)
    }

    /// Deletes some of what is left of a removed room, and in the end the room.
    fn prune_removed(&mut self) -> Result<(), StoreError> {
        if !self.pruning.has_removed {
            return Ok(());
        }
        let sql = "SELECT key FROM rooms WHERE name IS NULL LIMIT 1";
        let room = self
            .connection
            .prepare_cached(sql)?
            .query_row((), |row| row.get(0));
        let Some(room): Option<i64> = room.optional()? else {
            self.pruning.has_removed = false;
            return Ok(());
        };
        let delete = |sql| {
            self.connection
                .prepare_cached(sql)?
                .execute((room, STEP_MAX))
        };
        let messages = delete(
            "DELETE FROM messages WHERE room = ?1 AND offset IN
            (SELECT offset FROM messages WHERE room = ?1 ORDER BY offset LIMIT ?2)",
        )?;
        let members = delete(
            "DELETE FROM members WHERE room = ?1 AND user IN
            (SELECT user FROM members WHERE room = ?1 ORDER BY user LIMIT ?2)",
        )?;
        let sent = delete(
            "DELETE FROM sent WHERE room = ?1 AND (user, client_message_id) IN
            (SELECT user, client_message_id FROM sent WHERE room = ?1 LIMIT ?2)",
        )?;
        if messages + members + sent == 0 {
            for sql in [
                "DELETE FROM heads WHERE room = ?1",
                "DELETE FROM rooms WHERE key = ?1",
            ] {
                self.connection.prepare_cached(sql)?.execute([room])?;
            }
        }
        self.tally.pruned += messages as u64;
        Ok(())
    }

    /// Forgets repeats whose window has ended.
    fn prune_sent(&mut self) -> Result<(), StoreError> {
        if !self.pruning.has_expired {
            return Ok(());
        }
        let sql = "DELETE FROM sent WHERE (room, user, client_message_id) IN
            (SELECT room, user, client_message_id FROM sent WHERE expires_ms <= ?1
                ORDER BY expires_ms LIMIT ?2)";
        let now = integer(self.pruning.now_unix_ms);
        let deleted = self
            .connection
            .prepare_cached(sql)?
            .execute((now, STEP_MAX))?;
        self.pruning.has_expired = deleted > 0;
        Ok(())
    }
}
