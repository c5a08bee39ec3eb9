//! `RL.RESET key [key ...]`

use super::errors::TOO_MANY_KEYS;
use super::execute::stored;
use super::spec::KEY;
use crate::limiter::AnyLimiter;
use crate::server::{
    Call, Command, Error, Key, Keys, REDISMODULE_CMD_KEY_DELETE, REDISMODULE_CMD_KEY_RM, Spec,
};
use crate::stats::counters::{self, CommandCounters};

/// The most keys that one call can name: with 100,000 of them it would keep the server for a quarter of a second.
pub(super) const MAX_KEYS: usize = 1_024;

pub(super) struct Reset;

impl Command for Reset {
    const SPEC: Spec = Spec {
        name: c"rl.reset",
        flags: c"write",
        categories: c"ratelimit write slow",
        core_categories: c"write slow",
        arity: -2,
        keys: Keys::All,
        key_flags: REDISMODULE_CMD_KEY_RM | REDISMODULE_CMD_KEY_DELETE,
        summary: c"Forgets rate limiters, and the blocks on them.",
        complexity: c"O(N) for N keys",
        since: c"0.1.0",
        arguments: &[KEY.multiple()],
    };

    const COUNTERS: &'static CommandCounters = &counters::RESET;

    fn run(call: &Call<'_>) -> Result<(), Error> {
        let keys = 1..call.count();
        if keys.len() > MAX_KEYS {
            return Err(TOO_MANY_KEYS);
        }
        let now = call.now();
        // All are looked at before the first is deleted, so that an error leaves all of them.
        for at in keys.clone() {
            let key = Key::write(call, at)?;
            if let Some(bytes) = stored(&key)? {
                AnyLimiter::read(bytes, now)?;
            }
        }
        let mut forgotten = 0_u32;
        for at in keys {
            let deleted = Key::write(call, at)?.delete();
            forgotten = forgotten.saturating_add(u32::from(deleted));
        }
        counters::KEYS_RESET.add(forgotten.into());
        call.reply_integer(forgotten.into());
        Ok(())
    }
}
