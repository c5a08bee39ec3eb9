//! `RL.CHECK key limit window [limit window ...] [COST n] [KEEP n] [ATMOST | FORCE]
//! [BLOCK duration [UPTO duration]] [RECEIPT | RENEW receipt]`

use super::args::Arguments;
use super::execute::{decide, decide_with_receipt};
use super::options::{Options, OptionsOf};
use super::spec::{
    ATMOST, BLOCK, CATEGORIES, CORE_CATEGORIES, COST, FLAGS, FORCE, KEEP, KEY, KEY_FLAGS, LIMIT,
    WINDOW,
};
use crate::limiter::{Rules, Windows};
use crate::server::{Argument, ArgumentKind, Call, Command, Error, Keys, Spec};
use crate::stats::counters::{self, CommandCounters};

/// `ATMOST | FORCE`
const MODE: Argument = Argument::new(c"mode", ArgumentKind::OneOf(&[ATMOST, FORCE])).optional();

/// `RECEIPT | RENEW receipt`
const RECEIPT: Argument = Argument::new(
    c"receipt",
    ArgumentKind::OneOf(&[
        Argument::word(c"RECEIPT", c"with_receipt"),
        Argument::with_word(c"RENEW", c"renewed", ArgumentKind::Integer),
    ]),
)
.optional();

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
            KEEP,
            MODE,
            BLOCK,
            RECEIPT,
        ],
    };

    const COUNTERS: &'static CommandCounters = &counters::CHECK;

    fn run(call: &Call<'_>) -> Result<(), Error> {
        let mut arguments = Arguments::from(call, 2);
        let mut rules = Rules::new(arguments.rule()?);
        while arguments.another_pair() {
            rules.add(arguments.rule()?)?;
        }
        let options = Options::parse(&mut arguments, OptionsOf::Check)?;
        let request = options.request;
        match options.receipt {
            None => decide::<Windows>(call, Self::COUNTERS, &rules, &request),
            Some(receipt) => decide_with_receipt(call, Self::COUNTERS, &rules, &request, receipt),
        }
    }
}
