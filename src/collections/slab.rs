//! A slab whose keys go stale: dense indices for tables beside it, generations against reuse.

/// Where a value lives, and which tenant of that place it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// 0-based place; used again after the value is removed.
    pub index: u32,
    /// Counts the tenants of that place, wrapping.
    pub generation: u32,
}

/// Places of one chunk. Of connections it takes more than 128 KiB, which an allocator maps by itself:
/// pages that were not used yet cost nothing, and freeing it gives them back to the system.
const CHUNK: u32 = 1024;
/// No place.
const NOWHERE: u32 = u32::MAX;

/// Values at dense, reusable indices.
///
/// Memory comes in chunks of 1,024 places, so that growing moves nothing but the first of them: a
/// vector would copy a million records in one go and need half as much memory again meanwhile. A
/// chunk whose last value is removed is freed, and the lowest chunk with room is filled first, so
/// that the upper ones empty as values come and go. Within a chunk the place freed last is taken
/// first: it is still warm.
#[derive(Debug)]
pub struct Slab<T> {
    chunks: Vec<Chunk<T>>,
    /// All chunks before it are full.
    first_with_room: usize,
    count: usize,
    capacity: u32,
}

#[derive(Debug)]
struct Chunk<T> {
    /// Places that have had a tenant since the chunk was last empty, `0..=CHUNK`.
    entries: Vec<Entry<T>>,
    /// The vacant entry freed last, or `NOWHERE`.
    vacant: u32,
    /// How many hold a value.
    taken: u32,
    /// Of entries to come: later than any that the chunk had before it was freed.
    generation: u32,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    place: Place<T>,
}

#[derive(Debug)]
enum Place<T> {
    Taken(T),
    Vacant { next: u32 },
}

impl<T> Entry<T> {
    fn value(&self) -> Option<&T> {
        match &self.place {
            Place::Taken(value) => Some(value),
            Place::Vacant { .. } => None,
        }
    }
}

impl<T> Chunk<T> {
    const EMPTY: Self = Self {
        entries: Vec::new(),
        vacant: NOWHERE,
        taken: 0,
        generation: 0,
    };

    /// Puts a value into a place, which the caller knows to be there: offset and generation.
    fn insert(&mut self, value: T) -> (u32, u32) {
        self.taken += 1;
        if self.vacant != NOWHERE {
            let at = self.vacant;
            let entry = &mut self.entries[at as usize];
            let Place::Vacant { next } = entry.place else {
                unreachable!("the list of vacant places leads to them only")
            };
            self.vacant = next;
            entry.place = Place::Taken(value);
            return (at, entry.generation);
        }
        let at = u32::try_from(self.entries.len()).expect("a chunk is small");
        self.entries.push(Entry {
            generation: self.generation,
            place: Place::Taken(value),
        });
        (at, self.generation)
    }

    fn remove(&mut self, at: u32) -> Option<T> {
        let entry = self.entries.get_mut(at as usize)?;
        entry.value()?;
        let vacant = Place::Vacant { next: self.vacant };
        let Place::Taken(value) = std::mem::replace(&mut entry.place, vacant) else {
            unreachable!("just looked at")
        };
        entry.generation = entry.generation.wrapping_add(1);
        self.vacant = at;
        self.taken -= 1;
        Some(value)
    }

    /// Gives the memory of an empty chunk back. No key that it gave out comes up again.
    fn free(&mut self) {
        debug_assert_eq!(self.taken, 0);
        // Compared by distance, because generations wrap; no two are far apart.
        let ahead = |entry: &Entry<T>| entry.generation.wrapping_sub(self.generation);
        let ahead = self.entries.iter().map(ahead).max().unwrap_or(0);
        *self = Self {
            generation: self.generation.wrapping_add(ahead),
            ..Self::EMPTY
        };
    }
}

impl<T> Slab<T> {
    /// A slab that refuses to hold more than `capacity` values. Memory grows on demand.
    pub fn with_capacity_max(capacity: u32) -> Self {
        Self {
            chunks: Vec::new(),
            first_with_room: 0,
            count: 0,
            capacity,
        }
    }

    /// No value has an index of so much or more. What lies below may be vacant.
    pub fn span(&self) -> u32 {
        u32::try_from(self.chunks.len()).map_or(u32::MAX, |chunks| chunks.saturating_mul(CHUNK))
    }

    /// What the values take, bytes, with what is kept beside each.
    pub fn bytes(&self) -> usize {
        self.count * size_of::<Entry<T>>()
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether [`Slab::insert`] would refuse.
    pub fn is_full(&self) -> bool {
        self.count >= self.capacity as usize
    }

    /// Puts a value into a free place. Gives it back if the slab is full.
    pub fn insert(&mut self, value: T) -> Result<Key, T> {
        if self.is_full() {
            return Err(value);
        }
        // Not full: some chunk has room, or one may be added.
        while self
            .chunks
            .get(self.first_with_room)
            .is_some_and(|chunk| chunk.taken == CHUNK)
        {
            self.first_with_room += 1;
        }
        let number = self.first_with_room;
        if number == self.chunks.len() {
            self.chunks.push(Chunk::EMPTY);
        }
        let chunk = &mut self.chunks[number];
        if number > 0 && chunk.entries.capacity() == 0 {
            // All but the first, which grows as it must, are made as large as they become.
            chunk.entries.reserve_exact(CHUNK as usize);
        }
        let (at, generation) = chunk.insert(value);
        self.count += 1;
        let index = u32::try_from(number).expect("fewer chunks than values") * CHUNK + at;
        Ok(Key { index, generation })
    }

    /// Takes the value at `index` out; its key is stale from now on.
    pub fn remove(&mut self, index: u32) -> Option<T> {
        let (number, at) = (chunk_of(index), index % CHUNK);
        let chunk = self.chunks.get_mut(number)?;
        let value = chunk.remove(at)?;
        if chunk.taken == 0 {
            chunk.free();
        }
        self.count -= 1;
        self.first_with_room = self.first_with_room.min(number);
        Some(value)
    }

    /// The value at `index`, whichever tenant it is.
    pub fn get(&self, index: u32) -> Option<&T> {
        self.entry(index)?.value()
    }

    /// The value at `index`, whichever tenant it is, to change.
    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let chunk = self.chunks.get_mut(chunk_of(index))?;
        match &mut chunk.entries.get_mut((index % CHUNK) as usize)?.place {
            Place::Taken(value) => Some(value),
            Place::Vacant { .. } => None,
        }
    }

