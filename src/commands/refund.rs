//! `RL.REFUND key units [RECEIPT receipt]`

use super::args::{Arguments, receipt, units};
use super::errors::{INVALID_RECEIPT, INVALID_UNITS, SYNTAX};
use super::execute::{apply, stored};
use super::reply::row;
use super::spec::{KEY, KEY_FLAGS};
use crate::limiter::{AnyLimiter, Decision, Encoding, Limiter, Outcome, Timestamp, with_limiter};
use crate::server::{Argument, ArgumentKind, Call, Command, Error, Key, Keys, Spec};
use crate::stats::counters::{self, CommandCounters};

pub(super) struct Refund;

impl Command for Refund {
    const SPEC: Spec = Spec {
        name: c"rl.refund",
        flags: c"write fast",
        categories: c"ratelimit write fast",
        core_categories: c"write fast",
        arity: -3,
        keys: Keys::First,
        key_flags: KEY_FLAGS,
        summary:
            c"Gives back units that a rate limiter admitted, the last ones or those of a receipt, as if they never had been.",
        complexity: c"O(1) for each window stored",
        since: c"0.1.0",
        arguments: &[
            KEY,
            Argument::new(c"units", ArgumentKind::Integer),
            Argument::option(c"RECEIPT", c"receipt", ArgumentKind::Integer),
        ],
    };

    const COUNTERS: &'static CommandCounters = &counters::REFUND;

    fn run(call: &Call<'_>) -> Result<(), Error> {
        let units = call.argument(2).and_then(units).ok_or(INVALID_UNITS)?;
        let receipt = receipt_option(&mut Arguments::from(call, 3))?;
        let mut key = Key::write(call, 1)?;
        let any = match stored(&key)? {
            None => None,
            Some(bytes) if receipt.is_some() => {
                Some(AnyLimiter::SlidingWindow(Limiter::read(bytes, call.now())?))
            }
            Some(bytes) => Some(AnyLimiter::read(bytes, call.now())?),
        };
        let decision = match (any, receipt) {
            (None, _) => None,
            (Some(AnyLimiter::SlidingWindow(limiter)), Some(receipt)) => {
                refund(limiter, &mut key, |it| it.refund_receipt(units, receipt))?
            }
            (Some(any), _) => {
                with_limiter!(any, limiter => refund(limiter, &mut key, |it| it.refund(units)))?
            }
        };
        match decision {
            Some(decision) => {
                counters::UNITS_REFUNDED.add(decision.granted);
                if receipt.is_some() && decision.granted > 0 {
                    counters::RECEIPTS_REFUNDED.add(1);
                }
                call.reply_integers(&row(&decision));
            }
            None => call.reply_null(),
        }
        Ok(())
    }
}

/// `[RECEIPT receipt]`
fn receipt_option(arguments: &mut Arguments<'_>) -> Result<Option<Timestamp>, Error> {
    let Some(word) = arguments.next() else {
        return Ok(None);
    };
    let value = arguments.next();
    if !word.eq_ignore_ascii_case(b"receipt") || arguments.next().is_some() {
        return Err(SYNTAX);
    }
    let value = receipt(value.ok_or(SYNTAX)?).ok_or(INVALID_RECEIPT)?;
    Ok(Some(value))
}

/// Gives units back; `None` if nothing is in use.
fn refund<A: Encoding>(
    mut limiter: Limiter<A>,
    key: &mut Key<'_>,
    give_back: impl FnOnce(&mut Limiter<A>) -> Option<Outcome>,
) -> Result<Option<Decision>, Error> {
    let Some(Outcome {
        decision, write, ..
    }) = give_back(&mut limiter)
    else {
        return Ok(None);
    };
    apply(write, &limiter, key)?;
    Ok(Some(decision))
}
