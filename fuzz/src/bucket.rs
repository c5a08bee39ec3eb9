//! GCRA under any commands: what goes on in any interval, and was not forced or given back, is never more than the burst and
//! what refills meanwhile.

use crate::input::{END, Input};
use crate::key::{Key, assert_block_is_as_asked, assert_wait_is_exact};
use crate::limiter::{Bucket, Limit, Mode, Quota, Request, RetryAfter, Write};

/// When somebody goes on, and the units.
type Turn = (u64, u64);

pub fn fuzz(stored: &[u8], input: &mut Input<'_>) {
    let (mut key, written) = Key::holding::<Bucket>(stored);
    let mut now = written.min(END);
    let stored = key
        .read::<Bucket>(now)
        .map(|limiter| limiter.algorithm().quota());
    let asked = Quota::new(input.units(), input.window(), input.units());
    let Some(quota) = asked.ok().or(stored) else {
        return;
    };
    let mut turns: Vec<Turn> = Vec::new();
    let mut told = 0;
    let mut commands = 0;
    while !input.is_over() && commands < 60 {
        commands += 1;
        let kind = input.byte();
        let window = quota.window().as_millis() * 1_000 / quota.limit().get();
        let next = input.time(now, window, told);
        if next < now {
            // What is in use steps back with the clock: from here on time is counted anew.
            turns.clear();
        }
        now = next;
        if kind > 220 {
            refund(&mut key, input, now, &mut turns);
        } else {
            told = ask(&mut key, quota, input, now, &mut turns);
        }
        assert_bucket_holds(quota, &turns);
    }
}

/// Returns the wait that was told.
fn ask(key: &mut Key, quota: Quota, input: &mut Input<'_>, now: u64, turns: &mut Vec<Turn>) -> u64 {
    let mode = match input.byte() {
        0..=99 => Mode::Exact,
        100..=159 => Mode::AtMost,
        160..=229 => Mode::Wait(input.window()),
        _ => Mode::Force,
    };
    let request = input.request(quota.burst().get(), mode);
    let before = key.open::<Bucket>(&quota, now);
    let mut limiter = before.clone();
    let outcome = limiter.decide(&request);
    key.apply(&limiter, &outcome);
    assert_block_is_as_asked(&before, &limiter, &request, &outcome);
    let granted = outcome.decision.granted;
    let wait = match outcome.decision.retry_after {
        RetryAfter::After(wait) => wait.as_micros(),
        RetryAfter::Never => 0,
    };
    if granted == 0 || !matches!(mode, Mode::Wait(_)) {
        // Told is when it passes without a wait.
        let plain = Request {
            mode: match mode {
                Mode::Wait(_) => Mode::Exact,
                mode => mode,
            },
            ..request
        };
        let after = key.clone();
        assert_wait_is_exact(&outcome, now, |then| {
            let mut limiter = after.clone().open::<Bucket>(&quota, then);
            limiter.decide(&plain).decision.granted > 0
        });
    }
    if granted == 0 {
        return wait;
    }
    match mode {
        // What was forced has no turn; those after it wait for it.
        Mode::Force => turns.clear(),
        Mode::Wait(longest) => {
            assert!(wait <= longest.as_millis() * 1_000);
            assert!(wait == 0 || outcome.decision.remaining == 0);
            turns.push((now + wait, granted));
        }
        Mode::Exact | Mode::AtMost => {
            assert!(outcome.decision.remaining >= request.keep);
            turns.push((now, granted));
        }
    }
    wait
}

fn refund(key: &mut Key, input: &mut Input<'_>, now: u64, turns: &mut Vec<Turn>) {
    let Some(mut limiter) = key.read::<Bucket>(now) else {
        return;
    };
    let used = limiter.algorithm().used();
    let units = input.units();
    let Some(outcome) = limiter.refund(units) else {
        return;
    };
    let given_back = outcome.decision.granted;
    assert_eq!(given_back, used.min(units.get()));
    assert_eq!(outcome.write == Write::Nothing, given_back == 0);
    key.apply(&limiter, &outcome);
    let mut missing = given_back;
    while let Some((_, units)) = turns.last_mut().filter(|_| missing > 0) {
        let taken = missing.min(*units);
        *units -= taken;
        missing -= taken;
        if *units == 0 {
            turns.pop();
        }
    }
}

/// A turn is told in whole microseconds, so two of them may be one microsecond closer. Who comes after units were given
/// back may go on before those who wait.
fn assert_bucket_holds(quota: Quota, turns: &[Turn]) {
    let mut turns = turns.to_vec();
    turns.sort_by_key(|(at, _)| *at);
    let Some((end, _)) = turns.last().copied() else {
        return;
    };
    let unit = u128::from(quota.window().as_nanos());
    let burst = u128::from(quota.burst().get()) * unit;
    let mut sum = 0;
    for (start, units) in turns.iter().rev() {
        sum += u128::from(*units) * unit;
        let nanos = u128::from(end - start + 1) * 1_000;
        let refilled = u128::from(quota.limit().get()) * nanos;
        assert!(sum <= burst + refilled, "{quota:?} from {start} to {end}");
    }
}
