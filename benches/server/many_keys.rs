//! What ten million live limiters cost, beside ten million strings: every call meets memory that no cache holds, and
//! tables that were resized while they grew.

use super::keys::{Keys, Sizes};
use super::slices::Job;
use super::statistics::Summary;
use super::target::{Sink, Target};
use super::workloads::{CHECK_SECOND, base, gcra_granted, nth};

pub const MANY: u32 = 10_000_000;

/// One kind of key.
#[derive(Clone, Debug)]
pub struct Loss {
    pub name: String,
    /// Nanoseconds of the main thread for each request, with few keys and with many.
    pub few: Summary,
    pub many: Summary,
    /// With many, while the server resizes its tables, which it does bit by bit: each command moves a piece.
    pub resizing: Option<Summary>,
    /// The share of the throughput that is lost.
    pub loss: Summary,
    /// The server's memory with many, in bytes.
    pub memory: u64,
}

/// How many slices of requests there are between two looks whether the server still resizes its tables.
const SLICES_BETWEEN_LOOKS: usize = 50;

/// A server of its own for each kind and number, all at once, so that the rounds can interleave.
pub fn measure(sizes: Sizes, many: u32, rounds: usize) -> Vec<Loss> {
    let keys = Keys::HundredThousand;
    let crowd = Sizes {
        hundred_thousand: many,
        ..sizes
    };
    let kinds = [
        base(keys),
        gcra_granted(keys),
        nth(CHECK_SECOND, keys, 10, 2),
    ];
    let mut pairs: Vec<_> = kinds
        .into_iter()
        .map(|workload| {
            eprintln!("{many} keys: filling, {}", workload.name);
            [sizes, crowd].map(|sizes| {
                let mut target = Target::start(Sink::None);
                // The first pass creates the keys; every reply to it is looked at.
                let mut job = Job::set_up(&mut target, workload.clone(), sizes);
                let resizing = finish_resizing(&mut target, &mut job);
                (target, job, resizing, Vec::new())
            })
        })
        .collect();
    for round in 0..rounds {
        eprintln!("{many} keys: round {} of {rounds}", round + 1);
        for (target, job, _, samples) in pairs.iter_mut().flatten() {
            samples.push(job.slice(target).cpu);
        }
    }
    pairs
        .into_iter()
        .map(|[(_, _, _, few), (mut target, job, resizing, many)]| Loss {
            name: job.workload.name.clone(),
            loss: Summary::of(few.iter().zip(&many).map(|(few, many)| 1.0 - few / many)),
            few: Summary::of(few),
            many: Summary::of(many),
            memory: target.info("memory", "used_memory"),
            resizing: (!resizing.is_empty()).then(|| Summary::of(resizing)),
        })
        .collect()
}

/// Goes on until the server has resized its tables; what the requests took meanwhile. How long it takes depends on how
/// often a command looks into a table, and would show in one workload and not in the other.
fn finish_resizing(target: &mut Target, job: &mut Job) -> Vec<f64> {
    let look = format!("DEBUG HTSTATS {}", job.database);
    let mut meanwhile = Vec::new();
    while target.pipe.ask(&look).contains("rehashing target") {
        meanwhile.extend((0..SLICES_BETWEEN_LOOKS).map(|_| job.slice(target).cpu));
    }
    meanwhile
}
