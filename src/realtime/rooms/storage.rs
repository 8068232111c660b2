//! Rooms that outlive the process: their home here, their messages in the store.
//!
//! A message of such a room is stored first, which gives it its offset; when the store has committed
//! it, it is published and acknowledged. What else happens to the room meanwhile does not overtake
//! it: a member's leaving is told after the member's last message.

use std::collections::VecDeque;

use super::Room;
use super::admission::may_enter_new;
use super::delivery::Marks;
use super::history::Window;
use super::members::Seat;
use super::meta::Meta;
use super::posting::First;
use super::room::{RoomState, turn_away};
use crate::id::UserId;
use crate::realtime::mail::{Letter, Mail};
use crate::realtime::options::Create;
use crate::realtime::outlet::Outlet;
use crate::realtime::post::{Post, Record, Terms};
use crate::realtime::protocol::{MessageId, Rejection};
use crate::store::{Append, Appended, Reply, Retention, Store, StoreBusy, StoreError, StoredRoom};

/// Most letters that wait for a room to be loaded, or for its messages to be stored.
const WAITING_MAX: usize = 4096;
/// Most members of a persistent room that are loaded with it.
const MEMBERS_MAX: u32 = 10_000;

/// Where a room's messages are kept.
#[derive(Debug)]
pub(super) enum Storage {
    /// In memory alone.
    Memory,
    /// The store is asked for the room; letters about it wait.
    Loading(VecDeque<Letter>),
    /// In the store, and the newest in memory.
    Stored(Pending),
}

/// What waits for the store to commit messages.
#[derive(Debug, Default)]
pub(super) struct Pending {
    queue: VecDeque<Waiting>,
    /// The store knows members whom memory does not.
    has_strangers: bool,
}

#[derive(Debug)]
enum Waiting {
    /// A message on its way into the store, and what became of it.
    Message {
        record: Box<Record>,
        terms: Box<Terms>,
        outcome: Option<Result<Appended, StoreError>>,
    },
    /// A letter that must not overtake the messages before it.
    Letter(Letter),
}

/// What the store knows of a room.
#[derive(Debug)]
pub(in crate::realtime) struct Loaded(Result<Option<StoredRoom>, StoreError>);

/// What became of a message that was to be stored.
#[derive(Debug)]
pub(in crate::realtime) struct Stored {
    /// The message, as it was given to the store.
    id: MessageId,
    outcome: Result<Appended, StoreError>,
}

impl Storage {
    /// Whether the room is in the store.
    pub(super) fn is_stored(&self) -> bool {
        matches!(self, Self::Stored(_))
    }

    /// Whether there are members whom only the store knows, as they are too many.
    pub(super) fn has_strangers(&self) -> bool {
        matches!(self, Self::Stored(pending) if pending.has_strangers)
    }

    /// Whether the room waits for the store.
    pub(super) fn is_busy(&self) -> bool {
        match self {
            Self::Memory => false,
            Self::Loading(_) => true,
            Self::Stored(pending) => !pending.queue.is_empty(),
        }
    }

    /// Takes a letter whose time has not come; gives back one to be read now.
    pub(super) fn hold_back(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        letter: Letter,
    ) -> Option<Letter> {
        let waits = match (&*self, &letter) {
            (_, Letter::Loaded { .. } | Letter::Stored { .. }) => false,
            (Self::Loading(_), _) => true,
            // What follows a member's own messages.
            (
                Self::Stored(pending),
                Letter::Leave(_) | Letter::Typing { .. } | Letter::Ephemeral { .. },
            ) => !pending.queue.is_empty(),
            (Self::Stored(_) | Self::Memory, _) => false,
        };
        if !waits {
            return Some(letter);
        }
        // Who leaves is never turned away.
        if self.len() >= WAITING_MAX && !matches!(letter, Letter::Leave(_)) {
            turn_away(outlet, letter, Rejection::busy());
            return None;
        }
        match self {
            Self::Memory => return Some(letter),
            Self::Loading(letters) => letters.push_back(letter),
            Self::Stored(pending) => pending.queue.push_back(Waiting::Letter(letter)),
        }
        None
    }

