//! `RL.REFUND key units`

use super::arguments::units;
use super::decide::{KEY, KEY_FLAGS, state, store};
use super::refusals::UNITS;
use super::reply::row;
use crate::limiter::{self, Algorithm, Bucket, Decision, Instant, Limiter, Units, Windows};
use crate::server::{Argument, Call, Command, Key, Keys, Kind, Refusal, Spec};
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
        arguments: &[KEY, Argument::new(c"units", Kind::Integer)],
    };

    const COUNTERS: &'static CommandCounters = &counters::REFUND;

    fn run(call: &Call<'_>) -> Result<(), Refusal> {
        let units = call.argument(2).and_then(units).ok_or(UNITS)?;
        let mut key = Key::write(call, 1)?;
        let kind = state(&key)?.map(limiter::kind).transpose()?;
        let decision = match kind {
            None => None,
            Some(limiter::Kind::SlidingWindow) => refund::<Windows>(&mut key, units, call.now())?,
            Some(limiter::Kind::Gcra) => refund::<Bucket>(&mut key, units, call.now())?,
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
    now: Instant,
) -> Result<Option<Decision>, Refusal> {
    let Some(bytes) = state(key)? else {
        return Ok(None);
    };
    let mut limiter = Limiter::<A>::read(bytes, now)?;
    let decision = limiter.refund(units);
    if limiter.must_be_stored() && limiter.is_idle() {
        key.delete();
    } else if decision.is_some() {
        store(key, &limiter)?;
    }
    Ok(decision)
}
