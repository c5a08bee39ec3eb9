//! The keys denied most, in memory that does not grow: the Space-Saving sketch (Metwally, Agrawal, El Abbadi, 2005).
//!
//! A key that has no slot takes over the one with the smallest count, and inherits that count as its error. So with n
//! slots and d denials in all, every key with more than d / n denials has a slot, a count is never below the truth, and
//! at most `error`, itself at most d / n, above it.
//!
//! A slot is known by a seeded hash of database and key, so that nobody can make keys share one, and keeps the first
//! [`SHOWN`] bytes of the key. Counting a denial is O(log n), whatever the keys are.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use arrayvec::ArrayVec;
use siphasher::sip::SipHasher13;

/// How many bytes of a key are kept.
pub(crate) const SHOWN: usize = 128;

/// No slot.
const NONE: u32 = u32::MAX;

/// A key that has been denied.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    identity: u64,
    /// Its place in `Sketch::ranking`.
    rank: u32,
    /// The next slot in the same bucket of `Sketch::buckets`.
    next: u32,
    /// The database that it is in.
    pub(crate) database: u32,
    /// Its first bytes.
    pub(crate) key: ArrayVec<u8, SHOWN>,
    /// Whether it is longer than that.
    pub(crate) cut: bool,
    /// How often it has been denied, at most.
    pub(crate) denials: u64,
    /// By how much that may be too many.
    pub(crate) error: u64,
}

/// The sketch.
#[derive(Debug)]
pub(crate) struct Sketch {
    capacity: usize,
    /// Two random numbers.
    seed: [u64; 2],
    slots: Vec<Slot>,
    /// The slots, most denials first.
    ranking: Vec<u32>,
    /// A hash table of the slots, chained: a power of two, at least twice the slots.
    buckets: Vec<u32>,
}

impl Sketch {
    /// A sketch with `capacity` slots, all memory taken now.
    pub(crate) fn new(capacity: usize) -> Self {
        let buckets = match capacity {
            0 => 0,
            _ => capacity.saturating_mul(2).next_power_of_two(),
        };
        Self {
            capacity,
            seed: [0, 1].map(|which| RandomState::new().hash_one(which)),
            slots: Vec::with_capacity(capacity),
            ranking: Vec::with_capacity(capacity),
            buckets: vec![NONE; buckets],
        }
    }

    /// Counts a denial of `key` in `database`.
    pub(crate) fn count(&mut self, database: u32, key: &[u8]) {
        if self.capacity == 0 {
            return;
        }
        let [seed, other] = self.seed;
        // Another hash for each database.
        let identity = SipHasher13::new_with_keys(seed ^ u64::from(database), other).hash(key);
        let slot = match self.find(identity) {
            Some(slot) => slot,
            None if self.slots.len() < self.capacity => self.take_new(identity, database, key),
            None => self.take_over(identity, database, key),
        };
        self.promote(slot);
    }

    /// The slots, most denials first.
    pub(crate) fn ranking(&self) -> impl Iterator<Item = &Slot> {
        self.ranking.iter().filter_map(|slot| self.slot(*slot))
    }

    fn slot(&self, slot: u32) -> Option<&Slot> {
        self.slots.get(slot as usize)
    }

