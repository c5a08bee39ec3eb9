//! The clock.

use std::time::{SystemTime, UNIX_EPOCH};

use super::api::optional;
use crate::limiter::Timestamp;

/// The time of the command that runs: the server's own, which it reads once per command and holds still in transactions
/// and scripts, and which its expiry uses. Redis 7.0 does not give it to modules: there, the system clock's.
pub(super) fn now() -> Timestamp {
    // SAFETY: the table is written while the module loads and never afterwards.
    let micros = match unsafe { optional::RedisModule_CachedMicroseconds } {
        // SAFETY: takes nothing and reads one integer.
        Some(cached) => u64::try_from(unsafe { cached() }).unwrap_or(0),
        None => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| {
                let whole = time.as_secs().saturating_mul(1_000_000);
                whole.saturating_add(time.subsec_micros().into())
            }),
    };
    Timestamp::from_micros(micros)
}
