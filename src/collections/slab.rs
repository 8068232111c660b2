//! A slab whose keys go stale: dense indices for tables beside it, generations against reuse.

/// Where a value lives, and which tenant of that place it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// 0-based place; used again after the value is removed.
    pub index: u32,
    /// Counts the tenants of that place, wrapping.
    pub generation: u32,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

/// Values at dense, reusable indices. The place freed last is taken first, which keeps the tables
/// that go by the same index small and warm.
#[derive(Debug)]
pub struct Slab<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
    capacity: u32,
}

impl<T> Slab<T> {
    /// A slab that refuses to hold more than `capacity` values. Memory grows on demand.
    pub fn with_capacity_max(capacity: u32) -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            capacity,
        }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether [`Slab::insert`] would refuse.
    pub fn is_full(&self) -> bool {
        self.free.is_empty() && self.entries.len() >= self.capacity as usize
    }

    /// Puts a value into a free place. Gives it back if the slab is full.
    pub fn insert(&mut self, value: T) -> Result<Key, T> {
        if let Some(index) = self.free.pop() {
            let entry = &mut self.entries[index as usize];
            debug_assert!(entry.value.is_none());
            entry.value = Some(value);
            return Ok(Key {
                index,
                generation: entry.generation,
            });
        }
        match u32::try_from(self.entries.len()) {
            Ok(index) if index < self.capacity => {
                self.entries.push(Entry {
                    generation: 0,
                    value: Some(value),
                });
                Ok(Key {
                    index,
                    generation: 0,
                })
            }
            _ => Err(value),
        }
    }

    /// Takes the value at `index` out; its key is stale from now on.
    pub fn remove(&mut self, index: u32) -> Option<T> {
        let entry = self.entries.get_mut(index as usize)?;
        let value = entry.value.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(index);
        Some(value)
    }

    /// The value at `index`, whichever tenant it is.
    pub fn get(&self, index: u32) -> Option<&T> {
        self.entries.get(index as usize)?.value.as_ref()
    }

    /// The value at `index`, whichever tenant it is, to change.
    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.entries.get_mut(index as usize)?.value.as_mut()
    }

    /// The generation of the value at `index`, if there is one.
    pub fn generation(&self, index: u32) -> Option<u32> {
        let entry = self.entries.get(index as usize)?;
        entry.value.as_ref().map(|_| entry.generation)
    }

    /// The indices in use, ascending.
    pub fn indices(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..)
            .zip(&self.entries)
            .filter(|(_, entry)| entry.value.is_some())
            .map(|(i, _)| i)
    }
}

#[cfg(test)]
mod tests {
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
}
