//! The reply that the decision commands share.

use crate::limiter::{Decision, Duration, RetryAfter, Timestamp};

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

/// The five integers and the receipt: when the units were admitted, in microseconds since the epoch; 0 if none were.
pub(super) fn receipt_row(decision: &Decision, admitted: Option<Timestamp>) -> [i64; 6] {
    let [granted, limit, remaining, retry_after, reset_after] = row(decision);
    let receipt = integer(admitted.map_or(0, Timestamp::as_micros));
    [granted, limit, remaining, retry_after, reset_after, receipt]
}

/// Milliseconds, rounded up.
pub(super) fn millis(duration: Duration) -> i64 {
    integer(duration.as_millis_ceil())
}

/// An integer as the protocol has it.
pub(super) fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
