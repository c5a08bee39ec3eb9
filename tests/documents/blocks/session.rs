//! A session: commands after a prompt, each followed by its reply as `redis-cli` prints it, and lines such as
//! `(10 seconds later)`. The server's time moves with these lines only.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::Server;
use crate::harness::clock::Clock;

const PROMPT: &str = "127.0.0.1:6379> ";

/// How many commands it has.
pub fn commands(text: &str) -> usize {
    text.lines().filter(|line| command(line).is_some()).count()
}

/// Sends its commands, and writes the session as it really goes.
pub fn play(text: &str, server: &Server, clock: &Clock) -> String {
    let mut real = String::new();
    for line in text.lines() {
        if let Some(command) = command(line) {
            writeln!(real, "{line}").unwrap();
            real.push_str(&redis_cli(server, command));
        } else if let Some(time) = later(line) {
            writeln!(real, "{line}").unwrap();
            clock.advance(time);
        } else if line.is_empty() {
            real.push('\n');
        }
        // Anything else is a reply as the document has it.
    }
    real
}

/// The command in a line that has one.
fn command(line: &str) -> Option<&str> {
    line.strip_prefix(PROMPT)
}

/// The time that passes in a line such as `(10 seconds later)`.
fn later(line: &str) -> Option<Duration> {
    let (number, unit) = line
        .strip_prefix('(')?
        .strip_suffix(" later)")?
        .split_once(' ')?;
    let millis = match unit.trim_end_matches('s') {
        "millisecond" => 1,
        "second" => 1_000,
        "minute" => 60_000,
        "hour" => 3_600_000,
        "day" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.parse::<u64>().ok()? * millis))
}

/// The reply to a command, which `redis-cli` splits into words as it does when it is typed.
fn redis_cli(server: &Server, command: &str) -> String {
    let mut cli = Command::new("redis-cli")
        .arg("-s")
        .arg(server.socket())
        .arg("--no-raw")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Dropped at the end of the statement, which ends the session.
    writeln!(cli.stdin.take().unwrap(), "{command}").unwrap();
    let output = cli.wait_with_output().unwrap();
    assert!(output.status.success(), "{command}: {}", output.status);
    let reply = String::from_utf8(output.stdout).unwrap();
    without_elapsed_times(&reply)
}

/// A reply without lines such as `(1.41s)`, which `redis-cli` adds if it took half a second, as on a busy machine.
pub fn without_elapsed_times(reply: &str) -> String {
    reply
        .split_inclusive('\n')
        .filter(|line| !is_elapsed_time(line))
        .collect()
}

fn is_elapsed_time(line: &str) -> bool {
    line.trim_end()
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix("s)"))
        .is_some_and(|seconds| seconds.parse::<f64>().is_ok())
}
