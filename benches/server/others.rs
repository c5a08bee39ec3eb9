//! The same commands on several servers, in the same rounds: what a SET takes differs from server to server, and so does
//! what a server takes before and after a module's command.

use std::path::PathBuf;

use super::keys::{Keys, Sizes};
use super::machine;
use super::rounds::{self, Row};
use super::target::Target;
use super::workloads::{
    CHECK_100_TENTH, CHECK_TENTH, check_denied, floor, gcra_denied, gcra_granted, nth,
};
use crate::harness::server_binary;

/// What was measured on one of them.
pub struct Other {
    /// Its name and version.
    pub name: String,
    pub rows: Vec<Row>,
}

/// Measures the server that everything else is measured on, and the others beside it; nothing if there are no others.
pub fn measure(programs: &[PathBuf], sizes: Sizes, rounds: usize) -> Vec<Other> {
    if programs.is_empty() {
        return Vec::new();
    }
    let programs: Vec<PathBuf> = [server_binary()].iter().chain(programs).cloned().collect();
    let mut targets: Vec<Target> = programs.iter().map(|program| Target::of(program)).collect();
    let mut servers: Vec<_> = targets
        .iter_mut()
        .map(|target| {
            let workloads = [Keys::One, Keys::HundredThousand].map(|keys| {
                let mut workloads = vec![floor(keys), gcra_granted(keys)];
                // One key cannot be the tenth again and again.
                if keys != Keys::One {
                    workloads.push(nth(CHECK_TENTH, keys, 10, 10));
                    workloads.push(nth(CHECK_100_TENTH, keys, 100, 10));
                }
                workloads.extend([gcra_denied(keys), check_denied(keys)]);
                workloads
            });
            (target, workloads.concat())
        })
        .collect();
    let mut rows = rounds::run("other servers", &mut servers, sizes, rounds);
    let names = programs.iter().map(|program| machine::server(program));
    names
        .enumerate()
        .map(|(at, name)| Other {
            name,
            rows: rows.extract_if(.., |row| row.server == at).collect(),
        })
        .collect()
}
