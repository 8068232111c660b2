//! `room.list`: a page of the rooms of all shards, which each adds its own to.

use super::pages::PAGE_BYTES_MAX;
use super::{Room, Rooms, selection};
use crate::id::ShardId;
use crate::realtime::mail::{Asker, Letter, Mail};
use crate::realtime::options::Roles;
use crate::realtime::outlet::Outlet;
use crate::realtime::protocol::Fields;
use crate::realtime::writing::text;

/// A page of rooms on its way through the shards.
#[derive(Debug)]
pub(in crate::realtime) struct Listing {
    pub(in crate::realtime) asker: Asker,
    pub(in crate::realtime) roles: Roles,
    pub(in crate::realtime) prefix: Box<str>,
    pub(in crate::realtime) cursor: Option<Box<str>>,
    pub(in crate::realtime) limit: usize,
    /// Names and what `room.get` says of them, at most one more than the limit.
    found: Vec<(Room, String)>,
    next: u16,
}

impl Listing {
    pub(in crate::realtime) fn new(
        asker: Asker,
        roles: Roles,
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
            next: 0,
        }
    }
}

impl Rooms {
    /// Adds this shard's rooms to the page and passes it on; the last shard answers.
    pub(in crate::realtime) fn list(&self, outlet: &mut Outlet<'_, '_>, mut listing: Box<Listing>) {
        let after = listing.cursor.as_deref().map(Room::new);
        let names = self.rooms.iter().filter(|(room, state)| {
            room.name().starts_with(&*listing.prefix)
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
        listing.found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        listing.found.truncate(listing.limit + 1);
        listing.next += 1;
        if listing.next < outlet.context.shards() {
            let shard = ShardId(listing.next);
            return outlet.context.mail(shard, Mail(Letter::List(listing)));
        }
        listing.answer(outlet);
    }
}

impl Listing {
    fn answer(mut self, outlet: &mut Outlet<'_, '_>) {
        let mut bytes = 0;
        let fits = self.found.iter().take_while(|(_, object)| {
            bytes += object.len() + 1;
            bytes <= PAGE_BYTES_MAX
        });
        // One room fits always: a page that goes on is never empty.
        let fits = fits.count().clamp(1, self.limit);
        let has_more = self.found.len() > fits;
        self.found.truncate(fits);
        let next = self
            .found
            .last()
            .filter(|_| has_more)
            .map(|(room, _)| room.clone());
        let rooms: Vec<&str> = self.found.iter().map(|(_, object)| &**object).collect();
        let rooms = format!("[{}]", rooms.join(","));
        outlet.result(&self.asker, |fields: Fields<'_>| {
            let fields = fields.raw("rooms", &rooms);
            match &next {
                Some(next) => fields.str("next_cursor", next.name()),
                None => fields.null("next_cursor"),
            }
        });
    }
}
