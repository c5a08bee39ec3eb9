//! Points in time, lengths of time, and the windows that limits are counted over.

use std::num::NonZeroU64;

/// A point in time: whole microseconds since the Unix epoch, at most [`Timestamp::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The last one, in the year 4253: what fits into the 7 bytes that a stored state has for it.
    pub const MAX: Self = Self((1 << 56) - 1);

    /// The timestamp `micros` microseconds after the epoch; [`Timestamp::MAX`] if that would be later.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        if micros > Self::MAX.0 {
            Self::MAX
        } else {
            Self(micros)
        }
    }

    /// The same for what is known to be at most [`Timestamp::MAX`].
    pub(super) const fn from_valid_micros(micros: u64) -> Self {
        debug_assert!(micros <= Self::MAX.0, "too late");
        Self(micros)
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Milliseconds since the epoch, rounded up.
    #[must_use]
    pub const fn as_millis_ceil(self) -> u64 {
        self.0.div_ceil(1_000)
    }

    /// The time that has passed since `earlier`; nothing if `earlier` is in fact later.
    #[must_use]
    pub const fn duration_since(self, earlier: Self) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }

    /// The timestamp `duration` later; [`Timestamp::MAX`] if that would be later.
    #[must_use]
    pub const fn saturating_add(self, duration: Duration) -> Self {
        Self::from_micros(self.0.saturating_add(duration.0))
    }
}

/// A length of time in whole microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(u64);

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// A duration of `micros` microseconds.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Its length in microseconds.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Its length in milliseconds, rounded up: whoever waits that long has waited long enough.
    ///
    /// ```
    /// use redis_ratelimit::limiter::Duration;
    ///
    /// assert_eq!(Duration::from_micros(1_001).as_millis_ceil(), 2);
    /// ```
    #[must_use]
    pub const fn as_millis_ceil(self) -> u64 {
        self.0.div_ceil(1_000)
    }

    /// Whether it is no time at all.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Both one after the other.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// It doubled `times` times.
    #[must_use]
    pub(super) const fn doubled(self, times: u32) -> Self {
        match 1_u64.checked_shl(times) {
            Some(factor) => Self(self.0.saturating_mul(factor)),
            None => Self(u64::MAX),
        }
    }

    /// What is left of it after `passed`; nothing once it is over.
    #[must_use]
    pub const fn saturating_sub(self, passed: Self) -> Self {
        Self(self.0.saturating_sub(passed.0))
    }
}

/// The window of a limit, or the duration of a block: from 1 millisecond to 10 years of 365 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window(NonZeroU64);

impl Window {
    /// One millisecond.
    pub const MIN: Self = Self(NonZeroU64::MIN);

    /// Ten years of 365 days, in milliseconds.
    pub const MAX_MILLIS: u64 = 10 * 365 * 24 * 60 * 60 * 1_000;

    /// Ten years of 365 days.
    pub const MAX: Self = match Self::from_millis(Self::MAX_MILLIS) {
        Some(window) => window,
        None => Self(NonZeroU64::MAX),
    };

    /// A window of `millis` milliseconds; `None` outside 1 to [`Window::MAX_MILLIS`].
    ///
    /// ```
    /// use redis_ratelimit::limiter::Window;
    ///
    /// assert!(Window::from_millis(60_000).is_some());
    /// assert!(Window::from_millis(0).is_none());
    /// ```
    #[must_use]
    pub const fn from_millis(millis: u64) -> Option<Self> {
        match NonZeroU64::new(millis) {
            Some(positive) if millis <= Self::MAX_MILLIS => Some(Self(positive)),
            _ => None,
        }
    }

    /// Its length in milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0.get()
    }

    /// Its length in nanoseconds: at most 3.2 x 10^17.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.as_millis().saturating_mul(1_000_000)
    }

    /// Its length as a duration.
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        // No overflow: at most `MAX_MILLIS`.
        Duration(self.as_millis().wrapping_mul(1_000))
    }
}
