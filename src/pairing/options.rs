//! The bounds of pairing.

use std::time::Duration;

/// How pairings are made, and how many there may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairingOptions {
    /// Characters of a code: 4 to 16, the nearest of which is taken.
    pub code_length: usize,
    /// How long a new pairing waits to be joined, unless whoever makes it says otherwise.
    pub expires_in: Duration,
    /// Longest time that it may be told to wait; at least a second.
    pub expires_in_max: Duration,
    /// Most pairings of a player that wait to be joined.
    pub pending_per_player_max: usize,
    /// Most pairings that wait for one named player.
    pub pending_per_target_max: usize,
    /// Most pairings of a player, of whatever status. For a new one the oldest expired is forgotten.
    pub per_player_max: usize,
    /// Most pairings of all players. For a new one the oldest expired is forgotten.
    pub total_max: usize,
    /// Longest name, characters.
    pub name_chars_max: usize,
    /// Largest metadata, bytes of JSON.
    pub metadata_bytes_max: usize,
    /// How long an expired pairing can still be read.
    pub keep_expired: Duration,
    /// Wrong codes of one player.
    pub wrong_codes_per_player: WrongCodes,
    /// Wrong codes of one address; of IPv6, of one /64.
    pub wrong_codes_per_address: WrongCodes,
}

/// How many wrong codes are let through before one has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongCodes {
    /// At once, after a pause. At least 1 is taken.
    pub burst: u32,
    /// One more after each such time.
    pub interval: Duration,
}

impl Default for PairingOptions {
    /// Codes of 6 characters that hold for 10 minutes, at most 10 at a time and player; 100,000
    /// pairings, 1,000 of a player; expired ones are kept for a day. 5 wrong codes of a player and one
    /// more a minute, 20 of an address and one more each 10 seconds.
    fn default() -> Self {
        Self {
            code_length: 6,
            expires_in: Duration::from_secs(600),
            expires_in_max: Duration::from_secs(24 * 60 * 60),
            pending_per_player_max: 10,
            pending_per_target_max: 100,
            per_player_max: 1000,
            total_max: 100_000,
            name_chars_max: 100,
            metadata_bytes_max: 2048,
            keep_expired: Duration::from_secs(24 * 60 * 60),
            wrong_codes_per_player: WrongCodes {
                burst: 5,
                interval: Duration::from_secs(60),
            },
            wrong_codes_per_address: WrongCodes {
                burst: 20,
                interval: Duration::from_secs(10),
            },
        }
    }
}

/// A time in milliseconds; times beyond 584 million years are that.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
