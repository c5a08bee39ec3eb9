//! Receipts: `RECEIPT`, `RENEW`, and what `RL.REFUND` gives back under one.

use crate::harness::clock::Clock;
use crate::harness::{Ask, Server};
use redis::{Connection, Value};

/// A row with a receipt.
fn row(client: &mut Connection, line: &str) -> [i64; 6] {
    redis::from_redis_value::<Vec<i64>>(client.ask(line))
        .unwrap()
        .try_into()
        .unwrap_or_else(|row| panic!("{line}: {row:?}"))
}

fn receipt(client: &mut Connection, line: &str) -> i64 {
    let [granted, .., receipt] = row(client, line);
    assert!(granted > 0 && receipt > 0, "{line}");
    receipt
}

fn refund(client: &mut Connection, key: &str, units: i64, receipt: i64) -> i64 {
    client.decide(&format!("RL.REFUND {key} {units} RECEIPT {receipt}"))[0]
}

fn counted(client: &mut Connection, field: &str) -> i64 {
    let info: String = redis::from_redis_value(client.ask("INFO ratelimit")).unwrap();
    let value = info
        .lines()
        .find_map(|line| line.strip_prefix(&format!("ratelimit_{field}:")))
        .unwrap();
    value.parse().unwrap()
}

#[test]
fn a_receipt_is_the_time_of_the_admission_and_0_if_there_was_none() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    clock.advance(std::time::Duration::from_micros(123));
    let now = i64::try_from(clock.now().as_micros()).unwrap();
    let line = "RL.CHECK k 2 60 9 1h RECEIPT";
    assert_eq!(row(&mut client, line), [1, 2, 1, 0, 60_000, now]);
    assert_eq!(row(&mut client, line), [1, 2, 0, 0, 60_000, now]);
    assert_eq!(row(&mut client, line), [0, 2, 0, 60_000, 60_000, 0]);
    assert_eq!(
        row(&mut client, "RL.CHECK k 2 60 9 1h COST 3 receipt"),
        [0, 2, 0, -1, 60_000, 0]
    );
    // A debt that is full is not charged, nor is who asks in the same microsecond told the receipt of another.
    let force = "RL.CHECK d 1 60 COST 2 FORCE RECEIPT";
    client.ask("MULTI");
    client.ask(force);
    client.ask(force);
    let receipts: Vec<Vec<i64>> = redis::from_redis_value(client.ask("EXEC")).unwrap();
    assert_eq!([receipts[0][5], receipts[1][5]], [now, 0]);
    clock.advance_millis(1);
    assert_eq!(row(&mut client, force)[5], 0);
    // Without the word there are five.
    client.decide("RL.CHECK other 2 60");
}

#[test]
fn a_refund_under_a_receipt_takes_those_units_and_not_the_newest() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let first = receipt(&mut client, "RL.CHECK k 5 60 COST 2 RECEIPT");
    clock.advance_millis(10_000);
    receipt(&mut client, "RL.CHECK k 5 60 COST 3 RECEIPT");
    // What is left leaves later.
    assert_eq!(
        client.decide(&format!("RL.REFUND k 9 RECEIPT {first}")),
        [2, 5, 2, 0, 60_000]
    );
    assert_eq!(refund(&mut client, "k", 1, first), 0);
    assert_eq!(client.decide("RL.PEEK k"), [1, 5, 2, 0, 60_000]);
    clock.advance_millis(50_000);
    assert_eq!(client.decide("RL.PEEK k"), [1, 5, 2, 0, 10_000]);
    assert_eq!(counted(&mut client, "receipts_refunded"), 1);
    assert_eq!(counted(&mut client, "units_refunded"), 2);
}

#[test]
fn every_window_gives_back_what_it_still_holds_under_the_receipt() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let first = receipt(&mut client, "RL.CHECK k 5 10 9 60 COST 2 RECEIPT");
    clock.advance_millis(10_000);
    client.decide("RL.CHECK k 5 10 9 60 COST 3");
    // It has left the short window.
    assert_eq!(refund(&mut client, "k", 2, first), 2);
    assert_eq!(client.decide("RL.CHECK k 5 10 9 60")[2], 1);
    assert_eq!(client.decide("RL.CHECK k 9 60")[2], 4);
    clock.advance_millis(50_000);
    assert_eq!(refund(&mut client, "k", 2, first), 0);
}

