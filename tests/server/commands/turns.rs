//! `MAXWAIT`: callers that wait get a turn each.

use crate::harness::clock::Clock;
use crate::harness::{Ask, Server};
use redis::Value;

#[test]
fn who_waits_is_charged_at_once_and_told_when_to_go_on() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let ask = "RL.GCRA api 10 1s BURST 2 MAXWAIT 250ms";
    assert_eq!(client.decide(ask), [1, 2, 1, 0, 100]);
    assert_eq!(client.decide(ask), [1, 2, 0, 0, 200]);
    // Each goes on one interval after the one before.
    assert_eq!(client.decide(ask), [1, 2, 0, 100, 300]);
    assert_eq!(client.decide(ask), [1, 2, 0, 200, 400]);
    // A longer wait is denied, and charged nothing.
    for _ in 0..2 {
        assert_eq!(client.decide(ask), [0, 2, 0, 300, 400]);
    }
    clock.advance_millis(49);
    assert_eq!(client.decide(ask), [0, 2, 0, 251, 351]);
    clock.advance_millis(1);
    assert_eq!(client.decide(ask), [1, 2, 0, 250, 450]);
    // Those who do not wait are told when there is room behind all of them.
    assert_eq!(
        client.decide("RL.GCRA api 10 1s BURST 2"),
        [0, 2, 0, 350, 450]
    );
}

#[test]
fn turns_are_kept_however_many_wait() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let ask = "RL.GCRA api 1 1s MAXWAIT 1h";
    for turn in 0..=3_600 {
        assert_eq!(client.decide(ask)[3], 1_000 * turn);
    }
    assert_eq!(client.decide(ask)[0], 0);
    // A charge that is forced changes none of them, and waits behind them.
    let before = client.ask("GET api");
    assert_eq!(client.decide("RL.GCRA api 1 1s FORCE")[0], 1);
    assert_eq!(client.ask("GET api"), before, "a full debt takes no more");
    clock.advance_millis(3_600_000);
    assert_eq!(client.decide("RL.GCRA api 1 1s"), [0, 1, 0, 1_000, 1_000]);
    clock.advance_millis(1_000);
    assert_eq!(client.decide("RL.GCRA api 1 1s")[0], 1);
}

#[test]
fn turns_survive_a_restart() {
    let (mut server, clock) = Clock::start();
    let mut client = server.connect();
    for _ in 0..5 {
        client.decide("RL.GCRA api 1 1s MAXWAIT 10s");
    }
    client.ask("SAVE");
    server.restart();
    let mut client = server.connect();
    clock.advance_millis(500);
    assert_eq!(client.decide("RL.GCRA api 1 1s MAXWAIT 10s")[3], 4_500);
}

#[test]
fn a_cost_above_the_burst_never_gets_a_turn() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    assert_eq!(client.decide("RL.GCRA api 5 1s COST 6 MAXWAIT 1h")[3], -1);
    assert_eq!(client.ask("DBSIZE"), Value::Int(0));
    assert_eq!(client.decide("RL.GCRA api 5 1s COST 5 MAXWAIT 1h")[3], 0);
    assert_eq!(
        client.decide("RL.GCRA api 5 1s COST 5 MAXWAIT 1h")[3],
        1_000
    );
}

#[test]
fn a_denial_may_start_a_block_in_which_nobody_gets_a_turn() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.GCRA api 1 1s");
    assert_eq!(
        client.decide("RL.GCRA api 1 1s MAXWAIT 10ms BLOCK 1m")[3],
        60_000
    );
    assert_eq!(client.decide("RL.GCRA api 1 1s MAXWAIT 1h")[..1], [0]);
}

#[test]
fn what_is_refused() {
    let server = Server::start();
    let mut client = server.connect();
    let duration = "ERR maxwait must be from 1ms to 10 years: an integer number of seconds, or with a unit: ms, s, m, h, d, w";
    let syntax = "ERR syntax error";
    for (line, error) in [
        ("RL.CHECK k 5 60 MAXWAIT 1s", syntax),
        ("RL.MCHECK 1 k 5 60 MAXWAIT 1s", syntax),
        ("RL.GCRA k 5 60 MAXWAIT 1s FORCE", syntax),
        ("RL.GCRA k 5 60 ATMOST MAXWAIT 1s", syntax),
        ("RL.GCRA k 5 60 MAXWAIT 1s MAXWAIT 1s", syntax),
        ("RL.GCRA k 5 60 MAXWAIT", syntax),
        ("RL.GCRA k 5 60 MAXWAIT 0", duration),
        ("RL.GCRA k 5 60 MAXWAIT x", duration),
        ("RL.GCRA k 5 60 MAXWAIT 3651d", duration),
    ] {
        assert_eq!(client.refused(line), error, "{line}");
    }
    assert_eq!(client.ask("DBSIZE"), Value::Int(0));
    assert_eq!(client.decide("RL.GCRA k 5 60 MAXWAIT 3650d")[0], 1);
}
