//! One room's state, and what becomes of the letters about it.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use smol_str::SmolStr;

use super::RoomCtx;
use super::dedupe::Recent;
use super::history::{Bounds, Window};
use super::members::{Crowd, Seat};
use super::meta::Meta;
use super::posting::First;
use super::receipts::Receipts;
use super::storage::Storage;
use super::typing::Typists;
use super::{Members, Room};
use crate::id::UserId;
use crate::realtime::mail::{Asker, InRoom, Joined, Leave, Letter};
use crate::realtime::options::{Namespace, Roles, Standing, Who};
use crate::realtime::outlet::Outlet;
use crate::realtime::post::{Record, Source};
use crate::realtime::protocol::{Rejection, payload};
use crate::realtime::registry::HandlerError;
use crate::realtime::writing::Audience;

/// Characters of an epoch: 60 random bits.
const EPOCH_BYTES: usize = 12;

/// A room, at its home.
#[derive(Debug)]
pub(super) struct RoomState {
    /// The place of the room's namespace.
    pub(super) namespace: usize,
    pub(super) meta: Meta,
    /// Who is in the room, and who belongs to it and is away.
    pub(super) members: BTreeMap<UserId, Seat>,
    pub(super) crowd: Crowd,
    pub(super) typists: Typists,
    /// Until when who was sent away must not come back, second.
    pub(super) banned: BTreeMap<UserId, u32>,
    /// Names this life of the room's offsets.
    pub(super) epoch: SmolStr,
    pub(super) window: Window<Record>,
    pub(super) recent: Recent<First>,
    pub(super) receipts: Receipts,
    pub(super) storage: Storage,
    /// What handlers keep with the room, a value of a type each.
    pub(super) data: Vec<Box<dyn Any + Send>>,
    /// Since which second nobody has been there.
    pub(super) empty_since_s: Option<u32>,
    /// The second at which the room is listed to be looked at.
    listed_s: Option<u32>,
    /// The room is to be forgotten.
    pub(super) is_closed: bool,
}

impl RoomState {
    pub(super) fn new(outlet: &mut Outlet<'_, '_>, namespace: usize) -> Self {
        let options = &outlet.desk.options;
        let dedupe_ms = u64::try_from(options.dedupe_window.as_millis()).unwrap_or(u64::MAX);
        let seed = outlet.context.random();
        let epoch = new_epoch(outlet.context.random());
        let is_private = outlet.desk.namespaces.at(namespace).private;
        Self {
            namespace,
            meta: Meta::new(outlet.unix_ms(), is_private),
            members: BTreeMap::new(),
            crowd: Crowd::default(),
            typists: Typists::default(),
            banned: BTreeMap::new(),
            epoch,
            window: Window::new(1),
            recent: Recent::new(dedupe_ms, seed),
            receipts: Receipts::default(),
            storage: Storage::Memory,
            data: Vec::new(),
            empty_since_s: Some(outlet.second()),
            listed_s: None,
            is_closed: false,
        }
    }

    pub(super) fn window(&self) -> &Window<Record> {
        &self.window
    }

    pub(super) fn present_count(&self) -> usize {
        self.crowd.present
    }

