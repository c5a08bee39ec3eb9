//! What the bounded log of `RL.CHECK` costs: how it differs from an exact one, and how small it is.

use std::fmt::Write as _;
use std::thread;

use fastrand::Rng;

use super::limiters::{ExactLog, RateLimiter, START, WINDOW, check};
use super::scenarios::times;

const LIMITS: [u64; 8] = [10, 32, 60, 100, 300, 1_000, 3_000, 10_000];

/// The kinds of traffic; loads are in percent of the limit.
const TRAFFIC: [(&str, u64, Arrivals); 5] = [
    ("0.9 ×", 90, Arrivals::Independent),
    ("1.1 ×", 110, Arrivals::Independent),
    ("2 ×", 200, Arrivals::Independent),
    ("5 ×", 500, Arrivals::Independent),
    ("2 × in bursts", 200, Arrivals::Bursts),
];

#[derive(Clone, Copy)]
enum Arrivals {
    /// At random times.
    Independent,
    /// A fifth of the limit within a second, at random times.
    Bursts,
}

/// `RL.CHECK` beside an exact log that gets the same requests.
pub struct Cost {
    limit: u64,
    traffic: &'static str,
    requests: u64,
    /// What the exact log admitted.
    exact: u64,
    /// What `RL.CHECK` admitted.
    admitted: u64,
    /// Requests that the two answered differently, each by what it had admitted itself.
    differ: u64,
    /// Requests that `RL.CHECK` denied, although an exact log of its own admissions had room.
    held_back: u64,
    /// The longest state that was stored, in bytes.
    state_bytes: usize,
}

/// Measures every limit under every kind of traffic.
pub fn measure() -> Vec<Cost> {
    thread::scope(|scope| {
        let runs: Vec<_> = LIMITS
            .into_iter()
            .map(|limit| scope.spawn(move || TRAFFIC.map(|traffic| run(limit, traffic))))
            .collect();
        runs.into_iter()
            .flat_map(|run| run.join().expect("a run ends"))
            .collect()
    })
}

fn run(limit: u64, (traffic, load, arrivals): (&'static str, u64, Arrivals)) -> Cost {
    let windows = (10_000 / limit).clamp(4, 100);
    let mut cost = Cost {
        limit,
        traffic,
        requests: 0,
        exact: 0,
        admitted: 0,
        differ: 0,
        held_back: 0,
        state_bytes: 0,
    };
    let mut ours = check(limit);
    let mut theirs = ExactLog::new(limit);
    let mut truth = ExactLog::new(limit);
    // The first window, which fills up, does not count.
    for at in requests(limit, load, arrivals, windows + 1) {
        let admitted = ours.admits(START + at);
        let exact = theirs.admits(START + at);
        let room = truth.has_room(START + at);
        assert!(room || !admitted, "more than {limit} in a window");
        if admitted {
            truth.count(START + at);
        }
        cost.state_bytes = cost.state_bytes.max(ours.state_bytes());
        if at >= WINDOW {
            cost.requests += 1;
            cost.exact += u64::from(exact);
            cost.admitted += u64::from(admitted);
            cost.differ += u64::from(exact != admitted);
            cost.held_back += u64::from(room && !admitted);
        }
    }
    cost
}

/// When requests come, in microseconds since the start.
fn requests(limit: u64, load: u64, arrivals: Arrivals, windows: u64) -> Vec<u64> {
    let mut random = Rng::with_seed(limit * 1_000 + load);
    let count = limit * load * windows / 100;
    let end = windows * WINDOW;
    let mut times = match arrivals {
        Arrivals::Independent => times(&mut random, count, 0, end),
        Arrivals::Bursts => {
            let size = limit / 5;
            let bursts = times(&mut random, count / size, 0, end);
            let within = bursts
                .into_iter()
                .flat_map(|at| times(&mut random, size, at, at + 1_000_000));
            within.collect()
        }
    };
    times.sort_unstable();
    times
}

pub fn csv(costs: &[Cost]) -> String {
    let mut csv = String::from(
        "limit,traffic,requests,admitted_by_exact_log,admitted,differ,held_back,longest_state_bytes\n",
    );
    for cost in costs {
        writeln!(
            csv,
            "{},{},{},{},{},{},{},{}",
            cost.limit,
            cost.traffic,
            cost.requests,
            cost.exact,
            cost.admitted,
            cost.differ,
            cost.held_back,
            cost.state_bytes,
        )
        .expect("a String takes everything");
    }
    csv
}

/// A row for each limit.
pub fn table(costs: &[Cost]) -> String {
    let mut table = String::from("| limit |");
    for (traffic, ..) in TRAFFIC {
        write!(table, " {traffic} |").expect("a String takes everything");
    }
    table.push_str(" held back | differ | state | exact log |\n|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n");
    for costs in costs.chunk_by(|one, other| one.limit == other.limit) {
        let [first, ..] = costs else { continue };
        write!(table, "| {} |", first.limit).expect("a String takes everything");
        for cost in costs {
            write!(table, " {:.1} % |", percent(cost.admitted, cost.exact))
                .expect("a String takes everything");
        }
        writeln!(
            table,
            " {:.1} % | {:.1} % | {} B | {} B |",
            most(costs, |cost| percent(cost.held_back, cost.requests)),
            most(costs, |cost| percent(cost.differ, cost.requests)),
            most(costs, |cost| cost.state_bytes as f64),
            first.limit * 8,
        )
        .expect("a String takes everything");
    }
    table
}

fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole as f64
}

fn most(costs: &[Cost], figure: impl Fn(&Cost) -> f64) -> f64 {
    costs.iter().map(figure).fold(0.0, f64::max)
}
