//! What players may do: each wish is checked, and becomes a change or an error.

use std::time::Duration;

use serde_json::{Map, Value};

use super::options::millis;
use super::{
    Change, Code, Event, Guesser, Invalid, Pairing, PairingError, PairingId, Pairings, Status,
};
use crate::id::UserId;

/// Random bytes that a new pairing takes: for its name, and for a few codes until one is free.
pub const RANDOM_BYTES: usize = 256;
/// Most levels of metadata: it travels inside of messages, whose depth is bounded.
const METADATA_DEPTH_MAX: usize = 16;
/// Of all codes, at most one in so many is in use, so that a free one is soon found.
const CODES_PER_PAIRING: u128 = 8;

/// A pairing to be made.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// The only player who may join; none: whoever has the code.
    pub target: Option<UserId>,
    /// What to call it.
    pub name: Option<String>,
    /// How long it waits to be joined; none: as the options have it.
    pub expires_in: Option<Duration>,
    /// What to keep with it.
    pub metadata: Option<Map<String, Value>>,
}

/// What is to be different. What is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct Patch {
    /// The status; the one that it has is no change.
    pub status: Option<Status>,
    /// The name; `Some(None)` takes it away.
    pub name: Option<Option<String>>,
    /// The metadata, all of it.
    pub metadata: Option<Map<String, Value>>,
}

/// What a wish comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "nothing has changed before the change is applied"]
pub enum Outcome {
    /// Something changes.
    Changed(Change),
    /// It is so already.
    Unchanged(Pairing),
}

impl Pairings {
    /// Plans a new pairing, pending, with a code of its own.
    ///
    /// `random` is from a source that nobody can predict: who could would know the code.
    ///
    /// Errors: [`PairingError::Invalid`], [`TooManyPending`](PairingError::TooManyPending),
    /// [`TooMany`](PairingError::TooMany), [`Full`](PairingError::Full).
    pub fn create(
        &self,
        initiator: &UserId,
        draft: Draft,
        random: &[u8; RANDOM_BYTES],
        now_ms: u64,
    ) -> Result<Change, PairingError> {
        check_player("player_id", initiator)?;
        if let Some(target) = &draft.target {
            check_player("target_player_id", target)?;
            if target == initiator {
                return Err(Invalid::new("target_player_id", "is the player itself").into());
            }
        }
        let name = draft.name.map(|name| self.checked_name(name)).transpose()?;
        let metadata = self.checked_metadata(draft.metadata.unwrap_or_default())?;
        let expires_in = self.checked_time(draft.expires_in)?;
        self.check_pending(initiator, draft.target.as_ref(), now_ms)?;
        let mut forgotten = self.make_place([Some(initiator), draft.target.as_ref()])?;
        if forgotten.is_empty() && self.is_full() {
            forgotten.push(self.first_leaving().ok_or(PairingError::Full)?);
        }
        let (for_id, for_code) = random.split_first_chunk().expect("it has more bytes");
        let mut for_code = for_code.iter().copied();
        let code = loop {
            let length = self.options.code_length;
            let code = Code::draw(length, &mut for_code).ok_or(PairingError::Full)?;
            if self.codes.is_free(&code) {
                break code;
            }
        };
        let pairing = Pairing {
            id: PairingId::new(now_ms, for_id),
            code,
            status: Status::Pending,
            name,
            initiator: initiator.clone(),
            target: draft.target,
            partner: None,
            created_ms: now_ms,
            updated_ms: now_ms,
            expires_ms: Some(now_ms.saturating_add(expires_in)),
            metadata,
        };
        Ok(Change {
            pairing,
            event: Event::Created,
            forgotten,
        })
    }

