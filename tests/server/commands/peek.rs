//! `RL.PEEK` on a real server.

use crate::harness::Ask;
use crate::harness::clock::Clock;
use redis::Value;

#[test]
fn it_tells_what_would_be_granted_and_consumes_nothing() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.CHECK k 5 60 COST 3");
    clock.advance_millis(1_000);
    for _ in 0..3 {
        assert_eq!(client.decide("RL.PEEK k"), [1, 5, 2, 0, 59_000]);
        assert_eq!(client.decide("RL.PEEK k COST 2"), [2, 5, 2, 0, 59_000]);
        assert_eq!(client.decide("RL.PEEK k COST 3"), [0, 5, 2, 59_000, 59_000]);
        assert_eq!(client.decide("RL.PEEK k COST 6"), [0, 5, 2, -1, 59_000]);
    }
    assert_eq!(
        client.decide("RL.CHECK k 5 60 COST 2"),
        [2, 5, 0, 0, 60_000]
    );
}

#[test]
fn it_reads_gcra_limiters_too() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.GCRA k 1 1s BURST 4 COST 3");
    assert_eq!(client.decide("RL.PEEK k"), [1, 4, 1, 0, 3_000]);
    assert_eq!(client.decide("RL.PEEK k COST 2"), [0, 4, 1, 1_000, 3_000]);
}

#[test]
fn it_is_null_if_nothing_is_in_use() {
    let (server, clock) = Clock::start();
    for mut client in [server.connect(), server.connect_resp3()] {
        assert_eq!(client.ask("RL.PEEK k"), Value::Nil);
        client.decide("RL.CHECK k 5 1500ms");
        client.decide("RL.GCRA g 5 1s");
        clock.advance_millis(200);
        assert_eq!(client.ask("RL.PEEK g"), Value::Nil);
        clock.advance_millis(1_299);
        assert_eq!(client.decide("RL.PEEK k"), [1, 5, 4, 0, 1]);
        clock.advance_millis(1);
        assert_eq!(client.ask("RL.PEEK k"), Value::Nil);
    }
}

#[test]
fn it_shows_the_window_that_binds() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.CHECK k 10 10 5 60 COST 4");
    assert_eq!(client.decide("RL.PEEK k"), [1, 5, 1, 0, 60_000]);
    assert_eq!(client.decide("RL.PEEK k COST 2"), [0, 5, 1, 60_000, 60_000]);
}

#[test]
fn it_answers_by_the_parameters_last_stored() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.CHECK k 5 60 COST 3");
    // A denial with other parameters stores those.
    assert_eq!(client.decide("RL.CHECK k 4 60 COST 3")[0], 0);
    assert_eq!(client.decide("RL.PEEK k"), [1, 4, 1, 0, 60_000]);
}
