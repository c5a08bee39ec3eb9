//! What every algorithm can say about one quota, and the decision that follows from it.

use std::cmp::Reverse;

use super::{Decision, Demand, Instant, Mode, RetryAfter, Span, Units};

/// One quota and how much of it is in use: a GCRA bucket, or the log of one window.
pub trait Meter {
    /// The most units that can be granted at once.
    fn limit(&self) -> Units;

    /// Units that would be granted now.
    fn remaining(&self) -> u64;

    /// Units in use. More than the limit in debt, or when the limit has been lowered.
    fn used(&self) -> u64;

    /// Whether the whole quota is there.
    fn is_unused(&self) -> bool;

    /// Whether `cost` units would be granted now.
    fn has_room_for(&self, cost: Units) -> bool;

    /// When `cost` units would be granted; [`RetryAfter::NOW`] where there is room.
    fn retry_after(&self, cost: Units, now: Instant) -> RetryAfter;

    /// The time until there are more units remaining; none when all are there.
    fn next_after(&self, now: Instant) -> Span;

    /// The time until the whole quota is back.
    fn reset_after(&self, now: Instant) -> Span;

    /// Takes `units`, whether there is room or not. A debt is kept up to one further quota; what is beyond is dropped.
    fn charge(&mut self, units: u64, now: Instant);

    /// Gives back up to `units`, those admitted last, as if they never had been. Returns how many.
    fn refund(&mut self, units: u64) -> u64;
}

/// The meters that have to agree on a request: at least one, in the order in which they were named.
#[derive(Debug)]
pub struct Meters<'a, M> {
    /// The first named.
    pub first: &'a M,
    /// The others.
    pub others: &'a [M],
}

impl<M: Meter> Meters<'_, M> {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &M> {
        std::iter::once(self.first).chain(self.others)
    }

    /// The one with the least `key`; of equals, the first.
    fn least<K: Ord>(&self, key: impl Fn(&M) -> K) -> &M {
        self.others.iter().fold(self.first, |least, meter| {
            if key(meter) < key(least) {
                meter
            } else {
                least
            }
        })
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.others.len().saturating_add(1)
    }

    /// Whether the whole quota of all is there.
    pub(super) fn are_unused(&self) -> bool {
        self.iter().all(Meter::is_unused)
    }

    /// How many units of `demand` all of them have room for. A lockout that still lasts leaves room for nothing,
    /// whatever the mode.
    pub(super) fn affordable(&self, demand: &Demand, lockout: Span) -> u64 {
        if !lockout.is_zero() {
            return 0;
        }
        let cost = demand.cost.get();
        match demand.mode {
            Mode::Force => cost,
            Mode::AtMost => cost.min(self.least(Meter::remaining).remaining()),
            Mode::AllOrNothing => {
                if self.iter().all(|meter| meter.has_room_for(demand.cost)) {
                    cost
                } else {
                    0
                }
            }
        }
    }

    /// Whether one of them can never grant `demand`.
    pub(super) fn can_never(&self, demand: &Demand) -> bool {
        demand.mode == Mode::AllOrNothing && self.iter().any(|meter| demand.cost > meter.limit())
    }

    /// The reply when `granted` units are (or would be) granted. Every field is that of one meter, the binding one:
    /// granted, the one with the fewest units remaining; denied, the one with the longest wait. Ties go to the first.
    pub(super) fn report(
        &self,
        demand: &Demand,
        granted: u64,
        lockout: Span,
        now: Instant,
    ) -> Decision {
        let wait = |meter: &M| wait(meter, demand, now).at_least(lockout);
        let (binding, retry_after) = if granted > 0 {
            (self.least(Meter::remaining), RetryAfter::NOW)
        } else {
            let longest = self.least(|meter| Reverse(wait(meter)));
            (longest, wait(longest))
        };
        Decision {
            granted,
            limit: binding.limit(),
            remaining: binding.remaining(),
            retry_after,
            reset_after: binding.reset_after(now).max(lockout),
        }
    }
}

/// When `meter` alone would grant at least a part of `demand` that counts as a grant.
fn wait<M: Meter>(meter: &M, demand: &Demand, now: Instant) -> RetryAfter {
    match demand.mode {
        Mode::AllOrNothing => meter.retry_after(demand.cost, now),
        Mode::AtMost => meter.retry_after(Units::ONE, now),
        Mode::Force => RetryAfter::NOW,
    }
}
