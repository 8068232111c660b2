//! What rooms keep, as their shards show it.

use serde_json::Value;

use super::{Entry, Judge, Life};
use crate::realtime::Realtime;
use crate::realtime::seam::RoomView;
use crate::sim::realtime::frame::{Frame, Profile};
use crate::sim::realtime::settings::{OWN_ROOM, OWN_ROOM_MAX};

impl Judge {
    /// A shard has done something: what its rooms keep is looked at.
    pub(in crate::sim::realtime) fn look(&mut self, app: &Realtime) {
        for view in app.room_views() {
            let limit = match &view.name {
                name if name.starts_with("two-") => 2,
                name if name.starts_with("three-") => 3,
                name if name.starts_with(OWN_ROOM) => OWN_ROOM_MAX,
                _ => usize::MAX,
            };
            self.check(view.members.len() <= limit, || {
                format!(
                    "{} has more members than {limit}: {:?}",
                    view.name, view.members
                )
            });
            self.look_at(app, &view);
        }
    }

    pub(super) fn look_at(&mut self, app: &Realtime, view: &RoomView) {
        let lives = self.rooms.entry(view.name.clone()).or_default();
        if lives.last().is_none_or(|life| life.epoch != view.epoch) {
            lives.push(Life {
                epoch: view.epoch.clone(),
                entries: Vec::new(),
            });
        }
        let number = lives.len() - 1;
        let head = lives[number].head();
        if view.head <= head {
            return;
        }
        for (offset, kept) in app.kept(&view.name, head) {
            let value: Value = serde_json::from_str(&kept).expect("what is kept is JSON");
            let frame = Frame::read(&value, Profile::V1);
            let tag = frame.tag().expect("what is kept was said").to_owned();
            let id = frame.id.expect("what is kept has an identifier");
            self.note(format_args!("{} keeps {tag} at {offset}", view.name));
            let lives = self.rooms.get_mut(&view.name).expect("just made");
            let head = lives[number].head();
            if head + 1 != offset {
                self.fail(format_args!("{} goes from {head} to {offset}", view.name));
            }
            self.assert_new(&view.name, number, &tag);
            let entry = Entry { tag: tag.clone() };
            let lives = self.rooms.get_mut(&view.name).expect("just made");
            lives[number].entries.push(entry);
            self.name(&tag, &id);
            let place = (view.name.clone(), number, offset);
            if self.places.insert(tag.clone(), place).is_some() {
                self.fail(format_args!("{tag} is kept twice"));
            }
        }
    }

    /// Panics if a message of the same author and name is kept already.
    pub(super) fn assert_new(&self, room: &str, life: usize, tag: &str) {
        let said = &self.said[tag];
        if said.client_message_id.is_none() {
            return;
        }
        let is_same = |entry: &&Entry| {
            let other = &self.said[&entry.tag];
            (&other.user, &other.client_message_id) == (&said.user, &said.client_message_id)
        };
        let same = self.rooms[room][life].entries.iter().find(is_same);
        if let Some(same) = same {
            self.fail(format_args!("{tag} repeats {} and is published", same.tag));
        }
    }

    /// A message has an identifier, and always the same.
    pub(super) fn name(&mut self, tag: &str, id: &str) {
        let known = self
            .ids
            .entry(tag.to_owned())
            .or_insert_with(|| id.to_owned());
        if known != id {
            let known = known.clone();
            self.fail(format_args!("{tag} is {known}, and {id}"));
        }
        self.tags.insert(id.to_owned(), tag.to_owned());
    }
}
