//! What clients read of a room's messages, held against what the room keeps.

use super::{Judge, RECENT_MAX};
use crate::sim::realtime::frame::Frame;
use crate::sim::realtime::guest::{Ask, Place};
use crate::sim::realtime::person::Known;
use crate::sim::realtime::settings::DRY_ROOM;

impl Judge {
    pub(super) fn subscribed(&mut self, client: usize, frame: &Frame, known: &mut Known) {
        let (asked, ask) = self.take(client, frame);
        let Ask::Subscribe {
            room,
            recover,
            presence,
        } = ask
        else {
            self.fail(format_args!("{client} has asked for {ask:?}: {frame:?}"));
        };
        self.check(frame.str("topic") == Some(&room), || {
            format!("not {room}: {frame:?}")
        });
        let recovered = frame.data["recovered"].as_bool();
        let replayed = frame.number("replayed");
        let mut place = None;
        let mut is_due = false;
        if !room.starts_with(DRY_ROOM) {
            let (epoch, head) = (frame.str("epoch"), frame.number("offset"));
            let lives = self.rooms.get(&room).map_or(&[][..], |lives| lives);
            let life = lives.iter().position(|life| Some(&*life.epoch) == epoch);
            let (Some(life), Some(head)) = (life, head) else {
                self.fail(format_args!("{room} has no such life: {frame:?}"));
            };
            let since = recover
                .as_ref()
                .filter(|(known, _)| Some(&**known) == epoch);
            let since = since.map(|(_, offset)| *offset);
            is_due = since.is_some_and(|since| since <= head && head - since <= self.history);
            let first = since.filter(|_| recovered == Some(true)).unwrap_or(head);
            let expected = recovered.map(|_| head - first.min(head));
            self.check(replayed == expected, || {
                format!("not {expected:?}: {frame:?}")
            });
            place = Some(Place {
                life,
                next: first + 1,
                replay_until: head,
                own_until: 0,
            });
            known.insert(room.clone(), (epoch.unwrap_or_default().to_owned(), first));
        }
        let expected = recover.as_ref().map(|_| is_due);
        self.check(recovered == expected, || {
            format!("not {expected:?}: {recover:?}, {frame:?}")
        });
        match recovered {
            Some(true) => self.tally.recovered += 1,
            Some(false) => self.tally.unrecovered += 1,
            None => {}
        }
        self.tally.replayed += replayed.unwrap_or_default();
        let guest = self.guest(client);
        guest.superseded(&room, asked);
        let stay = guest.stay(&room);
        stay.end();
        stay.is_in = true;
        stay.place = place;
        stay.wants_presence = Some(presence);
    }

    /// A client reads a message of a room.
    pub(super) fn message(&mut self, client: usize, frame: &Frame, known: &mut Known) {
        self.come_in(client, frame);
        self.tally.read += 1;
        let room = frame.room.clone().expect("just looked at");
        let Some((tag, said)) = frame.tag().and_then(|tag| self.said.get_key_value(tag)) else {
            self.fail(format_args!("nobody has said {frame:?}"));
        };
        let (tag, said) = (tag.clone(), said.clone());
        let is_right = said.room == room && frame.user.as_ref() == Some(&said.user);
        self.check(is_right, || format!("{said:?} is read as {frame:?}"));
        let id = frame.id.clone().unwrap_or_default();
        self.name(&tag, &id);
        let guest = self
            .guests
            .get_mut(&client)
            .expect("every client is a guest");
        self.got.insert((guest.user.clone(), tag.clone()));
        guest.recent.push((room.clone(), id));
        if guest.recent.len() > RECENT_MAX {
            guest.recent.remove(0);
        }
        let is_own = said.client == client && !said.echo;
        if room.starts_with(DRY_ROOM) {
            let stay = guest.stay(&room);
            let newest = stay.newest.insert(said.client, said.number);
            let is_next = newest.is_none_or(|newest| newest < said.number) && !is_own;
            return self.check(is_next, || format!("{client} reads {tag} after {newest:?}"));
        }
        let Some((_, life, offset)) = self.places.get(&tag).cloned() else {
            // A room that is closed at once is gone before anybody has looked.
            let is_unseen = self.closed.contains(&room);
            return self.check(is_unseen, || {
                format!("{client} reads {tag}, which nobody keeps")
            });
        };
        if frame.offset.is_some_and(|told| told != offset) {
            self.fail(format_args!("{tag} is at {offset}: {frame:?}"));
        }
        self.advance(client, &room, (life, offset), is_own);
        if self.guests[&client].profile.has_offsets() {
            let epoch = self.rooms[&room][life].epoch.clone();
            known.insert(room, (epoch, offset));
        }
    }

    /// A client reads what is at an offset: that which comes next, unless it was told of a gap.
    pub(super) fn advance(
        &mut self,
        client: usize,
        room: &str,
        (life, offset): (usize, u64),
        is_own: bool,
    ) {
        let Some(place) = self.guests[&client].stays[room].place else {
            self.check(!is_own, || {
                format!("{client} reads its own {offset} of {room}")
            });
            let place = Place {
                life,
                next: offset + 1,
                replay_until: offset,
                own_until: self.rooms[room][life].head(),
            };
            self.guest(client).stay(room).place = Some(place);
            return;
        };
        let is_new = life == place.life && offset >= place.next;
        self.check(is_new, || {
            format!("{client} reads {offset} of {room} (life {life}) at {place:?}")
        });
        let is_replayed = offset <= place.replay_until;
        self.check(!is_own || is_replayed, || {
            format!("{client} reads its own {offset} of {room}")
        });
        let next = self.next_for(client, room, place);
        let is_gap = offset > next;
        // A replay has no gaps.
        self.check(!is_gap || next > place.replay_until, || {
            format!("{client} misses {next} of {room} in the replay and reads {offset}")
        });
        self.check(!is_gap || !self.disconnects, || {
            format!("{client} misses {next} of {room} and reads {offset}")
        });
        let stay = self.guest(client).stay(room);
        stay.place = Some(Place {
            next: offset + 1,
            ..place
        });
        if is_gap && stay.gaps_told > 0 {
            stay.gaps_told -= 1;
        } else if is_gap {
            stay.gaps_untold += 1;
            self.note(format_args!("{client} misses {next} to {offset} of {room}"));
        }
    }

    /// The next offset that is for a client: its own words are not, but in a replay.
    pub(in crate::sim::realtime) fn next_for(
        &self,
        client: usize,
        room: &str,
        place: Place,
    ) -> u64 {
        let life = &self.rooms[room][place.life];
        let is_for = |&offset: &u64| {
            let index = usize::try_from(offset - 1).expect("few messages");
            life.entries.get(index).is_none_or(|entry| {
                let said = &self.said[&entry.tag];
                let is_told = offset <= place.replay_until || said.echo || said.client != client;
                let is_own = || self.guests[&said.client].user == self.guests[&client].user;
                is_told && !(offset <= place.own_until && is_own())
            })
        };
        (place.next..).find(is_for).expect("there is always a next")
    }
}
