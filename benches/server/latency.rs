//! How long a client waits, if each connection asks one thing at a time and asks again as soon as it is answered:
//! measured by redis-benchmark.

use std::process::Command;

use super::keys::{Keys, Sizes};
use super::slices::Job;
use super::statistics::Summary;
use super::target::Target;
use super::wire::Wanted;
use super::workloads::{CHECK_100_FULL, Workload, base, check_denied, full, gcra_granted};

pub const CONNECTIONS: [usize; 3] = [1, 50, 500];

/// One kind of request on some connections.
#[derive(Clone, Debug)]
pub struct Latency {
    pub name: String,
    pub connections: usize,
    /// Microseconds: half of the requests, 99 % and 99.9 % of them waited no longer.
    pub percentiles: [Summary; 3],
    /// Requests a second.
    pub throughput: Summary,
}

/// All kinds in turn in each round, as often as `calls` says.
pub fn measure(target: &mut Target, sizes: Sizes, rounds: usize, calls: usize) -> Vec<Latency> {
    let keys = Keys::HundredThousand;
    let kinds = [
        Workload::new("INCR", keys, "INCR {key}"),
        base(keys),
        gcra_granted(keys),
        full(CHECK_100_FULL, keys, 100),
        check_denied(keys),
    ];
    let jobs = kinds.map(|kind| Job::set_up(target, kind, sizes));
    let mut results = Vec::new();
    for connections in CONNECTIONS {
        // Alone, each waits for the other's system calls: fewer tell as much.
        let calls = if connections == 1 { calls / 2 } else { calls };
        let mut figures = vec![Vec::new(); jobs.len()];
        for round in 0..rounds {
            eprintln!(
                "latency: {connections} connections, round {} of {rounds}",
                round + 1
            );
            for (job, figures) in jobs.iter().zip(&mut figures) {
                figures.push(benchmark(target, job, connections, calls));
            }
        }
        results.extend(jobs.iter().zip(figures).map(|(job, figures)| {
            let of = |at: usize| Summary::of(figures.iter().map(|round| round[at]));
            Latency {
                name: job.workload.name.clone(),
                connections,
                percentiles: [of(0), of(1), of(2)],
                throughput: of(3),
            }
        }));
    }
    results
}

/// The percentiles in microseconds, and the requests a second.
fn benchmark(target: &mut Target, job: &Job, connections: usize, calls: usize) -> [f64; 4] {
    let before = target.info("ratelimit", "ratelimit_denied");
    // The keys are named as ours are.
    let request = job
        .workload
        .request
        .replace("{key}", "key:0000__rand_int__");
    let output = Command::new("redis-benchmark")
        .args(["-s", target.primary.socket().to_str().unwrap()])
        .args(["--dbnum", &job.database.to_string()])
        .args(["-r", &job.order.len().to_string()])
        .args(["-c", &connections.to_string(), "-n", &calls.to_string()])
        .args(request.split(' '))
        .output()
        .expect("redis-benchmark, which comes with redis-cli, runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let denied = match job.workload.wanted {
        Wanted::First(0) => calls as u64,
        _ => 0,
    };
    let denials = target.info("ratelimit", "ratelimit_denied") - before;
    assert_eq!(
        denials, denied,
        "{}: not all was answered alike",
        job.workload.name
    );

    let after = |begin: &str| text.split_once(begin).unwrap_or_else(|| panic!("{text}")).1;
    let number = |text: &str, at: usize| -> f64 {
        text.split_whitespace().nth(at).unwrap().parse().unwrap()
    };
    let summary = after("avg       min       p50       p95       p99       max");
    let mut shares = after("percentile distribution:\n").lines();
    let p999 = shares.find_map(|line| {
        let (share, latency) = line.split_once("% <= ")?;
        (share.parse::<f64>().ok()? >= 99.9).then(|| number(latency, 0))
    });
    [
        number(summary, 2) * 1_000.0,
        number(summary, 4) * 1_000.0,
        p999.unwrap() * 1_000.0,
        number(after("throughput summary: "), 0),
    ]
}
