//! Questions about a room and changes to it, by remote procedure.

use super::Room;
use super::delivery::Marks;
use super::members::Seat;
use super::meta::{Changes, MEMBERS_MAX, Spec};
use super::room::RoomState;
use crate::id::UserId;
use crate::realtime::mail::{Asker, Push, Reason};
use crate::realtime::options::Roles;
use crate::realtime::outlet::Outlet;
use crate::realtime::protocol::{Fields, MessageId, Rejection, Timestamp, payload};
use crate::realtime::writing::text;

/// Who may do an owner's work in every room.
pub(in crate::realtime) const ADMIN: &str = "admin";
/// Most users on a room's access list.
const LISTED_MAX: usize = 10_000;
/// Most users who are sent away for a time.
const BANNED_MAX: usize = 1000;
/// Longest time to be sent away, seconds: a year.
const BAN_S_MAX: u32 = 365 * 24 * 3600;

/// A part of a room's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::realtime) struct Page {
    /// Only those before this offset.
    pub(in crate::realtime) before: Option<Mark>,
    /// Only those after this offset, the oldest first.
    pub(in crate::realtime) after: Option<Mark>,
    pub(in crate::realtime) limit: usize,
}

/// A place in a room's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::realtime) enum Mark {
    Offset(u64),
    Message(MessageId),
}

/// What is asked of a room.
#[derive(Debug)]
pub(in crate::realtime) enum Question {
    /// `room.get`
    Get,
    /// `room.members`
    Members {
        cursor: Option<Box<str>>,
        limit: usize,
    },
    /// `presence`, `query`
    Presence {
        cursor: Option<Box<str>>,
        limit: usize,
    },
    /// `room.history`
    History(Page),
    /// `room.create`
    Create(Box<Spec>),
    /// `room.update`
    Update(Box<Changes>),
    /// `room.kick`
    Kick { user: UserId, ban_s: u32 },
    /// `room.close`
    Close,
    /// `room.add_member`
    AddMember(UserId),
    /// `room.remove_member`
    RemoveMember(UserId),
    /// What has become of a message.
    Status(MessageId),
}

impl Question {
    pub(super) fn makes_room(&self) -> bool {
        matches!(self, Self::Create(_))
    }
}

