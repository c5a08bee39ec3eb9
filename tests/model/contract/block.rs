//! `BLOCK` and `UPTO`.

/// The block on a key, and how many there were in a row. Times are in microseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Block {
    until: i128,
    /// How many, as far as they are remembered.
    pub in_a_row: u32,
    remembered_until: i128,
}

impl Block {
    /// What is left of it.
    pub fn left(&self, now: i128) -> i128 {
        (self.until - now).max(0)
    }

    /// As it is now, if the clock has stepped back by this since the last write.
    pub fn at(&self, now: i128, stepped_back: i128) -> Self {
        let until = self.until - stepped_back;
        let remembered_until = self.remembered_until - stepped_back;
        let remembered = remembered_until > now;
        Self {
            until: if until > now { until } else { 0 },
            in_a_row: if remembered { self.in_a_row } else { 0 },
            remembered_until: if remembered { remembered_until } else { 0 },
        }
    }

    /// Starts one.
    pub fn start(&mut self, now: i128, duration: i128, up_to: Option<i128>) {
        match up_to {
            None => self.until = now + duration,
            Some(up_to) => {
                let lasts = (0..self.in_a_row).fold(duration, |lasts, _| (2 * lasts).min(up_to));
                self.in_a_row += 1;
                self.until = now + lasts.min(up_to);
                self.remembered_until = self.until + up_to;
            }
        }
    }

    /// When nothing of it matters any more.
    pub fn end(&self) -> i128 {
        self.until.max(self.remembered_until)
    }
}