    pub(super) fn namespace<'o>(&self, outlet: &'o Outlet<'_, '_>) -> &'o Namespace {
        outlet.desk.namespaces.at(self.namespace)
    }

    /// Whether messages have offsets and are kept for those who come later.
    pub(super) fn has_history(&self, outlet: &Outlet<'_, '_>) -> bool {
        self.namespace(outlet).history.size > 0 || self.storage.is_stored()
    }

    pub(super) fn bounds(&self, outlet: &Outlet<'_, '_>) -> Bounds {
        let namespace = self.namespace(outlet);
        let (history, retention) = (&namespace.history, &namespace.retention);
        let ms = |age: Duration| match age.as_millis() {
            0 => u64::MAX,
            ms => u64::try_from(ms).unwrap_or(u64::MAX),
        };
        if !self.storage.is_stored() {
            return Bounds {
                size: history.size as usize,
                ttl_ms: ms(history.ttl),
                bytes: history.bytes,
            };
        }
        // What the store keeps is here for as long, however long a member is away; and no longer.
        let within = |own: usize, kept: u64| match kept {
            0 => own,
            kept => own.min(usize::try_from(kept).unwrap_or(usize::MAX)),
        };
        Bounds {
            size: within(history.size as usize, retention.messages),
            ttl_ms: ms(retention.age),
            bytes: within(history.bytes, retention.bytes),
        }
    }

    /// Whether any of the list means this user.
    pub(super) fn allows(&self, list: &[Who], asker: &Asker, roles: &Roles) -> bool {
        let standing = Standing {
            is_member: self.members.get(&asker.user).is_some_and(Seat::is_present),
            is_owner: self.meta.is_owner(&asker.user),
            roles,
        };
        Who::any_allows(list, standing)
    }

    pub(super) fn receive(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room, letter: Letter) {
        if let Some(letter) = self.storage.hold_back(outlet, letter) {
            self.receive_now(outlet, room, letter);
        }
    }

    pub(super) fn receive_now(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room, letter: Letter) {
        match letter {
            Letter::Join(join) => self.join(outlet, room, *join),
            Letter::Knock { knock, .. } => {
                let outcome = self.may_come_in(outlet, &knock);
                outlet.answer_knock(room, *knock, outcome);
            }
            Letter::Leave(Leave {
                user,
                connection,
                number,
                for_good,
                ..
            }) => self.leave(outlet, room, &user, connection, Some(number), for_good),
            Letter::Post { post, .. } => self.post(outlet, room, &post.borrow()),
            Letter::Ephemeral { exclude, push, .. } => {
                let outbound = push.outbound(Some(room.name()), outlet.timestamp());
                outlet.publish(Audience::Everybody, exclude, &outbound);
            }
            Letter::Typing {
                user,
                connection,
                is_typing,
                ..
            } => {
                self.typing(outlet, room, &user, connection, is_typing);
            }
            Letter::Info { asker, info, .. } => self.update_info(outlet, room, &asker, info),
            Letter::Receipt { asker, receipt, .. } => self.receipt(outlet, room, &asker, receipt),
            Letter::Proved {
                user,
                connection,
                offset,
                ..
            } => self.proved(outlet, room, (&user, connection), offset),
            Letter::Missed {
                user, connection, ..
            } => self.missed_some(&user, connection),
            Letter::Ask {
                asker,
                roles,
                question,
                ..
            } => self.ask(outlet, room, (&asker, &roles), *question),
            Letter::Run { asker, run, .. } => self.run(outlet, room, asker, run),
            Letter::Loaded { loaded, .. } => self.loaded(outlet, room, *loaded),
            Letter::Stored { stored, .. } => self.stored(outlet, room, stored),
            other => debug_assert!(false, "not about a room: {other:?}"),
        }
    }

    /// Runs a handler's own work, and catches its panic.
    fn run(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room, asker: Asker, run: InRoom) {
        let mut ctx = RoomCtx::new(self, outlet, room, asker);
        // What a panic can leave half done is the handler's own state.
        let result = catch_unwind(AssertUnwindSafe(|| (run.0)(&mut ctx)));
        let result = result.unwrap_or_else(|panic| Err(HandlerError::panicked(&*panic)));
        if let Err(error) = result {
            ctx.fail(error);
        }
    }

    pub(super) fn members(&self, limit: usize) -> Members {
        let present = self
            .members
            .iter()
            .filter(|(_, member)| member.is_present());
        Members {
            count: self.crowd.present,
            users: present
                .take(limit)
                .map(|(user, member)| member.public(user))
                .collect(),
        }
    }

    /// Tells the room what happened to it.
    pub(super) fn system(
        &self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        event: &str,
        message: &str,
    ) {
        outlet.tell_room(
            room,
            ("system", None),
            Audience::Everybody,
            None,
            |fields| payload::system(fields, event, message),
        );
    }

    /// A second that the room has asked for has come.
    pub(super) fn tick(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room) {
        self.listed_s = None;
        let (now_ms, second) = (outlet.unix_ms(), outlet.second());
        self.typists.tick(outlet, room);
        self.tick_members(outlet, room);
        self.tick_receipts(outlet, room);
        let bounds = self.bounds(outlet);
        self.window.expire(now_ms, &bounds);
        self.recent.expire(now_ms);
        self.banned.retain(|_, until| *until > second);
        if self.ends_at(outlet).is_some_and(|at| at <= second) {
            self.is_closed = true;
        }
    }

    /// When a room that nobody is in is removed.
    fn ends_at(&self, outlet: &Outlet<'_, '_>) -> Option<u32> {
        let since = self.empty_since_s?;
        let after = self.namespace(outlet).cleanup_after.as_secs();
        // A member list is worth keeping, unless the store has it.
        let is_needed =
            self.storage.is_busy() || (!self.storage.is_stored() && !self.members.is_empty());
        (after > 0 && !is_needed)
            .then(|| since.saturating_add(u32::try_from(after).unwrap_or(u32::MAX)))
    }

    /// The next second at which something is to be done, if the room is not listed for it already.
    pub(super) fn becomes_due(&mut self, outlet: &Outlet<'_, '_>) -> Option<u32> {
        let next = outlet.second().saturating_add(1);
        let is_news =
            self.crowd.count_is_news || !self.typists.is_empty() || self.receipts.is_due();
        let soon = is_news.then_some(next);
        // The wall clock's milliseconds, as seconds from now.
        let in_seconds = |at_ms: u64| {
            let wait_ms = at_ms.saturating_sub(outlet.unix_ms());
            next.saturating_add(u32::try_from(wait_ms / 1000).unwrap_or(u32::MAX))
        };
        let aged = self
            .window
            .next_expiry_ms(&self.bounds(outlet))
            .map(in_seconds);
        let due = [soon, aged, self.ends_at(outlet), self.crowd.leaves_at_s];
        let due = due.into_iter().flatten().min()?.max(next);
        if self.listed_s.is_some_and(|listed| listed <= due) {
            return None;
        }
        self.listed_s = Some(due);
        Some(due)
    }

    pub(super) fn is_listed_at(&self, second: u32) -> bool {
        self.listed_s == Some(second)
    }

    /// Whether nothing is left to do for the room.
    pub(super) fn is_over(&self) -> bool {
        self.is_closed
    }
}

