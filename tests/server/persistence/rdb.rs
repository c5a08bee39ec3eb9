//! Snapshots: limiters survive them to the byte, and the traffic of limiters alone is a reason to make one.

use std::fs;
use std::time::Duration;

use crate::harness::clock::Clock;
use crate::harness::nodes::{Node, info};
use crate::harness::traffic::{Traffic, contents};
use crate::harness::{Ask, Server, Setup, eventually, everything};
use redis::{Connection, Value};

/// A server that has seen traffic of every kind, and what it holds.
fn busy(setup: Setup) -> (Server, Contents) {
    let server = setup.start();
    let traffic = Traffic::start(&server);
    traffic.go_on_for(1_000);
    traffic.stop();
    let contents = contents(&mut server.connect());
    assert!(contents.len() > 5, "{} keys", contents.len());
    (server, contents)
}

type Contents = std::collections::BTreeMap<String, (Vec<u8>, i64)>;

/// Orders a snapshot in the background, and waits until it is done.
fn bgsave(client: &mut Connection) {
    client.ask("BGSAVE");
    eventually("a snapshot that is made", || {
        (info(client, "rdb_bgsave_in_progress").unwrap() == "0").then_some(())
    });
    assert_eq!(info(client, "rdb_last_bgsave_status").unwrap(), "ok");
}

/// Ends the server as an administrator does, and starts it again.
fn shut_down(server: &mut Server, line: &str) {
    // It ends before it answers.
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let _ = server.connect().ask_bytes(&words);
    eventually("the end of the server", || {
        (!server.is_alive()).then_some(())
    });
    server.restart();
}

#[test]
fn every_key_survives_save_and_kill_9() {
    let (mut server, expected) = busy(Setup::new());
    server.connect().ask("SAVE");
    server.restart();
    assert!(contents(&mut server.connect()) == expected);
}

#[test]
fn every_key_survives_bgsave_and_kill_9() {
    let (mut server, expected) = busy(Setup::new());
    bgsave(&mut server.connect());
    server.restart();
    assert!(contents(&mut server.connect()) == expected);
}

#[test]
fn every_key_survives_debug_reload() {
    let (server, expected) = busy(Setup::new().arguments(["--enable-debug-command", "yes"]));
    let mut client = server.connect();
    client.ask("DEBUG RELOAD");
    assert!(contents(&mut client) == expected);
}

#[test]
fn every_key_survives_a_shutdown_with_save() {
    let (mut server, expected) = busy(Setup::new());
    shut_down(&mut server, "SHUTDOWN SAVE");
    assert!(contents(&mut server.connect()) == expected);
}

#[test]
fn a_snapshot_under_load_holds_all_that_was_granted_before_it_began() {
    let mut server = Server::start();
    let traffic = Traffic::start(&server);
    let mut client = server.connect();
    for round in 1..=3 {
        traffic.go_on_for(200);
        for _ in 0..round {
            client.decide("RL.CHECK counted 1000 1h");
        }
        bgsave(&mut client);
        client.decide("RL.CHECK counted 1000 1h");
    }
    server.kill();
    drop(traffic);
    server.restart();
    // The last one came after the last snapshot.
    assert_eq!(
        server.connect().decide("RL.PEEK counted")[2],
        1_000 - (1 + 2 + 3 + 2)
    );
}

#[test]
fn save_points_fire_on_limiter_traffic_alone() {
    let server = Setup::new().arguments(["--save", "1 3"]).start();
    let mut client = server.connect();
    for _ in 0..3 {
        client.decide("RL.CHECK k 3 1h");
    }
    let snapshot = server.dir().join("dump.rdb");
    eventually("a snapshot", || snapshot.exists().then_some(()));
    eventually("no change to save", || {
        (info(&mut client, "rdb_changes_since_last_save").unwrap() == "0").then_some(())
    });
    // Denials and looks are no changes.
    for line in ["RL.CHECK k 3 1h", "RL.PEEK k", "RL.INFO k"] {
        for _ in 0..5 {
            client.ask(line);
        }
    }
    assert_eq!(
        info(&mut client, "rdb_changes_since_last_save").unwrap(),
        "0"
    );
}

#[test]
fn a_snapshot_loads_without_the_module_and_back() {
    let (server, expected) = busy(Setup::new());
    server.connect().ask("SAVE");

    let without = Setup::new().without_module();
    let copy = |from: &Server, to: &Setup| {
        fs::copy(from.dir().join("dump.rdb"), to.dir().join("dump.rdb")).unwrap();
    };
    copy(&server, &without);
    let without = without.start();
    let mut client = without.connect();
    assert!(contents(&mut client) == expected, "without the module");
    client.ask("SAVE");

    let back = Setup::new();
    copy(&without, &back);
    let back = back.start();
    let mut client = back.connect();
    assert!(contents(&mut client) == expected, "back");
    for key in expected.keys() {
        client.ask(&format!("RL.INFO {key}"));
    }
}

#[test]
fn limits_go_on_to_the_millisecond_after_a_restart() {
    let (mut server, clock) = Clock::start_with(Setup::new());
    let mut client = server.connect();
    client.decide("RL.CHECK c 2 60 COST 2");
    client.decide("RL.CHECK over 2 1 COST 2");
    client.decide("RL.GCRA g 10 60 COST 10");
    clock.advance(Duration::from_millis(300));
    client.ask("SAVE");
    clock.advance(Duration::from_millis(900));
    server.restart();
    let mut client = server.connect();
    assert_eq!(client.decide("RL.CHECK c 2 60"), [0, 2, 0, 58_800, 58_800]);
    assert_eq!(client.decide("RL.GCRA g 10 60"), [0, 10, 0, 4_800, 58_800]);
    assert_eq!(client.ask("RL.PEEK over"), Value::Nil);
}

