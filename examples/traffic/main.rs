//! Sends the same traffic to several rate limiters and writes down what each admits: the data of the pictures and tables
//! in `docs/algorithms.md`. Those of this module are the code that the commands run; the others are what is usual
//! elsewhere.
//!
//! `cargo run --example traffic -- DIRECTORY` writes CSV files there and prints the tables of the document. `make plots`
//! does this, and draws the pictures.

mod tables;

use std::path::PathBuf;
use std::{env, fs, process};

use tables::Results;

fn main() {
    let Some(directory) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: cargo run --example traffic -- DIRECTORY");
        process::exit(2);
    };
    let results = Results::compute();
    for (name, text) in results.files() {
        let path = directory.join(name);
        if let Err(error) = fs::write(&path, text) {
            eprintln!("{}: {error}", path.display());
            process::exit(1);
        }
    }
    for table in results.tables() {
        println!("{table}");
    }
}
