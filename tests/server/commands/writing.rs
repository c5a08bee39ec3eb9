//! What is written, replicated and signalled: one `SET` with an expiry for a grant, and nothing for a denial or a look.

use std::time::Duration;

use crate::harness::clock::Clock;
use crate::harness::{Ask, Server, Setup, aof, aof_bytes};
use redis::{Connection, Value};

fn with_aof() -> Setup {
    Setup::new().arguments(["--appendonly", "yes", "--appendfsync", "always"])
}

/// Everything that a write would change: bytes, expiry, the AOF, the count of changes since the last save.
fn written(server: &Server, client: &mut Connection) -> (Vec<Value>, String, String) {
    let Value::Array(keys) = client.ask("KEYS *") else {
        panic!("no keys");
    };
    let mut names: Vec<String> = keys
        .into_iter()
        .map(|key| redis::from_redis_value(key).unwrap())
        .collect();
    names.sort();
    let state = names
        .iter()
        .flat_map(|key| ["DUMP", "PEXPIRETIME"].map(|command| format!("{command} {key}")))
        .map(|line| client.ask(&line))
        .collect();
    (
        state,
        aof(server),
        info(client, "rdb_changes_since_last_save"),
    )
}

fn info(client: &mut Connection, field: &str) -> String {
    let text: String = redis::from_redis_value(client.ask("INFO")).unwrap();
    text.lines()
        .find_map(|line| line.strip_prefix(&format!("{field}:")))
        .unwrap_or_else(|| panic!("no {field}"))
        .to_owned()
}