#[test]
fn a_refund_of_the_last_unit_deletes_the_key_and_one_of_nothing_writes_nothing() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let first = receipt(&mut client, "RL.CHECK k 5 60 RECEIPT");
    let state = client.ask("GET k");
    for nothing in [0, 1, first - 1, first + 1, i64::MAX] {
        assert_eq!(refund(&mut client, "k", 1, nothing), 0);
    }
    assert_eq!(client.ask("GET k"), state);
    assert_eq!(refund(&mut client, "k", 1, first), 1);
    assert_eq!(client.ask("EXISTS k"), Value::Int(0));
    let line = format!("RL.REFUND k 1 RECEIPT {first}");
    assert_eq!(client.ask(&line), Value::Nil);
    clock.advance_millis(1);
    assert_eq!(client.ask(&line), Value::Nil);
}

#[test]
fn leases_end_when_they_are_given_back_or_when_their_time_is_over() {
    // The picture in docs/algorithms.md, second by second.
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let ask = "RL.CHECK jobs 3 10s RECEIPT";
    let to = |second: u64| clock.set(Clock::START + std::time::Duration::from_secs(second));
    let counted = |client: &mut Connection| 3 - client.decide("RL.PEEK jobs")[2];
    let ann = receipt(&mut client, ask);
    to(1);
    receipt(&mut client, ask);
    to(2);
    let carl = receipt(&mut client, ask);
    to(3);
    assert_eq!(row(&mut client, ask), [0, 3, 0, 7_000, 9_000, 0]);
    to(6);
    assert_eq!(refund(&mut client, "jobs", 1, ann), 1);
    assert_eq!(counted(&mut client), 2);
    to(7);
    receipt(&mut client, ask);
    assert_eq!(counted(&mut client), 3);
    to(9);
    let carl = receipt(&mut client, &format!("RL.CHECK jobs 3 10s RENEW {carl}"));
    assert_eq!(counted(&mut client), 3);
    to(10);
    assert_eq!(row(&mut client, ask), [0, 3, 0, 1_000, 9_000, 0]);
    to(11);
    receipt(&mut client, ask);
    assert_eq!(counted(&mut client), 3);
    to(15);
    assert_eq!(refund(&mut client, "jobs", 1, carl), 1);
    assert_eq!(counted(&mut client), 2);
    to(21);
    assert_eq!(client.ask("RL.PEEK jobs"), Value::Nil);
}

#[test]
fn a_renewal_takes_the_place_of_the_old_admission() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let old = receipt(&mut client, "RL.CHECK k 1 10 RECEIPT");
    clock.advance_millis(9_000);
    let renew = |receipt: i64| format!("RL.CHECK k 1 10 RENEW {receipt}");
    let new = receipt(&mut client, &renew(old));
    assert_eq!(new, old + 9_000_000);
    assert_eq!(client.decide("RL.CHECK k 1 10"), [0, 1, 0, 10_000, 10_000]);
    // The old one is gone, and the new one is there once.
    assert_eq!(row(&mut client, &renew(old))[0], 0);
    assert_eq!(refund(&mut client, "k", 5, new), 1);
    // Of what has left the window it is an ordinary request; so it is with a receipt of nothing.
    assert_eq!(row(&mut client, &renew(0))[0], 1);
    clock.advance_millis(10_000);
    assert_eq!(row(&mut client, &renew(new))[0], 1);
    assert_eq!(self::counted(&mut client, "receipts_renewed"), 1);
}

#[test]
fn a_renewal_that_is_denied_changes_nothing() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let mine = receipt(&mut client, "RL.CHECK k 5 60 COST 2 RECEIPT");
    clock.advance_millis(1_000);
    client.decide("RL.CHECK k 5 60 COST 3");
    let state = client.ask("GET k");
    // Of three that it asks for, one is not free, though two would be given back: until the others have left.
    let line = format!("RL.CHECK k 5 60 COST 3 RENEW {mine}");
    clock.advance_millis(1_000);
    assert_eq!(row(&mut client, &line), [0, 5, 0, 59_000, 59_000, 0]);
    assert_eq!(client.ask("GET k"), state);
    clock.advance_millis(58_999);
    assert_eq!(row(&mut client, &line)[0], 0);
    clock.advance_millis(1);
    assert_eq!(row(&mut client, &line)[0], 3);
    // A block denies it as everything else.
    client.decide("RL.CHECK k 5 60 COST 5 BLOCK 1h");
    let line = format!("RL.CHECK k 5 60 RENEW {}", clock.now().as_micros());
    assert_eq!(row(&mut client, &line)[3], 3_600_000);
    assert_eq!(self::counted(&mut client, "receipts_renewed"), 0);
}

