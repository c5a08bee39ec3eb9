//! The traffic that is drawn. The limit is 100 a minute.

use std::ops::Range;

use fastrand::Rng;

/// One second, in microseconds.
pub const SECOND: u64 = 1_000_000;

/// Who asks, and when.
pub struct Scenario {
    /// The name of its files.
    pub name: &'static str,
    /// What the document calls it.
    pub title: &'static str,
    /// How long it is watched, in seconds.
    pub seconds: u64,
    /// When each caller asks first, in microseconds since the start.
    pub arrivals: Vec<u64>,
    /// How long after a denial a caller asks again, in microseconds; `None`: it gives up.
    pub retries: Option<Range<u64>>,
}

pub fn all() -> Vec<Scenario> {
    vec![boundary_burst(), steady_overload(), retry_storm()]
}

/// Bursts just before and just after a boundary of the clock's minutes, then a little more than the limit.
fn boundary_burst() -> Scenario {
    let mut random = Rng::with_seed(1);
    let mut arrivals = times(&mut random, 150, 55 * SECOND, 60 * SECOND);
    arrivals.extend(times(&mut random, 150, 60 * SECOND, 65 * SECOND));
    arrivals.extend(times(&mut random, 230, 65 * SECOND, 180 * SECOND));
    Scenario {
        name: "boundary-burst",
        title: "boundary burst",
        seconds: 180,
        arrivals,
        retries: None,
    }
}

/// Twice the limit, at random times, from an idle start.
fn steady_overload() -> Scenario {
    Scenario {
        name: "steady-overload",
        title: "steady overload",
        seconds: 300,
        arrivals: times(&mut Rng::with_seed(2), 1_000, 0, 300 * SECOND),
        retries: None,
    }
}

/// 250 callers come back at once, as after an outage, beside 40 new ones a minute. All who are denied try again every
/// 2 to 4 seconds until they are admitted.
fn retry_storm() -> Scenario {
    let mut random = Rng::with_seed(3);
    let mut arrivals = times(&mut random, 200, 0, 300 * SECOND);
    arrivals.extend(times(&mut random, 250, 45 * SECOND, 46 * SECOND));
    Scenario {
        name: "retry-storm",
        title: "retry storm",
        seconds: 300,
        arrivals,
        retries: Some(2 * SECOND..4 * SECOND),
    }
}

/// `count` independent times in [`from`, `to`): that is how the arrivals of a Poisson process lie, given their number.
pub fn times(random: &mut Rng, count: u64, from: u64, to: u64) -> Vec<u64> {
    (0..count).map(|_| random.u64(from..to)).collect()
}
