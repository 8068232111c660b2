//! What all handlers of a shard share, besides the core.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;

use super::RealtimeOptions;
use super::identity::Watch;
use super::mail::Asker;
use super::options::Namespaces;
use super::rate::UserBuckets;
use super::rooms::{Room, Rooms};
use super::writing::Scratch;
use crate::auth::Gate;
use crate::id::{ConnectionId, UserId};
use crate::limits::TOPIC_BYTES_MAX;
use crate::store::Store;

/// What one shard's instance holds and has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Rooms at home on this shard.
    pub rooms: usize,
    /// Users who are in them: a user counts once per room.
    pub members: usize,
    /// Messages that the rooms keep in memory for those who come later.
    pub history_messages: usize,
    /// What these messages cost, bytes.
    pub history_bytes: usize,
    /// What has been counted since the start.
    pub counts: Counts,
}

/// What one shard's instance has counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Messages refused for the sender's fault, for whatever reason.
    pub refused: u64,
    /// Of these: more messages than the connection or its user may send.
    pub rate_limited: u64,
    /// Of these: texts that the rules for content, or a filter, do not let pass.
    pub content_refused: u64,
    /// Of these: the connection was in as many rooms as it may be in.
    pub too_many_rooms: u64,
    /// Of these: a room was full.
    pub room_full: u64,
    /// Of these: not allowed.
    pub forbidden: u64,
    /// Of these: the store was full, failing or too far behind, or the shard had as many rooms as it
    /// may have.
    pub unavailable: u64,
    /// Connections closed because they went on sending too much.
    pub rate_closed: u64,
    /// Messages whose handler returned an error that is no rejection.
    pub handler_errors: u64,
    /// Messages whose handler panicked.
    pub handler_panics: u64,
    /// Messages that rooms have given a place in their order.
    pub posted: u64,
    /// Messages that came again within the window of their `client_message_id`.
    pub repeats: u64,
    /// Subscriptions that recovered all they had missed.
    pub recovered: u64,
    /// Subscriptions that asked to recover and could not.
    pub unrecovered: u64,
    /// Messages that were replayed to those who had missed them.
    pub replayed: u64,
    /// What presence told rooms: snapshots, joins, leaves, updates and counts.
    pub presence: u64,
    /// Messages written for rooms and for everybody: one for each profile that was there to read it.
    pub encodings: u64,
}

/// A namespace whose rooms persist needs a store, and there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a namespace whose rooms persist needs a store")]
pub struct NoStore;

fn needs_store(options: &RealtimeOptions) -> bool {
    options.namespaces.iter().any(|namespace| namespace.persist)
}

/// One shard's rooms, and what they work with.
#[derive(Debug)]
pub(super) struct State {
    pub(super) rooms: Rooms,
    pub(super) desk: Desk,
}

/// What rooms and handlers work with.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) options: Arc<RealtimeOptions>,
    pub(super) namespaces: Namespaces,
    /// The routes' rooms, in the order of the routes.
    pub(super) route_rooms: Vec<Option<Room>>,
    pub(super) scratch: Scratch,
    pub(super) counts: Counts,
    /// Who is let in, and as whom.
    pub(super) gate: Arc<Gate>,
    pub(super) watch: Watch,
    pub(super) store: Option<Store>,
    /// Rooms that do not outlive the process, and of which users who are at home here are members
    /// even while they are away.
    pub(super) lasting: HashMap<UserId, BTreeSet<Room>>,
    pub(super) user_buckets: UserBuckets,
    /// The joins that were refused last: who said something with them is told once.
    pub(super) refused: VecDeque<(ConnectionId, u32)>,
    /// How often a room's home was asked to let a connection in.
    pub(super) questions: u32,
}

impl State {
    pub(super) fn new(options: Arc<RealtimeOptions>, store: Option<Store>) -> Self {
        assert!(
            u16::try_from(options.routes.len()).is_ok(),
            "too many routes"
        );
        let names = options
            .routes
            .iter()
            .filter_map(|route| route.room.as_ref());
        for name in names {
            let is_topic = !name.is_empty() && name.len() <= TOPIC_BYTES_MAX;
            assert!(is_topic, "no room can be called {name:?}");
        }
        assert!(store.is_some() || !needs_store(&options), "{NoStore}");
        let seed = foldhash::quality::RandomState::default().hash_one(0u8);
        let rooms = options.routes.iter();
        let route_rooms = rooms.map(|route| route.room.as_deref().map(Room::new));
        Self {
            rooms: Rooms::default(),
            desk: Desk {
                namespaces: Namespaces::new(&options.namespaces),
                route_rooms: route_rooms.collect(),
                scratch: Scratch::default(),
                counts: Counts::default(),
                gate: Arc::default(),
                watch: Watch::default(),
                store,
                lasting: HashMap::new(),
                user_buckets: UserBuckets::new(seed),
                refused: VecDeque::new(),
                questions: 0,
                options,
            },
        }
    }

    /// Replaces all options but the routes, to which sessions refer by number.
    pub(super) fn set_options(&mut self, options: &Arc<RealtimeOptions>) -> Result<(), NoStore> {
        if self.desk.store.is_none() && needs_store(options) {
            return Err(NoStore);
        }
        let routes = &self.desk.options.routes;
        let options = if options.routes == *routes {
            Arc::clone(options)
        } else {
            Arc::new(RealtimeOptions {
                routes: routes.clone(),
                ..(**options).clone()
            })
        };
        self.desk.namespaces = Namespaces::new(&options.namespaces);
        self.rooms.find_namespaces(&self.desk.namespaces);
        self.desk.options = options;
        Ok(())
    }

    pub(super) fn stats(&self) -> Stats {
        let mut stats = self.rooms.stats();
        stats.counts = Counts {
            encodings: self.desk.scratch.encodings,
            ..self.desk.counts
        };
        stats
    }
}

/// Refused joins that are remembered. What was said with a join follows it at once.
const REFUSED_MAX: usize = 1024;

impl Desk {
    /// Remembers that a connection was told that it may not join.
    pub(super) fn note_refused(&mut self, asker: &Asker, number: u32) {
        if self.refused.len() == REFUSED_MAX {
            self.refused.pop_front();
        }
        self.refused.push_back((asker.connection, number));
    }

    /// Whether the join by which somebody came to say something was refused, so that the peer knows.
    pub(super) fn has_refused(&self, asker: &Asker, asked: Option<u32>) -> bool {
        let join = asked.map(|number| (asker.connection, number));
        join.is_some_and(|join| self.refused.contains(&join))
    }
}
