//! What every algorithm can say about one quota, and the decision that follows from it.

use std::cmp::Reverse;

use super::{Decision, Duration, Mode, Request, RetryAfter, Timestamp, Units};

/// One quota and how much of it is in use: a GCRA bucket, or the log of one window.
pub trait Limit {
    /// The most units that can be granted at once.
    fn limit(&self) -> Units;

    /// Units that would be granted now.
    fn remaining(&self) -> u64;

    /// Units in use. More than the limit in debt, or when the limit has been lowered.
    fn used(&self) -> u64;

    /// Whether the whole quota is there.
    fn is_full(&self) -> bool;

    /// Whether `cost` units would be granted now.
    fn has_room_for(&self, cost: Units) -> bool;

    /// When `cost` units would be granted; [`RetryAfter::NOW`] where there is room.
    fn retry_after(&self, cost: Units, now: Timestamp) -> RetryAfter;

    /// The time until there are more units remaining; none when all are there.
    fn next_after(&self, now: Timestamp) -> Duration;

    /// The time until the whole quota is back.
    fn reset_after(&self, now: Timestamp) -> Duration;

    /// Takes `units`, whether there is room or not. A debt is kept up to one further quota; what is beyond is dropped.
    fn charge(&mut self, units: u64, now: Timestamp);

    /// Gives back up to `units`, those admitted last, as if they never had been. Returns how many.
    fn refund(&mut self, units: u64) -> u64;
}

/// The limits that have to agree on a request: at least one, in the order in which they were named.
#[derive(Debug)]
pub struct NonEmpty<'a, M> {
    /// The first named.
    pub first: &'a M,
    /// The others.
    pub others: &'a [M],
}

impl<M: Limit> NonEmpty<'_, M> {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &M> {
        std::iter::once(self.first).chain(self.others)
    }

    /// The one with the least `key`; of equals, the first.
    fn least<K: Ord>(&self, key: impl Fn(&M) -> K) -> &M {
        self.others.iter().fold(self.first, |least, limit| {
            if key(limit) < key(least) {
                limit
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
    pub(super) fn are_full(&self) -> bool {
        self.iter().all(Limit::is_full)
    }

    /// How many units of `request` all of them have room for. A blocked_for that still lasts leaves room for nothing,
    /// whatever the mode.
    pub(super) fn grantable(&self, request: &Request, blocked_for: Duration) -> u64 {
        if !blocked_for.is_zero() {
            return 0;
        }
        let cost = request.cost.get();
        match request.mode {
            Mode::Force => cost,
            Mode::AtMost => cost.min(self.least(Limit::remaining).remaining()),
            Mode::Exact => {
                if self.iter().all(|limit| limit.has_room_for(request.cost)) {
                    cost
                } else {
                    0
                }
            }
        }
    }

    /// Whether one of them can never grant `request`.
    pub(super) fn exceeds_limit(&self, request: &Request) -> bool {
        request.mode == Mode::Exact && self.iter().any(|limit| request.cost > limit.limit())
    }

    /// The reply when `granted` units are (or would be) granted. Every field is that of one limit, the binding one:
    /// granted, the one with the fewest units remaining; denied, the one with the longest wait. Ties go to the first.
    pub(super) fn decision_for(
        &self,
        request: &Request,
        granted: u64,
        blocked_for: Duration,
        now: Timestamp,
    ) -> Decision {
        let wait = |limit: &M| wait(limit, request, now).at_least(blocked_for);
        let (binding, retry_after) = if granted > 0 {
            (self.least(Limit::remaining), RetryAfter::NOW)
        } else {
            let longest = self.least(|limit| Reverse(wait(limit)));
            (longest, wait(longest))
        };
        Decision {
            granted,
            limit: binding.limit(),
            remaining: binding.remaining(),
            retry_after,
            reset_after: binding.reset_after(now).max(blocked_for),
        }
    }
}

/// When `limit` alone would grant at least a part of `request` that counts as a grant.
fn wait<M: Limit>(limit: &M, request: &Request, now: Timestamp) -> RetryAfter {
    match request.mode {
        Mode::Exact => limit.retry_after(request.cost, now),
        Mode::AtMost => limit.retry_after(Units::ONE, now),
        Mode::Force => RetryAfter::NOW,
    }
}
