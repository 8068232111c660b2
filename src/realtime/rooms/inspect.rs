//! What the simulator sees of rooms. Built for it alone.

use super::Rooms;
use crate::id::UserId;
use crate::realtime::protocol::Profile;
use crate::realtime::writing::Written;

/// A room at one instant.
#[derive(Clone, Debug)]
pub(crate) struct RoomView {
    pub(crate) name: String,
    pub(crate) epoch: String,
    /// The newest offset.
    pub(crate) head: u64,
    /// Who is present: user, connections, what it says about itself.
    pub(crate) members: Vec<(UserId, u32, Option<String>)>,
    /// Members are counted and not named.
    pub(crate) is_crowded: bool,
}

impl Rooms {
    /// All rooms by name.
    pub(in crate::realtime) fn views(&self) -> Vec<RoomView> {
        let view = |(room, state): (&super::Room, &super::RoomState)| {
            let present = state.members.iter().filter(|(_, seat)| seat.is_present());
            let members = present.map(|(user, seat)| {
                let public = seat.public(user);
                (
                    public.user,
                    public.connections,
                    public.info.map(String::from),
                )
            });
            RoomView {
                name: room.name().to_owned(),
                epoch: state.epoch.to_string(),
                head: state.window.head(),
                members: members.collect(),
                is_crowded: state.crowd.is_crowded,
            }
        };
        let mut views: Vec<RoomView> = self.rooms.iter().map(view).collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }

    /// What a room keeps of its messages after an offset: offsets, and frames of the profile `v1`.
    pub(in crate::realtime) fn kept(&self, room: &str, after: u64) -> Vec<(u64, String)> {
        let Some((room, state)) = self.rooms.get_key_value(room) else {
            return Vec::new();
        };
        let window = &state.window;
        let first = window.oldest().unwrap_or(u64::MAX).max(after + 1);
        let kept = (first..=window.head()).filter_map(|offset| {
            let record = window.get(offset)?;
            match record.written(room.name(), offset, Profile::V1) {
                Written::Text(text) => Some((offset, text)),
                Written::Binary(_) => None,
            }
        });
        kept.collect()
    }
}
