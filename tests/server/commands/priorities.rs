//! `KEEP`: requests of low priority leave units to others.

use crate::harness::clock::Clock;
use crate::harness::{Ask, Server};
use redis::Value;

#[test]
fn a_request_is_granted_only_if_so_many_remain() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    assert_eq!(client.decide("RL.CHECK k 5 60 KEEP 3")[..3], [1, 5, 4]);
    clock.advance_millis(1_000);
    assert_eq!(client.decide("RL.CHECK k 5 60 KEEP 3")[..3], [1, 5, 3]);
    assert_eq!(
        client.decide("RL.CHECK k 5 60 KEEP 3"),
        [0, 5, 3, 59_000, 60_000]
    );
    // Others use the rest.
    assert_eq!(client.decide("RL.CHECK k 5 60 COST 3")[0], 3);
    assert_eq!(
        client.decide("RL.CHECK k 5 60 KEEP 3"),
        [0, 5, 0, 60_000, 60_000]
    );
    clock.advance_millis(59_999);
    assert_eq!(client.decide("RL.CHECK k 5 60 KEEP 3")[0], 0);
    clock.advance_millis(1);
    assert_eq!(client.decide("RL.CHECK k 5 60 KEEP 3")[0], 1);
}

#[test]
fn of_a_bucket_too() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    assert_eq!(
        client.decide("RL.GCRA g 10 1s COST 8 KEEP 2")[..3],
        [8, 10, 2]
    );
    assert_eq!(
        client.decide("RL.GCRA g 10 1s COST 2 KEEP 2"),
        [0, 10, 2, 200, 800]
    );
    clock.advance_millis(199);
    assert_eq!(client.decide("RL.GCRA g 10 1s COST 2 KEEP 2")[3], 1);
    clock.advance_millis(1);
    assert_eq!(
        client.decide("RL.GCRA g 10 1s COST 2 KEEP 2")[..3],
        [2, 10, 2]
    );
}

#[test]
fn in_every_window() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    assert_eq!(
        client.decide("RL.CHECK k 5 1 9 60 COST 4 KEEP 1"),
        [4, 5, 1, 0, 1_000]
    );
    assert_eq!(
        client.decide("RL.CHECK k 9 60 5 1 KEEP 1"),
        [0, 5, 1, 1_000, 1_000]
    );
}

#[test]
fn with_at_most_it_grants_what_remains_above() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    let line = "RL.CHECK k 10 60 COST 20 KEEP 4 ATMOST";
    assert_eq!(client.decide(line), [6, 10, 4, 0, 60_000]);
    assert_eq!(client.decide(line), [0, 10, 4, 60_000, 60_000]);
    assert_eq!(
        client.decide("RL.CHECK k 10 60 COST 20 KEEP 0 ATMOST")[0],
        4
    );
    // Nothing can ever be above that.
    assert_eq!(client.decide("RL.CHECK k 10 60 KEEP 10 ATMOST")[3], -1);
}

#[test]
fn cost_and_what_is_kept_may_be_more_than_there_can_be() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    for line in [
        "RL.CHECK k 5 60 COST 3 KEEP 3",
        "RL.CHECK k 9 1 5 60 KEEP 5",
        "RL.GCRA k 9 60 BURST 5 KEEP 5",
        "RL.CHECK k 4294967295 60 COST 4294967295 KEEP 4294967295",
    ] {
        assert_eq!(client.decide(line)[3], -1, "{line}");
    }
    assert_eq!(client.ask("DBSIZE"), Value::Int(0));
    assert_eq!(client.decide("RL.CHECK k 5 60 COST 3 KEEP 2")[0], 3);
}

#[test]
fn a_denial_for_what_is_kept_may_start_a_block() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.CHECK k 5 60 COST 3");
    assert_eq!(
        client.decide("RL.CHECK k 5 60 KEEP 2 BLOCK 1h")[3],
        3_600_000
    );
    assert_eq!(client.decide("RL.CHECK k 5 60")[3], 3_600_000);
}

#[test]
fn what_is_refused() {
    let server = Server::start();
    let mut client = server.connect();
    let keep = "ERR keep must be an integer from 0 to 4294967295";
    let syntax = "ERR syntax error";
    for (line, error) in [
        ("RL.CHECK k 5 60 KEEP 1 FORCE", syntax),
        ("RL.CHECK k 5 60 FORCE KEEP 1", syntax),
        ("RL.GCRA k 5 60 KEEP 1 FORCE", syntax),
        ("RL.GCRA k 5 60 KEEP 1 MAXWAIT 1s", syntax),
        ("RL.GCRA k 5 60 MAXWAIT 1s KEEP 1", syntax),
        ("RL.CHECK k 5 60 KEEP 1 KEEP 1", syntax),
        ("RL.CHECK k 5 60 KEEP", syntax),
        ("RL.PEEK k KEEP 1", syntax),
        ("RL.CHECK k 5 60 KEEP x", keep),
        ("RL.CHECK k 5 60 KEEP -1", keep),
        ("RL.CHECK k 5 60 KEEP 01", keep),
        ("RL.GCRA k 5 60 KEEP 4294967296", keep),
    ] {
        assert_eq!(client.refused(line), error, "{line}");
    }
    assert_eq!(client.ask("DBSIZE"), Value::Int(0));
}
