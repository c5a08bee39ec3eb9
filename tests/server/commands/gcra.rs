//! `RL.GCRA` on a real server.

use std::time::Duration;

use crate::harness::Ask;
use crate::harness::clock::Clock;

#[test]
fn it_grants_a_burst_and_then_the_rate() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let line = "RL.GCRA k 1 1s BURST 3";
    assert_eq!(client.decide(line), [1, 3, 2, 0, 1_000]);
    assert_eq!(client.decide(line), [1, 3, 1, 0, 2_000]);
    assert_eq!(client.decide(line), [1, 3, 0, 0, 3_000]);
    assert_eq!(client.decide(line), [0, 3, 0, 1_000, 3_000]);
    clock.advance_millis(1_000);
    assert_eq!(client.decide(line), [1, 3, 0, 0, 3_000]);
}

#[test]
fn the_burst_is_the_limit_by_default() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    assert_eq!(
        client.decide("RL.GCRA k 10 60 COST 10"),
        [10, 10, 0, 0, 60_000]
    );
    assert_eq!(client.decide("RL.GCRA k 10 60"), [0, 10, 0, 6_000, 60_000]);
}

#[test]
fn three_per_second_is_three_per_second() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    // A third of a second is not a whole number of any unit; the errors of rounding must not add up.
    client.decide("RL.GCRA k 3 1s COST 3");
    let mut granted = 0;
    for _ in 0..10_000 {
        clock.advance_millis(10);
        granted += client.decide("RL.GCRA k 3 1s")[0];
    }
    assert_eq!(granted, 300);
}

#[test]
fn high_rates_are_enforced_exactly() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.GCRA k 700000 1s COST 700000");
    let mut granted = 0;
    for _ in 0..100 {
        clock.advance_millis(10);
        granted += client.decide("RL.GCRA k 700000 1s COST 700000 ATMOST")[0];
    }
    assert_eq!(granted, 700_000);
}

#[test]
fn one_unit_per_nanosecond_is_the_highest_rate() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let line = "RL.GCRA k 1000000 1ms COST 1000000";
    assert_eq!(client.decide(line), [1_000_000, 1_000_000, 0, 0, 1]);
    clock.advance(Duration::from_micros(1));
    assert_eq!(
        client.decide("RL.GCRA k 1000000 1ms COST 1000"),
        [1_000, 1_000_000, 0, 0, 1]
    );
    assert_eq!(
        client.decide("RL.GCRA k 1000000 1ms"),
        [0, 1_000_000, 0, 1, 1]
    );
}

#[test]
fn a_lowered_burst_waits_until_the_tat_has_come_near_enough() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.GCRA k 1 1s BURST 10 COST 10");
    assert_eq!(
        client.decide("RL.GCRA k 1 1s BURST 2"),
        [0, 2, 0, 9_000, 10_000]
    );
    clock.advance_millis(9_000);
    assert_eq!(client.decide("RL.GCRA k 1 1s BURST 2"), [1, 2, 0, 0, 2_000]);
}

#[test]
fn atmost_force_and_block_work_as_for_the_sliding_window() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    assert_eq!(
        client.decide("RL.GCRA a 1 1s BURST 5 COST 9 ATMOST"),
        [5, 5, 0, 0, 5_000]
    );
    assert_eq!(
        client.decide("RL.GCRA a 1 1s BURST 5 COST 9 ATMOST"),
        [0, 5, 0, 1_000, 5_000]
    );
    assert_eq!(
        client.decide("RL.GCRA a 1 1s BURST 5 COST 3 FORCE"),
        [3, 5, 0, 0, 8_000]
    );
    // A debt of one further burst is kept, the rest is dropped.
    assert_eq!(
        client.decide("RL.GCRA a 1 1s BURST 5 COST 9 FORCE"),
        [9, 5, 0, 0, 10_000]
    );
    client.decide("RL.GCRA b 1 1s");
    assert_eq!(
        client.decide("RL.GCRA b 1 1s BLOCK 1h"),
        [0, 1, 0, 3_600_000, 3_600_000]
    );
    clock.advance_millis(3_599_999);
    assert_eq!(client.decide("RL.GCRA b 1 1s"), [0, 1, 1, 1, 1]);
    clock.advance_millis(1);
    assert_eq!(client.decide("RL.GCRA b 1 1s"), [1, 1, 0, 0, 1_000]);
}

#[test]
fn a_cost_above_the_burst_can_never_be_granted() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.GCRA k 10 1s BURST 5");
    assert_eq!(
        client.decide("RL.GCRA k 10 1s BURST 5 COST 6"),
        [0, 5, 4, -1, 100]
    );
}
