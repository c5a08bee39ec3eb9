//! GCRA in rational numbers of any size, as the literature has it.

use num_bigint::BigInt;
use num_rational::Ratio;
use num_traits::{ToPrimitive, Zero};
use redis_ratelimit::limiter::{Mode, Quota, Request};

use super::{Answer, BlockHistory};

type Rational = Ratio<BigInt>;

/// 100 years of 365 days, in nanoseconds.
pub fn century() -> u128 {
    100 * 365 * 86_400 * 1_000_000_000
}

/// One key.
#[derive(Clone, Debug, Default)]
pub struct RationalBucket(Option<State>);

#[derive(Clone, Debug)]
struct State {
    quota: Quota,
    /// When the whole quota is back, in nanoseconds.
    tat: Rational,
    /// When it was last written, in microseconds.
    written: u64,
    blocks: BlockHistory,
}

fn whole(number: impl Into<BigInt>) -> Rational {
    Rational::from_integer(number.into())
}

fn nanos(micros: u64) -> Rational {
    whole(u128::from(micros) * 1_000)
}

fn micros_up(nanos: &Rational) -> u64 {
    (nanos / whole(1_000)).ceil().to_integer().to_u64().unwrap()
}

fn not_negative(number: Rational) -> Rational {
    number.max(Rational::zero())
}

impl State {
    /// When the server may drop it, in milliseconds.
    fn expires_at_ms(&self) -> u64 {
        micros_up(&self.tat).max(self.blocks.over()).div_ceil(1_000)
    }
}

impl RationalBucket {
    pub fn ask(&mut self, quota: Quota, request: &Request, now: u64) -> Answer {
        let old = self
            .0
            .take()
            .filter(|state| now / 1_000 <= state.expires_at_ms());
        let mut state = old.clone().unwrap_or(State {
            quota,
            tat: Rational::zero(),
            written: now,
            blocks: BlockHistory::default(),
        });

        let mut changed = false;
        let back = state.written.saturating_sub(now);
        if back > 0 {
            state.tat -= nanos(back);
            changed = true;
        }
        state.blocks.advance(back, now);
        let limit = whole(quota.limit().get());
        if state.quota != quota {
            state.tat = (state.tat * &limit).ceil() / &limit;
            state.quota = quota;
            changed = true;
        }

        let unit = whole(u128::from(quota.window().as_millis()) * 1_000_000) / limit;
        let burst = quota.burst().get();
        let capacity = &unit * whole(burst);
        let mut used = not_negative(state.tat.clone() - nanos(now));
        let remaining = |used: &Rational| {
            let room = not_negative(&capacity - used);
            (room / &unit).floor().to_integer().to_u64().unwrap()
        };

        let cost = request.cost.get();
        let least = match request.mode {
            Mode::Exact | Mode::Wait(_) => cost + request.keep,
            Mode::AtMost => 1 + request.keep,
            Mode::Force => 0,
        };
        let never = least > burst;
        let missing = not_negative(&used + &unit * whole(least) - &capacity);
        let missing = if request.mode == Mode::Force {
            Rational::zero()
        } else {
            missing
        };
        let patience = match request.mode {
            Mode::Wait(longest) => nanos(longest.as_millis() * 1_000),
            _ => Rational::zero(),
        };
        let granted = if state.blocks.left(now) > 0 || never || missing > patience {
            0
        } else if request.mode == Mode::AtMost {
            cost.min(remaining(&used) - request.keep)
        } else {
            cost
        };

        let mut wait = None;
        let mut stored = true;
        if granted > 0 {
            let owed = used.clone();
            used += &unit * whole(granted);
            if request.mode == Mode::Force {
                // A debt is kept up to one further burst, and what is owed beyond (after a change) is not forgiven.
                used = used.min((&capacity * whole(2)).max(owed));
            }
            wait = Some(micros_up(&missing));
        } else if never {
            stored = false;
        } else {
            stored = state.blocks.start(request, now) || changed;
            wait = Some(micros_up(&missing).max(state.blocks.left(now)));
        }
        let answer = Answer {
            granted,
            limit: burst,
            remaining: remaining(&used),
            retry_after: wait,
            reset_after: micros_up(&used).max(state.blocks.left(now)),
            stored,
        };
        if stored {
            state.tat = nanos(now) + used;
            state.written = now;
            self.0 = Some(state);
        } else {
            self.0 = old;
        }
        answer
    }
}
