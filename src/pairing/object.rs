//! A pairing as players see it.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Pairing, Status};
use crate::time::Timestamp;

/// A pairing as one of its players sees it: the body of every answer, and of `pairing-status`.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct PairingObject {
    /// The pairing's name, a UUID.
    pub id: String,
    /// What the other player is to be told. Only whoever made the pairing sees it, while it is pending.
    pub code: Option<String>,
    /// How far it has come.
    pub status: Status,
    /// What the players call it.
    pub name: Option<String>,
    /// Who made it.
    pub initiator_id: String,
    /// The only player who may join, if it was made for one.
    pub target_player_id: Option<String>,
    /// Who has joined; null before that.
    pub partner_id: Option<String>,
    /// Who is paired: one player while it is pending, two afterwards.
    pub player_ids: Vec<String>,
    /// When it was made, RFC 3339 in UTC with milliseconds.
    pub created_at: String,
    /// When it last changed.
    pub updated_at: String,
    /// When it expires if nobody joins it, or when it expired; null while it is active.
    pub expires_at: Option<String>,
    /// What the players' programs keep with it.
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
}

impl PairingObject {
    /// The pairing as `player` sees it; `None` is nobody in particular, who sees no code.
    pub fn new(pairing: &Pairing, player: Option<&str>) -> Self {
        let time = |unix_ms| Timestamp::new(unix_ms).to_string();
        let is_initiator = player.is_some_and(|player| *pairing.initiator == *player);
        let shows_code = is_initiator && pairing.status == Status::Pending;
        let partner_id = pairing.partner.as_ref().map(ToString::to_string);
        let initiator_id = pairing.initiator.to_string();
        let player_ids = [Some(initiator_id.clone()), partner_id.clone()];
        Self {
            id: pairing.id.to_string(),
            code: shows_code.then(|| pairing.code.as_str().to_owned()),
            status: pairing.status,
            name: pairing.name.as_deref().map(str::to_owned),
            initiator_id,
            target_player_id: pairing.target.as_ref().map(ToString::to_string),
            partner_id,
            player_ids: player_ids.into_iter().flatten().collect(),
            created_at: time(pairing.created_ms),
            updated_at: time(pairing.updated_ms),
            expires_at: pairing.expires_ms.map(time),
            // It was an object when it came in; the store's file may have been changed since.
            metadata: serde_json::from_str(&pairing.metadata).unwrap_or_default(),
        }
    }
}
