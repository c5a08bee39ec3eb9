//! The keys denied most lately, in memory that does not grow: the Space-Saving sketch (Metwally, Agrawal, El Abbadi,
//! 2005), whose counts fade (see [`Decay`]).
//!
//! A key that has no slot takes over the one with the smallest count, and inherits that count as its error. So with n
//! slots and d denials in all, every key with more than d / n denials has a slot, a count is never below the truth, and
//! at most d / n above it. All these numbers are as faded as they are now.
//!
//! A slot is known by a seeded hash of database and key, so that nobody can make keys share one, and keeps the first
//! [`SHOWN`] bytes of the key. Counting a denial is O(log n), whatever the keys are.

use std::cmp::Reverse;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use arrayvec::ArrayVec;
use siphasher::sip::SipHasher13;

use super::decay::Decay;
use crate::limiter::Timestamp;

/// How many bytes of a key are kept.
const SHOWN: usize = 128;

/// No slot.
const NONE: u32 = u32::MAX;

/// A key that has been denied, as it stands now.
#[derive(Debug)]
pub(crate) struct Denied<'a> {
    /// The database that it is in.
    pub(crate) database: u32,
    /// Its first bytes.
    pub(crate) key: &'a [u8],
    /// Whether it is longer than that.
    pub(crate) cut: bool,
    /// How often it has been denied, at most, in whole denials.
    pub(crate) denials: u64,
    /// By how much that may be too many.
    pub(crate) error: u64,
}

/// A place for a key.
#[derive(Clone, Debug)]
struct Slot {
    identity: u64,
    /// The next slot in the same bucket of `Sketch::buckets`.
    next: u32,
    database: u32,
    key: ArrayVec<u8, SHOWN>,
    cut: bool,
    /// The weight of the denials counted since it has this key.
    at_least: u64,
}

/// The count of a slot.
#[derive(Clone, Copy, Debug)]
struct Count {
    /// The weight of the key's denials, at most: with what was inherited.
    at_most: u64,
    slot: u32,
}

/// The sketch.
#[derive(Debug)]
pub(crate) struct Sketch {
    /// Two random numbers.
    seed: [u64; 2],
    decay: Decay,
    slots: Vec<Slot>,
    /// The counts of all slots, as a binary heap: none is below that at half its place, so the smallest is the first.
    heap: Vec<Count>,
    /// The place of each slot in the heap. Many change with each denial, so they are close together.
    places: Vec<u32>,
    /// A hash table of the slots in use, chained: a power of two, at least twice the slots.
    buckets: Vec<u32>,
}

impl Sketch {
    /// A sketch with `capacity` slots, all memory taken now, and a half-life of `half_life` seconds.
    pub(crate) fn new(capacity: usize, half_life: u64) -> Self {
        // Lossless: there are at most as many slots as the configuration allows, far less than `NONE`.
        let numbers = 0..capacity as u32;
        let empty = Slot {
            identity: 0,
            next: NONE,
            database: 0,
            key: ArrayVec::new(),
            cut: false,
            at_least: 0,
        };
        let buckets = match capacity {
            0 => 0,
            _ => capacity.saturating_mul(2).next_power_of_two(),
        };
        Self {
            seed: [0, 1].map(|which| RandomState::new().hash_one(which)),
            decay: Decay::new(half_life),
            slots: vec![empty; capacity],
            heap: Vec::from_iter(numbers.clone().map(|slot| Count { at_most: 0, slot })),
            places: Vec::from_iter(numbers),
            buckets: vec![NONE; buckets],
        }
    }

    /// Changes the half-life from now on.
    pub(crate) fn set_half_life(&mut self, now: Timestamp, half_life: u64) {
        self.advance(now);
        self.decay.set_half_life(half_life);
    }

    /// Counts a denial of `key` in `database`.
    pub(crate) fn count(&mut self, now: Timestamp, database: u32, key: &[u8]) {
        if self.slots.is_empty() {
            return;
        }
        self.advance(now);
        let [seed, other] = self.seed;
        // Another hash for each database.
        let identity = SipHasher13::new_with_keys(seed ^ u64::from(database), other).hash(key);
        let slot = match self.find(identity) {
            Some(slot) => slot,
            None => self.take_over(identity, database, key),
        };
        self.add(slot, self.decay.weight());
    }

