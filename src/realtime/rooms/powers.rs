//! Questions about a room and changes to it, by remote procedure.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Room;
use super::delivery::Marks;
use super::members::Seat;
use super::room::RoomState;
use crate::id::UserId;
use crate::realtime::mail::{Asker, Push, Reason};
use crate::realtime::options::{Create, Roles, Who};
use crate::realtime::outlet::Outlet;
use crate::realtime::protocol::{Fields, Rejection, Timestamp, payload};
use crate::realtime::writing::text;

/// Who may do an owner's work in every room.
const ADMIN: &str = "admin";
/// Longest name of a room, bytes.
const NAME_BYTES_MAX: usize = 256;
/// Largest metadata of a room, bytes of JSON.
const METADATA_BYTES_MAX: usize = 8 * 1024;
/// Most users on a new room's access list.
const MEMBERS_MAX: usize = 1000;
/// Most users who are sent away for a time.
const BANNED_MAX: usize = 1000;
/// Longest time to be sent away, seconds: a year.
const BAN_S_MAX: u32 = 365 * 24 * 3600;

/// What is known of a room besides who is there (3.8).
#[derive(Debug)]
pub(super) struct Meta {
    pub(super) name: Box<str>,
    created_ms: u64,
    /// Who may do all to the room; `None`: it was made by being entered.
    created_by: Option<UserId>,
    /// Most users at once; 0: as many as the namespace allows.
    pub(super) max_clients: u32,
    pub(super) is_private: bool,
    /// The text of a JSON object.
    metadata: Box<str>,
}

/// [`Meta`] as it stands in the store.
#[derive(Serialize, Deserialize)]
struct StoredMeta {
    name: String,
    created_ms: u64,
    created_by: Option<String>,
    max_clients: u32,
    is_private: bool,
    metadata: Box<RawValue>,
}

/// What a new room is to be.
#[derive(Debug, Default, Deserialize)]
pub(in crate::realtime) struct Spec {
    #[serde(flatten)]
    pub(in crate::realtime) changes: Changes,
    /// Users who may come in though the room is private, and who are members while they are away.
    #[serde(default)]
    pub(in crate::realtime) members: Vec<String>,
}

/// What is to change about a room.
#[derive(Debug, Default, Deserialize)]
pub(in crate::realtime) struct Changes {
    pub(in crate::realtime) name: Option<String>,
    pub(in crate::realtime) max_clients: Option<u32>,
    pub(in crate::realtime) is_private: Option<bool>,
    pub(in crate::realtime) metadata: Option<Box<RawValue>>,
}

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
    Message(crate::realtime::protocol::MessageId),
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
    Create { spec: Box<Spec>, roles: Roles },
    /// `room.update`
    Update { changes: Box<Changes>, roles: Roles },
    /// `room.kick`
    Kick {
        user: UserId,
        ban_s: u32,
        roles: Roles,
    },
    /// `room.close`
    Close { roles: Roles },
    /// `room.add_member`
    AddMember { user: UserId, roles: Roles },
    /// `room.remove_member`
    RemoveMember { user: UserId, roles: Roles },
}

impl Question {
    pub(super) fn makes_room(&self) -> bool {
        matches!(self, Self::Create { .. })
    }
}

impl Changes {
    /// Errors: [`Rejection::InvalidMember`] for what is too long, or metadata that is no object.
    pub(in crate::realtime) fn check(&self) -> Result<(), Rejection> {
        if self
            .name
            .as_ref()
            .is_some_and(|name| name.len() > NAME_BYTES_MAX)
        {
            return Err(Rejection::InvalidMember("name".into()));
        }
        let metadata = self.metadata.as_ref().map(|metadata| metadata.get());
        let is_fine = |text: &str| text.starts_with('{') && text.len() <= METADATA_BYTES_MAX;
        if metadata.is_some_and(|text| !is_fine(text)) {
            return Err(Rejection::InvalidMember("metadata".into()));
        }
        Ok(())
    }
}

impl Spec {
    /// Errors: as [`Changes::check`], and [`Rejection::InvalidMember`] about the members.
    pub(in crate::realtime) fn check(&self) -> Result<(), Rejection> {
        let is_user = |name: &String| UserId::is_valid(name);
        if self.members.len() > MEMBERS_MAX || !self.members.iter().all(is_user) {
            return Err(Rejection::InvalidMember("members".into()));
        }
        self.changes.check()
    }
}

