//! `RL.REFUND key units`

use super::args::units;
use super::errors::INVALID_UNITS;
use super::execute::{apply, stored};
use super::reply::row;
use super::spec::{KEY, KEY_FLAGS};
use crate::limiter::{AnyLimiter, Decision, Encoding, Limiter, Outcome, Units, with_limiter};
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
        let units = call.argument(2).and_then(units).ok_or(INVALID_UNITS)?;
        let mut key = Key::write(call, 1)?;
        let any = match stored(&key)? {
            None => None,
            Some(bytes) => Some(AnyLimiter::read(bytes, call.now())?),
        };
        let decision = match any {
            None => None,
            Some(any) => with_limiter!(any, limiter => refund(limiter, units, &mut key))?,
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

/// Gives units back; `None` if nothing is in use.
fn refund<A: Encoding>(
    mut limiter: Limiter<A>,
    units: Units,
    key: &mut Key<'_>,
) -> Result<Option<Decision>, Error> {
    let Some(Outcome { decision, write }) = limiter.refund(units) else {
        return Ok(None);
    };
    apply(write, &limiter, key)?;
    Ok(Some(decision))
}
