//! A lock-out that grows, of which only failures count.

use crate::harness::Ask;
use crate::harness::clock::Clock;

const ATTEMPT: &str = "RL.CHECK login:ann:192.0.2.1 3 1m BLOCK 1m UPTO 1d RECEIPT";

#[test]
fn who_goes_on_waits_twice_as_long_each_time_up_to_a_day() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let mut minutes = 1;
    for _ in 0..14 {
        for _ in 0..3 {
            client.receipt(ATTEMPT);
        }
        // Asking goes on, and makes it no longer.
        for waited in 0..3 {
            let row: Vec<i64> = redis::from_redis_value(client.ask(ATTEMPT)).unwrap();
            assert_eq!((row[0], row[3]), (0, minutes * 60_000 - waited));
            clock.advance_millis(1);
        }
        clock.advance_millis(minutes * 60_000 - 3);
        minutes = (minutes * 2).min(24 * 60);
    }
    assert_eq!(minutes, 24 * 60);
    // A day after the last one it is forgotten.
    clock.advance_millis(86_400_000);
    client.decide("RL.CHECK login:ann:192.0.2.1 3 1m COST 3");
    let row: Vec<i64> = redis::from_redis_value(client.ask(ATTEMPT)).unwrap();
    assert_eq!(row[3], 60_000);
}

#[test]
fn attempts_that_succeed_are_given_back_and_do_not_count() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    for _ in 0..50 {
        let receipt = client.receipt(ATTEMPT);
        // Somebody else fails meanwhile, and not for long.
        clock.advance_millis(1);
        assert_eq!(
            client.decide(&format!(
                "RL.REFUND login:ann:192.0.2.1 1 RECEIPT {receipt}"
            ))[0],
            1
        );
    }
}

#[test]
fn a_success_that_is_given_back_forgets_no_block_and_a_reset_does() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.CHECK login:ann:192.0.2.1 3 1m COST 3");
    client.ask(ATTEMPT);
    clock.advance_millis(60_000);
    let blocked_for = |client: &mut redis::Connection| {
        client.decide("RL.CHECK login:ann:192.0.2.1 3 1m COST 3");
        redis::from_redis_value::<Vec<i64>>(client.ask(ATTEMPT)).unwrap()[3]
    };
    let receipt = client.receipt(ATTEMPT);
    client.ask(&format!(
        "RL.REFUND login:ann:192.0.2.1 1 RECEIPT {receipt}"
    ));
    assert_eq!(blocked_for(&mut client), 120_000);
    client.ask("RL.RESET login:ann:192.0.2.1");
    assert_eq!(blocked_for(&mut client), 60_000);
}

#[test]
fn after_a_block_shorter_than_the_window_only_who_waits_as_told_starts_no_other() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let attempt = "RL.CHECK short 3 1m BLOCK 10s UPTO 1d";
    client.decide("RL.CHECK short 3 1m COST 3");
    assert_eq!(client.decide(attempt)[3], 60_000);
    clock.advance_millis(60_000);
    assert_eq!(client.decide(attempt)[0], 1);

    client.ask("RL.RESET short");
    client.decide("RL.CHECK short 3 1m COST 3");
    client.decide(attempt);
    clock.advance_millis(10_000);
    // The window is full for 50 seconds; the block that begins is one of 20.
    assert_eq!(client.decide(attempt)[3], 50_000);
    assert!(format!("{:?}", client.ask("RL.INFO short")).ends_with("int(2)])"));
}
