//! `RL.GCRA key limit window [BURST n] [COST n] [ATMOST | FORCE] [BLOCK duration]`

use super::args::Arguments;
use super::execute::decide;
use super::options::{AllowedOptions, Options};
use super::spec::{
    BLOCK, CATEGORIES, CORE_CATEGORIES, COST, FLAGS, KEY, KEY_FLAGS, LIMIT, MODE, WINDOW,
};
use crate::limiter::{Bucket, Quota};
use crate::server::{Argument, ArgumentKind, Call, Command, Error, Keys, Spec};
use crate::stats::counters::{self, CommandCounters};

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
            MODE,
            BLOCK,
        ],
    };

    const COUNTERS: &'static CommandCounters = &counters::GCRA;

    fn run(call: &Call<'_>) -> Result<(), Error> {
        let mut arguments = Arguments::from(call, 2);
        let rule = arguments.rule()?;
        let options = Options::parse(&mut arguments, AllowedOptions::DecisionAndBurst)?;
        let quota = Quota::new(rule.limit, rule.window, options.burst.unwrap_or(rule.limit))?;
        decide::<Bucket>(call, Self::COUNTERS, &quota, &options.request())
    }
}
