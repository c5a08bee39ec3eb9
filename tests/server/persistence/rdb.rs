//! Snapshots: limiters survive them to the byte, and the traffic of limiters alone is a reason to make one.

use std::fs;
use std::time::Duration;

use crate::harness::clock::Clock;
use crate::harness::nodes::info;
use crate::harness::traffic::{Traffic, contents};
use crate::harness::{Ask, Server, Setup, eventually};
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
