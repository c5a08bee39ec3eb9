//! What a caller asks for.

use super::{Units, Window};

/// What one request asks of a limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// How many units the request costs.
    pub cost: Units,
    /// What is granted if there is not room for all of them.
    pub mode: Mode,
    /// How long a denial blocks the key; `None`: not at all.
    pub block: Option<Window>,
}

impl Request {
    /// The plain request: exactly `cost` units or none.
    #[must_use]
    pub const fn exact(cost: Units) -> Self {
        Self {
            cost,
            mode: Mode::Exact,
            block: None,
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
}
