//! GCRA, the generic cell rate algorithm: a token bucket that is stored as one point in time.
//!
//! The theoretical arrival time (TAT) is when the whole quota is back. A request of `cost` units is granted iff moving
//! the TAT on by what the units are worth leaves it at most the worth of `burst` units ahead of now. (ITU-T
//! Recommendation I.371, "virtual scheduling"; in use for web requests since Brandur Leach's throttled.)
//!
//! One unit is worth `window / limit` of time, which need not be a whole number of anything. So time is counted in
//! *ticks* of `1 / limit` nanosecond here: a unit is worth exactly `window` (in nanoseconds) ticks, and nothing is ever
//! rounded but a reply, and that upwards.

use super::limit::Limit;
use super::{Duration, RetryAfter, Timestamp, Units, Window};

const NANOS_PER_MICRO: u128 = 1_000;
const CENTURY_NANOS: u128 = 100 * 365 * 24 * 60 * 60 * 1_000_000_000;

/// `limit` units per `window` sustained, at most `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    limit: Units,
    window: Window,
    burst: Units,
}

/// Why a quota cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaError {
    /// More than one unit per nanosecond.
    TooFast,
    /// The burst would take more than 100 years to refill.
    RefillsTooSlowly,
}

impl Quota {
    /// The least that there is: one unit a millisecond.
    pub(super) const MIN: Self = Self {
        limit: Units::ONE,
        window: Window::MIN,
        burst: Units::ONE,
    };

    /// The quota of `limit` units per `window`, at most `burst` at once.
    ///
    /// # Errors
    /// [`QuotaError::TooFast`] above one unit per nanosecond, [`QuotaError::RefillsTooSlowly`] where
    /// `burst x window / limit` is more than 100 years.
    ///
    /// ```
    /// use redis_ratelimit::limiter::{Quota, QuotaError, Units, Window};
    ///
    /// let five = Units::new(5).unwrap();
    /// let minute = Window::from_millis(60_000).unwrap();
    /// assert!(Quota::new(five, minute, five).is_ok());
    ///
    /// let decade = Window::from_millis(Window::MAX_MILLIS).unwrap();
    /// assert_eq!(Quota::new(Units::ONE, decade, five), Ok(Quota::new(Units::ONE, decade, five).unwrap()));
    /// assert_eq!(Quota::new(Units::ONE, decade, Units::new(11).unwrap()), Err(QuotaError::RefillsTooSlowly));
    /// ```
    pub fn new(limit: Units, window: Window, burst: Units) -> Result<Self, QuotaError> {
        let quota = Self {
            limit,
            window,
            burst,
        };
        if limit.get() > window.as_nanos() {
            Err(QuotaError::TooFast)
        } else if quota.capacity() > quota.ticks(CENTURY_NANOS) {
            Err(QuotaError::RefillsTooSlowly)
        } else {
            Ok(quota)
        }
    }

    /// Units per window.
    #[must_use]
    pub const fn limit(self) -> Units {
        self.limit
    }

    /// The time in which `limit` units refill.
    #[must_use]
    pub const fn window(self) -> Window {
        self.window
    }

    /// The most units granted at once.
    #[must_use]
    pub const fn burst(self) -> Units {
        self.burst
    }

    /// What `units` are worth, in ticks.
    fn worth(self, units: u64) -> u128 {
        u128::from(units).saturating_mul(u128::from(self.window.as_nanos()))
    }

    /// What the whole burst is worth, in ticks: at most 100 years of them, less than 2^94.
    pub(super) fn capacity(self) -> u128 {
        self.worth(self.burst.get())
    }

    /// The most that can be in use, in ticks: a burst and as much again in debt, of the slowest quota there is.
    pub(super) fn most_in_use(self) -> u128 {
        self.ticks(CENTURY_NANOS.saturating_mul(2))
    }

    fn ticks(self, nanos: u128) -> u128 {
        nanos.saturating_mul(u128::from(self.limit.get()))
    }

    /// The time that `ticks` take to pass, rounded up to a microsecond.
    fn time(self, ticks: u128) -> Duration {
        let micros = divide(
            ticks,
            self.ticks(NANOS_PER_MICRO),
            u64::div_ceil,
            u128::div_ceil,
        );
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

/// A quotient, by `narrow` where 64 bits hold both numbers, as they do for all but the greatest quotas: a division of
/// 128 bits takes several times as long.
#[inline]
fn divide(
    dividend: u128,
    divisor: u128,
    narrow: impl Fn(u64, u64) -> u64,
    wide: impl Fn(u128, u128) -> u128,
) -> u128 {
    match (u64::try_from(dividend), u64::try_from(divisor)) {
        (Ok(dividend), Ok(divisor)) => narrow(dividend, divisor).into(),
        _ => wide(dividend, divisor),
    }
}

/// How much of a quota is in use: the distance from now to the TAT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    quota: Quota,
    in_use: u128,
}

impl Bucket {
    /// A bucket of which nothing is in use.
    #[must_use]
    pub const fn new(quota: Quota) -> Self {
        Self { quota, in_use: 0 }
    }

