//! A server under callgrind, whose counters are read while it runs.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use crate::harness::{DEADLINE, Server, Setup};

/// What was counted, for each call.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// Instructions carried out.
    pub instructions: f64,
    /// Those of them that are the module's own code.
    pub module: f64,
    /// Calls of `malloc`, `calloc` and `realloc`.
    pub allocations: f64,
    /// Those of them that the module made itself.
    pub own_allocations: f64,
}

/// The server.
pub struct Callgrind {
    /// The server itself.
    pub server: Server,
    dumps: u32,
}

impl Callgrind {
    /// Starts a server under callgrind.
    pub fn start(setup: Setup) -> Self {
        let dir = setup.dir().to_owned();
        let server = setup
            .launcher([
                "valgrind".to_owned(),
                "--tool=callgrind".to_owned(),
                format!("--callgrind-out-file={}", dir.join("out").display()),
                format!("--vgdb-prefix={}", dir.join("vgdb").display()),
                // So that it soon sees a request by itself.
                "--vgdb-poll=100".to_owned(),
            ])
            .start();
        Self { server, dumps: 0 }
    }

    /// Counts what the server does for `calls` calls, which `run` makes. The profile is kept as `name` in the directory
    /// that `PROFILES` names, for `callgrind_annotate`.
    pub fn count(&mut self, name: &str, calls: u32, run: impl FnOnce()) -> Counts {
        self.command("zero");
        run();
        self.command("dump");
        self.dumps += 1;
        let dump = self.server.dir().join(format!("out.{}", self.dumps));
        let counted = Dump::read(&dump);
        if let Some(profiles) = env::var_os("PROFILES") {
            fs::create_dir_all(&profiles).unwrap();
            fs::copy(&dump, Path::new(&profiles).join(name)).unwrap();
        }
        let each = |count: u64| count as f64 / f64::from(calls);
        Counts {
            instructions: each(counted.instructions),
            module: each(counted.module),
            allocations: each(counted.allocations),
            own_allocations: each(counted.own_allocations),
        }
    }

    fn command(&self, command: &str) {
        let prefix = self.server.dir().join("vgdb");
        let mut vgdb = Command::new("vgdb")
            .arg(format!("--vgdb-prefix={}", prefix.display()))
            .arg(format!("--pid={}", self.server.pid()))
            // It waits until it is seen. To interrupt the server by ptrace instead, as it would, can stop both for ever.
            .arg("--max-invoke-ms=0")
            .arg(command)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let give_up = Instant::now() + DEADLINE;
        while vgdb.try_wait().unwrap().is_none() && Instant::now() < give_up {
            thread::sleep(Duration::from_millis(2));
        }
        let _ = vgdb.kill();
        let status = vgdb.wait().unwrap();
        assert!(status.success(), "vgdb {command}: {status}");
    }
}

/// What a file says that callgrind has written.
#[derive(Default)]
struct Dump {
    instructions: u64,
    module: u64,
    allocations: u64,
    own_allocations: u64,
}

impl Dump {
    /// Reads a file in callgrind's format: who carried out how many instructions, and called which how often. A name is
    /// given a number when it first occurs, "(7) malloc", and is that number afterwards. Other lines are a place and what
    /// it took; after `calls=`, what was called from there took, which is told in its own place.
    fn read(path: &Path) -> Self {
        let text =
            fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut objects = Names::default();
        let mut functions = Names::default();
        let mut dump = Self::default();
        let mut own = false;
        let mut allocates = false;
        let mut of_a_call = false;
        for line in text.lines() {
            let Some((what, value)) = line.split_once('=') else {
                if let Some(total) = line.strip_prefix("summary: ") {
                    dump.instructions = total.trim().parse().unwrap();
                } else if line.starts_with(|first: char| "+-*0123456789".contains(first)) {
                    let count: u64 = line.split(' ').next_back().unwrap().parse().unwrap();
                    if own && !of_a_call {
                        dump.module += count;
                    }
                    of_a_call = false;
                }
                continue;
            };
            match what {
                "ob" => {
                    own = objects.resolve(value).ends_with("/libredis_ratelimit.so");
                }
                "cob" => {
                    objects.resolve(value);
                }
                "fn" => {
                    functions.resolve(value);
                }
                "cfn" => {
                    allocates = ["malloc", "calloc", "realloc"].contains(&functions.resolve(value));
                }
                "calls" => {
                    of_a_call = true;
                    if allocates {
                        let count: u64 = value.split(' ').next().unwrap().parse().unwrap();
                        dump.allocations += count;
                        if own {
                            dump.own_allocations += count;
                        }
                    }
                }
                _ => {}
            }
        }
        assert!(dump.instructions > 0, "{}: no summary", path.display());
        dump
    }
}

/// Names by their numbers.
#[derive(Default)]
struct Names(HashMap<String, String>);

impl Names {
    fn resolve(&mut self, value: &str) -> &str {
        let (number, name) = value.split_once(' ').unwrap_or((value, ""));
        let known = self.0.entry(number.to_owned()).or_default();
        if !name.is_empty() {
            name.clone_into(known);
        }
        known
    }
}
