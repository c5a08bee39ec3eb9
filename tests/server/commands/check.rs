//! `RL.CHECK` on a real server.

use std::time::Duration;

use crate::harness::clock::Clock;
use crate::harness::{Ask, Server};

#[test]
fn it_grants_up_to_the_limit_and_tells_when_the_next_unit_is_free() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    assert_eq!(client.decide("RL.CHECK k 2 60"), [1, 2, 1, 0, 60_000]);
    clock.advance(Duration::from_secs(10));
    assert_eq!(client.decide("RL.CHECK k 2 60"), [1, 2, 0, 0, 60_000]);
    clock.advance(Duration::from_secs(10));
    assert_eq!(client.decide("RL.CHECK k 2 60"), [0, 2, 0, 40_000, 50_000]);
}

#[test]
fn a_millisecond_less_than_retry_after_is_too_early_and_retry_after_is_enough() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    clock.advance(Duration::from_micros(123));
    client.decide("RL.CHECK k 1 1500ms");
    clock.advance(Duration::from_micros(700));
    let [granted, _, _, retry_after, reset_after] = client.decide("RL.CHECK k 1 1500ms");
    assert_eq!([granted, retry_after, reset_after], [0, 1_500, 1_500]);
    clock.advance_millis(retry_after - 1);
    assert_eq!(client.decide("RL.CHECK k 1 1500ms")[0], 0);
    clock.advance_millis(1);
    assert_eq!(client.decide("RL.CHECK k 1 1500ms")[0], 1);
}

#[test]
fn there_is_no_burst_at_the_boundary_of_a_window() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let mut admitted = 0;
    // The weakness of fixed windows: full use at the end of one minute and at the start of the next.
    clock.advance(Duration::from_secs(59));
    for _ in 0..2 {
        for _ in 0..5 {
            admitted += client.decide("RL.CHECK k 5 1m")[0];
        }
        clock.advance(Duration::from_secs(2));
    }
    assert_eq!(admitted, 5);
}

#[test]
fn a_cost_is_granted_whole_or_not_at_all() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    assert_eq!(
        client.decide("RL.CHECK k 10 2m COST 6"),
        [6, 10, 4, 0, 120_000]
    );
    assert_eq!(
        client.decide("RL.CHECK k 10 2m COST 5"),
        [0, 10, 4, 120_000, 120_000]
    );
    assert_eq!(
        client.decide("RL.CHECK k 10 2m COST 4"),
        [4, 10, 0, 0, 120_000]
    );
}

#[test]
fn a_cost_above_the_limit_can_never_be_granted_and_leaves_no_key() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    assert_eq!(
        client.decide("RL.CHECK k 10 60 COST 11"),
        [0, 10, 10, -1, 0]
    );
    assert_eq!(client.ask("EXISTS k"), redis::Value::Int(0));
}

#[test]
fn several_windows_grant_together_or_not_at_all() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let line = "RL.CHECK k 2 10 3 60";
    // Granted: the fields are those of the window with the fewest units remaining.
    assert_eq!(client.decide(line), [1, 2, 1, 0, 10_000]);
    assert_eq!(client.decide(line), [1, 2, 0, 0, 10_000]);
    assert_eq!(client.decide(line), [0, 2, 0, 10_000, 10_000]);
    clock.advance(Duration::from_secs(10));
    // If the denial had been charged to the minute, nothing would be left there.
    assert_eq!(client.decide(line), [1, 3, 0, 0, 60_000]);
    // Denied: the longest wait.
    assert_eq!(client.decide(line), [0, 3, 0, 50_000, 60_000]);
}

#[test]
fn atmost_grants_what_there_is_room_for() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    assert_eq!(
        client.decide("RL.CHECK k 10 60 COST 7"),
        [7, 10, 3, 0, 60_000]
    );
    assert_eq!(
        client.decide("RL.CHECK k 10 60 COST 7 ATMOST"),
        [3, 10, 0, 0, 60_000]
    );
    assert_eq!(
        client.decide("RL.CHECK k 10 60 COST 70 ATMOST"),
        [0, 10, 0, 60_000, 60_000]
    );
}

#[test]
fn force_charges_a_debt_that_delays_later_requests() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    assert_eq!(
        client.decide("RL.CHECK k 10 60 COST 8"),
        [8, 10, 2, 0, 60_000]
    );
    clock.advance(Duration::from_secs(1));
    assert_eq!(
        client.decide("RL.CHECK k 10 60 COST 9 FORCE"),
        [9, 10, 0, 0, 60_000]
    );
    // 17 are in use: when the first 8 have left, 9 are, and there is room for one.
    assert_eq!(
        client.decide("RL.CHECK k 10 60"),
        [0, 10, 0, 59_000, 60_000]
    );
    assert_eq!(
        client.decide("RL.CHECK k 10 60 COST 2"),
        [0, 10, 0, 60_000, 60_000]
    );
}