fn bytes(value: Value) -> Vec<u8> {
    match value {
        Value::BulkString(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

fn integer(value: Value) -> i64 {
    redis::from_redis_value(value).unwrap()
}

#[test]
fn a_grant_is_replicated_as_one_set_with_the_state_and_its_expiry() {
    let (server, _clock) = Clock::start_with(with_aof());
    let mut client = server.connect();
    for line in ["RL.CHECK k 5 60", "RL.GCRA g 5 60 BURST 9 COST 2"] {
        let key = line.split(' ').nth(1).unwrap();
        let before = aof_bytes(&server).len();
        client.decide(line);
        let state = bytes(client.ask(&format!("GET {key}")));
        let expiry = integer(client.ask(&format!("PEXPIRETIME {key}")));
        let mut expected =
            format!("*5\r\n$3\r\nSET\r\n$1\r\n{key}\r\n${}\r\n", state.len()).into_bytes();
        expected.extend(&state);
        expected.extend(format!("\r\n$4\r\nPXAT\r\n$13\r\n{expiry}\r\n").bytes());
        let mut appended = aof_bytes(&server)[before..].to_vec();
        if let Some(rest) = appended.strip_prefix(b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n") {
            appended = rest.to_vec();
        }
        assert_eq!(appended, expected, "{line}");
    }
}

#[test]
fn a_denial_writes_nothing() {
    let (server, clock) = Clock::start_with(with_aof());
    let mut client = server.connect();
    client.decide("RL.CHECK c 2 60 COST 2");
    client.decide("RL.CHECK several 2 60 9 1h COST 2");
    client.decide("RL.CHECK blocked 1 60 BLOCK 1h");
    client.decide("RL.CHECK blocked 1 60 BLOCK 1h");
    client.decide("RL.GCRA g 2 60 COST 2");
    clock.advance_millis(1_000);
    let before = written(&server, &mut client);
    for line in [
        "RL.CHECK c 2 60",
        "RL.CHECK c 2 60 COST 2",
        "RL.CHECK c 2 60 ATMOST",
        "RL.CHECK several 2 60 9 1h",
        "RL.CHECK blocked 1 60 BLOCK 1h",
        "RL.CHECK blocked 1 60",
        "RL.CHECK blocked 1 60 FORCE",
        "RL.GCRA g 2 60",
        "RL.GCRA g 2 60 ATMOST",
        // Never possible: not even other parameters are stored, nor a block.
        "RL.CHECK c 1 60 COST 2",
        "RL.CHECK c 1 60 COST 2 BLOCK 1h",
        "RL.CHECK c 9 30 COST 10",
        "RL.GCRA g 1 60 COST 2",
        "RL.CHECK nothing 1 60 COST 2",
        "RL.GCRA nothing 1 60 COST 2 BLOCK 1h",
    ] {
        assert_eq!(client.decide(line)[0], 0, "{line}");
        assert!(written(&server, &mut client) == before, "{line}");
    }
    for line in [
        "RL.MCHECK 2 nothing c 5 60 2 60",
        "RL.MCHECK 2 blocked nothing 1 60 5 60",
        // Never possible: not even what the other key is asked for is stored.
        "RL.MCHECK 2 c nothing 9 30 1 60 COST 2",
        "CL.THROTTLE g 1 2 60",
        "CL.THROTTLE g 1 2 60 3",
        "CL.THROTTLE nothing 0 1 60 2",
    ] {
        client.ask(line);
        assert!(written(&server, &mut client) == before, "{line}");
    }
}

#[test]
fn a_look_writes_nothing() {
    let (server, clock) = Clock::start_with(with_aof());
    let mut client = server.connect();
    client.decide("RL.CHECK c 2 60");
    client.decide("RL.GCRA g 2 60");
    let before = written(&server, &mut client);
    // Neither later nor earlier, after a step back of the clock.
    clock.advance_millis(1_000);
    for step_back in [0, 3_600] {
        clock.step_back(Duration::from_secs(step_back));
        for line in [
            "RL.PEEK c",
            "RL.PEEK c COST 3",
            "RL.PEEK g",
            "RL.PEEK nothing",
            "RL.INFO c",
            "RL.INFO g",
            "RL.TOP",
            "CL.THROTTLE g 1 2 60 0",
            "CL.THROTTLE g 9 2 60 0",
            "RL.REFUND nothing 1",
        ] {
            client.ask(line);
            assert!(written(&server, &mut client) == before, "{line}");
        }
    }
}

#[test]
fn a_denial_that_steps_back_or_blocks_is_stored_once() {
    let (server, clock) = Clock::start_with(with_aof());
    let mut client = server.connect();
    client.decide("RL.CHECK c 2 60 COST 2");
    client.decide("RL.GCRA g 2 60 COST 2");
    client.decide("RL.CHECK m 2 60 COST 2");
    for (step_back, line) in [
        (0, "RL.CHECK c 2 60 BLOCK 5m"),
        (0, "RL.GCRA g 2 60 BLOCK 5m"),
        (1, "RL.CHECK c 2 60"),
        (1, "RL.GCRA g 2 60 ATMOST"),
        (1, "RL.MCHECK 2 m nothing 2 60 5 60"),
    ] {
        clock.step_back(Duration::from_secs(step_back));
        let before = written(&server, &mut client);
        client.ask(line);
        let after = written(&server, &mut client);
        assert!(after != before, "{line}");
        assert_eq!(
            after.1.matches("SET").count(),
            before.1.matches("SET").count() + 1,
            "{line}"
        );
        client.ask(line);
        assert!(written(&server, &mut client) == after, "{line}");
    }
}

#[test]
fn a_denial_with_other_parameters_stores_them_and_consumes_nothing() {
    let (server, clock) = Clock::start_with(with_aof());
    let mut client = server.connect();
    client.decide("RL.CHECK c 2 60 COST 2");
    client.decide("RL.GCRA g 2 60 COST 2");
    clock.advance_millis(1_000);
    for (line, again) in [
        ("RL.CHECK c 1 60", [0, 1, 0, 59_000, 59_000]),
        ("RL.CHECK c 1 90", [0, 1, 0, 89_000, 89_000]),
        ("RL.GCRA g 2 120 BURST 1", [0, 1, 0, 59_000, 59_000]),
        // Seconds: limited, one at once, none left, a minute.
        ("CL.THROTTLE g 0 1 60", [1, 1, 0, 59, 59]),
    ] {
        let before = written(&server, &mut client);
        assert_eq!(client.decide(line), again, "{line}");
        let after = written(&server, &mut client);
        assert!(after != before, "{line}");
        assert_eq!(client.decide(line), again, "{line}");
        assert!(written(&server, &mut client) == after, "{line}");
    }
}

#[test]
fn every_grant_counts_as_a_change_to_be_saved() {
    let server = Server::start();
    let mut client = server.connect();
    for changes in 1..4 {
        client.decide("RL.CHECK k 9 60");
        assert_eq!(
            info(&mut client, "rdb_changes_since_last_save"),
            changes.to_string()
        );
    }
}

#[test]
fn watch_sees_a_grant_and_does_not_see_a_denial_or_a_look() {
    let server = Server::start();
    let mut client = server.connect();
    let mut other = server.connect();
    let mut transaction = |client: &mut Connection, line: &str| {
        client.ask("WATCH k");
        other.ask(line);
        client.ask("MULTI");
        client.ask("PING");
        client.ask("EXEC")
    };
    assert_eq!(transaction(&mut client, "RL.CHECK k 1 1h"), Value::Nil);
    for line in [
        "RL.CHECK k 1 1h",
        "RL.PEEK k",
        "RL.INFO k",
        "RL.CHECK k 1 1h COST 2",
        "RL.MCHECK 2 other k 5 1h 1 1h",
    ] {
        assert_ne!(transaction(&mut client, line), Value::Nil, "{line}");
    }
    assert_eq!(transaction(&mut client, "RL.CHECK k 2 1h"), Value::Nil);
    assert_eq!(transaction(&mut client, "RL.REFUND k 1"), Value::Nil);
    assert_eq!(
        transaction(&mut client, "RL.MCHECK 2 other k 5 1h 2 1h"),
        Value::Nil
    );
    assert_eq!(transaction(&mut client, "RL.RESET k"), Value::Nil);
}

#[test]
fn every_key_expires_when_its_state_no_longer_matters() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    clock.advance(Duration::from_micros(1));
    let start = i64::try_from(clock.now().as_millis()).unwrap();
    for (line, lifetime) in [
        // Rounded up to a millisecond.
        ("RL.CHECK a 5 60", 60_001),
        ("RL.CHECK b 5 10 50 1h 7 60", 3_600_001),
        ("RL.CHECK c 5 1ms", 2),
        ("RL.GCRA d 10 60", 6_001),
        ("RL.GCRA e 3 1s", 334),
        ("RL.GCRA f 1 1s BURST 5 COST 5", 5_001),
        ("RL.GCRA g 1 1s BURST 5 COST 9 FORCE", 9_001),
    ] {
        client.decide(line);
        let key = line.split(' ').nth(1).unwrap();
        let expiry = integer(client.ask(&format!("PEXPIRETIME {key}")));
        assert_eq!(expiry - start, lifetime, "{line}");
    }
    // A block outlasts the window, and a window outlasts a block.
    for (line, lifetime) in [
        ("RL.CHECK h 1 60 BLOCK 5m", 300_001),
        ("RL.CHECK i 1 5m BLOCK 60", 300_001),
    ] {
        client.decide(line);
        assert_eq!(client.decide(line)[0], 0);
        let key = line.split(' ').nth(1).unwrap();
        let expiry = integer(client.ask(&format!("PEXPIRETIME {key}")));
        assert_eq!(expiry - start, lifetime, "{line}");
    }
}

#[test]
fn the_next_grant_corrects_an_expiry_that_a_user_has_changed() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.CHECK k 9 60");
    for meddle in ["PERSIST k", "EXPIRE k 100000", "EXPIRE k 5"] {
        client.ask(meddle);
        client.decide("RL.CHECK k 9 60");
        assert_eq!(integer(client.ask("PTTL k")), 60_000, "{meddle}");
    }
}

#[test]
fn the_state_is_small_and_bounded() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    // One admission of 5 a minute; ten; a minute's worth at a limit of 1,000; GCRA.
    client.decide("RL.CHECK once 5 60");
    for _ in 0..1_000 {
        client.decide("RL.CHECK ten 10 60");
        client.decide("RL.CHECK busy 1000 60");
        client.decide("RL.GCRA g 10 60");
        clock.advance_millis(50);
    }
    for (key, len) in [("once", 21), ("ten", 66), ("busy", 182), ("g", 22)] {
        assert_eq!(integer(client.ask(&format!("STRLEN {key}"))), len, "{key}");
    }
}

