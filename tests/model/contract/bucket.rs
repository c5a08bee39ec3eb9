//! GCRA in fractions.

use super::row::{Fraction, ceil, whole};

/// Limit, window and burst. The window is in microseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    pub limit: i128,
    pub window: i128,
    pub burst: i128,
}

impl Rate {
    /// What so many units are worth, in microseconds.
    pub fn worth(&self, units: i128) -> Fraction {
        whole(units * self.window) / whole(self.limit)
    }
}

/// The rate, and when the whole quota is back.
#[derive(Clone, Debug, PartialEq)]
pub struct Bucket {
    pub rate: Rate,
    /// The theoretical arrival time in microseconds.
    pub tat: Fraction,
}

impl Bucket {
    /// Another rate takes effect. The theoretical arrival time stays, rounded up to the new unit: 1/limit of a nanosecond.
    pub fn with(&self, rate: Rate) -> Self {
        let unit = whole(1) / whole(1_000 * rate.limit);
        let tat = whole(ceil(&(&self.tat / &unit))) * unit;
        Self { rate, tat }
    }

    /// The time in use.
    pub fn in_use(&self, now: i128) -> Fraction {
        (&self.tat - whole(now)).max(whole(0))
    }

    /// Units in use, one that is used in part included.
    pub fn used(&self, now: i128) -> i128 {
        ceil(&(self.in_use(now) / self.rate.worth(1)))
    }

    pub fn remaining(&self, now: i128) -> i128 {
        (self.rate.burst - self.used(now)).max(0)
    }

    /// The time until there is room for so many.
    pub fn wait(&self, now: i128, needed: i128) -> Fraction {
        (self.in_use(now) + self.rate.worth(needed) - self.rate.worth(self.rate.burst))
            .max(whole(0))
    }

    /// Charges units. What is forced makes at most a debt of a further burst, and takes none away.
    pub fn charge(&mut self, now: i128, units: i128, forced: bool) {
        let before = self.in_use(now);
        let mut after = &before + self.rate.worth(units);
        if forced {
            after = after.min(self.rate.worth(2 * self.rate.burst)).max(before);
        }
        self.tat = whole(now) + after;
    }

    /// Gives units back; how many.
    pub fn give_back(&mut self, now: i128, units: i128) -> i128 {
        let given = units.min(self.used(now));
        self.tat = (&self.tat - self.rate.worth(units)).max(whole(now));
        given
    }
}
