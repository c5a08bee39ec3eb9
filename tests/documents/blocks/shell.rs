//! Blocks of shell, run by bash as a reader would: from the root of the repository, with a server at hand.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::root;
use super::session::without_elapsed_times;
use crate::harness::Server;
use crate::harness::nodes::free_port;

/// How long a block may take: one builds the release.
const PATIENCE: Duration = Duration::from_secs(1_200);

/// Stands for `redis-cli`: asks the document's server, prints as on a terminal unless the block sends it elsewhere, and
/// ends with an error that it is answered.
const CLI: &str = r#"#!/usr/bin/env bash
set -eu
arguments=(-e)
if [ /dev/stdout -ef "$BLOCK_OUTPUT" ]; then
    arguments+=(--no-raw)
fi
PATH=$BLOCK_PATH exec redis-cli -s "$BLOCK_SOCKET" "${arguments[@]}" "$@"
"#;

/// A place where blocks are run.
pub struct Shell {
    dir: TempDir,
}

impl Shell {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("rl").tempdir().unwrap();
        let programs = dir.path().join("bin");
        fs::create_dir(&programs).unwrap();
        for name in ["redis-cli", "valkey-cli"] {
            let program = programs.join(name);
            fs::write(&program, CLI).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { dir }
    }

    /// Runs a block, with `server` as the one that `redis-cli` finds; what it prints, or how it failed.
    pub fn run(&self, text: &str, server: &Server) -> Result<String, String> {
        let mut running = self.start(text, |command| {
            command
                .env("BLOCK_SOCKET", server.socket())
                .env("REDIS_URL", format!("unix://{}", server.socket().display()));
        });
        match patiently(|| running.ended()) {
            Some(status) if status.success() => Ok(without_elapsed_times(&running.output())),
            Some(status) => Err(running.failure(&format!("ended with {status}"))),
            None => Err(running.failure("takes too long")),
        }
    }

    /// Runs a block that is a server, until it has answered with a decision.
    pub fn serve(&self, text: &str) -> Result<(), String> {
        let port = free_port().to_string();
        let ask = |words: &[&str]| {
            let mut cli = Command::new("redis-cli");
            cli.args(["-p", &port]).args(words).output().unwrap()
        };
        let mut running = self.start(text, |command| {
            command.env("PORT", &port);
        });
        patiently(|| {
            let reply = ask(&["RL.CHECK", "reader", "3", "60"]);
            let answered = reply.stdout.starts_with(b"1\n3\n2\n");
            (answered || running.ended().is_some()).then_some(())
        });
        if let Some(status) = running.ended() {
            return Err(running.failure(&format!("ended with {status}")));
        }
        ask(&["SHUTDOWN", "NOSAVE"]);
        match patiently(|| running.ended()) {
            Some(_) => Ok(()),
            None => Err(running.failure("did not answer, or did not end")),
        }
    }

    fn start(&self, text: &str, more: impl FnOnce(&mut Command)) -> Running {
        let script = self.dir.path().join("block");
        let output = self.dir.path().join("output");
        fs::write(&script, text).unwrap();
        let file = File::create(&output).unwrap();
        let errors = self.dir.path().join("errors");
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new("bash");
        command
            .args(["-euo", "pipefail"])
            .arg(&script)
            .current_dir(root())
            .env("PATH", format!("{}/bin:{path}", self.dir.path().display()))
            .env("TMPDIR", self.dir.path())
            .env("BLOCK_PATH", &path)
            .env("BLOCK_OUTPUT", &output)
            .env("NO_INSTALL", "1")
            // What `make test` tells its own children.
            .env_remove("MAKEFLAGS")
            .env_remove("MFLAGS")
            .env_remove("MAKELEVEL")
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(File::create(&errors).unwrap());
        more(&mut command);
        Running {
            process: command.spawn().unwrap(),
            output,
            errors,
        }
    }
}

/// A block that runs.
struct Running {
    process: Child,
    output: PathBuf,
    errors: PathBuf,
}

impl Running {
    fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().unwrap()
    }

    fn output(&self) -> String {
        read(&self.output)
    }

    fn failure(&self, how: &str) -> String {
        format!("{how}:\n{}{}", self.output(), read(&self.errors))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that did not end is killed, and so is what it has started. (It has no process group of its own: Ctrl-C
        // would not reach that.)
        if self.ended().is_none() {
            kill_with_children(&self.process.id().to_string());
            let _ = self.process.wait();
        }
    }
}

fn kill_with_children(pid: &str) {
    let children = read(Path::new(&format!("/proc/{pid}/task/{pid}/children")));
    let _ = Command::new("kill").args(["-KILL", pid]).status();
    children.split_whitespace().for_each(kill_with_children);
}

/// Asks until there is an answer, or until it has taken too long.
fn patiently<T>(mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let answer = probe();
        if answer.is_some() || Instant::now() > give_up {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
