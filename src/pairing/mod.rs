//! Two players and a code: who is connected with whom. A pure state machine.
//!
//! ```text
//!              join                     either of the two
//!   pending ─────────► active ─────────────────────────────► expired ──► forgotten
//!      │   by code or id                                        ▲     (kept for a while)
//!      └────────────── its deadline, or either side ────────────┘
//! ```
//!
//! [`Pairings`] knows no clock, no disk and no socket. What somebody wants is *planned* first: a
//! [`Change`] with the whole pairing as it would be, or why not. Whoever owns the pairings keeps it
//! (so that nobody is ever told what a crash could take back), then [applies](Pairings::apply) it, and
//! only then sends its [tellings](Change::tellings). One change is planned and applied at a time.
//!
//! Times are milliseconds since 1970 by the wall clock, deadlines included: they outlive the process.
//! `docs/PAIRING.md` has the flow, the endpoints, and what guessing codes comes to.
#![forbid(unsafe_code)]

mod book;
mod code;
mod error;
mod guesses;
mod object;
mod options;
mod plan;
mod record;
mod telling;
#[cfg(test)]
mod tests;

pub use book::{Pairings, PairingsPage};
pub use code::{ALPHABET, Code};
pub use error::{Invalid, PairingError};
pub use guesses::Guesser;
pub use object::PairingObject;
pub use options::{PairingOptions, WrongCodes};
pub use plan::{Draft, Outcome, Patch, RANDOM_BYTES};
pub use record::{Pairing, PairingId, Status, UnknownStatus, UnreadableRecord};
pub use telling::{Change, Event, Telling};
