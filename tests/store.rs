//! The store against a model, and against `kill -9`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead as _, BufReader};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use campanile::store::{
    Append, Marks, PAGE_MAX, Page, Reply, Store, StoreBusy, StoreError, StoreOptions, StoreThread,
    Synchronous,
};
use proptest::prelude::*;
use uuid::Uuid;

/// Where the store of a child process is; without it the test is the parent.
const CHILD_DIRECTORY: &str = "CAMPANILE_STORE_CHILD_DIRECTORY";
/// Requests of the child that are under way at once, so that it is killed in the middle of a group.
const CHILD_IN_FLIGHT: usize = 64;

/// A directory that is gone when the test is.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        Self(env::temp_dir().join(format!("campanile-store-{}", Uuid::now_v7())))
    }

    /// No power is lost here, and a crash of the process is survived either way.
    fn options(&self) -> StoreOptions {
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

fn message(room: &str, id: u128) -> Append {
    Append {
        room: room.to_owned(),
        id,
        unix_ms: 1000,
        user: "u".into(),
        message_type: "chat".into(),
        body: format!("body {id}").into_bytes(),
        flags: 0,
        client_message_id: None,
        dedupe_window_ms: 0,
    }
}

fn done<T>(reply: Result<Reply<T>, StoreBusy>) -> Result<T, StoreError> {
    reply.expect("the queue is not full").wait()
}

/// What the child does: appends until it is killed, and prints each offset once it is answered.
fn append_for_ever(directory: &str) -> ! {
    let options = StoreOptions {
        synchronous: Synchronous::Normal,
        ..StoreOptions::new(directory)
    };
    let (store, _thread) = Store::open(&options).unwrap();
    done(store.create_room("r", "epoch", "{}")).unwrap();
    let room = done(store.room("r", 0, 0)).unwrap().unwrap();
    let mut replies = std::collections::VecDeque::new();
    for id in room.next_offset.. {
        replies.push_back(store.append(message("r", id.into())).unwrap());
        if replies.len() == CHILD_IN_FLIGHT {
            let appended = replies.pop_front().unwrap().wait().unwrap();
            assert_eq!(appended.id, appended.offset.into());
            println!("\nappended {}", appended.offset);
        }
    }
    unreachable!("killed long before");
}

#[test]
fn what_was_answered_outlives_kill_9() {
    if let Ok(directory) = env::var(CHILD_DIRECTORY) {
        append_for_ever(&directory);
    }
    let scratch = Scratch::new();
    let mut answered = 0;
    for round in 0..8_u64 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "what_was_answered_outlives_kill_9",
                "--nocapture",
            ])
            .env(CHILD_DIRECTORY, &scratch.0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut offsets = lines.by_ref().filter_map(|line| {
            let line = line.unwrap();
            line.strip_prefix("appended ")
                .map(|offset| offset.parse().unwrap())
        });
        // Somewhere: after a few groups, or some hundreds.
        for _ in 0..=fastrand::u64(0..50 << round.min(4)) {
            answered = offsets
                .next()
                .expect("the child goes on until it is killed");
        }
        child.kill().unwrap();
        // What it had printed by then is answered, too.
        answered = offsets.last().unwrap_or(answered);
        child.wait().unwrap();

        let (store, _thread) = Store::open(&scratch.options()).unwrap();
        let room = done(store.room("r", 0, 0)).unwrap().unwrap();
        assert!(
            room.next_offset > answered,
            "{answered} was answered: {room:?}"
        );
        let mut next = 1;
        while next < room.next_offset {
            let page = Page {
                after: Some(next - 1),
                limit: PAGE_MAX,
                ..Page::default()
            };
            for record in done(store.history("r", page)).unwrap() {
                assert_eq!((record.offset, record.id), (next, next.into()));
                assert_eq!(record.body, format!("body {next}").into_bytes());
                next += 1;
            }
        }
    }
    assert!(answered > 8, "the rounds have come to something");
}

const ROOMS: [&str; 3] = ["a", "ab", "b"];
const USERS: [&str; 3] = ["u", "v", "ü"];

