//! The windows of one key.

use super::log::Log;

/// One of them. Times are in microseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    pub limit: i128,
    pub length: i128,
    pub log: Log,
    /// Whether the last request named it: only those are in force.
    pub named: bool,
}

/// The most windows that are stored.
const WINDOWS: usize = 8;

impl Window {
    pub fn used(&self) -> i128 {
        self.log.used()
    }

    /// When it is empty.
    pub fn empty_at(&self) -> Option<i128> {
        self.log.newest().map(|time| time + self.length)
    }

    /// Whether there is room for so many units at a time, if nobody else asks. A renewal first gives back its cost.
    pub fn has_room(&self, time: i128, needed: i128, renewal: Option<Renewal>) -> bool {
        let mut log = self.log.at(time, self.length);
        if let Some(Renewal { receipt, cost }) = renewal {
            log.give_back(cost, receipt, time, self.length);
        }
        log.used() + needed <= self.limit
    }

    /// The times at which something leaves it.
    pub fn moments(&self, renewal: Option<Renewal>) -> Vec<i128> {
        let mut all = self.log.departures(self.length);
        all.extend(renewal.map(|renewal| renewal.receipt + self.length));
        all
    }

    /// The time until there is room, at the earliest at a time.
    pub fn wait(&self, from: i128, needed: i128, renewal: Option<Renewal>) -> Option<i128> {
        first_moment(&[self], from, needed, renewal)
    }
}

/// The first moment when all of them have room; none if that is never.
pub fn first_moment(
    windows: &[&Window],
    from: i128,
    needed: i128,
    renewal: Option<Renewal>,
) -> Option<i128> {
    let mut moments: Vec<i128> = windows
        .iter()
        .flat_map(|window| window.moments(renewal))
        .collect();
    moments.push(from);
    moments.sort_unstable();
    moments
        .into_iter()
        .filter(|&moment| moment >= from)
        .find(|&moment| {
            windows
                .iter()
                .all(|window| window.has_room(moment, needed, renewal))
        })
}

/// `RENEW`: what it gives back.
#[derive(Clone, Copy, Debug)]
pub struct Renewal {
    pub receipt: i128,
    pub cost: i128,
}

/// All that are stored, those in force first and in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Windows(pub Vec<Window>);

impl Windows {
    /// As they are now. Those no longer named go when they are empty.
    pub fn at(&self, now: i128) -> Self {
        let mut all = self.0.clone();
        for window in &mut all {
            window.log = window.log.at(now, window.length);
        }
        all.retain(|window| window.named || window.used() > 0);
        Self(all)
    }

    /// Those in force.
    pub fn named(&self) -> Vec<&Window> {
        self.0.iter().filter(|window| window.named).collect()
    }

    /// Limits and windows of a request take effect.
    pub fn name(&self, now: i128, pairs: &[(i128, i128)]) -> Self {
        let longest = self.0.iter().max_by_key(|window| window.length);
        let mut all: Vec<Window> = Vec::new();
        for &(limit, length) in pairs {
            let known = self.0.iter().find(|window| window.length == length);
            let log = match (known, longest) {
                (Some(window), _) => window.log.clone(),
                (None, Some(longest)) => longest.log.younger_than(now, length),
                (None, None) => Log::default(),
            };
            all.push(Window {
                limit,
                length,
                log,
                named: true,
            });
        }
        let mut others: Vec<Window> = self.0.clone();
        others
            .retain(|window| window.used() > 0 && pairs.iter().all(|pair| pair.1 != window.length));
        // The one that empties first makes room.
        others.sort_by_key(Window::empty_at);
        let too_many = (all.len() + others.len()).saturating_sub(WINDOWS);
        for mut window in others.split_off(too_many) {
            window.named = false;
            all.push(window);
        }
        Self(all)
    }

    /// Limits and windows in force, as a request names them.
    pub fn pairs(&self) -> Vec<(i128, i128)> {
        self.named()
            .iter()
            .map(|window| (window.limit, window.length))
            .collect()
    }
}
