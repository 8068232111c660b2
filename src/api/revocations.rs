//! Revocations beyond the process: in force at once, kept in the store before they are answered, and read
//! from it before anybody is let in.
//!
//! ```no_run
//! use campanile::api::revocations;
//! use campanile::auth::{AuthOptions, Authenticator};
//! use campanile::store::{Store, StoreOptions};
//!
//! let authenticator = Authenticator::new(AuthOptions::default(), None)?;
//! let (store, _thread) = Store::open(&StoreOptions::new("data"))?;
//! revocations::restore(&store, &authenticator)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use thiserror::Error;

use super::error::ApiError;
use super::state::State;
use crate::auth::{Authenticator, KeptRevocation, REVOCATIONS_MAX, Revocation, Revoked};
use crate::id::UserId;
use crate::security::{self, Event, Kind};
use crate::store::{PAGE_MAX, Store, StoreBusy, StoreError, StoredRevocation};
use crate::time::Clock;

/// How the store calls revocations of users, and of tokens.
const USER: u8 = 0;
const TOKEN: u8 = 1;

/// Why revocations cannot be read at the start.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The store did not answer.
    #[error("the revocations cannot be read: {0}")]
    Store(#[from] StoreError),
    /// The store's queue is full before anything has begun.
    #[error("the revocations cannot be read: {0}")]
    Busy(#[from] StoreBusy),
    /// There is something else in their place.
    #[error(
        "row {place} of the store's table `revocations` is none that this release knows; use a later \
         release, restore the store's file from a backup, or delete the row"
    )]
    Unknown {
        /// Its place.
        place: u64,
    },
}

/// Puts in force what the store has kept, and has it forget what is over. Gives how many there are.
///
/// Blocks until the store has answered: not for a thread that runs asynchronous tasks, and to be done
/// before anybody is let in. From there on [`State::store`] keeps them.
///
/// Errors: [`RestoreError`]. A server must not start then: it would let in who was revoked.
pub fn restore(store: &Store, authenticator: &Authenticator) -> Result<usize, RestoreError> {
    let now_s = Clock::start().now().unix_ms / 1000;
    let count_max = u32::try_from(REVOCATIONS_MAX).unwrap_or(u32::MAX);
    store.purge_revocations(now_s, count_max)?.wait()?;
    let mut last = 0;
    loop {
        let page = store.revocations(last, PAGE_MAX)?.wait()?;
        let Some(&(place, _)) = page.last() else {
            break;
        };
        last = place;
        let kept: Result<Vec<_>, _> = page.into_iter().map(from_stored).collect();
        authenticator.restore(kept?, now_s);
    }
    Ok(authenticator.stats().revocations)
}

fn from_stored((place, stored): (u64, StoredRevocation)) -> Result<KeptRevocation, RestoreError> {
    let revocation = match stored.kind {
        USER if UserId::is_valid(&stored.name) => Revocation::User {
            user: UserId::from(&*stored.name),
            issued_before_s: stored.before_s,
        },
        TOKEN => Revocation::Token {
            id: stored.name.into(),
        },
        _ => return Err(RestoreError::Unknown { place }),
    };
    Ok(KeptRevocation {
        revocation,
        until_s: stored.until_s,
    })
}

fn to_stored(kept: KeptRevocation) -> StoredRevocation {
    let (kind, name, before_s) = match kept.revocation {
        Revocation::User {
            user,
            issued_before_s,
        } => (USER, user.to_string(), issued_before_s),
        Revocation::Token { id } => (TOKEN, id.into(), 0),
    };
    StoredRevocation {
        kind,
        name,
        before_s,
        until_s: kept.until_s,
    }
}

/// What the store knows a revocation by.
fn key(revocation: Revocation) -> (u8, String) {
    match revocation {
        Revocation::User { user, .. } => (USER, user.to_string()),
        Revocation::Token { id } => (TOKEN, id.into()),
    }
}

