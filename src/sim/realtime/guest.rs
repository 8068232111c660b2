//! What the judge knows of one client.

use std::collections::BTreeMap;

use super::frame::Profile;

/// What a client has asked for, by the `id` of its request.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Subscribe {
        room: String,
        recover: Option<(String, u64)>,
        presence: bool,
    },
    Unsubscribe {
        room: String,
    },
    /// A message to a room, which the client joins if need be.
    Post {
        room: String,
        tag: String,
    },
    /// Anything else that is answered.
    Call,
    /// What is answered only if it is refused.
    Quiet,
}

impl Ask {
    /// The room that the client may come into by it.
    fn joins(&self) -> Option<&str> {
        match self {
            Self::Subscribe { room, .. } | Self::Post { room, .. } => Some(room),
            Self::Unsubscribe { .. } | Self::Call | Self::Quiet => None,
        }
    }
}

/// Where a client is in a room's history.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Which life of the room it is.
    pub(super) life: usize,
    /// The offset that comes next, but for what is not for it.
    pub(super) next: u64,
    /// Up to here it is told what was said before it came, its own words included.
    pub(super) replay_until: u64,
    /// Up to here what its user has said by any connection need not be told: who comes back without
    /// saying what it knows is told what others said.
    pub(super) own_until: u64,
}

/// Who is in a room, as a client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// Users, and what they say about themselves.
    Names(BTreeMap<String, String>),
    Count(usize),
}

/// A client's stay in a room.
#[derive(Debug, Default)]
pub(super) struct Stay {
    pub(super) is_in: bool,
    /// `None`: where it began is not known.
    pub(super) place: Option<Place>,
    /// In a room without offsets: the newest message of each client.
    pub(super) newest: BTreeMap<usize, u64>,
    /// Whether presence was asked for, where that is known.
    pub(super) wants_presence: Option<bool>,
    pub(super) view: Option<View>,
    /// Gaps that the client was told of and has not come to, and those that it has come to untold.
    pub(super) gaps_told: u32,
    pub(super) gaps_untold: u32,
    /// There was a gap since the last snapshot.
    pub(super) is_view_lost: bool,
    /// When the client asked last for something by which it may be let in and is not answered.
    pub(super) hopes_since: Option<u64>,
}

impl Stay {
    /// The stay ends, or begins anew.
    pub(super) fn end(&mut self) {
        *self = Self {
            hopes_since: self.hopes_since,
            ..Self::default()
        };
    }
}

/// One client.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) user: String,
    pub(super) profile: Profile,
    /// The name of the connection, from its welcome.
    pub(super) connection: Option<String>,
    pub(super) is_gone: bool,
    pub(super) stays: BTreeMap<String, Stay>,
    /// What is asked and not answered: when, and what.
    pub(super) asks: BTreeMap<String, (u64, Ask)>,
    asked: u64,
    /// Messages that the client has read of late: room and identifier.
    pub(super) recent: Vec<(String, String)>,
}

impl Guest {
    pub(super) fn new(user: &str, profile: Profile) -> Self {
        Self {
            user: user.to_owned(),
            profile,
            connection: None,
            is_gone: false,
            stays: BTreeMap::new(),
            asks: BTreeMap::new(),
            asked: 0,
            recent: Vec::new(),
        }
    }

    pub(super) fn stay(&mut self, room: &str) -> &mut Stay {
        self.stays.entry(room.to_owned()).or_default()
    }

    /// Notes a request: its `id`.
    pub(super) fn ask(&mut self, number: usize, ask: Ask) -> String {
        self.asked += 1;
        let id = format!("q{number}-{}", self.asked);
        self.asks.insert(id.clone(), (self.asked, ask));
        id
    }

    /// The client may be let into a room though it is not going to be told so.
    pub(super) fn hope(&mut self, room: &str) {
        self.asked += 1;
        let asked = self.asked;
        self.stay(room).hopes_since = Some(asked);
    }

    /// Whether the client may yet be let into a room that it is not in.
    pub(super) fn may_come_in(&self, room: &str) -> bool {
        let hopes = self.stays.get(room).and_then(|stay| stay.hopes_since);
        hopes.is_some() || self.asks.values().any(|(_, ask)| ask.joins() == Some(room))
    }

    /// The client has left a room by a request: what it had asked before is over.
    pub(super) fn left(&mut self, room: &str, asked: u64) {
        // A subscription that was overtaken by its own end is not answered, a message is.
        self.superseded(room, asked);
        for (since, ask) in self.asks.values_mut() {
            // It is answered, and lets nobody in.
            if let Ask::Post { room: other, .. } = ask
                && other == room
                && *since < asked
            {
                other.clear();
            }
        }
        let stay = self.stay(room);
        if stay.hopes_since.is_some_and(|since| since < asked) {
            stay.hopes_since = None;
        }
        stay.end();
    }

    /// A later subscription is answered: earlier ones are not any more.
    pub(super) fn superseded(&mut self, room: &str, asked: u64) {
        for (since, ask) in self.asks.values_mut() {
            let is_same = matches!(ask, Ask::Subscribe { room: other, .. } if other == room);
            if is_same && *since < asked {
                *ask = Ask::Quiet;
            }
        }
    }
}
