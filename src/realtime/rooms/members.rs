//! Who is in a room, and what the room is told about it.
//!
//! A user is there once, however many connections it has. Presence names users and is true however
//! often it is told: a join that a snapshot already knew of changes nothing.

use std::collections::btree_map::Entry;
use std::ops::Bound::{Excluded, Unbounded};

use smallvec::SmallVec;

use super::Room;
use super::delivery::Marks;
use super::pages::PAGE_BYTES_MAX;
use super::room::RoomState;
use crate::id::{ConnectionId, UserId};
use crate::realtime::mail::{Asker, Join};
use crate::realtime::options::Roles;
use crate::realtime::outlet::Outlet;
use crate::realtime::protocol::{Body, Fields, Outbound, Profile, Rejection, Timestamp, payload};
use crate::realtime::writing::{Audience, Written, text};

const PRESENCE: &str = "presence";
/// What a member takes in a snapshot besides its identifier and `info`, bytes at most.
const MEMBER_BYTES: usize = 128;

/// The members of a room at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// How many users there are.
    pub count: usize,
    /// The first of them by identifier, at most
    /// [`members_max`](crate::realtime::options::PresenceOptions::members_max).
    pub users: Vec<Member>,
}

/// A user in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub user: UserId,
    /// The user's connections in the room. 0 if the last one left a moment ago.
    pub connections: u32,
    /// When the first of them came, milliseconds since 1970 UTC.
    pub since_ms: u64,
    /// What the user says about itself, the text of a JSON object.
    pub info: Option<Box<str>>,
}

/// A connection in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) connection: ConnectionId,
    /// Which of the connection's questions brought it in last.
    pub(super) number: u32,
    pub(super) profile: Profile,
    /// It was sent all messages after this offset, and none before.
    pub(super) from: u64,
}

/// A user's place in a room.
#[derive(Debug, Default)]
pub(super) struct Seat {
    pub(super) links: SmallVec<[Link; 1]>,
    since_ms: u64,
    info: Option<Box<str>>,
    pub(super) roles: Roles,
    pub(super) marks: Marks,
    /// On the room's access list: a member while away, too.
    pub(super) is_listed: bool,
    /// The second at which it has left, if no connection comes back before.
    leaves_at_s: Option<u32>,
}

impl Seat {
    pub(super) fn is_present(&self) -> bool {
        !self.links.is_empty() || self.leaves_at_s.is_some()
    }

    /// Of a user who is not there.
    pub(super) fn absent(marks: Marks, is_listed: bool) -> Self {
        Self {
            marks,
            is_listed,
            ..Self::default()
        }
    }

    fn connections(&self) -> u32 {
        u32::try_from(self.links.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn public(&self, user: &UserId) -> Member {
        Member {
            user: user.clone(),
            connections: self.connections(),
            since_ms: self.since_ms,
            info: self.info.clone(),
        }
    }

    fn as_user<'a>(&'a self, user: &'a str) -> payload::Present<'a> {
        payload::Present {
            id: user,
            connections: self.connections(),
            since: Timestamp::new(self.since_ms),
            info: self.info(),
        }
    }

    /// Bytes of the member in a snapshot, at most.
    fn bytes(&self, user: &str) -> usize {
        // A character of an identifier takes two bytes if it must be escaped.
        MEMBER_BYTES + 2 * user.len() + self.info().len()
    }

    fn info(&self) -> &str {
        self.info.as_deref().unwrap_or(payload::NO_INFO)
    }
}

/// How many are there.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// Users with a connection, and those whose last one left a moment ago.
    pub(super) present: usize,
    /// There are, or were a moment ago, more members than presence names.
    pub(super) is_crowded: bool,
    /// The room has not been told the present number of members. Only while `is_crowded`.
    pub(super) count_is_news: bool,
    /// The soonest second at which somebody has left who may come back before.
    pub(super) leaves_at_s: Option<u32>,
}

impl RoomState {
    /// A connection has been let in. The others hear of a user's first one, which is `true`.
    pub(super) fn arrive(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        user: &UserId,
        link: Link,
        (roles, info): (&Roles, Option<&str>),
    ) -> bool {
        let now_ms = outlet.unix_ms();
        let lasts = self.storage.is_stored();
        let head = self.window.head();
        let seat = self.members.entry(user.clone()).or_insert_with(|| Seat {
            // What was said before a member came was not for it.
            marks: Marks::at(head),
            ..Seat::default()
        });
        let was_present = seat.is_present();
        seat.leaves_at_s = None;
        seat.is_listed |= lasts;
        seat.roles = roles.clone();
        let is_news = info.is_some_and(|info| info != seat.info());
        if let Some(info) = info {
            seat.info = Some(info.into());
        }
        seat.links
            .retain(|known| known.connection != link.connection);
        seat.links.push(link);
        self.empty_since_s = None;
        if was_present {
            if is_news {
                self.tell_info(outlet, room, user, Some(link.connection));
            }
            return false;
        }
        seat.since_ms = now_ms;
        self.crowd.present += 1;
        self.crowd.is_crowded |= self.crowd.present > outlet.desk.options.presence.members_max;
        if self.crowd.is_crowded {
            self.crowd.count_is_news = true;
        } else if self.tells_joins(outlet) {
            let (seat, count) = (&self.members[user], self.crowd.present as u64);
            outlet.desk.counts.presence += 1;
            let kind = (PRESENCE, Some(&**user));
            let exclude = Some(link.connection);
            outlet.tell_room(room, kind, Audience::PresenceOnly, exclude, |fields| {
                payload::presence_join(fields, count, user, seat.info())
            });
        }
        true
    }

