//! What an algorithm is to a limiter.

use super::{Duration, Limit, Mode, NonEmpty, Timestamp};

/// The algorithms. A key belongs to the one that it was first used with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlgorithmKind {
    /// The strict sliding window of `RL.CHECK`.
    SlidingWindow,
    /// The token bucket of `RL.GCRA`.
    Gcra,
}

impl AlgorithmKind {
    /// Its name, as `RL.INFO` shows it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SlidingWindow => "sliding-window",
            Self::Gcra => "gcra",
        }
    }
}

/// An algorithm's share of a limiter: the limits, and what is in use of them.
pub trait Algorithm: Sized {
    /// Which one it is.
    const KIND: AlgorithmKind;

    /// What a request says about its limits.
    type Parameters;

    /// What decides: one, or several that have to agree.
    type Limit: Limit;

    /// The one of a key that holds nothing yet.
    fn new(parameters: &Self::Parameters) -> Self;

    /// Moves the time on from `from` to `now`.
    fn advance(&mut self, from: Timestamp, now: Timestamp);

    /// Makes `parameters` the active ones, forgetting and forgiving nothing. Returns whether anything changed.
    fn set_parameters(&mut self, parameters: &Self::Parameters, now: Timestamp) -> bool;

    /// The active limits.
    fn active(&self) -> NonEmpty<'_, Self::Limit>;

    /// Takes `units` from every active limit, whether there is room or not. The debt of a forced request is kept up to
    /// one further quota; what is beyond is dropped. Returns whether anything was taken.
    fn charge(&mut self, units: u64, mode: Mode, now: Timestamp) -> bool;

    /// Gives back up to `units` from each limit that is stored, those admitted last: they count as never admitted.
    /// Returns the most that one limit gave back.
    fn refund(&mut self, units: u64) -> u64;

    /// The time until nothing of what is stored matters any more.
    fn expires_after(&self, now: Timestamp) -> Duration;
}
