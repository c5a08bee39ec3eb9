//! The clock: what a step back does, and which time a transaction has.

use std::time::Duration;

use crate::harness::Ask;
use crate::harness::clock::Clock;
use redis::Connection;

/// Calls until granted, waiting exactly what each reply says; the number of denials.
fn wait_until_granted(client: &mut Connection, clock: &Clock, line: &str) -> usize {
    for denials in 0.. {
        let [granted, _, _, retry_after, _] = client.decide(line);
        if granted > 0 {
            return denials;
        }
        assert!(denials < 10, "{line}: sent away again and again");
        clock.advance_millis(retry_after);
    }
    unreachable!()
}

#[test]
fn a_caller_who_waits_as_told_is_never_denied_twice_even_if_the_clock_steps_back() {
    for (fill, line) in [
        ("RL.CHECK k 2 60 COST 2", "RL.CHECK k 2 60"),
        ("RL.CHECK k 2 60 9 1h COST 2", "RL.CHECK k 2 60 9 1h"),
        ("RL.GCRA k 2 60 COST 2", "RL.GCRA k 2 60"),
        // Other parameters at the same time.
        ("RL.CHECK k 9 60 COST 9", "RL.CHECK k 2 90"),
        ("RL.GCRA k 9 60 COST 9", "RL.GCRA k 2 60 BURST 1"),
    ] {
        let (server, clock) = Clock::start();
        let mut client = server.connect();
        client.decide(fill);
        clock.advance_millis(10);
        clock.step_back(Duration::from_secs(3_600));
        assert_eq!(wait_until_granted(&mut client, &clock, line), 1, "{line}");
    }
}

#[test]
fn after_a_step_back_what_is_in_use_of_a_gcra_limiter_stays_exactly_as_it_was() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.GCRA k 10 60 COST 10");
    clock.advance_millis(1_000);
    // A denial has written nothing since, so the step is counted from the grant.
    assert_eq!(client.decide("RL.GCRA k 10 60"), [0, 10, 0, 5_000, 59_000]);
    clock.step_back(Duration::from_secs(3_600));
    assert_eq!(client.decide("RL.GCRA k 10 60"), [0, 10, 0, 6_000, 60_000]);
    clock.advance_millis(1_000);
    assert_eq!(client.decide("RL.GCRA k 10 60"), [0, 10, 0, 5_000, 59_000]);
}

#[test]
fn after_a_step_back_groups_in_the_future_count_as_now() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.CHECK k 3 60");
    clock.advance_millis(20_000);
    client.decide("RL.CHECK k 3 60 COST 2");
    clock.step_back(Duration::from_secs(10));
    // The first is 10 s old, the others count as admitted now.
    assert_eq!(client.decide("RL.PEEK k"), [0, 3, 0, 50_000, 60_000]);
    assert_eq!(client.decide("RL.CHECK k 3 60"), [0, 3, 0, 50_000, 60_000]);
    clock.advance_millis(50_000);
    assert_eq!(client.decide("RL.CHECK k 3 60"), [1, 3, 0, 0, 60_000]);
}

#[test]
fn a_block_does_not_last_longer_if_the_clock_steps_back() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.CHECK k 1 60 BLOCK 5m");
    client.decide("RL.CHECK k 1 60 BLOCK 5m");
    clock.step_back(Duration::from_secs(86_400));
    assert_eq!(
        client.decide("RL.CHECK k 1 60 BLOCK 5m"),
        [0, 1, 0, 300_000, 300_000]
    );
    assert_eq!(
        wait_until_granted(&mut client, &clock, "RL.CHECK k 1 60 BLOCK 5m"),
        1
    );
}

#[test]
fn a_clock_that_jumps_forward_lets_units_leave_early() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.CHECK k 1 1h");
    clock.advance(Duration::from_secs(3_600));
    assert_eq!(client.decide("RL.CHECK k 1 1h")[0], 1);
}

#[test]
fn what_was_granted_by_a_clock_that_was_behind_is_granted_once_more_after_the_clock_is_set_right() {
    for command in ["RL.CHECK k 2 60", "RL.GCRA k 2 60"] {
        let (server, clock) = Clock::start();
        let mut client = server.connect();
        let right = clock.now();
        assert_eq!(client.decide(&format!("{command} COST 2"))[0], 2);
        // As on a replica that is promoted.
        clock.step_back(Duration::from_secs(60));
        assert_eq!(client.decide(command)[0], 0, "{command}");
        clock.set(right);
        assert_eq!(client.decide(&format!("{command} COST 2"))[0], 2);
    }
}

#[test]
fn units_of_the_same_microsecond_leave_together_and_a_microsecond_apart_apart() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.CHECK k 3 1ms");
    client.decide("RL.CHECK k 3 1ms");
    clock.advance(Duration::from_micros(1));
    client.decide("RL.CHECK k 3 1ms");
    clock.advance(Duration::from_micros(998));
    assert_eq!(client.decide("RL.PEEK k")[2], 0);
    clock.advance(Duration::from_micros(1));
    assert_eq!(client.decide("RL.PEEK k")[2], 2);
}

#[test]
fn a_clock_before_the_epoch_or_far_too_late_does_no_harm() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    for seconds in [0, 1, 9_000_000_000] {
        clock.set(Duration::from_secs(seconds));
        client.ask("RL.RESET c g");
        assert_eq!(client.decide("RL.CHECK c 1 60")[0], 1, "{seconds}");
        assert_eq!(client.decide("RL.CHECK c 1 60")[0], 0, "{seconds}");
        assert_eq!(client.decide("RL.GCRA g 1 60")[0], 1, "{seconds}");
        assert_eq!(client.decide("RL.GCRA g 1 60")[0], 0, "{seconds}");
    }
}
