//! `RL.REFUND` on a real server.

use crate::harness::clock::Clock;
use crate::harness::{Ask, Setup, aof};
use redis::Value;

#[test]
fn refunded_units_count_as_never_admitted() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.CHECK k 5 60 COST 2");
    clock.advance_millis(1_000);
    client.decide("RL.CHECK k 5 60 COST 3");
    // The newest first: with them gone, the whole quota is back when the first two leave.
    assert_eq!(client.decide("RL.REFUND k 3"), [3, 5, 3, 0, 59_000]);
    assert_eq!(
        client.decide("RL.CHECK k 5 60 COST 3"),
        [3, 5, 0, 0, 60_000]
    );
    assert_eq!(client.decide("RL.REFUND k 4"), [4, 5, 4, 0, 59_000]);
}

#[test]
fn the_other_fields_are_those_of_a_peek() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.CHECK k 2 60 COST 2");
    client.decide("RL.CHECK k 2 60 COST 2 FORCE");
    assert_eq!(client.decide("RL.REFUND k 1"), [1, 2, 0, 60_000, 60_000]);
    assert_eq!(client.decide("RL.PEEK k"), [0, 2, 0, 60_000, 60_000]);
}

#[test]
fn a_state_that_it_empties_is_deleted() {
    let server = Setup::new()
        .arguments(["--appendonly", "yes", "--appendfsync", "always"])
        .start();
    let mut client = server.connect();
    client.decide("RL.CHECK c 5 60 COST 2");
    client.decide("RL.GCRA g 5 60 COST 2");
    assert_eq!(client.decide("RL.REFUND c 9")[..4], [2, 5, 5, 0]);
    assert_eq!(client.decide("RL.REFUND g 9")[..4], [2, 5, 5, 0]);
    assert_eq!(client.ask("EXISTS c g"), Value::Int(0));
    assert_eq!(aof(&server).matches("DEL").count(), 2);
    assert_eq!(client.ask("RL.REFUND c 1"), Value::Nil);
    assert_eq!(client.ask("RL.REFUND nothing 1"), Value::Nil);
}

#[test]
fn a_block_outlives_the_refund_of_everything() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.CHECK k 1 60 BLOCK 5m");
    client.decide("RL.CHECK k 1 60 BLOCK 5m");
    assert_eq!(client.decide("RL.REFUND k 1"), [1, 1, 1, 300_000, 300_000]);
    assert_eq!(client.decide("RL.REFUND k 1"), [0, 1, 1, 300_000, 300_000]);
    assert_eq!(client.decide("RL.CHECK k 1 60")[0], 0);
    assert_eq!(client.ask("PTTL k"), Value::Int(300_000));
}

#[test]
fn of_a_gcra_limiter_the_tat_moves_back_but_not_below_now() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.GCRA k 1 1s BURST 5 COST 4");
    clock.advance_millis(500);
    assert_eq!(client.decide("RL.REFUND k 1"), [1, 5, 2, 0, 2_500]);
    assert_eq!(client.decide("RL.REFUND k 2"), [2, 5, 4, 0, 500]);
    // Half of the last unit has been refilled meanwhile.
    assert_eq!(client.decide("RL.REFUND k 2"), [1, 5, 5, 0, 0]);
}

#[test]
fn every_stored_window_gives_back() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.CHECK k 5 10 9 60 COST 5");
    assert_eq!(client.decide("RL.REFUND k 2"), [2, 5, 2, 0, 10_000]);
    clock.advance_millis(10_000);
    // The short window has emptied, the long one has not.
    assert_eq!(client.decide("RL.REFUND k 2"), [2, 5, 5, 0, 0]);
    assert_eq!(client.decide("RL.CHECK k 5 10 9 60"), [1, 5, 4, 0, 10_000]);
    assert_eq!(client.decide("RL.CHECK k 9 60"), [1, 9, 6, 0, 60_000]);
}

#[test]
fn it_is_refused_for_units_that_are_none_and_keys_that_hold_something_else() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    client.ask("RPUSH list 1");
    for units in ["0", "-1", "x", "1.5", "4294967296", "01"] {
        assert_eq!(
            client.refused(&format!("RL.REFUND k {units}")),
            "ERR units must be an integer from 1 to 4294967295"
        );
    }
    assert!(client.refused("RL.REFUND list 1").starts_with("WRONGTYPE "));
    assert_eq!(
        client.refused("RL.REFUND k"),
        "ERR wrong number of arguments for 'rl.refund' command"
    );
    assert_eq!(client.refused("RL.REFUND k 1 2"), "ERR syntax error");
}