    /// The generation of the value at `index`, if there is one.
    pub fn generation(&self, index: u32) -> Option<u32> {
        let entry = self.entry(index)?;
        entry.value().map(|_| entry.generation)
    }

    /// The indices in use, ascending.
    pub fn indices(&self) -> impl Iterator<Item = u32> + '_ {
        self.indices_from(0)
    }

    /// The indices in use from `from` on, ascending.
    pub fn indices_from(&self, from: u32) -> impl Iterator<Item = u32> + '_ {
        let chunks = (0u32..).step_by(CHUNK as usize).zip(&self.chunks);
        let chunks = chunks.skip(chunk_of(from));
        let indices = chunks.flat_map(|(first, chunk)| {
            let entries = (first..).zip(&chunk.entries);
            entries.filter_map(|(index, entry)| entry.value().map(|_| index))
        });
        indices.skip_while(move |&index| index < from)
    }

    fn entry(&self, index: u32) -> Option<&Entry<T>> {
        let chunk = self.chunks.get(chunk_of(index))?;
        chunk.entries.get((index % CHUNK) as usize)
    }
}

fn chunk_of(index: u32) -> usize {
    (index / CHUNK) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_place_is_reused_under_a_new_generation() {
        let mut slab = Slab::with_capacity_max(2);
        let a = slab.insert('a').unwrap();
        let b = slab.insert('b').unwrap();
        assert_eq!(slab.insert('c'), Err('c'), "the slab is full");
        assert!(slab.is_full());
        assert_eq!(slab.remove(a.index), Some('a'));
        assert_eq!(slab.remove(a.index), None);
        let c = slab.insert('c').unwrap();
        assert_eq!(c.index, a.index);
        assert_ne!(c.generation, a.generation);
        assert_eq!(slab.generation(c.index), Some(c.generation));
        assert_eq!(slab.get(b.index), Some(&'b'));
        assert_eq!(slab.indices().collect::<Vec<_>>(), [0, 1]);
        assert_eq!(slab.len(), 2);
    }

    #[test]
    fn an_empty_chunk_is_freed_and_its_keys_stay_stale() {
        let mut slab = Slab::with_capacity_max(u32::MAX);
        let old: Vec<Key> = (0..3 * CHUNK).map(|n| slab.insert(n).unwrap()).collect();
        for key in &old {
            assert_eq!(slab.remove(key.index), Some(key.index));
        }
        assert!(
            slab.chunks
                .iter()
                .all(|chunk| chunk.entries.capacity() == 0)
        );
        let new: HashSet<Key> = (0..3 * CHUNK).map(|n| slab.insert(n).unwrap()).collect();
        assert!(old.iter().all(|key| !new.contains(key)));
    }

    #[test]
    fn a_place_costs_a_generation_beside_its_value() {
        type Record = (Box<u8>, [u8; 40]);
        let generation = align_of::<Record>();
        assert_eq!(size_of::<Entry<Record>>(), size_of::<Record>() + generation);
    }

    #[test]
    fn the_lowest_chunk_with_room_is_filled_first() {
        let mut slab = Slab::with_capacity_max(u32::MAX);
        for n in 0..3 * CHUNK {
            slab.insert(n).unwrap();
        }
        for index in [2 * CHUNK + 5, 7, CHUNK + 9] {
            slab.remove(index).unwrap();
        }
        let places: Vec<u32> = (0..4).map(|n| slab.insert(n).unwrap().index).collect();
        assert_eq!(places, [7, CHUNK + 9, 2 * CHUNK + 5, 3 * CHUNK]);
    }

    proptest! {
        #[test]
        fn a_slab_is_a_map_that_never_gives_a_key_twice(
            capacity in 1u32..2000, steps in prop::collection::vec(0u32..1000, 1..4000),
        ) {
            let mut slab = Slab::with_capacity_max(capacity);
            let (mut live, mut seen) = (Vec::<Key>::new(), HashSet::new());
            for step in steps {
                if step % 3 == 0 && !live.is_empty() {
                    let key = live.swap_remove(step as usize % live.len());
                    prop_assert_eq!(slab.remove(key.index), Some(key));
                    prop_assert_eq!(slab.get(key.index), None);
                } else if let Ok(key) = slab.insert(Key { index: 0, generation: 0 }) {
                    prop_assert!(key.index < capacity);
                    prop_assert!(seen.insert(key), "{:?} again", key);
                    *slab.get_mut(key.index).unwrap() = key;
                    live.push(key);
                } else {
                    prop_assert_eq!(live.len(), capacity as usize);
                }
                prop_assert_eq!(slab.len(), live.len());
            }
            live.sort_by_key(|key| key.index);
            let indices: Vec<u32> = live.iter().map(|key| key.index).collect();
            prop_assert_eq!(slab.indices().collect::<Vec<_>>(), indices);
        }
    }
}
