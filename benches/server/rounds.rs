//! Rounds: every workload once, between two slices of the base on the same keys of the same server. What disturbs the
//! machine for a while disturbs both alike, so the ratio of a slice to the two bases beside it says more than either.

use super::keys::{Keys, Sizes};
use super::slices::{Job, Sample};
use super::statistics::Summary;
use super::target::Target;
use super::workloads::{Workload, base};

/// What was measured of one workload.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which of the servers measured together.
    pub server: usize,
    pub name: String,
    pub keys: Keys,
    /// Nanoseconds of the server's main thread for each request.
    pub cpu: Summary,
    /// Requests a second.
    pub throughput: Summary,
    /// `cpu`, as a multiple of the base's.
    pub ratio: Summary,
    /// The same of each round.
    pub ratios: Vec<f64>,
    /// The bytes of its state, if that is a string.
    pub state: Option<usize>,
}

impl Row {
    /// How many times the throughput of `other` it has, at the same use of the processor: each as a multiple of its own
    /// base, round by round.
    pub fn times_faster_than(&self, other: &Self) -> Summary {
        other.times_as_long_as(self)
    }

    /// How many times as long as `other` it takes, compared in the same way.
    pub fn times_as_long_as(&self, other: &Self) -> Summary {
        let pairs = self.ratios.iter().zip(&other.ratios);
        Summary::of(pairs.map(|(own, other)| own / other))
    }
}

/// A workload, and what was measured of it.
struct Measured {
    job: Job,
    samples: Vec<Sample>,
    /// To the bases beside it.
    ratios: Vec<f64>,
}

impl Measured {
    fn slice(&mut self, target: &mut Target) -> f64 {
        let sample = self.job.slice(target);
        self.samples.push(sample);
        sample.cpu
    }

    fn row(mut self, server: usize, target: &mut Target) -> Row {
        let of = |part: fn(&Sample) -> f64| Summary::of(self.samples.iter().map(part));
        Row {
            server,
            cpu: of(|sample| sample.cpu),
            throughput: of(|sample| 1e9 / sample.wall),
            ratio: Summary::of(self.ratios.iter().copied()),
            ratios: self.ratios,
            state: self.job.state_length(target),
            name: self.job.workload.name,
            keys: self.job.workload.keys,
        }
    }
}

/// Measures all `workloads`, each on the server before them, in as many rounds.
pub fn run(
    what: &str,
    servers: &mut [(&mut Target, Vec<Workload>)],
    sizes: Sizes,
    rounds: usize,
) -> Vec<Row> {
    eprintln!("{what}: setting up");
    // The workloads on one server and one kind of keys, after their base.
    let mut groups: Vec<(usize, Vec<Measured>)> = Vec::new();
    for (at, (target, workloads)) in servers.iter_mut().enumerate() {
        for keys in Keys::ALL {
            let of_keys = workloads.iter().filter(|workload| workload.keys == keys);
            if of_keys.clone().next().is_none() {
                continue;
            }
            let all = [base(keys)].into_iter().chain(of_keys.cloned());
            let group = all.map(|workload| Measured {
                job: Job::set_up(target, workload, sizes),
                samples: Vec::new(),
                ratios: Vec::new(),
            });
            groups.push((at, group.collect()));
        }
    }
    for round in 0..rounds {
        eprintln!("{what}: round {} of {rounds}", round + 1);
        for (at, group) in &mut groups {
            let (base, jobs) = group.split_first_mut().unwrap();
            measure(servers[*at].0, base, jobs, round);
        }
    }
    let mut rows = Vec::new();
    for (at, group) in groups {
        let target = &mut *servers[at].0;
        rows.extend(group.into_iter().map(|measured| measured.row(at, target)));
    }
    rows
}

/// One round. Another job is first in each.
fn measure(target: &mut Target, base: &mut Measured, jobs: &mut [Measured], round: usize) {
    let count = jobs.len();
    let mut before = base.slice(target);
    for at in 0..count {
        let job = &mut jobs[(at + round) % count];
        let cpu = job.slice(target);
        let after = base.slice(target);
        job.ratios.push(2.0 * cpu / (before + after));
        // The base beside itself: how much of a ratio is noise.
        base.ratios.push(after / before);
        before = after;
    }
}
