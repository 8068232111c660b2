//! A pairing, and how it is kept.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::{Builder, Uuid};

use super::Code;
use crate::id::UserId;

/// The name of a pairing: a UUID of version 7, which sorts by the time of its making. 74 of its bits
/// are random, so that who is not told it does not know it. RFC 9562 section 5.7.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PairingId(Uuid);

impl PairingId {
    /// The name for a time (modulo 2^48) and random bytes; the same for the same two.
    pub(super) fn new(unix_ms: u64, random: &[u8; 10]) -> Self {
        Self(Builder::from_unix_timestamp_millis(unix_ms, random).into_uuid())
    }

    /// The name that [`as_u128`](Self::as_u128) has given.
    pub fn from_u128(number: u128) -> Self {
        Self(Uuid::from_u128(number))
    }

    /// The name as a number of 128 bits.
    pub fn as_u128(self) -> u128 {
        self.0.as_u128()
    }

    /// Reads the 36 characters of a name. `None`: they are none.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hyphenated = text.len() == 36;
        let parsed = Uuid::try_parse(text).ok();
        parsed.filter(|_| is_hyphenated).map(Self)
    }
}

impl fmt::Display for PairingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for PairingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// How far a pairing has come. It only goes forward.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It waits to be joined.
    Pending,
    /// Two are paired.
    Active,
    /// It is over.
    Expired,
}

impl Status {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No status is called so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("is none of pending, active, expired")]
pub struct UnknownStatus;

impl FromStr for Status {
    type Err = UnknownStatus;

    /// The status of that name, in upper or lower case.
    fn from_str(name: &str) -> Result<Self, UnknownStatus> {
        let all = [Self::Pending, Self::Active, Self::Expired];
        let named = |status: &Self| status.as_str().eq_ignore_ascii_case(name);
        all.into_iter().find(named).ok_or(UnknownStatus)
    }
}

/// Two players, or one who waits for another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairing {
    /// Its name.
    pub id: PairingId,
    /// What whoever is to join it is told. Used once; nobody else's as long as the pairing is kept.
    pub code: Code,
    /// How far it has come, as far as has been noticed: see [`status_at`](Self::status_at).
    pub status: Status,
    /// What the players call it.
    pub name: Option<Box<str>>,
    /// Who has made it.
    pub initiator: UserId,
    /// The only player who may join, if it was made for one.
    pub target: Option<UserId>,
    /// Who has joined. `Some` if and only if it is or was active.
    pub partner: Option<UserId>,
    /// When it was made.
    pub created_ms: u64,
    /// When it last changed.
    pub updated_ms: u64,
    /// When it expires if nobody joins it, or when it did. `None` while it is active.
    pub expires_ms: Option<u64>,
    /// What the players' programs keep with it: the text of a JSON object.
    pub metadata: Box<str>,
}

impl Pairing {
    /// How far it has come at a time: one whose deadline has passed has expired, whether that has been
    /// told or not.
    pub fn status_at(&self, now_ms: u64) -> Status {
        let is_due = self.expires_ms.is_some_and(|at| at <= now_ms);
        match self.status {
            Status::Pending if is_due => Status::Expired,
            status => status,
        }
    }

    /// The pairing as it is at that time.
    #[must_use]
    pub fn at(mut self, now_ms: u64) -> Self {
        if self.status_at(now_ms) != self.status {
            self.status = Status::Expired;
            self.updated_ms = self.expires_ms.unwrap_or(now_ms);
        }
        self
    }

    /// Who is in it: the two, or who made it and whom it was made for.
    pub fn players(&self) -> impl Iterator<Item = &UserId> {
        let other = self.partner.as_ref().or(self.target.as_ref());
        [Some(&self.initiator), other].into_iter().flatten()
    }

    /// Whether a player may know of it.
    pub fn concerns(&self, player: &str) -> bool {
        self.players().any(|of| **of == *player)
    }

    /// Whether anybody with the code may join it.
    pub(super) fn is_open(&self) -> bool {
        self.status == Status::Pending && self.target.is_none()
    }

