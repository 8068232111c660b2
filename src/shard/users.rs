//! User → connections, on the user's home shard.
//!
//! One record per user however many connections; the connections of a user form a chain through
//! their own records ([`Links`]), oldest first, so that a user with one connection, which is nearly
//! all of them, costs no list, and a user with very many costs no walk.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use hashbrown::HashTable;

use crate::collections::Slab;
use crate::id::{ShardId, Slot};
use crate::limits::CONNECTIONS_PER_SHARD_MAX;

/// Decides which shard is a user's, or a room's, home. The same for all shards of a process, and
/// different from process to process, so that nobody can choose names that crowd one shard.
#[derive(Clone, Debug)]
pub struct Placement {
    shards: u16,
    hasher: SeedableRandomState,
}

impl Placement {
    /// A placement over `shards` shards (at least one) with a seed that all of them share.
    pub fn new(shards: u16, seed: u64) -> Self {
        assert!(shards > 0);
        Self {
            shards,
            hasher: SeedableRandomState::with_seed(seed, SharedSeed::global_fixed()),
        }
    }

    /// The home shard of `name`: `hash(name) mod shards`.
    pub fn home(&self, name: &str) -> ShardId {
        let hash = self.hasher.hash_one(name) >> 32;
        let shard = (hash * u64::from(self.shards)) >> 32;
        ShardId(u16::try_from(shard).expect("a share of a 16-bit number"))
    }

    /// How many shards there are.
    pub fn shards(&self) -> u16 {
        self.shards
    }

    pub(crate) fn hash(&self, name: &str) -> u64 {
        self.hasher.hash_one(name)
    }
}

#[derive(Debug)]
struct User {
    id: Arc<str>,
    /// The oldest connection.
    first: Slot,
    /// The youngest connection.
    last: Slot,
    /// `1..=connections_per_user_max`, where that is set.
    count: u32,
}

/// Index of a user's record, held by the user's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UserIndex(u32);

/// The users that are at home on one shard.
#[derive(Debug)]
pub(crate) struct Users {
    placement: Placement,
    records: Slab<User>,
    by_id: HashTable<u32>,
}

/// A connection's neighbours in its user's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Links {
    older: u32,
    younger: u32,
}

/// No connection: slots are 24 bits wide.
const NOBODY: u32 = u32::MAX;

impl Default for Links {
    fn default() -> Self {
        Self {
            older: NOBODY,
            younger: NOBODY,
        }
    }
}

impl Links {
    /// The next younger connection of the same user.
    pub(crate) fn younger(self) -> Option<Slot> {
        (self.younger != NOBODY).then_some(Slot(self.younger))
    }

    fn older(self) -> Option<Slot> {
        (self.older != NOBODY).then_some(Slot(self.older))
    }
}

/// Where the links of the connections are kept.
pub(crate) trait Chain {
    /// The links of a connection that is, or is about to be, in a chain.
    fn links(&mut self, slot: Slot) -> &mut Links;
}

impl Users {
    /// No users yet.
    pub(crate) fn new(placement: Placement) -> Self {
        let capacity = u32::try_from(CONNECTIONS_PER_SHARD_MAX).expect("24 bits");
        let records = Slab::with_capacity_max(capacity);
        Self {
            placement,
            records,
            by_id: HashTable::new(),
        }
    }

    /// How many users have a connection here.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Finds a user who has at least one connection here.
    pub(crate) fn find(&self, id: &str) -> Option<UserIndex> {
        let hash = self.placement.hash(id);
        let same = |&index: &u32| self.record(index).is_some_and(|user| &*user.id == id);
        self.by_id.find(hash, same).map(|&index| UserIndex(index))
    }

    /// How many connections the user has: 0 for a stranger.
    pub(crate) fn connection_count(&self, id: &str) -> u32 {
        self.find(id)
            .and_then(|user| self.record(user.0))
            .map_or(0, |user| user.count)
    }

    /// The user's identifier.
    ///
    /// Panics if the record is gone: a connection keeps its user's record alive.
    pub(crate) fn id(&self, user: UserIndex) -> &Arc<str> {
        &self
            .record(user.0)
            .expect("a connection keeps its user's record")
            .id
    }

