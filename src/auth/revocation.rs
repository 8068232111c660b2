//! What was valid and is not any more: tokens by their id, and users up to a time.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use hashbrown::HashMap;

use super::Identity;
use crate::id::UserId;

/// Most revocations that are kept. One more displaces the one that was said or renewed longest ago.
pub const REVOCATIONS_MAX: usize = 65_536;

/// What is revoked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Revocation {
    /// What shows this user and was issued before this second (unix time), or does not say when.
    ///
    /// Sessions and trusted requests count as issued when they were shown: they are refused until
    /// they are shown anew, and then it is for the session server to say. To revoke all that there
    /// is, name the next second.
    User {
        /// Who.
        user: UserId,
        /// Unix seconds.
        issued_before_s: u64,
    },
    /// The token with this `jti`.
    Token {
        /// Its `jti`, as it stands.
        id: Box<str>,
    },
}

/// A revocation, and how long it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRevocation {
    /// What is revoked.
    pub revocation: Revocation,
    /// When it may be forgotten, unix seconds.
    pub until_s: u64,
}

/// What became of a revocation that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// What is in force now. Said twice, a revocation is one: the later of both times, and of both ends.
    pub kept: KeptRevocation,
    /// What was forgotten before its time, as there were [`REVOCATIONS_MAX`].
    pub displaced: Option<Revocation>,
}

/// The list of revocations.
#[derive(Debug, Default)]
pub(super) struct Revocations {
    /// How many were said. Zero: there was none, and nobody need look.
    epoch: AtomicU64,
    list: RwLock<List>,
}

#[derive(Debug, Default)]
struct List {
    /// All of them, by the epoch that began when they were said last.
    by_age: BTreeMap<u64, KeptRevocation>,
    /// User → its place in `by_age`, and the time before which things were issued.
    users: HashMap<UserId, (u64, u64)>,
    /// `jti` → its place in `by_age`.
    tokens: HashMap<Box<str>, u64>,
}

impl Revocations {
    /// Keeps a revocation, in place of one of the same user or token, and forgets those whose time is over.
    pub(super) fn add(&self, revocation: Revocation, now_s: u64, until_s: u64) -> Revoked {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        list.forget_due(now_s);
        let mut kept = KeptRevocation {
            revocation,
            until_s,
        };
        if let Some(before) = list.take_same(&kept.revocation) {
            kept.merge(&before);
        }
        let displaced = if list.by_age.len() >= REVOCATIONS_MAX {
            list.forget_oldest()
        } else {
            None
        };
        // Only here, and under the lock.
        let place = self.epoch.load(Ordering::Relaxed) + 1;
        list.put(place, kept.clone());
        self.epoch.store(place, Ordering::Release);
        Revoked { kept, displaced }
    }

    /// Whether somebody was revoked.
    pub(super) fn has(&self, identity: &Identity) -> bool {
        if self.epoch() == 0 {
            return false;
        }
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        list.has_user(&identity.user, identity.issued_s)
            || identity
                .token_id
                .as_deref()
                .is_some_and(|id| list.tokens.contains_key(id))
    }

    /// Whether a user was revoked who has been here since `since_s`.
    pub(super) fn has_user(&self, user: &str, since_s: u64) -> bool {
        if self.epoch() == 0 {
            return false;
        }
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        list.has_user(user, Some(since_s))
    }

    /// What was said after an epoch and is in force, the oldest first.
    pub(super) fn since(&self, epoch: u64) -> Vec<Revocation> {
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        let later = list
            .by_age
            .range((Bound::Excluded(epoch), Bound::Unbounded));
        later.map(|(_, kept)| kept.revocation.clone()).collect()
    }

    /// Grows with each revocation.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// How many are kept.
    pub(super) fn len(&self) -> usize {
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        list.by_age.len()
    }
}

impl KeptRevocation {
    /// Holds what an older one of the same user or token held, too.
    fn merge(&mut self, older: &Self) {
        self.until_s = self.until_s.max(older.until_s);
        if let (
            Revocation::User {
                issued_before_s, ..
            },
            Revocation::User {
                issued_before_s: before,
                ..
            },
        ) = (&mut self.revocation, &older.revocation)
        {
            *issued_before_s = (*issued_before_s).max(*before);
        }
    }
}

