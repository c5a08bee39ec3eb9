//! Replicas hold what the primary decided, byte for byte, with the module and without it.

use std::time::Duration;

use crate::harness::clock::Clock;
use crate::harness::nodes::{Node, free_port, info};
use crate::harness::traffic::{Traffic, contents};
use crate::harness::{Ask, Server, Setup, eventually};
use redis::Value;

/// Waits until a replica has all that its primary has sent.
fn wait_until_caught_up(primary: &Server, replica: &Server) {
    let sent = offset(primary);
    let mut client = replica.connect();
    eventually("a replica that has caught up", || {
        let got: u64 = info(&mut client, "slave_repl_offset")?.parse().unwrap();
        (got >= sent).then_some(())
    });
}

fn offset(server: &Server) -> u64 {
    let offset = info(&mut server.connect(), "master_repl_offset").unwrap();
    offset.parse().unwrap()
}

fn assert_same(primary: &Server, replica: &Server, what: &str) {
    let expected = contents(&mut primary.connect());
    assert!(expected.len() > 5, "{} keys", expected.len());
    assert!(contents(&mut replica.connect()) == expected, "{what}");
}

#[test]
fn replicas_hold_the_same_bytes_and_expiries_after_any_traffic() {
    let primary = Node::start();
    let traffic = Traffic::start(&primary);
    traffic.go_on_for(500);
    // The initial synchronisation of each happens under load.
    let with_module = Node::replica_of(&primary);
    let without_module = Node::replica_with(&primary, || Setup::new().without_module());
    let chained = Node::replica_of(&with_module);
    traffic.go_on_for(3_000);
    traffic.stop();
    for (replica, what) in [
        (&with_module, "a replica with the module"),
        (&without_module, "a replica without the module"),
        (&chained, "a replica of a replica"),
    ] {
        wait_until_caught_up(&primary, replica);
        assert_same(&primary, replica, what);
    }
}

#[test]
fn a_replica_that_loses_its_connection_under_load_ends_up_with_the_same_bytes() {
    let primary = Node::start_with(|| Setup::new().arguments(["--repl-backlog-size", "16mb"]));
    let replica = Node::replica_of(&primary);
    let traffic = Traffic::start(&primary);
    let mut client = primary.connect();
    for _ in 0..5 {
        traffic.go_on_for(300);
        client.ask("CLIENT KILL TYPE replica");
        // It asks again once a second; meanwhile the traffic goes on.
        eventually("a replica that is back", || {
            (info(&mut client, "connected_slaves")? == "1").then_some(())
        });
        replica.wait_for_link();
    }
    traffic.stop();
    assert_ne!(info(&mut client, "sync_partial_ok").unwrap(), "0");
    wait_until_caught_up(&primary, &replica);
    assert_same(&primary, &replica, "after partial synchronisations");
}

/// A primary and a replica of one time, which stands still.
fn at_one_time() -> (Server, Node, Clock) {
    let (primary, clock) = Clock::start_with(Setup::new().arguments(["--bind", "127.0.0.1"]));
    let mut client = primary.connect();
    client.ask("CONFIG SET repl-diskless-sync-delay 0");
    let port = eventually("a port that is free", || {
        let port = free_port().to_string();
        let set: [&[u8]; 4] = [b"CONFIG", b"SET", b"port", port.as_bytes()];
        client.ask_bytes(&set).ok().map(|_| port)
    });
    let replica = Node::start_with(|| {
        Setup::new()
            .environment("LD_PRELOAD", &primary.dir().join("clock.so"))
            .environment("TEST_CLOCK", &primary.dir().join("time"))
    });
    replica
        .connect()
        .ask(&format!("REPLICAOF 127.0.0.1 {port}"));
    replica.wait_for_link();
    (primary, replica, clock)
}

#[test]
fn peek_and_info_on_a_replica_answer_as_on_the_primary() {
    let (primary, replica, clock) = at_one_time();
    let mut client = primary.connect();
    let mut reader = replica.connect();
    for line in [
        "RL.CHECK one 5 60",
        "RL.CHECK one 5 60 COST 2",
        "RL.CHECK several 5 60 9 1h",
        "RL.CHECK changed 5 60",
        "RL.CHECK changed 7 90",
        "RL.CHECK debt 5 60 COST 9 FORCE",
        "RL.CHECK blocked 1 60",
        "RL.CHECK blocked 1 60 BLOCK 5m",
        "RL.GCRA bucket 10 60 BURST 20 COST 7",
        "RL.GCRA bucket_blocked 1 60",
        "RL.GCRA bucket_blocked 1 60 BLOCK 5m",
        "CL.THROTTLE throttle 15 30 60",
        "RL.MCHECK 2 {m}1 {m}2 5 60 9 1h",
        "RL.CHECK refunded 5 60 COST 3",
        "RL.REFUND refunded 1",
        "RL.CHECK reset 5 60",
        "RL.RESET reset",
    ] {
        client.ask(line);
        clock.advance_millis(7);
    }
    let keys = "one several changed debt blocked bucket bucket_blocked throttle {m}1 {m}2 refunded reset nothing";
    for wait in [0, 1_500, 58_000, 250_000, 4_000_000] {
        clock.advance(Duration::from_millis(wait));
        wait_until_caught_up(&primary, &replica);
        for key in keys.split(' ') {
            for look in ["RL.PEEK", "RL.INFO"] {
                let line = format!("{look} {key}");
                assert_eq!(reader.ask(&line), client.ask(&line), "{line}");
            }
        }
    }
    // In the end everything is over, here as there.
    assert_eq!(reader.ask("RL.INFO several"), Value::Nil);
}

#[test]
fn a_replica_decides_nothing() {
    let primary = Node::start();
    let replica = Node::replica_of(&primary);
    let mut client = primary.connect();
    client.decide("RL.CHECK c 1 1h");
    client.decide("RL.GCRA g 1 1h");
    wait_until_caught_up(&primary, &replica);
    let mut reader = replica.connect();
    for line in [
        "RL.CHECK c 1 1h",
        "RL.CHECK c 1 1h COST 2",
        "RL.GCRA g 1 1h",
        "RL.MCHECK 1 c 1 1h",
        "RL.REFUND c 1",
        "RL.RESET c",
        "CL.THROTTLE g 1 1 60",
        "CL.THROTTLE g 1 1 60 0",
    ] {
        let error = reader.refused(line);
        assert!(error.starts_with("READONLY "), "{line}: {error}");
    }
    assert_eq!(reader.decide("RL.PEEK c")[2], 0);
    assert!(reader.ask("RL.INFO g") != Value::Nil);
    reader.ask("RL.TOP");
    assert_eq!(
        contents(&mut reader),
        contents(&mut primary.connect()),
        "nothing has changed"
    );
}

#[test]
fn a_replica_without_the_module_hands_its_data_on_to_one_with_it() {
    let primary = Node::start();
    let between = Node::replica_with(&primary, || Setup::new().without_module());
    let last = Node::replica_of(&between);
    let mut client = primary.connect();
    client.decide("RL.CHECK c 5 1h");
    client.decide("RL.GCRA g 5 1h COST 4");
    wait_until_caught_up(&primary, &between);
    wait_until_caught_up(&between, &last);
    let mut client = last.connect();
    assert_eq!(client.decide("RL.PEEK c")[2], 4);
    client.ask("REPLICAOF NO ONE");
    assert_eq!(client.decide("RL.CHECK c 5 1h COST 5")[0], 0);
    assert_eq!(client.decide("RL.CHECK c 5 1h COST 4")[0], 4);
    assert_eq!(client.decide("RL.GCRA g 5 1h COST 2")[0], 0);
}
