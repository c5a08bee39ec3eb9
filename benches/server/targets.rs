//! The targets of the project, and whether they are reached.

use super::Results;
use super::keys::Keys;
use super::memory::{self, Memory};
use super::rounds::Row;
use super::statistics::Summary;
use super::workloads::{
    CHECK_100_FULL, CHECK_100_TENTH, CHECK_DENIED, CHECK_FIFTH, CHECK_SECOND, CHECK_TENTH,
    GCRA_DENIED, GCRA_GRANTED, LUA_GCRA, LUA_LOG, PEER, SET,
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

impl Verdict {
    /// Whether all that was measured reaches the bar; nothing if nothing was measured.
    pub fn is_met(&self) -> Option<bool> {
        let (figure, _) = self.worst()?;
        Some(self.bar.is_reached(*figure))
    }

    /// What is furthest from the bar, or the least within it.
    pub fn worst(&self) -> Option<&(f64, String)> {
        let by_figure = |a: &&(f64, String), b: &&(f64, String)| a.0.total_cmp(&b.0);
        match self.bar {
            Bar::AtMost(_) => self.measured.iter().max_by(by_figure),
            Bar::AtLeast(_) => self.measured.iter().min_by(by_figure),
        }
    }

    /// How many of the figures reach the bar.
    pub fn reached(&self) -> usize {
        let figures = self.measured.iter().map(|(figure, _)| *figure);
        figures
            .filter(|figure| self.bar.is_reached(*figure))
            .count()
    }
}

impl Bar {
    fn is_reached(self, figure: f64) -> bool {
        match self {
            Self::AtMost(most) => figure <= most,
            Self::AtLeast(least) => figure >= least,
        }
    }
}

/// States of up to some 64 bytes, which the targets are about.
const CHECK_GRANTED: [&str; 4] = [CHECK_SECOND, CHECK_FIFTH, CHECK_TENTH, CHECK_100_TENTH];
const GRANTED: [&str; 5] = [
    GCRA_GRANTED,
    CHECK_SECOND,
    CHECK_FIFTH,
    CHECK_TENTH,
    CHECK_100_TENTH,
];

pub fn verdicts(results: &Results) -> Vec<Verdict> {
    let plain = &results.plain;
    let denied = [GCRA_DENIED, CHECK_DENIED];
    vec![
        Verdict {
            target: "`RL.GCRA` granted, no AOF, no replica: CPU, × SET",
            bar: Bar::AtMost(1.0),
            measured: ratios(plain, &[GCRA_GRANTED]),
        },
        Verdict {
            target: "`RL.CHECK` granted, limits 10 and 100, no AOF, no replica: CPU, × SET",
            bar: Bar::AtMost(1.1),
            measured: ratios(plain, &CHECK_GRANTED),
        },
        Verdict {
            target: "either, denied: CPU, × SET",
            bar: Bar::AtMost(0.8),
            measured: ratios(plain, &denied),
        },
        Verdict {
            target: "either, granted, with AOF everysec: CPU, × SET",
            bar: Bar::AtMost(1.35),
            measured: ratios(&results.aof, &GRANTED),
        },
        Verdict {
            target: "either, granted, with a replica: CPU, × SET",
            bar: Bar::AtMost(1.35),
            measured: ratios(&results.replica, &GRANTED),
        },
        Verdict {
            target: "`RL.GCRA` granted: throughput, × redis-cell's `CL.THROTTLE`",
            bar: Bar::AtLeast(2.4),
            measured: times_faster(plain, GCRA_GRANTED, is_throttle),
        },
        Verdict {
            target: "`RL.GCRA` granted: throughput, × a Lua GCRA",
            bar: Bar::AtLeast(8.0),
            measured: times_faster(plain, GCRA_GRANTED, |row| row.name == LUA_GCRA),
        },
        Verdict {
            target: "`RL.CHECK` granted, limit 100: throughput, × a Lua log in a sorted set",
            bar: Bar::AtLeast(10.0),
            measured: times_faster(plain, CHECK_100_FULL, |row| row.name == LUA_LOG),
        },
        Verdict {
            target: "memory, GCRA and 1 admission: bytes above an 8-byte SET",
            bar: Bar::AtMost(32.0),
            measured: above_set(&results.memory),
        },
        Verdict {
            target: "10 million keys: throughput lost, percent of it above SET's own loss",
            bar: Bar::AtMost(15.0),
            measured: losses(results),
        },
        Verdict {
            target: "the longest command (median): µs",
            bar: Bar::AtMost(50.0),
            measured: longest(results),
        },
    ]
}

fn shown(summary: Summary, of: &str) -> (f64, String) {
    (summary.median, format!("{summary} ({of})"))
}

/// The rows of these names. New keys are not among what the targets are about.
fn ratios(rows: &[Row], names: &[&str]) -> Vec<(f64, String)> {
    rows.iter()
        .filter(|row| names.contains(&row.name.as_str()) && row.keys != Keys::New)
        .map(|row| shown(row.ratio, &format!("{}, {}", row.name, row.keys)))
        .collect()
}

/// How many times the throughput of `others` the rows of the name `own` have, on the same keys.
fn times_faster(rows: &[Row], own: &str, others: fn(&Row) -> bool) -> Vec<(f64, String)> {
    let mut measured = Vec::new();
    for row in rows.iter().filter(|row| row.name == own) {
        for other in rows
            .iter()
            .filter(|other| others(other) && other.keys == row.keys)
        {
            measured.push(shown(row.times_faster_than(other), &row.keys.to_string()));
        }
    }
    measured
}

/// Whether it is redis-cell's command, granting: there 0 is granted.
fn is_throttle(row: &Row) -> bool {
    let name = row.name.strip_prefix(PEER).unwrap_or_default();
    name.to_lowercase().starts_with("cl.throttle") && row.zeros > 0.999
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
