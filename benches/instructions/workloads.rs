//! What is counted: commands on one key that is there already, or each on a key of its own.

use redis::{Connection, ConnectionLike, Pipeline, Value};

use crate::callgrind::{Callgrind, Counts};
use crate::common::{Ask, Setup};

/// How often each command is called.
const CALLS: u32 = 2_000;

/// Stands in a command for eight limits and windows, so long that no unit leaves one meanwhile.
const EIGHT: [&str; 2] = [
    "{eight}",
    "1000000 1w 1000000 2w 1000000 3w 1000000 4w 1000000 5w 1000000 6w 1000000 7w 1000000 8w",
];

/// What a decision must be answered with, so that what is counted is what the name says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Granted,
    Denied,
    /// Something, but no error.
    Any,
}
use Answer::{Any, Denied, Granted};

/// A command on one key that it finds there, or each call on a key of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    Hot,
    Each,
}
use Keys::{Each, Hot};

/// Name; the command, in which `{key}` stands for the key; which command is called on each key beforehand, and how
/// often; the keys; the answer.
type Workload = (
    &'static str,
    &'static str,
    (&'static str, u32),
    Keys,
    Answer,
);

/// With nobody listening: no replica, no append-only file.
#[rustfmt::skip]
const ALONE: &[Workload] = &[
    ("PING", "PING", ("PING", 1), Hot, Any),
    ("INCR", "INCR {key}", ("INCR {key}", 1), Hot, Any),
    ("SET PX", SET, (SET, 1), Hot, Any),
    ("SET PX, new keys", SET, (SET, 0), Each, Any),
    ("SET PX, many keys", SET, (SET, 1), Each, Any),
    ("RL.GCRA granted", "RL.GCRA {key} 10000 1h", ("RL.GCRA {key} 10000 1h", 1), Hot, Granted),
    ("RL.GCRA granted, new keys", "RL.GCRA {key} 10 60", (SET, 0), Each, Granted),
    ("RL.GCRA granted, many keys", "RL.GCRA {key} 10 60", ("RL.GCRA {key} 10 60", 1), Each, Granted),
    ("RL.GCRA denied", "RL.GCRA {key} 1 1h", ("RL.GCRA {key} 1 1h", 1), Hot, Denied),
    ("RL.CHECK granted, new keys", "RL.CHECK {key} 10 1h", (SET, 0), Each, Granted),
    ("RL.CHECK granted, 2nd of 10, many keys", "RL.CHECK {key} 10 1h", ("RL.CHECK {key} 10 1h", 1), Each, Granted),
    ("RL.CHECK granted, 10th of 10, many keys", "RL.CHECK {key} 10 1h", ("RL.CHECK {key} 10 1h", 9), Each, Granted),
    ("RL.CHECK granted, 10th of 100, many keys", "RL.CHECK {key} 100 1h", ("RL.CHECK {key} 100 1h", 9), Each, Granted),
    ("RL.CHECK granted, 32 groups, joining", "RL.CHECK {key} 10000 1h", ("RL.CHECK {key} 10000 1h", 40), Hot, Granted),
    ("RL.CHECK granted, 8 windows, joining", "RL.CHECK {key} {eight}", ("RL.CHECK {key} {eight}", 40), Hot, Granted),
    ("RL.CHECK denied, 1 group", "RL.CHECK {key} 1 1h", ("RL.CHECK {key} 1 1h", 1), Hot, Denied),
    ("RL.CHECK denied, 10 groups", "RL.CHECK {key} 10 1h", ("RL.CHECK {key} 10 1h", 10), Hot, Denied),
    ("RL.CHECK denied, 32 groups", "RL.CHECK {key} 100 1h", ("RL.CHECK {key} 100 1h", 100), Hot, Denied),
    ("RL.MCHECK granted, 2 keys", "RL.MCHECK 2 {key} {key}:b 10000 1h 10000 1h", ("RL.MCHECK 2 {key} {key}:b 10000 1h 10000 1h", 40), Hot, Any),
    ("RL.MCHECK denied, 2 keys", "RL.MCHECK 2 {key} {key}:b 1 1h 5 1h", ("RL.MCHECK 2 {key} {key}:b 1 1h 5 1h", 1), Hot, Any),
    ("RL.PEEK, 10 groups", "RL.PEEK {key}", ("RL.CHECK {key} 10 1h", 10), Hot, Denied),
    ("CL.THROTTLE granted", "CL.THROTTLE {key} 10000 10000 3600", ("CL.THROTTLE {key} 10000 10000 3600", 1), Hot, Denied),
];

/// With an append-only file.
#[rustfmt::skip]
const WITH_AOF: &[Workload] = &[
    ("AOF: SET PX", SET, (SET, 1), Hot, Any),
    ("AOF: RL.GCRA granted", "RL.GCRA {key} 10000 1h", ("RL.GCRA {key} 10000 1h", 1), Hot, Granted),
    ("AOF: RL.CHECK granted, 2nd of 10, many keys", "RL.CHECK {key} 10 1h", ("RL.CHECK {key} 10 1h", 1), Each, Granted),
    ("AOF: RL.CHECK granted, 32 groups, joining", "RL.CHECK {key} 10000 1h", ("RL.CHECK {key} 10000 1h", 40), Hot, Granted),
];

const SET: &str = "SET {key} 12345678 PX 3600000";

/// Counts every workload.
pub fn count() -> Vec<(&'static str, Counts)> {
    let mut counted = on(Setup::new(), ALONE);
    counted.extend(on(
        Setup::new().arguments(["--appendonly", "yes", "--appendfsync", "no"]),
        WITH_AOF,
    ));
    counted
}

fn on(setup: Setup, workloads: &[Workload]) -> Vec<(&'static str, Counts)> {
    let mut callgrind = Callgrind::start(setup.arguments(["--hz", "1", "--dynamic-hz", "no"]));
    let mut client = callgrind.server.connect();
    workloads
        .iter()
        .map(|(name, command, (before, times), keys, answer)| {
            client.ask("FLUSHALL SYNC");
            for _ in 0..*times {
                let first = if *keys == Hot { 1 } else { CALLS };
                call(&mut client, &pipeline(before, *keys, first));
            }
            let calls = pipeline(command, *keys, CALLS);
            let mut answers = Vec::new();
            let counts = callgrind.count(name, CALLS, || answers = call(&mut client, &calls));
            for value in answers {
                check(name, *answer, value);
            }
            (*name, counts)
        })
        .collect()
}

fn pipeline(command: &str, keys: Keys, calls: u32) -> Pipeline {
    let [eight, windows] = EIGHT;
    let command = command.replace(eight, windows);
    let mut pipeline = redis::pipe();
    for call in 0..calls {
        let number = if keys == Hot { 0 } else { call };
        // Twenty bytes.
        let line = command.replace("{key}", &format!("limiter:{number:012}"));
        let mut words = line.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        for word in words {
            command.arg(word);
        }
        pipeline.add_command(command);
    }
    pipeline
}

fn call(client: &mut Connection, pipeline: &Pipeline) -> Vec<Value> {
    client
        .req_packed_commands(&pipeline.get_packed_pipeline(), 0, pipeline.len())
        .unwrap()
}

fn check(name: &str, answer: Answer, value: Value) {
    let first = match &value {
        Value::ServerError(error) => panic!("{name}: {error:?}"),
        Value::Array(row) => row.first(),
        _ => None,
    };
    let as_wanted = match answer {
        Any => true,
        Granted => first == Some(&Value::Int(1)),
        Denied => first == Some(&Value::Int(0)),
    };
    assert!(as_wanted, "{name}: answered {value:?}");
}
