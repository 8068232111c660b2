//! Who types in a room: told at most once a second and user, never stored, over after six seconds.

use std::collections::BTreeMap;

use super::Room;
use crate::id::{ConnectionId, UserId};
use crate::realtime::outlet::Outlet;
use crate::realtime::protocol::payload;
use crate::realtime::writing::Audience;

/// Seconds after which somebody who has not said so again does not type any more.
const TYPING_S: u32 = 6;

#[derive(Debug)]
struct Typist {
    /// The connection that said so last: it is not told.
    connection: ConnectionId,
    is_typing: bool,
    /// What the room was told last.
    told: bool,
    /// When, second.
    told_s: u32,
    /// When `is_typing` ends by itself, second.
    ends_s: u32,
}

/// The members who type, and those who have stopped within the second.
#[derive(Debug, Default)]
pub(super) struct Typists(BTreeMap<UserId, Typist>);

impl Typists {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A member has left, and with it what it typed.
    pub(super) fn depart(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room, user: &UserId) {
        if let Some(mut typist) = self.0.remove(user)
            && typist.told
        {
            typist.is_typing = false;
            typist.tell(outlet, room, user);
        }
    }

    /// A member says whether it types. Told at once if the room was told nothing of the member
    /// within this second, else when the second has passed, if it is still news then.
    pub(super) fn hear(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        user: &UserId,
        connection: ConnectionId,
        is_typing: bool,
    ) {
        let second = outlet.context.now().seconds();
        let ends_s = second.saturating_add(TYPING_S);
        if let Some(typist) = self.0.get_mut(user) {
            (typist.connection, typist.is_typing, typist.ends_s) = (connection, is_typing, ends_s);
            // Repeated, so that those who came later hear of it.
            if typist.told_s < second && (is_typing || typist.told) {
                typist.tell(outlet, room, user);
            }
        } else if is_typing {
            let mut typist = Typist {
                connection,
                is_typing,
                told: false,
                told_s: second,
                ends_s,
            };
            typist.tell(outlet, room, user);
            self.0.insert(user.clone(), typist);
        }
    }

    /// A second has passed.
    pub(super) fn tick(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room) {
        let second = outlet.context.now().seconds();
        self.0.retain(|user, typist| {
            typist.is_typing &= second < typist.ends_s;
            if typist.told_s < second && typist.told != typist.is_typing {
                typist.tell(outlet, room, user);
            }
            typist.is_typing || typist.told || typist.told_s == second
        });
    }
}

impl Typist {
    fn tell(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room, user: &str) {
        self.told = self.is_typing;
        self.told_s = outlet.context.now().seconds();
        let (is_typing, exclude) = (self.is_typing, self.connection);
        let kind = ("typing", Some(user));
        outlet.tell_room(room, kind, Audience::Everybody, Some(exclude), |fields| {
            payload::typing(fields, is_typing)
        });
    }
}
