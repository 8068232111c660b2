//! Who is where when all has come to rest, held against what clients were told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::guest::{Ask, View};
use super::judge::Judge;
use super::settings::DRY_ROOM;
use super::world::Theatre;
use crate::realtime::Realtime;
use crate::realtime::seam::RoomView;
use crate::shard::{Context, Event, Mail, Work};

/// A connection's rooms, and whether it waits to be let in.
type Rooms = Vec<(String, bool)>;

/// Who is really where.
#[derive(Debug, Default)]
pub(super) struct Truth {
    /// By connection: its user and its rooms.
    connections: BTreeMap<String, (String, Rooms)>,
    /// By name.
    rooms: BTreeMap<String, RoomView>,
}

impl Truth {
    /// Asks all shards. `users` are those who there may be.
    pub(super) fn find(stage: &mut Theatre, users: &[String]) -> Self {
        let mut truth = Self::default();
        for station in 0..stage.stations.len() {
            let found = Arc::new(Mutex::new(BTreeMap::new()));
            let (users, answer) = (users.to_vec(), Arc::clone(&found));
            let look = move |_: &mut Realtime, context: &mut Context<'_, Realtime>| {
                let mut found = answer.lock().expect("nobody panics with it");
                for user in &users {
                    for id in context.connections_of(user) {
                        if let Some(socket) = context.socket(id) {
                            let rooms = socket.data().rooms_seen();
                            found.insert(id.to_string(), (user.clone(), rooms));
                        }
                    }
                }
            };
            let look: Work<Realtime> = Box::new(look);
            stage.handle(station, Event::Mail(Mail::Run(look)));
            truth
                .connections
                .append(&mut found.lock().expect("nobody panics with it"));
            let views = stage.stations[station].shard.app().room_views();
            truth
                .rooms
                .extend(views.into_iter().map(|view| (view.name.clone(), view)));
        }
        truth
    }

    /// Panics unless rooms have exactly those members whose connections are in them.
    fn assert_agrees(&self, judge: &Judge) {
        let mut members: BTreeMap<&str, BTreeMap<&str, u32>> = BTreeMap::new();
        for (connection, (user, rooms)) in &self.connections {
            for (room, is_asking) in rooms {
                judge.check(!is_asking, || {
                    format!("{connection} of {user} waits for {room}")
                });
                let users = members.entry(room).or_default();
                *users.entry(user).or_default() += 1;
            }
        }
        for (name, view) in &self.rooms {
            let here = view.members.iter();
            let here: BTreeMap<&str, u32> = here.map(|(user, n, _)| (&**user, *n)).collect();
            let expected = members.remove(&**name).unwrap_or_default();
            judge.check(here == expected, || {
                format!("{name} has the members {here:?}, connected are {expected:?}")
            });
        }
        judge.check(members.is_empty(), || {
            format!("in rooms that are not there: {members:?}")
        });
    }

    /// What clients should know of who is in a room.
    fn view(&self, room: &str) -> Option<View> {
        let view = self.rooms.get(room)?;
        let names = view.members.iter().map(|(user, _, info)| {
            let info = info.as_deref().unwrap_or("{}");
            (user.to_string(), info.to_owned())
        });
        Some(match view.is_crowded {
            true => View::Count(view.members.len()),
            false => View::Names(names.collect()),
        })
    }

    /// Panics unless every client has been told all that is for it.
    pub(super) fn judge(&self, judge: &mut Judge) {
        self.assert_agrees(judge);
        let clients: Vec<usize> = judge.guests.keys().copied().collect();
        for client in clients {
            let guest = &judge.guests[&client];
            if guest.is_gone || guest.connection.is_none() {
                continue;
            }
            let due: Vec<_> = guest
                .asks
                .iter()
                .filter(|(_, (_, ask))| !matches!(ask, Ask::Quiet))
                .collect();
            judge.check(due.is_empty(), || {
                format!("{client} is never answered: {due:?}")
            });
            let connection = guest.connection.clone().unwrap_or_default();
            let Some((user, rooms)) = self.connections.get(&connection) else {
                judge.fail(format_args!("the server knows no {connection} of {client}"));
            };
            judge.check(guest.user == *user, || format!("{client} is {user}"));
            let rooms = rooms.clone();
            for (room, _) in &rooms {
                let guest = judge.guest(client);
                if guest.may_come_in(room) {
                    guest.stay(room).is_in = true;
                }
            }
            let rooms: Vec<&str> = rooms.iter().map(|(room, _)| &**room).collect();
            let stays: Vec<String> = judge.guests[&client].stays.keys().cloned().collect();
            for room in stays {
                self.judge_stay(judge, client, &room, rooms.contains(&&*room));
            }
        }
    }

    fn judge_stay(&self, judge: &mut Judge, client: usize, room: &str, is_there: bool) {
        let stay = &judge.guests[&client].stays[room];
        judge.check(!stay.is_in || is_there, || {
            format!("{client} is not in {room}, and thinks so")
        });
        if !stay.is_in {
            return;
        }
        judge.check(stay.gaps_untold == 0, || {
            format!("{client} was told of no gap in {room}")
        });
        if let Some(place) = stay.place
            && !room.starts_with(DRY_ROOM)
        {
            let next = judge.next_for(client, room, place);
            let head = judge.rooms[room][place.life].head();
            judge.check(next > head || stay.gaps_told > 0, || {
                format!("{client} misses {next} to {head} of {room}")
            });
        }
        let is_due = stay.wants_presence == Some(true) && !stay.is_view_lost;
        judge.check(!is_due || stay.view.is_some(), || {
            format!("{client} never saw {room}")
        });
        let Some(told) = stay.view.clone() else {
            return;
        };
        let truth = self.view(room);
        judge.check(truth.as_ref() == Some(&told), || {
            format!("{client} was told that in {room} are {told:?}; there are {truth:?}")
        });
        judge.tally.views += 1;
    }
}
