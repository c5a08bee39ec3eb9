//! Another module that hears what happens to keys, and writes keys while it does: those of the call that made it happen,
//! too.
//!
//! What such a module may do at all is up to the server: if it writes the key itself that has expired, or deletes the one
//! that is new, then a plain `SET` of that key ends the server.

use std::time::Duration;

use redis::{Connection, Value};

use crate::harness::clock::Clock;
use crate::harness::nodes::Node;
use crate::harness::traffic::any_write;
use crate::harness::{Ask, Setup, eventually, everything, other_module, random};

/// With the other module.
fn with_writer(setup: Setup) -> Setup {
    let writer = other_module(setup.dir(), "writer.c");
    setup
        .arguments(["--loadmodule", writer.to_str().unwrap()])
        .arguments(["--enable-debug-command", "yes"])
}

/// Has the other module carry out `line` at the next events, so many times; how often it has written by its last order.
fn write_on(client: &mut Connection, times: u32, event: &str, line: &str) -> i64 {
    match client.ask(&format!("WRITER.ON {times} {event} {line}")) {
        Value::Int(done) => done,
        other => panic!("{other:?}"),
    }
}

/// How often it has written. It does so no longer.
fn written(client: &mut Connection) -> i64 {
    write_on(client, 0, "nothing", "PING")
}

fn answer(client: &mut Connection, line: &str) -> Result<Value, String> {
    client.ask_bytes(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>())
}

/// What remains by the rows of an answer.
fn remaining(rows: Value) -> Vec<i64> {
    let rows: Vec<[i64; 5]> = redis::from_redis_value(rows).unwrap();
    rows.into_iter().map(|row| row[2]).collect()
}

/// What remains of limiters; nothing if that is no limiter in use.
fn left(client: &mut Connection, keys: &[&str]) -> Vec<Option<i64>> {
    let look = |key: &&str| match answer(client, &format!("RL.PEEK {key}")) {
        Ok(Value::Array(row)) => redis::from_redis_value(row[2].clone()).ok(),
        _ => None,
    };
    keys.iter().map(look).collect()
}

/// Asks for `a` and `b`, of which 3 units can be granted. One of `a` is in use, and one of `b` was until it expired, which
/// this call finds out: the other module hears of it, and writes. What remains by the answer, and then by both.
fn asked_while_b_expires(write: &str) -> (Result<Vec<i64>, String>, Vec<Option<i64>>) {
    let setup = with_writer(Setup::new()).arguments(["--appendonly", "yes"]);
    let (server, clock) = Clock::start_with(setup);
    let mut client = server.connect();
    // The server would find out by itself.
    client.ask("DEBUG SET-ACTIVE-EXPIRE 0");
    client.decide("RL.CHECK a 3 1h");
    client.decide("RL.CHECK b 3 1s");
    clock.advance(Duration::from_secs(2));
    write_on(&mut client, 1, "expired", write);
    let answer = answer(&mut client, "RL.MCHECK 2 a b 3 1h 3 1h");
    assert_eq!(written(&mut client), 1, "{write}");
    let left = left(&mut client, &["a", "b"]);
    // What was replicated leads to the same.
    let before = everything(&mut client);
    client.ask("DEBUG LOADAOF");
    assert_eq!(everything(&mut client), before, "{write}");
    (answer.map(remaining), left)
}

#[test]
fn what_another_module_writes_when_a_key_of_the_call_expires_is_decided_upon() {
    for (write, a, b) in [
        // The other key: deleted, charged, written in vain, moved away.
        ("DEL a", 2, 2),
        ("UNLINK a", 2, 2),
        ("RL.RESET a", 2, 2),
        ("RL.REFUND a 1", 2, 2),
        ("RL.CHECK a 3 1h", 0, 2),
        ("RL.MCHECK 2 a c 3 1h 3 1h", 0, 2),
        ("RL.GCRA a 3 1h", 1, 2),
        ("LPUSH a x", 1, 2),
        ("RENAME a c", 2, 2),
        ("FLUSHALL", 2, 2),
        // Neither.
        ("SET c x", 1, 2),
    ] {
        let (answer, left) = asked_while_b_expires(write);
        assert_eq!(answer, Ok(vec![a, b]), "{write}");
        assert_eq!(left, [Some(a), Some(b)], "{write}");
    }
    // It is no limiter any more, so neither key is charged.
    for write in ["SET a x", "APPEND a x", "SETRANGE a 0 x"] {
        let (answer, left) = asked_while_b_expires(write);
        assert!(answer.unwrap_err().starts_with("WRONGTYPE "), "{write}");
        assert_eq!(left, [None, None], "{write}");
    }
    // It is used up.
    let (answer, left) = asked_while_b_expires("RL.CHECK a 3 1h COST 2");
    assert_eq!((answer, left), (Ok(vec![0, 3]), vec![Some(0), None]));
}

#[test]
fn what_another_module_writes_when_a_key_of_the_call_is_new_ends_no_server() {
    for write in [
        "DEL a",
        "RL.RESET a",
        "RL.CHECK a 3 1h",
        "SET a x",
        "SET a x PX 1",
        "APPEND a x",
        "RENAME a c",
    ] {
        let (server, _clock) = Clock::start_with(with_writer(Setup::new()));
        let mut client = server.connect();
        client.decide("RL.CHECK a 3 1h");
        write_on(&mut client, 1, "new", write);
        let answer = remaining(client.ask("RL.MCHECK 2 b a 3 1h 3 1h"));
        assert_eq!(written(&mut client), 1, "{write}");
        // All has been decided then, and `a` is charged afterwards.
        assert_eq!(answer, [2, 1], "{write}");
        assert_eq!(
            left(&mut client, &["a", "b"]),
            [Some(1), Some(2)],
            "{write}"
        );
    }
}

