//! `RL.INFO key`

use super::execute::stored;
use super::reply::{integer, millis};
use super::spec::KEY;
use crate::limiter::{
    AnyLimiter, Duration, Encoding, Limit, Limiter, RetryAfter, Timestamp, with_limiter,
};
use crate::server::{
    Call, Command, Error, Key, Keys, REDISMODULE_CMD_KEY_ACCESS, REDISMODULE_CMD_KEY_RO, Spec,
};
use crate::stats::counters::{self, CommandCounters};

pub(super) struct Info;

impl Command for Info {
    const SPEC: Spec = Spec {
        name: c"rl.info",
        flags: c"readonly fast",
        categories: c"ratelimit read fast",
        core_categories: c"read fast",
        arity: 2,
        keys: Keys::First,
        key_flags: REDISMODULE_CMD_KEY_RO | REDISMODULE_CMD_KEY_ACCESS,
        summary: c"Tells everything about the rate limiter in a key.",
        complexity: c"O(1) for each window",
        since: c"0.1.0",
        arguments: &[KEY],
    };

    const COUNTERS: &'static CommandCounters = &counters::INFO;

    fn run(call: &Call<'_>) -> Result<(), Error> {
        let key = Key::read(call, 1)?;
        let now = call.now();
        match stored(&key)? {
            None => call.reply_null(),
            Some(bytes) => {
                with_limiter!(AnyLimiter::read(bytes, now)?, limiter => reply(call, &limiter));
            }
        }
        Ok(())
    }
}

fn reply<A: Encoding>(call: &Call<'_>, limiter: &Limiter<A>) {
    let blocks = limiter.blocks_in_a_row();
    if limiter.is_full() && blocks == 0 {
        call.reply_null();
        return;
    }
    let limits = limiter.active();
    call.reply_map(4);
    call.reply_bytes(b"algorithm");
    call.reply_bytes(A::KIND.name().as_bytes());
    reply_field(call, "blocked_for", millis(limiter.blocked_for()));
    call.reply_bytes(b"windows");
    call.reply_array(limits.count());
    for limit in limits.iter() {
        reply_limit(call, limit, limiter.blocked_for(), limiter.now());
    }
    reply_field(call, "blocks", blocks.into());
}

fn reply_limit(call: &Call<'_>, limit: &impl Limit, blocked_for: Duration, now: Timestamp) {
    let parameters = limit.parameters();
    let retry_after = match limit.retry_after(1, now) {
        RetryAfter::After(wait) => millis(wait.max(blocked_for)),
        RetryAfter::Never => -1,
    };
    let reset_after = limit.reset_after(now).max(blocked_for);
    call.reply_map(if parameters.burst.is_some() { 8 } else { 7 });
    reply_field(call, "limit", integer(parameters.limit.get()));
    reply_field(call, "window", integer(parameters.window.as_millis()));
    if let Some(burst) = parameters.burst {
        reply_field(call, "burst", integer(burst.get()));
    }
    reply_field(call, "used", integer(limit.used()));
    reply_field(call, "remaining", integer(limit.remaining()));
    reply_field(call, "retry_after", retry_after);
    reply_field(call, "next_after", millis(limit.next_after(now)));
    reply_field(call, "reset_after", millis(reset_after));
}

fn reply_field(call: &Call<'_>, name: &str, value: i64) {
    call.reply_bytes(name.as_bytes());
    call.reply_integer(value);
}
