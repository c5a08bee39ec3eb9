//! Requests, tokens and requests in flight: reserved at once, and settled when the truth is known.

use crate::harness::Ask;
use crate::harness::clock::Clock;
use crate::harness::random::generator;
use redis::{Connection, Value};

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;

/// Charges an estimate, if all have room; the receipt.
fn reserve(client: &mut Connection, tokens: i64) -> Option<i64> {
    let rows: Vec<Vec<i64>> = redis::from_redis_value(client.ask(&format!(
        "RL.MCHECK 3 {{acme}}:requests {{acme}}:tokens {{acme}}:inflight 60 1m 40000 1m 10 2m COSTS 1 {tokens} 1 RECEIPT"
    )))
    .unwrap();
    Some(rows[0][5]).filter(|receipt| *receipt > 0)
}

fn refund(client: &mut Connection, key: &str, units: i64, receipt: i64) -> i64 {
    match client.ask(&format!("RL.REFUND {key} {units} RECEIPT {receipt}")) {
        Value::Nil => 0,
        row => redis::from_redis_value::<Vec<i64>>(row).unwrap()[0],
    }
}

fn used(client: &mut Connection, key: &str) -> i64 {
    match client.ask(&format!("RL.PEEK {key}")) {
        Value::Nil => 0,
        row => {
            let row: Vec<i64> = redis::from_redis_value(row).unwrap();
            row[1] - row[2]
        }
    }
}

#[test]
fn what_nobody_settles_is_used_for_a_minute_and_in_flight_for_two() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    reserve(&mut client, 1200).unwrap();
    for (millis, tokens, in_flight) in [(59_999, 1200, 1), (1, 0, 1), (59_999, 0, 1), (1, 0, 0)] {
        clock.advance_millis(millis);
        assert_eq!(used(&mut client, "{acme}:tokens"), tokens);
        assert_eq!(used(&mut client, "{acme}:inflight"), in_flight);
    }
}

#[test]
fn an_estimate_that_is_settled_too_late_gives_back_nothing_of_others() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let slow = reserve(&mut client, 1200).unwrap();
    clock.advance_millis(60_000);
    reserve(&mut client, 900).unwrap();
    assert_eq!(refund(&mut client, "{acme}:tokens", 400, slow), 0);
    assert_eq!(used(&mut client, "{acme}:tokens"), 900);
    // It is still in flight, until now.
    assert_eq!(refund(&mut client, "{acme}:inflight", 1, slow), 1);
    assert_eq!(used(&mut client, "{acme}:inflight"), 1);
}

#[test]
fn debt_is_kept_up_to_one_more_quota() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.CHECK {acme}:tokens 40000 1m COST 30000");
    client.decide("RL.CHECK {acme}:tokens 40000 1m COST 100000 FORCE");
    let info: String = format!("{:?}", client.ask("RL.INFO {acme}:tokens"));
    assert!(info.contains("int(80000)"), "{info}");
    clock.advance_millis(60_000);
    assert_eq!(used(&mut client, "{acme}:tokens"), 0);
}

#[test]
fn no_limit_is_exceeded_by_what_was_really_used_and_nothing_stays_in_flight() {
    struct Running {
        receipt: i64,
        estimate: i64,
        until: i64,
    }
    let mut random = generator();
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let mut running: Vec<Running> = Vec::new();
    // When each request was admitted, and what it has used in the end.
    let mut tokens: Vec<(i64, i64)> = Vec::new();
    for _ in 0..1_500 {
        clock.advance_millis(random.i64(1..700));
        let now = i64::try_from(clock.now().as_micros()).unwrap();
        // Some are answered, and some of those who ask die: these settle nothing.
        while let Some(done) = running.iter().position(|one| one.until <= now) {
            let done = running.swap_remove(done);
            let alive = done.until < done.receipt + 2 * MINUTE;
            if alive {
                let unused = random.i64(0..=done.estimate);
                if unused > 0 && refund(&mut client, "{acme}:tokens", unused, done.receipt) > 0 {
                    let used = tokens.iter_mut().find(|(time, _)| *time == done.receipt);
                    used.unwrap().1 -= unused;
                }
                assert_eq!(refund(&mut client, "{acme}:inflight", 1, done.receipt), 1);
            }
        }
        let estimate = random.i64(1..=2_000);
        if let Some(receipt) = reserve(&mut client, estimate) {
            let until = match random.u8(0..10) {
                0 => receipt + 2 * MINUTE,
                _ => receipt + random.i64(1..=20) * SECOND,
            };
            running.push(Running {
                receipt,
                estimate,
                until,
            });
            tokens.push((receipt, estimate));
        }
        assert!(running.len() <= 10, "{} in flight", running.len());
        let recent = tokens.iter().filter(|(time, _)| time + MINUTE > now);
        let (requests, tokens) = recent.fold((0, 0), |(n, sum), (_, used)| (n + 1, sum + used));
        assert!(requests <= 60 && tokens <= 40_000, "{requests}, {tokens}");
    }
    assert!(tokens.len() > 100, "{} requests", tokens.len());
    clock.advance_millis(120_000);
    for key in ["requests", "tokens", "inflight"] {
        assert_eq!(client.ask(&format!("RL.PEEK {{acme}}:{key}")), Value::Nil);
    }
}
