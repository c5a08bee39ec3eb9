//! `RL.PEEK key [COST n]`

use super::args::Arguments;
use super::execute::stored;
use super::options::{Options, OptionsOf};
use super::reply::row;
use super::spec::{COST, KEY};
use crate::limiter::{AnyLimiter, with_limiter};
use crate::server::{
    Call, Command, Error, Key, Keys, REDISMODULE_CMD_KEY_ACCESS, REDISMODULE_CMD_KEY_RO, Spec,
};
use crate::stats::counters::{self, CommandCounters};

pub(super) struct Peek;

impl Command for Peek {
    const SPEC: Spec = Spec {
        name: c"rl.peek",
        flags: c"readonly fast",
        categories: c"ratelimit read fast",
        core_categories: c"read fast",
        arity: -2,
        keys: Keys::First,
        key_flags: REDISMODULE_CMD_KEY_RO | REDISMODULE_CMD_KEY_ACCESS,
        summary: c"Tells whether a request would be granted by the rate limiter in a key, without charging it.",
        complexity: c"O(1)",
        since: c"0.1.0",
        arguments: &[KEY, COST],
    };

    const COUNTERS: &'static CommandCounters = &counters::PEEK;

    fn run(call: &Call<'_>) -> Result<(), Error> {
        let cost = Options::parse(&mut Arguments::from(call, 2), OptionsOf::Peek)?
            .request
            .cost;
        let key = Key::read(call, 1)?;
        let now = call.now();
        let decision = match stored(&key)? {
            None => None,
            Some(bytes) => {
                with_limiter!(AnyLimiter::read(bytes, now)?, limiter => limiter.peek(cost))
            }
        };
        match decision {
            Some(decision) => call.reply_integers(&row(&decision)),
            None => call.reply_null(),
        }
        Ok(())
    }
}
