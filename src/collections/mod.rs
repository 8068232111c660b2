//! Containers that know nothing of WebSockets: a generational slab, a table beside it,
//! a lazy timer wheel, a bit set.

mod bit_set;
mod slab;
mod table;
mod timer_wheel;

pub use bit_set::BitSet;
pub use slab::{Key, Slab};
pub use table::Table;
pub use timer_wheel::TimerWheel;
