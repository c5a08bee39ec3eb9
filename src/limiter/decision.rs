//! What a caller is told, and what becomes of the key.

use super::{Duration, Units};

/// The answer to a request, or a preview of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Units granted; 0 if denied.
    pub granted: u64,
    /// The most units that could be granted at once.
    pub limit: Units,
    /// Units left now.
    pub remaining: u64,
    /// When the same request would be granted if nobody else asked meanwhile.
    pub retry_after: RetryAfter,
    /// The time until the whole quota is back.
    pub reset_after: Duration,
}

impl Decision {
    /// Whether it was denied for now: not granted, but it can be.
    #[must_use]
    pub fn is_denial(&self) -> bool {
        self.granted == 0 && self.retry_after != RetryAfter::Never
    }

    /// Whether it can never be granted.
    #[must_use]
    pub fn is_impossible(&self) -> bool {
        self.retry_after == RetryAfter::Never
    }
}

/// When a request would be granted. Ordered: sooner is less, never is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RetryAfter {
    /// After that much time; [`RetryAfter::NOW`] means that it is granted.
    After(Duration),
    /// Never: it costs more than could be granted at once.
    Never,
}

impl RetryAfter {
    /// At once.
    pub const NOW: Self = Self::After(Duration::ZERO);

    /// The later of this and the end of a block that lasts `left`; [`RetryAfter::Never`] stays what it is.
    #[must_use]
    pub(super) fn at_least(self, left: Duration) -> Self {
        self.max(Self::After(left))
    }
}

/// A decision, and what has to be done to the key because of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the caller is told.
    pub decision: Decision,
    /// What becomes of the key.
    pub write: Write,
    /// Whether anything was charged: not if it was denied or costs nothing, nor to a debt that is full.
    pub charged: bool,
}

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// It stays as it is.
    Nothing,
    /// The limiter is stored, until it expires.
    Store,
    /// It is deleted: nothing in it matters any more.
    Delete,
}
