//! How much one may send: per connection and per user, and how often somebody may ignore the answer.
//!
//! A limit is the generic cell rate algorithm (ITU-T I.371, "virtual scheduling"): one number per
//! sender, the time at which all it has sent would be paid for. It is a bucket that holds `burst` and
//! fills by `per_second`, without anything to fill. Time is monotonic milliseconds, as in
//! [`Now`](crate::time::Now), and never goes back.

use std::hash::BuildHasher;

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use hashbrown::HashTable;

use crate::id::UserId;

const NS_PER_MS: u64 = 1_000_000;
const NS_PER_S: u64 = 1_000_000_000;

/// Refusals after which somebody insists.
const REFUSALS_MAX: u32 = 20;
/// The time within which they must come, seconds.
const INSISTENCE_S: u32 = 10;

/// Users looked at for each that sends: more than one, so that it forgets faster than it learns.
const SWEPT_PER_TAKE: usize = 2;
/// A list of so few places is not made smaller before it is empty.
const PLACES_MIN: usize = 16;

/// How much may be sent: never more than `burst + per_second * t` within any t seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    /// What is let through in the long run, units a second. Zero: there is no limit.
    pub(super) per_second: u32,
    /// What is let through at once after a pause, units. Zero counts as one.
    pub(super) burst: u32,
}

impl Rate {
    /// What one unit takes, nanoseconds; zero if there is no limit. Rounded up, for the promise above.
    fn interval_ns(self) -> u64 {
        match u64::from(self.per_second) {
            0 => 0,
            per_second => NS_PER_S.div_ceil(per_second),
        }
    }
}

/// It was too much. Whoever waits so many milliseconds, at least one, and sends nothing else is let
/// through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RetryAfterMs(pub(super) u64);

/// What one sender has used of its rate. A new one is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    /// When it is full again, monotonic nanoseconds: 584 years of them.
    full_ns: u64,
}

// There is one in the state of each connection.
const _: () = assert!(size_of::<Bucket>() == 8);

impl Bucket {
    /// Takes `cost` units, or nothing if that would be more than the rate allows. A cost above the
    /// burst, which could never be paid, counts as the burst.
    pub(super) fn take(&mut self, now_ms: u64, rate: Rate, cost: u32) -> Result<(), RetryAfterMs> {
        let burst = rate.burst.max(1);
        let interval_ns = rate.interval_ns();
        let now_ns = now_ms.saturating_mul(NS_PER_MS);
        let cost_ns = interval_ns * u64::from(cost.min(burst));
        let full_ns = self.full_ns.max(now_ns).saturating_add(cost_ns);
        let most_ns = now_ns.saturating_add(interval_ns * u64::from(burst));
        if interval_ns > 0 && full_ns > most_ns {
            return Err(RetryAfterMs((full_ns - most_ns).div_ceil(NS_PER_MS)));
        }
        self.full_ns = full_ns;
        Ok(())
    }

    /// Takes a unit from this bucket and from another, or from neither: who is refused by one has not
    /// paid the other. Both are let through after the longer of their times.
    pub(super) fn take_with(
        &mut self,
        now_ms: u64,
        rate: Rate,
        other: (&mut Self, Rate),
    ) -> Result<(), RetryAfterMs> {
        let (mut own, mut others) = (*self, *other.0);
        match (own.take(now_ms, rate, 1), others.take(now_ms, other.1, 1)) {
            (Ok(()), Ok(())) => {
                (*self, *other.0) = (own, others);
                Ok(())
            }
            (own, others) => {
                let wait =
                    |taken: Result<(), RetryAfterMs>| taken.map_or_else(|wait| wait.0, |()| 0);
                Err(RetryAfterMs(wait(own).max(wait(others))))
            }
        }
    }

    /// Whether it is as good as new.
    pub(super) fn is_full(self, now_ms: u64) -> bool {
        self.full_ns <= now_ms.saturating_mul(NS_PER_MS)
    }
}

/// Whether somebody goes on sending although told to wait.
///
/// Exact to a second: 20 refusals within 10 s are always seen, 20 that span 11 s or more never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Insistence {
    /// The second of the last refusal.
    second: u32,
    /// From the youngest, which is the lowest bit: a one for each refusal, a zero for each second that
    /// passed. At most 19 ones and, between them, 10 zeros.
    past: u32,
}

const _: () = assert!(size_of::<Insistence>() == 8);
const _: () = assert!(REFUSALS_MAX + INSISTENCE_S <= u32::BITS);