impl Meta {
    pub(super) fn new(created_ms: u64, is_private: bool) -> Self {
        Self {
            name: "".into(),
            created_ms,
            created_by: None,
            max_clients: 0,
            is_private,
            metadata: "{}".into(),
        }
    }

    pub(super) fn is_owner(&self, user: &UserId) -> bool {
        self.created_by.as_ref() == Some(user)
    }

    pub(super) fn created_by(&self) -> Option<&UserId> {
        self.created_by.as_ref()
    }

    fn apply(&mut self, changes: Changes) {
        let Changes {
            name,
            max_clients,
            is_private,
            metadata,
        } = changes;
        if let Some(name) = name {
            self.name = name.into();
        }
        self.max_clients = max_clients.unwrap_or(self.max_clients);
        self.is_private = is_private.unwrap_or(self.is_private);
        if let Some(metadata) = metadata {
            self.metadata = metadata.get().into();
        }
    }

    pub(super) fn to_json(&self) -> String {
        let stored = StoredMeta {
            name: (*self.name).into(),
            created_ms: self.created_ms,
            created_by: self.created_by.as_deref().map(Into::into),
            max_clients: self.max_clients,
            is_private: self.is_private,
            metadata: RawValue::from_string((*self.metadata).into())
                .expect("checked when it came in"),
        };
        serde_json::to_string(&stored).expect("plain data")
    }

    pub(super) fn from_json(text: &str) -> Option<Self> {
        let stored: StoredMeta = serde_json::from_str(text).ok()?;
        Some(Self {
            name: stored.name.into(),
            created_ms: stored.created_ms,
            created_by: stored.created_by.as_deref().map(UserId::from),
            max_clients: stored.max_clients,
            is_private: stored.is_private,
            metadata: stored.metadata.get().into(),
        })
    }

