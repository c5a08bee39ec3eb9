//! How denials fade: one counts half as much when a half-life has passed.
//!
//! Counts are not divided as time passes, for that would touch every key at every denial. A newer denial weighs more
//! instead ("forward decay": Cormode, Shkapenyuk, Srivastava, Xu, 2009). So the order of the keys never changes by
//! itself. A weight grows in 16 steps for each half-life. Before it grows too large, all counts are halved as often as
//! it was doubled.

use crate::limiter::Timestamp;

/// What a denial weighs at first: weights are fixed-point numbers with 16 binary digits behind the point.
const ONE: u64 = 1 << 16;

/// What it weighs in the steps of a half-life: `ONE` times 2 to the power of 0/16, 1/16, ... 15/16.
const STEPS: [u64; 16] = [
    65_536, 68_438, 71_468, 74_632, 77_936, 81_386, 84_990, 88_752, 92_682, 96_785, 101_070,
    105_545, 110_218, 115_098, 120_194, 125_515,
];

/// A weight is not doubled more often than this. With so few doublings, a count has room for 2^44 new denials.
const MAX_DOUBLINGS: u64 = 4;

/// What a denial weighs now.
#[derive(Debug)]
pub(super) struct Decay {
    /// In microseconds, at least one.
    half_life: u64,
    /// Whether counts fade at all.
    fades: bool,
    /// For how long weights have been growing, in microseconds.
    age: u64,
    /// When the age was brought up to date.
    updated: Option<Timestamp>,
    weight: u64,
    /// The age at which the next step begins, so that most denials need no division.
    step_ends: u64,
}

impl Decay {
    /// With a half-life of `seconds`; 0 if nothing is to fade.
    pub(super) fn new(seconds: u64) -> Self {
        let mut decay = Self {
            half_life: 1,
            fades: false,
            age: 0,
            updated: None,
            weight: ONE,
            step_ends: 0,
        };
        decay.set_half_life(seconds);
        decay
    }

    /// Changes the half-life from now on: what has faded so far stays as it is.
    pub(super) fn set_half_life(&mut self, seconds: u64) {
        let half_life = seconds.saturating_mul(1_000_000);
        self.fades = half_life > 0;
        if self.fades {
            // The same number of half-lives.
            let age = u128::from(self.age).saturating_mul(half_life.into());
            let age = age.checked_div(self.half_life.into()).unwrap_or(0);
            self.age = u64::try_from(age).unwrap_or(u64::MAX);
            self.half_life = half_life;
            self.begin_step();
        }
    }

    /// Moves the time on to `now`. Returns how often all counts must be halved now: mostly 0 times. If the clock stepped
    /// back since the last call, no time has passed.
    pub(super) fn advance(&mut self, now: Timestamp) -> u32 {
        let elapsed = now.duration_since(self.updated.unwrap_or(now)).as_micros();
        self.updated = Some(now);
        if !self.fades {
            return 0;
        }
        self.age = self.age.saturating_add(elapsed);
        if self.age < self.step_ends {
            return 0;
        }
        let doublings = self.age.checked_div(self.half_life).unwrap_or(0);
        let halvings = if doublings < MAX_DOUBLINGS {
            0
        } else {
            self.age = self.age.checked_rem(self.half_life).unwrap_or(0);
            u32::try_from(doublings).unwrap_or(u32::MAX)
        };
        self.begin_step();
        halvings
    }

    fn begin_step(&mut self) {
        let steps = self.age.saturating_mul(16).checked_div(self.half_life);
        let steps = steps.unwrap_or(0);
        let weight = STEPS.get((steps % 16) as usize).copied().unwrap_or(ONE);
        self.weight = weight << (steps / 16).min(MAX_DOUBLINGS);
        self.step_ends = self
            .half_life
            .saturating_mul(steps.saturating_add(1))
            .div_ceil(16);
    }

    /// What a denial weighs at the time of the last [`Decay::advance`]; never 0.
    pub(super) const fn weight(&self) -> u64 {
        self.weight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_doubles_in_a_half_life_in_sixteen_steps() {
        let mut decay = Decay::new(3_600);
        let start = 1_000_000_007;
        assert_eq!(decay.advance(Timestamp::from_micros(start)), 0);
        for step in 0..64 {
            let now = start + step * 3_600_000_000 / 16;
            assert_eq!(decay.advance(Timestamp::from_micros(now)), 0);
            let exact = f64::exp2(16.0 + step as f64 / 16.0);
            let weight = decay.weight() as f64;
            assert!(
                (weight - exact).abs() <= exact / 100_000.0,
                "{step}: {weight}, not {exact}"
            );
        }
        assert_eq!(
            decay.advance(Timestamp::from_micros(start + 4 * 3_600_000_000)),
            4
        );
        assert_eq!(decay.weight(), ONE);
    }

    #[test]
    fn a_half_life_of_zero_lets_nothing_fade_and_one_that_is_changed_nothing_fade_at_once() {
        let hours = |count: u64| Timestamp::from_micros(1_000_000_007 + count * 3_600_000_000);
        let mut decay = Decay::new(0);
        decay.advance(hours(0));
        decay.advance(hours(1_000));
        assert_eq!(decay.weight(), ONE);
        decay.set_half_life(3_600);
        assert_eq!(decay.weight(), ONE);
        decay.advance(hours(1_001));
        assert_eq!(decay.weight(), 2 * ONE);
        for seconds in [60, 0, 2_592_000, 1, 7] {
            decay.set_half_life(seconds);
            decay.advance(hours(1_001));
            assert_eq!(decay.weight(), 2 * ONE, "{seconds}");
        }
    }

    #[test]
    fn a_clock_that_steps_back_makes_no_time_pass_and_does_not_stop_it() {
        let mut decay = Decay::new(1);
        decay.advance(Timestamp::from_micros(90_000_000));
        decay.advance(Timestamp::from_micros(10_000_000));
        assert_eq!(decay.weight(), ONE);
        decay.advance(Timestamp::from_micros(11_000_000));
        assert_eq!(decay.weight(), 2 * ONE);
    }

    #[test]
    fn the_longest_time_and_the_longest_half_life_overflow_nothing() {
        for seconds in [1, 2_592_000, u64::MAX] {
            let mut decay = Decay::new(seconds);
            decay.advance(Timestamp::from_micros(0));
            decay.advance(Timestamp::MAX);
            assert!((ONE..=ONE << (MAX_DOUBLINGS + 1)).contains(&decay.weight()));
        }
    }
}
