//! Pairing over HTTP.

mod desk;

pub use desk::{DeskError, OpenPairingsError, PairingBook, PairingDesk};
