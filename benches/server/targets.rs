//! The targets of the project, and whether they are reached.

use std::fmt;

use super::Results;
use super::keys::Keys;
use super::memory::{self, Memory};
use super::rounds::Row;
use super::workloads::{
    CHECK_100_FULL, CHECK_100_TENTH, CHECK_DENIED, CHECK_FIFTH, CHECK_SECOND, CHECK_TENTH, FLOOR,
    GCRA_DENIED, GCRA_GRANTED, LUA_GCRA, LUA_LOG, SET, THROTTLE_GRANTED,
};

/// One target.
pub struct Verdict {
    pub target: &'static str,
    pub bar: Bar,
    /// What was measured: the figure, how it is shown, and of what. Nothing if it was not.
    pub measured: Vec<(f64, String)>,
}

/// The figure to reach.
#[derive(Clone, Copy, Debug)]
pub enum Bar {
    AtMost(f64),
    AtLeast(f64),
}
use Bar::{AtLeast, AtMost};

impl Verdict {
    /// How many of the figures reach the bar.
    pub fn reached(&self) -> usize {
        let reaches = |figure: f64| match self.bar {
            AtMost(most) => figure <= most,
            AtLeast(least) => figure >= least,
        };
        let figures = self.measured.iter();
        figures.filter(|(figure, _)| reaches(*figure)).count()
    }

    /// What is furthest from the bar, or the least within it.
    pub fn worst(&self) -> &str {
        let by_figure = |a: &&(f64, String), b: &&(f64, String)| a.0.total_cmp(&b.0);
        let worst = match self.bar {
            AtMost(_) => self.measured.iter().max_by(by_figure),
            AtLeast(_) => self.measured.iter().min_by(by_figure),
        };
        worst.map_or("", |(_, shown)| shown)
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AtMost(most) => write!(f, "≤ {most}"),
            AtLeast(least) => write!(f, "≥ {least}"),
        }
    }
}

/// States of up to some 64 bytes, which the targets are about.
const GRANTED: [&str; 5] = [
    GCRA_GRANTED,
    CHECK_SECOND,
    CHECK_FIFTH,
    CHECK_TENTH,
    CHECK_100_TENTH,
];

pub fn verdicts(results: &Results) -> Vec<Verdict> {
    let Results {
        plain,
        aof,
        replica,
        ..
    } = results;
    [
        (
            "`RL.GCRA` granted, no AOF, no replica: CPU, × SET",
            AtMost(1.0),
            ratios(plain, &GRANTED[..1]),
        ),
        (
            "`RL.CHECK` granted, limits 10 and 100, no AOF, no replica: CPU, × SET",
            AtMost(1.1),
            ratios(plain, &GRANTED[1..]),
        ),
        (
            "either, denied: CPU, × SET",
            AtMost(0.8),
            ratios(plain, &[GCRA_DENIED, CHECK_DENIED]),
        ),
        (
            "either, denied: CPU, × the same granted",
            AtMost(0.95),
            [(GCRA_DENIED, GCRA_GRANTED), (CHECK_DENIED, CHECK_TENTH)]
                .map(|(denied, granted)| times_as_long(plain, denied, granted))
                .concat(),
        ),
        (
            "either, one window: CPU, × a command that only opens the key and replies five integers",
            AtMost(1.25),
            [GCRA_GRANTED, GCRA_DENIED, CHECK_DENIED, CHECK_TENTH]
                .map(|own| times_as_long(plain, own, FLOOR))
                .concat(),
        ),
        (
            "either, granted, with AOF everysec: CPU, × SET",
            AtMost(1.35),
            ratios(aof, &GRANTED),
        ),
        (
            "either, granted, with a replica: CPU, × SET",
            AtMost(1.35),
            ratios(replica, &GRANTED),
        ),
        (
            "`RL.GCRA` granted: throughput, × redis-cell's `CL.THROTTLE`",
            AtLeast(2.4),
            times_faster(plain, GCRA_GRANTED, (1, THROTTLE_GRANTED)),
        ),
        (
            "`RL.GCRA` granted: throughput, × a Lua GCRA",
            AtLeast(8.0),
            times_faster(plain, GCRA_GRANTED, (0, LUA_GCRA)),
        ),
        (
            "`RL.CHECK` granted, limit 100: throughput, × a Lua log in a sorted set",
            AtLeast(10.0),
            times_faster(plain, CHECK_100_FULL, (0, LUA_LOG)),
        ),
        (
            "memory, GCRA and 1 admission: bytes above an 8-byte SET",
            AtMost(32.0),
            above_set(&results.memory),
        ),
        (
            "10 million keys: throughput lost, percent of it above SET's own loss",
            AtMost(15.0),
            losses(results),
        ),
        (
            "the longest command (median): µs",
            AtMost(50.0),
            longest(results),
        ),
    ]
    .map(|(target, bar, measured)| Verdict {
        target,
        bar,
        measured,
    })
    .into()
}

