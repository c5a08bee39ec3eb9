//! Two kinds of traffic on one quota, of which one stops first.

use crate::harness::Ask;
use crate::harness::clock::Clock;
use crate::harness::random::generator;

#[test]
fn nobody_who_pays_is_denied_while_these_are_no_more_than_is_kept() {
    for (limit, keep) in [(10, 4), (100, 30)] {
        let mut random = generator();
        let (server, clock) = Clock::start();
        let mut client = server.connect();
        let (free, paid) = (
            format!("RL.CHECK search {limit} 1m KEEP {keep}"),
            format!("RL.CHECK search {limit} 1m"),
        );
        let mut paid_at = Vec::new();
        let mut free_granted = 0;
        for _ in 0..1_500 {
            clock.advance_millis(random.i64(0..120_000 / limit));
            let now = clock.now().as_millis();
            paid_at.retain(|at| at + 60_000 > now);
            if paid_at.len() < keep && random.u8(0..4) == 0 {
                assert_eq!(client.decide(&paid)[0], 1);
                paid_at.push(now);
            } else {
                free_granted += client.decide(&free)[0];
            }
        }
        assert!(free_granted > 100, "{free_granted}");
    }
}

#[test]
fn a_free_request_that_waits_as_told_is_granted_and_no_sooner() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    for _ in 0..10 {
        assert_eq!(client.decide("RL.CHECK search 10 1m")[0], 1);
        clock.advance_millis(1_000);
    }
    // Five have to leave, so that one fits and four remain.
    let free = "RL.CHECK search 10 1m KEEP 4";
    assert_eq!(client.decide(free), [0, 10, 0, 54_000, 59_000]);
    clock.advance_millis(53_999);
    assert_eq!(client.decide(free)[0], 0);
    clock.advance_millis(1);
    assert_eq!(client.decide(free)[..3], [1, 10, 4]);
}
