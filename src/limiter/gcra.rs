//! GCRA, the generic cell rate algorithm: a token bucket that is stored as one point in time.
//!
//! The theoretical arrival time (TAT) is when the whole quota is back. A grant moves it on by what the units are worth.
//! A request is granted if and only if the TAT is then at most the worth of `burst` units ahead of now. (ITU-T
//! Recommendation I.371, "virtual scheduling"; in use for web requests since Brandur Leach's throttled.)
//!
//! One unit is worth `window / limit` of time, which is not always a whole number of nanoseconds. So time is counted in
//! *ticks* of `1 / limit` nanosecond here: a unit is worth exactly `window` (in nanoseconds) ticks. Only a reply is
//! rounded, and the TAT if the limit changes: both upwards.

use super::quota::{NANOS_PER_MICRO, divide};
use super::{
    Algorithm, AlgorithmKind, Duration, Limit, LimitParameters, Limiter, Mode, NonEmpty, Quota,
    RetryAfter, Timestamp, Units,
};

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

    /// The active quota.
    #[must_use]
    pub const fn quota(&self) -> Quota {
        self.quota
    }

    /// The distance from now to the TAT, in ticks of `1 / limit` nanosecond.
    #[must_use]
    pub const fn in_use(&self) -> u128 {
        self.in_use
    }

    /// A bucket as it was stored; `None` if no sequence of requests could have led to it.
    pub(super) fn restore(quota: Quota, in_use: u128) -> Option<Self> {
        (in_use <= quota.max_in_use()).then_some(Self { quota, in_use })
    }

    /// A bucket whose TAT is `nanos` nanoseconds from now.
    #[must_use]
    pub fn with_tat_in(quota: Quota, nanos: u64) -> Self {
        let in_use = quota.ticks(u128::from(nanos)).min(quota.max_in_use());
        Self { quota, in_use }
    }
}

impl Algorithm for Bucket {
    const KIND: AlgorithmKind = AlgorithmKind::Gcra;
    type Parameters = Quota;
    type Limit = Self;

    fn new(quota: &Quota) -> Self {
        Self::new(*quota)
    }

    fn advance(&mut self, from: Timestamp, now: Timestamp) {
        // While the clock stands before `from` no time passes: the TAT steps back with the clock.
        let passed = now.duration_since(from);
        let refilled = self
            .quota
            .ticks(u128::from(passed.as_micros()).saturating_mul(NANOS_PER_MICRO));
        self.in_use = self.in_use.saturating_sub(refilled);
    }

    /// The TAT stays where it is, rounded up to the new tick: what was admitted is neither forgotten nor forgiven.
    fn set_parameters(&mut self, quota: &Quota, _now: Timestamp) -> bool {
        if self.quota == *quota {
            return false;
        }
        // At most 2^95 x 2^32.
        self.in_use = self
            .in_use
            .saturating_mul(u128::from(quota.limit().get()))
            .div_ceil(u128::from(self.quota.limit().get()))
            .min(quota.max_in_use());
        self.quota = *quota;
        true
    }

    fn active(&self) -> NonEmpty<'_, Self> {
        NonEmpty::new(self, &[])
    }

    fn charge(&mut self, units: u64, mode: Mode, _now: Timestamp) -> bool {
        let before = self.in_use;
        let in_use = self.in_use.saturating_add(self.quota.worth(units));
        self.in_use = if mode == Mode::Force {
            let max_debt = self.quota.capacity().saturating_mul(2).max(self.in_use);
            in_use.min(max_debt)
        } else {
            // The others are charged for what there is room for, or will be within the longest duration.
            in_use
        };
        self.in_use > before
    }

    fn refund(&mut self, units: u64) -> u64 {
        // A unit that has been refilled in part counts as one.
        let refunded = units.min(self.used());
        self.in_use = self.in_use.saturating_sub(self.quota.worth(refunded));
        refunded
    }

    fn expires_after(&self, now: Timestamp) -> Duration {
        self.reset_after(now)
    }
}

impl Limit for Bucket {
    fn parameters(&self) -> LimitParameters {
        LimitParameters {
            limit: self.quota.limit(),
            window: self.quota.window(),
            burst: Some(self.quota.burst()),
        }
    }

    fn max_grant(&self) -> Units {
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

    fn has_room_for(&self, units: u64) -> bool {
        let after = self.in_use.saturating_add(self.quota.worth(units));
        after <= self.quota.capacity()
    }

    fn retry_after(&self, units: u64, _now: Timestamp) -> RetryAfter {
        if units > self.quota.burst().get() {
            return RetryAfter::Never;
        }
        let after = self.in_use.saturating_add(self.quota.worth(units));
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
}

impl Limiter<Bucket> {
    /// A limiter of which another program stored only the TAT, in nanoseconds since the epoch.
    #[must_use]
    pub fn from_tat(quota: Quota, tat_nanos: u64, now: Timestamp) -> Self {
        let now_nanos = now.as_micros().saturating_mul(1_000);
        let bucket = Bucket::with_tat_in(quota, tat_nanos.saturating_sub(now_nanos));
        Self::with(bucket, now)
    }
}