/// The rows of these names. New keys are not among what the targets are about.
fn ratios(rows: &[Row], names: &[&str]) -> Vec<(f64, String)> {
    let rows = rows.iter().filter(|row| row.keys != Keys::New);
    rows.filter(|row| names.contains(&row.name.as_str()))
        .map(|row| {
            let shown = format!("{} ({}, {})", row.ratio, row.name, row.keys);
            (row.ratio.median, shown)
        })
        .collect()
}

/// How many times the throughput of `other` (its server and name) the rows of the name `own` have, on the same keys.
fn times_faster(rows: &[Row], own: &str, other: (usize, &str)) -> Vec<(f64, String)> {
    let mut measured = Vec::new();
    for row in rows
        .iter()
        .filter(|row| (row.server, row.name.as_str()) == (0, own))
    {
        let beside = rows.iter().filter(|beside| beside.keys == row.keys);
        for beside in beside.filter(|beside| (beside.server, beside.name.as_str()) == other) {
            let times = row.times_faster_than(beside);
            measured.push((times.median, format!("{times} ({})", row.keys)));
        }
    }
    measured
}

/// How many times as long as `other` the rows of the name `own` take, on the same keys.
fn times_as_long(rows: &[Row], own: &str, other: &str) -> Vec<(f64, String)> {
    let named = |name| {
        rows.iter()
            .filter(move |row| row.server == 0 && row.name == name)
    };
    named(own)
        .flat_map(|row| named(other).map(move |other| (row, other)))
        .filter(|(row, other)| row.keys == other.keys)
        .map(|(row, other)| {
            let times = row.times_as_long_as(other);
            (
                times.median,
                format!("{times} ({}, {})", row.name, row.keys),
            )
        })
        .collect()
}

fn above_set(rows: &[Memory]) -> Vec<(f64, String)> {
    let used = |name: &str| rows.iter().find(|row| row.name == name).unwrap().used;
    [memory::GCRA, memory::ONE]
        .map(|name| {
            let above = used(name) - used(memory::SET);
            (above, format!("{above:.0} ({name})"))
        })
        .into()
}

fn losses(results: &Results) -> Vec<(f64, String)> {
    let rows = results.many.as_deref().unwrap_or_default();
    let Some(set) = rows.iter().find(|row| row.name == SET) else {
        return Vec::new();
    };
    rows.iter()
        .filter(|row| row.name != SET)
        .map(|row| {
            let above = (row.loss.median - set.loss.median) * 100.0;
            (above, format!("{above:.0} ({})", row.name))
        })
        .collect()
}

fn longest(results: &Results) -> Vec<(f64, String)> {
    let own = results.longest.iter().filter(|row| row.own);
    own.map(|row| (row.median, format!("{:.0} ({})", row.median, row.name)))
        .collect()
}