    fn slot_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        self.slots.get_mut(slot as usize)
    }

    fn bucket(&mut self, identity: u64) -> Option<&mut u32> {
        let mask = self.buckets.len().wrapping_sub(1);
        self.buckets.get_mut(identity as usize & mask)
    }

    fn find(&mut self, identity: u64) -> Option<u32> {
        let mut at = *self.bucket(identity)?;
        while let Some(slot) = self.slot(at) {
            if slot.identity == identity {
                return Some(at);
            }
            at = slot.next;
        }
        None
    }

    fn take_new(&mut self, identity: u64, database: u32, key: &[u8]) -> u32 {
        // Lossless: there are at most as many slots as the configuration allows, far less than `NONE`.
        let slot = self.slots.len() as u32;
        self.slots.push(Slot {
            identity,
            rank: self.ranking.len() as u32,
            next: NONE,
            database,
            key: ArrayVec::new(),
            cut: false,
            denials: 0,
            error: 0,
        });
        self.ranking.push(slot);
        self.occupy(slot, identity, database, key);
        slot
    }

    /// Gives the slot with the fewest denials to another key, which inherits them as its error.
    fn take_over(&mut self, identity: u64, database: u32, key: &[u8]) -> u32 {
        let slot = self.ranking.last().copied().unwrap_or(NONE);
        self.unlink(slot);
        if let Some(taken) = self.slot_mut(slot) {
            taken.error = taken.denials;
        }
        self.occupy(slot, identity, database, key);
        slot
    }

    fn occupy(&mut self, slot: u32, identity: u64, database: u32, key: &[u8]) {
        let next = self
            .bucket(identity)
            .map_or(NONE, |first| std::mem::replace(first, slot));
        if let Some(taken) = self.slot_mut(slot) {
            taken.identity = identity;
            taken.next = next;
            taken.database = database;
            taken.key = key.iter().copied().take(SHOWN).collect();
            taken.cut = key.len() > SHOWN;
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Some(&Slot { identity, next, .. }) = self.slot(slot) else {
            return;
        };
        let Some(first) = self.bucket(identity) else {
            return;
        };
        if *first == slot {
            *first = next;
            return;
        }
        let mut at = *first;
        while let Some(before) = self.slot_mut(at) {
            if before.next == slot {
                before.next = next;
                return;
            }
            at = before.next;
        }
    }

    /// Adds a denial. Among the slots with as many, this one first goes to the front, so that the ranking stays sorted.
    fn promote(&mut self, slot: u32) {
        let Some(&Slot { denials, rank, .. }) = self.slot(slot) else {
            return;
        };
        let front = self.ranking.partition_point(|other| {
            self.slots
                .get(*other as usize)
                .is_some_and(|other| other.denials > denials)
        });
        let Some(first) = self.ranking.get(front).copied() else {
            return;
        };
        self.ranking.swap(front, rank as usize);
        if let Some(other) = self.slot_mut(first) {
            other.rank = rank;
        }
        if let Some(own) = self.slot_mut(slot) {
            own.rank = front as u32;
            own.denials = own.denials.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// Counts and errors by key.
    fn counted(sketch: &Sketch) -> HashMap<Vec<u8>, (u64, u64)> {
        sketch
            .ranking()
            .map(|slot| (slot.key.to_vec(), (slot.denials, slot.error)))
            .collect()
    }

    proptest! {
        #[test]
        fn counts_are_never_below_the_truth_and_at_most_their_error_above_it(
            capacity in 1_usize..40,
            // Some keys come far more often than others.
            keys in prop::collection::vec(prop_oneof![0_u32..5, 0_u32..30, any::<u32>()], 0..2_000),
        ) {
            let mut sketch = Sketch::new(capacity);
            let mut truth: HashMap<Vec<u8>, u64> = HashMap::new();
            for key in &keys {
                let key = key.to_string().into_bytes();
                sketch.count(0, &key);
                *truth.entry(key).or_default() += 1;
            }
            let bound = keys.len() as u64 / capacity as u64;
            let counted = counted(&sketch);
            prop_assert_eq!(counted.len(), truth.len().min(capacity));
            for (key, (denials, error)) in &counted {
                let truth = truth[key];
                prop_assert!(truth <= *denials && *denials - truth <= *error && *error <= bound);
            }
            for (key, denials) in truth {
                prop_assert!(denials <= bound || counted.contains_key(&key));
            }
            let ranking: Vec<_> = sketch.ranking().map(|slot| slot.denials).collect();
            prop_assert!(ranking.is_sorted_by(|a, b| a >= b));
            prop_assert_eq!(ranking.iter().sum::<u64>(), keys.len() as u64);
        }
    }

    #[test]
    fn the_same_key_in_two_databases_is_two() {
        let mut sketch = Sketch::new(4);
        sketch.count(0, b"k");
        sketch.count(1, b"k");
        assert_eq!(sketch.ranking().count(), 2);
    }

    #[test]
    fn long_keys_that_differ_only_at_their_end_are_two() {
        let mut sketch = Sketch::new(4);
        let long = [b'x'; 1_000];
        sketch.count(0, &long[..999]);
        sketch.count(0, &long);
        sketch.count(0, &long);
        let shown: Vec<_> = sketch
            .ranking()
            .map(|slot| (slot.key.len(), slot.cut, slot.denials))
            .collect();
        assert_eq!(shown, [(SHOWN, true, 2), (SHOWN, true, 1)]);
    }

    #[test]
    fn without_slots_nothing_is_counted() {
        let mut sketch = Sketch::new(0);
        sketch.count(0, b"k");
        assert_eq!(sketch.ranking().count(), 0);
    }

    #[test]
    fn a_slot_takes_some_200_bytes_as_documented() {
        let sketch = Sketch::new(10_000);
        let bytes = sketch.slots.capacity() * size_of::<Slot>()
            + (sketch.ranking.capacity() + sketch.buckets.capacity()) * size_of::<u32>();
        assert!((180..=200).contains(&(bytes / 10_000)), "{bytes}");
    }

    #[test]
    fn a_new_key_each_time_takes_no_more_memory() {
        let mut sketch = Sketch::new(100);
        let taken = |sketch: &Sketch| (sketch.slots.capacity(), sketch.ranking.capacity());
        let before = taken(&sketch);
        for key in 0..100_000_u32 {
            sketch.count(0, &key.to_le_bytes());
        }
        assert_eq!(taken(&sketch), before);
        assert_eq!(sketch.ranking().count(), 100);
    }
}
