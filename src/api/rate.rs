//! How many requests one key, user or address may make.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Most callers that are told apart. If all of them are busy the rest share one allowance.
const CALLERS_MAX: usize = 65_536;
/// The name of those who are too many to be told apart; no caller's, which all begin with a kind.
const THE_REST: &str = "";

/// A token bucket for each caller, in thousandths of a request.
#[derive(Debug)]
pub(super) struct Rates {
    per_second: AtomicU64,
    buckets: Mutex<HashMap<Box<str>, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: u64,
    at_ms: u64,
}

impl Rates {
    pub(super) fn new(per_second: u32) -> Self {
        Self {
            per_second: u64::from(per_second).into(),
            buckets: Mutex::default(),
        }
    }

    /// Lets callers make so many from now on; 0: as many as they like.
    pub(super) fn set(&self, per_second: u32) {
        self.per_second.store(per_second.into(), Ordering::Relaxed);
    }

    /// Takes one request from a caller's allowance. Errors: milliseconds until there is one.
    pub(super) fn take(&self, caller: &str, now_ms: u64) -> Result<(), u64> {
        let per_second = self.per_second.load(Ordering::Relaxed);
        if per_second == 0 {
            return Ok(());
        }
        let burst = 2 * 1000 * per_second;
        let refilled = |bucket: Bucket| {
            let passed = now_ms.saturating_sub(bucket.at_ms);
            let gained = passed.saturating_mul(per_second);
            bucket.left.saturating_add(gained).min(burst)
        };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut name = caller;
        if buckets.len() >= CALLERS_MAX && !buckets.contains_key(name) {
            // Who has all of it again need not be remembered.
            buckets.retain(|_, bucket| refilled(*bucket) < burst);
            if buckets.len() >= CALLERS_MAX {
                name = THE_REST;
            }
        }
        let full = Bucket {
            left: burst,
            at_ms: now_ms,
        };
        let bucket = buckets.get(name).copied().unwrap_or(full);
        let left = refilled(bucket);
        let taken = left.checked_sub(1000);
        let next = Bucket {
            left: taken.unwrap_or(left),
            at_ms: now_ms,
        };
        buckets.insert(name.into(), next);
        taken
            .map(drop)
            .ok_or_else(|| (1000 - left).div_ceil(per_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_the_rate_at_once_and_the_rate_from_then_on() {
        let rates = Rates::new(2);
        for _ in 0..4 {
            assert_eq!(rates.take("user ann", 0), Ok(()));
        }
        assert_eq!(rates.take("user ann", 0), Err(500));
        assert_eq!(rates.take("user bob", 0), Ok(()), "each has its own");
        assert_eq!(rates.take("user ann", 499), Err(1));
        assert_eq!(rates.take("user ann", 500), Ok(()));
        assert_eq!(Rates::new(0).take("user ann", 0), Ok(()));
    }

    #[test]
    fn another_rate_holds_at_once() {
        let rates = Rates::new(0);
        assert_eq!(rates.take("user ann", 0), Ok(()));
        rates.set(1);
        assert_eq!(rates.take("user ann", 0), Ok(()));
        assert_eq!(rates.take("user ann", 0), Ok(()));
        assert_eq!(rates.take("user ann", 0), Err(1000));
        rates.set(10);
        assert_eq!(rates.take("user ann", 0), Err(100));
        rates.set(0);
        assert_eq!(rates.take("user ann", 0), Ok(()));
    }

    #[test]
    fn callers_beyond_the_table_share_one_allowance() {
        let rates = Rates::new(1);
        for i in 0..CALLERS_MAX {
            assert_eq!(rates.take(&format!("address {i}"), 0), Ok(()));
        }
        assert_eq!(rates.take("user ann", 0), Ok(()));
        assert_eq!(rates.take("user bob", 0), Ok(()));
        assert!(rates.take("user eve", 0).is_err());
        assert_eq!(
            rates.take("user eve", 10_000),
            Ok(()),
            "the idle are forgotten"
        );
        assert!(rates.buckets.lock().unwrap().len() < 10);
    }
}
