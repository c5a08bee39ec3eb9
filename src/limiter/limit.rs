//! What every algorithm can say about one limit, and the decision that follows from one or several.

use std::cmp::Reverse;

use super::{Decision, Duration, Mode, Request, RetryAfter, Timestamp, Units, Window};

/// One limit and how much of it is in use: a GCRA bucket, or the log of one window.
pub trait Limit {
    /// What it was asked to enforce.
    fn parameters(&self) -> LimitParameters;

    /// The most units that can be granted at once.
    fn max_grant(&self) -> Units;

    /// Units that would be granted now.
    fn remaining(&self) -> u64;

    /// Units in use. More than the limit if there is a debt, or if the limit was lowered.
    fn used(&self) -> u64;

    /// Whether the whole quota is there.
    fn is_full(&self) -> bool;

    /// Whether there is room for `units` now.
    fn has_room_for(&self, units: u64) -> bool;

    /// When there will be room for `units`; [`RetryAfter::NOW`] if there is.
    fn retry_after(&self, units: u64, now: Timestamp) -> RetryAfter;

    /// The time until there are more units remaining; zero if all are there.
    fn next_after(&self, now: Timestamp) -> Duration;

    /// The time until the whole quota is back.
    fn reset_after(&self, now: Timestamp) -> Duration;
}

/// The parameters of one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitParameters {
    /// Units per window.
    pub limit: Units,
    /// The window.
    pub window: Window,
    /// The most units at once, if that is another number (GCRA).
    pub burst: Option<Units>,
}

/// The limits that have to agree on a request: at least one, in the order in which they were named.
#[derive(Debug)]
pub struct NonEmpty<'a, L> {
    first: &'a L,
    others: &'a [L],
}

impl<'a, L: Limit> NonEmpty<'a, L> {
    /// `first`, and then `others`.
    pub(super) const fn new(first: &'a L, others: &'a [L]) -> Self {
        Self { first, others }
    }

    /// The first one.
    pub(super) const fn first(&self) -> &'a L {
        self.first
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &'a L> {
        std::iter::once(self.first).chain(self.others)
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.others.len().saturating_add(1)
    }

    /// The one with the smallest `key`; of equals, the first.
    fn min_by<K: Ord>(&self, key: impl Fn(&L) -> K) -> &'a L {
        self.others.iter().fold(
            self.first,
            |min, limit| {
                if key(limit) < key(min) { limit } else { min }
            },
        )
    }

    /// Whether the whole quota of all is there.
    pub(super) fn are_full(&self) -> bool {
        self.iter().all(Limit::is_full)
    }

    /// How many units of `request` all of them have room for, now or as soon as the request would wait.
    #[inline(always)]
    pub(super) fn grantable(&self, request: &Request, now: Timestamp) -> u64 {
        let cost = request.cost.get();
        let granted = match request.mode {
            Mode::Force => true,
            Mode::AtMost => {
                let remaining = self.min_by(Limit::remaining).remaining();
                return cost.min(remaining.saturating_sub(request.keep));
            }
            Mode::Exact => {
                let needed = request.needed();
                self.iter().all(|limit| limit.has_room_for(needed))
            }
            Mode::Wait(max) => {
                self.retry_after(request, now) <= RetryAfter::After(max.as_duration())
            }
        };
        if granted { cost } else { 0 }
    }

    /// Whether `request` needs more than one of them can ever grant.
    pub(super) fn exceeds_limit(&self, request: &Request) -> bool {
        let needed = request.min_needed();
        self.iter().any(|limit| needed > limit.max_grant().get())
    }

    /// The time until there is room for `request` in all of them.
    pub(super) fn retry_after(&self, request: &Request, now: Timestamp) -> RetryAfter {
        wait(
            self.min_by(|limit| Reverse(wait(limit, request, now))),
            request,
            now,
        )
    }

    /// The reply if `granted` units are (or would be) granted. Every field is that of one limit, the binding one: after
    /// a grant, the one with the fewest units remaining; after a denial, the one with the longest wait. Ties go to the
    /// first.
    pub(super) fn decision_for(
        &self,
        request: &Request,
        granted: u64,
        blocked_for: Duration,
        now: Timestamp,
    ) -> Decision {
        let wait = |limit: &L| wait(limit, request, now).at_least(blocked_for);
        let (binding, retry_after) = if granted > 0 {
            (self.min_by(Limit::remaining), RetryAfter::NOW)
        } else {
            let longest = self.min_by(|limit| Reverse(wait(limit)));
            (longest, wait(longest))
        };
        decision(binding, granted, retry_after, blocked_for, now)
    }
}

/// The reply with the fields of `binding`.
pub(super) fn decision<L: Limit>(
    binding: &L,
    granted: u64,
    retry_after: RetryAfter,
    blocked_for: Duration,
    now: Timestamp,
) -> Decision {
    Decision {
        granted,
        limit: binding.max_grant(),
        remaining: binding.remaining(),
        retry_after,
        reset_after: binding.reset_after(now).max(blocked_for),
    }
}

/// When `limit` alone would grant at least a part of `request` that counts as a grant.
pub(super) fn wait<L: Limit>(limit: &L, request: &Request, now: Timestamp) -> RetryAfter {
    match request.mode {
        Mode::Force => RetryAfter::NOW,
        _ => limit.retry_after(request.min_needed(), now),
    }
}
