//! A change, and whom it is told to.

use serde_json::json;

use super::{Pairing, PairingId, PairingObject, Status};
use crate::id::UserId;
use crate::time::Timestamp;

/// What happened to a pairing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// It was made.
    Created,
    /// Somebody joined.
    Joined,
    /// It has another name or other metadata, and the status that it had.
    Described,
    /// It is over.
    Expired,
}

/// A change that is planned: to be kept, applied and told, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The whole pairing as it will be.
    pub pairing: Pairing,
    /// What happens to it.
    pub event: Event,
    /// Expired pairings that make place for it.
    pub forgotten: Vec<PairingId>,
}

/// A message for all connections of one player.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telling {
    /// The player.
    pub player: UserId,
    /// The message's type.
    pub message_type: &'static str,
    /// Its payload, the text of a JSON object.
    pub payload: String,
}

impl Change {
    /// Whom to tell what: `pairing-status` to both sides, each as it sees the pairing. If it was made
    /// for a player it is a friend request as well: `request-notification` to that player when it is
    /// made, and to who made it when its status changes.
    pub fn tellings(&self) -> Vec<Telling> {
        let pairing = &self.pairing;
        let mut tellings: Vec<_> = pairing
            .players()
            .map(|player| Telling {
                player: player.clone(),
                message_type: "pairing-status",
                payload: object_text(pairing, player),
            })
            .collect();
        let Some(target) = &pairing.target else {
            return tellings;
        };
        let player = match self.event {
            Event::Created => target,
            Event::Joined | Event::Expired => &pairing.initiator,
            Event::Described => return tellings,
        };
        tellings.push(Telling {
            player: player.clone(),
            message_type: "request-notification",
            payload: request(pairing, target),
        });
        tellings
    }

    /// The status that the pairing will have.
    pub fn status(&self) -> Status {
        self.pairing.status
    }
}

fn object_text(pairing: &Pairing, player: &UserId) -> String {
    let object = PairingObject::new(pairing, Some(player));
    serde_json::to_string(&object).expect("texts and JSON always serialise")
}

fn request(pairing: &Pairing, target: &UserId) -> String {
    json!({
        "request_id": pairing.id.to_string(),
        "sender_id": &*pairing.initiator,
        "receiver_id": &**target,
        "status": pairing.status,
        "timestamp": Timestamp::new(pairing.updated_ms).as_str(),
    })
    .to_string()
}
