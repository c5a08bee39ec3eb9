//! The algorithms and their state: pure functions of (state, now, request), with no knowledge of Redis.

mod codec;
mod decide;
mod decision;
mod gcra;
mod meter;
mod sliding_window;
mod state;
mod time;
mod units;
mod windows;

pub use decide::{Algorithm, Kind, Limiter};
pub use decision::{Decision, Demand, Mode, RetryAfter};
pub use gcra::{Bucket, Quota, QuotaError};
pub use meter::{Meter, Meters};
pub use sliding_window::{Group, MAX_GROUPS, Rule, WindowLog};
pub use state::{Encoded, MAX_LEN, MIN_LEN, Unreadable, VERSION, kind};
pub use time::{Instant, Span, Window};
pub use units::Units;
pub use windows::{MAX_WINDOWS, Rules, RulesError, Windows};
