//! `UPTO`: blocks in a row grow.

use crate::harness::clock::Clock;
use crate::harness::{Ask, Server};
use redis::{Connection, Value};

const ASK: &str = "RL.CHECK k 1 10ms BLOCK 1m UPTO 5m";

/// Lets a block start, and returns how long it lasts.
fn block(client: &mut Connection, line: &str) -> i64 {
    client.decide(&line.replace("BLOCK 1m UPTO 5m", ""));
    let denied = client.decide(line);
    assert_eq!(denied[0], 0);
    denied[3]
}

fn blocks(client: &mut Connection) -> Option<i64> {
    match client.ask("RL.INFO k") {
        Value::Nil => None,
        Value::Array(fields) => {
            assert_eq!(fields[6], Value::BulkString(b"blocks".to_vec()));
            Some(redis::from_redis_value(fields[7].clone()).unwrap())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_lasts_twice_as_long_as_the_one_before_up_to_the_longest() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    for (count, minutes) in [(1, 1), (2, 2), (3, 4), (4, 5), (5, 5)] {
        assert_eq!(block(&mut client, ASK), minutes * 60_000);
        assert_eq!(blocks(&mut client), Some(count));
        // A denial within a block does not count.
        client.decide(ASK);
        assert_eq!(blocks(&mut client), Some(count));
        clock.advance_millis(minutes * 60_000);
    }
    let info: String = redis::from_redis_value(client.ask("INFO ratelimit")).unwrap();
    assert!(info.contains("ratelimit_blocks_grown:4\r\n"), "{info}");
}

#[test]
fn they_are_forgotten_when_the_longest_duration_has_passed_since_the_last_one_s_end() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    block(&mut client, ASK);
    assert_eq!(client.ask("PTTL k"), Value::Int(360_000));
    clock.advance_millis(60_000 + 299_999);
    // Nothing else is in use.
    assert_eq!(client.ask("RL.PEEK k"), Value::Nil);
    assert_eq!(client.ask("RL.REFUND k 1"), Value::Nil);
    assert_eq!(blocks(&mut client), Some(1));
    clock.advance_millis(1);
    assert_eq!(blocks(&mut client), None);
    assert_eq!(block(&mut client, ASK), 60_000);
    // Just before, it is remembered.
    clock.advance_millis(60_000 + 299_999);
    assert_eq!(block(&mut client, ASK), 120_000);
}

#[test]
fn a_plain_block_neither_counts_nor_forgets() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    block(&mut client, ASK);
    clock.advance_millis(60_000);
    client.decide("RL.CHECK k 1 10ms");
    assert_eq!(client.decide("RL.CHECK k 1 10ms BLOCK 10s")[3], 10_000);
    assert_eq!(blocks(&mut client), Some(1));
    clock.advance_millis(10_000);
    assert_eq!(block(&mut client, ASK), 120_000);
    assert_eq!(blocks(&mut client), Some(2));
}

#[test]
fn a_reset_forgets_them_and_a_restart_does_not() {
    let (mut server, clock) = Clock::start();
    let mut client = server.connect();
    block(&mut client, ASK);
    client.ask("RL.RESET k");
    assert_eq!(block(&mut client, ASK), 60_000);
    client.ask("SAVE");
    server.restart();
    let mut client = server.connect();
    assert_eq!(blocks(&mut client), Some(1));
    clock.advance_millis(60_000);
    assert_eq!(block(&mut client, ASK), 120_000);
}

#[test]
fn a_clock_that_is_set_back_keeps_the_block_and_what_is_remembered_as_long() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    block(&mut client, ASK);
    clock.advance_millis(30_000);
    clock.step_back(std::time::Duration::from_secs(3_600));
    assert_eq!(client.decide(ASK)[3], 60_000);
    clock.advance_millis(60_000);
    assert_eq!(block(&mut client, ASK), 120_000);
}

#[test]
fn of_a_bucket_too() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let ask = "RL.GCRA k 1 10ms BLOCK 1m UPTO 5m";
    assert_eq!(block(&mut client, ask), 60_000);
    clock.advance_millis(60_000);
    assert_eq!(block(&mut client, ask), 120_000);
    assert_eq!(blocks(&mut client), Some(2));
}

#[test]
fn the_longest_duration_may_be_the_first() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let ask = "RL.CHECK k 1 10ms BLOCK 3650d UPTO 3650d";
    client.decide("RL.CHECK k 1 10ms");
    assert_eq!(client.decide(ask)[3], 315_360_000_000);
    assert_eq!(client.ask("PTTL k"), Value::Int(2 * 315_360_000_000));
    clock.advance_millis(1);
    assert_eq!(client.decide(ask)[3], 315_359_999_999);
}

#[test]
fn what_is_refused() {
    let server = Server::start();
    let mut client = server.connect();
    let duration = "ERR upto must be from 1ms to 10 years: an integer number of seconds, or with a unit: ms, s, m, h, d, w";
    let shorter = "ERR upto must be at least as long as block";
    let syntax = "ERR syntax error";
    for (line, error) in [
        ("RL.CHECK k 5 60 UPTO 1m", syntax),
        ("RL.CHECK k 5 60 BLOCK 1s UPTO 1m UPTO 1m", syntax),
        ("RL.CHECK k 5 60 BLOCK 1s UPTO 1m FORCE", syntax),
        ("RL.CHECK k 5 60 BLOCK 1s UPTO", syntax),
        ("RL.MCHECK 1 k 5 60 BLOCK 1s UPTO 1m", syntax),
        ("RL.CHECK k 5 60 BLOCK 1m UPTO 59999ms", shorter),
        ("RL.GCRA k 5 60 UPTO 1s BLOCK 1m", shorter),
        ("RL.CHECK k 5 60 BLOCK 1m UPTO 0", duration),
        ("RL.CHECK k 5 60 BLOCK 1m UPTO x", duration),
        ("RL.CHECK k 5 60 BLOCK 1m UPTO 3651d", duration),
    ] {
        assert_eq!(client.refused(line), error, "{line}");
    }
    assert_eq!(client.ask("DBSIZE"), Value::Int(0));
}
