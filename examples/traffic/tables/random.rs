//! The same random numbers at every run.

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        let product = u128::from(self.next()) * u128::from(end);
        u64::try_from(product >> 64).expect("it is below `end`")
    }

    /// `count` independent times in [`from`, `to`): that is how the arrivals of a Poisson process lie, given their
    /// number.
    pub fn times(&mut self, count: u64, from: u64, to: u64) -> Vec<u64> {
        (0..count).map(|_| from + self.below(to - from)).collect()
    }
}
