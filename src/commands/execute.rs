//! One call on one key: open it, decide, do to the key what the outcome says, and make the outcome known.

use super::errors::NOT_A_LIMITER;
use super::options::Receipt;
use super::reply::{receipt_row, row};
use crate::limiter::{
    Decision, Encoded, Encoding, Limiter, MIN_LEN, Outcome, Request, Rules, Timestamp, Windows,
    Write,
};
use crate::server::{Call, Error, Key, Stored};
use crate::stats::counters::{BLOCKS_GROWN, CommandCounters, RECEIPTS_RENEWED};
use crate::stats::denied_keys;

/// Decides `request` on the limiter in the key that is the first argument.
pub(super) fn decide<A: Encoding>(
    call: &Call<'_>,
    counters: &CommandCounters,
    parameters: &A::Parameters,
    request: &Request,
) -> Result<(), Error> {
    let decision = execute::<A>(call, counters, parameters, |limiter| {
        limiter.decide(request)
    })?;
    call.reply_integers(&row(&decision));
    Ok(())
}

/// The same for a request that wants a receipt.
pub(super) fn decide_with_receipt(
    call: &Call<'_>,
    counters: &CommandCounters,
    rules: &Rules,
    request: &Request,
    receipt: Receipt,
) -> Result<(), Error> {
    let mut admitted = None;
    let decision = execute::<Windows>(call, counters, rules, |limiter| {
        let outcome = match receipt {
            Receipt::Wanted => limiter.decide(request),
            Receipt::Renew(receipt) => {
                let (outcome, renewed) = limiter.renew(request, receipt);
                RECEIPTS_RENEWED.add(renewed.into());
                outcome
            }
        };
        admitted = outcome.charged.then(|| limiter.now());
        outcome
    })?;
    call.reply_integers(&receipt_row(&decision, admitted));
    Ok(())
}

/// Opens the limiter in the key that is the first argument, stores what `decide` made of it, and makes the decision known.
#[inline(always)]
fn execute<A: Encoding>(
    call: &Call<'_>,
    counters: &CommandCounters,
    parameters: &A::Parameters,
    decide: impl FnOnce(&mut Limiter<A>) -> Outcome,
) -> Result<Decision, Error> {
    let mut key = Key::write(call, 1)?;
    let now = call.now();
    // As `Limiter::open`, but in place.
    let mut limiter = Limiter::<A>::new(parameters, now);
    if let Some(stored) = stored(&key)? {
        limiter.restore(stored)?;
        limiter.set_parameters(parameters);
    }
    let blocks = limiter.blocks_in_a_row();
    let Outcome {
        decision, write, ..
    } = decide(&mut limiter);
    apply(write, &limiter, &mut key)?;
    // Closed before others hear of the decision: they may write the key.
    drop(key);
    if blocks > 0 && limiter.blocks_in_a_row() > blocks {
        BLOCKS_GROWN.add(1);
    }
    observe(call, now, counters, &decision);
    Ok(decision)
}

/// Does to the key of `limiter` what an outcome says.
pub(super) fn apply<A: Encoding>(
    write: Write,
    limiter: &Limiter<A>,
    key: &mut Key<'_>,
) -> Result<(), Error> {
    match write {
        Write::Nothing => {}
        Write::Store => {
            let mut state = Encoded::new();
            limiter.encode_to(&mut state);
            key.store(&state, limiter.expires_at())?;
        }
        Write::Delete => {
            key.delete();
        }
    }
    Ok(())
}

/// Counts a decision on the key that is the first argument.
pub(super) fn observe(
    call: &Call<'_>,
    now: Timestamp,
    counters: &CommandCounters,
    decision: &Decision,
) {
    if decision.granted > 0 {
        counters.count_granted(decision.granted);
    } else if decision.is_impossible() {
        counters.count_impossible();
    } else {
        counters.count_denied();
        denied(call, now, 1);
    }
}

/// Makes it known that the key named by an argument was denied: to `RL.TOP`, and to subscribers.
pub(super) fn denied(call: &Call<'_>, now: Timestamp, at: usize) {
    if let Some(key) = call.argument(at) {
        denied_keys::count(call.main_thread(), now, call.database(), key);
    }
    call.notify(c"rl.denied", at);
}

/// The state that a key holds, if it exists.
pub(super) fn stored<'a>(key: &'a Key<'_>) -> Result<Option<&'a [u8]>, Error> {
    match key.stored(MIN_LEN) {
        Stored::Nothing => Ok(None),
        Stored::Bytes(bytes) => Ok(Some(bytes)),
        Stored::SomethingElse => Err(NOT_A_LIMITER),
    }
}
