//! What the decision commands share: decide, store what has to be stored, reply.

use std::ffi::CStr;

use redis_module::raw::{
    REDISMODULE_CMD_KEY_ACCESS, REDISMODULE_CMD_KEY_RW, REDISMODULE_CMD_KEY_UPDATE,
};

use super::errors::NOT_A_LIMITER;
use super::reply::row;
use crate::limiter::{Algorithm, Decision, Encoded, Limiter, MIN_LEN, Request, Timestamp};
use crate::server::{Argument, ArgumentKind, Call, Error, Key, Stored};
use crate::stats::counters::CommandCounters;
use crate::stats::denied_keys;

/// Decides `request` on the limiter in the key that is the first argument.
pub(super) fn decide<A: Algorithm>(
    call: &Call<'_>,
    counters: &CommandCounters,
    parameters: &A::Parameters,
    request: &Request,
) -> Result<(), Error> {
    let mut key = Key::write(call, 1)?;
    let now = call.now();
    let mut limiter = Limiter::<A>::blank(now);
    limiter.reopen(state(&key)?, parameters)?;
    let decision = limiter.decide(request);
    store(&mut key, &limiter)?;
    // Closed before others hear of it, who may write the key.
    drop(key);
    observe(call, now, counters, &decision);
    call.reply_integers(&row(&decision));
    Ok(())
}

/// Stores a limiter, if it has to be.
pub(super) fn store<A: Algorithm>(key: &mut Key<'_>, limiter: &Limiter<A>) -> Result<(), Error> {
    if limiter.must_be_stored() {
        let mut state = Encoded::new();
        limiter.encode_to(&mut state);
        key.store(&state, limiter.expires_at())?;
    }
    Ok(())
}

/// Counts a decision on the key that is the first argument.
pub(super) fn observe(
    call: &Call<'_>,
    now: Timestamp,
    counters: &CommandCounters,
    decision: &Decision,
) {
    if decision.granted > 0 {
        counters.count_granted(decision.granted);
    } else if decision.is_impossible() {
        counters.count_impossible();
    } else {
        counters.count_denied();
        denied(call, now, 1);
    }
}

/// Makes it known that the key named by an argument was denied: to `RL.TOP`, and to whoever listens.
pub(super) fn denied(call: &Call<'_>, now: Timestamp, at: usize) {
    if let Some(key) = call.argument(at) {
        denied_keys::count(call.inside(), now, call.database(), key);
    }
    call.notify(c"rl.denied", at);
}

/// The state that a key holds, if it exists.
pub(super) fn state<'a>(key: &'a Key<'_>) -> Result<Option<&'a [u8]>, Error> {
    match key.stored(MIN_LEN) {
        Stored::Nothing => Ok(None),
        Stored::Bytes(bytes) => Ok(Some(bytes)),
        Stored::SomethingElse => Err(NOT_A_LIMITER),
    }
}

/// The flags of a decision command.
pub(super) const FLAGS: &CStr = c"write deny-oom fast";
/// Its ACL categories, and those of them that every server knows.
pub(super) const CATEGORIES: &CStr = c"ratelimit write fast";
pub(super) const CORE_CATEGORIES: &CStr = c"write fast";
/// What it does with its key.
pub(super) const KEY_FLAGS: u32 =
    REDISMODULE_CMD_KEY_RW | REDISMODULE_CMD_KEY_ACCESS | REDISMODULE_CMD_KEY_UPDATE;

/// Its key.
pub(super) const KEY: Argument = Argument::new(c"key", ArgumentKind::Key);
/// Its limit.
pub(super) const LIMIT: Argument = Argument::new(c"limit", ArgumentKind::Integer);
/// Its window.
pub(super) const WINDOW: Argument = Argument::new(c"window", ArgumentKind::String);
/// `COST n`
pub(super) const COST: Argument = Argument::option(c"COST", c"cost", ArgumentKind::Integer);
/// `ATMOST | FORCE`
pub(super) const MODE: Argument = Argument::new(
    c"mode",
    ArgumentKind::OneOf(&[
        Argument::word(c"ATMOST", c"atmost"),
        Argument::word(c"FORCE", c"force"),
    ]),
)
.optional();
/// `BLOCK duration`
pub(super) const BLOCK: Argument = Argument::option(c"BLOCK", c"duration", ArgumentKind::String);
