//! `RL.GCRA key limit window [BURST n] [COST n] [KEEP n] [ATMOST | FORCE | MAXWAIT duration]
//! [BLOCK duration [UPTO duration]]`

use super::args::Arguments;
use super::execute::decide;
use super::options::{Options, OptionsOf};
use super::spec::{
    ATMOST, BLOCK, CATEGORIES, CORE_CATEGORIES, COST, FLAGS, FORCE, KEEP, KEY, KEY_FLAGS, LIMIT,
    WINDOW,
};
use crate::limiter::{Bucket, Quota};
use crate::server::{Argument, ArgumentKind, Call, Command, Error, Keys, Spec};
use crate::stats::counters::{self, CommandCounters};

/// `ATMOST | FORCE | MAXWAIT duration`
const MODE: Argument = Argument::new(
    c"mode",
    ArgumentKind::OneOf(&[
        ATMOST,
        FORCE,
        Argument::with_word(c"MAXWAIT", c"max_wait", ArgumentKind::String),
    ]),
)
.optional();

pub(super) struct Gcra;

impl Command for Gcra {
    const SPEC: Spec = Spec {
        name: c"rl.gcra",
        flags: FLAGS,
        categories: CATEGORIES,
        core_categories: CORE_CATEGORIES,
        arity: -4,
        keys: Keys::First,
        key_flags: KEY_FLAGS,
        summary: c"Asks a GCRA (token bucket) rate limiter whether a request may go on, and charges it if so.",
        complexity: c"O(1)",
        since: c"0.1.0",
        arguments: &[
            KEY,
            LIMIT,
            WINDOW,
            Argument::option(c"BURST", c"burst", ArgumentKind::Integer),
            COST,
            KEEP,
            MODE,
            BLOCK,
        ],
    };

    const COUNTERS: &'static CommandCounters = &counters::GCRA;

    fn run(call: &Call<'_>) -> Result<(), Error> {
        let mut arguments = Arguments::from(call, 2);
        let rule = arguments.rule()?;
        let options = Options::parse(&mut arguments, OptionsOf::Gcra)?;
        let quota = Quota::new(rule.limit, rule.window, options.burst.unwrap_or(rule.limit))?;
        let request = options.request;
        decide::<Bucket>(call, Self::COUNTERS, &quota, &request)
    }
}
