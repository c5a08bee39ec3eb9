//! On what was measured, and with what.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness;

/// Lines of a list.
pub fn description() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let of = |file, name| first_of(file, name).unwrap_or_default();
    let kilobytes = of("/proc/meminfo", "MemTotal").replace(" kB", "");
    let gigabytes = kilobytes.parse().unwrap_or(0.0) / 1024.0 / 1024.0;
    format!(
        "- Machine: {}, {cores} cores, {gigabytes:.0} GiB, {}\n\
         - Server: {}\n\
         - Module: redis-ratelimit {} ({}), `cargo build --release` with {}\n\
         - Date: {}\n",
        of("/proc/cpuinfo", "model name"),
        output("uname", &["-sr"]),
        server(&harness::server_binary()),
        env!("CARGO_PKG_VERSION"),
        output("git", &["describe", "--always", "--dirty=, changed"]),
        output("rustc", &["--version"]),
        output("date", &["+%Y-%m-%d"]),
    )
}

/// What a file of `name: value` has for the first of this name.
fn first_of(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Name and version of a server, without where and when it was built.
pub fn server(program: &Path) -> String {
    let text = output(&program.to_string_lossy(), &["--version"]);
    let text = text.split(" sha=").next().unwrap_or_default();
    text.replace(" server v=", " ")
}

/// What a program prints; nothing if it does not run.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or(String::new(), |output| {
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    })
}
