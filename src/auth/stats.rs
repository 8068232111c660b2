//! What authentication has done, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use super::error::AuthError;

/// Counters since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthStats {
    /// Tokens whose signature was verified.
    pub verified: u64,
    /// Tokens that were known from before.
    pub cached: u64,
    /// Sessions that the session server has confirmed.
    pub sessions: u64,
    /// Refusals by their reason, a fixed list of words.
    pub refused: Vec<(&'static str, u64)>,
    /// Key sets that were fetched.
    pub jwks_fetches: u64,
    /// Key sets that could not be fetched or read: the keys from before hold.
    pub jwks_failures: u64,
    /// Keys that can be used now, given and fetched.
    pub keys: usize,
    /// Keys of the last set that cannot be used: of an unknown kind, for another purpose, too many.
    pub keys_skipped: usize,
    /// Revocations that are kept.
    pub revocations: usize,
}

#[derive(Debug)]
pub(super) struct Counters {
    pub(super) verified: AtomicU64,
    pub(super) cached: AtomicU64,
    pub(super) sessions: AtomicU64,
    refused: [AtomicU64; AuthError::REASONS],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            verified: AtomicU64::new(0),
            cached: AtomicU64::new(0),
            sessions: AtomicU64::new(0),
            refused: [const { AtomicU64::new(0) }; AuthError::REASONS],
        }
    }
}

impl Counters {
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a refusal, and hands it on.
    pub(super) fn refuse(&self, error: AuthError) -> AuthError {
        Self::count(&self.refused[error.place()]);
        error
    }

    pub(super) fn refused(&self) -> Vec<(&'static str, u64)> {
        let places = self.refused.iter().enumerate();
        places
            .map(|(place, count)| (AuthError::reason_at(place), count.load(Ordering::Relaxed)))
            .collect()
    }
}