    /// The text that it is kept as: JSON, without the name, by which it is found.
    pub fn to_record(&self) -> String {
        let text = |user: &UserId| user.to_string();
        let record = Record {
            code: self.code.as_str().to_owned(),
            status: self.status,
            name: self.name.as_deref().map(str::to_owned),
            initiator: text(&self.initiator),
            target: self.target.as_ref().map(text),
            partner: self.partner.as_ref().map(text),
            created_ms: self.created_ms,
            updated_ms: self.updated_ms,
            expires_ms: self.expires_ms,
            metadata: self.metadata.to_string(),
        };
        serde_json::to_string(&record).expect("texts and numbers always serialise")
    }

    /// The pairing that was kept so.
    ///
    /// Errors: the text is none of [`to_record`](Self::to_record).
    pub fn from_record(id: PairingId, text: &str) -> Result<Self, UnreadableRecord> {
        let record: Record =
            serde_json::from_str(text).map_err(|error| UnreadableRecord(id, error.to_string()))?;
        let code = Code::parse(&record.code)
            .ok_or_else(|| UnreadableRecord(id, "its code is none".into()))?;
        Ok(Self {
            id,
            code,
            status: record.status,
            name: record.name.map(String::into_boxed_str),
            initiator: record.initiator.into(),
            target: record.target.map(UserId::from),
            partner: record.partner.map(UserId::from),
            created_ms: record.created_ms,
            updated_ms: record.updated_ms,
            expires_ms: record.expires_ms,
            metadata: record.metadata.into(),
        })
    }
}

/// What was kept as a pairing is none: the file was changed by something else.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the pairing {0} cannot be read: {1}")]
pub struct UnreadableRecord(pub PairingId, pub String);

#[derive(Serialize, Deserialize)]
struct Record {
    code: String,
    status: Status,
    name: Option<String>,
    initiator: String,
    target: Option<String>,
    partner: Option<String>,
    created_ms: u64,
    updated_ms: u64,
    expires_ms: Option<u64>,
    metadata: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairing() -> Pairing {
        Pairing {
            id: PairingId::from_u128(7),
            code: Code::parse("K7Q2ZP").unwrap(),
            status: Status::Pending,
            name: Some("Ann's \"game\"".into()),
            initiator: "p1".into(),
            target: None,
            partner: None,
            created_ms: 1,
            updated_ms: 2,
            expires_ms: Some(1000),
            metadata: r#"{"a":[1]}"#.into(),
        }
    }

    #[test]
    fn a_record_gives_back_the_pairing() {
        let one = pairing();
        let other = Pairing {
            name: None,
            target: Some("p2".into()),
            partner: Some("p2".into()),
            status: Status::Active,
            expires_ms: None,
            ..pairing()
        };
        for pairing in [one, other] {
            let record = pairing.to_record();
            assert_eq!(Pairing::from_record(pairing.id, &record), Ok(pairing));
        }
    }

    #[test]
    fn what_is_no_record_is_named() {
        let id = PairingId::from_u128(7);
        let bad_code = pairing().to_record().replace("K7Q2ZP", "0");
        for text in ["", "{}", &bad_code] {
            let error = Pairing::from_record(id, text).unwrap_err();
            assert!(error.to_string().contains(&id.to_string()), "{error}");
        }
    }

    #[test]
    fn who_looks_after_the_deadline_sees_it_expired() {
        assert_eq!(pairing().at(999), pairing());
        let expired = pairing().at(5000);
        assert_eq!(
            (expired.status, expired.updated_ms),
            (Status::Expired, 1000)
        );
    }

    #[test]
    fn statuses_are_read_in_any_case_and_written_in_lower() {
        for (name, status) in [("PENDING", Status::Pending), ("active", Status::Active)] {
            assert_eq!(name.parse(), Ok(status));
            assert_eq!(status.as_str(), name.to_lowercase());
        }
        assert_eq!("done".parse::<Status>(), Err(UnknownStatus));
    }

    #[test]
    fn a_name_is_36_characters() {
        let id = PairingId::new(0x0193_4567_89ab, &[255; 10]);
        assert_eq!(PairingId::parse(&id.to_string()), Some(id));
        assert_eq!(PairingId::parse(&id.to_string().replace('-', "")), None);
        assert_eq!(PairingId::parse("no"), None);
    }
}
