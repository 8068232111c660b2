//! Containers that know nothing of WebSockets: a generational slab, a lazy timer wheel, a bit set.

mod bit_set;
mod slab;
mod timer_wheel;

pub use bit_set::BitSet;
pub use slab::{Key, Slab};
pub use timer_wheel::TimerWheel;
