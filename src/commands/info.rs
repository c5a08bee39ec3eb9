//! `RL.INFO key`

use redis_module::raw::{REDISMODULE_CMD_KEY_ACCESS, REDISMODULE_CMD_KEY_RO};

use super::decide::{KEY, state};
use super::reply::{integer, millis};
use crate::limiter::{
    self, Algorithm, Bucket, Duration, Limit, Limiter, RetryAfter, Timestamp, Units, Window,
    Windows,
};
use crate::server::{Call, Command, Error, Key, Keys, Spec};
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
        let Some(state) = state(&key)? else {
            call.reply_null();
            return Ok(());
        };
        match limiter::algorithm_of(state)? {
            limiter::AlgorithmKind::SlidingWindow => {
                let limiter = Limiter::<Windows>::read(state, now)?;
                reply(call, &limiter, b"sliding-window", |log| Quota {
                    limit: log.rule().limit,
                    window: log.rule().window,
                    burst: None,
                });
            }
            limiter::AlgorithmKind::Gcra => {
                let limiter = Limiter::<Bucket>::read(state, now)?;
                reply(call, &limiter, b"gcra", |bucket| Quota {
                    limit: bucket.quota().limit(),
                    window: bucket.quota().window(),
                    burst: Some(bucket.quota().burst()),
                });
            }
        }
        Ok(())
    }
}

/// The parameters of one limit.
struct Quota {
    limit: Units,
    window: Window,
    burst: Option<Units>,
}

fn reply<A: Algorithm>(
    call: &Call<'_>,
    limiter: &Limiter<A>,
    algorithm: &[u8],
    quota: impl Fn(&A::Limit) -> Quota,
) {
    if limiter.is_full() {
        call.reply_null();
        return;
    }
    let limits = limiter.algorithm().limits();
    call.reply_map(3);
    call.reply_bytes(b"algorithm");
    call.reply_bytes(algorithm);
    reply_field(call, "blocked_for", millis(limiter.blocked_for()));
    call.reply_bytes(b"windows");
    call.reply_array(limits.count());
    for limit in limits.iter() {
        reply_meter(
            call,
            limit,
            &quota(limit),
            limiter.blocked_for(),
            limiter.now(),
        );
    }
}

fn reply_meter<M: Limit>(
    call: &Call<'_>,
    limit: &M,
    quota: &Quota,
    blocked_for: Duration,
    now: Timestamp,
) {
    let retry_after = match limit.retry_after(Units::ONE, now) {
        RetryAfter::After(span) => millis(span.max(blocked_for)),
        RetryAfter::Never => -1,
    };
    let reset_after = limit.reset_after(now).max(blocked_for);
    call.reply_map(if quota.burst.is_some() { 8 } else { 7 });
    reply_field(call, "limit", integer(quota.limit.get()));
    reply_field(call, "window", integer(quota.window.as_millis()));
    if let Some(burst) = quota.burst {
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
