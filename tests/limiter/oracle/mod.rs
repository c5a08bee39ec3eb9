//! What the tests hold the limiters against: models of both algorithms that share no arithmetic with them, a key as the
//! server keeps it, and the traffic that is sent to all of them.

mod block_history;
mod exact_log;
mod key;
mod rational_bucket;
mod traffic;

pub use block_history::BlockHistory;
pub use exact_log::{ExactLog, ExactWindows};
pub use key::{Key, Stored};
pub use rational_bucket::{RationalBucket, century};
pub use traffic::{
    Arrival, Clock, Cost, Gap, Spacing, arrivals, limit, quota, request, rule, spaced, window_ms,
};

use proptest::test_runner::Config;
use redis_ratelimit::limiter::{Decision, RetryAfter, Rule, Rules, Units, Window};

/// A moment in 2023, in microseconds: when the tests begin.
pub const START: u64 = 1_700_000_000_000_000;

/// When the tests end, at the latest: as long before the last timestamp as the longest debt lasts.
pub const END: u64 = 60_000_000_000_000_000;

/// Other cases at every run. One that fails is added to a file in `tests/proptest-regressions`, and comes first from then
/// on. `PROPTEST_CASES` asks for more.
pub fn config() -> Config {
    Config {
        max_shrink_iters: 4_000,
        ..Config::default()
    }
}

/// A reply, and whether it came with a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Units granted.
    pub granted: u64,
    /// The most that could be granted at once.
    pub limit: u64,
    /// Units left.
    pub remaining: u64,
    /// Microseconds until the same request is granted; `None`: never.
    pub retry_after: Option<u64>,
    /// Microseconds until the whole quota is back.
    pub reset_after: u64,
    /// Whether the state was written.
    pub stored: bool,
}

impl Answer {
    pub fn new(decision: Decision, stored: bool) -> Self {
        Self {
            granted: decision.granted,
            limit: decision.limit.get(),
            remaining: decision.remaining,
            retry_after: match decision.retry_after {
                RetryAfter::After(wait) => Some(wait.as_micros()),
                RetryAfter::Never => None,
            },
            reset_after: decision.reset_after.as_micros(),
            stored,
        }
    }

    pub fn is_denied(&self) -> bool {
        self.granted == 0
    }
}

/// `units`, which must be from 1 to 2^32 - 1.
pub fn units(units: u64) -> Units {
    Units::new(units).unwrap()
}

/// `millis`, which must be from 1 ms to 10 years.
pub fn millis(millis: u64) -> Window {
    Window::from_millis(millis).unwrap()
}

/// `limit` units per `window_ms` milliseconds.
pub fn at_most(limit: u64, window_ms: u64) -> Rule {
    Rule {
        limit: units(limit),
        window: millis(window_ms),
    }
}

/// One window, or several of different lengths.
pub fn rules(rules: &[Rule]) -> Rules {
    let mut all = Rules::new(rules[0]);
    for rule in &rules[1..] {
        all.add(*rule).unwrap();
    }
    all
}

/// Microseconds as whole milliseconds, rounded up, in microseconds again: how long a caller waits who is told
/// milliseconds.
pub fn as_told(micros: u64) -> u64 {
    micros.div_ceil(1_000) * 1_000
}
