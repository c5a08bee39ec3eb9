//! What a caller asks for, and what it is told.

use super::{Duration, Units, Window};

/// What one request asks of a limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// How many units the request costs.
    pub cost: Units,
    /// What is granted where there is not room for all of them.
    pub mode: Mode,
    /// How long a denial locks the key out; `None`: not at all.
    pub block: Option<Window>,
}

impl Request {
    /// The plain request: `cost` units or none.
    #[must_use]
    pub const fn exact(cost: Units) -> Self {
        Self {
            cost,
            mode: Mode::Exact,
            block: None,
        }
    }
}

/// What is granted where there is not room for the whole cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Exact,
    /// As much as there is room for (`ATMOST`).
    AtMost,
    /// Everything; the debt delays later requests (`FORCE`).
    Force,
}

/// The answer to a request, or to the question what the answer would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Units granted; 0 when denied.
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

    /// The later of this and the end of a blocked_for that lasts `left`; never stays never.
    #[must_use]
    pub(super) fn at_least(self, left: Duration) -> Self {
        self.max(Self::After(left))
    }
}
