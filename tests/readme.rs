//! The sessions shown in the documents are what a server answers.
//!
//! A session is a code block marked `redis-cli`: commands after a prompt, each followed by its reply as `redis-cli`
//! prints it, and lines such as `(10 seconds later)`. The server's time moves with these lines only. The blocks of a
//! document are one session, on one server.

mod common;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::Server;
use common::clock::Clock;

const DOCUMENTS: &[&str] = &["README.md", "docs/commands.md"];

const PROMPT: &str = "127.0.0.1:6379> ";

#[test]
fn the_sessions_in_the_documents_are_what_a_server_answers() {
    for document in DOCUMENTS {
        let blocks = sessions(document);
        let (server, clock) = Clock::start();
        let mut commands = 0;
        for Block { line, text } in blocks {
            commands += text.lines().filter(|line| command(line).is_some()).count();
            let real = play(&text, &server, &clock);
            assert!(
                text == real,
                "{document}, the session in line {line}, really goes:\n{real}"
            );
        }
        assert!(commands > 0, "{document} has no session");
    }
}

/// A code block.
struct Block {
    /// Where it starts.
    line: usize,
    text: String,
}

/// The sessions of a document.
fn sessions(document: &str) -> Vec<Block> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{document}: {error}"));
    let mut blocks = Vec::new();
    let mut lines = text.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        let Some(mark) = line.strip_prefix("```") else {
            continue;
        };
        let mut block = Block {
            line: number,
            text: String::new(),
        };
        loop {
            match lines.next() {
                Some(("```", _)) => break,
                Some((line, _)) => writeln!(block.text, "{line}").unwrap(),
                None => panic!("{document}: the block in line {number} has no end"),
            }
        }
        if mark == "redis-cli" {
            blocks.push(block);
        }
    }
    blocks
}

/// Sends the commands of a session, and writes it down as it really goes.
fn play(text: &str, server: &Server, clock: &Clock) -> String {
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
        // Anything else is the document's idea of a reply.
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
    reply
        .split_inclusive('\n')
        .filter(|line| !is_elapsed_time(line))
        .collect()
}

/// Whether a line is `(1.41s)`: `redis-cli` adds it after a reply that took half a second, as on a busy machine.
fn is_elapsed_time(line: &str) -> bool {
    line.trim_end()
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix("s)"))
        .is_some_and(|seconds| seconds.parse::<f64>().is_ok())
}
