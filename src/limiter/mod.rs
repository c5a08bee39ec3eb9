//! The algorithms and their state: pure functions of (state, now, request), with no knowledge of Redis.

mod codec;
mod decision;
mod gcra;
mod limit;
#[expect(
    clippy::module_inception,
    reason = "the file is named for the type in it"
)]
mod limiter;
mod sliding_window;
mod state;
mod timestamp;
mod units;
mod windows;

pub use decision::{Decision, Mode, Request, RetryAfter};
pub use gcra::{Bucket, Quota, QuotaError};
pub use limit::{Limit, NonEmpty};
pub use limiter::{Algorithm, AlgorithmKind, Limiter};
pub use sliding_window::{Group, MAX_GROUPS, Rule, WindowLog};
pub use state::{DecodeError, Encoded, MAX_LEN, MIN_LEN, VERSION, algorithm_of};
pub use timestamp::{Duration, Timestamp, Window};
pub use units::Units;
pub use windows::{MAX_WINDOWS, Rules, RulesError, Windows};
