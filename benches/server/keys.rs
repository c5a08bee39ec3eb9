//! Which keys are asked for, and in what order.

use std::fmt;
use std::rc::Rc;

/// The keys of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keys {
    /// One, again and again.
    One,
    /// A thousand, each in turn: all of them stay in the processor's cache.
    Thousand,
    /// A hundred thousand, each in turn in random order: most are not.
    HundredThousand,
    /// Another one each time, that did not exist.
    New,
}

impl Keys {
    pub const ALL: [Self; 4] = [Self::One, Self::Thousand, Self::HundredThousand, Self::New];
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One => "one hot key",
            Self::Thousand => "1,000 hot keys",
            Self::HundredThousand => "100,000 random keys",
            Self::New => "new keys",
        })
    }
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Keys that are touched between two looks at the server's clocks. Below ten milliseconds the looks would disturb.
    pub touches: usize,
    /// How many keys [`Keys::Thousand`] are.
    pub thousand: u32,
    /// How many keys [`Keys::HundredThousand`] are.
    pub hundred_thousand: u32,
}

impl Sizes {
    /// What their names say.
    pub const REAL: Self = Self {
        touches: 20_000,
        thousand: 1_000,
        hundred_thousand: 100_000,
    };

    /// Enough to see that everything works.
    pub const TINY: Self = Self {
        touches: 400,
        thousand: 200,
        hundred_thousand: 400,
    };
}

/// An order of keys that begins anew at its end.
#[derive(Clone, Debug)]
pub struct Order {
    numbers: Rc<[u32]>,
    at: usize,
}

impl Order {
    pub fn new(keys: Keys, sizes: Sizes) -> Self {
        match keys {
            Keys::One => Self::random(1),
            Keys::Thousand => Self::random(sizes.thousand),
            Keys::HundredThousand => Self::random(sizes.hundred_thousand),
            // As many as one slice touches: none exists when the slice begins.
            Keys::New => Self::random(u32::try_from(sizes.touches).unwrap()),
        }
    }

    /// The numbers below `count` in random order, the same each time.
    pub fn random(count: u32) -> Self {
        let mut numbers: Vec<u32> = (0..count).collect();
        fastrand::Rng::with_seed(1).shuffle(&mut numbers);
        Self {
            numbers: numbers.into(),
            at: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    pub fn next(&mut self) -> u32 {
        let number = self.numbers[self.at];
        self.at = (self.at + 1) % self.numbers.len();
        number
    }
}