    /// The user's oldest connection.
    pub(crate) fn first(&self, user: UserIndex) -> Option<Slot> {
        self.record(user.0).map(|user| user.first)
    }

    /// Adds a connection at the end of the user's chain, making the record if it is the first.
    pub(crate) fn attach(
        &mut self,
        id: &Arc<str>,
        slot: Slot,
        chain: &mut impl Chain,
    ) -> UserIndex {
        *chain.links(slot) = Links::default();
        if let Some(user) = self.find(id) {
            let record = self.records.get_mut(user.0).expect("just found");
            chain.links(record.last).younger = slot.0;
            chain.links(slot).older = record.last.0;
            record.last = slot;
            record.count += 1;
            return user;
        }
        let record = User {
            id: Arc::clone(id),
            first: slot,
            last: slot,
            count: 1,
        };
        let key = self
            .records
            .insert(record)
            .expect("there are no more users than connections");
        let (records, placement) = (&self.records, &self.placement);
        self.by_id
            .insert_unique(placement.hash(id), key.index, |&index| {
                records
                    .get(index)
                    .map_or(0, |user| placement.hash(&user.id))
            });
        UserIndex(key.index)
    }

    /// Takes a connection out of the user's chain; `true` if it was the last one.
    pub(crate) fn detach(&mut self, user: UserIndex, slot: Slot, chain: &mut impl Chain) -> bool {
        let Some(record) = self.records.get_mut(user.0) else {
            return false;
        };
        record.count -= 1;
        let links = std::mem::take(chain.links(slot));
        match links.older() {
            Some(older) => chain.links(older).younger = links.younger,
            None => record.first = links.younger().unwrap_or(record.first),
        }
        match links.younger() {
            Some(younger) => chain.links(younger).older = links.older,
            None => record.last = links.older().unwrap_or(record.last),
        }
        if record.count > 0 {
            return false;
        }
        let hash = self.placement.hash(&record.id);
        if let Ok(entry) = self.by_id.find_entry(hash, |&index| index == user.0) {
            entry.remove();
        }
        self.records.remove(user.0);
        true
    }

    fn record(&self, index: u32) -> Option<&User> {
        self.records.get(index)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    impl Chain for HashMap<Slot, Links> {
        fn links(&mut self, slot: Slot) -> &mut Links {
            self.entry(slot).or_default()
        }
    }

    fn chain_of(users: &Users, id: &str, links: &HashMap<Slot, Links>) -> Vec<u32> {
        let mut slot = users.find(id).and_then(|user| users.first(user));
        let mut slots = Vec::new();
        while let Some(at) = slot {
            slots.push(at.0);
            slot = links[&at].younger();
        }
        slots
    }

    #[test]
    fn a_user_is_there_from_first_to_last_connection() {
        let mut users = Users::new(Placement::new(1, 7));
        let mut links = HashMap::new();
        let ann: Arc<str> = "ann".into();
        let record = users.attach(&ann, Slot(1), &mut links);
        for slot in 2..=4 {
            assert_eq!(users.attach(&ann, Slot(slot), &mut links), record);
        }
        assert_eq!(users.connection_count("ann"), 4);
        assert_eq!(chain_of(&users, "ann", &links), [1, 2, 3, 4]);
        assert!(!users.detach(record, Slot(3), &mut links));
        assert!(!users.detach(record, Slot(1), &mut links));
        assert_eq!(chain_of(&users, "ann", &links), [2, 4]);
        assert!(!users.detach(record, Slot(4), &mut links));
        assert!(users.detach(record, Slot(2), &mut links));
        assert_eq!((users.find("ann"), users.len()), (None, 0));
        assert!(links.values().all(|&links| links == Links::default()));
    }

    #[test]
    fn homes_are_spread_over_all_shards() {
        let placement = Placement::new(4, 1);
        let mut count = [0; 4];
        for user in 0..4000 {
            count[placement.home(&format!("user-{user}")).index()] += 1;
        }
        assert!(count.iter().all(|&n| n > 800), "{count:?}");
    }
}
