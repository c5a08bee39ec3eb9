//! On what was measured, and with what.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness;

/// Lines of a list.
pub fn description() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let gigabytes = memory_kilobytes() / 1024.0 / 1024.0;
    format!(
        "- Machine: {}, {cores} cores, {gigabytes:.0} GiB, {}\n\
         - Server: {}\n\
         - Module: redis-ratelimit {}{}, `cargo build --release` with {}\n\
         - Date: {}\n",
        processor(),
        output("uname", &["-sr"]),
        server(&harness::server_binary()),
        env!("CARGO_PKG_VERSION"),
        commit(),
        output("rustc", &["--version"]),
        output("date", &["+%Y-%m-%d"]),
    )
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    info.lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |rest| {
            rest.trim_start_matches([' ', '\t', ':'])
        })
        .to_owned()
}

fn memory_kilobytes() -> f64 {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    info.split_whitespace()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .unwrap_or(0.0)
}

/// Name and version of a server, without where and when it was built.
pub fn server(program: &Path) -> String {
    let text = output(&program.to_string_lossy(), &["--version"]);
    let text = text.split(" sha=").next().unwrap_or_default();
    text.replace(" server v=", " ")
}

/// The commit, if there is a repository.
fn commit() -> String {
    match output("git", &["describe", "--always", "--dirty=, changed"]).as_str() {
        "" => String::new(),
        commit => format!(" ({commit})"),
    }
}

/// What a program prints; nothing if it does not run.
fn output(program: &str, arguments: &[&str]) -> String {
    Command::new(program)
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}
