//! `RL.REFUND key units`

use super::arguments::units;
use super::decide::{KEY, KEY_FLAGS, state, store};
use super::errors::UNITS;
use super::reply::row;
use crate::limiter::{self, Algorithm, Bucket, Decision, Limiter, Timestamp, Units, Windows};
use crate::server::{Argument, ArgumentKind, Call, Command, Error, Key, Keys, Spec};
use crate::stats::counters::{self, CommandCounters};

pub(super) struct Refund;

impl Command for Refund {
    const SPEC: Spec = Spec {
        name: c"rl.refund",
        flags: c"write fast",
        categories: c"ratelimit write fast",
        core_categories: c"write fast",
        arity: 3,
        keys: Keys::First,
        key_flags: KEY_FLAGS,
        summary:
            c"Gives back the units that a rate limiter admitted last, as if they never had been.",
        complexity: c"O(1) for each window stored",
        since: c"0.1.0",
        arguments: &[KEY, Argument::new(c"units", ArgumentKind::Integer)],
    };

    const COUNTERS: &'static CommandCounters = &counters::REFUND;

    fn run(call: &Call<'_>) -> Result<(), Error> {
        let units = call.argument(2).and_then(units).ok_or(UNITS)?;
        let mut key = Key::write(call, 1)?;
        let kind = state(&key)?.map(limiter::algorithm_of).transpose()?;
        let decision = match kind {
            None => None,
            Some(limiter::AlgorithmKind::SlidingWindow) => {
                refund::<Windows>(&mut key, units, call.now())?
            }
            Some(limiter::AlgorithmKind::Gcra) => refund::<Bucket>(&mut key, units, call.now())?,
        };
        match decision {
            Some(decision) => {
                counters::UNITS_REFUNDED.add(decision.granted);
                call.reply_integers(&row(&decision));
            }
            None => call.reply_null(),
        }
        Ok(())
    }
}

/// Gives units back; `None` when nothing is in use.
fn refund<A: Algorithm>(
    key: &mut Key<'_>,
    units: Units,
    now: Timestamp,
) -> Result<Option<Decision>, Error> {
    let Some(bytes) = state(key)? else {
        return Ok(None);
    };
    let mut limiter = Limiter::<A>::read(bytes, now)?;
    let decision = limiter.refund(units);
    if limiter.must_be_stored() && limiter.is_expired() {
        key.delete();
    } else if decision.is_some() {
        store(key, &limiter)?;
    }
    Ok(decision)
}