#[derive(Clone, Debug)]
enum Step {
    Create(usize),
    Update(usize, u8),
    Remove(usize),
    /// Room, user, id, the sender's own id if any, milliseconds since the step before.
    Append(usize, usize, u8, Option<u8>, u64),
    SetMember(usize, usize, u8),
    RemoveMember(usize, usize),
    SetMarks(usize, usize, u64, u64),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (room, user) = (0..ROOMS.len(), 0..USERS.len());
    let append = (
        room.clone(),
        user.clone(),
        any::<u8>(),
        prop::option::of(0..4_u8),
        0..400_u64,
    );
    let step = prop_oneof![
        3 => room.clone().prop_map(Step::Create),
        1 => (room.clone(), any::<u8>()).prop_map(|(room, meta)| Step::Update(room, meta)),
        1 => room.clone().prop_map(Step::Remove),
        20 => append.prop_map(|(room, user, id, own, ms)| Step::Append(room, user, id, own, ms)),
        3 => (room.clone(), user.clone(), any::<u8>()).prop_map(|(r, u, role)| Step::SetMember(r, u, role)),
        1 => (room.clone(), user.clone()).prop_map(|(r, u)| Step::RemoveMember(r, u)),
        3 => (room, user, 0..50_u64, 0..50_u64).prop_map(|(r, u, d, read)| Step::SetMarks(r, u, d, read)),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..80)
}

/// How long the model's senders' ids are known, milliseconds.
const WINDOW_MS: u64 = 1000;

#[derive(Debug, Default)]
struct ModelRoom {
    meta: String,
    /// Ids by offset, from 1.
    ids: Vec<u128>,
    /// (user, sender's id) → (offset, time) of the first.
    sent: BTreeMap<(usize, u8), (u64, u64)>,
    /// User → role, delivered, read; sorted as the store sorts.
    members: BTreeMap<&'static str, (u8, u64, u64)>,
}

/// What the store should say.
#[derive(Debug, Default)]
struct Model {
    rooms: BTreeMap<&'static str, ModelRoom>,
    unix_ms: u64,
}

impl Model {
    /// The offset that a message gets, and whether it is a repeat.
    fn append(
        &mut self,
        room: usize,
        user: usize,
        id: u8,
        own: Option<u8>,
    ) -> Result<(u64, bool), StoreError> {
        let now = self.unix_ms;
        let room = self
            .rooms
            .get_mut(ROOMS[room])
            .ok_or(StoreError::UnknownRoom)?;
        let first = own.and_then(|own| room.sent.get(&(user, own)));
        if let Some((offset, _)) = first.filter(|(_, first_ms)| now < first_ms + WINDOW_MS) {
            return Ok((*offset, true));
        }
        if room.ids.contains(&id.into()) {
            return Err(StoreError::DuplicateId);
        }
        room.ids.push(id.into());
        let offset = room.ids.len() as u64;
        if let Some(own) = own {
            room.sent.insert((user, own), (offset, now));
        }
        Ok((offset, false))
    }

    /// Does one step to both, and compares what they say.
    fn step(&mut self, store: &Store, step: &Step) {
        match *step {
            Step::Create(room) => {
                let is_new = !self.rooms.contains_key(ROOMS[room]);
                self.rooms.entry(ROOMS[room]).or_default();
                assert_eq!(done(store.create_room(ROOMS[room], "e", "")), Ok(is_new));
            }
            Step::Update(room, meta) => {
                let model = self.rooms.get_mut(ROOMS[room]);
                let updated = done(store.update_room(ROOMS[room], &meta.to_string()));
                assert_eq!(updated, Ok(model.is_some()));
                if let Some(room) = model {
                    room.meta = meta.to_string();
                }
            }
            Step::Remove(room) => {
                let is_there = self.rooms.remove(ROOMS[room]).is_some();
                assert_eq!(done(store.remove_room(ROOMS[room])), Ok(is_there));
            }
            Step::Append(room, user, id, own, ms) => {
                self.unix_ms += ms;
                let append = Append {
                    unix_ms: self.unix_ms,
                    user: USERS[user].to_owned(),
                    client_message_id: own.map(|own| own.to_string()),
                    dedupe_window_ms: WINDOW_MS,
                    ..message(ROOMS[room], id.into())
                };
                let appended = done(store.append(append));
                let appended = appended.map(|appended| (appended.offset, appended.is_repeat));
                assert_eq!(appended, self.append(room, user, id, own));
            }
            Step::SetMember(room, user, role) => {
                let model = self.rooms.get_mut(ROOMS[room]);
                let set = done(store.set_member(ROOMS[room], USERS[user], role));
                assert_eq!(set, Ok(model.is_some()));
                if let Some(room) = model {
                    room.members.entry(USERS[user]).or_default().0 = role;
                }
            }
            Step::RemoveMember(room, user) => {
                let model = self.rooms.get_mut(ROOMS[room]);
                let member = model.and_then(|room| room.members.remove(USERS[user]));
                let removed = done(store.remove_member(ROOMS[room], USERS[user]));
                assert_eq!(removed, Ok(member.is_some()));
            }
            Step::SetMarks(room, user, delivered, read) => {
                let marks = Marks {
                    user: USERS[user].to_owned(),
                    delivered,
                    read,
                };
                let model = self.rooms.get_mut(ROOMS[room]);
                let set = done(store.set_marks(ROOMS[room], vec![marks]));
                assert_eq!(set, Ok(model.is_some()));
                if let Some(member) = model.and_then(|room| room.members.get_mut(USERS[user])) {
                    *member = (member.0, member.1.max(delivered), member.2.max(read));
                }
            }
            Step::Reopen => unreachable!("whoever owns the store does that"),
        }
    }

