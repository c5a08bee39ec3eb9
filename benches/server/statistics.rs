//! A median and how far the rounds lie apart. Not a mean: one round that the machine spent elsewhere must not count.

use std::fmt;

/// The median of the rounds, and half the distance between their quartiles: half of all rounds lie within about
/// `median ± spread`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    pub median: f64,
    pub spread: f64,
}

impl Summary {
    pub fn of(samples: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = samples.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Self {
            median: quantile(&sorted, 0.5),
            spread: (quantile(&sorted, 0.75) - quantile(&sorted, 0.25)) / 2.0,
        }
    }
}

/// With two decimals, as ratios are shown.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ± {:.2}", self.median, self.spread)
    }
}

/// The value below which `share` of the sorted samples lie.
pub fn quantile<T: Copy + Into<f64>>(sorted: &[T], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let below: f64 = sorted[place.floor() as usize].into();
    let above: f64 = sorted[place.ceil() as usize].into();
    below + (above - below) * place.fract()
}
