//! Blocks: for how long a key denies everything, and how many blocks there were in a row.

use super::{Duration, Request};

/// The blocks of one key at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// For how long everything is still denied.
    pub(super) left: Duration,
    /// How many growing blocks there were in a row; 0 if none is remembered.
    pub(super) in_a_row: u32,
    /// For how long they are still remembered; zero if none is.
    pub(super) remembered: Duration,
}

impl Blocks {
    /// None, and none remembered.
    pub(super) const NONE: Self = Self {
        left: Duration::ZERO,
        in_a_row: 0,
        remembered: Duration::ZERO,
    };

    /// Whether everything is denied.
    pub(super) const fn is_blocked(&self) -> bool {
        !self.left.is_zero()
    }

    /// They after `passed`.
    #[must_use]
    pub(super) const fn after(self, passed: Duration) -> Self {
        let remembered = self.remembered.saturating_sub(passed);
        Self {
            left: self.left.saturating_sub(passed),
            in_a_row: if remembered.is_zero() {
                0
            } else {
                self.in_a_row
            },
            remembered,
        }
    }

    /// Starts the block that a denial of `request` asks for; not if one is running. Returns whether one was started.
    ///
    /// One that grows lasts twice as long as the one before it, and is remembered until its longest duration has passed
    /// since its end. A plain one is neither counted nor does it change what is remembered.
    pub(super) fn start(&mut self, request: &Request) -> bool {
        let Some(block) = request.block.filter(|_| !self.is_blocked()) else {
            return false;
        };
        let block = block.as_duration();
        self.left = match request.block_up_to {
            None => block,
            Some(longest) => {
                let longest = longest.as_duration();
                let grown = block.doubled(self.in_a_row).min(longest);
                self.in_a_row = self.in_a_row.saturating_add(1);
                self.remembered = grown.saturating_add(longest);
                grown
            }
        };
        true
    }

    /// The time until nothing of them matters any more.
    pub(super) fn expire_after(&self) -> Duration {
        self.left.max(self.remembered)
    }
}