    /// Takes a message whose room is not loaded.
    pub(super) fn hold_back_post(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        post: &Post<'_>,
    ) -> bool {
        let is_loading = matches!(self, Self::Loading(_));
        if is_loading {
            let letter = Letter::Post {
                room: room.clone(),
                post: Box::new(post.to_owned()),
            };
            let back = self.hold_back(outlet, letter);
            debug_assert!(
                back.is_none(),
                "a room that is being loaded holds letters back"
            );
        }
        is_loading
    }

    /// Tells the authors of messages that are not stored yet that the room is no more.
    pub(super) fn abandon(&mut self, outlet: &mut Outlet<'_, '_>) {
        let Self::Stored(pending) = self else { return };
        for waiting in std::mem::take(&mut pending.queue) {
            if let Waiting::Message { terms, .. } = waiting {
                refuse(outlet, &terms, &Rejection::NotFound);
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Memory => 0,
            Self::Loading(letters) => letters.len(),
            Self::Stored(pending) => pending.queue.len(),
        }
    }
}

impl RoomState {
    /// A room whose state the store may have: it is asked.
    pub(super) fn load(outlet: &mut Outlet<'_, '_>, room: &Room, namespace: usize) -> Self {
        let mut state = Self::new(outlet, namespace);
        state.storage = Storage::Loading(VecDeque::new());
        let newest_max = state.namespace(outlet).history.size;
        let name = room.clone();
        let asked = outlet.ask_store(|store| store.room(name.name(), newest_max, MEMBERS_MAX), {
            let room = room.clone();
            move |loaded| Letter::Loaded {
                room,
                loaded: Box::new(Loaded(loaded)),
            }
        });
        if asked.is_err() {
            let loaded = Loaded(Err(StoreError::Failed("the store is busy".into())));
            let letter = Letter::Loaded {
                room: room.clone(),
                loaded: Box::new(loaded),
            };
            outlet.context.mail(outlet.context.shard(), Mail(letter));
        }
        state
    }

    /// The store has answered: the room is as it was, or new, or cannot be had.
    pub(super) fn loaded(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room, loaded: Loaded) {
        let Storage::Loading(letters) = std::mem::replace(&mut self.storage, Storage::Memory)
        else {
            return;
        };
        let stored = match loaded.0 {
            Ok(stored) => stored,
            Err(error) => {
                tracing::error!(%room, %error, "a room cannot be loaded");
                self.is_closed = true;
                for letter in letters {
                    turn_away(outlet, letter, Rejection::busy());
                }
                return;
            }
        };
        self.storage = Storage::Stored(Pending::default());
        let mut letters = letters;
        match stored {
            Some(stored) => self.restore(outlet, room, stored),
            None => self.begin_stored(outlet, room, &mut letters),
        }
        while let Some(letter) = letters.pop_front() {
            if self.is_closed {
                turn_away(outlet, letter, Rejection::NotFound);
            } else {
                self.receive(outlet, room, letter);
            }
        }
    }

    /// A persistent room that the store does not know is made by the first letter that may make it.
    /// Those before it are told that there is no such room.
    fn begin_stored(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        letters: &mut VecDeque<Letter>,
    ) {
        let is_on_demand = self.namespace(outlet).create == Create::OnDemand;
        while let Some(letter) = letters.pop_front() {
            let makes = match &letter {
                Letter::Ask { question, .. } => question.makes_room(),
                Letter::Join(_) | Letter::Post { .. } | Letter::Run { .. } => is_on_demand,
                _ => false,
            };
            if makes {
                letters.push_front(letter);
                return self.make_stored(outlet, room);
            }
            match letter {
                Letter::Knock { knock, .. } => {
                    let outcome = may_enter_new(self.namespace(outlet));
                    outlet.answer_knock(room, *knock, outcome);
                }
                letter => turn_away(outlet, letter, Rejection::NotFound),
            }
        }
        self.is_closed = true;
    }

