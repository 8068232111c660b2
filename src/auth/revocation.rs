//! What was valid and is not any more: tokens by their id, and users up to a time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use hashbrown::HashMap;

use super::Identity;
use crate::id::UserId;

/// Most revocations that are kept; the oldest are forgotten first.
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

/// The list of revocations.
#[derive(Debug, Default)]
pub(super) struct Revocations {
    /// Grows with each revocation. Zero: there was none, and nobody need look.
    epoch: AtomicU64,
    list: RwLock<List>,
}

#[derive(Debug, Default)]
struct List {
    /// User → issued before this second, forgotten at that one.
    users: HashMap<UserId, Entry>,
    /// `jti` → forgotten at this second.
    tokens: HashMap<Box<str>, Entry>,
    /// All of them by age, with the second of their forgetting. An entry that was renewed stands
    /// twice, and the older place says an earlier second than the entry.
    by_age: VecDeque<(u64, Revocation)>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    issued_before_s: u64,
    forgotten_s: u64,
}

impl Revocations {
    /// Keeps a revocation until `forgotten_s`. True: an older one was forgotten too early for it.
    pub(super) fn add(&self, revocation: Revocation, now_s: u64, forgotten_s: u64) -> bool {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        list.forget(|due_s| due_s <= now_s);
        match &revocation {
            Revocation::User {
                user,
                issued_before_s,
            } => {
                let entry = Entry {
                    issued_before_s: *issued_before_s,
                    forgotten_s,
                };
                let kept = list.users.entry(user.clone()).or_insert(entry);
                kept.issued_before_s = kept.issued_before_s.max(*issued_before_s);
                kept.forgotten_s = kept.forgotten_s.max(forgotten_s);
            }
            Revocation::Token { id } => {
                let entry = Entry {
                    issued_before_s: 0,
                    forgotten_s,
                };
                list.tokens.insert(id.clone(), entry);
            }
        }
        list.by_age.push_back((forgotten_s, revocation));
        let is_full = list.by_age.len() > REVOCATIONS_MAX;
        if is_full {
            list.forget_oldest();
        }
        drop(list);
        self.epoch.fetch_add(1, Ordering::Release);
        is_full
    }

    /// Whether somebody was revoked.
    pub(super) fn has(&self, identity: &Identity) -> bool {
        if self.epoch() == 0 {
            return false;
        }
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        let is_user_revoked = list.users.get(&*identity.user).is_some_and(|entry| {
            identity
                .issued_s
                .is_none_or(|issued_s| issued_s < entry.issued_before_s)
        });
        is_user_revoked
            || identity
                .token_id
                .as_deref()
                .is_some_and(|id| list.tokens.contains_key(id))
    }

    /// Grows with each revocation.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// How many are kept.
    pub(super) fn len(&self) -> usize {
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        list.users.len() + list.tokens.len()
    }
}

impl List {
    /// Forgets from the oldest on, as long as they are due.
    fn forget(&mut self, is_due: impl Fn(u64) -> bool) {
        while self.by_age.front().is_some_and(|(due_s, _)| is_due(*due_s)) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((due_s, revocation)) = self.by_age.pop_front() else {
            return;
        };
        // One that was renewed since is forgotten at its later place.
        match revocation {
            Revocation::User { user, .. } => {
                if self
                    .users
                    .get(&*user)
                    .is_some_and(|e| e.forgotten_s <= due_s)
                {
                    self.users.remove(&*user);
                }
            }
            Revocation::Token { id } => {
                if self.tokens.get(&id).is_some_and(|e| e.forgotten_s <= due_s) {
                    self.tokens.remove(&id);
                }
            }
        }
    }
}
