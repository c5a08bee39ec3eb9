//! At most so many at a time, though holders crash.

use crate::harness::Ask;
use crate::harness::clock::Clock;
use crate::harness::random::generator;
use redis::{Connection, Value};

const TIME: i64 = 30_000_000;

/// A place, if one is free: its receipt.
fn ask(client: &mut Connection, line: &str) -> Option<i64> {
    let row: Vec<i64> = redis::from_redis_value(client.ask(line)).unwrap();
    Some(row[5]).filter(|receipt| *receipt > 0)
}

fn give_back(client: &mut Connection, receipt: i64) -> i64 {
    match client.ask(&format!("RL.REFUND reports 1 RECEIPT {receipt}")) {
        Value::Nil => 0,
        row => redis::from_redis_value::<Vec<i64>>(row).unwrap()[0],
    }
}

#[test]
fn a_crashed_holder_keeps_its_place_for_its_time_since_it_renewed_and_no_longer() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let place = client.receipt("RL.CHECK reports 1 30s RECEIPT");
    clock.advance_millis(20_000);
    client.receipt(&format!("RL.CHECK reports 1 30s RENEW {place}"));
    assert_eq!(
        client.decide("RL.CHECK reports 1 30s"),
        [0, 1, 0, 30_000, 30_000]
    );
    clock.advance_millis(29_999);
    assert_eq!(client.decide("RL.CHECK reports 1 30s")[0], 0);
    clock.advance_millis(1);
    assert_eq!(client.decide("RL.CHECK reports 1 30s")[0], 1);
}

#[test]
fn whoever_was_stopped_for_too_long_gives_back_nobody_else_s_place() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let stopped = client.receipt("RL.CHECK reports 1 30s RECEIPT");
    clock.advance_millis(30_000);
    client.receipt("RL.CHECK reports 1 30s RECEIPT");
    assert_eq!(give_back(&mut client, stopped), 0);
    assert_eq!(
        ask(
            &mut client,
            &format!("RL.CHECK reports 1 30s RENEW {stopped}")
        ),
        None
    );
    assert_eq!(client.decide("RL.CHECK reports 1 30s")[0], 0);
}

#[test]
fn there_are_as_many_holders_as_there_are_places_however_they_end() {
    let mut random = generator();
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    // Who has a place at this moment, dead or alive, and what was given back.
    let mut held: Vec<i64> = Vec::new();
    let mut given_back: Vec<i64> = Vec::new();
    for _ in 0..3_000 {
        clock.advance_millis(random.i64(1..5_000));
        let now = i64::try_from(clock.now().as_micros()).unwrap();
        held.retain(|receipt| receipt + TIME > now);
        let one = (!held.is_empty()).then(|| random.usize(0..held.len()));
        match (random.u8(0..4), one) {
            (0, Some(one)) => {
                let receipt = held.swap_remove(one);
                assert_eq!(give_back(&mut client, receipt), 1);
                given_back.push(receipt);
            }
            (1, Some(one)) => {
                let renew = format!("RL.CHECK reports 5 30s RENEW {}", held[one]);
                held[one] = ask(&mut client, &renew).unwrap();
            }
            (2, _) if !given_back.is_empty() => {
                let receipt = given_back[random.usize(0..given_back.len())];
                assert_eq!(give_back(&mut client, receipt), 0);
            }
            // Those who are not chosen again have crashed.
            _ => {
                let granted = ask(&mut client, "RL.CHECK reports 5 30s RECEIPT");
                assert_eq!(granted.is_some(), held.len() < 5);
                held.extend(granted);
            }
        }
    }
    clock.advance_millis(30_000);
    assert_eq!(client.ask("RL.PEEK reports"), Value::Nil);
}