    /// Has the store make the room as it is here, without messages.
    fn make_stored(&self, outlet: &mut Outlet<'_, '_>, room: &Room) {
        let (epoch, meta) = (self.epoch.clone(), self.meta.to_json());
        outlet.tell_store(|store| store.create_room(room.name(), &epoch, &meta));
        let retention = self.retention(outlet);
        outlet.tell_store(|store| store.set_retention(room.name(), retention));
    }

    fn retention(&self, outlet: &Outlet<'_, '_>) -> Retention {
        let retention = &self.namespace(outlet).retention;
        Retention {
            messages_max: retention.messages,
            age_ms_max: u64::try_from(retention.age.as_millis()).unwrap_or(u64::MAX),
            bytes_max: retention.bytes,
        }
    }

    fn restore(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room, stored: StoredRoom) {
        let retention = self.retention(outlet);
        if stored.retention != retention {
            // The configuration is another than when the room was made.
            outlet.tell_store(|store| store.set_retention(room.name(), retention));
        }
        self.epoch = stored.epoch.into();
        if let Some(meta) = Meta::from_json(&stored.meta) {
            self.meta = meta;
        }
        if let Storage::Stored(pending) = &mut self.storage {
            pending.has_strangers = stored.members_count > stored.members.len() as u64;
        }
        for member in stored.members {
            let marks = Marks::restore(member.delivered, member.read);
            let seat = Seat::absent(marks, true);
            self.members.insert(UserId::from(&*member.user), seat);
        }
        let now_ms = outlet.unix_ms();
        let mut records = Vec::new();
        for stored in stored.newest {
            let offset = stored.offset;
            let Some(record) = Record::from_stored(stored) else {
                continue;
            };
            if let Some(id) = &record.client_message_id {
                let user = record.user.clone();
                let user = user.unwrap_or_else(|| UserId::from(""));
                let first = First {
                    id: record.id,
                    offset,
                    unix_ms: record.unix_ms,
                };
                self.recent.insert(&user, id, first, record.unix_ms);
            }
            records.push((offset, record));
        }
        self.recent.expire(now_ms);
        self.window = Window::restore(stored.next_offset, records, now_ms, &self.bounds(outlet));
    }

    /// Stores a message; what follows waits for the store's answer.
    pub(super) fn store(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        record: Record,
        terms: Terms,
    ) {
        let (flags, body) = record.to_stored();
        let dedupe = outlet.desk.options.dedupe_window.as_millis();
        let append = Append {
            room: room.name().into(),
            id: record.id.as_u128(),
            unix_ms: record.unix_ms,
            user: record.user.as_deref().unwrap_or_default().into(),
            message_type: record.message_type().into(),
            body,
            flags,
            client_message_id: record.client_message_id.as_deref().map(Into::into),
            dedupe_window_ms: u64::try_from(dedupe).unwrap_or(u64::MAX),
        };
        let Storage::Stored(pending) = &mut self.storage else {
            return;
        };
        let is_full = pending.queue.len() >= WAITING_MAX;
        let (name, id) = (room.clone(), record.id);
        let asked = if is_full {
            Err(StoreBusy)
        } else {
            outlet.ask_store(
                |store| store.append(append),
                move |outcome| Letter::Stored {
                    room: name,
                    stored: Stored { id, outcome },
                },
            )
        };
        if asked.is_err() {
            return refuse(outlet, &terms, &Rejection::busy());
        }
        pending.queue.push_back(Waiting::Message {
            record: Box::new(record),
            terms: Box::new(terms),
            outcome: None,
        });
    }

