//! User → connections, on the user's home shard.
//!
//! A user is its connections: there is no other record of it. They form a chain through their own
//! records ([`Links`]), oldest first, and the oldest is what the user's identifier leads to. So a user
//! with one connection, which is nearly all of them, costs no list, and a user with very many no walk.

use std::hash::BuildHasher;

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use hashbrown::HashTable;

use crate::id::{ShardId, Slot, UserId};

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

/// The users that are at home on one shard.
#[derive(Debug)]
pub(crate) struct Users {
    placement: Placement,
    /// The slots of the users' oldest connections. One table would be moved as a whole when it
    /// grows, with a cache miss for each user: 0.1 s for a million of them.
    by_id: Box<[HashTable<u32>; TABLES]>,
}

/// Tables among which the users of a shard are divided.
const TABLES: usize = 64;

/// A connection's neighbours in its user's chain, which is a ring: oldest and youngest are
/// neighbours too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Links {
    /// The next older one; of the oldest the youngest.
    older: u32,
    /// The next younger one; of the youngest `NOBODY`.
    younger: u32,
    /// In the oldest: how many there are, `1..=connections_per_user_max` where that is set.
    count: u32,
}

/// No connection: slots are 24 bits wide.
const NOBODY: u32 = u32::MAX;

impl Default for Links {
    fn default() -> Self {
        Self {
            older: NOBODY,
            younger: NOBODY,
            count: 0,
        }
    }
}

impl Links {
    /// The next younger connection of the same user.
    pub(crate) fn younger(self) -> Option<Slot> {
        (self.younger != NOBODY).then_some(Slot(self.younger))
    }
}

/// Where the connections' users and links are kept.
pub(crate) trait Chain {
    /// The user of a connection in a chain, and its links.
    fn member(&self, slot: Slot) -> (&UserId, &Links);
    /// The links of a connection in a chain, or about to be.
    fn links(&mut self, slot: Slot) -> &mut Links;
}

impl Users {
    /// No users yet.
    pub(crate) fn new(placement: Placement) -> Self {
        Self {
            placement,
            by_id: Box::new([const { HashTable::new() }; TABLES]),
        }
    }

    /// How many users have a connection here.
    pub(crate) fn len(&self) -> usize {
        self.by_id.iter().map(HashTable::len).sum()
    }

    /// The oldest connection of a user who has at least one here.
    pub(crate) fn find(&self, id: &str, chain: &impl Chain) -> Option<Slot> {
        let hash = self.placement.hash(id);
        let same = |&slot: &u32| **chain.member(Slot(slot)).0 == *id;
        let found = self.by_id[table_of(hash)].find(hash, same);
        found.map(|&slot| Slot(slot))
    }

    /// How many connections the user has: 0 for a stranger.
    pub(crate) fn connection_count(&self, id: &str, chain: &impl Chain) -> u32 {
        self.find(id, chain)
            .map_or(0, |oldest| chain.member(oldest).1.count)
    }

    /// Adds a connection, whose user `id` is, at the end of that user's chain.
    pub(crate) fn attach(&mut self, id: &UserId, slot: Slot, chain: &mut impl Chain) {
        let alone = Links {
            older: slot.0,
            younger: NOBODY,
            count: 1,
        };
        let Some(oldest) = self.find(id, chain) else {
            *chain.links(slot) = alone;
            let placement = &self.placement;
            let hash = placement.hash(id);
            let hash_of = |&slot: &u32| placement.hash(chain.member(Slot(slot)).0);
            self.by_id[table_of(hash)].insert_unique(hash, slot.0, hash_of);
            return;
        };
        let first = chain.links(oldest);
        first.count += 1;
        let youngest = Slot(std::mem::replace(&mut first.older, slot.0));
        chain.links(youngest).younger = slot.0;
        *chain.links(slot) = Links {
            older: youngest.0,
            ..alone
        };
    }

