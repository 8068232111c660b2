//! All pairings, and the ways to find them.

use std::collections::{BTreeSet, HashMap};

use super::code::Codes;
use super::guesses::Guesses;
use super::options::millis;
use super::{Change, Event, Pairing, PairingError, PairingId, PairingOptions, Status};
use crate::id::UserId;

/// All pairings that are not forgotten.
///
/// [`PairingOptions`] bounds how many they are. A search by player looks at that player's pairings only.
#[derive(Debug)]
pub struct Pairings {
    pub(super) options: PairingOptions,
    pub(super) codes: Codes,
    pub(super) guesses: Guesses,
    by_id: HashMap<PairingId, Pairing>,
    by_player: HashMap<UserId, BTreeSet<PairingId>>,
    /// Those that are pending, by deadline.
    deadlines: BTreeSet<(u64, PairingId)>,
    /// Those that have expired, by when they are forgotten.
    leaving: BTreeSet<(u64, PairingId)>,
    /// How many anybody with the code could join.
    pub(super) open: usize,
}

/// Some of a player's pairings, the youngest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairingsPage {
    /// The pairings.
    pub pairings: Vec<Pairing>,
    /// What to ask with for the next page; `None`: there are no more.
    pub next: Option<PairingId>,
}

impl Pairings {
    /// No pairings yet.
    pub fn new(options: PairingOptions) -> Self {
        Self {
            guesses: Guesses::new(&options),
            options,
            codes: Codes::default(),
            by_id: HashMap::new(),
            by_player: HashMap::new(),
            deadlines: BTreeSet::new(),
            leaving: BTreeSet::new(),
            open: 0,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Takes in a pairing as it is: one that was kept, or the outcome of a change.
    pub fn insert(&mut self, pairing: Pairing) {
        self.remove(pairing.id);
        let id = pairing.id;
        self.codes.insert(pairing.code, id);
        for player in pairing.players() {
            let of_player = self.by_player.entry(player.clone()).or_default();
            of_player.insert(id);
        }
        self.open += usize::from(pairing.is_open());
        if let Some((times, at)) = self.agenda(&pairing) {
            times.insert((at, id));
        }
        self.by_id.insert(id, pairing);
    }

    /// Makes a planned change, which has been kept.
    pub fn apply(&mut self, change: &Change) {
        for &id in &change.forgotten {
            self.remove(id);
        }
        self.insert(change.pairing.clone());
    }

    /// Forgets a pairing, with its code. `false`: there is no such.
    pub fn remove(&mut self, id: PairingId) -> bool {
        let Some(pairing) = self.by_id.remove(&id) else {
            return false;
        };
        self.codes.remove(&pairing.code, id);
        for player in pairing.players() {
            if let Some(of_player) = self.by_player.get_mut(player) {
                of_player.remove(&id);
                if of_player.is_empty() {
                    self.by_player.remove(player);
                }
            }
        }
        self.open -= usize::from(pairing.is_open());
        if let Some((times, at)) = self.agenda(&pairing) {
            times.remove(&(at, id));
        }
        true
    }

    /// Where it says when something is to be done about a pairing, and when that is.
    fn agenda(&mut self, pairing: &Pairing) -> Option<(&mut BTreeSet<(u64, PairingId)>, u64)> {
        match pairing.status {
            Status::Pending => Some((&mut self.deadlines, pairing.expires_ms?)),
            Status::Active => None,
            Status::Expired => {
                let kept_ms = millis(self.options.keep_expired);
                let at = pairing.updated_ms.saturating_add(kept_ms);
                Some((&mut self.leaving, at))
            }
        }
    }

    pub(super) fn find(&self, id: PairingId) -> Option<&Pairing> {
        self.by_id.get(&id)
    }

    /// A pairing that concerns a player, as it is at that time.
    ///
    /// Errors: [`PairingError::NotFound`].
    pub fn get(&self, player: &str, id: PairingId, now_ms: u64) -> Result<Pairing, PairingError> {
        let found = self.find(id).filter(|pairing| pairing.concerns(player));
        let pairing = found.ok_or(PairingError::NotFound)?;
        Ok(pairing.clone().at(now_ms))
    }

    /// Pairings that concern a player, the youngest first: those of a status if one is given, made
    /// before `before`; at most `limit`.
    pub fn list(
        &self,
        player: &str,
        status: Option<Status>,
        before: Option<PairingId>,
        limit: usize,
        now_ms: u64,
    ) -> PairingsPage {
        let mut of_player = self
            .of(player)
            .filter(|pairing| before.is_none_or(|before| pairing.id < before))
            .filter(|pairing| status.is_none_or(|status| pairing.status_at(now_ms) == status));
        let page = of_player.by_ref().take(limit);
        let pairings: Vec<_> = page.map(|pairing| pairing.clone().at(now_ms)).collect();
        let has_more = of_player.next().is_some();
        let next = pairings.last().filter(|_| has_more);
        PairingsPage {
            next: next.map(|pairing| pairing.id),
            pairings,
        }
    }

    /// The pairings of a player, the youngest first.
    pub(super) fn of(&self, player: &str) -> impl Iterator<Item = &Pairing> {
        let ids = self.by_player.get(player).into_iter().flatten().rev();
        ids.filter_map(|id| self.by_id.get(id))
    }

    /// How many a player has.
    pub(super) fn count(&self, player: &str) -> usize {
        self.by_player.get(player).map_or(0, BTreeSet::len)
    }

    /// The expired one that is to be forgotten first.
    pub(super) fn first_leaving(&self) -> Option<PairingId> {
        self.leaving.first().map(|&(_, id)| id)
    }

    /// When [`expire_due`](Self::expire_due) or [`forget_due`](Self::forget_due) next has something.
    pub fn next_due_ms(&self) -> Option<u64> {
        let times = [self.deadlines.first(), self.leaving.first()];
        times.into_iter().flatten().map(|&(at, _)| at).min()
    }

    /// The expiry of those whose deadline has passed, to be applied: at most `limit`.
    pub fn expire_due(&self, now_ms: u64, limit: usize) -> Vec<Change> {
        let due = self.deadlines.iter().take_while(|&&(at, _)| at <= now_ms);
        let pairings = due.filter_map(|(_, id)| self.by_id.get(id));
        let change = |pairing: &Pairing| Change {
            pairing: pairing.clone().at(now_ms),
            event: Event::Expired,
            forgotten: Vec::new(),
        };
        pairings.take(limit).map(change).collect()
    }

    /// Expired pairings that have been kept long enough, to be [removed](Self::remove): at most `limit`.
    pub fn forget_due(&self, now_ms: u64, limit: usize) -> Vec<PairingId> {
        let due = self.leaving.iter().take_while(|&&(at, _)| at <= now_ms);
        due.take(limit).map(|&(_, id)| id).collect()
    }
}