/// A name for a room's life that no other life of it had, but by a chance of 1 in 2^60.
fn new_epoch(random: u64) -> SmolStr {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let digits = (0..EPOCH_BYTES).map(|place| {
        let digit = usize::try_from(random >> (5 * place) & 31).expect("five bits");
        char::from(DIGITS[digit])
    });
    digits.collect()
}

/// Says no to who wrote a letter about a room that is not there, or cannot be reached.
pub(super) fn turn_away(outlet: &mut Outlet<'_, '_>, letter: Letter, rejection: Rejection) {
    match letter {
        Letter::Join(join) => outlet.joined(Joined {
            room: join.room,
            asker: join.asker,
            number: join.number,
            is_vital: join.is_vital,
            presence: join.presence,
            outcome: Err(rejection),
        }),
        Letter::Knock { room, knock } => outlet.answer_knock(&room, *knock, Err(rejection)),
        Letter::Post { post, .. } => match &post.terms.source {
            // Its joining was refused, and counted.
            Source::Client { asker, asked, .. } if outlet.desk.has_refused(asker, *asked) => {}
            source => match source.asker() {
                Some(asker) => outlet.refuse(asker, &rejection),
                None => outlet.count(&rejection),
            },
        },
        Letter::Ask { asker, .. }
        | Letter::Run { asker, .. }
        | Letter::Receipt { asker, .. }
        | Letter::Info { asker, .. } => outlet.refuse(&asker, &rejection),
        _ => {}
    }
}
