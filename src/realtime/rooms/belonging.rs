//! Who belongs to a room while away, and what the store remembers of them: that they do, and how far
//! they have got.

use super::Room;
use super::room::RoomState;
use crate::id::UserId;
use crate::realtime::mail::{Letter, Mail};
use crate::realtime::outlet::Outlet;
use crate::store::Marks;

impl RoomState {
    /// Has the store remember a member of a persistent room, with the marks it has here. Said again
    /// whenever the user comes: the store may not have been able to the last time.
    pub(super) fn remember_member(&self, outlet: &mut Outlet<'_, '_>, room: &Room, user: &UserId) {
        if !self.storage.is_stored() {
            return;
        }
        outlet.tell_store(|store| store.set_member(room.name(), user, 0));
        // Else a newcomer would be owed the whole past after a restart.
        let marks: Vec<Marks> = self.marks(user).into_iter().collect();
        outlet.tell_store(|store| store.set_marks(room.name(), marks));
    }

    /// Has the store remember all who belong to the room.
    pub(super) fn remember_members(&self, outlet: &mut Outlet<'_, '_>, room: &Room) {
        let listed = self.members.iter().filter(|(_, seat)| seat.is_listed);
        for (user, _) in listed {
            self.remember_member(outlet, room, user);
        }
    }

    /// Ends a user's lasting membership.
    pub(super) fn forget_member(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        user: &UserId,
    ) {
        let Some(seat) = self.members.get_mut(user) else {
            return;
        };
        if !std::mem::take(&mut seat.is_listed) {
            return;
        }
        if !seat.is_present() {
            self.members.remove(user);
        }
        if self.storage.is_stored() {
            outlet.tell_store(|store| store.remove_member(room.name(), user));
        } else {
            outlet.tell_home(user, room, false);
        }
    }

    /// Has the store remember how far members have got.
    pub(super) fn store_marks(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room) {
        let users = std::mem::take(&mut self.receipts.unstored);
        let marks: Vec<Marks> = users.iter().filter_map(|user| self.marks(user)).collect();
        if !marks.is_empty() && self.storage.is_stored() {
            outlet.tell_store(|store| store.set_marks(room.name(), marks));
        }
    }

    /// A member's marks, as the store keeps them.
    fn marks(&self, user: &UserId) -> Option<Marks> {
        let seat = self.members.get(user)?;
        Some(Marks {
            user: (**user).into(),
            delivered: seat.marks.delivered(),
            read: seat.marks.read(),
        })
    }
}

impl Outlet<'_, '_> {
    /// Tells a user's home of a membership that lasts and that no store knows.
    pub(in crate::realtime) fn tell_home(&mut self, user: &UserId, room: &Room, is_member: bool) {
        let letter = Letter::Lasting {
            user: user.clone(),
            room: room.clone(),
            is_member,
        };
        let home = self.context.home(user);
        self.context.mail(home, Mail(letter));
    }
}
