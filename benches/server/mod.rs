//! What is measured, and the document that comes of it.

mod keys;
mod latency;
mod longest;
mod machine;
mod many_keys;
mod memory;
mod others;
mod progress;
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
    pub peer: Option<Peer>,
    /// The programs of other servers to measure.
    pub others: Vec<PathBuf>,
}

/// Another module to measure.
#[derive(Clone, Debug)]
pub struct Peer {
    pub module: PathBuf,
    /// Its request, with `{key}` for the key; redis-cell's without one.
    pub command: Option<String>,
}

impl Plan {
    /// Some minutes; with `full`, some more, and gigabytes of memory.
    pub fn real(full: bool, peer: Option<Peer>, others: Vec<PathBuf>) -> Self {
        Self {
            sizes: Sizes::REAL,
            rounds: 24,
            rounds_with_sink: 20,
            latency_rounds: 3,
            latency_calls: 60_000,
            longest_calls: 1_000,
            many: full.then_some(many_keys::MANY),
            peer,
            others,
        }
    }

    /// Some seconds: enough to see that everything is answered as its name says, not enough to tell anything else.
    pub fn tiny(peer: Option<Peer>, others: Vec<PathBuf>) -> Self {
        Self {
            sizes: Sizes::TINY,
            rounds: 1,
            rounds_with_sink: 1,
            latency_rounds: 1,
            latency_calls: 1_000,
            longest_calls: 2,
            many: Some(2_000),
            peer,
            others,
        }
    }
}

/// What was measured.
pub struct Results {
    /// Without a sink; of the server with the peer's module, those with `server` 1.
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

/// The tables of the workloads whose name contains `part`, without a sink.
pub fn some(plan: &Plan, part: &str) -> String {
    report::tables(&plain(plan, part))
}

/// Everything.
pub fn everything(plan: &Plan) -> Results {
    let mut aof = Target::start(Sink::Aof);
    let mut replica = Target::start(Sink::Replica);
    let traffic = traffic::measure(&mut aof, &mut replica, plan.sizes);
    Results {
        traffic,
        aof: with_sink(plan, "AOF", aof),
        replica: with_sink(plan, "replica", replica),
        plain: plain(plan, ""),
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

fn plain(plan: &Plan, part: &str) -> Vec<Row> {
    let chosen = |mut workloads: Vec<workloads::Workload>| {
        workloads.retain(|workload| workload.name.contains(part));
        workloads
    };
    let mut own = Target::start(Sink::None);
    let mut others = plan
        .peer
        .as_ref()
        .map(|peer| (Target::with_module(&peer.module, Sink::None), peer));
    let mut servers = vec![(&mut own, chosen(workloads::all()))];
    if let Some((target, peer)) = &mut others {
        let command = peer.command.as_deref();
        servers.push((target, chosen(workloads::of_peer(command))));
    }
    rounds::run("no sink", &mut servers, plan.sizes, plan.rounds)
}

fn with_sink(plan: &Plan, what: &str, mut target: Target) -> Vec<Row> {
    let mut servers = [(&mut target, workloads::written())];
    rounds::run(what, &mut servers, plan.sizes, plan.rounds_with_sink)
}