impl State {
    /// Revokes: in force when this is polled first, and kept when it is ready.
    ///
    /// Errors: 503 if the store cannot keep it, 504 if it takes too long. Then it is in force as long as the
    /// process runs; said again, it is one revocation, and perhaps kept.
    pub(super) async fn revoke(&self, revocation: Revocation) -> Result<(), ApiError> {
        let now_s = self.now_s();
        let authenticator = self.gate.authenticator();
        let Revoked { kept, displaced } = authenticator.revoke(revocation, now_s);
        if displaced.is_some() {
            security::report(Event {
                kind: Kind::Limit,
                reason: "revocations",
                address: None,
                user: None,
                detail: "there are as many revocations as are kept: the oldest is not in force any more",
            });
        }
        let Some(store) = &self.store else {
            return Ok(());
        };
        let put = store.put_revocation(to_stored(kept), displaced.map(key), now_s);
        let put = match put {
            Ok(reply) => self.in_time(reply).await?,
            Err(StoreBusy) => return Err(not_kept()),
        };
        put.map_err(|error| {
            tracing::warn!(%error, "a revocation could not be stored");
            not_kept()
        })
    }
}

fn not_kept() -> ApiError {
    ApiError::unavailable_because("revoked until the server ends, as it cannot be stored now")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::StoreFolder;

    fn token(id: &str) -> Revocation {
        Revocation::Token { id: id.into() }
    }

    #[test]
    fn what_was_kept_is_in_force_again_and_what_is_over_is_not() {
        let folder = StoreFolder::new();
        let (store, _thread) = Store::open(&folder.options()).unwrap();
        let put = |revocation: Revocation, until_s| {
            let kept = KeptRevocation {
                revocation,
                until_s,
            };
            let reply = store.put_revocation(to_stored(kept), None, 0);
            reply.unwrap().wait().unwrap();
        };
        let of_ann = |issued_before_s| Revocation::User {
            user: "ann".into(),
            issued_before_s,
        };
        put(of_ann(70), u64::MAX);
        put(token("over"), 1);
        put(token("lost"), u64::MAX);
        put(of_ann(50), 2);
        let authenticator = Authenticator::trusting();
        assert_eq!(restore(&store, &authenticator).unwrap(), 2);
        let all = authenticator.revoked_since(0);
        assert_eq!(all, [token("lost"), of_ann(70)], "the later of both times");
        assert_eq!(store.revocations(0, 10).unwrap().wait().unwrap().len(), 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn what_was_revoked_is_revoked_after_a_restart_in_the_same_order(
            said in prop::collection::vec((any::<bool>(), "[a-c]{1,2}", 0u64..9), 0..20),
        ) {
            let folder = StoreFolder::new();
            let before = Authenticator::trusting();
            let now_s = Clock::start().now().unix_ms / 1000;
            let (store, thread) = Store::open(&folder.options()).unwrap();
            for (is_user, name, issued_before_s) in said {
                let revocation = match is_user {
                    true => Revocation::User { user: UserId::from(&*name), issued_before_s },
                    false => token(&name),
                };
                let Revoked { kept, displaced } = before.revoke(revocation, now_s);
                let put = store.put_revocation(to_stored(kept), displaced.map(key), now_s);
                put.unwrap().wait().unwrap();
            }
            thread.stop();
            let (store, _thread) = Store::open(&folder.options()).unwrap();
            let after = Authenticator::trusting();
            restore(&store, &after).unwrap();
            prop_assert_eq!(after.revoked_since(0), before.revoked_since(0));
        }
    }

    #[test]
    fn a_kind_that_is_not_known_ends_the_start() {
        let folder = StoreFolder::new();
        let (store, _thread) = Store::open(&folder.options()).unwrap();
        let strange = StoredRevocation {
            kind: 7,
            ..to_stored(KeptRevocation {
                revocation: token("x"),
                until_s: u64::MAX,
            })
        };
        store
            .put_revocation(strange, None, 0)
            .unwrap()
            .wait()
            .unwrap();
        let error = restore(&store, &Authenticator::trusting()).unwrap_err();
        assert!(
            matches!(error, RestoreError::Unknown { place: 1 }),
            "{error}"
        );
    }
}