#[test]
fn what_another_module_writes_when_a_key_is_denied_or_deleted_is_there_for_the_next_call() {
    let (server, _clock) = Clock::start_with(with_writer(Setup::new()));
    let mut client = server.connect();
    // A denial is known when it is heard of, so the next call meets what was written.
    client.decide("RL.CHECK k 1 1h");
    for (write, next) in [
        ("RL.RESET KEY", Ok(1)),
        ("RL.REFUND KEY 1", Ok(1)),
        ("DEL KEY", Ok(1)),
        ("RL.CHECK KEY 1 1h", Ok(0)),
        ("RL.MCHECK 2 KEY other 1 1h 1 1h", Ok(0)),
        ("RENAME KEY other", Ok(1)),
        ("PEXPIRE KEY 1", Ok(0)),
        ("SET KEY x", Err("WRONGTYPE")),
    ] {
        write_on(&mut client, 1, "rl.denied", write);
        assert_eq!(client.decide("RL.CHECK k 1 1h")[..3], [0, 1, 0], "{write}");
        assert_eq!(written(&mut client), 1, "{write}");
        match (answer(&mut client, "RL.CHECK k 1 1h"), next) {
            (Ok(row), Ok(granted)) => {
                let row: [i64; 5] = redis::from_redis_value(row).unwrap();
                assert_eq!(row[0], granted, "{write}");
            }
            (Err(error), Err(code)) => assert!(error.starts_with(code), "{write}: {error}"),
            (answer, _) => panic!("{write}: {answer:?}"),
        }
    }
    // What is given back or reset is gone when that is heard of: what is written then stays.
    for line in ["RL.RESET k", "RL.REFUND k 1"] {
        for write in [
            "SET KEY x",
            "RL.CHECK KEY 5 1h",
            "RL.GCRA KEY 5 1h",
            "LPUSH KEY x",
        ] {
            client.ask("DEL k");
            client.decide("RL.CHECK k 3 1h");
            write_on(&mut client, 1, "del", write);
            client.ask(line);
            assert_eq!(written(&mut client), 1, "{line}, {write}");
            assert_eq!(client.ask("EXISTS k"), Value::Int(1), "{line}, {write}");
        }
    }
    // The next ones of a reset are reset all the same.
    for key in ["a", "b", "c"] {
        client.decide(&format!("RL.CHECK {key} 3 1h"));
    }
    write_on(&mut client, 1, "del", "RL.CHECK c 3 1h");
    assert_eq!(client.ask("RL.RESET a b c"), Value::Int(3));
    assert_eq!(left(&mut client, &["a", "b", "c"]), [None, None, None]);
}

#[test]
fn a_replica_has_the_same_bytes_though_another_module_writes_at_every_event() {
    let primary = Node::start_with(|| with_writer(Setup::new()));
    let replica = Node::replica_of(&primary);
    let mut client = primary.connect();
    let mut random = random::generator();
    let room = |client: &mut Connection, bytes: u64| {
        client.ask("CONFIG SET maxmemory-policy allkeys-random");
        client.ask(&format!("CONFIG SET maxmemory {bytes}"));
    };
    for event in ["expired", "rl.denied", "del", "evicted"] {
        for write in [
            "RL.CHECK s:1 40 1h",
            "RL.GCRA g:2 40 1h FORCE",
            "RL.MCHECK 2 s:1 s:2 40 1h 40 1h FORCE",
            "RL.REFUND s:3 1",
            "RL.RESET s:1 g:2 several:3",
            "DEL s:4 s:5",
            "SET s:6 x PX 20",
            "LPUSH g:7 x",
            "RENAME s:8 s:9",
            "PEXPIRE several:1 5",
        ] {
            written(&mut client);
            let mut times = 0;
            eventually("some writes of the other module", || {
                times += write_on(&mut client, u32::MAX, event, write);
                for _ in 0..30 {
                    let line = any_write(&mut random);
                    if let Err(error) = answer(&mut client, &line) {
                        assert!(error.starts_with("WRONGTYPE "), "{line}: {error}");
                    }
                }
                if event == "evicted" {
                    // What this one needs has to be evicted; afterwards there is room again.
                    room(&mut client, 1);
                    let _ = answer(&mut client, "RL.CHECK s:10 40 1h");
                    room(&mut client, 0);
                }
                (times >= 5).then_some(())
            });
        }
    }
    written(&mut client);
    for _ in 0..200 {
        let _ = answer(&mut client, &any_write(&mut random));
    }
    assert_eq!(client.ask("WAIT 1 0"), Value::Int(1));
    let lasting = |client: &mut Connection| {
        let mut all = everything(client);
        all.retain(|(key, ..)| !key.starts_with("short:"));
        all
    };
    let mut reader = replica.connect();
    // Some were given only milliseconds to live.
    eventually("the same bytes", || {
        let expected = lasting(&mut client);
        assert!(expected.len() > 3);
        (lasting(&mut reader) == expected).then_some(())
    });
}
