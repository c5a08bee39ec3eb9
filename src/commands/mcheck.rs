//! `RL.MCHECK numkeys key [key ...] limit window [limit window ...] [COST n]`

use std::ops::Range;

use arrayvec::ArrayVec;

use super::args::{Arguments, integer};
use super::errors::{DUPLICATE_KEY, INVALID_NUMKEYS, SYNTAX};
use super::execute::{apply, denied, stored};
use super::options::{AllowedOptions, Options};
use super::reply::row;
use super::spec::{CATEGORIES, CORE_CATEGORIES, COST, KEY, KEY_FLAGS, LIMIT, WINDOW};
use crate::limiter::{Decision, Limiter, Outcome, Rule, Rules, Windows};
use crate::server::{Argument, ArgumentKind, Call, Command, Error, Key, KeyRequest, Keys, Spec};
use crate::stats::counters::{self, CommandCounters};

/// The most keys that one call can name.
pub(super) const MAX_KEYS: usize = 128;

/// The argument that is the first key.
const FIRST_KEY: usize = 2;

pub(super) struct Mcheck;

impl Command for Mcheck {
    const SPEC: Spec = Spec {
        name: c"rl.mcheck",
        flags: c"write deny-oom fast getkeys-api",
        categories: CATEGORIES,
        core_categories: CORE_CATEGORIES,
        arity: -5,
        keys: Keys::Counted,
        key_flags: KEY_FLAGS,
        summary: c"Asks several sliding-window rate limiters whether a request may go on, and charges all of them or none.",
        complexity: c"O(N log N) for N keys",
        since: c"0.1.0",
        arguments: &[
            Argument::new(c"numkeys", ArgumentKind::Integer),
            KEY.multiple(),
            Argument::new(c"rule", ArgumentKind::Block(&[LIMIT, WINDOW])).multiple(),
            COST,
        ],
    };

    const COUNTERS: &'static CommandCounters = &counters::MCHECK;

    fn keys(request: &KeyRequest<'_>) -> Range<usize> {
        let count = request.argument(1).and_then(numkeys).unwrap_or(0);
        FIRST_KEY..FIRST_KEY.saturating_add(count).min(request.count())
    }

    fn run(call: &Call<'_>) -> Result<(), Error> {
        let count = call.argument(1).and_then(numkeys).ok_or(INVALID_NUMKEYS)?;
        if call.count() < FIRST_KEY.saturating_add(count.saturating_mul(3)) {
            return Err(SYNTAX);
        }
        refuse_duplicates(call, count)?;
        let mut arguments = Arguments::from(call, FIRST_KEY.saturating_add(count));
        let mut rules: ArrayVec<Rule, MAX_KEYS> = ArrayVec::new();
        for _ in 0..count {
            keep(&mut rules, arguments.rule()?)?;
        }
        let request = Options::parse(&mut arguments, AllowedOptions::Cost)?.request();
        let now = call.now();

        // Each is read once, and all are looked at before the first is charged.
        let mut keys: ArrayVec<Key<'_>, MAX_KEYS> = ArrayVec::new();
        let mut limiters: ArrayVec<Limiter<Windows>, MAX_KEYS> = ArrayVec::new();
        let mut rows: ArrayVec<Decision, MAX_KEYS> = ArrayVec::new();
        for (at, rule) in (FIRST_KEY..).zip(&rules) {
            let key = Key::write(call, at)?;
            let limiter = Limiter::open(stored(&key)?, &Rules::new(*rule), now)?;
            keep(&mut rows, limiter.preview(&request))?;
            keep(&mut limiters, limiter)?;
            keep(&mut keys, key)?;
        }
        if rows.iter().all(|row| row.granted > 0) {
            for ((key, limiter), row) in keys.iter_mut().zip(&mut limiters).zip(&mut rows) {
                let Outcome { decision, write } = limiter.decide(&request);
                apply(write, limiter, key)?;
                *row = decision;
            }
            let units = request.cost.get().saturating_mul(count as u64);
            Self::COUNTERS.count_granted(units);
        } else if rows.iter().any(Decision::is_impossible) {
            Self::COUNTERS.count_impossible();
        } else {
            for (key, limiter) in keys.iter_mut().zip(&mut limiters) {
                apply(limiter.deny(&request).write, limiter, key)?;
            }
            // Closed before others hear of the denial: they may write the keys.
            keys.clear();
            Self::COUNTERS.count_denied();
            for (at, _) in (FIRST_KEY..).zip(&rows).filter(|(_, row)| row.is_denial()) {
                denied(call, now, at);
            }
        }
        reply(call, &rows);
        Ok(())
    }
}

/// Adds what belongs to one key, of which there are at most [`MAX_KEYS`].
fn keep<T>(list: &mut ArrayVec<T, MAX_KEYS>, value: T) -> Result<(), Error> {
    list.try_push(value).map_err(|_| INVALID_NUMKEYS)
}

fn numkeys(argument: &[u8]) -> Option<usize> {
    let count = usize::try_from(integer(argument)?).ok()?;
    (1..=MAX_KEYS).contains(&count).then_some(count)
}

fn refuse_duplicates(call: &Call<'_>, count: usize) -> Result<(), Error> {
    let mut names: ArrayVec<&[u8], MAX_KEYS> = ArrayVec::new();
    for name in (FIRST_KEY..).take(count).filter_map(|at| call.argument(at)) {
        keep(&mut names, name)?;
    }
    names.sort_unstable();
    let differ = names.iter().zip(names.iter().skip(1)).all(|(a, b)| a != b);
    if differ { Ok(()) } else { Err(DUPLICATE_KEY) }
}

/// One row for each key. If the request is denied, no row says that anything was granted.
fn reply(call: &Call<'_>, rows: &[Decision]) {
    let granted = rows.iter().all(|row| row.granted > 0);
    call.reply_array(rows.len());
    for decision in rows {
        let granted = if granted { decision.granted } else { 0 };
        call.reply_integers(&row(&Decision {
            granted,
            ..*decision
        }));
    }
}
