//! The append-only file: no admission that was acknowledged is lost when the server is killed.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::harness::clock::Clock;
use crate::harness::nodes::info;
use crate::harness::traffic::{Traffic, contents};
use crate::harness::{Ask, Server, Setup, eventually, random};
use fastrand::Rng;
use redis::{Connection, Value};

fn setup(fsync: &str, preamble: &str) -> Setup {
    Setup::new()
        .arguments(["--appendonly", "yes", "--appendfsync", fsync])
        .arguments(["--aof-use-rdb-preamble", preamble])
}

/// What a key holds: bytes and expiry.
type Content = Option<(Vec<u8>, i64)>;

/// What one client knows of the keys that only it uses.
struct Record {
    keys: Vec<Known>,
}

/// What a client knows of one key.
struct Known {
    key: String,
    /// The command that it sends.
    line: String,
    /// How many units were granted to it by replies.
    acknowledged: u64,
    /// What the key held after the last reply.
    content: Content,
    /// Whether a command was sent that has not been answered, or whose effect was not looked at.
    in_doubt: bool,
}

impl Record {
    fn new(client: usize) -> Self {
        let keys = [
            ("sliding", "100000 1h"),
            ("few", "7 1h"),
            ("several", "100000 1h 90000 2h"),
            ("blocked", "3 1h BLOCK 2h"),
            ("changing", "LIMIT 1h"),
        ]
        .into_iter()
        .map(|(name, rule)| Known {
            key: format!("{client}:{name}"),
            line: format!("RL.CHECK {client}:{name} {rule}"),
            acknowledged: 0,
            content: None,
            in_doubt: false,
        })
        .chain([Known {
            key: format!("{client}:bucket"),
            line: format!("RL.GCRA {client}:bucket 1000 520w"),
            acknowledged: 0,
            content: None,
            in_doubt: false,
        }])
        .collect();
        Self { keys }
    }

    /// Goes on until told to stop, or until the server is gone.
    fn go_on(mut self, mut client: Connection, stop: &AtomicBool, mut random: Rng) -> Self {
        while !stop.load(Ordering::Relaxed) {
            let at = random.usize(..self.keys.len());
            let known = &mut self.keys[at];
            let limit = (100_000 + random.u64(..9)).to_string();
            known.in_doubt = true;
            let Some(granted) = grant(&mut client, &known.line.replace("LIMIT", &limit)) else {
                break;
            };
            known.acknowledged += granted;
            let Some(content) = content(&mut client, &known.key) else {
                break;
            };
            known.content = content;
            known.in_doubt = false;
        }
        self
    }

    /// Compares it with what a server holds, and goes on from that.
    fn check(&mut self, client: &mut Connection) {
        for known in &mut self.keys {
            let now = content(client, &known.key).unwrap();
            if known.in_doubt {
                let used = used(client, &known.key);
                let possible = known.acknowledged..=known.acknowledged + 1;
                assert!(
                    possible.contains(&used),
                    "{}: {used} {possible:?}",
                    known.key
                );
                known.acknowledged = used;
            } else {
                assert!(now == known.content, "{} has changed", known.key);
                assert_eq!(
                    used(client, &known.key),
                    known.acknowledged,
                    "{}",
                    known.key
                );
            }
            known.content = now;
            known.in_doubt = false;
        }
    }
}

/// Asks, and returns the units granted; `None` if the server is gone.
fn grant(client: &mut Connection, line: &str) -> Option<u64> {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let row: Vec<u64> = redis::from_redis_value(client.ask_bytes(&words).ok()?).unwrap();
    Some(row[0])
}

/// What a key holds; `None` if the server is gone.
fn content(client: &mut Connection, key: &str) -> Option<Content> {
    let bytes = client.ask_bytes(&[b"GET", key.as_bytes()]).ok()?;
    let expiry = client.ask_bytes(&[b"PEXPIRETIME", key.as_bytes()]).ok()?;
    let expiry = redis::from_redis_value(expiry).unwrap();
    Some(match bytes {
        Value::BulkString(bytes) => Some((bytes, expiry)),
        _ => None,
    })
}