#[test]
fn replicas_get_the_state_if_set_has_been_renamed() {
    let server = with_aof()
        .arguments(["--rename-command", "SET", "", "--rename-command", "DEL", ""])
        .start();
    let mut client = server.connect();
    assert_eq!(client.decide("RL.CHECK k 1 1h")[0], 1);
    assert_eq!(client.decide("RL.CHECK k 1 1h")[0], 0);
    // The request itself is replicated instead.
    assert_eq!(aof(&server).matches("RL.CHECK").count(), 1);
    client.ask("RL.RESET k");
    assert_eq!(aof(&server).matches("RL.RESET").count(), 1);
    // Once, however many keys it is about.
    client.ask("RL.MCHECK 3 a b c 5 1h 5 1h 5 1h");
    assert_eq!(aof(&server).matches("RL.MCHECK").count(), 1);
    client.ask("RL.RESET a b c");
    assert_eq!(aof(&server).matches("RL.RESET").count(), 2);
}

#[test]
fn limits_survive_kill_9_to_the_millisecond() {
    let (mut server, clock) = Clock::start_with(with_aof());
    let mut client = server.connect();
    client.decide("RL.CHECK c 2 60 COST 2");
    client.decide("RL.GCRA g 10 60 COST 10");
    clock.advance_millis(700);
    server.restart();
    let mut client = server.connect();
    assert_eq!(client.decide("RL.CHECK c 2 60"), [0, 2, 0, 59_300, 59_300]);
    assert_eq!(client.decide("RL.GCRA g 10 60"), [0, 10, 0, 5_300, 59_300]);
}
