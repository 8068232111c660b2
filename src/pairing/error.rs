//! Why something cannot be done with a pairing.

use std::borrow::Cow;

use thiserror::Error;

use super::Status;

/// Why a player cannot have what it asks. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PairingError {
    /// No such pairing or code, or none that this player may know of.
    #[error("there is no such pairing")]
    NotFound,
    /// Whoever made a pairing cannot join it.
    #[error("you cannot join your own pairing")]
    Own,
    /// Somebody else has joined it.
    #[error("somebody else has joined this pairing")]
    Taken,
    /// Its time is over, and nothing can be done with it any more.
    #[error("this pairing has expired")]
    Expired,
    /// Nobody has joined it, and nothing but a join makes it active.
    #[error("a pairing becomes active when somebody joins it")]
    NotJoined,
    /// No way leads there.
    #[error("a pairing that is {from} cannot become {to}")]
    Transition {
        /// What it is.
        from: Status,
        /// What it was to be.
        to: Status,
    },
    /// The player it waits for may join or decline, and not describe it.
    #[error("only who is paired may change the name and the metadata")]
    NotPaired,
    /// A member of the request is wrong.
    #[error("{0}")]
    Invalid(#[from] Invalid),
    /// Too many pairings of the player, or for the one that was named, wait to be joined.
    #[error("too many pairings wait to be joined")]
    TooManyPending {
        /// How many may.
        limit: usize,
        /// When the first of them expires at the latest, milliseconds from now.
        retry_after_ms: u64,
    },
    /// A player has as many pairings as one may have, and none of them has expired.
    #[error("a player cannot have more pairings")]
    TooMany {
        /// How many it may have.
        limit: usize,
    },
    /// Too many wrong codes, of the player, the address or altogether.
    #[error("too many wrong codes, wait before you try again")]
    TooManyGuesses {
        /// When the next one is let through, milliseconds from now: at least 1.
        retry_after_ms: u64,
    },
    /// The server has as many pairings as it may have, or no free code was found.
    #[error("the server cannot take more pairings now")]
    Full,
}

/// A member of a request that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{member} {reason}")]
pub struct Invalid {
    /// Its name.
    pub member: &'static str,
    /// What is wrong with it, to be read behind the name.
    pub reason: Cow<'static, str>,
}

impl Invalid {
    /// The member of that name, and what is wrong with it: "is longer than 3 bytes".
    pub fn new(member: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        let reason = reason.into();
        Self { member, reason }
    }
}
