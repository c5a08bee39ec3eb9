//! Quantities of what is limited.

use std::num::NonZeroU32;

/// A limit, a burst or a cost: from 1 to 4,294,967,295 units.
///
/// ```
/// use redis_ratelimit::limiter::Units;
///
/// assert_eq!(Units::new(5).map(Units::get), Some(5));
/// assert!(Units::new(0).is_none());
/// assert!(Units::new(1 << 32).is_none());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Units(NonZeroU32);

impl Units {
    /// One unit, the default cost.
    pub const ONE: Self = Self(NonZeroU32::MIN);

    /// The most units that a limit, a burst or a cost can be.
    pub const MAX: u64 = u32::MAX as u64;

    /// `count` units; `None` outside 1 to [`Units::MAX`].
    #[must_use]
    pub const fn new(count: u64) -> Option<Self> {
        if count > Self::MAX {
            return None;
        }
        // Lossless: at most `Units::MAX`.
        match NonZeroU32::new(count as u32) {
            Some(positive) => Some(Self(positive)),
            None => None,
        }
    }

    /// How many units.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get() as u64
    }
}
