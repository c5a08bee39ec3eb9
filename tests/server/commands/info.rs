//! `RL.INFO` on a real server.

use crate::harness::Ask;
use crate::harness::clock::Clock;
use redis::Value;

fn text(text: &str) -> Value {
    Value::BulkString(text.as_bytes().to_vec())
}

fn fields(names_and_values: &[(&str, i64)]) -> Vec<(Value, Value)> {
    names_and_values
        .iter()
        .map(|(name, value)| (text(name), Value::Int(*value)))
        .collect()
}

fn flat(pairs: Vec<(Value, Value)>) -> Value {
    Value::Array(
        pairs
            .into_iter()
            .flat_map(|(name, value)| [name, value])
            .collect(),
    )
}

/// What RESP3 and RESP2 make of the same limiter.
fn both(algorithm: &str, blocked_for: i64, windows: &[&[(&str, i64)]]) -> [Value; 2] {
    let pairs = |windows| {
        vec![
            (text("algorithm"), text(algorithm)),
            (text("blocked_for"), Value::Int(blocked_for)),
            (text("windows"), Value::Array(windows)),
            (text("blocks"), Value::Int(0)),
        ]
    };
    [
        Value::Map(pairs(
            windows
                .iter()
                .map(|window| Value::Map(fields(window)))
                .collect(),
        )),
        flat(pairs(
            windows.iter().map(|window| flat(fields(window))).collect(),
        )),
    ]
}

#[test]
fn it_tells_everything_about_a_limiter() {
    let (server, clock) = Clock::start();
    let [mut resp3, mut resp2] = [server.connect_resp3(), server.connect()];
    resp2.decide("RL.CHECK c 5 60 9 1h COST 2");
    resp2.decide("RL.GCRA g 1 1s BURST 4 COST 4");
    clock.advance_millis(500);
    resp2.decide("RL.CHECK c 5 60 9 1h COST 3");
    let expected = both(
        "sliding-window",
        0,
        &[
            &[
                ("limit", 5),
                ("window", 60_000),
                ("used", 5),
                ("remaining", 0),
                ("retry_after", 59_500),
                ("next_after", 59_500),
                ("reset_after", 60_000),
            ],
            &[
                ("limit", 9),
                ("window", 3_600_000),
                ("used", 5),
                ("remaining", 4),
                ("retry_after", 0),
                ("next_after", 3_599_500),
                ("reset_after", 3_600_000),
            ],
        ],
    );
    assert_eq!([resp3.ask("RL.INFO c"), resp2.ask("RL.INFO c")], expected);
    let expected = both(
        "gcra",
        0,
        &[&[
            ("limit", 1),
            ("window", 1_000),
            ("burst", 4),
            ("used", 4),
            ("remaining", 0),
            ("retry_after", 500),
            ("next_after", 500),
            ("reset_after", 3_500),
        ]],
    );
    assert_eq!([resp3.ask("RL.INFO g"), resp2.ask("RL.INFO g")], expected);
}

#[test]
fn it_shows_a_block_and_more_in_use_than_a_lowered_limit() {
    let (server, clock) = Clock::start();
    let mut client = server.connect_resp3();
    client.decide("RL.CHECK k 5 60 COST 3");
    clock.advance_millis(1_000);
    client.decide("RL.CHECK k 5 60 COST 2");
    client.decide("RL.CHECK k 2 60 BLOCK 30s");
    let [expected, _] = both(
        "sliding-window",
        30_000,
        &[&[
            ("limit", 2),
            ("window", 60_000),
            ("used", 5),
            ("remaining", 0),
            ("retry_after", 60_000),
            ("next_after", 60_000),
            ("reset_after", 60_000),
        ]],
    );
    assert_eq!(client.ask("RL.INFO k"), expected);
}

#[test]
fn it_is_null_if_nothing_is_in_use() {
    let (server, clock) = Clock::start();
    for mut client in [server.connect(), server.connect_resp3()] {
        assert_eq!(client.ask("RL.INFO k"), Value::Nil);
        client.decide("RL.GCRA k 1 1ms");
        clock.advance_millis(1);
        assert_eq!(client.ask("RL.INFO k"), Value::Nil);
    }
}

#[test]
fn it_refuses_what_is_no_limiter() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    client.ask("RPUSH list 1");
    assert!(client.refused("RL.INFO list").starts_with("WRONGTYPE "));
    assert_eq!(
        client.refused("RL.INFO"),
        "ERR wrong number of arguments for 'rl.info' command"
    );
    assert_eq!(
        client.refused("RL.INFO k COST 1"),
        "ERR wrong number of arguments for 'rl.info' command"
    );
}
