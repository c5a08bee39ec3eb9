//! The strict sliding window: never more than `limit` units in any interval as long as the window.
//!
//! A log of what was admitted, in at most [`MAX_GROUPS`] groups. A group is dated by its *newest* unit and leaves the
//! window as a whole, so no unit is ever forgotten early; that is the whole proof of the guarantee. Every grant opens a
//! group of its own, so the log is exact until there are more than [`MAX_GROUPS`]; then two neighbours join, which keeps
//! some units a little longer than needed.

use arrayvec::ArrayVec;

use super::{Duration, Limit, LimitParameters, RetryAfter, Timestamp, Units, Window};

/// The most groups that a log keeps (K).
pub const MAX_GROUPS: usize = 32;

/// [`MAX_GROUPS`], as a number of units.
const K: u64 = MAX_GROUPS as u64;

/// At most `limit` units in any `window`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The most units in any interval as long as the window.
    pub limit: Units,
    /// The length of the interval; an admission at t counts in [t, t + window).
    pub window: Window,
}

impl Rule {
    /// The smallest one: one unit a millisecond.
    pub(super) const MIN: Self = Self {
        limit: Units::ONE,
        window: Window::MIN,
    };
}

/// Units that leave the window together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// When the newest of them was admitted.
    pub newest: Timestamp,
    /// How many they are; at least one.
    pub units: u64,
}

impl Group {
    /// What stands where one will be.
    const NONE: Self = Self {
        newest: Timestamp::from_micros(0),
        units: 0,
    };
}

const _: () = assert!(
    MAX_GROUPS.is_multiple_of(4),
    "`least_delayed` looks at four pairs at a time"
);

/// The groups of a log, oldest first, each at another time. There is one more than are kept while two are about to join.
pub(super) type Groups = ArrayVec<Group, { MAX_GROUPS + 1 }>;

/// What one window has admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowLog {
    rule: Rule,
    groups: Groups,
    /// A bit for each group, the lowest for the oldest: whether groups of other times have joined with it, so that it may
    /// hold units admitted before `newest`.
    joined: u64,
    /// The units of all groups together.
    used: u64,
}

impl WindowLog {
    /// A log that has admitted nothing.
    #[must_use]
    #[inline(always)]
    pub const fn new(rule: Rule) -> Self {
        Self {
            rule,
            groups: Groups::new_const(),
            joined: 0,
            used: 0,
        }
    }

    /// Makes it a log of `rule` that has admitted nothing.
    pub(super) fn reset_to(&mut self, rule: Rule) {
        self.rule = rule;
        self.groups.clear();
        self.joined = 0;
        self.used = 0;
    }

    /// Makes room in an empty log for `count` groups, to be put there as they were stored, the oldest first. `None` if
    /// there are more than are kept.
    #[inline(always)]
    pub(super) fn make_room(&mut self, count: usize) -> Option<&mut [Group]> {
        let places = const { &[Group::NONE; MAX_GROUPS] }.get(..count)?;
        self.groups.try_extend_from_slice(places).ok()?;
        Some(&mut self.groups)
    }

    /// Sets the units of a log whose groups were restored, all of them together.
    pub(super) const fn restore_used(&mut self, used: u64) {
        self.used = used;
    }

    /// This log under another limit: what was admitted stays counted.
    pub(super) fn with_limit(mut self, limit: Units) -> Self {
        self.rule.limit = limit;
        self
    }

    /// A log of another window that starts with those units of this one that are younger than it.
    pub(super) fn within(&self, rule: Rule, now: Timestamp) -> Self {
        let mut log = self.clone();
        log.rule = rule;
        log.expire(now);
        log
    }

    /// The rule that it enforces.
    #[must_use]
    pub const fn rule(&self) -> Rule {
        self.rule
    }

    /// The groups, oldest first.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// A bit for each group, the lowest for the oldest: whether groups of other times have joined with it.
    #[must_use]
    pub const fn joined(&self) -> u64 {
        self.joined
    }

    /// Sets these bits of a log that was restored. `None` if there are more than groups.
    pub(super) fn restore_joined(&mut self, joined: u64) -> Option<()> {
        self.joined = joined;
        (joined >> self.groups.len() == 0).then_some(())
    }

    /// Lets the time be `now`: what has left the window is forgotten, and what was admitted in the future (the clock
    /// stepped back) counts as admitted now.
    #[inline]
    pub(super) fn advance(&mut self, now: Timestamp) {
        self.expire(now);
        if self.groups.last().is_some_and(|group| group.newest > now) {
            self.step_back(now);
        }
    }