    /// The keys, most denials first, without those of which less than half a denial is left.
    pub(crate) fn ranking(&mut self, now: Timestamp) -> impl Iterator<Item = Denied<'_>> {
        self.advance(now);
        let mut counts = self.heap.clone();
        counts.sort_unstable_by_key(|count| (Reverse(count.at_most), count.slot));
        let slots = &self.slots;
        let weight = self.decay.weight();
        // Rounded to the nearest, the bounds as the truth would be, which stays between them.
        let denials = move |sum: u64| {
            let sum = sum.saturating_add(weight / 2);
            sum.checked_div(weight).unwrap_or(0)
        };
        counts
            .into_iter()
            .filter_map(move |count| {
                let slot = slots.get(count.slot as usize)?;
                let at_most = denials(count.at_most);
                Some(Denied {
                    database: slot.database,
                    key: &slot.key,
                    cut: slot.cut,
                    denials: at_most,
                    error: at_most.saturating_sub(denials(slot.at_least)),
                })
            })
            .take_while(|denied| denied.denials > 0)
    }

    /// Lets counts fade until `now`. Only once in several half-lives is there something to do for each slot.
    fn advance(&mut self, now: Timestamp) {
        let halvings = self.decay.advance(now);
        if halvings == 0 {
            return;
        }
        // The two bounds are rounded away from each other. All counts are rounded in the same way, so the heap stays
        // one.
        for count in &mut self.heap {
            let faded = count.at_most.checked_shr(halvings).unwrap_or(0);
            let lost = faded.checked_shl(halvings).unwrap_or(0) != count.at_most;
            count.at_most = faded.saturating_add(lost.into());
        }
        for slot in &mut self.slots {
            slot.at_least = slot.at_least.checked_shr(halvings).unwrap_or(0);
        }
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

    /// Gives the slot with the smallest count, which may be one that has no key, to another key, which inherits the
    /// count as its error.
    fn take_over(&mut self, identity: u64, database: u32, key: &[u8]) -> u32 {
        let slot = self.heap.first().map_or(NONE, |smallest| smallest.slot);
        self.unlink(slot);
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
            taken.key.clear();
            let shown = key.get(..SHOWN).unwrap_or(key);
            // It fits.
            let _ = taken.key.try_extend_from_slice(shown);
            taken.cut = key.len() > SHOWN;
            taken.at_least = 0;
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

    /// Adds a denial.
    fn add(&mut self, slot: u32, weight: u64) {
        let Some(denied) = self.slot_mut(slot) else {
            return;
        };
        denied.at_least = denied.at_least.saturating_add(weight);
        let place = self
            .places
            .get(slot as usize)
            .map_or(0, |place| *place as usize);
        if let Some(count) = self.heap.get_mut(place) {
            count.at_most = count.at_most.saturating_add(weight);
        }
        self.sift_down(place);
    }

    /// Moves the count at `place`, which has grown, behind all that are smaller and come after it.
    fn sift_down(&mut self, mut place: usize) {
        let Some(&grown) = self.heap.get(place) else {
            return;
        };
        loop {
            let left = place.saturating_mul(2).saturating_add(1);
            let right = left.saturating_add(1);
            let smaller = match (self.heap.get(left), self.heap.get(right)) {
                // No branch: nothing foretells which it is.
                (Some(one), Some(other)) => left.wrapping_add((other.at_most < one.at_most).into()),
                (Some(_), None) => left,
                (None, _) => break,
            };
            match self.heap.get(smaller) {
                Some(&count) if count.at_most < grown.at_most => self.put(place, count),
                _ => break,
            }
            place = smaller;
        }
        self.put(place, grown);
    }

    fn put(&mut self, place: usize, count: Count) {
        if let Some(at) = self.heap.get_mut(place) {
            *at = count;
        }
        if let Some(known) = self.places.get_mut(count.slot as usize) {
            *known = place as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// An hour, in microseconds.
    const HOUR: u64 = 3_600_000_000;

    fn at(micros: u64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + micros)
    }

    /// All that is shown: keys, denials, errors.
    fn shown(sketch: &mut Sketch, now: Timestamp) -> Vec<(Vec<u8>, u64, u64)> {
        sketch
            .ranking(now)
            .map(|denied| (denied.key.to_vec(), denied.denials, denied.error))
            .collect()
    }

    /// One denial after the other, each so many sixteenths of a half-life after the one before: some keys come far more
    /// often than others, and sometimes nothing happens for long.
    fn denials() -> impl Strategy<Value = Vec<(u64, u32)>> {
        let wait = prop_oneof![20 => Just(0), 4 => 1_u64..4, 1 => 4_u64..200];
        let key = prop_oneof![0_u32..5, 0_u32..30, any::<u32>()];
        prop::collection::vec((wait, key), 0..1_000)
    }

    proptest! {
        #[test]
        fn counts_are_never_below_the_truth_and_at_most_their_error_above_it(
            capacity in 1_usize..40,
            denials in denials(),
        ) {
            let mut sketch = Sketch::new(capacity, 0);
            let mut truth: HashMap<Vec<u8>, u64> = HashMap::new();
            for (_, key) in &denials {
                let key = key.to_string().into_bytes();
                sketch.count(at(0), 0, &key);
                *truth.entry(key).or_default() += 1;
            }
            let bound = denials.len() as u64 / capacity as u64;
            let shown = shown(&mut sketch, at(0));
            prop_assert_eq!(shown.len(), truth.len().min(capacity));
            for (key, denials, error) in &shown {
                let truth = truth[key];
                prop_assert!(truth <= *denials && *denials - truth <= *error && *error <= bound);
            }
            for (key, denials) in truth {
                prop_assert!(denials <= bound || shown.iter().any(|(shown, ..)| *shown == key));
            }
            prop_assert!(shown.is_sorted_by(|one, next| one.1 >= next.1));
            prop_assert_eq!(shown.iter().map(|(_, denials, _)| denials).sum::<u64>(), denials.len() as u64);
        }

        /// The same for counts that fade, beside a list of all denials, each of which is worth 2 to the power of minus
        /// its age in half-lives.
        #[test]
        fn the_same_holds_for_what_is_left_of_counts_that_fade(
            capacity in 1_usize..40,
            half_life in prop_oneof![Just(1_u64), Just(3_600), Just(2_592_000)],
            denials in denials(),
            wait in 0_u64..64,
        ) {
            let mut sketch = Sketch::new(capacity, half_life);
            let step = half_life * 1_000_000 / 16;
            let mut now = 0;
            let mut list = Vec::new();
            for (wait, key) in denials {
                now += wait;
                let key = key.to_string().into_bytes();
                sketch.count(at(now * step), 0, &key);
                list.push((now, key));
            }
            now += wait;
            let mut truth: HashMap<Vec<u8>, f64> = HashMap::new();
            let mut all = 0.0;
            for (time, key) in list {
                let left = f64::exp2(-((now - time) as f64) / 16.0);
                *truth.entry(key).or_default() += left;
                all += left;
            }
            // For the binary digits that are lost.
            let slack = 0.001 + all / 10_000.0;
            let bound = all / capacity as f64;
            let shown = shown(&mut sketch, at(now * step));
            for (key, denials, error) in &shown {
                let (truth, denials, error) = (truth[key], *denials as f64, *error as f64);
                prop_assert!(truth <= denials + 0.5 + slack, "{truth} above {denials}");
                prop_assert!(denials - error - 0.5 <= truth + slack, "{truth} below {denials} - {error}");
                prop_assert!(error <= bound + 1.0 + slack, "{error} above {bound}");
            }
            for (key, left) in truth {
                let must_be_shown = left > bound + slack && left >= 0.5 + slack;
                prop_assert!(!must_be_shown || shown.iter().any(|(shown, ..)| *shown == key), "{left}");
            }
            prop_assert!(shown.is_sorted_by(|one, next| one.1 >= next.1));
        }
    }

    #[test]
    fn a_denial_counts_half_after_a_half_life_and_a_key_denied_now_passes_one_denied_before() {
        let mut sketch = Sketch::new(4, 3_600);
        for _ in 0..1_000 {
            sketch.count(at(0), 0, b"before");
        }
        let mut left = |hours: std::ops::Range<u64>| -> Vec<u64> {
            let first = |hour| {
                shown(&mut sketch, at(hour * HOUR))
                    .first()
                    .map_or(0, |row| row.1)
            };
            hours.map(first).collect()
        };
        assert_eq!(left(0..10), [1_000, 500, 250, 125, 63, 31, 16, 8, 4, 2]);
        for _ in 0..3 {
            sketch.count(at(9 * HOUR), 0, b"now");
        }
        let expected = [(b"now".to_vec(), 3, 0), (b"before".to_vec(), 2, 0)];
        assert_eq!(shown(&mut sketch, at(9 * HOUR)), expected);
        let expected = [(b"now".to_vec(), 1, 0)];
        assert_eq!(shown(&mut sketch, at(11 * HOUR)), expected);
        assert!(shown(&mut sketch, at(12 * HOUR)).is_empty());
    }

    #[test]
    fn another_half_life_holds_from_then_on() {
        let mut sketch = Sketch::new(4, 3_600);
        for _ in 0..100 {
            sketch.count(at(0), 0, b"k");
        }
        let left = |sketch: &mut Sketch, hours| shown(sketch, at(hours * HOUR))[0].1;
        sketch.set_half_life(at(HOUR), 7_200);
        assert_eq!(left(&mut sketch, 1), 50);
        assert_eq!(left(&mut sketch, 3), 25);
        sketch.set_half_life(at(3 * HOUR), 0);
        assert_eq!(left(&mut sketch, 1_000), 25);
        sketch.count(at(1_000 * HOUR), 0, b"k");
        assert_eq!(left(&mut sketch, 1_000), 26);
        sketch.set_half_life(at(1_000 * HOUR), 1);
        assert!(shown(&mut sketch, at(1_001 * HOUR)).is_empty());
    }

    #[test]
    fn the_same_key_in_two_databases_is_two() {
        let mut sketch = Sketch::new(4, 0);
        sketch.count(at(0), 0, b"k");
        sketch.count(at(0), 1, b"k");
        assert_eq!(sketch.ranking(at(0)).count(), 2);
    }

    #[test]
    fn long_keys_that_differ_only_at_their_end_are_two() {
        let mut sketch = Sketch::new(4, 0);
        let long = [b'x'; 1_000];
        sketch.count(at(0), 0, &long[..999]);
        sketch.count(at(0), 0, &long);
        sketch.count(at(0), 0, &long);
        let shown: Vec<_> = sketch
            .ranking(at(0))
            .map(|denied| (denied.key.len(), denied.cut, denied.denials))
            .collect();
        assert_eq!(shown, [(SHOWN, true, 2), (SHOWN, true, 1)]);
    }

    #[test]
    fn without_slots_nothing_is_counted() {
        let mut sketch = Sketch::new(0, 3_600);
        sketch.count(at(0), 0, b"k");
        assert_eq!(sketch.ranking(at(0)).count(), 0);
    }

    #[test]
    fn a_slot_takes_some_200_bytes_as_documented() {
        let sketch = Sketch::new(1_000, 3_600);
        let bytes = sketch.slots.capacity() * size_of::<Slot>()
            + sketch.heap.capacity() * size_of::<Count>()
            + sketch.buckets.capacity() * size_of::<u32>();
        assert!((180..=200).contains(&(bytes / 1_000)), "{bytes}");
    }

    #[test]
    fn a_new_key_each_time_takes_no_more_memory() {
        let mut sketch = Sketch::new(100, 1);
        let taken = |sketch: &Sketch| (sketch.slots.capacity(), sketch.heap.capacity());
        let before = taken(&sketch);
        for key in 0..100_000_u32 {
            sketch.count(at(u64::from(key) * 1_000), 0, &key.to_le_bytes());
        }
        assert_eq!(taken(&sketch), before);
        assert_eq!(sketch.slots.len(), 100);
    }
}