#[test]
fn block_denies_everything_from_the_first_denial_on() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let line = "RL.CHECK login:ann 2 1m BLOCK 15m";
    client.decide(line);
    client.decide(line);
    assert_eq!(client.decide(line), [0, 2, 0, 900_000, 900_000]);
    clock.advance(Duration::from_secs(61));
    // The window is empty, the block lasts; it is not prolonged, and it stops every request on the key.
    assert_eq!(client.decide(line), [0, 2, 2, 839_000, 839_000]);
    assert_eq!(
        client.decide("RL.CHECK login:ann 2 1m FORCE"),
        [0, 2, 2, 839_000, 839_000]
    );
    assert_eq!(
        client.decide("RL.PEEK login:ann"),
        [0, 2, 2, 839_000, 839_000]
    );
    clock.advance_millis(839_000);
    assert_eq!(client.decide(line), [1, 2, 1, 0, 60_000]);
    // A reset ends it.
    client.decide(line);
    client.decide(line);
    assert_eq!(client.ask("RL.RESET login:ann"), redis::Value::Int(1));
    assert_eq!(client.decide(line), [1, 2, 1, 0, 60_000]);
}

#[test]
fn a_changed_limit_takes_effect_at_once_and_forgets_nothing() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.CHECK k 10 60 COST 5");
    assert_eq!(client.decide("RL.CHECK k 3 60"), [0, 3, 0, 60_000, 60_000]);
    assert_eq!(client.decide("RL.CHECK k 6 60"), [1, 6, 0, 0, 60_000]);
    assert_eq!(client.decide("RL.CHECK k 20 60"), [1, 20, 13, 0, 60_000]);
}

#[test]
fn callers_with_windows_of_different_lengths_cannot_make_each_other_forget() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let mut admitted = [0, 0];
    for turn in 0..200 {
        let line = ["RL.CHECK k 5 60", "RL.CHECK k 5 61"][turn % 2];
        admitted[turn % 2] += client.decide(line)[0];
        clock.advance_millis(100);
    }
    // Twenty seconds with callers of two releases: each window has admitted its limit and not more.
    assert!(admitted[0] <= 5 && admitted[1] <= 5, "{admitted:?}");
    assert!(admitted[0] + admitted[1] >= 5, "{admitted:?}");
}

#[test]
fn the_greatest_limit_and_window_work() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let max = i64::from(u32::MAX);
    let decade = 10 * 365 * 86_400_000;
    let line = "RL.CHECK k 4294967295 3650d COST 4294967295";
    assert_eq!(client.decide(line), [max, max, 0, 0, decade]);
    assert_eq!(client.decide(line), [0, max, 0, decade, decade]);
    clock.advance_millis(decade);
    assert_eq!(client.decide(line), [max, max, 0, 0, decade]);
}

#[test]
fn concurrent_callers_are_granted_the_limit_and_not_one_more() {
    let server = Server::start();
    let granted: i64 = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = server.connect();
                    (0..25)
                        .map(|_| client.decide("RL.CHECK k 100 1h")[0])
                        .sum::<i64>()
                })
            })
            .collect();
        callers
            .into_iter()
            .map(|caller| caller.join().unwrap())
            .sum()
    });
    assert_eq!(granted, 100);
}

#[test]
fn a_window_no_longer_named_goes_when_it_has_emptied_or_was_refunded() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.CHECK k 5 1s 5 10s");
    client.decide("RL.CHECK k 5 10s");
    clock.advance_millis(1_500);
    assert_eq!(client.decide("RL.CHECK k 5 10s")[..3], [1, 5, 2]);
    assert_eq!(client.decide("RL.PEEK k")[..3], [1, 5, 2]);

    client.decide("RL.CHECK r 5 1s 5 10s");
    client.decide("RL.CHECK r 5 10s");
    assert_eq!(client.decide("RL.REFUND r 1")[..3], [1, 5, 4]);
    assert_eq!(client.decide("RL.CHECK r 5 10s")[..3], [1, 5, 3]);

    client.decide("RL.CHECK n 9 1");
    let alone = client.ask("STRLEN n");
    client.decide("RL.CHECK n 9 60");
    clock.advance_millis(1_000);
    // What is left is as if the first had never been there.
    assert_eq!(client.decide("RL.CHECK n 9 60"), [1, 9, 6, 0, 60_000]);
    assert_eq!(client.decide("RL.CHECK n 9 60"), [1, 9, 5, 0, 60_000]);
    assert_eq!(client.decide("RL.REFUND n 9"), [4, 9, 9, 0, 0]);
    client.decide("RL.CHECK n 9 1");
    assert_eq!(client.ask("STRLEN n"), alone);
}