    /// A connection is in the room no more, unless it has come in anew since `number`. The others
    /// hear of a user's last one, when it has had time to come back.
    pub(super) fn leave(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        user: &UserId,
        connection: ConnectionId,
        number: Option<u32>,
        for_good: bool,
    ) {
        let Some(seat) = self.members.get_mut(user) else {
            return;
        };
        let mut links = seat.links.iter();
        let place = links.position(|link| link.connection == connection);
        if let Some(place) = place {
            if number.is_some_and(|number| number != seat.links[place].number) {
                return;
            }
            seat.links.remove(place);
            if seat.links.is_empty() {
                self.begin_to_leave(outlet, room, user, for_good);
            }
        }
        if for_good {
            self.forget_member(outlet, room, user);
        }
    }

    /// A user's last connection has gone.
    fn begin_to_leave(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        user: &UserId,
        at_once: bool,
    ) {
        if self.receipts.unstored.contains(user) {
            // Perhaps the server is about to end.
            self.store_marks(outlet, room);
        }
        let delay = outlet.desk.options.presence.leave_delay.as_secs();
        if at_once || delay == 0 {
            return self.depart(outlet, room, user);
        }
        let delay = u32::try_from(delay).unwrap_or(u32::MAX);
        let at = outlet.second().saturating_add(delay);
        if let Some(seat) = self.members.get_mut(user) {
            seat.leaves_at_s = Some(at);
        }
        let soonest = self.crowd.leaves_at_s.unwrap_or(at);
        self.crowd.leaves_at_s = Some(soonest.min(at));
    }

    /// Takes a user out of the room at once, whatever connections there are.
    pub(super) fn remove(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room, user: &UserId) {
        let seat = self.members.get_mut(user);
        if let Some(seat) = seat.filter(|seat| seat.is_present()) {
            seat.links.clear();
            self.depart(outlet, room, user);
        }
    }

    /// A user has left. Its place stays if it is on the access list.
    fn depart(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room, user: &UserId) {
        let Entry::Occupied(mut seat) = self.members.entry(user.clone()) else {
            return;
        };
        seat.get_mut().leaves_at_s = None;
        if !seat.get().is_listed {
            seat.remove();
        }
        self.typists.depart(outlet, room, user);
        self.crowd.present -= 1;
        let count = self.crowd.present as u64;
        if count == 0 {
            self.empty_since_s = Some(outlet.second());
        }
        if self.crowd.is_crowded {
            self.crowd.count_is_news = true;
        } else if count > 0 && self.tells_joins(outlet) {
            outlet.desk.counts.presence += 1;
            let kind = (PRESENCE, Some(&**user));
            outlet.tell_room(room, kind, Audience::PresenceOnly, None, |fields| {
                payload::presence_leave(fields, count)
            });
        }
    }

    fn tells_joins(&self, outlet: &Outlet<'_, '_>) -> bool {
        let namespace = self.namespace(outlet);
        namespace.presence && namespace.join_leave
    }

    /// Lets those go who have not come back, and tells a crowded room how many there are.
    pub(super) fn tick_members(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room) {
        let second = outlet.second();
        if self.crowd.leaves_at_s.is_some_and(|at| at <= second) {
            let leaving = self
                .members
                .iter()
                .filter_map(|(user, seat)| Some((user, seat.leaves_at_s?)));
            let (gone, waiting): (Vec<_>, Vec<_>) = leaving.partition(|(_, at)| *at <= second);
            self.crowd.leaves_at_s = waiting.iter().map(|(_, at)| *at).min();
            let gone: Vec<UserId> = gone.into_iter().map(|(user, _)| user.clone()).collect();
            for user in gone {
                self.depart(outlet, room, &user);
            }
        }
        if std::mem::take(&mut self.crowd.count_is_news) {
            self.tell_count(outlet, room);
        }
    }