    /// Plans that a player joins a pairing that it knows by its name.
    ///
    /// Errors: [`PairingError::NotFound`], [`Expired`](PairingError::Expired),
    /// [`Own`](PairingError::Own), [`Taken`](PairingError::Taken), [`TooMany`](PairingError::TooMany).
    pub fn join(
        &self,
        player: &UserId,
        id: PairingId,
        now_ms: u64,
    ) -> Result<Outcome, PairingError> {
        check_player("player_id", player)?;
        let pairing = self.find(id).ok_or(PairingError::NotFound)?;
        if pairing.target.is_some() && !pairing.concerns(player) {
            return Err(PairingError::NotFound);
        }
        if pairing.status_at(now_ms) == Status::Expired {
            return Err(PairingError::Expired);
        }
        if pairing.initiator == *player {
            return Err(PairingError::Own);
        }
        if pairing.status == Status::Active {
            // Whoever has not got the answer asks again.
            let is_again = pairing.partner.as_ref() == Some(player);
            let unchanged = || Outcome::Unchanged(pairing.clone());
            return is_again.then(unchanged).ok_or(PairingError::Taken);
        }
        let is_new = pairing.target.is_none();
        let forgotten = self.make_place([is_new.then_some(player), None])?;
        let pairing = Pairing {
            status: Status::Active,
            partner: Some(player.clone()),
            updated_ms: now_ms,
            expires_ms: None,
            ..pairing.clone()
        };
        Ok(Outcome::Changed(Change {
            pairing,
            event: Event::Joined,
            forgotten,
        }))
    }

    /// Plans that a player joins with a code. Whatever is wrong with it counts as a guess.
    ///
    /// Errors: as [`join`](Self::join), and [`PairingError::TooManyGuesses`], in which case it is not
    /// said whether the code was right.
    pub fn join_by_code(
        &mut self,
        by: Guesser<'_>,
        code: &str,
        now_ms: u64,
    ) -> Result<Outcome, PairingError> {
        self.guesses.check(by, self.open)?;
        let id = self.codes.find(Code::parse(code));
        // What nobody is called takes the same way as what somebody is.
        let id = id.unwrap_or(PairingId::from_u128(0));
        let joined = self.join(by.player, id, now_ms);
        if joined.is_err() {
            self.guesses.charge(by, self.open);
        }
        joined
    }

    /// Plans another status, name or other metadata.
    ///
    /// Errors: [`PairingError::NotFound`], [`Expired`](PairingError::Expired) whatever it is,
    /// [`NotJoined`](PairingError::NotJoined), [`Transition`](PairingError::Transition),
    /// [`NotPaired`](PairingError::NotPaired), [`Invalid`](PairingError::Invalid).
    pub fn change(
        &self,
        player: &str,
        id: PairingId,
        patch: Patch,
        now_ms: u64,
    ) -> Result<Outcome, PairingError> {
        let pairing = self.get(player, id, now_ms)?;
        if pairing.status == Status::Expired {
            return Err(PairingError::Expired);
        }
        let mut changed = pairing.clone();
        if let Some(name) = patch.name {
            changed.name = name.map(|name| self.checked_name(name)).transpose()?;
        }
        if let Some(metadata) = patch.metadata {
            changed.metadata = self.checked_metadata(metadata)?;
        }
        let is_described = changed != pairing;
        let is_paired = *pairing.initiator == *player || pairing.partner.is_some();
        if is_described && !is_paired {
            return Err(PairingError::NotPaired);
        }
        let to = patch.status.unwrap_or(pairing.status);
        let event = match (pairing.status, to) {
            (from, to) if from == to && is_described => Event::Described,
            (from, to) if from == to => return Ok(Outcome::Unchanged(pairing)),
            (_, Status::Expired) => Event::Expired,
            (Status::Pending, Status::Active) => return Err(PairingError::NotJoined),
            (from, to) => return Err(PairingError::Transition { from, to }),
        };
        changed.status = to;
        changed.updated_ms = now_ms;
        if event == Event::Expired {
            changed.expires_ms = Some(now_ms);
        }
        Ok(Outcome::Changed(Change {
            pairing: changed,
            event,
            forgotten: Vec::new(),
        }))
    }

    /// Plans the end of a pairing.
    ///
    /// Errors: [`PairingError::NotFound`], [`Expired`](PairingError::Expired).
    pub fn expire(
        &self,
        player: &str,
        id: PairingId,
        now_ms: u64,
    ) -> Result<Outcome, PairingError> {
        let patch = Patch {
            status: Some(Status::Expired),
            ..Patch::default()
        };
        self.change(player, id, patch, now_ms)
    }

