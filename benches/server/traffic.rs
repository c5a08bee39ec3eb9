//! How many bytes a request appends to the AOF, and sends to each replica.

use super::keys::{Keys, Sizes};
use super::request::key;
use super::slices::Job;
use super::target::{Sink, Target};
use super::workloads::{FULL, Workload, base, check_denied, eight_windows, gcra_granted};
use crate::harness::eventually;

/// One kind of request.
#[derive(Clone, Debug)]
pub struct Traffic {
    pub name: String,
    /// The bytes of the state afterwards.
    pub state: Option<usize>,
    /// For each request.
    pub aof: f64,
    /// For each request and replica.
    pub replica: f64,
}

/// Counts with the servers that have the sink.
pub fn measure(aof: &mut Target, replica: &mut Target, sizes: Sizes) -> Vec<Traffic> {
    // Enough for a byte's fraction, and the times of a window do not change meanwhile.
    let sizes = Sizes {
        touches: sizes.thousand as usize,
        ..sizes
    };
    kinds()
        .into_iter()
        .map(|workload| {
            let name = workload.name.clone();
            eprintln!("bytes: {name}");
            let (of_aof, state) = count(aof, workload.clone(), sizes, Sink::Aof);
            let (of_replica, _) = count(replica, workload, sizes, Sink::Replica);
            Traffic {
                name,
                state,
                aof: of_aof,
                replica: of_replica,
            }
        })
        .collect()
}

fn kinds() -> Vec<Workload> {
    let keys = Keys::Thousand;
    let check = |name, grants: usize| {
        Workload::new(name, keys, "RL.CHECK {key} 1000 1h").after_itself(grants - 1)
    };
    let eight = |name, grants: usize| {
        Workload::new(name, keys, eight_windows(1_000)).after_itself(grants - 1)
    };
    vec![
        base(keys),
        gcra_granted(keys),
        check("RL.CHECK, the 1st", 1),
        check("RL.CHECK, the 10th", 10),
        check("RL.CHECK, full log (32 groups)", FULL + 1),
        eight("RL.CHECK, 8 windows, the 1st", 1),
        eight("RL.CHECK, 8 windows, the 10th", 10),
        eight("RL.CHECK, 8 windows, full logs", FULL + 1),
        check_denied(keys),
    ]
}

fn count(
    target: &mut Target,
    mut workload: Workload,
    sizes: Sizes,
    sink: Sink,
) -> (f64, Option<usize>) {
    workload.fresh = true;
    workload.weight = 1;
    let mut job = Job::set_up(target, workload, sizes);
    job.begin(target);
    let before = written(target, sink);
    job.timed(target);
    let bytes = written(target, sink) - before;
    let state = target.pipe.string_length(&key(0));
    (bytes as f64 / f64::from(sizes.thousand), state)
}

/// What the server has written so far.
fn written(target: &mut Target, sink: Sink) -> u64 {
    match sink {
        Sink::Replica => target.info("replication", "master_repl_offset"),
        _ => eventually("an AOF without anything left to write", || {
            let left = target.info("persistence", "aof_buffer_length");
            (left == 0).then(|| target.info("persistence", "aof_current_size"))
        }),
    }
}