    /// Lets what was admitted after `now` count as admitted now.
    #[cold]
    fn step_back(&mut self, now: Timestamp) {
        let mut future = 0_u64;
        while let Some(group) = self.groups.last().filter(|group| group.newest > now) {
            future = future.saturating_add(group.units);
            self.groups.pop();
        }
        self.used = self.used.saturating_sub(future);
        // Their receipts are of times after now, and are no longer found; those of older units that had joined are.
        let moved = self.joined >> self.groups.len();
        self.joined &= bit(self.groups.len()).wrapping_sub(1);
        self.admit(future, now);
        if moved != 0 {
            self.joined |= bit(self.groups.len().saturating_sub(1));
        }
    }

    #[inline]
    fn expire(&mut self, now: Timestamp) {
        let has_left = |group: &Group| self.end(group) <= now;
        if self.groups.first().is_some_and(has_left) {
            let gone = self.groups.iter().take_while(|group| has_left(group));
            self.forget(gone.count());
        }
    }

    /// Forgets the oldest groups, so many.
    fn forget(&mut self, gone: usize) {
        for group in self.groups.drain(..gone) {
            self.used = self.used.saturating_sub(group.units);
        }
        self.joined >>= gone;
    }

    /// When `group` leaves the window.
    fn end(&self, group: &Group) -> Timestamp {
        group.newest.saturating_add(self.rule.window.as_duration())
    }

    fn admit(&mut self, units: u64, now: Timestamp) {
        if units == 0 {
            return;
        }
        self.used = self.used.saturating_add(units);
        match self.groups.last_mut() {
            Some(last) if last.newest == now => last.units = last.units.saturating_add(units),
            _ => {
                let kept = self.groups.try_push(Group { newest: now, units });
                debug_assert!(kept.is_ok(), "two join before there are more");
            }
        }
        if self.groups.len() > MAX_GROUPS {
            self.join();
        }
    }

    /// Joins two neighbours, dated by the newer: of the pairs of at most `2g` units together, `g = ceil(limit / K)`,
    /// the one whose older units are kept too long by the least (units x time).
    ///
    /// Such a pair exists: the `K + 1` groups hold at most `limit` units, so the `K` pairs of neighbours hold at most
    /// `2 x limit` together, and the smallest at most `2 x limit / K`. If there is a debt (`FORCE`), the same
    /// holds with what is used in place of the limit.
    fn join(&mut self) {
        let max = self
            .rule
            .limit
            .get()
            .max(self.used)
            .div_ceil(K)
            .saturating_mul(2);
        // No pair within `max` delays for longer than the window: 64 bits hold that of nearly all limits.
        let window = self.rule.window.as_duration().as_micros();
        let at = if max.checked_mul(window).is_none() {
            let delay = |units, gap| u128::from(units).saturating_mul(u128::from(gap));
            self.least_delayed(u128::MAX, delay, |units| units <= max)
        } else if self.used <= max {
            // Far below the limit, all pairs are within.
            self.least_delayed(u64::MAX, u64::wrapping_mul, |_| true)
        } else {
            self.least_delayed(u64::MAX, u64::wrapping_mul, |units| units <= max)
        };
        if let Some(older) = self.groups.pop_at(at)
            && let Some(newer) = self.groups.get_mut(at)
        {
            newer.units = newer.units.saturating_add(older.units);
            self.joined = without_bit(self.joined, at) | bit(at);
        }
    }

    /// Where the older group of the pair to join is: of those that may, the one with the least `delay`, which multiplies units
    /// by time.
    #[inline(always)]
    fn least_delayed<D: Copy + Ord>(
        &self,
        most: D,
        delay: impl Fn(u64, u64) -> D,
        may_join: impl Fn(u64) -> bool,
    ) -> usize {
        let mut least = most;
        let mut at = 0;
        // Four pairs at a time: it is asked less often whether there are more.
        let fours = self.groups.windows(5).step_by(4);
        for (first, five) in (0..).step_by(4).zip(fours) {
            for (pair, groups) in (first..).zip(five.windows(2)) {
                let [older, newer] = groups else { continue };
                // No overflow: each group is older than the next, and a log holds at most twice the greatest limit.
                let [from, to] = [older, newer].map(|group| group.newest.as_micros());
                let delay = delay(older.units, to.wrapping_sub(from));
                if may_join(older.units.wrapping_add(newer.units)) && delay < least {
                    least = delay;
                    at = pair;
                }
            }
        }
        at
    }

