//! One room's members, and presence.

use std::collections::BTreeMap;

use super::typing::Typists;
use super::{Member, Members, Outlet, Room};
use crate::id::{ConnectionId, UserId};
use crate::realtime::protocol::{Frame, Timestamp, User};

#[derive(Debug)]
struct Present {
    /// At least one.
    connections: u32,
    since_ms: u64,
}

#[derive(Debug, Default)]
pub(super) struct RoomState {
    members: BTreeMap<UserId, Present>,
    typists: Typists,
    /// There are, or were a moment ago, more members than presence names.
    crowded: bool,
    /// The room has not been told the present number of members. Only while `crowded`.
    count_is_news: bool,
    /// The room is in the list of those to be looked at.
    listed: bool,
}

impl RoomState {
    pub(super) fn member_count(&self) -> usize {
        self.members.len()
    }

    /// Whether the room must be listed as due, and is not. The caller lists it.
    pub(super) fn becomes_due(&mut self) -> bool {
        let due = self.count_is_news || !self.typists.is_empty();
        due && !std::mem::replace(&mut self.listed, true)
    }

    /// Counts the connection in. Others hear of a user's first connection; the connection itself
    /// gets the list of members in any case.
    pub(super) fn join(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        user: UserId,
        connection: ConnectionId,
        members_max: usize,
    ) {
        let since_ms = outlet.context.now().unix_ms;
        let is_new = !self.members.contains_key(&user);
        let present = Present {
            connections: 0,
            since_ms,
        };
        self.members
            .entry(user.clone())
            .or_insert(present)
            .connections += 1;
        let count = self.members.len() as u64;
        if is_new && self.members.len() > members_max {
            self.crowded = true;
        }
        if is_new && self.crowded {
            self.count_is_news = true;
        } else if is_new {
            outlet.publish(room, Some(connection), |out, at| {
                Frame::presence_join(out, room.name(), at, &user, count);
            });
        }
        let at = outlet.scratch.timestamp(outlet.context.now());
        let frame = outlet.scratch.write(|out| self.write(out, room, &at));
        outlet.context.send(connection, frame);
    }

    /// Counts a connection out. Others hear of a user's last.
    pub(super) fn leave(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room, user: &str) {
        let Some(present) = self.members.get_mut(user) else {
            return;
        };
        present.connections -= 1;
        if present.connections > 0 {
            return;
        }
        self.members.remove(user);
        self.typists.remove(user);
        let count = self.members.len() as u64;
        if self.crowded {
            self.count_is_news = true;
        } else if count > 0 {
            outlet.publish(room, None, |out, at| {
                Frame::presence_leave(out, room.name(), at, user, count);
            });
        }
    }

    pub(super) fn typing(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        user: &UserId,
        connection: ConnectionId,
        is_typing: bool,
    ) {
        if self.members.contains_key(user) {
            self.typists.hear(outlet, room, user, connection, is_typing);
        }
    }

    /// Tells the room what has waited for the second to pass.
    pub(super) fn tick(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room, members_max: usize) {
        self.listed = false;
        self.typists.tick(outlet, room);
        if !std::mem::take(&mut self.count_is_news) {
            return;
        }
        // A tenth fewer, so that a room about the limit does not go back and forth.
        if self.members.len() <= members_max - members_max / 10 {
            self.crowded = false;
        }
        outlet.publish(room, None, |out, at| self.write(out, room, at));
    }

    pub(super) fn members(&self, members_max: usize) -> Members {
        let users = self.members.iter().take(members_max);
        let users = users.map(|(user, present)| Member {
            user: user.clone(),
            connections: present.connections,
            since_ms: present.since_ms,
        });
        Members {
            count: self.members.len(),
            users: users.collect(),
        }
    }

    /// Writes all members, or their number if they are too many.
    fn write(&self, out: &mut Vec<u8>, room: &Room, at: &Timestamp) {
        let count = self.members.len() as u64;
        if self.crowded {
            return Frame::presence_count(out, room.name(), at, count);
        }
        let users = self.members.iter().map(|(user, present)| User {
            id: user,
            connections: present.connections,
            since: Timestamp::new(present.since_ms),
        });
        Frame::presence_snapshot(out, room.name(), at, count, users);
    }
}

impl Outlet<'_, '_> {
    /// Publishes a frame to a room that is at home here.
    pub(super) fn publish(
        &mut self,
        room: &Room,
        exclude: Option<ConnectionId>,
        write: impl FnOnce(&mut Vec<u8>, &Timestamp),
    ) {
        let at = self.scratch.timestamp(self.context.now());
        let frame = self.scratch.write(|out| write(out, &at));
        self.context.publish(room.name(), frame, exclude);
    }
}