impl RoomState {
    /// The room as `room.get` and `room.list` show it.
    pub(super) fn describe<'o>(&self, fields: Fields<'o>, room: &Room) -> Fields<'o> {
        self.meta
            .write(fields, room)
            .number("members", self.crowd.present as u64)
    }

    /// Whether the user may see the room.
    pub(super) fn is_visible(&self, user: &UserId, roles: &Roles) -> bool {
        !self.meta.is_private || self.members.contains_key(user) || self.is_master(user, roles)
    }

    pub(super) fn is_master(&self, user: &UserId, roles: &Roles) -> bool {
        self.meta.is_owner(user) || roles.contains(ADMIN)
    }

    pub(super) fn ask(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        (asker, roles): (&Asker, &Roles),
        question: Question,
    ) {
        let result = self
            .may_ask(asker, roles, &question)
            .and_then(|()| self.answer(outlet, room, (asker, roles), question));
        if let Err(rejection) = result {
            outlet.refuse(asker, &rejection);
        }
    }

    fn may_ask(&self, asker: &Asker, roles: &Roles, question: &Question) -> Result<(), Rejection> {
        let user = &asker.user;
        let (is_allowed, rejection) = match question {
            // Who may make rooms does not depend on the room, and was looked at before.
            Question::Create(_) => (true, Rejection::Forbidden),
            // The message's author may ask.
            Question::Status(_) => (true, Rejection::Forbidden),
            Question::Get => (self.is_visible(user, roles), Rejection::Forbidden),
            Question::Members { .. } | Question::Presence { .. } | Question::History(_) => {
                let is_member = self.members.contains_key(user);
                (
                    is_member || self.is_master(user, roles),
                    Rejection::NotSubscribed,
                )
            }
            Question::Update(_)
            | Question::Kick { .. }
            | Question::Close
            | Question::AddMember(_)
            | Question::RemoveMember(_) => (self.is_master(user, roles), Rejection::Forbidden),
        };
        is_allowed.then_some(()).ok_or(rejection)
    }

    fn answer(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        (asker, roles): (&Asker, &Roles),
        question: Question,
    ) -> Result<(), Rejection> {
        match question {
            Question::Members { cursor, limit } => {
                self.answer_members(outlet, asker, cursor.as_deref(), limit);
                return Ok(());
            }
            Question::Status(message) => {
                let is_master = self.is_master(&asker.user, roles);
                return self.answer_status(outlet, room, (asker, is_master), message);
            }
            Question::Presence { cursor, limit } => {
                return self.answer_presence(outlet, room, asker, cursor.as_deref(), limit);
            }
            Question::History(page) => return self.answer_history(outlet, room, asker, page),
            Question::Kick { user, ban_s } => {
                self.kick(outlet, room, &user, ban_s)?;
                outlet.result(asker, |fields| {
                    fields.str("user_id", &user).bool("kicked", true)
                });
                return Ok(());
            }
            Question::Close => {
                self.close(outlet, room);
                outlet.result(asker, |fields| {
                    fields.str("id", room.name()).bool("closed", true)
                });
                return Ok(());
            }
            Question::Get => {}
            Question::Create(spec) => self.create(outlet, room, asker, *spec)?,
            Question::Update(changes) => self.update(outlet, room, *changes),
            Question::AddMember(user) => self.add_member(outlet, room, &user)?,
            Question::RemoveMember(user) => self.remove_member(outlet, room, &user)?,
        }
        outlet.result(asker, |fields| self.describe(fields, room));
        Ok(())
    }

    fn answer_members(
        &self,
        outlet: &mut Outlet<'_, '_>,
        asker: &Asker,
        cursor: Option<&str>,
        limit: usize,
    ) {
        let limit = limit.min(outlet.desk.options.presence.members_max);
        let (page, next) = self.page(cursor, limit);
        let count = self.crowd.present as u64;
        outlet.result(asker, |fields| {
            let fields =
                fields
                    .number("count", count)
                    .list("members", page, |item, (user, seat)| {
                        let member = seat.public(user);
                        item.str("user_id", user)
                            .number("connections", member.connections.into())
                            .time("since", &Timestamp::new(member.since_ms))
                            .raw("info", member.info.as_deref().unwrap_or(payload::NO_INFO))
                    });
            match next {
                Some(next) => fields.str("next_cursor", next),
                None => fields.null("next_cursor"),
            }
        });
    }

    /// Makes the room what `spec` says. It must not have been made before, nor be in use.
    fn create(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        asker: &Asker,
        spec: Spec,
    ) -> Result<(), Rejection> {
        if !self.is_unused() {
            return Err(Rejection::AlreadyExists);
        }
        let Spec { changes, members } = spec;
        let maker = (!asker.is_server()).then_some(&asker.user);
        self.meta.create(maker, outlet.unix_ms(), changes);
        // Whoever makes a list belongs to it.
        let owner = maker.filter(|_| !members.is_empty());
        for user in owner.into_iter().chain(&members) {
            self.enlist(outlet, room, user);
        }
        self.changed(outlet, room, "created");
        Ok(())
    }

    /// Whether nobody has made the room by request or been in it, and nothing was said.
    fn is_unused(&self) -> bool {
        !self.meta.is_made
            && self.members.is_empty()
            && self.window.head() == 0
            && self.data.is_empty()
    }

    fn update(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room, changes: Changes) {
        let members_max = self.members_max(outlet);
        self.meta.apply(changes);
        self.changed(outlet, room, "updated");
        let event = if self.members_max(outlet) == members_max {
            "updated"
        } else {
            "capacity"
        };
        self.system(outlet, room, event, "the room was changed");
    }

    fn add_member(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        user: &UserId,
    ) -> Result<(), Rejection> {
        if self.members.len() >= LISTED_MAX && !self.members.contains_key(user) {
            return Err(Rejection::Conflict);
        }
        self.banned.remove(user);
        if self.enlist(outlet, room, user) {
            let listed = self.listed();
            self.notify(outlet, room, "member_added", &listed);
        }
        Ok(())
    }

    fn remove_member(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        user: &UserId,
    ) -> Result<(), Rejection> {
        if !self.members.contains_key(user) {
            return Err(Rejection::NotFound);
        }
        if self.meta.is_owner(user) {
            return Err(Rejection::Conflict);
        }
        self.expel(outlet, room, user, Reason::Forbidden);
        let mut told = self.listed();
        told.push(user.clone());
        self.notify(outlet, room, "member_removed", &told);
        Ok(())
    }

    fn kick(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        user: &UserId,
        ban_s: u32,
    ) -> Result<(), Rejection> {
        if !self.members.contains_key(user) && ban_s == 0 {
            return Err(Rejection::NotFound);
        }
        if self.meta.is_owner(user) {
            return Err(Rejection::Conflict);
        }
        if ban_s > 0 {
            let second = outlet.second();
            self.banned.retain(|_, until| *until > second);
            if self.banned.len() >= BANNED_MAX && !self.banned.contains_key(user) {
                return Err(Rejection::Conflict);
            }
            let until = second.saturating_add(ban_s.min(BAN_S_MAX));
            self.banned.insert(user.clone(), until);
        }
        self.expel(outlet, room, user, Reason::Kicked);
        self.system(outlet, room, "kicked", &format!("{user} was sent away"));
        Ok(())
    }

    /// Ends the room: everybody is told and sent away, nothing is kept.
    fn close(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room) {
        self.changed(outlet, room, "deleted");
        let users: Vec<UserId> = self.members.keys().cloned().collect();
        for user in &users {
            self.expel(outlet, room, user, Reason::RoomClosed);
        }
        if self.storage.is_stored() {
            outlet.tell_store(|store| store.remove_room(room.name()));
        }
        self.storage.abandon(outlet);
        self.is_closed = true;
    }

    /// Puts a user on the access list. `false`: it was there.
    fn enlist(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room, user: &UserId) -> bool {
        let head = self.window.head();
        let seat = self.members.entry(user.clone());
        let seat = seat.or_insert_with(|| Seat::absent(Marks::at(head), false));
        if std::mem::replace(&mut seat.is_listed, true) {
            return false;
        }
        if self.storage.is_stored() {
            self.remember_member(outlet, room, user);
        } else {
            outlet.tell_home(user, room, true);
        }
        true
    }

    /// The first of those who are on the access list.
    fn listed(&self) -> Vec<UserId> {
        let listed = self.members.iter().filter(|(_, seat)| seat.is_listed);
        listed
            .map(|(user, _)| user.clone())
            .take(MEMBERS_MAX)
            .collect()
    }

    /// The room is another than before: the store and those on its list are told.
    fn changed(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room, action: &str) {
        if self.storage.is_stored() && action != "deleted" {
            let meta = self.meta.to_json();
            outlet.tell_store(|store| store.update_room(room.name(), &meta));
        }
        let listed = self.listed();
        self.notify(outlet, room, action, &listed);
    }

    /// Tells users what happened to a room that they belong to.
    fn notify(&self, outlet: &mut Outlet<'_, '_>, room: &Room, action: &str, users: &[UserId]) {
        let at = outlet.timestamp();
        let listed = self.listed();
        let listed: Vec<&str> = listed.iter().map(|user| &**user).collect();
        let notification = payload::ChatNotification {
            chat: room.name(),
            creator: self.meta.created_by().map_or("", |user| user),
            name: Some(&*self.meta.name).filter(|name| !name.is_empty()),
            is_group: listed.len() != 2,
            members: Some(&listed),
            action,
        };
        let object = outlet
            .desk
            .scratch
            .take_payload(|fields| payload::chat_notification(fields, &notification, &at));
        for user in users {
            let mut push = Push::from_server("chat-notification", text(&object));
            push.id = Some(outlet.message_id());
            outlet.tell_user(user, push);
        }
        outlet.desk.scratch.give_payload(object);
    }
}
