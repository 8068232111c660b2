//! Rooms, on their home shard: members and what the room is told about them.
//!
//! A room exists from its first member to its last. Whoever joins has subscribed to the room's topic
//! before the home hears of it, so that nothing published after the snapshot is missed; what was
//! published just before may come after it, which is why joins and leaves name users and are true
//! however often they are told.

#[cfg_attr(
    not(test),
    expect(dead_code, reason = "rooms do not know repeated messages yet")
)]
mod dedupe;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "rooms do not track delivery yet")
)]
mod delivery;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "rooms do not keep their past yet")
)]
mod history;
mod room;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "nothing is listed by pages yet")
)]
mod selection;
mod typing;

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::Realtime;
use super::state::Scratch;
use crate::id::{ConnectionId, UserId};
use crate::shard::Context;
use room::RoomState;

/// A room's name, cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Room(pub(super) Arc<str>);

impl Room {
    pub(super) fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name, which is also the name of the core's topic.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for Room {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The members of a room at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// How many users there are.
    pub count: usize,
    /// The first of them by identifier, at most
    /// [`presence_members_max`](super::RealtimeOptions::presence_members_max).
    pub users: Vec<Member>,
}

/// A user in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub user: UserId,
    /// The user's connections in the room, at least one.
    pub connections: u32,
    /// When the first of them came, milliseconds since 1970 UTC.
    pub since_ms: u64,
}

/// The rooms that are at home on one shard.
///
/// Ordered maps: nothing here shows the order of a hash, and nobody can choose names that collide.
#[derive(Debug)]
pub(super) struct Rooms {
    rooms: BTreeMap<Room, RoomState>,
    /// Rooms to be looked at when a second has passed, each once.
    due: Vec<Room>,
    members_max: usize,
}

/// What rooms publish with.
pub(super) struct Outlet<'c, 'a> {
    pub(super) context: &'c mut Context<'a, Realtime>,
    pub(super) scratch: &'c mut Scratch,
}

impl Rooms {
    pub(super) fn new(members_max: usize) -> Self {
        Self {
            rooms: BTreeMap::new(),
            due: Vec::new(),
            members_max,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rooms.len()
    }

    pub(super) fn member_count(&self) -> usize {
        self.rooms.values().map(RoomState::member_count).sum()
    }

    /// A connection has joined.
    pub(super) fn join(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: Room,
        user: UserId,
        connection: ConnectionId,
    ) {
        let state = self.rooms.entry(room.clone()).or_default();
        state.join(outlet, &room, user, connection, self.members_max);
        Self::settle(&mut self.due, room, state);
    }

    /// A connection that had joined has left.
    pub(super) fn leave(&mut self, outlet: &mut Outlet<'_, '_>, room: Room, user: &str) {
        let Some(state) = self.rooms.get_mut(&room) else {
            return;
        };
        state.leave(outlet, &room, user);
        if state.member_count() == 0 {
            self.rooms.remove(&room);
        } else {
            Self::settle(&mut self.due, room, state);
        }
    }

    /// A member types, or has stopped.
    pub(super) fn typing(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: Room,
        user: &UserId,
        connection: ConnectionId,
        is_typing: bool,
    ) {
        if let Some(state) = self.rooms.get_mut(&room) {
            state.typing(outlet, &room, user, connection, is_typing);
            Self::settle(&mut self.due, room, state);
        }
    }

    /// Who is there.
    pub(super) fn members(&self, room: &str) -> Members {
        let members = self.rooms.get(room);
        members.map_or_else(Members::default, |state| state.members(self.members_max))
    }

    /// A second has passed.
    pub(super) fn tick(&mut self, outlet: &mut Outlet<'_, '_>) {
        for room in std::mem::take(&mut self.due) {
            if let Some(state) = self.rooms.get_mut(&room) {
                state.tick(outlet, &room, self.members_max);
                Self::settle(&mut self.due, room, state);
            }
        }
    }

    fn settle(due: &mut Vec<Room>, room: Room, state: &mut RoomState) {
        if state.becomes_due() {
            due.push(room);
        }
    }
}
