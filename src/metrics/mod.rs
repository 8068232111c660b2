//! What a shard counts and measures: plain integers, no lock, no atomic; a snapshot goes out by mail.
//!
//! Nothing here reads a clock: times come as nanoseconds of a [`Stopwatch`](crate::time::Stopwatch)
//! that whoever runs the shard has given it.

mod counters;
mod histogram;
mod pressure;
mod tally;
mod times;

pub use counters::{Counters, Memory};
pub use histogram::Histogram;
pub use pressure::{Budget, Pressure};
pub use tally::Tally;
pub use times::{HANDLERS_MAX, Part, Times};
