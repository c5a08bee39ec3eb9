//! `RL.MCHECK numkeys key [key ...] limit window [limit window ...] [COST n | COSTS n [n ...]] [FORCE]
//! [RECEIPT]`

use std::ops::Range;

use arrayvec::ArrayVec;

use super::args::{Arguments, integer, units_or_zero};
use super::errors::{DUPLICATE_KEY, INVALID_COSTS, INVALID_NUMKEYS, SYNTAX};
use super::execute::{apply, denied, stored};
use super::options::{Options, OptionsOf};
use super::reply::{receipt_row, row};
use super::spec::{CATEGORIES, CORE_CATEGORIES, FORCE, KEY, KEY_FLAGS, LIMIT, WINDOW};
use crate::limiter::{
    Decision, Limiter, Outcome, Request, Rule, Rules, Timestamp, Units, Windows, Write,
};
use crate::server::{Argument, ArgumentKind, Call, Command, Error, Key, KeyRequest, Keys, Spec};
use crate::stats::counters::{self, CommandCounters};

/// The most keys that one call can name.
pub(super) const MAX_KEYS: usize = 128;

/// The argument that is the first key.
const FIRST_KEY: usize = 2;

/// `COST n | COSTS n [n ...]`
const COSTS: Argument = Argument::new(
    c"costs",
    ArgumentKind::OneOf(&[
        Argument::with_word(c"COST", c"cost", ArgumentKind::Integer),
        Argument::with_word(c"COSTS", c"cost", ArgumentKind::Integer).multiple(),
    ]),
)
.optional();

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
            COSTS,
            FORCE.optional(),
            Argument::word(c"RECEIPT", c"receipt").optional(),
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
        let options = Options::parse(&mut arguments, OptionsOf::Mcheck(count))?;
        let now = call.now();

        // All are looked at before the first is charged.
        let mut asked: ArrayVec<Asked<'_>, MAX_KEYS> = ArrayVec::new();
        read(call, now, &rules, &options, &mut asked)?;
        if asked.iter().skip(1).any(|one| one.is_missing) {
            // It may just have expired, and whoever heard of that may have written those before it. The time stands still
            // during a call, so nothing expires now.
            asked.clear();
            read(call, now, &rules, &options, &mut asked)?;
        }
        let mut rows: ArrayVec<Row, MAX_KEYS> = ArrayVec::new();
        for one in &asked {
            let decision = one.limiter.preview(&one.request);
            let receipt = None;
            keep(&mut rows, Row { decision, receipt })?;
        }
        if rows.iter().all(|row| row.decision.granted > 0) {
            let mut units = 0_u64;
            for (one, row) in asked.iter_mut().zip(&mut rows) {
                *row = one.grant()?;
                units = units.saturating_add(one.cost);
            }
            Self::COUNTERS.count_granted(units);
        } else if rows.iter().any(|row| row.decision.is_impossible()) {
            deny(&mut rows);
            Self::COUNTERS.count_impossible();
        } else {
            for one in &mut asked {
                let write = one.limiter.deny(&one.request).write;
                one.apply(write)?;
            }
            Self::COUNTERS.count_denied();
            for (at, _) in (FIRST_KEY..)
                .zip(&rows)
                .filter(|(_, row)| row.decision.is_denial())
            {
                denied(call, now, at);
            }
            deny(&mut rows);
        }
        reply(call, &rows, options.receipt.is_some());
        Ok(())
    }
}

/// One key, and what is asked of it. The key is not kept open: whoever hears that another one has expired, or is new, may
/// write this one.
struct Asked<'a> {
    call: &'a Call<'a>,
    /// The argument that is the key.
    at: usize,
    /// Whether the key did not exist.
    is_missing: bool,
    limiter: Limiter<Windows>,
    request: Request,
    /// What it is charged. It may be nothing: then the request asks whether one unit is free.
    cost: u64,
}

/// Reads all keys.
fn read<'a>(
    call: &'a Call<'a>,
    now: Timestamp,
    rules: &[Rule],
    options: &Options,
    asked: &mut ArrayVec<Asked<'a>, MAX_KEYS>,
) -> Result<(), Error> {
    for ((at, rule), place) in (FIRST_KEY..).zip(rules).zip(0..) {
        let (request, cost) = request(call, options, place)?;
        let rules = Rules::new(*rule);
        // In its place before it is filled: it would be copied on its way there.
        let one = Asked {
            call,
            at,
            is_missing: true,
            limiter: Limiter::new(&rules, now),
            request,
            cost,
        };
        keep(asked, one)?;
        if let Some(one) = asked.last_mut() {
            one.read(&rules)?;
        }
    }
    Ok(())
}

/// What is replied for one key.
struct Row {
    decision: Decision,
    receipt: Option<Timestamp>,
}

impl Asked<'_> {
    /// Reads what is stored.
    fn read(&mut self, rules: &Rules) -> Result<(), Error> {
        let key = Key::write(self.call, self.at)?;
        if let Some(stored) = stored(&key)? {
            self.is_missing = false;
            self.limiter.restore(stored)?;
            self.limiter.set_parameters(rules);
        }
        Ok(())
    }

    /// Grants the request, for which there is room.
    fn grant(&mut self) -> Result<Row, Error> {
        let Outcome {
            decision,
            write,
            charged,
        } = if self.cost > 0 {
            self.limiter.decide(&self.request)
        } else {
            self.limiter.pass(&self.request)
        };
        self.apply(write)?;
        let receipt = charged.then(|| self.limiter.now());
        let granted = self.cost;
        Ok(Row {
            decision: Decision {
                granted,
                ..decision
            },
            receipt,
        })
    }

    fn apply(&self, write: Write) -> Result<(), Error> {
        match write {
            Write::Nothing => Ok(()),
            _ => apply(write, &self.limiter, &mut Key::write(self.call, self.at)?),
        }
    }
}

/// What the key at `place` is asked, and what it is charged.
fn request(call: &Call<'_>, options: &Options, place: usize) -> Result<(Request, u64), Error> {
    let request = options.request;
    let Some(first) = options.costs_at else {
        return Ok((request, request.cost.get()));
    };
    let cost = call
        .argument(first.saturating_add(place))
        .and_then(units_or_zero)
        .ok_or(INVALID_COSTS)?;
    let asked = Units::new(cost).unwrap_or(Units::ONE);
    Ok((
        Request {
            cost: asked,
            ..request
        },
        cost,
    ))
}

/// If the request is denied, no row says that anything was granted.
fn deny(rows: &mut [Row]) {
    for row in rows {
        row.decision.granted = 0;
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

/// One row for each key.
fn reply(call: &Call<'_>, rows: &[Row], with_receipt: bool) {
    call.reply_array(rows.len());
    for Row { decision, receipt } in rows {
        if with_receipt {
            call.reply_integers(&receipt_row(decision, *receipt));
        } else {
            call.reply_integers(&row(decision));
        }
    }
}