    /// Tells a crowded room how many there are, or who, if it is not crowded any more.
    fn tell_count(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room) {
        let members_max = outlet.desk.options.presence.members_max;
        // A tenth fewer, so that a room about the limit does not go back and forth.
        if self.crowd.present <= members_max - members_max / 10 {
            self.crowd.is_crowded = false;
        }
        if self.tells_joins(outlet) {
            outlet.desk.counts.presence += 1;
            let kind = (PRESENCE, None);
            outlet.tell_room(room, kind, Audience::PresenceOnly, None, |fields| {
                self.present(fields)
            });
        }
    }

    /// All members, or their number if they are too many.
    fn present<'o>(&self, fields: Fields<'o>) -> Fields<'o> {
        let count = self.crowd.present as u64;
        let present = || self.members.iter().filter(|(_, seat)| seat.is_present());
        let bytes = || -> usize { present().map(|(user, seat)| seat.bytes(user)).sum() };
        if self.crowd.is_crowded || bytes() > PAGE_BYTES_MAX {
            return payload::presence_count(fields, count);
        }
        let users = present().map(|(user, seat)| seat.as_user(user));
        payload::presence_snapshot(fields, count, users, None)
    }

    /// The members, for a connection that has just joined and wants to know.
    pub(super) fn snapshot(
        &self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        join: &Join,
    ) -> Option<Written> {
        if !join.presence || !self.namespace(outlet).presence {
            return None;
        }
        outlet.desk.counts.presence += 1;
        let at = outlet.timestamp();
        let object = outlet
            .desk
            .scratch
            .take_payload(|fields| self.present(fields));
        let outbound = Outbound {
            message_type: PRESENCE,
            id: None,
            room: Some(room.name()),
            user: None,
            at,
            position: None,
            body: Body::Object(text(&object)),
        };
        let written = Written::new(&outbound, join.asker.profile);
        outlet.desk.scratch.give_payload(object);
        Some(written)
    }

    /// Answers who is there: a page of the members by identifier, after `cursor`.
    ///
    /// Errors: [`Rejection::Forbidden`] where rooms have no presence.
    pub(super) fn answer_presence(
        &self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        asker: &Asker,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(), Rejection> {
        if !self.namespace(outlet).presence {
            return Err(Rejection::Forbidden);
        }
        let limit = limit.min(outlet.desk.options.presence.members_max);
        let (page, next) = self.page(cursor, limit);
        let count = self.crowd.present as u64;
        let users = page.iter().map(|(user, seat)| seat.as_user(user));
        outlet.answer(asker, PRESENCE, Some(room), |fields| {
            payload::presence_snapshot(fields, count, users, Some(next))
        });
        Ok(())
    }

    /// At most `limit` members after `cursor`, fewer if they say much of themselves, and the cursor
    /// of the next page, if there is one.
    pub(super) fn page(
        &self,
        cursor: Option<&str>,
        limit: usize,
    ) -> (Vec<(&UserId, &Seat)>, Option<&str>) {
        let start = cursor.map_or(Unbounded, |cursor| Excluded(UserId::from(cursor)));
        let after = self.members.range((start, Unbounded));
        let mut present = after.filter(|(_, seat)| seat.is_present()).peekable();
        let (mut page, mut bytes) = (Vec::new(), 0);
        while let Some((user, seat)) = present.peek() {
            bytes += seat.bytes(user);
            if page.len() >= limit || (bytes > PAGE_BYTES_MAX && !page.is_empty()) {
                break;
            }
            page.extend(present.next());
        }
        let has_more = present.peek().is_some();
        let last = page.last().filter(|_| has_more);
        let next = last.map(|(user, _)| &***user);
        (page, next)
    }

    /// A member says something about itself.
    pub(super) fn update_info(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        asker: &Asker,
        info: Box<str>,
    ) {
        if !self.namespace(outlet).presence {
            return outlet.refuse(asker, &Rejection::Forbidden);
        }
        let seat = self.members.get_mut(&asker.user);
        let Some(seat) = seat.filter(|seat| seat.is_present()) else {
            return outlet.refuse(asker, &Rejection::NotSubscribed);
        };
        seat.info = Some(info);
        self.tell_info(outlet, room, &asker.user, None);
    }

    /// Tells the room what a member says about itself, unless they are too many.
    fn tell_info(
        &self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        user: &UserId,
        exclude: Option<ConnectionId>,
    ) {
        if self.crowd.is_crowded || !self.namespace(outlet).presence {
            return;
        }
        let info = self.members[user].info();
        outlet.desk.counts.presence += 1;
        let kind = (PRESENCE, Some(&**user));
        outlet.tell_room(room, kind, Audience::PresenceOnly, exclude, |fields| {
            payload::presence_update(fields, user, info)
        });
    }

    pub(super) fn typing(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        user: &UserId,
        connection: ConnectionId,
        is_typing: bool,
    ) {
        if self.members.get(user).is_some_and(Seat::is_present) {
            self.typists.hear(outlet, room, user, connection, is_typing);
        }
    }
}
