//! `RL.INFO key`

use redis_module::raw::{REDISMODULE_CMD_KEY_ACCESS, REDISMODULE_CMD_KEY_RO};

use super::decide::{KEY, state};
use super::reply::{integer, millis};
use crate::limiter::{
    self, Algorithm, Bucket, Instant, Limiter, Meter, RetryAfter, Span, Units, Window, Windows,
};
use crate::server::{Call, Command, Key, Keys, Refusal, Spec};
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

    fn run(call: &Call<'_>) -> Result<(), Refusal> {
        let key = Key::read(call, 1)?;
        let now = call.now();
        let Some(state) = state(&key)? else {
            call.reply_null();
            return Ok(());
        };
        match limiter::kind(state)? {
            limiter::Kind::SlidingWindow => {
                let limiter = Limiter::<Windows>::read(state, now)?;
                reply(call, &limiter, b"sliding-window", |log| Quota {
                    limit: log.rule().limit,
                    window: log.rule().window,
                    burst: None,
                });
            }
            limiter::Kind::Gcra => {
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

/// The parameters of one meter.
struct Quota {
    limit: Units,
    window: Window,
    burst: Option<Units>,
}

fn reply<A: Algorithm>(
    call: &Call<'_>,
    limiter: &Limiter<A>,
    algorithm: &[u8],
    quota: impl Fn(&A::Meter) -> Quota,
) {
    if limiter.is_unused() {
        call.reply_null();
        return;
    }
    let meters = limiter.algorithm().meters();
    call.reply_map(3);
    call.reply_bytes(b"algorithm");
    call.reply_bytes(algorithm);
    reply_field(call, "blocked_for", millis(limiter.lockout()));
    call.reply_bytes(b"windows");
    call.reply_array(meters.count());
    for meter in meters.iter() {
        reply_meter(call, meter, &quota(meter), limiter.lockout(), limiter.now());
    }
}

fn reply_meter<M: Meter>(call: &Call<'_>, meter: &M, quota: &Quota, lockout: Span, now: Instant) {
    let retry_after = match meter.retry_after(Units::ONE, now) {
        RetryAfter::After(span) => millis(span.max(lockout)),
        RetryAfter::Never => -1,
    };
    let reset_after = meter.reset_after(now).max(lockout);
    call.reply_map(if quota.burst.is_some() { 8 } else { 7 });
    reply_field(call, "limit", integer(quota.limit.get()));
    reply_field(call, "window", integer(quota.window.as_millis()));
    if let Some(burst) = quota.burst {
        reply_field(call, "burst", integer(burst.get()));
    }
    reply_field(call, "used", integer(meter.used()));
    reply_field(call, "remaining", integer(meter.remaining()));
    reply_field(call, "retry_after", retry_after);
    reply_field(call, "next_after", millis(meter.next_after(now)));
    reply_field(call, "reset_after", millis(reset_after));
}

fn reply_field(call: &Call<'_>, name: &str, value: i64) {
    call.reply_bytes(name.as_bytes());
    call.reply_integer(value);
}
