//! The figures in docs/sizing.md are those of this server.

use std::fs;
use std::path::Path;

use crate::harness::clock::Clock;
use crate::harness::features::{JEMALLOC, is_valkey};
use crate::harness::nodes::info;
use crate::harness::random;
use crate::harness::{Ask, Server, Setup, aof_bytes, eventually};
use redis::{Connection, ConnectionLike, Value};

/// Just below a power of two, so that the tables of keys are as full as those of a million are.
const KEYS: usize = 3_900;

/// How many requests are sent at once.
const BATCH: usize = 1_300;

/// The columns of the table: what is asked, and how often.
const COLUMNS: [(&str, usize); 7] = [
    ("RL.GCRA {} 100 1h", 1),
    ("RL.CHECK {} 100 1h", 1),
    ("RL.CHECK {} 100 1h", 10),
    ("RL.CHECK {} 1000 1h", 32),
    ("RL.CHECK {} 100 1m 1000 1h", 1),
    ("RL.CHECK {} 100 1m 1000 1h", 10),
    ("RL.CHECK {} 100 1m 1000 1h", 32),
];

/// The rows of a table of docs/sizing.md that begin with a word, without their first cell.
fn rows(first: &str) -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sizing.md");
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .filter(|line| line.starts_with(&format!("| {first}")))
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.skip(1).map(|cell| cell.trim().to_owned()).collect()
        })
        .collect()
}

fn number(cell: &str) -> f64 {
    cell.parse().unwrap()
}

/// Sends a line for every key, `{}` in it replaced by a name of as many bytes.
fn send(client: &mut Connection, line: &str, name: usize) {
    for batch in 0..KEYS / BATCH {
        let mut pipeline = redis::Pipeline::new();
        for key in batch * BATCH..(batch + 1) * BATCH {
            let line = line.replace("{}", &format!("{key:0name$}"));
            let mut words = line.split(' ');
            let mut command = redis::cmd(words.next().unwrap());
            for word in words {
                command.arg(word);
            }
            pipeline.add_command(command);
        }
        for reply in client
            .req_packed_commands(&pipeline.get_packed_pipeline(), 0, BATCH)
            .unwrap()
        {
            assert!(
                matches!(&reply, Value::Array(row) if row[0] == Value::Int(1)),
                "{line}: {reply:?}"
            );
        }
    }
}

/// What the server uses, once its tables have stopped growing.
fn used(client: &mut Connection) -> f64 {
    let mut last = 0.0;
    eventually("memory at rest", || {
        let now = number(&info(client, "used_memory").unwrap());
        let rests = (now - last).abs() < 2_000.0;
        last = now;
        rests.then_some(now)
    })
}

/// Sends it again and again, at different times, on a connection of its own: what the server keeps for that ends with
/// it.
fn fill(
    server: &Server,
    client: &mut Connection,
    clock: &Clock,
    line: &str,
    times: usize,
    name: usize,
) {
    {
        let mut sender = server.connect();
        for _ in 0..times {
            send(&mut sender, line, name);
            clock.advance_millis(10);
        }
    }
    eventually("the end of a connection", || {
        (info(client, "connected_clients")? == "1").then_some(())
    });
}

/// How much memory each key takes of a server that has been asked so.
fn bytes(line: &str, times: usize, name: usize) -> f64 {
    let (server, clock) = Clock::start_with(Setup::new());
    let mut client = server.connect();
    // What the server takes once and keeps is there before.
    fill(&server, &mut client, &clock, line, 1, name);
    client.ask("FLUSHALL SYNC");
    let before = used(&mut client);
    fill(&server, &mut client, &clock, line, times, name);
    assert_eq!(client.ask("DBSIZE"), Value::Int(KEYS.try_into().unwrap()));
    (used(&mut client) - before) / KEYS as f64
}

#[test]
fn keys_take_as_much_memory_as_documented() {
    if JEMALLOC.is_missing("keys_take_as_much_memory_as_documented") {
        return;
    }
    let server = if is_valkey() { "Valkey" } else { "Redis" };
    let [row] = &rows(server)[..] else {
        panic!("docs/sizing.md has no row of {server}, or several");
    };
    assert_eq!(row.len(), COLUMNS.len());
    for ((line, times), documented) in COLUMNS.into_iter().zip(row) {
        let measured = bytes(line, times, 20);
        println!("measured: {line}, {times} times: {measured:.0} bytes, documented {documented}");
        let ratio = measured / number(documented);
        assert!(
            (0.9..1.1).contains(&ratio),
            "{line}, {times} times: {measured}"
        );
    }
}

