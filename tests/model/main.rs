//! The module in a real server beside a model of the whole contract, command by command, on a clock that moves by anything from
//! nothing to windows, and back.

mod contract;
mod generator;
#[expect(dead_code, reason = "the tests of the server use the rest")]
#[path = "../server/harness/mod.rs"]
mod harness;
mod shrink;
mod stage;
mod step;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use generator::Generator;
use harness::random;
use stage::Stage;
use step::Step;

/// How many steps a history has.
const STEPS: usize = 300;

/// How many random histories are played: `HISTORIES`, or a few.
fn histories() -> usize {
    std::env::var("HISTORIES").map_or(30, |number| number.parse().expect("HISTORIES is a number"))
}

/// The cases that have failed, each a paragraph. They come first, at each run.
const REGRESSIONS: &str = include_str!("regressions.txt");

fn paragraph(history: &[Step]) -> String {
    history.iter().map(|step| format!("{step}\n")).collect()
}

#[test]
fn what_has_failed_before_goes_as_the_contract_says() {
    let mut stage = Stage::start();
    for case in REGRESSIONS.split("\n\n") {
        let lines = case
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let history: Vec<Step> = lines.map(Step::parse).collect();
        if let Err(difference) = stage.play(&history) {
            panic!("{case}\n{}", difference.text);
        }
    }
}

#[test]
fn random_histories_go_as_the_contract_says() {
    let mut seeds = random::generator();
    let mut stage = Stage::start();
    for played in 0..histories() {
        let history = Generator::history(seeds.u64(..), STEPS);
        let Err(difference) = stage.play(&history) else {
            continue;
        };
        println!(
            "After {played} others a history of {} steps differs at step {}:\n{}",
            history.len(),
            difference.at,
            difference.text
        );
        let (shortest, difference) = shrink::shrink(&mut stage, &history, difference);
        let case = paragraph(&shortest);
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/model/regressions.txt");
        let written = OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut file| write!(file, "\n{case}"));
        panic!(
            "this is not as the contract says:\n\n{case}\n{}\n\n{}",
            difference.text,
            match written {
                Ok(()) =>
                    "It is now in tests/model/regressions.txt: commit it with the fix.".to_owned(),
                Err(error) => format!("It belongs into tests/model/regressions.txt ({error})."),
            }
        );
    }
}