    /// The store has answered about a message: it and what waited for it go on, in their order.
    pub(super) fn stored(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room, stored: Stored) {
        let Storage::Stored(pending) = &mut self.storage else {
            return;
        };
        let answered = pending.queue.iter_mut().find_map(|waiting| match waiting {
            Waiting::Message {
                record, outcome, ..
            } if record.id == stored.id => Some(outcome),
            _ => None,
        });
        if let Some(outcome) = answered {
            *outcome = Some(stored.outcome);
        }
        while let Some(waiting) = self.next_waiting() {
            match waiting {
                Waiting::Letter(letter) if self.is_closed => {
                    turn_away(outlet, letter, Rejection::NotFound);
                }
                Waiting::Letter(letter) => self.receive_now(outlet, room, letter),
                Waiting::Message {
                    record,
                    terms,
                    outcome,
                    ..
                } => {
                    let outcome = outcome.expect("taken out only with its outcome");
                    self.settle_stored(outlet, room, *record, &terms, outcome);
                }
            }
        }
    }

    fn next_waiting(&mut self) -> Option<Waiting> {
        let Storage::Stored(pending) = &mut self.storage else {
            return None;
        };
        match pending.queue.front()? {
            Waiting::Message { outcome: None, .. } => None,
            _ => pending.queue.pop_front(),
        }
    }

    fn settle_stored(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        mut record: Record,
        terms: &Terms,
        outcome: Result<Appended, StoreError>,
    ) {
        match outcome {
            Ok(appended) if appended.is_repeat => {
                outlet.desk.counts.repeats += 1;
                let first = First {
                    id: MessageId::from_u128(appended.id),
                    offset: appended.offset,
                    unix_ms: appended.unix_ms,
                };
                let id = record.client_message_id.as_deref();
                self.answer_post(outlet, room, first, id, terms);
            }
            Ok(appended) => {
                record.unix_ms = appended.unix_ms;
                if appended.offset != self.window.head() + 1 {
                    // A message that was refused is in the store all the same: its disk failed in the
                    // middle of a commit. Nobody recovers over what was never published.
                    self.window = Window::new(appended.offset);
                }
                self.commit(outlet, room, record, terms, appended.offset);
            }
            Err(error) => {
                tracing::warn!(%room, %error, "a message cannot be stored");
                if error == StoreError::UnknownRoom {
                    // The store was full or busy when it was to make the room.
                    self.make_stored(outlet, room);
                    self.remember_members(outlet, room);
                }
                refuse(outlet, terms, &Rejection::busy());
            }
        }
    }
}

fn refuse(outlet: &mut Outlet<'_, '_>, terms: &Terms, rejection: &Rejection) {
    match terms.asker() {
        Some(asker) => outlet.refuse(asker, rejection),
        None => outlet.count(rejection),
    }
}

impl Outlet<'_, '_> {
    /// Asks the store something; its answer comes back to this shard as a letter.
    ///
    /// Errors: the store's queue is full.
    pub(in crate::realtime) fn ask_store<T: Send + 'static>(
        &mut self,
        ask: impl FnOnce(&Store) -> Result<Reply<T>, StoreBusy>,
        letter: impl FnOnce(Result<T, StoreError>) -> Letter + Send + 'static,
    ) -> Result<(), StoreBusy> {
        let store = self.desk.store.as_ref().ok_or(StoreBusy)?;
        let reply = ask(store)?;
        // An answer that was lost would keep the room waiting for ever. The store's queue bounds how
        // many there are.
        self.context
            .spawn_patiently(async move { Mail(letter(reply.await)) });
        Ok(())
    }

    /// Tells the store something whose failure can only be logged: the store counts it, too.
    pub(in crate::realtime) fn tell_store<T: Send + 'static>(
        &mut self,
        tell: impl FnOnce(&Store) -> Result<Reply<T>, StoreBusy>,
    ) {
        let Some(store) = self.desk.store.as_ref() else {
            return;
        };
        match tell(store) {
            // The answer to the next message says whether the store works.
            Ok(reply) => drop(reply),
            Err(StoreBusy) => tracing::warn!("the store is busy: a change was not stored"),
        }
    }
}