#[test]
fn a_name_takes_memory_by_its_length() {
    let [short, long] = [20, 84].map(|name| bytes("RL.GCRA {} 100 1h", 1, name));
    println!(
        "measured: a name of 84 bytes takes {:.0} more than one of 20",
        long - short
    );
    assert!((48.0..=96.0).contains(&(long - short)), "{short}, {long}");
}

#[test]
fn grants_append_as_much_as_documented() {
    let setup = Setup::new().arguments(["--appendonly", "yes", "--appendfsync", "always"]);
    let (server, clock) = Clock::start_with(setup);
    let mut client = server.connect();
    client.ask("SET x y");
    let mut grant = |line: &str| {
        let before = aof_bytes(&server).len();
        clock.advance_millis(10);
        assert_eq!(client.decide(line)[0], 1);
        (aof_bytes(&server).len() - before) as f64
    };
    let one = "RL.CHECK aaaaaaaaaaaaaaaaaaaa 1000 1h";
    let two = "RL.CHECK bbbbbbbbbbbbbbbbbbbb 100 1m 1000 1h";
    let gcra = grant("RL.GCRA cccccccccccccccccccc 100 1h");
    let one: Vec<f64> = (0..40).map(|_| grant(one)).collect();
    let two: Vec<f64> = (0..10).map(|_| grant(two)).collect();
    for (row, measured) in [
        ("GCRA", gcra),
        ("the 1st in its window", one[0]),
        ("the 10th", one[9]),
        ("the 32nd and later", one[31]),
        ("the 32nd and later", one[39]),
        ("two windows, the 1st", two[0]),
        ("two windows, the 10th", two[9]),
    ] {
        let rows = rows(&format!("{row} |"));
        let documented = number(&rows[0][0]);
        println!("measured: {row}: {measured} bytes, documented {documented}");
        assert!((measured - documented).abs() <= 4.0, "{row}: {measured}");
    }
}

/// The example in small: so much less that the server's tables are as full.
const PART: u64 = 8;

/// 200,000 log-ins, each asked about as the document has it, from one of 70,000 addresses for one of 110,000 accounts,
/// all drawn at random.
#[test]
fn the_example_takes_as_much_as_documented() {
    let setup = Setup::new().arguments(["--appendonly", "yes", "--appendfsync", "no"]);
    let server = setup
        .arguments(["--auto-aof-rewrite-percentage", "0"])
        .start();
    let mut client = server.connect();
    let before = used(&mut client);
    let mut random = random::generator();
    {
        let mut sender = server.connect();
        for _ in 0..200_000 / PART / 1_000 {
            let mut pipeline = redis::Pipeline::new();
            for _ in 0..1_000 {
                let address = format!("rl:login:ip:{:011}", random.u64(..70_000 / PART));
                let account = format!("rl:login:mail:{:022x}", random.u64(..110_000 / PART));
                pipeline
                    .cmd("RL.MCHECK")
                    .arg(&["2", &address, &account, "20", "1h", "5", "1h"]);
            }
            let _: Vec<Value> = pipeline.query(&mut sender).unwrap();
        }
    }
    eventually("the end of a connection", || {
        (info(&mut client, "connected_clients")? == "1").then_some(())
    });
    let Value::Int(keys) = client.ask("DBSIZE") else {
        panic!("the number of keys is no number");
    };
    let memory = used(&mut client) - before;
    let appended = aof_bytes(&server).len() as f64;
    client.ask("BGREWRITEAOF");
    eventually("a rewrite", || {
        let counted =
            ["aof_rewrites", "aof_rewrite_in_progress"].map(|field| info(&mut client, field));
        (counted == ["1", "0"].map(|number| Some(number.into()))).then_some(())
    });
    let rewritten = rewritten_bytes(&server);
    for (row, measured) in [
        ("keys |", keys as f64 / 1e3),
        ("memory |", memory / 1e6),
        ("AOF, replication |", appended / 1e6),
        ("AOF, rewritten |", rewritten / 1e6),
    ] {
        let measured = measured * PART as f64;
        let rows = rows(row);
        let documented = rows[0].last().unwrap();
        println!("measured: {row} {measured:.1}, documented {documented}");
        if row != "memory |" || !is_valkey() {
            let ratio = measured / number(documented.split(' ').next().unwrap());
            assert!((0.9..1.1).contains(&ratio), "{row} {measured}");
        }
    }
}

/// What a rewrite has left of the append-only file.
fn rewritten_bytes(server: &Server) -> f64 {
    let files = fs::read_dir(server.dir().join("appendonlydir")).unwrap();
    files
        .map(|file| file.unwrap())
        .filter(|file| file.file_name().to_string_lossy().contains(".base."))
        .map(|file| file.metadata().unwrap().len() as f64)
        .fold(0.0, f64::max)
}