    /// Compares everything there is.
    fn compare(&self, store: &Store) {
        let names = |prefix, after| {
            let rooms = done(store.rooms(prefix, after, 10)).unwrap();
            rooms.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        let known = |is_listed: fn(&str) -> bool| {
            let names = self.rooms.keys().copied();
            names.filter(|name| is_listed(name)).collect::<Vec<_>>()
        };
        assert_eq!(names("", None), known(|_| true));
        assert_eq!(names("a", None), known(|name| name.starts_with('a')));
        assert_eq!(names("a", Some("a")), known(|name| name == "ab"));
        for user in USERS {
            let rooms = self
                .rooms
                .iter()
                .filter(|(_, room)| room.members.contains_key(user));
            let rooms: Vec<_> = rooms.map(|(name, _)| *name).collect();
            assert_eq!(done(store.rooms_of(user, 10)).unwrap(), rooms);
        }
        for name in ROOMS {
            let stored = done(store.room(name, PAGE_MAX, 10)).unwrap();
            let Some(room) = self.rooms.get(name) else {
                assert_eq!(stored, None);
                let page = Page::default();
                assert_eq!(
                    done(store.history(name, page)),
                    Err(StoreError::UnknownRoom)
                );
                continue;
            };
            let stored = stored.expect("the model has it");
            assert_eq!(stored.meta, room.meta);
            assert_eq!(
                (stored.oldest_offset, stored.next_offset),
                (1, room.ids.len() as u64 + 1)
            );
            let ids: Vec<u128> = stored.newest.iter().map(|record| record.id).collect();
            assert_eq!(ids, room.ids);
            let members = stored.members.iter();
            let members = members.map(|m| (&*m.user, (m.role, m.delivered, m.read)));
            assert!(members.eq(room.members.iter().map(|(user, member)| (*user, *member))));
            assert_eq!(stored.members_count, room.members.len() as u64);
            compare_pages(store, name, &room.ids);
        }
    }
}

/// Compares pages of history and the search by id with all `ids` of a room.
fn compare_pages(store: &Store, name: &str, ids: &[u128]) {
    let head = ids.len() as u64;
    let nothing = RangeInclusive::new(1, 0);
    for (before, after, expected) in [
        (None, Some(2), 3..=5),
        (Some(4), None, 1..=3),
        (None, None, head.saturating_sub(2).max(1)..=head),
        (Some(4), Some(1), 2..=3),
        (Some(0), None, nothing.clone()),
        (None, Some(u64::MAX), nothing),
    ] {
        let page = Page {
            before,
            after,
            limit: 3,
        };
        let offsets = done(store.history(name, page))
            .unwrap()
            .into_iter()
            .map(|record| record.offset);
        assert!(
            offsets.eq(expected.filter(|&offset| offset <= head)),
            "{page:?} of {head}"
        );
    }
    for (offset, &id) in (1..).zip(ids) {
        assert_eq!(done(store.find(name, id)), Ok(Some(offset)));
    }
    assert_eq!(done(store.find(name, 256)), Ok(None));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_the_model_does(steps in steps()) {
        let scratch = Scratch::new();
        let mut open: (Store, StoreThread) = Store::open(&scratch.options()).unwrap();
        let mut model = Model::default();
        for step in steps {
            if let Step::Reopen = step {
                open.1.stop();
                open = Store::open(&scratch.options()).unwrap();
                model.compare(&open.0);
            } else {
                model.step(&open.0, &step);
            }
        }
        model.compare(&open.0);
    }
}