impl List {
    fn has_user(&self, user: &str, issued_s: Option<u64>) -> bool {
        let revoked = self.users.get(user);
        revoked.is_some_and(|(_, before_s)| issued_s.is_none_or(|issued_s| issued_s < *before_s))
    }

    fn put(&mut self, place: u64, kept: KeptRevocation) {
        match &kept.revocation {
            Revocation::User {
                user,
                issued_before_s,
            } => drop(self.users.insert(user.clone(), (place, *issued_before_s))),
            Revocation::Token { id } => drop(self.tokens.insert(id.clone(), place)),
        }
        self.by_age.insert(place, kept);
    }

    /// Takes out what is kept of the same user or token.
    fn take_same(&mut self, revocation: &Revocation) -> Option<KeptRevocation> {
        let place = match revocation {
            Revocation::User { user, .. } => self.users.get(user).map(|(place, _)| *place),
            Revocation::Token { id } => self.tokens.get(id).copied(),
        };
        self.by_age.remove(&place?)
    }

    /// Forgets from the oldest on, as long as their time is over. Behind one whose time is not, others may
    /// stay a little longer: after a clock that went back.
    fn forget_due(&mut self, now_s: u64) {
        while let Some((_, oldest)) = self.by_age.first_key_value()
            && oldest.until_s <= now_s
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) -> Option<Revocation> {
        let (_, KeptRevocation { revocation, .. }) = self.by_age.pop_first()?;
        match &revocation {
            Revocation::User { user, .. } => drop(self.users.remove(user)),
            Revocation::Token { id } => drop(self.tokens.remove(id)),
        }
        Some(revocation)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn of_user(user: u8, issued_before_s: u64) -> Revocation {
        Revocation::User {
            user: UserId::from(&*format!("user-{user}")),
            issued_before_s,
        }
    }

    fn of_token(id: u8) -> Revocation {
        Revocation::Token {
            id: format!("token-{id}").into(),
        }
    }

    #[test]
    fn what_was_said_since_an_epoch_is_told_once_with_its_merged_time() {
        let list = Revocations::default();
        list.add(of_user(1, 50), 10, 100);
        list.add(of_token(1), 10, 100);
        let seen = list.epoch();
        assert_eq!(list.since(seen), []);
        let renewed = list.add(of_user(1, 20), 11, 90);
        let kept = KeptRevocation {
            revocation: of_user(1, 50),
            until_s: 100,
        };
        assert_eq!((renewed.kept, renewed.displaced), (kept, None));
        assert_eq!(list.since(seen), [of_user(1, 50)]);
        assert_eq!(list.since(0), [of_token(1), of_user(1, 50)]);
        assert!(list.has_user("user-1", 49) && !list.has_user("user-1", 50));
        assert_eq!(list.len(), 2);
    }

    proptest! {
        /// The model keeps a latest second and an end for each user and token, and forgets none: times
        /// only rise here, and nothing is near the bound.
        #[test]
        fn who_is_revoked_is_what_was_said_and_has_not_ended(
            said in prop::collection::vec((any::<bool>(), 0u8..4, 0u64..60, 0u64..10), 1..40),
        ) {
            let list = Revocations::default();
            let (mut model, mut now_s) = (HashMap::new(), 100);
            for (is_user, who, time_s, step_s) in said {
                now_s += step_s;
                let until_s = now_s + 30;
                model.retain(|_, (_, end)| *end > now_s);
                let revocation = if is_user { of_user(who, 80 + time_s) } else { of_token(who) };
                let entry = model.entry((is_user, who)).or_insert((0, 0));
                *entry = (entry.0.max(80 + time_s), until_s);
                let told = list.add(revocation, now_s, until_s);
                prop_assert_eq!(told.kept.until_s, until_s);
                prop_assert_eq!(list.len(), model.len());
                for who in 0..4 {
                    let before_s = model.get(&(true, who)).map_or(0, |entry| entry.0);
                    for since_s in [before_s.saturating_sub(1), before_s, before_s + 1] {
                        let name = format!("user-{who}");
                        prop_assert_eq!(list.has_user(&name, since_s), since_s < before_s);
                    }
                    let is_kept = list.since(0).contains(&of_token(who));
                    prop_assert_eq!(is_kept, model.contains_key(&(false, who)));
                }
            }
        }
    }
}