/// The units in use, in the window that holds most.
fn used(client: &mut Connection, key: &str) -> u64 {
    let Value::Array(fields) = client.ask(&format!("RL.INFO {key}")) else {
        return 0;
    };
    let Some(Value::Array(windows)) = fields.into_iter().nth(5) else {
        panic!("{key} has no windows");
    };
    let used = windows.into_iter().map(|window| {
        let Value::Array(fields) = window else {
            panic!("{key}: {window:?}");
        };
        let at = fields
            .iter()
            .position(|field| *field == Value::BulkString(b"used".into()))
            .unwrap();
        redis::from_redis_value::<u64>(fields[at + 1].clone()).unwrap()
    });
    used.max().unwrap()
}

/// Clients that keep a record, until the server is killed.
struct Clients {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Record>>,
}

impl Clients {
    fn start(server: &Server, records: Vec<Record>, random: &mut Rng) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = records
            .into_iter()
            .map(|record| {
                let (client, stop) = (server.connect(), stop.clone());
                let random = random.fork();
                std::thread::spawn(move || record.go_on(client, &stop, random))
            })
            .collect();
        Self { stop, threads }
    }

    fn stop(self) -> Vec<Record> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    }
}

/// Kills the server again and again while clients keep a record and, every other time, while the AOF is rewritten.
fn kill_again_and_again(setup: Setup, rounds: u64) -> Server {
    let mut server = setup.start();
    let mut records: Vec<Record> = (0..3).map(Record::new).collect();
    let mut random = random::generator();
    for round in 0..rounds {
        let clients = Clients::start(&server, records, &mut random);
        let mut admin = server.connect();
        if round % 2 == 1 {
            // Refused while one that follows the start is under way.
            let _ = admin.ask_bytes(&[b"BGREWRITEAOF"]);
        }
        // A random moment: there is nothing to wait for.
        std::thread::sleep(Duration::from_micros(random.u64(..60_000)));
        server.kill();
        records = clients.stop();
        server.restart();
        let mut client = server.connect();
        for record in &mut records {
            record.check(&mut client);
        }
    }
    let acknowledged: u64 = records
        .iter()
        .flat_map(|record| &record.keys)
        .map(|known| known.acknowledged)
        .sum();
    assert!(acknowledged > rounds, "only {acknowledged} grants");
    server
}

