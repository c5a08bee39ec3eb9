//! `RL.CHECK` on a real server.

mod common;

use std::time::Duration;

use common::Ask;
use common::clock::Clock;

#[test]
fn grants_up_to_the_limit_and_tells_when_the_next_unit_is_free() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    assert_eq!(client.decide("RL.CHECK k 2 60"), [1, 2, 1, 0, 60_000]);
    clock.advance(Duration::from_secs(10));
    assert_eq!(client.decide("RL.CHECK k 2 60"), [1, 2, 0, 0, 60_000]);
    clock.advance(Duration::from_secs(10));
    assert_eq!(client.decide("RL.CHECK k 2 60"), [0, 2, 0, 40_000, 50_000]);
}
