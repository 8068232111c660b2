//! Rooms, on their home shard: everything that is decided about a room is decided here.
//!
//! ```text
//!   Join ──► admission ──► members ──► presence ──► the room
//!   Post ──► dedupe ──► (store) ──► offset ──► window ──► the room ──► answer, receipts
//! ```
//!
//! | file | what |
//! |---|---|
//! | `room` | one room's state and what becomes of the letters about it |
//! | `admission` | who may join, and how a newcomer begins |
//! | `members` | who is there, presence |
//! | `posting` | messages: their order, history, answers |
//! | `receipts`, `status` | delivered and read, and what is told of it when somebody asks |
//! | `storage` | rooms that outlive the process |
//! | `belonging` | who belongs to a room while away |
//! | `pages`, `listing` | parts of a room's messages, and of all rooms |
//! | `meta` | what is known of a room besides |
//! | `powers` | questions and changes by remote procedure |
//! | `agenda` | when a room is to be looked at again |
//! | `history`, `dedupe`, `delivery`, `typing`, `selection` | what these keep their state in |

mod admission;
mod agenda;
mod belonging;
mod dedupe;
mod delivery;
mod history;
#[cfg(any(test, feature = "sim"))]
mod inspect;
mod listing;
mod members;
mod meta;
mod pages;
mod posting;
mod powers;
mod receipts;
mod room;
mod room_ctx;
mod selection;
mod status;
mod storage;
mod typing;

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use hashbrown::HashMap;

use super::mail::Letter;
use super::options::{Create, Namespaces};
use super::outlet::Outlet;
use super::post::{Post, Source};
use super::protocol::{MessageId, Rejection};
use super::state::Stats;
use crate::limits::TOPIC_BYTES_MAX;
use admission::may_enter_new;
use agenda::Agenda;
use room::RoomState;

pub(super) use history::Dated;
#[cfg(any(test, feature = "sim"))]
pub(crate) use inspect::RoomView;
pub(super) use listing::Listing;
pub use members::{Member, Members};
pub use meta::Changes;
pub(super) use meta::Spec;
pub(super) use powers::{ADMIN, Mark, Page, Question};
pub use room_ctx::RoomCtx;
pub(super) use storage::{Loaded, Stored};

/// By how much the store may date a message later than its identifier says, milliseconds.
const REDATED_MS: u64 = 60_000;

/// A room's name, cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Room(pub(super) Arc<str>);

impl Room {
    pub(super) fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The room of that name, if a room can have it: 1 to [`TOPIC_BYTES_MAX`] bytes.
    ///
    /// Errors: [`Rejection::InvalidMember`].
    pub fn named(name: &str) -> Result<Self, Rejection> {
        if (1..=TOPIC_BYTES_MAX).contains(&name.len()) {
            Ok(Self::new(name))
        } else {
            Err(Rejection::InvalidMember("room_id".into()))
        }
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

/// The rooms that are at home on one shard.
///
/// Nothing shows the order of the map, whose hash is keyed so that nobody can choose names that
/// collide.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    rooms: HashMap<Room, RoomState>,
    agenda: Agenda,
    totals: Totals,
}

/// What a room, or all of them, hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    members: usize,
    history_messages: usize,
    history_bytes: usize,
}

impl Totals {
    fn of(state: &RoomState) -> Self {
        Self {
            members: state.present_count(),
            history_messages: state.window().len(),
            history_bytes: state.window().bytes(),
        }
    }

    /// A room that held `before` holds `after`.
    fn change(&mut self, before: Self, after: Self) {
        self.members = self.members + after.members - before.members;
        self.history_messages =
            self.history_messages + after.history_messages - before.history_messages;
        self.history_bytes = self.history_bytes + after.history_bytes - before.history_bytes;
    }
}

impl Rooms {
    /// Finds every room's namespace anew.
    pub(super) fn find_namespaces(&mut self, namespaces: &Namespaces) {
        for (room, state) in &mut self.rooms {
            state.namespace = namespaces.place(room.name());
        }
    }

    pub(super) fn stats(&self) -> Stats {
        // Kept up with every change, for there may be as many rooms as connections.
        let Totals {
            members,
            history_messages,
            history_bytes,
        } = self.totals;
        debug_assert_eq!(self.totals, self.recount());
        Stats {
            rooms: self.rooms.len(),
            members,
            history_messages,
            history_bytes,
            ..Stats::default()
        }
    }

    fn recount(&self) -> Totals {
        let mut totals = Totals::default();
        let states = self.rooms.values();
        states.for_each(|state| totals.change(Totals::default(), Totals::of(state)));
        totals
    }

    /// Who is in a room, at most `limit` of them by name.
    pub(super) fn members(&self, room: &str, limit: usize) -> Members {
        let state = self.rooms.get(room);
        state.map_or_else(Members::default, |state| state.members(limit))
    }