    /// Takes `units`, whether there is room or not. A debt is kept up to one further limit; what is beyond is dropped.
    /// Returns whether anything was taken.
    pub(super) fn charge(&mut self, units: u64, now: Timestamp) -> bool {
        let max_used = self.rule.limit.get().saturating_mul(2);
        let room = max_used.saturating_sub(self.used);
        let charged = units.min(room);
        self.admit(charged, now);
        charged > 0
    }

    /// Gives back up to `units`, those admitted last. Returns how many.
    pub(super) fn refund(&mut self, units: u64) -> u64 {
        let mut missing = units;
        while let Some(newest) = self.groups.last_mut() {
            let taken = missing.min(newest.units);
            newest.units = newest.units.saturating_sub(taken);
            missing = missing.saturating_sub(taken);
            if newest.units > 0 {
                break;
            }
            self.groups.pop();
            self.joined &= bit(self.groups.len()).wrapping_sub(1);
        }
        let refunded = units.saturating_sub(missing);
        self.used = self.used.saturating_sub(refunded);
        refunded
    }

    /// Gives back up to `units` of those admitted at `receipt`. Returns how many.
    ///
    /// They are in the first group that is not older: a group is dated by its newest unit. If it is of another time and
    /// has never joined with one, they have been given back already, or were never admitted.
    pub(super) fn refund_receipt(&mut self, units: u64, receipt: Timestamp, now: Timestamp) -> u64 {
        if receipt.saturating_add(self.rule.window.as_duration()) <= now {
            return 0;
        }
        let at = self
            .groups
            .iter()
            .take_while(|group| group.newest < receipt)
            .count();
        let joined = self.joined & bit(at) != 0;
        let Some(group) = self
            .groups
            .get_mut(at)
            .filter(|group| joined || group.newest == receipt)
        else {
            return 0;
        };
        let refunded = units.min(group.units);
        group.units = group.units.saturating_sub(refunded);
        if group.units == 0 {
            self.groups.pop_at(at);
            self.joined = without_bit(self.joined, at);
        }
        self.used = self.used.saturating_sub(refunded);
        refunded
    }

    /// The time until `units` of those in use have left.
    fn time_to_free(&self, units: u64, now: Timestamp) -> Duration {
        let mut missing = units;
        for group in &self.groups {
            if missing == 0 {
                break;
            }
            missing = missing.saturating_sub(group.units);
            if missing == 0 {
                return self.end(group).duration_since(now);
            }
        }
        Duration::ZERO
    }
}

/// The bit of the group at a place.
const fn bit(place: usize) -> u64 {
    // No overflow: there are fewer groups than bits.
    1_u64.wrapping_shl(place as u32)
}

/// `bits` after the group at `place` has been taken out: those of later groups come down.
const fn without_bit(bits: u64, place: usize) -> u64 {
    let before = bit(place).wrapping_sub(1);
    bits & before | bits >> 1 & !before
}

impl Limit for WindowLog {
    fn parameters(&self) -> LimitParameters {
        LimitParameters {
            limit: self.rule.limit,
            window: self.rule.window,
            burst: None,
        }
    }

    fn max_grant(&self) -> Units {
        self.rule.limit
    }

    fn remaining(&self) -> u64 {
        self.rule.limit.get().saturating_sub(self.used)
    }

    fn used(&self) -> u64 {
        self.used
    }

    fn is_full(&self) -> bool {
        self.groups.is_empty()
    }

    fn has_room_for(&self, units: u64) -> bool {
        units <= self.remaining()
    }

    fn retry_after(&self, units: u64, now: Timestamp) -> RetryAfter {
        let limit = self.rule.limit.get();
        if units > limit {
            return RetryAfter::Never;
        }
        let excess = self.used.saturating_add(units).saturating_sub(limit);
        RetryAfter::After(self.time_to_free(excess, now))
    }

    fn next_after(&self, now: Timestamp) -> Duration {
        let debt = self.used.saturating_sub(self.rule.limit.get());
        if self.is_full() {
            Duration::ZERO
        } else {
            // If there is a debt, no unit remains until it is paid.
            self.time_to_free(debt.saturating_add(1), now)
        }
    }

    fn reset_after(&self, now: Timestamp) -> Duration {
        self.groups.last().map_or(Duration::ZERO, |newest| {
            self.end(newest).duration_since(now)
        })
    }
}
