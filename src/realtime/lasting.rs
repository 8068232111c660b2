//! Rooms to which users belong while they are away: clients that cannot resume on their own are given
//! them back when they connect, with the messages that were not delivered meanwhile.

use super::Realtime;
use super::context::{Ctx, Wish};
use super::mail::{Letter, Start};
use super::options::RealtimeOptions;
use super::protocol::Profile;
use super::rooms::Room;
use super::state::{Desk, State};
use crate::id::{ConnectionId, UserId};
use crate::shard::Context;

impl Desk {
    /// The number of the next question to a room's home.
    pub(super) fn next_question(&mut self) -> u32 {
        self.questions = self.questions.wrapping_add(1);
        self.questions
    }

    /// A user who is at home here belongs to a room that no store knows, or no more.
    pub(super) fn set_lasting(&mut self, user: UserId, room: Room, is_member: bool) {
        if is_member {
            self.lasting.entry(user).or_default().insert(room);
        } else if let Some(rooms) = self.lasting.get_mut(&user) {
            rooms.remove(&room);
            if rooms.is_empty() {
                self.lasting.remove(&user);
            }
        }
    }
}

/// Whether a client of this profile is given what it has missed when it connects.
pub(super) fn is_replayed(options: &RealtimeOptions, profile: Profile) -> bool {
    let delivery = &options.delivery;
    // The others say themselves what they know.
    let cannot_resume = matches!(profile, Profile::Message | Profile::Flat);
    delivery.enabled && delivery.replay_on_connect && cannot_resume
}

/// Where a connection of a profile begins in a room whose member its user may have been.
fn start(options: &RealtimeOptions, profile: Profile) -> Start {
    match is_replayed(options, profile) {
        true => Start::Undelivered,
        false => Start::Now,
    }
}

impl Ctx<'_> {
    /// Where the connection begins in the room of its path or route.
    pub(super) fn start_after_absence(&self) -> Start {
        start(self.options(), self.profile())
    }

    /// Whether the connection's path names its room.
    pub(super) fn is_path_room(&mut self) -> bool {
        self.session()
            .is_some_and(|session| session.path_room().is_some())
    }
}

impl State {
    /// Looks for the rooms that a connection's user belongs to.
    pub(super) fn find_lasting_rooms(
        &mut self,
        context: &mut Context<'_, Realtime>,
        connection: ConnectionId,
        user: &UserId,
        profile: Profile,
    ) {
        if start(&self.desk.options, profile) != Start::Undelivered {
            return;
        }
        if let Some(rooms) = self.desk.lasting.get(user) {
            let rooms: Vec<Room> = rooms.iter().cloned().collect();
            self.come_back(context, connection, &rooms);
        }
        if self.desk.store.is_none() {
            return;
        }
        let limit = self.desk.options.limits.rooms_per_connection_max;
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let asked = self.outlet(context).ask_store(
            |store| store.rooms_of(user, limit),
            move |rooms| {
                let rooms = rooms.unwrap_or_else(|error| {
                    tracing::warn!(%connection, %error, "a user's rooms cannot be loaded");
                    Vec::new()
                });
                let rooms = rooms.iter().map(|name| Room::new(name)).collect();
                Letter::Rooms { connection, rooms }
            },
        );
        if asked.is_err() {
            tracing::warn!(%connection, "the store is busy: a user's rooms are not loaded");
        }
    }

    /// Takes a connection back into rooms of its user.
    pub(super) fn come_back(
        &mut self,
        context: &mut Context<'_, Realtime>,
        connection: ConnectionId,
        rooms: &[Room],
    ) {
        let Some(mut socket) = context.socket(connection) else {
            return;
        };
        let presence = socket.data().presence;
        let mut ctx = Ctx::new(&mut socket, self, None, "");
        for room in rooms {
            if ctx.is_joined(room.name()) {
                continue;
            }
            let wish = Wish {
                start: Start::Undelivered,
                presence,
                info: None,
                is_answered: false,
                is_vital: false,
            };
            // More rooms than a connection may have: the rest is reached by saying something there.
            if ctx.ask_to_join(room, wish).is_err() {
                break;
            }
        }
    }
}
