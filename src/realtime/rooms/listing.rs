//! `room.list`: a page of the rooms of all shards, which each adds its own to, and of those that
//! only the store knows at the moment.

use std::collections::BTreeSet;

use super::meta::Meta;
use super::pages::PAGE_BYTES_MAX;
use super::powers::ADMIN;
use super::{Room, Rooms, selection};
use crate::id::ShardId;
use crate::realtime::mail::{Asker, Letter, Mail};
use crate::realtime::options::Roles;
use crate::realtime::outlet::Outlet;
use crate::realtime::protocol::{Fields, Rejection};
use crate::realtime::writing::text;
use crate::store::{PAGE_MAX, Reply, Store, StoreBusy};

/// Most rooms that are read from the store at once.
const READ_MAX: usize = 1000;
/// How often the store is read for one page: 16,000 rooms, of which the asker may see few.
const ROUNDS_MAX: u32 = 16;

/// A page of rooms on its way through the shards, from the first to the last.
#[derive(Debug)]
pub(in crate::realtime) struct Listing {
    asker: Asker,
    roles: Roles,
    prefix: Box<str>,
    limit: usize,
    /// Names and what `room.get` says of them: after each round at most one more than the limit.
    found: Vec<(Room, String)>,
    /// Behind which room this round began.
    after: Option<Room>,
    /// How far the store was read, if not to its end: nothing behind it is found in this round.
    horizon: Option<Room>,
    /// The rooms that the asker belongs to, as the store knows them, once it was asked.
    own: Option<BTreeSet<String>>,
    /// How often the store was read. More than once if much of what it has is not for the asker.
    rounds: u32,
    /// The store did not answer.
    has_failed: bool,
    next: u16,
}

impl Listing {
    pub(in crate::realtime) fn new(
        (asker, roles): (Asker, Roles),
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Self {
        Self {
            asker,
            roles,
            prefix: prefix.into(),
            limit,
            found: Vec::new(),
            after: cursor.map(Room::new),
            horizon: None,
            own: None,
            rounds: 0,
            has_failed: false,
            next: 0,
        }
    }

    /// The shard that is to add its rooms.
    pub(in crate::realtime) fn shard(&self) -> ShardId {
        ShardId(self.next)
    }

    /// Adds what the store knows, and where it ends.
    async fn read_store(&mut self, store: &Store) {
        let wanted = if self.rounds == 0 {
            // One more than asked for says whether there is a next page.
            self.limit.saturating_add(1)
        } else {
            READ_MAX
        };
        let wanted = wanted.min(READ_MAX);
        self.rounds += 1;
        let limit = u32::try_from(wanted).unwrap_or(u32::MAX);
        let after = self.after.as_ref().map(Room::name);
        let Some(rooms) = answer(store.rooms(&self.prefix, after, limit)).await else {
            self.has_failed = true;
            return;
        };
        if self.own.is_none() {
            let own = answer(store.rooms_of(&self.asker.user, PAGE_MAX)).await;
            self.has_failed |= own.is_none();
            self.own = own.map(BTreeSet::from_iter);
        }
        let is_whole = rooms.len() < wanted;
        self.horizon = rooms
            .last()
            .filter(|_| !is_whole)
            .map(|(name, _)| Room::new(name));
        let user = &self.asker.user;
        let is_own = |name: &String| self.own.as_ref().is_some_and(|own| own.contains(name));
        for (name, meta) in rooms {
            let Some(meta) = Meta::from_json(&meta) else {
                continue;
            };
            let is_master = meta.is_owner(user) || self.roles.contains(ADMIN);
            if meta.is_private && !is_master && !is_own(&name) {
                continue;
            }
            let room = Room::new(&name);
            let mut object = Vec::new();
            Fields::write(&mut object, |fields| {
                meta.write(fields, &room).number("members", 0)
            });
            self.found.push((room, text(&object).to_owned()));
        }
    }
}

/// `None`: the store is busy or has failed.
async fn answer<T>(asked: Result<Reply<T>, StoreBusy>) -> Option<T> {
    asked.ok()?.await.ok()
}

impl Outlet<'_, '_> {
    /// Begins a page of rooms: with the store's, where there is one.
    pub(in crate::realtime) fn list(&mut self, mut listing: Listing) {
        match self.desk.store.clone() {
            None => {
                let mail = Mail(Letter::List(Box::new(listing)));
                self.context.mail(ShardId(0), mail);
            }
            Some(store) => {
                let (asker, answer) = (listing.asker.clone(), Err(Rejection::busy()));
                let work = async move {
                    listing.read_store(&store).await;
                    Mail(Letter::List(Box::new(listing)))
                };
                let refused = move || Mail(Letter::Answered { asker, answer });
                self.context.spawn(work, refused);
            }
        }
    }
}

impl Rooms {
    /// Adds this shard's rooms to the page and passes it on; the last shard answers.
    pub(in crate::realtime) fn list(&self, outlet: &mut Outlet<'_, '_>, mut listing: Box<Listing>) {
        let after = listing.after.clone();
        let is_of_round = |room: &Room| after.as_ref().is_none_or(|after| room > after);
        // What is here is newer than what the store knows of it.
        listing
            .found
            .retain(|(room, _)| !is_of_round(room) || !self.rooms.contains_key(room));
        let names = self.rooms.iter().filter(|(room, state)| {
            room.name().starts_with(&*listing.prefix)
                && listing.horizon.as_ref().is_none_or(|end| *room <= end)
                && state.is_visible(&listing.asker.user, &listing.roles)
        });
        let names = names.map(|(room, _)| room);
        let page = selection::page(names, after.as_ref().as_ref(), listing.limit + 1);
        for room in page {
            let state = &self.rooms[room];
            let object = outlet
                .desk
                .scratch
                .take_payload(|fields| state.describe(fields, room));
            listing.found.push((room.clone(), text(&object).to_owned()));
            outlet.desk.scratch.give_payload(object);
        }
        listing.next += 1;
        if listing.next < outlet.context.shards() {
            let shard = listing.shard();
            return outlet.context.mail(shard, Mail(Letter::List(listing)));
        }
        listing.end_round(outlet);
    }
}

impl Listing {
    /// How many of the rooms found fit the page. One does always, so that each page gets further.
    fn fits(&self) -> usize {
        let mut bytes = 0;
        let fits = self.found.iter().take_while(|(_, object)| {
            bytes += object.len() + 1;
            bytes <= PAGE_BYTES_MAX
        });
        fits.count().clamp(1, self.limit.max(1))
    }

    /// All shards have added theirs: answers, or goes on in the store if the page is not full.
    fn end_round(mut self: Box<Self>, outlet: &mut Outlet<'_, '_>) {
        if self.has_failed {
            return outlet.refuse(&self.asker, &Rejection::busy());
        }
        self.found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        self.found.truncate(self.limit.saturating_add(1));
        let fits = self.fits();
        let is_full = self.found.len() > fits;
        if !is_full && self.horizon.is_some() && self.rounds < ROUNDS_MAX {
            self.after = self.horizon.take();
            self.next = 0;
            return outlet.list(*self);
        }
        let next = match is_full {
            true => Some(self.found[fits - 1].0.clone()),
            false => self.horizon.take(),
        };
        self.found.truncate(fits);
        let rooms: Vec<&str> = self.found.iter().map(|(_, object)| &**object).collect();
        let rooms = format!("[{}]", rooms.join(","));
        outlet.result(&self.asker, |fields| {
            let fields = fields.raw("rooms", &rooms);
            match &next {
                Some(next) => fields.str("next_cursor", next.name()),
                None => fields.null("next_cursor"),
            }
        });
    }
}
