//! The reply that the decision commands share.

use crate::limiter::{Decision, Duration, RetryAfter};

/// The five integers: granted, limit, remaining, retry_after and reset_after in milliseconds, rounded up.
pub(super) fn row(decision: &Decision) -> [i64; 5] {
    [
        integer(decision.granted),
        integer(decision.limit.get()),
        integer(decision.remaining),
        match decision.retry_after {
            RetryAfter::After(duration) => millis(duration),
            RetryAfter::Never => -1,
        },
        millis(decision.reset_after),
    ]
}

/// Milliseconds, rounded up.
pub(super) fn millis(duration: Duration) -> i64 {
    integer(duration.as_millis_ceil())
}

/// An integer as the protocol has it.
pub(super) fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
