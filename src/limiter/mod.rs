//! The algorithms and their state: pure functions of (state, now, request), with no knowledge of Redis.
//!
//! Stored bytes become a [`Limiter`] at a time, [`Limiter::decide`] turns a [`Request`] into an [`Outcome`], a decision
//! and what becomes of the key, and the limiter becomes bytes again. An algorithm knows nothing of bytes: `encoding`
//! stands above both.

mod algorithm;
mod block;
mod decision;
mod encoding;
mod gcra;
mod limit;
#[expect(
    clippy::module_inception,
    reason = "the file is named for the type in it"
)]
mod limiter;
mod quota;
mod request;
mod sliding_window;
mod timestamp;
mod units;
mod windows;

pub use algorithm::{Algorithm, AlgorithmKind};
pub(crate) use block::Blocks;
pub use decision::{Decision, Outcome, RetryAfter, Write};
pub(crate) use encoding::with_limiter;
pub use encoding::{AnyLimiter, DecodeError, Encoded, Encoding, MAX_LEN, MIN_LEN, VERSION};
pub use gcra::Bucket;
pub use limit::{Limit, LimitParameters, NonEmpty};
pub use limiter::Limiter;
pub use quota::{Quota, QuotaError};
pub use request::{Mode, Request};
pub use sliding_window::{Group, MAX_GROUPS, Rule, WindowLog};
pub use timestamp::{Duration, Timestamp, Window};
pub use units::Units;
pub use windows::{MAX_WINDOWS, Rules, RulesError, Windows};