    /// The room of a message that is in memory here. Looks into each room whose messages reach as far
    /// back as the message's own time.
    pub(super) fn room_of(&self, message: MessageId) -> Option<Room> {
        let sent_ms = message.unix_ms();
        let mut rooms = self.rooms.iter();
        let found = rooms.find(|(_, state)| {
            let window = state.window();
            let oldest = window.oldest().and_then(|oldest| window.get(oldest));
            // The store dates a message anew, after a clock that went back.
            let is_old_enough = oldest.is_some_and(|oldest| oldest.unix_ms <= sent_ms + REDATED_MS);
            is_old_enough && window.rfind(|record| record.id == message).is_some()
        });
        found.map(|(room, _)| room.clone())
    }

    /// Gives a message its place in a room's order.
    pub(super) fn post(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room, post: &Post<'_>) {
        if let Some(state) = self.rooms.get_mut(room) {
            let before = Totals::of(state);
            state.post(outlet, room, post);
            self.totals.change(before, Totals::of(state));
            return Self::settle(&mut self.agenda, outlet, room, state);
        }
        let letter = Letter::Post {
            room: room.clone(),
            post: Box::new(post.to_owned()),
        };
        self.receive(outlet, room.clone(), letter);
    }

    /// Takes in a letter about a room that is at home here.
    pub(super) fn receive(&mut self, outlet: &mut Outlet<'_, '_>, room: Room, letter: Letter) {
        let (state, letter) = match self.rooms.get_mut(&room) {
            Some(state) => (state, letter),
            None => {
                let Some(letter) = self.make(outlet, &room, letter) else {
                    return;
                };
                let state = self.rooms.get_mut(&room);
                (state.expect("it was made just now"), letter)
            }
        };
        let before = Totals::of(state);
        state.receive(outlet, &room, letter);
        if state.is_over() {
            self.totals.change(before, Totals::default());
            self.rooms.remove(&room);
            return;
        }
        self.totals.change(before, Totals::of(state));
        Self::settle(&mut self.agenda, outlet, &room, state);
    }

    /// Makes an absent room if the letter calls for one, and gives the letter back; else answers it.
    fn make(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room, letter: Letter) -> Option<Letter> {
        let place = outlet.desk.namespaces.place(room.name());
        let namespace = outlet.desk.namespaces.at(place);
        let is_on_demand = namespace.create == Create::OnDemand;
        // A room that the store may know is asked for there before anything else.
        let is_wanted = namespace.persist || is_on_demand;
        let refusal = match &letter {
            Letter::Join(_) if is_wanted => None,
            Letter::Knock { .. } if namespace.persist => None,
            Letter::Knock { .. } => may_enter_new(namespace).err(),
            Letter::Post { post, .. } if is_wanted => match &post.terms.source {
                // Its joining was refused, and the peer has been told.
                Source::Client { asker, asked, .. } if outlet.desk.has_refused(asker, *asked) => {
                    return None;
                }
                Source::Client { .. } | Source::Handler { .. } | Source::Server { .. } => None,
            },
            Letter::Run { .. } if is_on_demand => None,
            Letter::Ask { question, .. } if namespace.persist || question.makes_room() => None,
            Letter::Join(_) | Letter::Post { .. } | Letter::Run { .. } | Letter::Ask { .. } => {
                Some(Rejection::NotFound)
            }
            Letter::Receipt { .. } | Letter::Info { .. } => Some(Rejection::NotSubscribed),
            // Word of what is over: the room has gone meanwhile.
            _ => return None,
        };
        let is_full = self.rooms.len() >= outlet.desk.options.limits.rooms_max;
        let refusal = refusal.or(is_full.then_some(Rejection::busy()));
        if let Some(rejection) = refusal {
            room::turn_away(outlet, letter, rejection);
            return None;
        }
        let state = match letter {
            _ if namespace.persist => RoomState::load(outlet, room, place),
            // Who knocks may never come: it is the joining that makes the room.
            Letter::Knock { knock, .. } => {
                outlet.answer_knock(room, *knock, Ok(()));
                return None;
            }
            _ => RoomState::new(outlet, place),
        };
        self.totals.change(Totals::default(), Totals::of(&state));
        self.rooms.insert(room.clone(), state);
        Some(letter)
    }

    /// A second has passed.
    pub(super) fn tick(&mut self, outlet: &mut Outlet<'_, '_>) {
        let second = outlet.second();
        while let Some((at, room)) = self.agenda.next(second) {
            let Some(state) = self.rooms.get_mut(&room) else {
                continue;
            };
            if !state.is_listed_at(at) {
                continue;
            }
            let before = Totals::of(state);
            state.tick(outlet, &room);
            if state.is_over() {
                self.totals.change(before, Totals::default());
                self.rooms.remove(&room);
            } else {
                self.totals.change(before, Totals::of(state));
                Self::settle(&mut self.agenda, outlet, &room, state);
            }
        }
    }

    /// Sees to it that the room is looked at when it wants to be.
    fn settle(agenda: &mut Agenda, outlet: &Outlet<'_, '_>, room: &Room, state: &mut RoomState) {
        if let Some(at) = state.becomes_due(outlet) {
            agenda.add(at, room.clone());
        }
    }
}
