//! Where the simulator looks into the application, and meddles with what its shards say to each
//! other, to see that bugs would be caught. Built for it alone.

use super::mail::{Letter, Mail};
use super::session::Session;
use super::writing::Written;
use super::{Realtime, rooms};
use crate::shard::Work;

pub(crate) use rooms::RoomView;

impl Realtime {
    /// The rooms that are at home here, by name.
    pub(crate) fn room_views(&self) -> Vec<RoomView> {
        self.state.rooms.views()
    }

    /// What a room keeps of its messages after an offset: offsets, and frames of the profile `v1`.
    pub(crate) fn kept(&self, room: &str, after: u64) -> Vec<(u64, String)> {
        self.state.rooms.kept(room, after)
    }

    /// Whether users are known to belong to rooms while they are away.
    pub(crate) fn has_lasting(&self) -> bool {
        !self.state.desk.lasting.is_empty()
    }
}

impl Session {
    /// The rooms of the connection, and whether it waits to be let in.
    pub(crate) fn rooms_seen(&self) -> Vec<(String, bool)> {
        let seen = |joined: &super::session::Membership| {
            (joined.room.name().to_owned(), joined.is_pending)
        };
        self.rooms.iter().map(seen).collect()
    }
}

impl Mail {
    /// Whether it tells a connection what became of its joining.
    pub(crate) fn is_joined(&self) -> bool {
        matches!(self.0, Letter::Joined(_))
    }

    /// Loses the first message of a replay.
    pub(crate) fn lose_replayed(&mut self) {
        if let Some(frames) = self.replay() {
            frames.remove(1);
        }
    }

    /// Repeats the first message of a replay.
    pub(crate) fn repeat_replayed(&mut self) {
        if let Some(frames) = self.replay() {
            frames.insert(1, frames[1].clone());
        }
    }

    /// The frames of an answer to a joiner, if a replay is among them: they stand at 1.
    fn replay(&mut self) -> Option<&mut Vec<Written>> {
        let Letter::Joined(joined) = &mut self.0 else {
            return None;
        };
        let frames = &mut joined.outcome.as_mut().ok()?.frames;
        let is_message = matches!(frames.get(1)?, Written::Text(text)
            if text.starts_with(r#"{"type":"chat""#) || text.starts_with(r#"{"type":"publish""#));
        is_message.then_some(frames)
    }

    /// Says of what was read that it was delivered.
    pub(crate) fn unread(&mut self) {
        if let Letter::ToUser { push, .. } = &mut self.0
            && push.message_type == "message-status"
        {
            push.payload = push
                .payload
                .replace(r#""status":"read""#, r#""status":"delivered""#)
                .into();
        }
    }

    /// If it asks connections for proof that messages have come: what takes their word for it.
    pub(crate) fn prove_untested(&self) -> Option<Work<Realtime>> {
        let Letter::Prove {
            room,
            offset,
            connections,
        } = &self.0
        else {
            return None;
        };
        let (room, offset, connections) = (room.clone(), *offset, connections.clone());
        Some(Box::new(move |app, context| {
            for connection in connections {
                let Some(user) = context
                    .socket(connection)
                    .map(|socket| socket.user().clone())
                else {
                    continue;
                };
                let room = room.clone();
                let letter = Letter::Proved {
                    room,
                    user,
                    connection,
                    offset,
                };
                app.state.deliver(context, letter);
            }
        }))
    }
}
