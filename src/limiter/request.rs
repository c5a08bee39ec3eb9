//! What a caller asks for.

use super::{Units, Window};

/// What one request asks of a limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// How many units the request costs.
    pub cost: Units,
    /// What is granted if there is not room for all of them.
    pub mode: Mode,
    /// How many units have to remain afterwards (`KEEP`); at most [`Units::MAX`].
    pub keep: u64,
    /// How long a denial blocks the key; `None`: not at all.
    pub block: Option<Window>,
    /// Blocks in a row grow, each to twice the last one, up to this duration (`UPTO`); `None`: they do not.
    pub block_up_to: Option<Window>,
}

impl Request {
    /// The plain request: exactly `cost` units or none.
    #[must_use]
    pub const fn exact(cost: Units) -> Self {
        Self {
            cost,
            mode: Mode::Exact,
            keep: 0,
            block: None,
            block_up_to: None,
        }
    }

    /// The units that have to be there so that the whole cost is granted.
    pub(super) const fn needed(&self) -> u64 {
        self.cost.get().saturating_add(self.keep)
    }

    /// The units that have to be there so that anything is granted.
    pub(super) const fn min_needed(&self) -> u64 {
        match self.mode {
            Mode::Exact | Mode::Wait(_) => self.needed(),
            Mode::AtMost => self.keep.saturating_add(1),
            Mode::Force => 0,
        }
    }
}

/// What is granted if there is not room for the whole cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Exact,
    /// As much as there is room for (`ATMOST`).
    AtMost,
    /// Everything; the debt delays later requests (`FORCE`).
    Force,
    /// Everything, if there would be room within that time: the caller is told how long to wait before it goes on
    /// (`MAXWAIT`).
    Wait(Window),
}
