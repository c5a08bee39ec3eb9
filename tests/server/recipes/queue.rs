//! Workers that wait their turn at an API which limits them.

use crate::harness::Ask;
use crate::harness::clock::Clock;
use crate::harness::random::generator;

/// When calls go on, in milliseconds, as a server tells callers who come at random moments: in bursts, and alone.
fn turns(line: &str) -> Vec<i64> {
    let mut random = generator();
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let mut found = Vec::new();
    let mut now = 0;
    for caller in 0..1_000 {
        let pause = match random.u8(0..200) {
            _ if caller < 150 => 0,
            0 => random.i64(1_000..90_000),
            1..40 => random.i64(0..1_000),
            _ => 0,
        };
        clock.advance_millis(pause);
        now += pause;
        let [granted, _, _, wait, _] = client.decide(line);
        if granted == 1 {
            found.push(now + wait);
        }
    }
    found
}

/// The most of these moments that lie in an interval as long as this, wherever it begins.
fn most(moments: &[i64], millis: i64) -> usize {
    let within = |first: i64| {
        moments
            .iter()
            .filter(move |at| (first..first + millis).contains(*at))
    };
    moments.iter().map(|at| within(*at).count()).max().unwrap()
}

#[test]
fn everybody_goes_on_in_the_order_of_asking_and_never_more_than_the_api_allows() {
    let ten_a_second = turns("RL.GCRA api.example.com 10 1s BURST 1 MAXWAIT 30s");
    assert!(ten_a_second.is_sorted());
    assert_eq!(most(&ten_a_second, 1_000), 10);
    assert_eq!(most(&ten_a_second, 100), 1);

    let hundred_in_any_minute = turns("RL.GCRA api.example.com 90 1m BURST 10 MAXWAIT 30m");
    assert_eq!(hundred_in_any_minute.len(), 1_000, "nobody is sent away");
    assert!(hundred_in_any_minute.is_sorted());
    assert!((99..=100).contains(&most(&hundred_in_any_minute, 60_000)));
}

#[test]
fn a_turn_that_passes_unused_moves_nobody_and_no_queue_is_longer_than_the_wait() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let ask = "RL.GCRA api.example.com 10 1s BURST 1 MAXWAIT 300ms";
    for wait in [0, 100, 200, 300] {
        assert_eq!(client.decide(ask)[3], wait);
    }
    // Whether the four go on or have died: the fifth is denied now, and the fourth turn is its own a moment later.
    assert_eq!(client.decide(ask)[..4], [0, 1, 0, 400]);
    clock.advance_millis(100);
    assert_eq!(client.decide(ask)[..4], [1, 1, 0, 300]);
}

#[test]
fn a_turn_that_is_given_back_lets_two_go_on_at_the_last_moment() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    let ask = "RL.GCRA api.example.com 10 1s BURST 1 MAXWAIT 30s";
    for wait in [0, 100, 200] {
        assert_eq!(client.decide(ask)[3], wait);
    }
    assert_eq!(client.decide("RL.REFUND api.example.com 1")[0], 1);
    assert_eq!(client.decide(ask)[3], 200);
}
