//! `RL.TOP [count] [DB db]`

use super::args::{Arguments, integer, or_zero};
use super::errors::{INVALID_COUNT, INVALID_DB, SYNTAX};
use super::reply::integer as reply_integer;
use crate::server::{Argument, ArgumentKind, Call, Command, Error, KeyRules, Keys, Spec, User};
use crate::stats::counters::{self, CommandCounters};
use crate::stats::denied_keys::{self, Denied, MAX_KEYS};

/// How many keys are shown if the caller does not say.
const DEFAULT_COUNT: u64 = 10;
/// The highest number of a database.
const MAX_DATABASE: u32 = i32::MAX as u32;

/// How often a key is compared with a pattern, at most. That takes 20 ns; with 10,000 of them, and their replies, a call
/// keeps the server for less than half a millisecond.
const MAX_COMPARISONS: usize = 10_000;
/// What is taken for the rules of a user if the server does not show them: many.
const UNKNOWN_RULES: KeyRules = KeyRules {
    read_all: false,
    patterns: 20,
};

pub(super) struct Top;

impl Command for Top {
    const SPEC: Spec = Spec {
        name: c"rl.top",
        flags: c"readonly",
        categories: c"read slow",
        core_categories: c"read slow",
        arity: -1,
        keys: Keys::No,
        key_flags: 0,
        summary: c"Lists the keys that rate limiters denied most lately.",
        complexity: c"O(N log N) for the N keys that are kept",
        since: c"0.1.0",
        arguments: &[
            Argument::new(c"count", ArgumentKind::Integer).optional(),
            Argument::option(c"DB", c"db", ArgumentKind::Integer),
        ],
    };

    const COUNTERS: &'static CommandCounters = &counters::TOP;

    fn run(call: &Call<'_>) -> Result<(), Error> {
        let (count, database) = parse(Arguments::from(call, 1))?;
        let user = User::of(call);
        denied_keys::with_ranking(call.main_thread(), call.now(), |ranking| {
            let shown: Vec<Denied<'_>> = match &user {
                Some(user) => {
                    let rules = user.key_rules().unwrap_or(UNKNOWN_RULES);
                    let candidates = ranking
                        .filter(|denied| database.is_none_or(|only| denied.database == only))
                        .filter(|denied| call.may_see_database(denied.database))
                        .take(candidates(rules));
                    // Of a key that was cut off, only the beginning is known.
                    let shown = candidates.filter(|denied| {
                        rules.read_all || !denied.cut && user.may_read(denied.key)
                    });
                    Vec::from_iter(shown.take(count as usize))
                }
                None => Vec::new(),
            };
            call.reply_array(shown.len());
            for denied in shown {
                call.reply_array(4);
                call.reply_bytes(denied.key);
                call.reply_integer(denied.database.into());
                call.reply_integer(reply_integer(denied.denials));
                call.reply_integer(reply_integer(denied.error));
            }
        })
        .unwrap_or_else(|| call.reply_array(0));
        Ok(())
    }
}

/// How many keys are looked at, at most, for a user with these rules.
fn candidates(rules: KeyRules) -> usize {
    if rules.read_all {
        return usize::MAX;
    }
    // Without a pattern, no key may be read.
    MAX_COMPARISONS.checked_div(rules.patterns).unwrap_or(0)
}

/// How many keys are asked for, and of which database if not of all.
fn parse(mut arguments: Arguments<'_>) -> Result<(u64, Option<u32>), Error> {
    let is_db = |argument: &[u8]| argument.eq_ignore_ascii_case(b"db");
    let count = match arguments.peek() {
        Some(argument) if !is_db(argument) => {
            arguments.next();
            integer(argument)
                .filter(|count| *count <= MAX_KEYS)
                .ok_or(INVALID_COUNT)?
        }
        _ => DEFAULT_COUNT,
    };
    let database = match arguments.next() {
        None => None,
        Some(word) if is_db(word) => {
            let argument = arguments.next().ok_or(SYNTAX)?;
            let database = or_zero(argument)
                .and_then(|database| u32::try_from(database).ok())
                .filter(|database| *database <= MAX_DATABASE)
                .ok_or(INVALID_DB)?;
            Some(database)
        }
        Some(_) => return Err(SYNTAX),
    };
    match arguments.next() {
        None => Ok((count, database)),
        Some(_) => Err(SYNTAX),
    }
}
