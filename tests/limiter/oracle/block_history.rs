//! The blocks of one key, by the times at which they end.

use redis_ratelimit::limiter::Request;

/// In microseconds; 0 if there is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct BlockHistory {
    blocked_until: u64,
    /// How many growing blocks there were in a row.
    in_a_row: u32,
    forgotten_at: u64,
}

impl BlockHistory {
    /// Moves on to `now`, after a clock that stepped back by `back`.
    pub fn advance(&mut self, back: u64, now: u64) {
        self.blocked_until = self.blocked_until.saturating_sub(back);
        self.forgotten_at = self.forgotten_at.saturating_sub(back);
        if self.forgotten_at <= now {
            self.in_a_row = 0;
        }
    }

    /// For how long everything is denied.
    pub fn left(&self, now: u64) -> u64 {
        self.blocked_until.saturating_sub(now)
    }

    /// When nothing of them matters any more.
    pub fn over(&self) -> u64 {
        self.blocked_until.max(self.forgotten_at)
    }

    /// Starts the block that a denial asks for, unless there is one. Returns whether it did.
    pub fn start(&mut self, request: &Request, now: u64) -> bool {
        let Some(block) = request.block.filter(|_| self.left(now) == 0) else {
            return false;
        };
        let mut length = block.as_millis() * 1_000;
        if let Some(longest) = request.block_up_to {
            let longest = longest.as_millis() * 1_000;
            for _ in 0..self.in_a_row {
                length = longest.min(length + length);
            }
            self.in_a_row += 1;
            self.forgotten_at = now + length + longest;
        }
        self.blocked_until = now + length;
        true
    }
}