impl Insistence {
    /// Counts a refusal. True if the sender is to be closed with 4529; counting begins anew then.
    pub(super) fn refused(&mut self, now_ms: u64) -> bool {
        let second = u32::try_from(now_ms / 1000).unwrap_or(u32::MAX);
        let passed = second.saturating_sub(self.second);
        self.second = second;
        if passed > INSISTENCE_S {
            self.past = 1;
            return false;
        }
        let past = u64::from(self.past) << passed;
        // The zero behind which all is older than the time counted.
        let mut zeros = !past;
        for _ in 0..INSISTENCE_S {
            zeros &= zeros - 1;
        }
        let end = zeros & zeros.wrapping_neg();
        let past = (past & (end - 1)) << 1 | 1;
        let insists = past.count_ones() >= REFUSALS_MAX;
        let kept = if insists { 0 } else { past };
        self.past = u32::try_from(kept).expect("19 ones and 10 zeros at most");
        insists
    }
}

#[derive(Debug)]
struct Sender {
    user: UserId,
    hash: u64,
    bucket: Bucket,
}

/// The buckets of all users that are not full: those of the users who sent lately.
///
/// A hand goes round and forgets those that are full again, a few steps with each message and some
/// with each tick. So a shard holds about twice as many as have sent within `burst / per_second`
/// seconds, and nothing when nobody sends.
#[derive(Debug)]
pub(super) struct UserBuckets {
    hasher: SeedableRandomState,
    senders: Vec<Sender>,
    /// Indices of `senders`, each once.
    by_user: HashTable<usize>,
    /// The next to be looked at.
    hand: usize,
}

