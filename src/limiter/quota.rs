//! What GCRA enforces: `limit` units per `window` sustained, at most `burst` at once.
//!
//! Amounts are in ticks of `1 / limit` nanosecond: see [`super::gcra`].

use super::{Duration, Units, Window};

/// Nanoseconds in a microsecond.
pub(super) const NANOS_PER_MICRO: u128 = 1_000;
const CENTURY_NANOS: u128 = 100 * 365 * 24 * 60 * 60 * 1_000_000_000;

/// `limit` units per `window` sustained, at most `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    limit: Units,
    window: Window,
    burst: Units,
}

/// Why there is no such quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaError {
    /// More than one unit per nanosecond.
    TooFast,
    /// The burst would take more than 100 years to refill.
    RefillsTooSlowly,
}

impl Quota {
    /// The smallest one: one unit a millisecond.
    pub(super) const MIN: Self = Self {
        limit: Units::ONE,
        window: Window::MIN,
        burst: Units::ONE,
    };

    /// The quota of `limit` units per `window`, at most `burst` at once.
    ///
    /// # Errors
    /// [`QuotaError::TooFast`] above one unit per nanosecond, [`QuotaError::RefillsTooSlowly`] if
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
    pub(super) fn worth(self, units: u64) -> u128 {
        u128::from(units).saturating_mul(u128::from(self.window.as_nanos()))
    }

    /// What the whole burst is worth, in ticks: at most 100 years of them, less than 2^94.
    pub(super) fn capacity(self) -> u128 {
        self.worth(self.burst.get())
    }

    /// The most that can be in use, in ticks: a burst and as much again in debt, of the slowest quota there is.
    pub(super) fn max_in_use(self) -> u128 {
        self.ticks(CENTURY_NANOS.saturating_mul(2))
    }

    /// `nanos` nanoseconds, in ticks.
    pub(super) fn ticks(self, nanos: u128) -> u128 {
        nanos.saturating_mul(u128::from(self.limit.get()))
    }

    /// The time that `ticks` take to pass, rounded up to a microsecond.
    pub(super) fn time(self, ticks: u128) -> Duration {
        let micros = divide(
            ticks,
            self.ticks(NANOS_PER_MICRO),
            u64::div_ceil,
            u128::div_ceil,
        );
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

/// A quotient, by `narrow` if 64 bits hold both numbers, as they do for all but the greatest quotas: a division of
/// 128 bits takes several times as long.
#[inline]
pub(super) fn divide(
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
