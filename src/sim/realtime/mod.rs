//! The realtime application in the pretend world: rooms, presence, history and recovery under faults.
//!
//! The application is the real one, on one to four shards. Users come with any profile, say any of
//! what a client can say, are slow, vanish and come back with what they know. The judge hears of every
//! message that a room keeps and of every frame that a client reads, and knows what must follow:
//!
//! - in a room offsets rise by one for every reader, from where it began until it has left, unless it
//!   is told of a gap; a recovery brings exactly what was missed; all read the same at an offset
//! - an answer names the message that others read; a repeat is answered again and not told again
//! - a room never has more members than it may, and who is not let in reads nothing of it
//! - statuses only go forward, and none says of a message that a user has it who has not
//! - in the end what each client was told of who is there is who is there
//! - nobody reads what is for others; when all have gone nothing is left
//!
//! Not here: rooms that persist, whose store is a thread of its own, and binary messages.

mod frame;
mod guest;
mod judge;
mod person;
mod settings;
mod speech;
mod truth;
mod world;

pub use settings::Settings;

use super::Fault;

/// What a run came to: to see that it was not idle.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Messages of rooms that clients have read.
    pub read: u64,
    /// Subscriptions that brought all that was missed, and how many messages that was.
    pub recovered: u64,
    /// Messages that these recoveries have brought.
    pub replayed: u64,
    /// Subscriptions that could not.
    pub unrecovered: u64,
    /// Gaps that readers were told of.
    pub gaps: u64,
    /// Answers to a message that was sent again.
    pub repeats: u64,
    /// Statuses that authors were told.
    pub statuses: u64,
    /// Clients refused because a room was full.
    pub full: u64,
    /// Clients sent out of a room.
    pub expelled: u64,
    /// Views of who is in a room that were compared with the truth.
    pub views: u64,
}

impl Tally {
    /// Its numbers by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("read", self.read),
            ("recovered", self.recovered),
            ("replayed", self.replayed),
            ("unrecovered", self.unrecovered),
            ("gaps", self.gaps),
            ("repeats", self.repeats),
            ("statuses", self.statuses),
            ("full", self.full),
            ("expelled", self.expelled),
            ("views", self.views),
        ]
        .into_iter()
    }

    /// Adds those of another run.
    pub fn merge(&mut self, other: &Self) {
        self.read += other.read;
        self.recovered += other.recovered;
        self.replayed += other.replayed;
        self.unrecovered += other.unrecovered;
        self.gaps += other.gaps;
        self.repeats += other.repeats;
        self.statuses += other.statuses;
        self.full += other.full;
        self.expelled += other.expelled;
        self.views += other.views;
    }
}

/// Lives through the run of one seed.
///
/// Panics at the first thing that is not as it must be, with what happened last. The same seed,
/// settings and fault panic at the same place.
pub fn run(seed: u64, settings: &Settings, fault: Option<Fault>) -> Tally {
    world::World::new(seed, settings.clone(), fault).run()
}
