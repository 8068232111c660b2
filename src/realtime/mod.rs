//! The realtime application: rooms, presence and messages on top of the core.
#![forbid(unsafe_code)]

pub mod protocol;