/// Stores limiters, and under `newer` one in a layout of a later release: longer, with a version that this one does not know.
fn with_a_newer_state(client: &mut Connection) {
    for line in [
        "RL.CHECK newer 5 1h COST 2",
        "RL.CHECK c 5 1h COST 2",
        "RL.GCRA g 5 1h COST 2",
    ] {
        client.decide(line);
    }
    let Value::BulkString(mut state) = client.ask("GET newer") else {
        panic!("no state");
    };
    state[2] = 3;
    state.extend([0, 255, 7]);
    client
        .ask_bytes(&[b"SET", b"newer", &state, b"KEEPTTL"])
        .unwrap();
}

/// Every command says what is wrong with that key, and charges nothing; all other limiters go on.
fn assert_only_that_key_is_refused(client: &mut Connection, what: &str) {
    let before = everything(client);
    for line in [
        "RL.CHECK newer 5 1h",
        "RL.CHECK newer 5 1h BLOCK 1h",
        "RL.GCRA newer 5 1h",
        "CL.THROTTLE newer 5 5 60",
        "RL.MCHECK 2 c newer 5 1h 5 1h",
        "RL.MCHECK 2 newer c 5 1h 5 1h",
        "RL.PEEK newer",
        "RL.INFO newer",
        "RL.REFUND newer 1",
        "RL.RESET newer",
        "RL.RESET c newer",
    ] {
        assert_eq!(
            client.refused(line),
            "ERR the key holds a limiter in state version 3: a newer redis-ratelimit is needed, this one reads versions 1 \
             and 2",
            "{what}: {line}"
        );
    }
    assert_eq!(everything(client), before, "{what}");
    assert_eq!(client.decide("RL.PEEK c")[..3], [1, 5, 3], "{what}");
    assert_eq!(client.decide("RL.CHECK another 5 1h")[0], 1, "{what}");
    client.ask("RL.RESET another");
}

#[test]
fn a_state_of_a_newer_version_is_loaded_and_kept_and_only_its_key_is_refused() {
    let mut server = Setup::new()
        .arguments(["--enable-debug-command", "yes"])
        .start();
    let mut client = server.connect();
    with_a_newer_state(&mut client);
    assert_only_that_key_is_refused(&mut client, "before");
    let expected = everything(&mut client);
    client.ask("SAVE");
    client.ask("DEBUG RELOAD");
    assert_eq!(everything(&mut client), expected, "DEBUG RELOAD");
    server.restart();
    let mut client = server.connect();
    assert_eq!(everything(&mut client), expected, "a snapshot");
    assert_only_that_key_is_refused(&mut client, "a snapshot");
    for preamble in ["yes", "no"] {
        let expected = everything(&mut client);
        client.ask("CONFIG SET appendonly no");
        client.ask(&format!("CONFIG SET aof-use-rdb-preamble {preamble}"));
        // Which begins with a whole file.
        client.ask("CONFIG SET appendonly yes");
        eventually("a file that is written", || {
            let fields = ["aof_rewrite_in_progress", "aof_rewrite_scheduled"];
            let done = fields.map(|field| info(&mut client, field).unwrap());
            (done == ["0", "0"]).then_some(())
        });
        client.ask("DEBUG LOADAOF");
        assert_eq!(everything(&mut client), expected, "preamble: {preamble}");
        assert_only_that_key_is_refused(&mut client, preamble);
    }
}

#[test]
fn a_state_of_a_newer_version_is_restored_copied_and_replicated_as_it_is() {
    let primary = Node::start();
    let mut client = primary.connect();
    with_a_newer_state(&mut client);
    let expected = everything(&mut client);
    // The first synchronisation, and what comes after it.
    let replica = Node::replica_of(&primary);
    client.ask("COPY newer copied");
    assert_eq!(client.ask("WAIT 1 0"), Value::Int(1));
    let mut reader = replica.connect();
    assert_eq!(everything(&mut reader), everything(&mut client));
    for look in ["RL.PEEK", "RL.INFO"] {
        for key in ["newer", "copied"] {
            let line = format!("{look} {key}");
            let error = reader.refused(&line);
            assert!(error.starts_with("ERR the key holds a limiter in state version 3"));
            assert_eq!(client.refused(&line), error);
        }
    }
    reader.ask("REPLICAOF NO ONE");
    reader.ask("DEL copied");
    assert_eq!(everything(&mut reader), expected);
    assert_only_that_key_is_refused(&mut reader, "a promoted replica");

    let other = Server::start();
    let mut other = other.connect();
    for key in ["c", "g", "newer"] {
        let Value::BulkString(dump) = client.ask(&format!("DUMP {key}")) else {
            panic!("no dump");
        };
        let Value::Int(expiry) = client.ask(&format!("PEXPIRETIME {key}")) else {
            panic!("no expiry");
        };
        let expiry = expiry.to_string();
        let words: [&[u8]; 5] = [
            b"RESTORE",
            key.as_bytes(),
            expiry.as_bytes(),
            &dump,
            b"ABSTTL",
        ];
        other.ask_bytes(&words).unwrap();
    }
    assert_eq!(everything(&mut other), expected);
    assert_only_that_key_is_refused(&mut other, "RESTORE");
}
