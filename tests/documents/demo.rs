//! `make demo`: each command is answered with what the text above it says, also on a slow machine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::clock::Clock;
use crate::harness::server_binary;

/// Stands for `redis-cli`: a second passes before each command.
const SLOW_CLI: &str = r#"#!/usr/bin/env bash
set -eu
nanos=$(($(od -An -td8 "$TIME") + 1000000000))
bytes=
for shift in 0 8 16 24 32 40 48 56; do
    printf -v byte '\\x%02x' $((nanos >> shift & 255))
    bytes+=$byte
done
printf "$bytes" 1<>"$TIME"
PATH=$REAL_PATH exec redis-cli "$@"
"#;

/// The commands, in order, each with its reply.
const STEPS: [(&str, &str); 24] = [
    ("RL.CHECK user:ann 3 60", "1 3 2 0 60000"),
    ("RL.CHECK user:ann 3 60", "1 3 1 0 60000"),
    ("RL.CHECK user:ann 3 60", "1 3 0 0 60000"),
    ("RL.CHECK user:ann 3 60", "0 3 0 57000 59000"),
    ("RL.CHECK report:ann 100 1h COST 30", "30 100 70 0 3600000"),
    ("RL.CHECK report:ann 100 1h COST 101", "0 100 70 -1 3599000"),
    ("RL.CHECK api:ann 5 1s 100 1h", "1 5 4 0 1000"),
    ("RL.GCRA feed:ann 60 1h BURST 20", "1 20 19 0 60000"),
    (
        "RL.GCRA feed:ann 60 1h BURST 20 COST 20",
        "0 20 19 59000 59000",
    ),
    ("RL.PEEK user:ann", "0 3 0 51000 53000"),
    ("RL.CHECK login:ann 1 1m BLOCK 15m", "1 1 0 0 60000"),
    ("RL.CHECK login:ann 1 1m BLOCK 15m", "0 1 0 900000 900000"),
    ("RL.CHECK login:ann 1 1m BLOCK 15m", "0 1 0 899000 899000"),
    (
        "RL.MCHECK 2 ip:192.0.2.1 mail:ann 5 1m 1 1h",
        "1 5 4 0 60000 1 1 0 0 3600000",
    ),
    (
        "RL.MCHECK 2 ip:192.0.2.1 mail:ann 5 1m 1 1h",
        "0 5 4 0 59000 0 1 0 3599000 3599000",
    ),
    ("RL.REFUND mail:ann 1", "1 1 1 0 0"),
    (
        "RL.INFO feed:ann",
        "algorithm gcra blocked_for 0 windows limit 60 window 3600000 burst 20 used 1 remaining 19 retry_after 0 \
         next_after 51000 reset_after 51000 blocks 0",
    ),
    (
        "RL.CHECK lease:ann 1 30s RECEIPT",
        "1 1 0 0 30000 its-receipt",
    ),
    ("RL.CHECK lease:ann 1 30s RECEIPT", "0 1 0 29000 29000 0"),
    ("RL.REFUND lease:ann 1 RECEIPT its-receipt", "1 1 1 0 0"),
    ("CL.THROTTLE old:ann 14 30 60", "0 15 14 -1 2"),
    ("RL.TOP 1", "login:ann 0 2 0"),
    ("RL.RESET user:ann login:ann", "2"),
    ("RL.PEEK user:ann", "nil"),
];

#[test]
fn each_step_of_the_demonstration_shows_what_it_is_about_though_seconds_pass_between() {
    let dir = tempfile::Builder::new().prefix("rl").tempdir().unwrap();
    let (_clock, environment) = Clock::prepare(dir.path());
    let program = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let [(preload, library), (time_is_in, time)] = environment;
    program("redis-cli", SLOW_CLI);
    let server = program(
        "server",
        &format!(
            "#!/bin/sh\nexec env {preload}={} {time_is_in}={} {} \"$@\"\n",
            library.display(),
            time.display(),
            server_binary().display()
        ),
    );
    let path = std::env::var("PATH").unwrap();
    let output = Command::new("scripts/demo")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .env("PATH", format!("{}:{path}", dir.path().display()))
        .env("REAL_PATH", &path)
        .env("TIME", &time)
        .env("REDIS_SERVER", server)
        .env("NO_INSTALL", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // It depends on how long the server took to start.
    let lease = STEPS
        .iter()
        .position(|(_, reply)| reply.contains("its-receipt"));
    let reply = printed.split("\n> ").nth(1 + lease.unwrap()).map(step);
    let receipt = reply.unwrap().1.rsplit(' ').next().unwrap().to_owned();
    let printed = printed.replace(&receipt, "its-receipt");
    let shown: Vec<(String, String)> = printed.split("\n> ").skip(1).map(step).collect();
    let expected = STEPS.map(|(command, reply)| (command.to_owned(), reply.to_owned()));
    assert_eq!(shown, expected);
}

/// A command and its reply, of which only the values.
fn step(text: &str) -> (String, String) {
    let (command, reply) = text.split_once('\n').unwrap();
    let values = reply
        .lines()
        .take_while(|line| !line.is_empty())
        .flat_map(str::split_whitespace)
        .filter(|word| *word != "(integer)")
        .filter(|word| !(word.ends_with(')') && word[..word.len() - 1].parse::<u32>().is_ok()))
        .map(|word| word.trim_matches(['"', '(', ')']));
    (command.to_owned(), values.collect::<Vec<_>>().join(" "))
}
