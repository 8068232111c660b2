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
use crate::store::{PAGE_MAX, Store};

/// A page of rooms on its way through the shards, from the first to the last.
#[derive(Debug)]
pub(in crate::realtime) struct Listing {
    asker: Asker,
    roles: Roles,
    prefix: Box<str>,
    cursor: Option<Box<str>>,
    limit: usize,
    /// Names and what `room.get` says of them, at most one more than the limit.
    found: Vec<(Room, String)>,
    /// How far the store was read, if not to its end: nothing behind it is on this page.
    horizon: Option<Room>,
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
            cursor: cursor.map(Into::into),
            limit,
            found: Vec::new(),
            horizon: None,
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
        let limit = u32::try_from(self.limit).unwrap_or(u32::MAX);
        let user = &self.asker.user;
        let asked = store
            .rooms(&self.prefix, self.cursor.as_deref(), limit)
            .and_then(|rooms| Ok((rooms, store.rooms_of(user, PAGE_MAX)?)));
        let Ok((rooms, own)) = asked else {
            self.has_failed = true;
            return;
        };
        let (Ok(rooms), Ok(own)) = (rooms.await, own.await) else {
            self.has_failed = true;
            return;
        };
        if rooms.len() >= self.limit {
            self.horizon = rooms.last().map(|(name, _)| Room::new(name));
        }
        let own: BTreeSet<String> = own.into_iter().collect();
        for (name, meta) in rooms {
            let Some(meta) = Meta::from_json(&meta) else {
                continue;
            };
            let is_master = meta.is_owner(user) || self.roles.contains(ADMIN);
            if meta.is_private && !is_master && !own.contains(&name) {
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
        // What is here is newer than what the store knows of it.
        listing
            .found
            .retain(|(room, _)| !self.rooms.contains_key(room));
        let after = listing.cursor.as_deref().map(Room::new);
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
        listing.answer(outlet);
    }
}

impl Listing {
    fn answer(mut self, outlet: &mut Outlet<'_, '_>) {
        if self.has_failed {
            return outlet.refuse(&self.asker, &Rejection::busy());
        }
        self.found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut bytes = 0;
        let fits = self.found.iter().take_while(|(_, object)| {
            bytes += object.len() + 1;
            bytes <= PAGE_BYTES_MAX
        });
        // One room fits always, so that each page gets further.
        let fits = fits.count().clamp(1, self.limit);
        let next = if self.found.len() > fits {
            Some(self.found[fits - 1].0.clone())
        } else {
            self.horizon
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
