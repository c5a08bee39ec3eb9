//! So much a month, and not all of it at once.

use std::time::Duration;

use crate::harness::Ask;
use crate::harness::clock::Clock;
use redis::Value;

const DAY: i64 = 86_400_000;

#[test]
fn each_call_comes_back_thirty_days_after_it_was_made_and_not_before() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    // Some 33 calls a day, for 30 days. Without the window of a second, so that replies are of the other.
    let call = "RL.CHECK plan:ann 1000 30d";
    let made: Vec<Duration> = (0..1_000)
        .map(|_| {
            assert_eq!(client.decide(call)[0], 1);
            clock.advance_millis(30 * DAY / 1_000);
            clock.now() - Duration::from_millis(u64::try_from(30 * DAY / 1_000).unwrap())
        })
        .collect();
    // From now on as many come back as are 30 days old, in portions of at most a sixteenth, each at the moment
    // at which its newest call is 30 days old.
    let remaining = |client: &mut redis::Connection| match client.ask("RL.PEEK plan:ann") {
        Value::Nil => 1_000,
        row => redis::from_redis_value::<Vec<usize>>(row).unwrap()[2],
    };
    let month = Duration::from_secs(30 * 86_400);
    let mut before = 0;
    for newest in &made {
        clock.set(*newest + month);
        let now = remaining(&mut client);
        let old = made.iter().filter(|at| **at <= *newest).count();
        assert!(
            now == old || now == before,
            "{now} of {old}, {before} before"
        );
        assert!(old - now < 64, "{now} of {old}");
        assert!(now - before <= 64);
        before = now;
    }
    assert_eq!(before, 1_000);
}

#[test]
fn the_reply_is_of_the_window_that_is_nearer_to_its_end() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let call = "RL.CHECK plan:ann 10 1s 12 30d COST 5";
    assert_eq!(client.decide(call), [5, 10, 5, 0, 1_000]);
    assert_eq!(client.decide(call), [5, 10, 0, 0, 1_000]);
    clock.advance_millis(1_000);
    assert_eq!(
        client.decide(call),
        [0, 12, 2, 30 * DAY - 1_000, 30 * DAY - 1_000]
    );
}

#[test]
fn another_plan_is_another_limit_at_once_and_what_was_used_stays_used() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    assert_eq!(
        client.decide("RL.CHECK plan:ann 10 1s 10 30d COST 10")[0],
        10
    );
    clock.advance_millis(1_000);
    assert_eq!(client.decide("RL.CHECK plan:ann 10 1s 10 30d")[0], 0);
    assert_eq!(
        client.decide("RL.CHECK plan:ann 50 1s 15 30d COST 5")[..3],
        [5, 15, 0]
    );
    clock.advance_millis(1_000);
    assert_eq!(client.decide("RL.CHECK plan:ann 10 1s 10 30d")[0], 0);
}

#[test]
fn of_a_calendar_month_nothing_comes_back_and_the_key_expires() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let call = "RL.CHECK plan:ann:2026-10 10 1s 10 31d COST 10";
    assert_eq!(client.decide(call)[0], 10);
    assert_eq!(client.ask("PTTL plan:ann:2026-10"), Value::Int(31 * DAY));
    // October has 31 days, to the last millisecond.
    clock.advance_millis(31 * DAY - 1);
    assert_eq!(client.decide(call)[0], 0);
    clock.advance_millis(1);
    assert_eq!(client.ask("RL.PEEK plan:ann:2026-10"), Value::Nil);
}
