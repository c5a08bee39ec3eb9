//! A batch that takes what others leave.

use crate::harness::Ask;
use crate::harness::clock::Clock;
use crate::harness::random::generator;

const PORTION: &str = "RL.CHECK mail 1000 1h COST 500 KEEP 100 ATMOST RECEIPT";

#[test]
fn what_a_dead_batch_has_not_sent_counts_until_it_is_an_hour_old() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    client.receipt(PORTION);
    clock.advance_millis(3_599_999);
    assert_eq!(client.decide("RL.PEEK mail")[2], 500);
    clock.advance_millis(1);
    assert_eq!(client.ask("RL.PEEK mail"), redis::Value::Nil);
}

#[test]
fn a_batch_that_waits_as_told_gets_something_and_no_sooner() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.CHECK mail 1000 1h COST 53");
    clock.advance_millis(1_000);
    client.decide("RL.CHECK mail 1000 1h COST 900");
    let row: Vec<i64> = redis::from_redis_value(client.ask(PORTION)).unwrap();
    // When the 53 have left, the 100 are there, and nothing above.
    assert_eq!(row, [0, 1000, 47, 3_600_000, 3_600_000, 0]);
    clock.advance_millis(3_599_999);
    let row: Vec<i64> = redis::from_redis_value(client.ask(PORTION)).unwrap();
    assert_eq!(row[0], 0);
    clock.advance_millis(1);
    client.receipt(PORTION);
}

#[test]
fn others_are_never_denied_what_it_leaves_to_them() {
    let mut random = generator();
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let mut others = Vec::new();
    for _ in 0..2_000 {
        clock.advance_millis(random.i64(0..60_000));
        let now = clock.now().as_millis();
        others.retain(|at| at + 3_600_000 > now);
        if others.len() < 100 && random.bool() {
            assert_eq!(client.decide("RL.CHECK mail 1000 1h")[0], 1);
            others.push(now);
        } else {
            client.ask(PORTION);
        }
    }
}