impl UserBuckets {
    /// No users. `seed` keeps anybody from choosing names that collide.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            hasher: SeedableRandomState::with_seed(seed, SharedSeed::global_fixed()),
            senders: Vec::new(),
            by_user: HashTable::new(),
            hand: 0,
        }
    }

    /// What a user has used: a full bucket, if nothing lately.
    pub(super) fn of(&mut self, user: &UserId, now_ms: u64) -> &mut Bucket {
        self.sweep(now_ms, SWEPT_PER_TAKE);
        let hash = self.hasher.hash_one(user);
        let is_it = |&index: &usize| self.senders[index].user == *user;
        let index = match self.by_user.find(hash, is_it) {
            Some(&index) => index,
            None => self.learn(user, hash),
        };
        &mut self.senders[index].bucket
    }

    /// Adds a user, and gives the index.
    fn learn(&mut self, user: &UserId, hash: u64) -> usize {
        let senders = &mut self.senders;
        let index = senders.len();
        senders.push(Sender {
            user: user.clone(),
            hash,
            bucket: Bucket::default(),
        });
        let rehash = |&index: &usize| senders[index].hash;
        self.by_user.insert_unique(hash, index, rehash);
        index
    }

    /// Looks at the next `steps` users, and forgets those who may send as if they never had. To be
    /// called from time to time, so that they are forgotten when nobody sends any more.
    pub(super) fn sweep(&mut self, now_ms: u64, steps: usize) {
        for _ in 0..steps.min(self.senders.len()) {
            if self.hand >= self.senders.len() {
                self.hand = 0;
            }
            if self.senders[self.hand].bucket.is_full(now_ms) {
                self.forget(self.hand);
            } else {
                self.hand += 1;
            }
        }
        self.give_back();
    }

    /// How many users are held.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.senders.len()
    }

    /// Removes the user of an index, which becomes that of the last.
    fn forget(&mut self, index: usize) {
        let forgotten = self.senders.swap_remove(index);
        if let Ok(entry) = (self.by_user).find_entry(forgotten.hash, |&it| it == index) {
            entry.remove();
        }
        let last = self.senders.len();
        if let Some(moved) = self.senders.get(index)
            && let Some(place) = self.by_user.find_mut(moved.hash, |&it| it == last)
        {
            *place = index;
        }
    }

    /// Gives memory back: all of it when empty, much of it when three quarters are unused.
    fn give_back(&mut self) {
        let (len, places) = (self.senders.len(), self.senders.capacity());
        if len == 0 {
            self.senders = Vec::new();
            self.by_user = HashTable::new();
        } else if places > PLACES_MIN && len <= places / 4 {
            self.senders.shrink_to(2 * len);
            let senders = &self.senders;
            self.by_user
                .shrink_to(2 * len, |&index| senders[index].hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_burst_goes_through_at_once_and_then_the_rate() {
        let rate = Rate {
            per_second: 50,
            burst: 3,
        };
        let mut bucket = Bucket::default();
        for _ in 0..3 {
            assert_eq!(bucket.take(1000, rate, 1), Ok(()));
        }
        assert_eq!(bucket.take(1000, rate, 1), Err(RetryAfterMs(20)));
        assert_eq!(bucket.take(1019, rate, 1), Err(RetryAfterMs(1)));
        assert_eq!(bucket.take(1020, rate, 1), Ok(()));
        assert!(!bucket.is_full(1079) && bucket.is_full(1080));
    }

    #[test]
    fn the_ends_of_the_numbers_are_no_trouble() {
        let none = Rate {
            per_second: 0,
            burst: 0,
        };
        let mut bucket = Bucket::default();
        for _ in 0..1000 {
            assert_eq!(bucket.take(5, none, u32::MAX), Ok(()));
        }
        assert!(bucket.is_full(5));
        let least = Rate {
            per_second: 1,
            burst: 0,
        };
        assert_eq!(
            bucket.take(5, least, u32::MAX),
            Ok(()),
            "more than ever could be paid"
        );
        assert_eq!(bucket.take(5, least, 1), Err(RetryAfterMs(1000)));
        let most = Rate {
            per_second: 1,
            burst: u32::MAX,
        };
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(u64::MAX, most, u32::MAX), Ok(()));
        assert!(bucket.take(0, most, u32::MAX).is_err());
    }

    /// Once the unit of a connection's bucket was taken before its user's bucket refused: who then
    /// waited as long as it was told to was refused again.
    #[test]
    fn who_is_refused_by_one_bucket_has_not_paid_the_other() {
        let rate = |per_second| Rate {
            per_second,
            burst: 1,
        };
        let (slow, fast) = (rate(1), rate(10));
        let (mut own, mut of_user) = (Bucket::default(), Bucket::default());
        assert_eq!(of_user.take(0, fast, 1), Ok(()));
        let mut take = |now_ms| own.take_with(now_ms, slow, (&mut of_user, fast));
        assert_eq!(take(0), Err(RetryAfterMs(100)));
        assert_eq!(take(100), Ok(()));
        // Both are empty: the longer time counts.
        assert_eq!(take(150), Err(RetryAfterMs(950)));
        assert_eq!(take(1100), Ok(()));
    }

    #[test]
    fn twenty_refusals_within_ten_seconds_are_insistence() {
        let mut flood = Insistence::default();
        assert_eq!((0..40).filter(|_| flood.refused(77_777)).count(), 2);
        let mut steady = Insistence::default();
        assert_eq!(
            (0..20).filter(|i| steady.refused(i * 526)).count(),
            1,
            "in 9994 ms"
        );
        let mut patient = Insistence::default();
        assert_eq!(
            (0..200).filter(|i| patient.refused(i * 580)).count(),
            0,
            "19 take 11020 ms"
        );
        let mut late = Insistence::default();
        assert_eq!((0..40).filter(|_| late.refused(u64::MAX)).count(), 2);
    }

    #[test]
    fn users_that_are_full_again_are_forgotten() {
        let rate = Rate {
            per_second: 1,
            burst: 2,
        };
        let mut users = UserBuckets::new(7);
        for i in 0..1000u64 {
            assert_eq!(
                users.of(&format!("u{i}").into(), i).take(i, rate, 1),
                Ok(())
            );
        }
        assert_eq!(users.len(), 1000);
        // The hand stands somewhere in the middle, and meets some whom it has moved twice.
        users.sweep(1500, 1000);
        users.sweep(1500, 1000);
        assert_eq!(users.len(), 499);
        for i in 0..2000u64 {
            let _ = users.of(&"one".into(), 5000 + i).take(5000 + i, rate, 1);
        }
        assert_eq!(users.len(), 1, "the messages of others have swept them out");
        users.sweep(10_000, 1);
        assert_eq!(
            (
                users.len(),
                users.senders.capacity(),
                users.by_user.capacity()
            ),
            (0, 0, 0)
        );
    }

    proptest! {
        #[test]
        fn nobody_exceeds_burst_and_rate_and_who_waits_is_let_through(
            per_second in 1u32..5000, burst in 1u32..50, start in 0u64..1 << 40,
            steps in prop::collection::vec((0u64..200, 1u32..10), 1..200),
        ) {
            let rate = Rate { per_second, burst };
            let (mut bucket, mut now_ms) = (Bucket::default(), start);
            let mut taken = Vec::new();
            for (passed, cost) in steps {
                now_ms += passed;
                match bucket.take(now_ms, rate, cost) {
                    Ok(()) => taken.push((now_ms, cost.min(burst))),
                    Err(RetryAfterMs(wait)) => {
                        prop_assert!(wait > 0);
                        let mut patient = bucket;
                        prop_assert_eq!(patient.take(now_ms + wait, rate, cost), Ok(()));
                    }
                }
            }
            for (i, &(from, _)) in taken.iter().enumerate() {
                let mut sum = 0;
                for &(to, cost) in &taken[i..] {
                    sum += u64::from(cost);
                    prop_assert!(sum * 1000 <= u64::from(burst) * 1000 + u64::from(per_second) * (to - from));
                }
            }
        }

        /// The model is a bucket of thousandths of a unit that is filled each millisecond.
        #[test]
        fn it_lets_through_what_a_bucket_of_tokens_does(
            exponents in (0u32..4, 0u32..5), burst in 1u32..50,
            steps in prop::collection::vec((0u64..500, 1u32..10), 1..200),
        ) {
            // Divides a second into whole nanoseconds, so that nothing is rounded.
            let per_second = 2u32.pow(exponents.0) * 5u32.pow(exponents.1);
            let rate = Rate { per_second, burst };
            let (mut bucket, mut now_ms) = (Bucket::default(), 1_000_000);
            let full = u64::from(burst) * 1000;
            let mut tokens = full;
            for (passed, cost) in steps {
                now_ms += passed;
                tokens = full.min(tokens + passed * u64::from(per_second));
                prop_assert_eq!(bucket.is_full(now_ms), tokens == full);
                let price = u64::from(cost.min(burst)) * 1000;
                let wait = price.saturating_sub(tokens).div_ceil(u64::from(per_second));
                let expected = if wait == 0 { Ok(()) } else { Err(RetryAfterMs(wait)) };
                prop_assert_eq!(bucket.take(now_ms, rate, cost), expected);
                if wait == 0 {
                    tokens -= price;
                }
            }
        }

        /// The model keeps the second of each refusal.
        #[test]
        fn insistence_is_twenty_in_the_seconds_that_count(
            start in 0u64..1 << 41, steps in prop::collection::vec(0u64..1500, 1..400), slow in 1u64..4,
        ) {
            let (mut insistence, mut now_ms) = (Insistence::default(), start);
            let mut seconds = Vec::new();
            for passed in steps {
                now_ms += passed / slow;
                let second = now_ms / 1000;
                seconds.push(second);
                let counted = seconds.iter().filter(|&&at| at + u64::from(INSISTENCE_S) >= second).count();
                let insists = counted >= REFUSALS_MAX as usize;
                prop_assert_eq!(insistence.refused(now_ms), insists);
                if insists {
                    seconds.clear();
                }
            }
        }

        #[test]
        fn forgetting_makes_no_difference(
            rate in (1u32..20, 1u32..10),
            steps in prop::collection::vec((0u8..30, 0u64..100, 1u32..5, 0usize..4), 1..300),
        ) {
            let rate = Rate { per_second: rate.0, burst: rate.1 };
            let mut users = UserBuckets::new(7);
            let mut model = BTreeMap::<u8, Bucket>::new();
            let mut now_ms = 0;
            for (user, passed, cost, swept) in steps {
                now_ms += passed;
                users.sweep(now_ms, swept);
                let expected = model.entry(user).or_default().take(now_ms, rate, cost);
                let bucket = users.of(&format!("u{user}").into(), now_ms);
                prop_assert_eq!(bucket.take(now_ms, rate, cost), expected);
                let in_debt = model.values().filter(|bucket| !bucket.is_full(now_ms)).count();
                prop_assert!(in_debt <= users.len() && users.len() == users.by_user.len());
                let places: Vec<&UserId> = users.senders.iter().map(|sender| &sender.user).collect();
                prop_assert_eq!(places.iter().collect::<BTreeSet<_>>().len(), places.len());
            }
            now_ms += 1_000_000;
            users.sweep(now_ms, usize::MAX);
            prop_assert_eq!(users.len(), 0);
        }
    }
}
