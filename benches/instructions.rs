//! What a command takes of the server, counted: instructions and allocations of a real server under callgrind, from the
//! bytes of the request to the bytes of the reply. The same on a busy machine as on an idle one, unlike time.
//!
//! `make bench-instructions` compares the counts with those in `instructions.tsv` and fails if one is more than
//! [`TOLERANCE`] off, also if it is less: then the baseline has to be written anew, with `UPDATE=1`, in the commit
//! that made it better. Counts depend on the builds of the server and of the module: with other builds than the
//! baseline's, nothing is compared.

#[path = "instructions/callgrind.rs"]
mod callgrind;
#[expect(dead_code, reason = "the tests of the server use the rest")]
#[path = "../tests/server/harness/mod.rs"]
mod harness;
#[path = "instructions/workloads.rs"]
mod workloads;

use std::fmt::Write as _;
use std::process::{Command, ExitCode};
use std::{env, fs};

use callgrind::Counts;
use harness::server_binary;
use workloads::FLOOR;

/// How far a count may be from the baseline's, as a share of it. By where things lie in memory, such as in a folder with a
/// longer name, the server's part differs by up to one percent.
const TOLERANCE: f64 = 0.02;

/// How far a count may be off in any case: allocations are rounded to a hundredth.
const ROUNDING: f64 = 0.01;

const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.tsv");

/// The workload that the others are compared with, beside the floor.
const BASE: &str = "SET PX";

fn main() -> ExitCode {
    // Words choose the workloads whose names have one of them.
    let words: Vec<String> = env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let chosen = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    let counted = workloads::count(chosen);
    println!("{}", table(&counted));
    let builds = builds();
    if env::var_os("UPDATE").is_some_and(|update| update == "1") {
        fs::write(BASELINE, file(&builds, &counted)).unwrap();
        println!("Written: {BASELINE}");
        return ExitCode::SUCCESS;
    }
    let baseline = fs::read_to_string(BASELINE).unwrap_or_default();
    match compare(&baseline, &builds, &counted, chosen) {
        Compared::Same => {
            println!("All within {} % of the baseline.", TOLERANCE * 100.0);
            ExitCode::SUCCESS
        }
        Compared::NotComparable(other) => {
            println!("Not compared. Counted: {builds}. Baseline: {other}.");
            ExitCode::SUCCESS
        }
        Compared::Differs(what) => {
            println!("Not as in the baseline:\n{what}");
            ExitCode::FAILURE
        }
    }
}

/// What the counts depend on.
fn builds() -> String {
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    format!(
        "{}; {}",
        version(&server_binary().display().to_string()),
        version(&rustc)
    )
}

/// Whether a workload is about a command of the module's. The server's own are there to compare with: if its tables,
/// hashed with another seed in another build, have one more key in a chain, a PING takes 3 % more.
fn is_ours(name: &str) -> bool {
    name.contains("RL.") || name.contains("CL.")
}

fn table(counted: &[(&str, Counts)]) -> String {
    let all_of = |workload: &str| {
        counted
            .iter()
            .find(|(name, _)| *name == workload)
            .map_or(f64::NAN, |(_, counts)| counts.instructions)
    };
    let [base, floor] = [BASE, FLOOR].map(all_of);
    let mut text = format!(
        "{:<46} {:>12} {:>8} {:>8} {:>8} {:>8} {:>6}\n",
        "", "instructions", "x SET PX", "x floor", "ours", "mallocs", "ours"
    );
    for (name, counts) in counted {
        writeln!(
            text,
            "{name:<46} {:>12.0} {:>8.2} {:>8.2} {:>8.0} {:>8.2} {:>6.2}",
            counts.instructions,
            counts.instructions / base,
            counts.instructions / floor,
            counts.module,
            counts.allocations,
            counts.own_allocations
        )
        .unwrap();
    }
    text
}

/// The baseline as a file: what it was counted with, and a line for each workload. `make bench` shows it as a table, too.
fn file(builds: &str, counted: &[(&str, Counts)]) -> String {
    let mut text = format!(
        "# {builds}\n# workload, instructions, those of the module, allocations, those of the module\n"
    );
    for (name, counts) in counted {
        writeln!(
            text,
            "{name}\t{:.0}\t{:.0}\t{:.2}\t{:.2}",
            counts.instructions, counts.module, counts.allocations, counts.own_allocations
        )
        .unwrap();
    }
    text
}

enum Compared {
    Same,
    NotComparable(String),
    Differs(String),
}

fn compare(
    baseline: &str,
    builds: &str,
    counted: &[(&str, Counts)],
    chosen: impl Fn(&str) -> bool,
) -> Compared {
    let mut lines = baseline.lines();
    let counted_with = lines.next().unwrap_or("# none").trim_start_matches("# ");
    if counted_with != builds {
        return Compared::NotComparable(counted_with.to_owned());
    }
    let wanted: Vec<(&str, Counts)> = lines.filter_map(line).collect();
    let mut differences = String::new();
    for (name, counts) in counted.iter().filter(|(name, _)| is_ours(name)) {
        match wanted.iter().find(|(wanted, _)| wanted == name) {
            None => writeln!(differences, "{name}: not in the baseline").unwrap(),
            Some((_, wanted)) => {
                let own = (counts.own_allocations, wanted.own_allocations);
                for (what, (counted, wanted)) in [
                    ("instructions", (counts.instructions, wanted.instructions)),
                    ("instructions of the module", (counts.module, wanted.module)),
                    ("allocations", (counts.allocations, wanted.allocations)),
                    ("allocations of the module", own),
                ] {
                    if (counted - wanted).abs() > (wanted * TOLERANCE).max(ROUNDING) {
                        writeln!(differences, "{name}: {counted:.2} {what}, not {wanted}").unwrap();
                    }
                }
            }
        }
    }
    for (name, _) in wanted.iter().filter(|(name, _)| is_ours(name)) {
        if chosen(name) && !counted.iter().any(|(counted, _)| counted == name) {
            writeln!(differences, "{name}: not counted any more").unwrap();
        }
    }
    if differences.is_empty() {
        Compared::Same
    } else {
        Compared::Differs(differences)
    }
}

fn line(line: &str) -> Option<(&str, Counts)> {
    let mut fields = line.split('\t');
    let name = fields.next()?;
    let mut number = || fields.next()?.parse().ok();
    Some((
        name,
        Counts {
            instructions: number()?,
            module: number()?,
            allocations: number()?,
            own_allocations: number()?,
        },
    ))
}
