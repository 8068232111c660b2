//! What concerns the safety of the server, told to a log of its own: `tracing` target
//! [`TARGET`], so that it can go to a file beside the ordinary log.
//!
//! Nobody can fill a disk through it: at most [`LINES_PER_SECOND`] lines are written, the others are
//! counted, and the next line that is written says how many they were.
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::time::Clock;

/// The target of these events.
pub const TARGET: &str = "campanile::security";
/// Most lines a second of the whole process.
pub const LINES_PER_SECOND: u64 = 100;
/// Longest detail and longest user id that is written, bytes; the rest is cut off.
const TEXT_BYTES_MAX: usize = 256;

/// What kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Somebody was not let in: a bad token, a bad origin, no credential.
    Refused,
    /// Somebody was revoked, or came with what was revoked.
    Revoked,
    /// Somebody who is known asked for what they may not.
    Forbidden,
    /// A limit held somebody off.
    Limit,
    /// A connection ended because what it was let in by has expired.
    Expired,
}

impl Kind {
    /// All kinds, in the order of [`counts`].
    pub const ALL: [Self; 5] = [
        Self::Refused,
        Self::Revoked,
        Self::Forbidden,
        Self::Limit,
        Self::Expired,
    ];

    /// Its name in the log and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Revoked => "revoked",
            Self::Forbidden => "forbidden",
            Self::Limit => "limit",
            Self::Expired => "expired",
        }
    }
}

/// Something that happened.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// What kind.
    pub kind: Kind,
    /// Why: one word of a fixed list, such as `bad_signature`.
    pub reason: &'a str,
    /// From where. `None`: not known.
    pub address: Option<IpAddr>,
    /// Whom it is about, if that is known.
    pub user: Option<&'a str>,
    /// What else a person would want to know. Never a token, a key or a cookie.
    pub detail: &'a str,
}

static COUNTS: [AtomicU64; Kind::ALL.len()] = [const { AtomicU64::new(0) }; Kind::ALL.len()];
static CLOCK: LazyLock<Clock> = LazyLock::new(Clock::start);
static LIMIT: Limit = Limit::new();

/// Counts an event and writes it to the log, unless there were too many this second.
pub fn report(event: Event<'_>) {
    COUNTS[event.kind as usize].fetch_add(1, Ordering::Relaxed);
    let second = CLOCK.now().monotonic_ms / 1000;
    let Some(left_out) = LIMIT.pass(second) else {
        return;
    };
    if left_out > 0 {
        tracing::warn!(target: TARGET, left_out, "events were left out: too many at once");
    }
    tracing::warn!(
        target: TARGET,
        kind = event.kind.as_str(),
        reason = event.reason,
        address = event.address.map(tracing::field::display),
        user = event.user.map(cut),
        detail = cut(event.detail),
    );
}

/// Events since the start, also those that were not written, by [`Kind::ALL`].
pub fn counts() -> [(Kind, u64); Kind::ALL.len()] {
    Kind::ALL.map(|kind| (kind, COUNTS[kind as usize].load(Ordering::Relaxed)))
}

/// The front of a text, cut between characters.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

/// So many a second.
#[derive(Debug)]
struct Limit {
    /// The second, and in its low half how many passed in it.
    window: AtomicU64,
    left_out: AtomicU64,
}

const COUNT_BITS: u32 = 16;

impl Limit {
    const fn new() -> Self {
        Self {
            window: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
        }
    }

    /// Passes one, and says how many were left out before it. `None`: it is left out, too.
    fn pass(&self, second: u64) -> Option<u64> {
        let entered = self
            .window
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |window| {
                let count = match window >> COUNT_BITS == second {
                    true => window & ((1 << COUNT_BITS) - 1),
                    false => 0,
                };
                (count < LINES_PER_SECOND).then_some(second << COUNT_BITS | (count + 1))
            });
        match entered {
            Ok(_) => Some(self.left_out.swap(0, Ordering::Relaxed)),
            Err(_) => {
                self.left_out.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_counted_and_said_with_the_next() {
        let limit = Limit::new();
        for _ in 0..LINES_PER_SECOND {
            assert_eq!(limit.pass(7), Some(0));
        }
        assert_eq!(limit.pass(7), None);
        assert_eq!(limit.pass(7), None);
        assert_eq!(limit.pass(8), Some(2));
        assert_eq!(limit.pass(8), Some(0));
    }

    #[test]
    fn each_event_is_counted_by_its_kind() {
        let of = |kind| counts().into_iter().find(|(k, _)| *k == kind).unwrap().1;
        let before = of(Kind::Forbidden);
        report(Event {
            kind: Kind::Forbidden,
            reason: "scope",
            address: Some([127, 0, 0, 1].into()),
            user: Some("ann"),
            detail: &"é".repeat(1000),
        });
        assert!(of(Kind::Forbidden) > before);
        assert_eq!(cut(&"é".repeat(1000)).len(), TEXT_BYTES_MAX);
    }
}