    /// Takes a connection out of its user's chain; `true` if it was the last one.
    pub(crate) fn detach(&mut self, slot: Slot, chain: &mut impl Chain) -> bool {
        let hash = self.placement.hash(chain.member(slot).0);
        let table = &mut self.by_id[table_of(hash)];
        let links = std::mem::take(chain.links(slot));
        if let Ok(entry) = table.find_entry(hash, |&oldest| oldest == slot.0) {
            // The oldest: the next one takes its place.
            let Some(heir) = links.younger() else {
                entry.remove();
                give_back_unused(table, |&slot| {
                    self.placement.hash(chain.member(Slot(slot)).0)
                });
                return true;
            };
            *entry.into_mut() = heir.0;
            let heir = chain.links(heir);
            (heir.older, heir.count) = (links.older, links.count - 1);
            return false;
        }
        let id = chain.member(slot).0;
        let same = |&other: &u32| *chain.member(Slot(other)).0 == *id;
        let oldest = table.find(hash, same).map(|&slot| Slot(slot));
        let oldest = oldest.expect("a chain begins with the connection that the table names");
        chain.links(Slot(links.older)).younger = links.younger;
        // The oldest names the youngest as its older neighbour.
        let after = links.younger().unwrap_or(oldest);
        chain.links(after).older = links.older;
        chain.links(oldest).count -= 1;
        false
    }
}

/// Of a hash: other bits than the table itself looks at, and than [`Placement::home`] does.
fn table_of(hash: u64) -> usize {
    (hash >> 16) as usize % TABLES
}

/// Shrinks a table that has held far more.
fn give_back_unused(table: &mut HashTable<u32>, hash_of: impl Fn(&u32) -> u64) {
    if table.len() < table.capacity() / 8 {
        table.shrink_to(table.len() * 2, hash_of);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Site(HashMap<Slot, (UserId, Links)>);

    impl Chain for Site {
        fn member(&self, slot: Slot) -> (&UserId, &Links) {
            let (id, links) = &self.0[&slot];
            (id, links)
        }

        fn links(&mut self, slot: Slot) -> &mut Links {
            &mut self.0.get_mut(&slot).unwrap().1
        }
    }

    impl Site {
        fn attach(&mut self, users: &mut Users, id: &str, slot: u32) {
            let id = UserId::from(id);
            self.0.insert(Slot(slot), (id.clone(), Links::default()));
            users.attach(&id, Slot(slot), self);
        }

        fn chain_of(&self, users: &Users, id: &str) -> Vec<u32> {
            let mut slot = users.find(id, self);
            let mut slots = Vec::new();
            while let Some(at) = slot {
                slots.push(at.0);
                slot = self.0[&at].1.younger();
            }
            slots
        }
    }

    #[test]
    fn a_user_is_there_from_first_to_last_connection() {
        let mut users = Users::new(Placement::new(1, 7));
        let mut site = Site::default();
        for slot in 1..=4 {
            site.attach(&mut users, "ann", slot);
        }
        assert_eq!(users.len(), 1);
        assert_eq!(users.connection_count("ann", &site), 4);
        assert_eq!(site.chain_of(&users, "ann"), [1, 2, 3, 4]);
        assert!(!users.detach(Slot(3), &mut site));
        assert!(!users.detach(Slot(1), &mut site));
        assert_eq!(site.chain_of(&users, "ann"), [2, 4]);
        assert!(!users.detach(Slot(4), &mut site));
        assert!(users.detach(Slot(2), &mut site));
        assert_eq!((users.find("ann", &site), users.len()), (None, 0));
        let mut links = site.0.values().map(|(_, links)| *links);
        assert!(links.all(|links| links == Links::default()));
    }

    proptest! {
        #[test]
        fn chains_are_lists_in_order_of_arrival(steps in prop::collection::vec(0u32..60, 1..200)) {
            let mut users = Users::new(Placement::new(1, 7));
            let mut site = Site::default();
            let mut model: HashMap<String, Vec<u32>> = HashMap::new();
            for slot in steps {
                let id = format!("user-{}", slot % 3);
                let list = model.entry(id.clone()).or_default();
                match list.iter().position(|&other| other == slot) {
                    Some(place) => {
                        list.remove(place);
                        prop_assert_eq!(users.detach(Slot(slot), &mut site), list.is_empty());
                        site.0.remove(&Slot(slot));
                    }
                    None => {
                        list.push(slot);
                        site.attach(&mut users, &id, slot);
                    }
                }
                for (id, list) in &model {
                    prop_assert_eq!(&site.chain_of(&users, id), list);
                    prop_assert_eq!(users.connection_count(id, &site) as usize, list.len());
                }
            }
        }
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
