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
        let pairs = self.ratios.iter().zip(&other.ratios);
        Summary::of(pairs.map(|(own, other)| other / own))
    }
}

/// Jobs on one server and one kind of keys.
struct Group {
    target: usize,
    base: Measured,
    jobs: Vec<Measured>,
}

struct Measured {
    job: Job,
    samples: Vec<Sample>,
    /// To the bases beside it.
    ratios: Vec<f64>,
}

impl Measured {
    fn set_up(target: &mut Target, workload: Workload, sizes: Sizes) -> Self {
        Self {
            job: Job::set_up(target, workload, sizes),
            samples: Vec::new(),
            ratios: Vec::new(),
        }
    }

    fn slice(&mut self, target: &mut Target) -> Sample {
        let sample = self.job.slice(target);
        self.samples.push(sample);
        sample
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
    let mut groups = Vec::new();
    for (at, (target, workloads)) in servers.iter_mut().enumerate() {
        for keys in Keys::ALL {
            let of_these = workloads.iter().filter(|workload| workload.keys == keys);
            let jobs: Vec<Measured> = of_these
                .map(|workload| Measured::set_up(target, workload.clone(), sizes))
                .collect();
            if !jobs.is_empty() {
                groups.push(Group {
                    target: at,
                    base: Measured::set_up(target, base(keys), sizes),
                    jobs,
                });
            }
        }
    }
    for round in 0..rounds {
        eprintln!("{what}: round {} of {rounds}", round + 1);
        for group in &mut groups {
            group.round(servers[group.target].0, round);
        }
    }
    let mut rows = Vec::new();
    for group in groups {
        let target = &mut *servers[group.target].0;
        rows.push(group.base.row(group.target, target));
        rows.extend(
            group
                .jobs
                .into_iter()
                .map(|job| job.row(group.target, target)),
        );
    }
    rows
}

impl Group {
    fn round(&mut self, target: &mut Target, round: usize) {
        // Another one is first in each round.
        let count = self.jobs.len();
        let mut base = self.base.slice(target);
        for at in 0..count {
            let job = &mut self.jobs[(at + round) % count];
            let sample = job.slice(target);
            let next = self.base.slice(target);
            job.ratios.push(2.0 * sample.cpu / (base.cpu + next.cpu));
            // The base beside itself: how much of a ratio is noise.
            self.base.ratios.push(next.cpu / base.cpu);
            base = next;
        }
    }
}
