//! The store on a real file: each promise of `docs/STORE.md` that one process can see.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::*;

/// A directory that is gone when the test is.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> Self {
        let name = format!("campanile-store-{}", uuid::Uuid::now_v7());
        Self(std::env::temp_dir().join(name))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Options for a test: nothing here loses power.
    pub(super) fn options(&self) -> StoreOptions {
        StoreOptions {
            synchronous: Synchronous::Normal,
            ..StoreOptions::new(&self.0)
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A store with the room `r`.
fn open(options: &StoreOptions) -> (Store, StoreThread) {
    let (store, thread) = Store::open(options).unwrap();
    store
        .create_room("r", "epoch", "{}")
        .unwrap()
        .wait()
        .unwrap();
    (store, thread)
}

fn message(id: u128) -> Append {
    Append {
        room: "r".into(),
        id,
        unix_ms: 1_000_000,
        user: "u".into(),
        message_type: "chat".into(),
        body: id.to_string().into_bytes(),
        flags: 7,
        client_message_id: None,
        dedupe_window_ms: 0,
    }
}

fn append(store: &Store, append: Append) -> Result<Appended, StoreError> {
    store.append(append).unwrap().wait()
}

/// Everything in room `r`.
fn offsets(store: &Store) -> Vec<u64> {
    let page = Page {
        limit: PAGE_MAX,
        ..Page::default()
    };
    let records = store.history("r", page).unwrap().wait().unwrap();
    records.iter().map(|record| record.offset).collect()
}

/// Makes the thread wait until what this returns is dropped, as a slow disk would.
fn hold(store: &Store) -> impl Drop {
    struct Held(mpsc::Sender<()>);
    impl Drop for Held {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let (release, released) = mpsc::channel();
    let (reached, is_reached) = mpsc::channel();
    let released = Mutex::new(released);
    let work = move |_: &mut Tables| {
        let _ = reached.send(());
        let _ = released.lock().unwrap().recv();
        Ok(())
    };
    let _reply = store.request(Kind::Read, 0, work).unwrap();
    is_reached.recv().unwrap();
    Held(release)
}

/// Waits until the store has looked at everything that it might delete.
fn pruned(store: &Store) {
    loop {
        let mut is_done = false;
        let (sender, receiver) = mpsc::channel();
        let work = move |tables: &mut Tables| {
            let _ = sender.send(!tables.has_pruning());
            Ok(())
        };
        store.request(Kind::Read, 0, work).unwrap().wait().unwrap();
        is_done |= receiver.recv().unwrap();
        if is_done {
            return;
        }
        std::thread::yield_now();
    }
}

#[test]
fn offsets_are_consecutive_from_1_and_outlive_a_restart() {
    let scratch = Scratch::new();
    let (store, thread) = open(&scratch.options());
    for id in 1..=3 {
        let appended = append(&store, message(id.into())).unwrap();
        assert_eq!((appended.offset, appended.is_repeat), (id, false));
    }
    thread.stop();
    let (store, _thread) = Store::open(&scratch.options()).unwrap();
    assert_eq!(append(&store, message(4)).unwrap().offset, 4);
    let room = store.room("r", 2, 10).unwrap().wait().unwrap().unwrap();
    assert_eq!((room.next_offset, room.oldest_offset), (5, 1));
    assert_eq!((&*room.epoch, &*room.meta), ("epoch", "{}"));
    let newest: Vec<u64> = room.newest.iter().map(|record| record.offset).collect();
    assert_eq!(newest, [3, 4]);
    assert_eq!(room.newest[1].body, b"4");
    assert_eq!(room.newest[1].flags, 7);
}

#[test]
fn a_repeat_within_the_window_gets_the_first_answer() {
    let scratch = Scratch::new();
    let (store, _thread) = open(&scratch.options());
    let sent = |id, unix_ms| Append {
        unix_ms,
        client_message_id: Some("c".into()),
        dedupe_window_ms: 1000,
        ..message(id)
    };
    let first = append(&store, sent(1, 5000)).unwrap();
    let repeat = append(&store, sent(2, 5999)).unwrap();
    assert_eq!(
        (repeat.offset, repeat.id, repeat.unix_ms),
        (first.offset, 1, 5000)
    );
    assert!(repeat.is_repeat && !first.is_repeat);
    let other_user = Append {
        user: "v".into(),
        ..sent(3, 5999)
    };
    assert_eq!(append(&store, other_user).unwrap().offset, 2);
    let later = append(&store, sent(4, 6000)).unwrap();
    assert_eq!((later.offset, later.is_repeat), (3, false));
    let stats = store.stats();
    assert_eq!((stats.appended, stats.repeats), (3, 1));
}

#[test]
fn one_bad_request_in_a_group_spoils_no_other() {
    let scratch = Scratch::new();
    let (store, _thread) = open(&scratch.options());
    let held = hold(&store);
    let unknown = Append {
        room: "other".into(),
        ..message(9)
    };
    let replies =
        [message(1), message(1), unknown, message(2)].map(|message| store.append(message).unwrap());
    drop(held);
    let answers = replies.map(|reply| reply.wait().map(|appended| appended.offset));
    let expected = [
        Ok(1),
        Err(StoreError::DuplicateId),
        Err(StoreError::UnknownRoom),
        Ok(2),
    ];
    assert_eq!(answers, expected);
    let stats = store.stats();
    assert_eq!(
        (stats.failed, stats.is_failing, stats.appended),
        (2, false, 2)
    );
    assert!(stats.group_largest >= 4, "{stats:?}");
}

#[test]
fn a_group_that_cannot_be_committed_is_answered_as_failed_and_its_reads_again() {
    let scratch = Scratch::new();
    let (store, _thread) = open(&scratch.options());
    let held = hold(&store);
    let first = store.append(message(1)).unwrap();
    let seen = store
        .history(
            "r",
            Page {
                limit: 9,
                ..Page::default()
            },
        )
        .unwrap();
    // As SQLite does by itself when it runs out of disk half-way.
    let lose = |tables: &mut Tables| {
        tables.roll_back();
        Ok(())
    };
    let lost = store.request(Kind::Write, 0, lose).unwrap();
    let last = store.append(message(2)).unwrap();
    drop(held);
    assert!(matches!(first.wait(), Err(StoreError::Failed(_))));
    assert!(matches!(lost.wait(), Err(StoreError::Failed(_))));
    assert!(matches!(last.wait(), Err(StoreError::Failed(_))));
    assert_eq!(seen.wait(), Ok(vec![]), "what is undone has not been read");
    let stats = store.stats();
    assert_eq!(
        (stats.failed, stats.appended, stats.is_failing),
        (3, 0, true)
    );
    assert_eq!(append(&store, message(1)).unwrap().offset, 1);
    assert!(!store.stats().is_failing);
}

#[test]
fn a_group_on_a_full_disk_answers_as_done_what_is_stored_and_nothing_else() {
    let scratch = Scratch::new();
    let options = StoreOptions {
        file_bytes_max: 60 * 4096,
        group_max: 7,
        ..scratch.options()
    };
    let (store, thread) = open(&options);
    let held = hold(&store);
    let replies: Vec<_> = (1..=200_u16)
        .map(|id| {
            let append = Append {
                body: vec![b'x'; usize::from(id) * 37 % 4000],
                ..message(id.into())
            };
            store.append(append).unwrap()
        })
        .collect();
    drop(held);
    let answers: Vec<_> = replies.into_iter().map(Reply::wait).collect();
    let done: Vec<u64> = answers
        .iter()
        .flatten()
        .map(|appended| appended.offset)
        .collect();
    let failed: Vec<_> = answers
        .iter()
        .filter_map(|answer| answer.as_ref().err())
        .collect();
    assert!(!done.is_empty() && !failed.is_empty());
    assert!(
        failed.iter().all(|&error| *error == StoreError::Full),
        "{failed:?}"
    );
    assert_eq!(offsets(&store), done);
    assert_eq!(
        (store.stats().appended, store.stats().failed),
        (done.len() as u64, failed.len() as u64)
    );
    thread.stop();
    let (store, _thread) = Store::open(&options).unwrap();
    assert_eq!(offsets(&store), done);
}

#[test]
fn a_full_queue_refuses_and_loses_nothing() {
    let scratch = Scratch::new();
    let options = StoreOptions {
        queue_max: 4,
        ..scratch.options()
    };
    let (store, _thread) = open(&options);
    let held = hold(&store);
    let replies: Vec<_> = (1..=3)
        .map(|id| store.append(message(id)).unwrap())
        .collect();
    assert_eq!(store.append(message(4)).err(), Some(StoreBusy));
    assert_eq!((store.stats().queued, store.stats().busy), (4, 1));
    drop(held);
    for reply in replies {
        reply.wait().unwrap();
    }
    assert_eq!(append(&store, message(4)).unwrap().offset, 4);
    let stats = store.stats();
    assert_eq!((stats.queued, stats.queued_bytes), (0, 0));
}

#[test]
fn the_queue_is_bounded_in_bytes() {
    let scratch = Scratch::new();
    let options = StoreOptions {
        queue_bytes_max: 10_000,
        ..scratch.options()
    };
    let (store, _thread) = open(&options);
    let large = |id| Append {
        body: vec![0; 6000],
        ..message(id)
    };
    let held = hold(&store);
    let first = store.append(large(1)).unwrap();
    assert_eq!(store.append(large(2)).err(), Some(StoreBusy));
    drop(held);
    first.wait().unwrap();
    assert_eq!(append(&store, large(2)).unwrap().offset, 2);
}

#[test]
fn a_full_disk_fails_requests_until_there_is_room_again() {
    let scratch = Scratch::new();
    let options = StoreOptions {
        file_bytes_max: 40 * 4096,
        ..scratch.options()
    };
    let (store, thread) = open(&options);
    let large = |id| Append {
        body: vec![b'x'; 3000],
        ..message(id)
    };
    let mut stored = 0;
    let error = loop {
        match append(&store, large(u128::from(stored) + 1)) {
            Ok(appended) => stored = appended.offset,
            Err(error) => break error,
        }
    };
    assert_eq!(error, StoreError::Full);
    assert!(stored > 5 && store.stats().is_failing);
    // What was acknowledged is there and can be read, full or not.
    assert_eq!(offsets(&store), (1..=stored).collect::<Vec<_>>());
    let retention = Retention {
        messages_max: 3,
        ..Retention::default()
    };
    assert!(store.set_retention("r", retention).unwrap().wait().unwrap());
    pruned(&store);
    let appended = append(&store, large(1000)).unwrap();
    assert_eq!(
        appended.offset,
        stored + 1,
        "a failed append uses up no offset"
    );
    assert!(!store.stats().is_failing);
    thread.stop();
    let (store, _thread) = Store::open(&options).unwrap();
    assert_eq!(offsets(&store).last(), Some(&(stored + 1)));
}

#[test]
fn retention_keeps_the_newest_by_count_age_and_bytes() {
    let cases = [
        (
            Retention {
                messages_max: 3,
                ..Retention::default()
            },
            8,
        ),
        (
            Retention {
                age_ms_max: 4000,
                ..Retention::default()
            },
            6,
        ),
        (
            Retention {
                bytes_max: 250,
                ..Retention::default()
            },
            9,
        ),
        (Retention::default(), 1),
    ];
    for (retention, oldest) in cases {
        let scratch = Scratch::new();
        let (store, _thread) = open(&scratch.options());
        assert!(store.set_retention("r", retention).unwrap().wait().unwrap());
        for n in 1..=10 {
            let append = Append {
                unix_ms: n * 1000,
                body: vec![0; 100],
                ..message(n.into())
            };
            store.append(append).unwrap().wait().unwrap();
        }
        // Far from the last sweep, near to the last message: by age alone nothing is looked at before.
        let _reply = store.set_retention("r", retention).unwrap();
        pruned(&store);
        assert_eq!(offsets(&store).first(), Some(&oldest), "{retention:?}");
        let room = store.room("r", 0, 0).unwrap().wait().unwrap().unwrap();
        assert_eq!((room.oldest_offset, room.next_offset), (oldest, 11));
        assert_eq!(room.retention, retention);
        assert_eq!(store.stats().pruned, oldest - 1);
    }
}

#[test]
fn messages_age_while_nothing_is_sent() {
    let scratch = Scratch::new();
    let (store, _thread) = open(&scratch.options());
    let retention = Retention {
        age_ms_max: 10_000,
        ..Retention::default()
    };
    let _reply = store.set_retention("r", retention).unwrap();
    for id in 1..=600 {
        let _reply = store.append(message(id)).unwrap();
    }
    pruned(&store);
    assert_eq!(offsets(&store).len(), 600);
    let _reply = store.set_time(2_000_000).unwrap();
    pruned(&store);
    assert!(offsets(&store).is_empty());
    assert_eq!(append(&store, message(601)).unwrap().offset, 601);
}

#[test]
fn a_repeat_is_known_after_its_message_was_deleted_and_forgotten_after_the_window() {
    let scratch = Scratch::new();
    let (store, _thread) = open(&scratch.options());
    let retention = Retention {
        bytes_max: 1,
        ..Retention::default()
    };
    let _reply = store.set_retention("r", retention).unwrap();
    let sent = |id, unix_ms| Append {
        unix_ms,
        client_message_id: Some("c".into()),
        dedupe_window_ms: 300_000,
        body: b"long".to_vec(),
        ..message(id)
    };
    append(&store, sent(1, 1000)).unwrap();
    pruned(&store);
    assert!(offsets(&store).is_empty());
    assert_eq!(append(&store, sent(2, 2000)).unwrap().offset, 1);
    let _reply = store.set_time(1_000_000).unwrap();
    pruned(&store);
    // The table is empty again, so that even a request from the past is no repeat.
    assert_eq!(append(&store, sent(3, 2000)).unwrap().offset, 2);
}

#[test]
fn a_removed_room_is_gone_at_once_and_its_name_free() {
    let scratch = Scratch::new();
    let (store, thread) = open(&scratch.options());
    for id in 1..=1000 {
        let _reply = store.append(message(id)).unwrap();
    }
    let _reply = store.set_member("r", "u", 1).unwrap();
    assert!(store.remove_room("r").unwrap().wait().unwrap());
    assert_eq!(store.room("r", 1, 1).unwrap().wait().unwrap(), None);
    assert_eq!(store.find("r", 1).unwrap().wait().unwrap(), None);
    assert_eq!(store.rooms_of("u", 9).unwrap().wait().unwrap(), [""; 0]);
    assert!(
        store
            .create_room("r", "second", "{}")
            .unwrap()
            .wait()
            .unwrap()
    );
    assert_eq!(append(&store, message(1)).unwrap().offset, 1);
    pruned(&store);
    assert_eq!(offsets(&store), [1]);
    assert_eq!(store.stats().pruned, 1000);
    thread.stop();
    let connection = rusqlite::Connection::open(scratch.path().join("campanile.sqlite3")).unwrap();
    for (table, rows) in [
        ("rooms", 1),
        ("heads", 1),
        ("messages", 1),
        ("members", 0),
        ("sent", 0),
    ] {
        let sql = format!("SELECT count(*) FROM {table}");
        let count: i64 = connection.query_row(&sql, (), |row| row.get(0)).unwrap();
        assert_eq!(count, rows, "{table}");
    }
}

#[test]
fn a_directory_has_one_store() {
    let scratch = Scratch::new();
    let (_store, thread) = open(&scratch.options());
    let error = Store::open(&scratch.options()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    thread.stop();
    Store::open(&scratch.options()).unwrap();
}

#[test]
fn unusable_paths_and_files_are_named() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path()).unwrap();
    let file = scratch.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    let error = Store::open(&StoreOptions::new(&file)).unwrap_err();
    assert!(matches!(error, OpenError::Directory { .. }), "{error}");
    let database = scratch.path().join("campanile.sqlite3");
    std::fs::write(&database, "not a database, ".repeat(100)).unwrap();
    let error = Store::open(&scratch.options()).unwrap_err();
    assert!(matches!(error, OpenError::Database { .. }), "{error}");
    assert!(error.to_string().contains("campanile.sqlite3"), "{error}");
}

#[test]
fn a_file_of_a_later_release_is_left_alone() {
    let scratch = Scratch::new();
    let (_store, thread) = open(&scratch.options());
    thread.stop();
    let connection = rusqlite::Connection::open(scratch.path().join("campanile.sqlite3")).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let error = Store::open(&scratch.options()).unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::TooNew {
                version: 99,
                known: 3,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn stopping_does_what_is_queued_and_refuses_the_rest() {
    let scratch = Scratch::new();
    let (store, thread) = open(&scratch.options());
    let replies: Vec<_> = (1..=100)
        .map(|id| store.append(message(id)).unwrap())
        .collect();
    thread.stop();
    for reply in replies {
        reply.wait().unwrap();
    }
    assert_eq!(append(&store, message(101)), Err(StoreError::Closed));
    assert_eq!(store.stats().queued, 0);
}

#[test]
fn handles_are_shared_between_threads() {
    let scratch = Scratch::new();
    let (store, _thread) = open(&scratch.options());
    let offsets_seen = Arc::new(Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (store, offsets_seen) = (store.clone(), Arc::clone(&offsets_seen));
            scope.spawn(move || {
                for n in 0..50 {
                    let appended = append(&store, message(thread * 50 + n)).unwrap();
                    offsets_seen.lock().unwrap().push(appended.offset);
                }
            });
        }
    });
    let mut offsets_seen = offsets_seen.lock().unwrap();
    offsets_seen.sort_unstable();
    assert!(offsets_seen.iter().copied().eq(1..=200));
}

fn pairings(store: &Store, after: Option<u128>, limit: u32) -> Vec<(u128, String)> {
    store.pairings(after, limit).unwrap().wait().unwrap()
}

#[test]
fn pairings_are_replaced_forgotten_and_read_in_pages() {
    let scratch = Scratch::new();
    let (store, thread) = open(&scratch.options());
    let put = |records: &[(u128, &str)], forgotten: &[u128]| {
        let records = records.iter().map(|&(id, record)| (id, record.to_owned()));
        let reply = store.put_pairings(records.collect(), forgotten.to_vec());
        reply.unwrap().wait().unwrap();
    };
    put(&[(1, "a"), (u128::MAX, "c"), (1 << 64, "b")], &[]);
    put(&[(1, "again")], &[1 << 64, 77]);
    put(&[(3, "d")], &[3]);
    thread.stop();
    let (store, _thread) = open(&scratch.options());
    let all = [(1, "again".to_owned()), (u128::MAX, "c".to_owned())];
    assert_eq!(pairings(&store, None, PAGE_MAX), all);
    assert_eq!(pairings(&store, None, 1), all[..1]);
    assert_eq!(pairings(&store, Some(1), PAGE_MAX), all[1..]);
}

fn revocations(store: &Store) -> Vec<(u8, String, u64, u64)> {
    let rows = store.revocations(0, PAGE_MAX).unwrap().wait().unwrap();
    let row = |(_, r): (u64, StoredRevocation)| (r.kind, r.name, r.before_s, r.until_s);
    rows.into_iter().map(row).collect()
}

#[test]
fn revocations_are_renewed_displaced_purged_and_read_by_age() {
    let scratch = Scratch::new();
    let (store, thread) = open(&scratch.options());
    let put = |(kind, name, before_s, until_s): (u8, &str, u64, u64), displaced, now_s| {
        let name = name.to_owned();
        let revocation = StoredRevocation {
            kind,
            name,
            before_s,
            until_s,
        };
        let reply = store.put_revocation(revocation, displaced, now_s);
        reply.unwrap().wait().unwrap();
    };
    put((0, "ann", 50, 100), None, 10);
    put((1, "ann", 0, 30), None, 10);
    put((1, "b", 0, 90), None, 10);
    put((0, "ann", 40, 120), None, 20);
    let all = [
        (1, "ann".into(), 0, 30),
        (1, "b".into(), 0, 90),
        (0, "ann".into(), 50, 120),
    ];
    thread.stop();
    let (store, _thread) = open(&scratch.options());
    assert_eq!(revocations(&store), all);
    let put = |name: &str, displaced, now_s| {
        let revocation = StoredRevocation {
            kind: 1,
            name: name.into(),
            before_s: 0,
            until_s: u64::MAX,
        };
        let reply = store.put_revocation(revocation, displaced, now_s);
        reply.unwrap().wait().unwrap();
        revocations(&store).into_iter().map(|row| row.1).collect()
    };
    let names: Vec<String> = put("c", None, 30);
    assert_eq!(names, ["b", "ann", "c"], "what ends now has ended");
    assert_eq!(put("d", Some((1, "b".into())), 30), ["ann", "c", "d"]);
    assert_eq!(put("e", Some((0, "c".into())), 30), ["ann", "c", "d", "e"]);
    store.purge_revocations(0, 2).unwrap().wait().unwrap();
    assert_eq!(revocations(&store)[0].1, "d", "the newest two are left");
    store
        .purge_revocations(u64::MAX, 2)
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(revocations(&store), []);
}

#[test]
fn a_file_of_the_first_version_gets_the_newer_tables_and_keeps_its_rooms() {
    let scratch = Scratch::new();
    std::fs::create_dir_all(scratch.path()).unwrap();
    let path = scratch.path().join("campanile.sqlite3");
    let connection = rusqlite::Connection::open(path).unwrap();
    connection
        .execute_batch(include_str!("tables/schema.sql"))
        .unwrap();
    let room = "INSERT INTO rooms (key, name, epoch, meta) VALUES (1, 'old', 'e', '{}');
        INSERT INTO heads (room) VALUES (1)";
    connection.execute_batch(room).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    drop(connection);
    let (store, _thread) = open(&scratch.options());
    assert!(store.room("old", 0, 0).unwrap().wait().unwrap().is_some());
    assert_eq!(pairings(&store, None, PAGE_MAX), []);
    assert_eq!(revocations(&store), []);
    // The index of the messages is another now, and still keeps identifiers unique in a room.
    let message = |room: &str| Append {
        room: room.into(),
        ..message(7)
    };
    append(&store, message("old")).unwrap();
    assert_eq!(append(&store, message("old")), Err(StoreError::DuplicateId));
    let room_of = |id| store.room_of(id).unwrap().wait().unwrap();
    assert_eq!((room_of(7).as_deref(), room_of(8)), (Some("old"), None));
    store.remove_room("old").unwrap().wait().unwrap();
    assert_eq!(room_of(7), None);
}