/// The names of the files of the AOF.
fn files(server: &Server) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(server.dir().join("appendonlydir"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Orders a rewrite of the AOF, and waits until it is done.
fn rewrite(client: &mut Connection) {
    eventually("a rewrite that may begin", || {
        client.ask_bytes(&[b"BGREWRITEAOF"]).ok()
    });
    eventually("a rewrite that has ended", || {
        let pending = ["aof_rewrite_in_progress", "aof_rewrite_scheduled"];
        pending
            .iter()
            .all(|field| info(client, field).unwrap() == "0")
            .then_some(())
    });
    assert_eq!(info(client, "aof_last_bgrewrite_status").unwrap(), "ok");
}

#[test]
fn no_acknowledged_admission_is_lost_by_kill_9_with_appendfsync_always() {
    kill_again_and_again(setup("always", "yes"), 30);
}

#[test]
fn no_acknowledged_admission_is_lost_by_kill_9_without_an_rdb_preamble() {
    let server = kill_again_and_again(setup("always", "no"), 30);
    rewrite(&mut server.connect());
    assert!(
        files(&server)
            .iter()
            .any(|name| name.ends_with(".base.aof"))
    );
}

#[test]
fn kill_9_with_appendfsync_everysec_loses_nothing_that_was_flushed() {
    // What everysec puts at risk is what the operating system has not written yet, which outlives the process, and what
    // the server holds back while a flush is slow. So all that was acknowledged before both were empty has to be there.
    let mut server = setup("everysec", "yes").start();
    for round in 1..=10 {
        let mut client = server.connect();
        let line = format!("RL.CHECK k{round} 100000 1h");
        let mut flushed = 0;
        for _ in 0..20 * round {
            flushed += grant(&mut client, &line).unwrap();
        }
        eventually("a buffer that is flushed", || {
            let empty = ["aof_pending_bio_fsync", "aof_buffer_length"];
            empty
                .iter()
                .all(|field| info(&mut client, field).unwrap() == "0")
                .then_some(())
        });
        let mut acknowledged = flushed;
        for _ in 0..50 {
            acknowledged += grant(&mut client, &line).unwrap();
        }
        server.restart();
        let used = used(&mut server.connect(), &format!("k{round}"));
        assert!(
            (flushed..=acknowledged).contains(&used),
            "{flushed} {used} {acknowledged}"
        );
    }
}

#[test]
fn an_aof_rewritten_under_load_brings_every_key_back() {
    for preamble in ["yes", "no"] {
        let mut server = setup("everysec", preamble).start();
        let traffic = Traffic::start(&server);
        let mut client = server.connect();
        for _ in 0..3 {
            traffic.go_on_for(300);
            rewrite(&mut client);
        }
        traffic.go_on_for(300);
        traffic.stop();
        // Several parts: what was rewritten, and what was appended since.
        let names = files(&server);
        let base = if preamble == "yes" {
            ".base.rdb"
        } else {
            ".base.aof"
        };
        for part in [base, ".incr.aof", ".manifest"] {
            assert!(names.iter().any(|name| name.ends_with(part)), "{names:?}");
        }
        let expected = contents(&mut client);
        server.restart();
        assert!(
            contents(&mut server.connect()) == expected,
            "preamble {preamble}"
        );
    }
}

#[test]
fn an_aof_loads_without_the_module_and_back() {
    let mut server = setup("always", "no").start();
    let traffic = Traffic::start(&server);
    traffic.go_on_for(500);
    rewrite(&mut server.connect());
    traffic.go_on_for(500);
    traffic.stop();
    let expected = contents(&mut server.connect());
    server.kill();

    let without = setup("always", "no").without_module();
    copy(
        &server.dir().join("appendonlydir"),
        &without.dir().join("appendonlydir"),
    );
    let mut without = without.start();
    let mut client = without.connect();
    assert!(contents(&mut client) == expected, "without the module");
    rewrite(&mut client);
    without.kill();

    let back = setup("always", "no");
    copy(
        &without.dir().join("appendonlydir"),
        &back.dir().join("appendonlydir"),
    );
    let back = back.start();
    let mut client = back.connect();
    assert!(contents(&mut client) == expected, "back");
    for key in expected.keys() {
        client.ask(&format!("RL.INFO {key}"));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn what_has_ended_while_the_server_was_down_is_gone_and_the_rest_goes_on() {
    let (mut server, clock) = Clock::start_with(setup("always", "yes"));
    let mut client = server.connect();
    client.decide("RL.CHECK over 2 60 COST 2");
    client.decide("RL.CHECK going_on 2 1h COST 2");
    client.decide("RL.GCRA bucket 10 600 COST 10");
    client.decide("RL.CHECK blocked 1 60 BLOCK 1h");
    client.decide("RL.CHECK blocked 1 60 BLOCK 1h");
    server.kill();
    clock.advance(Duration::from_secs(90));
    server.restart();
    let mut client = server.connect();
    assert_eq!(client.ask("EXISTS over"), Value::Int(0));
    assert_eq!(
        client.decide("RL.CHECK going_on 2 1h"),
        [0, 2, 0, 3_510_000, 3_510_000]
    );
    assert_eq!(
        client.decide("RL.GCRA bucket 10 600"),
        [1, 10, 0, 0, 570_000]
    );
    assert_eq!(
        client.decide("RL.CHECK blocked 1 60"),
        [0, 1, 1, 3_510_000, 3_510_000]
    );
}
