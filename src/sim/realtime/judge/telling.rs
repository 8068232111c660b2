//! What clients are told besides: who is there, what became of their messages, what they miss.

use serde_json::Value;

use super::Judge;
use crate::realtime::DeliveryProof;
use crate::sim::realtime::frame::{Frame, text};
use crate::sim::realtime::guest::View;

impl Judge {
    pub(super) fn system(&mut self, client: usize, frame: &Frame) {
        if frame.str("event") != Some("gap") {
            return self.come_in(client, frame);
        }
        self.tally.gaps += 1;
        let room = frame.room.clone().unwrap_or_default();
        self.check(!self.disconnects, || {
            format!("{client} has a gap in {room}")
        });
        let stay = self.guest(client).stay(&room);
        stay.is_view_lost = true;
        stay.view = None;
        match stay.gaps_untold {
            0 => stay.gaps_told += 1,
            _ => stay.gaps_untold -= 1,
        }
    }

    pub(super) fn presence(&mut self, client: usize, frame: &Frame) {
        self.come_in(client, frame);
        let room = frame.room.clone().expect("just looked at");
        let stay = self.guest(client).stay(&room);
        let is_unwanted = stay.wants_presence == Some(false);
        let count = frame
            .number("count")
            .and_then(|count| usize::try_from(count).ok());
        let info = |user: &Value| user["info"].to_string();
        match (frame.str("action").unwrap_or_default(), &mut stay.view) {
            ("snapshot", view) => {
                stay.is_view_lost = false;
                let users = frame.data["users"]
                    .as_array()
                    .map_or(&[][..], |users| users);
                let users = users.iter().filter_map(|user| {
                    let name = text(&user["user_id"])?;
                    Some((name, info(user)))
                });
                *view = Some(View::Names(users.collect()));
            }
            ("count", view) => {
                stay.is_view_lost = false;
                *view = count.map(View::Count);
            }
            ("join" | "update", Some(View::Names(names))) => {
                let user = &frame.data["user"];
                let name = text(&user["user_id"]).unwrap_or_default();
                names.insert(name, info(user));
            }
            ("leave", Some(View::Names(names))) => {
                names.remove(frame.user.as_deref().unwrap_or_default());
            }
            _ => {}
        }
        let is_right = match (&stay.view, count) {
            (Some(View::Names(names)), Some(count)) => names.len() == count,
            _ => true,
        };
        let view = stay.view.clone();
        self.check(is_right, || {
            format!("{client} knows {view:?} of {room}: {frame:?}")
        });
        self.check(!is_unwanted, || {
            format!("{client} has not asked for {frame:?}")
        });
    }

    pub(super) fn status(&mut self, client: usize, frame: &Frame) {
        self.tally.statuses += 1;
        let user = self.guest(client).user.clone();
        self.check(frame.str("sender_id") == Some(&user), || {
            format!("{user} reads {frame:?}")
        });
        let id = frame.str("message_id").unwrap_or_default().to_owned();
        let Some(recipient) = frame.data.get("recipient_id").and_then(text) else {
            return;
        };
        let rank = match frame.str("status") {
            Some("delivered") => 1,
            Some("read") => 2,
            other => self.fail(format_args!("{other:?} of {recipient}: {frame:?}")),
        };
        let key = (client, id.clone(), recipient.clone());
        let before = self.told.insert(key, rank).unwrap_or_default();
        self.check(before < rank, || {
            format!("a status goes from {before} to {rank}: {frame:?}")
        });
        let Some((tag, (room, life, offset))) = self
            .tags
            .get(&id)
            .and_then(|tag| self.places.get_key_value(tag))
        else {
            self.fail(format_args!("nobody keeps {frame:?}"));
        };
        let word = self.words.get(&(recipient.clone(), room.clone(), *life));
        let word = word.copied().unwrap_or_default();
        let is_got = self.got.contains(&(recipient.clone(), tag.clone()));
        let is_true = match rank {
            1 => is_got || word.delivered >= *offset || self.proof == DeliveryProof::Write,
            _ => word.read >= *offset,
        };
        self.check(is_true, || {
            format!("{recipient} has not got {tag} at {offset}: {frame:?}")
        });
    }

    pub(super) fn notified(&self, client: usize, frame: &Frame) {
        let chat = frame.str("chat_id").unwrap_or_default().to_owned();
        let user = &self.guests[&client].user;
        // Who came in on its own is told as well.
        let mut others = self.guests.values().filter(|guest| guest.user == *user);
        let was_there =
            others.any(|guest| guest.stays.contains_key(&chat) || guest.may_come_in(&chat));
        let is_for = was_there || self.listed.contains(&(chat, user.clone()));
        self.check(is_for, || format!("{client} reads {frame:?}"));
    }
}