#[test]
fn beyond_32_admissions_a_receipt_finds_its_units_in_the_group_that_they_joined() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let mut receipts = Vec::new();
    for _ in 0..100 {
        receipts.push(receipt(&mut client, "RL.CHECK k 100 60 RECEIPT"));
        clock.advance_millis(100);
    }
    for (given_back, receipt) in receipts.into_iter().enumerate() {
        let left = 100 - i64::try_from(given_back).unwrap();
        assert_eq!(client.decide("RL.CHECK k 100 60 COST 100")[2], 100 - left);
        assert_eq!(refund(&mut client, "k", 1, receipt), 1, "{given_back}");
    }
    assert_eq!(client.ask("EXISTS k"), Value::Int(0));
}

#[test]
fn receipts_of_rl_mcheck_are_one_for_all_keys_and_0_for_what_was_not_charged() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let now = i64::try_from(clock.now().as_micros()).unwrap();
    let rows: Vec<Vec<i64>> = redis::from_redis_value(
        client.ask("RL.MCHECK 3 a b c 5 60 900 60 3 60 COSTS 1 800 0 RECEIPT"),
    )
    .unwrap();
    assert_eq!(
        rows,
        [
            [1, 5, 4, 0, 60_000, now],
            [800, 900, 100, 0, 60_000, now],
            [0, 3, 3, 0, 0, 0]
        ]
    );
    assert_eq!(refund(&mut client, "b", 300, now), 300);
    let rows: Vec<Vec<i64>> =
        redis::from_redis_value(client.ask("RL.MCHECK 2 a b 5 60 900 60 COSTS 1 401 RECEIPT"))
            .unwrap();
    assert_eq!(
        rows,
        [[0, 5, 4, 0, 60_000, 0], [0, 900, 400, 60_000, 60_000, 0]]
    );
}

#[test]
fn what_is_refused() {
    let server = Server::start();
    let mut client = server.connect();
    let number = "ERR receipt must be an integer from 0 to 9223372036854775807";
    let syntax = "ERR syntax error";
    for (line, error) in [
        ("RL.CHECK k 5 60 RECEIPT RENEW 1", syntax),
        ("RL.CHECK k 5 60 RENEW 1 RECEIPT", syntax),
        ("RL.CHECK k 5 60 RECEIPT RECEIPT", syntax),
        ("RL.CHECK k 5 60 RENEW", syntax),
        ("RL.CHECK k 5 60 RENEW x", number),
        ("RL.CHECK k 5 60 RENEW -1", number),
        ("RL.CHECK k 5 60 RENEW 01", number),
        ("RL.CHECK k 5 60 RENEW 9223372036854775808", number),
        ("RL.GCRA k 5 60 RECEIPT", syntax),
        ("RL.GCRA k 5 60 RENEW 1", syntax),
        ("RL.MCHECK 1 k 5 60 RENEW 1", syntax),
        ("RL.REFUND k 1 RECEIPT", syntax),
        ("RL.REFUND k 1 RECEIPT 1 2", syntax),
        ("RL.REFUND k 1 RECEIVED 1", syntax),
        ("RL.REFUND k 1 RECEIPT x", number),
        ("RL.REFUND k 1 RECEIPT 99999999999999999999", number),
    ] {
        assert_eq!(client.refused(line), error, "{line}");
    }
    assert_eq!(client.ask("DBSIZE"), Value::Int(0));
    client.decide("RL.GCRA g 5 60");
    assert_eq!(
        client.refused("RL.REFUND g 1 RECEIPT 1"),
        "WRONGTYPE the key holds a gcra limiter (RL.GCRA), not a sliding-window one (RL.CHECK)"
    );
    // The greatest receipt is one.
    client.decide("RL.CHECK k 5 60");
    assert_eq!(refund(&mut client, "k", 1, i64::MAX), 0);
}
