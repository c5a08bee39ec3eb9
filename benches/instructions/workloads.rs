//! What is counted: commands on one key that is there already, or each on a key of its own.

use redis::{Connection, ConnectionLike, Pipeline, Value};

use crate::callgrind::{Callgrind, Counts};
use crate::harness::{Ask, Setup, compile};

/// How many servers count each workload. The least counts: what else a server does can only add to it, and so do requests
/// that arrive in pieces.
const SERVERS: u32 = 3;

/// Stands in a command for eight limits and windows, so long that no unit leaves one meanwhile.
const EIGHT: [&str; 2] = [
    "{eight}",
    "1000000 1w 1000000 2w 1000000 3w 1000000 4w 1000000 5w 1000000 6w 1000000 7w 1000000 8w",
];

/// A command that is called again and again.
#[derive(Clone, Copy)]
struct Workload {
    name: &'static str,
    /// `{key}` stands for the key; `{eight}` as above; `{ten}` for as many keys, and limits and windows for them.
    command: &'static str,
    keys: Keys,
    /// How often.
    calls: u32,
    /// What is called on each key beforehand, and how often.
    before: (&'static str, u32),
    /// What it must be answered with, so that what is counted is what the name says.
    answer: Answer,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    /// One, which is there already.
    Hot,
    /// Another one for each call.
    Each,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Granted,
    Denied,
    /// Something, but no error.
    Any,
}

/// A command on one key, on which it has been called once.
const fn hot(name: &'static str, command: &'static str) -> Workload {
    Workload {
        name,
        command,
        keys: Keys::Hot,
        calls: 2_000,
        before: (command, 1),
        answer: Answer::Any,
    }
}

/// A command on many keys, each of which has been called `times` times with it before.
const fn each(name: &'static str, times: u32, command: &'static str) -> Workload {
    let workload = hot(name, command).after(times, command);
    Workload {
        keys: Keys::Each,
        ..workload
    }
}

impl Workload {
    const fn after(self, times: u32, command: &'static str) -> Self {
        let before = (command, times);
        Self { before, ..self }
    }

    const fn granted(self) -> Self {
        let answer = Answer::Granted;
        Self { answer, ..self }
    }

    const fn denied(self) -> Self {
        let answer = Answer::Denied;
        Self { answer, ..self }
    }