    /// Whether one more may wait: of who makes it, and for whom it is made.
    fn check_pending(
        &self,
        initiator: &UserId,
        target: Option<&UserId>,
        now_ms: u64,
    ) -> Result<(), PairingError> {
        let of = |player: &UserId, is_counted: &dyn Fn(&&Pairing) -> bool, limit: usize| {
            let pending = |pairing: &&Pairing| pairing.status_at(now_ms) == Status::Pending;
            let deadlines = self.of(player).filter(pending).filter(is_counted);
            let deadlines: Vec<u64> = deadlines.filter_map(|of| of.expires_ms).collect();
            let first_ms = deadlines.iter().min().map_or(0, |at| at - now_ms);
            match deadlines.len() < limit {
                true => Ok(()),
                false => Err(PairingError::TooManyPending {
                    limit,
                    retry_after_ms: first_ms.max(1),
                }),
            }
        };
        let made = |pairing: &&Pairing| pairing.initiator == *initiator;
        of(initiator, &made, self.options.pending_per_player_max)?;
        target.map_or(Ok(()), |target| {
            let made_for = |pairing: &&Pairing| pairing.target.as_ref() == Some(target);
            of(target, &made_for, self.options.pending_per_target_max)
        })
    }

    /// Whether there are as many pairings as there may be, with codes of this length.
    fn is_full(&self) -> bool {
        let codes = super::code::space(self.options.code_length) / CODES_PER_PAIRING;
        let of_codes = usize::try_from(codes).unwrap_or(usize::MAX);
        self.len() >= self.options.total_max.min(of_codes)
    }

    /// The expired pairings that are to be forgotten, so that each of the players may have one more.
    fn make_place(&self, players: [Option<&UserId>; 2]) -> Result<Vec<PairingId>, PairingError> {
        let limit = self.options.per_player_max;
        let mut forgotten = Vec::new();
        for player in players.into_iter().flatten() {
            if self.count(player) < limit {
                continue;
            }
            let oldest = self
                .of(player)
                .filter(|of| of.status == Status::Expired)
                .last();
            forgotten.push(oldest.ok_or(PairingError::TooMany { limit })?.id);
        }
        // The two may share it.
        forgotten.dedup();
        Ok(forgotten)
    }

    fn checked_name(&self, name: String) -> Result<Box<str>, Invalid> {
        let limit = self.options.name_chars_max;
        if name.trim().is_empty() {
            return Err(Invalid::new("name", "is empty"));
        }
        if name.chars().count() > limit {
            return Err(Invalid::new(
                "name",
                format!("is longer than {limit} characters"),
            ));
        }
        if name.contains(char::is_control) {
            return Err(Invalid::new("name", "has control characters"));
        }
        Ok(name.into())
    }

    fn checked_metadata(&self, metadata: Map<String, Value>) -> Result<Box<str>, Invalid> {
        let limit = self.options.metadata_bytes_max;
        let metadata = Value::Object(metadata);
        if !is_flatter(&metadata, METADATA_DEPTH_MAX) {
            let reason = format!("has more than {METADATA_DEPTH_MAX} levels");
            return Err(Invalid::new("metadata", reason));
        }
        let text = metadata.to_string();
        if text.len() > limit {
            return Err(Invalid::new(
                "metadata",
                format!("is larger than {limit} bytes"),
            ));
        }
        Ok(text.into())
    }

    /// How long it waits, milliseconds.
    fn checked_time(&self, time: Option<Duration>) -> Result<u64, Invalid> {
        let Some(time) = time else {
            return Ok(millis(self.options.expires_in));
        };
        let limit = self.options.expires_in_max;
        if time.is_zero() || time > limit {
            let reason = format!("is not from 1 to {} seconds", limit.as_secs());
            return Err(Invalid::new("expires_in_s", reason));
        }
        Ok(millis(time))
    }
}

fn check_player(member: &'static str, player: &str) -> Result<(), Invalid> {
    if UserId::is_valid(player) {
        return Ok(());
    }
    let limit = crate::limits::USER_ID_BYTES_MAX;
    let reason = format!("is not 1 to {limit} bytes without control characters");
    Err(Invalid::new(member, reason))
}

/// Whether a value has at most so many levels.
fn is_flatter(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|item| is_flatter(item, levels - 1)),
        Value::Object(members) => {
            levels > 0 && members.values().all(|value| is_flatter(value, levels - 1))
        }
        _ => true,
    }
}
