//! What the application keeps with a connection.

use std::any::Any;

use smallvec::SmallVec;

use super::identity::Known;
use super::options::Roles;
use super::protocol::{Batch, Profile};
use super::rate::{Bucket, Insistence};
use super::rooms::Room;
use super::writing::Written;
use crate::auth::addresses::Permit;
use crate::shard::{Format, Socket};

/// What the application keeps with a connection: how it is spoken to, and where it is.
#[derive(Debug)]
pub struct Session {
    pub(super) route: u16,
    pub(super) profile: Profile,
    /// Whether the rooms that the connection enters tell it who is there, unless it says otherwise.
    pub(super) presence: bool,
    /// Whether it takes arrays of messages.
    pub(super) batch: bool,
    /// The rooms that the connection is in, or on its way into.
    pub(super) rooms: SmallVec<[Membership; 1]>,
    pub(super) roles: Roles,
    /// When its request was let in, unix seconds: what counts where its user has shown nothing.
    pub(super) since_s: u32,
    /// What is known of its user, if not for ever.
    pub(super) known: Option<Box<Known>>,
    pub(super) bucket: Bucket,
    pub(super) insistence: Insistence,
    /// What few connections have.
    pub(super) extra: Option<Box<Extra>>,
}

/// A room that a connection is in.
#[derive(Clone, Debug)]
pub(super) struct Membership {
    pub(super) room: Room,
    /// The number of the question by which the connection came in.
    pub(super) number: u32,
    /// The room's home has not answered it.
    pub(super) is_pending: bool,
}

#[derive(Debug, Default)]
pub(super) struct Extra {
    /// The room that the request's path named.
    pub(super) path_room: Option<Room>,
    /// Its place among the connections of its address, given back when it ends.
    pub(super) permit: Option<Permit>,
    /// What handlers keep with the connection, a value of a type each.
    pub(super) data: Vec<Box<dyn Any + Send>>,
    pub(super) proofs: Proofs,
}

/// What is to be proved to have arrived: a barrier's token, and the offset that it proves.
#[derive(Debug, Default)]
pub(super) struct Proofs {
    next_token: u64,
    /// At most two of a room.
    awaited: Vec<Proof>,
}

#[derive(Debug)]
struct Proof {
    token: u64,
    room: Room,
    offset: u64,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            route: 0,
            profile: Profile::Flat,
            presence: true,
            batch: false,
            rooms: SmallVec::new(),
            roles: Roles::default(),
            since_s: 0,
            known: None,
            bucket: Bucket::default(),
            insistence: Insistence::default(),
            extra: None,
        }
    }
}

impl Session {
    pub(super) fn find(&self, room: &str) -> Option<&Membership> {
        self.rooms.iter().find(|joined| joined.room.name() == room)
    }

    pub(super) fn find_mut(&mut self, room: &str) -> Option<&mut Membership> {
        let mut rooms = self.rooms.iter_mut();
        rooms.find(|joined| joined.room.name() == room)
    }

    pub(super) fn remove(&mut self, room: &str) -> Option<Membership> {
        let place = self
            .rooms
            .iter()
            .position(|joined| joined.room.name() == room)?;
        Some(self.rooms.remove(place))
    }

    pub(super) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    pub(super) fn extra_mut(&mut self) -> Option<&mut Extra> {
        self.extra.as_deref_mut()
    }

    /// The room that the request's path named.
    pub(super) fn path_room(&self) -> Option<&Room> {
        self.extra.as_deref()?.path_room.as_ref()
    }
}

impl Extra {
    /// The value of type `T`, made if it is not there.
    pub(super) fn data<T: Default + Send + 'static>(&mut self) -> &mut T {
        find_or_make(&mut self.data)
    }
}

/// The value of type `T` among values of a type each, made if it is not there.
pub(super) fn find_or_make<T: Default + Send + 'static>(
    data: &mut Vec<Box<dyn Any + Send>>,
) -> &mut T {
    let place = data.iter().position(|value| value.is::<T>());
    let place = place.unwrap_or_else(|| {
        data.push(Box::new(T::default()));
        data.len() - 1
    });
    data[place].downcast_mut().expect("looked for by its type")
}

impl Proofs {
    /// Notes that messages of `room` up to `offset` went out, and gives the token of the barrier
    /// that proves it.
    pub(super) fn await_room(&mut self, room: &Room, offset: u64) -> u64 {
        self.next_token += 1;
        let token = self.next_token;
        // The oldest stays, whose ping may be under way: a peer that answers slowly proves something
        // all the same.
        let mut of_room = self.awaited.iter_mut().filter(|proof| proof.room == *room);
        match of_room.nth(1) {
            Some(newest) => (newest.token, newest.offset) = (token, offset),
            None => self.awaited.push(Proof {
                token,
                room: room.clone(),
                offset,
            }),
        }
        token
    }

    /// The connection begins anew in a room: what went out before proves nothing of what it gets now.
    pub(super) fn forget(&mut self, room: &Room) {
        self.awaited.retain(|proof| proof.room != *room);
    }

    /// What a barrier has proved: it is awaited no more.
    pub(super) fn passed(&mut self, token: u64) -> impl Iterator<Item = (Room, u64)> + '_ {
        let proved = self
            .awaited
            .extract_if(.., move |proof| proof.token <= token);
        proved.map(|proof| (proof.room, proof.offset))
    }
}

/// The place of presence in a [`Format`].
const PRESENCE: u8 = 1;

/// The writing of a room's messages for a subscriber.
pub(super) fn format(profile: Profile, presence: bool) -> Format {
    let profile = Profile::ALL.iter().position(|other| *other == profile);
    let profile = u8::try_from(profile.unwrap_or_default()).expect("there are four");
    Format(profile << 1 | if presence { PRESENCE } else { 0 })
}

/// The profile of a [`Format`], and whether its subscribers are told who is there.
pub(super) fn profile(format: Format) -> (Profile, bool) {
    let place = usize::from(format.0 >> 1) % Profile::ALL.len();
    (Profile::ALL[place], format.0 & PRESENCE != 0)
}

/// Sends frames to one connection in order: texts as arrays, if it takes them. The caller has made
/// sure that they fit its queue.
pub(super) fn send_all(socket: &mut Socket<'_, super::Realtime>, frames: &[Written]) {
    let is_batched = socket.data().batch && frames.len() > 1;
    let mut batch = Batch::default();
    for frame in frames {
        match frame {
            Written::Text(text) if is_batched => {
                batch.push(|out| out.extend_from_slice(text.as_bytes()));
            }
            _ => {
                send_batch(socket, &mut batch);
                let _ = socket.send(frame.as_message());
            }
        }
        if batch.is_full() {
            send_batch(socket, &mut batch);
        }
    }
    send_batch(socket, &mut batch);
}

fn send_batch(socket: &mut Socket<'_, super::Realtime>, batch: &mut Batch) {
    let mut array = Vec::new();
    if batch.finish(&mut array) {
        let _ = socket.send(super::writing::text(&array));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stay_that_begins_anew_is_not_proved_by_what_went_out_before() {
        let (den, hall) = (Room::new("den"), Room::new("hall"));
        let mut proofs = Proofs::default();
        proofs.await_room(&den, 3);
        let token = proofs.await_room(&hall, 5);
        proofs.forget(&den);
        assert_eq!(proofs.passed(token).collect::<Vec<_>>(), [(hall, 5)]);
    }
}