    const fn only(self, calls: u32) -> Self {
        Self { calls, ..self }
    }
}

/// The least that a command of a module takes: it opens a key, replies five integers, and decides nothing.
pub const FLOOR: &str = "the floor: a key opened, five integers";

const SET: &str = "SET {key} 12345678 PX 3600000";
/// An hour is long enough for no unit to be back meanwhile.
const CHECK_10: &str = "RL.CHECK {key} 10 1h";
const CHECK_100: &str = "RL.CHECK {key} 100 1h";
const CHECK_10_000: &str = "RL.CHECK {key} 10000 1h";
const CHECK_EIGHT: &str = "RL.CHECK {key} {eight}";
const CHECK_EIGHT_FULL: &str = "RL.CHECK {key} 32 1w 32 2w 32 3w 32 4w 32 5w 32 6w 32 7w 32 8w";
const GCRA_10: &str = "RL.GCRA {key} 10 60";
const GCRA_10_000: &str = "RL.GCRA {key} 10000 1h";
const MCHECK_2: &str = "RL.MCHECK 2 {key} {key}:b 10000 1h 10000 1h";
const MCHECK_2_FULL: &str = "RL.MCHECK 2 {key} {key}:b 1 1h 5 1h";
const MCHECK_10: &str = "RL.MCHECK 10 {ten}";

/// Without a sink: no replica, no append-only file.
const ALONE: &[Workload] = &[
    hot("PING", "PING"),
    hot("INCR", "INCR {key}"),
    hot("SET PX", SET),
    each("SET PX, new keys", 0, SET),
    each("SET PX, many keys", 1, SET),
    hot(FLOOR, "FLOOR.OPEN {key} 10000 1h").after(1, CHECK_10),
    hot(
        "the floor that overwrites it, too",
        "FLOOR.WRITE {key} 10000 1h",
    )
    .after(1, CHECK_10),
    hot("RL.GCRA granted", GCRA_10_000).granted(),
    each("RL.GCRA granted, new keys", 0, GCRA_10).granted(),
    each("RL.GCRA granted, many keys", 1, GCRA_10).granted(),
    hot("RL.GCRA denied", "RL.GCRA {key} 1 1h").denied(),
    each("RL.CHECK granted, new keys", 0, CHECK_10).granted(),
    each("RL.CHECK granted, 2nd of 10", 1, CHECK_10).granted(),
    each("RL.CHECK granted, 10th of 10", 9, CHECK_10).granted(),
    each("RL.CHECK granted, 10th of 100", 9, CHECK_100).granted(),
    hot("RL.CHECK granted, 32 groups, joining", CHECK_10_000)
        .after(40, CHECK_10_000)
        .granted(),
    hot("RL.CHECK granted, 8 windows, joining", CHECK_EIGHT)
        .after(40, CHECK_EIGHT)
        .granted(),
    hot("RL.CHECK denied, 8 windows", CHECK_EIGHT_FULL)
        .after(33, CHECK_EIGHT_FULL)
        .denied(),
    hot("RL.CHECK denied, 1 group", "RL.CHECK {key} 1 1h").denied(),
    hot("RL.CHECK denied, 10 groups", CHECK_10)
        .after(10, CHECK_10)
        .denied(),
    hot("RL.CHECK denied, 32 groups", CHECK_100)
        .after(100, CHECK_100)
        .denied(),
    hot("RL.MCHECK granted, 2 keys, joining", MCHECK_2).after(40, MCHECK_2),
    hot("RL.MCHECK denied, 2 keys", MCHECK_2_FULL),
    hot("RL.MCHECK granted, 10 keys, joining", MCHECK_10)
        .after(40, MCHECK_10)
        .only(500),
    hot("RL.PEEK, 10 groups", "RL.PEEK {key}").after(10, CHECK_10),
    hot("CL.THROTTLE granted", "CL.THROTTLE {key} 10000 10000 3600"),
];

/// With an append-only file.
const WITH_AOF: &[Workload] = &[
    hot("AOF: SET PX", SET),
    hot("AOF: RL.GCRA granted", GCRA_10_000).granted(),
    each("AOF: RL.CHECK granted, 2nd of 10", 1, CHECK_10).granted(),
    hot("AOF: RL.CHECK granted, 32 groups, joining", CHECK_10_000)
        .after(40, CHECK_10_000)
        .granted(),
];

/// Counts the workloads whose names are chosen.
pub fn count(chosen: impl Fn(&str) -> bool) -> Vec<(&'static str, Counts)> {
    let chosen = |workloads: &[Workload]| -> Vec<Workload> {
        let chosen = workloads.iter().filter(|workload| chosen(workload.name));
        chosen.copied().collect()
    };
    let seed = compile("../benches/instructions/seed.c");
    let floor = compile("../benches/floor.c").display().to_string();
    // Nothing that depends on how long a call takes: on a slow machine, calls get into the slow log.
    let alone = || {
        Setup::new()
            .environment("LD_PRELOAD", &seed)
            .arguments(["--slowlog-log-slower-than", "-1"])
            .arguments(["--enable-debug-command", "yes"])
            .arguments(["--loadmodule", &floor])
    };
    let with_aof = || alone().arguments(["--appendonly", "yes", "--appendfsync", "no"]);
    let mut counted = least(alone, &chosen(ALONE));
    counted.extend(least(with_aof, &chosen(WITH_AOF)));
    counted
}

/// The least that each took on several servers.
fn least(setup: impl Fn() -> Setup, workloads: &[Workload]) -> Vec<(&'static str, Counts)> {
    if workloads.is_empty() {
        return Vec::new();
    }
    let servers: Vec<Vec<Counts>> = (0..SERVERS).map(|_| on(setup(), workloads)).collect();
    workloads
        .iter()
        .enumerate()
        .map(|(at, workload)| {
            let least = servers
                .iter()
                .map(|counts| counts[at])
                .min_by(|a, b| a.instructions.total_cmp(&b.instructions));
            (workload.name, least.unwrap())
        })
        .collect()
}

fn on(setup: Setup, workloads: &[Workload]) -> Vec<Counts> {
    let mut callgrind = Callgrind::start(setup);
    let mut client = callgrind.server.connect();
    // And nothing that is done from time to time, for more of the calls on a slow machine: such as to take its buffer for
    // replies from a client that has not needed all of it for some seconds.
    client.ask("DEBUG PAUSE-CRON 1");
    workloads
        .iter()
        .map(|workload| workload.count(&mut callgrind, &mut client))
        .collect()
}

impl Workload {
    fn count(&self, callgrind: &mut Callgrind, client: &mut Connection) -> Counts {
        client.ask("FLUSHALL SYNC");
        let (before, times) = self.before;
        for _ in 0..times {
            let keys = if self.keys == Keys::Hot {
                1
            } else {
                self.calls
            };
            send(client, &pipeline(before, self.keys, keys));
        }
        let pipeline = pipeline(self.command, self.keys, self.calls);
        let mut answers = Vec::new();
        let counts = callgrind.count(self.name, self.calls, || answers = send(client, &pipeline));
        for answer in answers {
            self.check(&answer);
        }
        counts
    }

    fn check(&self, answer: &Value) {
        let name = self.name;
        let first = match answer {
            Value::ServerError(error) => panic!("{name}: {error:?}"),
            Value::Array(row) => row.first(),
            _ => None,
        };
        let as_wanted = match self.answer {
            Answer::Any => true,
            Answer::Granted => first == Some(&Value::Int(1)),
            Answer::Denied => first == Some(&Value::Int(0)),
        };
        assert!(as_wanted, "{name}: answered {answer:?}");
    }
}

fn pipeline(command: &str, keys: Keys, calls: u32) -> Pipeline {
    let [eight, windows] = EIGHT;
    let command = command.replace(eight, windows).replace("{ten}", &many(10));
    let mut pipeline = redis::pipe();
    for call in 0..calls {
        let number = if keys == Keys::Hot { 0 } else { call };
        let line = command.replace("{key}", &key(number));
        let mut words = line.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        for word in words {
            command.arg(word);
        }
        pipeline.add_command(command);
    }
    pipeline
}

/// Twenty bytes.
fn key(number: u32) -> String {
    format!("limiter:{number:012}")
}

/// As many keys, and limits and windows for them.
fn many(count: u32) -> String {
    let keys = (0..count).map(key);
    let rules = (0..count).map(|_| "10000 1h".to_owned());
    keys.chain(rules).collect::<Vec<_>>().join(" ")
}

fn send(client: &mut Connection, pipeline: &Pipeline) -> Vec<Value> {
    client
        .req_packed_commands(&pipeline.get_packed_pipeline(), 0, pipeline.len())
        .unwrap()
}
