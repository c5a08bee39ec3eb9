//! `RL.CHECK key limit window [limit window ...] [COST n] [ATMOST | FORCE] [BLOCK duration]`

use super::args::Arguments;
use super::execute::decide;
use super::options::{AllowedOptions, Options};
use super::spec::{
    BLOCK, CATEGORIES, CORE_CATEGORIES, COST, FLAGS, KEY, KEY_FLAGS, LIMIT, MODE, WINDOW,
};
use crate::limiter::{Rules, Windows};
use crate::server::{Argument, ArgumentKind, Call, Command, Error, Keys, Spec};
use crate::stats::counters::{self, CommandCounters};

pub(super) struct Check;

impl Command for Check {
    const SPEC: Spec = Spec {
        name: c"rl.check",
        flags: FLAGS,
        categories: CATEGORIES,
        core_categories: CORE_CATEGORIES,
        arity: -4,
        keys: Keys::First,
        key_flags: KEY_FLAGS,
        summary:
            c"Asks a sliding-window rate limiter whether a request may go on, and charges it if so.",
        complexity: c"O(1) for each window",
        since: c"0.1.0",
        arguments: &[
            KEY,
            Argument::new(c"rule", ArgumentKind::Block(&[LIMIT, WINDOW])).multiple(),
            COST,
            MODE,
            BLOCK,
        ],
    };

    const COUNTERS: &'static CommandCounters = &counters::CHECK;

    fn run(call: &Call<'_>) -> Result<(), Error> {
        let mut arguments = Arguments::from(call, 2);
        let mut rules = Rules::new(arguments.rule()?);
        while arguments.another_pair() {
            rules.add(arguments.rule()?)?;
        }
        let request = Options::parse(&mut arguments, AllowedOptions::Decision)?.request();
        decide::<Windows>(call, Self::COUNTERS, &rules, &request)
    }
}
