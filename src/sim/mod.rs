//! The pretend world: several shards and many clients in one thread, where only a seed decides.
//!
//! Time, network, mail and the service thread are pretended; the shards are the real ones, and the
//! clients speak through the real codec in the other role. A seed decides the options of the core,
//! which troubles there are and how often, and every step. After each step the oracle compares what
//! happened with what had to. In the end the troubles cease, everything due must arrive, everybody
//! leaves, and nothing may be left.
//!
//! ```text
//!   client ──► link ──► driver ──► Shard<TestApp> ──► driver ──► link ──► client
//!     │       (bytes)   (asserts      │    ▲          (short       │        │
//!     │                  the seam)    ▼    │           sends)      │        │
//!     │                             mailroom, service              │        │
//!     └──────────────────────────► oracle ◄─────────────────────────────────┘
//! ```
//!
//! Built for tests and for the feature `sim`, which the package turns on for its own tests.
//! A [`Fault`] plants a bug between the shards, never in them, to prove that the net holds.
#![forbid(unsafe_code)]

mod app;
mod client;
mod clock;
mod command;
mod driver;
mod mailroom;
mod network;
mod oracle;
mod payload;
mod prng;
pub mod realtime;
mod settings;
mod stage;
mod world;

pub use prng::seed_from;
pub use settings::{Settings, Weights};

use crate::metrics::Counters;

/// A bug, planted where the simulator stands in for the rest of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A short send loses one of its pieces.
    DropPiece,
    /// What another shard has published is delivered twice.
    DeliverTwice,
    /// A publisher is not left out of its own publication.
    ForgetExclude,
    /// Mail between two shards overtakes other mail.
    ReorderMail,
    /// A barrier's ping goes out ahead of what it is to prove.
    PingAhead,
    /// The answer to a join is mailed without regard to what was published.
    JoinOutOfOrder,
    /// A topic is not held while somebody joins.
    ForgetHold,
    /// Realtime: the first message of a replay is lost.
    LoseReplayed,
    /// Realtime: the first message of a replay comes twice.
    RepeatReplayed,
    /// Realtime: a room lets in one more than it may.
    RoomForOneMore,
    /// Realtime: another shard is not told that somebody has left.
    LoseLeave,
    /// Realtime: what was read is said to be delivered.
    UnreadStatus,
    /// Realtime: messages are taken as delivered that nobody has asked about.
    ProveUntested,
}

/// What a run came to: to see that it was not idle.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// What all shards have counted.
    pub counters: Counters,
    /// Messages that clients have received.
    pub received: u64,
    /// Gaps that slow subscribers were told of, and found.
    pub gaps: u64,
    /// Barriers of which the application was told.
    pub passed: u64,
}

/// Lives through the run of one seed.
///
/// Panics at the first thing that is not as it must be. The same seed, settings and fault panic at
/// the same place.
pub fn run(seed: u64, settings: &Settings, fault: Option<Fault>) -> Summary {
    world::World::new(seed, settings.clone(), fault).run()
}
