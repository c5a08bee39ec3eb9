//! I/O threads: a server that lets them read answers every command as one without.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use redis::{Connection, ConnectionLike, Value};

use crate::harness::clock::Clock;
use crate::harness::nodes::info;
use crate::harness::traffic::any_write;
use crate::harness::{Setup, eventually, random};

/// Lines of every command, on keys that begin with `P`, as they are sent in one go.
fn script() -> Vec<Vec<String>> {
    let mut random = random::generator();
    let others = [
        "RL.PEEK s:1 COST 2",
        "RL.INFO several:2",
        "RL.PEEK g:3",
        "RL.CHECK s:2 nonsense 1h",
        "RL.MCHECK 2 s:1 s:1 5 1h 5 1h",
        "RL.GCRA s:3 5 1h",
        "RL.CHECK receipts 50 1h RECEIPT",
        "RL.CHECK priorities 9 1h KEEP 3",
        "RL.GCRA turns 3 1h MAXWAIT 2h",
        "RL.CHECK growing 1 1h BLOCK 1m UPTO 1d",
        "CL.THROTTLE cell 3 5 60",
        "RL.MCHECK 3 s:7 s:8 s:9 50 1h 60 2h 70 3h COSTS 1 0 2",
        "SET foreign x",
        "RL.CHECK foreign 5 1h",
        "MULTI",
        "RL.CHECK queued 5 1h",
        "RL.REFUND queued 1",
        "EXEC",
    ];
    (0..20)
        .map(|_| {
            let writes: Vec<String> = (0..14).map(|_| any_write(&mut random)).collect();
            let lines = writes.into_iter().chain(others.map(String::from));
            lines.map(|line| prefixed(&line)).collect()
        })
        .collect()
}

/// The same line with `P` before each of its keys: what has a colon, or is one of the script's own names.
fn prefixed(line: &str) -> String {
    const NAMES: [&str; 7] = [
        "receipts",
        "priorities",
        "turns",
        "growing",
        "cell",
        "foreign",
        "queued",
    ];
    let words = line.split(' ').map(|word| {
        if word.contains(':') || NAMES.contains(&word) {
            format!("P{word}")
        } else {
            word.to_owned()
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// What is answered to the script if its keys begin with `prefix`.
fn answers(client: &mut Connection, script: &[Vec<String>], prefix: &str) -> Vec<Vec<Value>> {
    let pipeline = |lines: &Vec<String>| {
        let mut pipeline = redis::Pipeline::new();
        for line in lines {
            let line = line.replace(" P", &format!(" {prefix}"));
            let mut words = line.split(' ');
            let command = pipeline.cmd(words.next().unwrap());
            for word in words {
                command.arg(word);
            }
        }
        client
            .req_packed_commands(&pipeline.get_packed_pipeline(), 0, lines.len())
            .unwrap()
    };
    script.iter().map(pipeline).collect()
}

/// Ends the clients of a test also if it fails, so that it does not wait for them.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_server_with_io_threads_at_work_answers_every_command_as_one_without() {
    let script = script();
    let (without, _clock) = Clock::start();
    let expected = answers(&mut without.connect(), &script, "k");
    let threads = ["--io-threads", "3", "--io-threads-do-reads", "yes"];
    let (server, _clock) = Clock::start_with(Setup::new().arguments(threads));
    let mut observer = server.connect();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..12 {
            let (mut client, stop) = (server.connect(), &stop);
            let (script, expected) = (&script, &expected);
            scope.spawn(move || {
                for round in 0.. {
                    if round > 2 && stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let prefix = format!("k{number}:{round}:");
                    assert!(answers(&mut client, script, &prefix) == *expected);
                }
            });
        }
        let _stop = StopOnDrop(&stop);
        // A server lets its threads read once it has enough to do.
        eventually("reading and writing by I/O threads", || {
            let worked = [
                "io_threaded_reads_processed",
                "io_threaded_writes_processed",
            ]
            .map(|field| info(&mut observer, field).unwrap().parse::<u64>().unwrap());
            worked.iter().all(|count| *count > 500).then_some(())
        });
    });
}