    fn write<'o>(&self, fields: Fields<'o>, room: &Room) -> Fields<'o> {
        let name = if self.name.is_empty() {
            room.name()
        } else {
            &*self.name
        };
        let fields = fields
            .str("id", room.name())
            .str("name", name)
            .time("created_at", &Timestamp::new(self.created_ms));
        let fields = match &self.created_by {
            Some(user) => fields.str("created_by", user),
            None => fields.null("created_by"),
        };
        fields
            .number("max_clients", self.max_clients.into())
            .bool("is_private", self.is_private)
            .raw("metadata", &self.metadata)
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

    fn is_master(&self, user: &UserId, roles: &Roles) -> bool {
        self.meta.is_owner(user) || roles.contains(ADMIN)
    }

    pub(super) fn ask(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        asker: &Asker,
        question: Question,
    ) {
        if let Err(rejection) = self.try_ask(outlet, room, asker, question) {
            outlet.refuse(asker, &rejection);
        }
    }

    fn try_ask(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        asker: &Asker,
        question: Question,
    ) -> Result<(), Rejection> {
        let is_member = self.members.contains_key(&asker.user);
        match question {
            Question::Get
                if self.meta.is_private && !is_member && !self.meta.is_owner(&asker.user) =>
            {
                return Err(Rejection::Forbidden);
            }
            Question::Members { .. } | Question::Presence { .. } | Question::History(_)
                if !is_member =>
            {
                return Err(Rejection::NotSubscribed);
            }
            Question::Get => outlet.result(asker, |fields| self.describe(fields, room)),
            Question::Members { cursor, limit } => {
                self.answer_members(outlet, asker, cursor.as_deref(), limit)
            }
            Question::Presence { cursor, limit } => {
                self.answer_presence(outlet, room, asker, cursor.as_deref(), limit);
            }
            Question::History(page) => self.answer_history(outlet, room, asker, page)?,
            Question::Create { spec, roles } => self.create(outlet, room, asker, *spec, &roles)?,
            Question::Update { changes, roles } => {
                self.master(asker, &roles)?;
                self.meta.apply(*changes);
                self.changed(outlet, room, "updated");
                outlet.result(asker, |fields| self.describe(fields, room));
            }
            Question::Kick { user, ban_s, roles } => {
                self.master(asker, &roles)?;
                self.kick(outlet, room, asker, &user, ban_s)?;
            }
            Question::Close { roles } => {
                self.master(asker, &roles)?;
                self.close(outlet, room);
                outlet.result(asker, |fields| {
                    fields.str("id", room.name()).bool("closed", true)
                });
            }
            Question::AddMember { user, roles } => {
                self.master(asker, &roles)?;
                self.enlist(outlet, room, &user);
                self.notify(outlet, room, "member_added", &[user]);
                outlet.result(asker, |fields| self.describe(fields, room));
            }
            Question::RemoveMember { user, roles } => {
                self.master(asker, &roles)?;
                self.notify(outlet, room, "member_removed", std::slice::from_ref(&user));
                self.expel(outlet, room, &user, Reason::Forbidden);
                outlet.result(asker, |fields| self.describe(fields, room));
            }
        }
        Ok(())
    }

    fn master(&self, asker: &Asker, roles: &Roles) -> Result<(), Rejection> {
        self.is_master(&asker.user, roles)
            .then_some(())
            .ok_or(Rejection::Forbidden)
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
        roles: &Roles,
    ) -> Result<(), Rejection> {
        let may_create = &outlet.desk.options.may_create_rooms;
        let is_api_only = self.namespace(outlet).create == Create::ApiOnly;
        let is_allowed = roles.contains(ADMIN) || (self.allows(may_create, asker, roles));
        if !is_allowed
            || (is_api_only && may_create.contains(&Who::Server) && !roles.contains(ADMIN))
        {
            self.is_closed = self.is_unused();
            return Err(Rejection::Forbidden);
        }
        if self.meta.created_by.is_some() || !self.is_unused() {
            return Err(Rejection::AlreadyExists);
        }
        self.meta.apply(spec.changes);
        self.meta.created_by = Some(asker.user.clone());
        self.meta.created_ms = outlet.unix_ms();
        let members: Vec<UserId> = spec
            .members
            .iter()
            .map(|name| UserId::from(&**name))
            .collect();
        if !members.is_empty() {
            self.enlist(outlet, room, &asker.user);
        }
        for user in &members {
            self.enlist(outlet, room, user);
        }
        self.changed(outlet, room, "created");
        outlet.result(asker, |fields| self.describe(fields, room));
        Ok(())
    }

    /// Whether nobody has been in the room and nothing was said.
    fn is_unused(&self) -> bool {
        self.members.is_empty() && self.window.head() == 0
    }

    fn kick(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        asker: &Asker,
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
            if self.banned.len() >= BANNED_MAX {
                return Err(Rejection::Conflict);
            }
            let until = outlet.second().saturating_add(ban_s.min(BAN_S_MAX));
            self.banned.insert(user.clone(), until);
        }
        self.expel(outlet, room, user, Reason::Kicked);
        self.system(outlet, room, "kicked", &format!("{user} was sent away"));
        outlet.result(asker, |fields| {
            fields.str("user_id", user).bool("kicked", true)
        });
        Ok(())
    }

    /// Ends the room: everybody is told and sent away, nothing is kept.
    fn close(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room) {
        self.system(outlet, room, "room_closed", "the room was closed");
        self.changed(outlet, room, "deleted");
        let users: Vec<UserId> = self.members.keys().cloned().collect();
        for user in &users {
            self.expel(outlet, room, user, Reason::RoomClosed);
        }
        if self.storage.is_stored() {
            outlet.tell_store(|store| store.remove_room(room.name()));
        }
        self.is_closed = true;
    }

    /// Puts a user on the access list.
    fn enlist(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room, user: &UserId) {
        let head = self.window.head();
        let seat = self
            .members
            .entry(user.clone())
            .or_insert_with(|| Seat::absent(Marks::at(head), false));
        if std::mem::replace(&mut seat.is_listed, true) {
            return;
        }
        if self.storage.is_stored() {
            self.remember_member(outlet, room, user);
        } else {
            outlet.tell_home(user, room, true);
        }
    }

    /// The room is another than before: the store and those on its list are told.
    fn changed(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room, action: &str) {
        if self.storage.is_stored() && action != "deleted" {
            let meta = self.meta.to_json();
            outlet.tell_store(|store| store.update_room(room.name(), &meta));
        }
        let listed = self.members.iter().filter(|(_, seat)| seat.is_listed);
        let listed: Vec<UserId> = listed
            .map(|(user, _)| user.clone())
            .take(MEMBERS_MAX)
            .collect();
        self.notify(outlet, room, action, &listed);
    }

    /// Tells users what happened to a room that they belong to.
    fn notify(&self, outlet: &mut Outlet<'_, '_>, room: &Room, action: &str, users: &[UserId]) {
        let at = outlet.timestamp();
        let listed = self.members.iter().filter(|(_, seat)| seat.is_listed);
        let listed: Vec<&str> = listed.map(|(user, _)| &**user).take(MEMBERS_MAX).collect();
        let notification = payload::ChatNotification {
            chat: room.name(),
            creator: self.meta.created_by.as_deref().unwrap_or_default(),
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
