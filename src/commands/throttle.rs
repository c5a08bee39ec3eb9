//! `CL.THROTTLE key max_burst count_per_period period [quantity]`: redis-cell's command, on the engine of `RL.GCRA`.

use super::args::{integer, or_zero, units};
use super::errors::{
    INVALID_COUNT_PER_PERIOD, INVALID_MAX_BURST, INVALID_PERIOD, INVALID_QUANTITY,
    REFILLS_TOO_SLOWLY, SYNTAX, TOO_FAST,
};
use super::execute::{apply, observe, stored};
use super::reply::integer as reply_integer;
use super::spec::{CATEGORIES, CORE_CATEGORIES, FLAGS, KEY, KEY_FLAGS};
use crate::limiter::{
    Bucket, Decision, Duration, Limiter, Outcome, Quota, QuotaError, Request, RetryAfter,
    Timestamp, Units, Window,
};
use crate::server::{Argument, ArgumentKind, Call, Command, Error, Key, Keys, Spec, Stored};
use crate::stats::counters::{self, CommandCounters};

pub(super) struct Throttle;

impl Command for Throttle {
    const SPEC: Spec = Spec {
        name: c"cl.throttle",
        flags: FLAGS,
        categories: CATEGORIES,
        core_categories: CORE_CATEGORIES,
        arity: -5,
        keys: Keys::First,
        key_flags: KEY_FLAGS,
        summary: c"Asks a GCRA rate limiter whether a request may go on, with the arguments and the reply of redis-cell.",
        complexity: c"O(1)",
        since: c"0.1.0",
        arguments: &[
            KEY,
            Argument::new(c"max_burst", ArgumentKind::Integer),
            Argument::new(c"count_per_period", ArgumentKind::Integer),
            Argument::new(c"period", ArgumentKind::Integer),
            Argument::new(c"quantity", ArgumentKind::Integer).optional(),
        ],
    };

    const COUNTERS: &'static CommandCounters = &counters::THROTTLE;

    fn run(call: &Call<'_>) -> Result<(), Error> {
        if call.count() > 6 {
            return Err(SYNTAX);
        }
        let argument = |at| call.argument(at).ok_or(SYNTAX);
        let burst = or_zero(argument(2)?)
            .and_then(|max_burst| Units::new(max_burst.checked_add(1)?))
            .ok_or(INVALID_MAX_BURST)?;
        let limit = units(argument(3)?).ok_or(INVALID_COUNT_PER_PERIOD)?;
        let period = integer(argument(4)?)
            .and_then(|seconds| Window::from_millis(seconds.checked_mul(1_000)?))
            .ok_or(INVALID_PERIOD)?;
        let quantity = match call.argument(5) {
            None => 1,
            Some(argument) => or_zero(argument)
                .filter(|quantity| *quantity <= Units::MAX)
                .ok_or(INVALID_QUANTITY)?,
        };
        let quota = Quota::new(limit, period, burst).map_err(|error| match error {
            QuotaError::TooFast => TOO_FAST,
            QuotaError::RefillsTooSlowly => REFILLS_TOO_SLOWLY,
        })?;

        let mut key = Key::write(call, 1)?;
        let now = call.now();
        let mut limiter = open(&key, quota, now)?;
        let decision = match Units::new(quantity) {
            Some(cost) => {
                let Outcome {
                    decision, write, ..
                } = limiter.decide(&Request::exact(cost));
                apply(write, &limiter, &mut key)?;
                drop(key);
                observe(call, now, Self::COUNTERS, &decision);
                decision
            }
            None => limiter.preview(&Request::exact(Units::ONE)),
        };
        call.reply_integers(&reply(&decision, quantity));
        Ok(())
    }
}

/// The limiter in the key, which may be one of redis-cell's.
fn open(key: &Key<'_>, quota: Quota, now: Timestamp) -> Result<Limiter<Bucket>, Error> {
    match redis_cells_tat(key) {
        Some(tat) => Ok(Limiter::from_tat(quota, tat, now)),
        None => Ok(Limiter::open(stored(key)?, &quota, now)?),
    }
}

/// The state that redis-cell keeps: the TAT as a decimal number of nanoseconds since the epoch, in a key that expires
/// at that time. No other number is taken for one: its time has to be within two seconds of the key's expiry.
fn redis_cells_tat(key: &Key<'_>) -> Option<u64> {
    // Nineteen digits: from 2001 to 2262. What has no expiry, or another length, is not looked at.
    const DIGITS: usize = 19;
    let expires_at = key.expires_at_millis()?;
    if key.len() != DIGITS {
        return None;
    }
    let Stored::Bytes(bytes) = key.stored(DIGITS) else {
        return None;
    };
    let tat = integer(bytes)?;
    let apart = (tat / 1_000_000).abs_diff(expires_at);
    (apart <= 2_000).then_some(tat)
}

/// Limited (0 or 1), the burst, remaining, seconds until the request would be granted (-1 if it is, or never can be),
/// seconds until the whole quota is back. A quantity of 0 is never limited.
fn reply(decision: &Decision, quantity: u64) -> [i64; 5] {
    let limited = quantity > 0 && decision.granted == 0;
    let retry_after = match decision.retry_after {
        RetryAfter::After(duration) if limited => seconds(duration),
        _ => -1,
    };
    [
        i64::from(limited),
        reply_integer(decision.limit.get()),
        reply_integer(decision.remaining),
        retry_after,
        seconds(decision.reset_after),
    ]
}

/// Seconds, rounded up.
fn seconds(duration: Duration) -> i64 {
    reply_integer(duration.as_micros().div_ceil(1_000_000))
}