    /// The quota in force.
    #[must_use]
    pub const fn quota(&self) -> Quota {
        self.quota
    }

    /// The distance from now to the TAT, in ticks of `1 / limit` nanosecond.
    #[must_use]
    pub const fn in_use(&self) -> u128 {
        self.in_use
    }

    /// A bucket as it was stored; `None` where no sequence of requests could have led to it.
    pub(super) fn restore(quota: Quota, in_use: u128) -> Option<Self> {
        (in_use <= quota.most_in_use()).then_some(Self { quota, in_use })
    }

    /// A bucket whose TAT is `nanos` nanoseconds from now.
    #[must_use]
    pub fn with_tat_in(quota: Quota, nanos: u64) -> Self {
        let in_use = quota.ticks(u128::from(nanos)).min(quota.most_in_use());
        Self { quota, in_use }
    }

    /// Lets `passed` time go by.
    pub(super) fn advance(&mut self, passed: Duration) {
        let refilled = self
            .quota
            .ticks(u128::from(passed.as_micros()).saturating_mul(NANOS_PER_MICRO));
        self.in_use = self.in_use.saturating_sub(refilled);
    }

    /// Puts `quota` in force. The TAT stays where it is, rounded up to the new tick: what was admitted is neither
    /// forgotten nor forgiven. Returns whether anything changed.
    pub(super) fn set_parameters(&mut self, quota: Quota) -> bool {
        if self.quota == quota {
            return false;
        }
        // At most 2^95 x 2^32.
        self.in_use = self
            .in_use
            .saturating_mul(u128::from(quota.limit.get()))
            .div_ceil(u128::from(self.quota.limit.get()))
            .min(quota.most_in_use());
        self.quota = quota;
        true
    }
}

impl Limit for Bucket {
    fn limit(&self) -> Units {
        self.quota.burst()
    }

    fn remaining(&self) -> u64 {
        let room = self.quota.capacity().saturating_sub(self.in_use);
        let unit = self.quota.worth(1).max(1);
        let units = divide(room, unit, u64::saturating_div, u128::saturating_div);
        u64::try_from(units).unwrap_or(u64::MAX)
    }

    fn used(&self) -> u64 {
        let unit = self.quota.worth(1).max(1);
        let units = divide(self.in_use, unit, u64::div_ceil, u128::div_ceil);
        u64::try_from(units).unwrap_or(u64::MAX)
    }

    fn is_full(&self) -> bool {
        self.in_use == 0
    }

    fn has_room_for(&self, cost: Units) -> bool {
        let after = self.in_use.saturating_add(self.quota.worth(cost.get()));
        after <= self.quota.capacity()
    }

    fn retry_after(&self, cost: Units, _now: Timestamp) -> RetryAfter {
        if cost > self.quota.burst {
            return RetryAfter::Never;
        }
        let after = self.in_use.saturating_add(self.quota.worth(cost.get()));
        RetryAfter::After(self.quota.time(after.saturating_sub(self.quota.capacity())))
    }

    fn next_after(&self, _now: Timestamp) -> Duration {
        if self.is_full() {
            return Duration::ZERO;
        }
        let one_more = self.quota.worth(self.remaining().saturating_add(1));
        let after = self.in_use.saturating_add(one_more);
        self.quota.time(after.saturating_sub(self.quota.capacity()))
    }

    fn reset_after(&self, _now: Timestamp) -> Duration {
        self.quota.time(self.in_use)
    }

    fn charge(&mut self, units: u64, _now: Timestamp) {
        let debt_limit = self.quota.capacity().saturating_mul(2).max(self.in_use);
        self.in_use = self
            .in_use
            .saturating_add(self.quota.worth(units))
            .min(debt_limit);
    }

    fn refund(&mut self, units: u64) -> u64 {
        // A unit that has been refilled in part counts as one.
        let refunded = units.min(self.used());
        self.in_use = self.in_use.saturating_sub(self.quota.worth(refunded));
        refunded
    }
}
