//! What is measured, and the document that comes of it.

mod keys;
mod latency;
mod longest;
mod machine;
mod many_keys;
mod memory;
mod others;
mod report;
mod request;
mod rounds;
mod scripts;
mod slices;
mod statistics;
mod table;
mod target;
mod targets;
mod traffic;
mod wire;
mod workloads;

use std::env;
use std::path::PathBuf;

use keys::Sizes;
use latency::Latency;
use longest::Longest;
use many_keys::Loss;
use memory::Memory;
use others::Other;
pub use report::document;
use rounds::Row;
use target::{Sink, Target};
use traffic::Traffic;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    sizes: Sizes,
    /// Rounds without a sink, and with one.
    rounds: usize,
    rounds_with_sink: usize,
    latency_rounds: usize,
    latency_calls: usize,
    longest_calls: usize,
    /// The many keys, if they are to be measured at all.
    many: Option<u32>,
    /// redis-cell, to be measured on a server of its own.
    peer: Option<PathBuf>,
    /// The programs of other servers to measure.
    others: Vec<PathBuf>,
}

impl Plan {
    /// Some minutes; with `FULL`, some more, and gigabytes of memory.
    pub fn from_environment() -> Self {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty());
        let others = set("OTHER_SERVERS").unwrap_or_default();
        Self {
            sizes: Sizes::REAL,
            rounds: 24,
            rounds_with_sink: 20,
            latency_rounds: 3,
            latency_calls: 60_000,
            longest_calls: 1_000,
            many: set("FULL")
                .filter(|full| full != "0")
                .map(|_| many_keys::MANY),
            peer: set("PEER_MODULE").map(PathBuf::from),
            others: env::split_paths(&others)
                .filter(|path| path.is_absolute())
                .collect(),
        }
    }

    /// Some seconds: enough to see that everything is answered as its name says, not enough to tell anything else.
    pub fn tiny(others: Vec<PathBuf>) -> Self {
        Self {
            sizes: Sizes::TINY,
            rounds: 1,
            rounds_with_sink: 1,
            latency_rounds: 1,
            latency_calls: 1_000,
            longest_calls: 2,
            many: Some(2_000),
            peer: None,
            others,
        }
    }
}

/// What was measured.
pub struct Results {
    /// Without a sink; on the peer's server, those with `server` 1.
    plain: Vec<Row>,
    aof: Vec<Row>,
    replica: Vec<Row>,
    memory: Vec<Memory>,
    traffic: Vec<Traffic>,
    latency: Vec<Latency>,
    longest: Vec<Longest>,
    many: Option<Vec<Loss>>,
    others: Vec<Other>,
}

/// Everything.
pub fn everything(plan: &Plan) -> Results {
    let mut aof = Target::start(Sink::Aof);
    let mut replica = Target::start(Sink::Replica);
    let traffic = traffic::measure(&mut aof, &mut replica, plan.sizes);
    let with_sink = |what, mut target: Target| {
        let mut servers = [(&mut target, workloads::written())];
        rounds::run(what, &mut servers, plan.sizes, plan.rounds_with_sink)
    };
    Results {
        traffic,
        aof: with_sink("AOF", aof),
        replica: with_sink("replica", replica),
        plain: plain(plan),
        others: others::measure(&plan.others, plan.sizes, plan.rounds),
        memory: memory::measure(plan.sizes),
        latency: latency::measure(
            &mut Target::start(Sink::None),
            plan.sizes,
            plan.latency_rounds,
            plan.latency_calls,
        ),
        longest: longest::measure(plan.longest_calls),
        many: plan
            .many
            .map(|many| many_keys::measure(plan.sizes, many, plan.rounds_with_sink)),
    }
}

fn plain(plan: &Plan) -> Vec<Row> {
    let mut own = Target::start(Sink::None);
    let mut peer = plan.peer.as_deref().map(Target::with_module);
    let mut servers = vec![(&mut own, workloads::all())];
    if let Some(target) = &mut peer {
        servers.push((target, workloads::of_peer()));
    }
    rounds::run("no sink", &mut servers, plan.sizes, plan.rounds)
}
