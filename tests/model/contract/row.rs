//! The integers of a reply.

use num_bigint::BigInt;
use num_rational::Ratio;
use num_traits::ToPrimitive;

/// An exact number: of microseconds, or of units.
pub type Fraction = Ratio<BigInt>;

/// A whole number as a fraction.
pub fn whole(number: i128) -> Fraction {
    Fraction::from_integer(BigInt::from(number))
}

/// Rounded up.
pub fn ceil(number: &Fraction) -> i128 {
    number.ceil().to_integer().to_i128().unwrap()
}

/// Microseconds as milliseconds, rounded up.
pub fn millis(micros: &Fraction) -> i128 {
    ceil(&(micros / whole(1_000)))
}

/// One window's answer, or that of a bucket. Times are in microseconds.
#[derive(Clone, Debug)]
pub struct Row {
    pub granted: i128,
    pub limit: i128,
    pub remaining: i128,
    /// None: never.
    pub retry_after: Option<Fraction>,
    pub reset_after: Fraction,
    /// If the request wants one.
    pub receipt: Option<i128>,
}

impl Row {
    /// As the reply has it: times in milliseconds.
    pub fn integers(&self) -> Vec<i128> {
        let mut all = vec![
            self.granted,
            self.limit,
            self.remaining,
            self.retry_after.as_ref().map_or(-1, millis),
            millis(&self.reset_after),
        ];
        all.extend(self.receipt);
        all
    }

    /// The one that stands for several windows: denied, the longest wait, and never is the longest; granted, the
    /// fewest units remaining. Of equals, the first.
    pub fn binding(rows: Vec<Self>, granted: bool) -> Self {
        let rank = |row: &Self| match (granted, &row.retry_after) {
            (true, _) => (false, whole(-row.remaining)),
            (false, None) => (true, whole(0)),
            (false, Some(wait)) => (false, wait.clone()),
        };
        rows.into_iter()
            .reduce(|best, row| if rank(&row) > rank(&best) { row } else { best })
            .unwrap()
    }
}
