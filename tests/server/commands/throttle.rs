//! `CL.THROTTLE` on a real server: redis-cell's command, for its clients and on its data.

use std::time::Duration;

use crate::harness::clock::Clock;
use crate::harness::{Ask, Setup};
use redis::Value;
use redis_cell_rs::{AllowedDetails, BlockedDetails, Cmd, Key, Policy, Verdict};
use serde_json::Value as Json;

#[test]
fn the_published_case_table() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let table: Json =
        serde_json::from_str(include_str!("../../vectors/gcra-classic.json")).unwrap();
    let start = clock.now();
    let seconds = |millis: i64| {
        if millis > 0 {
            (millis + 999) / 1_000
        } else {
            millis
        }
    };
    let rows = table["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 16);
    for row in rows {
        let row: Vec<i64> = row
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_i64().unwrap())
            .collect();
        let [t, cost, granted, remaining, reset_after, retry_after] = row[..] else {
            panic!("{row:?}");
        };
        clock.set(start + Duration::from_millis(t.try_into().unwrap()));
        let limited = i64::from(cost > 0 && granted == 0);
        let retry_after = if limited == 1 {
            seconds(retry_after)
        } else {
            -1
        };
        assert_eq!(
            client.decide(&format!("CL.THROTTLE k 4 5 5 {cost}")),
            [limited, 5, remaining, retry_after, seconds(reset_after)],
            "{row:?}"
        );
    }
}

#[test]
fn the_client_crate_works_unchanged() {
    let (server, clock) = Clock::start();
    let mut connection = server.connect();
    let policy = Policy::from_tokens_per_period(30, Duration::from_secs(60)).max_burst(1);
    let key = Key::from("user123");
    let mut verdict = || {
        let command: redis::Cmd = Cmd::new(&key, &policy).into();
        command.query::<Verdict>(&mut connection).unwrap()
    };
    for (left, full_in) in [(1, 2), (0, 4)] {
        let Verdict::Allowed(AllowedDetails {
            total,
            remaining,
            reset_after,
            ..
        }) = verdict()
        else {
            panic!("blocked");
        };
        assert_eq!((total, remaining, reset_after), (2, left, full_in));
    }
    clock.advance_millis(500);
    let Verdict::Blocked(BlockedDetails {
        total,
        remaining,
        retry_after,
        reset_after,
        ..
    }) = verdict()
    else {
        panic!("allowed");
    };
    // One and a half seconds, and three and a half: rounded up.
    assert_eq!((total, remaining, retry_after, reset_after), (2, 0, 2, 4));
}

#[test]
fn a_quantity_of_zero_reads_and_writes_nothing() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    assert_eq!(client.decide("CL.THROTTLE k 4 5 5 0"), [0, 5, 5, -1, 0]);
    assert_eq!(client.ask("EXISTS k"), Value::Int(0));
    client.decide("CL.THROTTLE k 4 5 5 5");
    let before = client.ask("DUMP k");
    // Also with other parameters, and if a request would be denied.
    assert_eq!(client.decide("CL.THROTTLE k 4 5 5 0"), [0, 5, 0, -1, 5]);
    assert_eq!(client.decide("CL.THROTTLE k 9 10 5 0"), [0, 10, 0, -1, 5]);
    assert_eq!(client.ask("DUMP k"), before);
}

#[test]
fn what_broke_the_original_does_not_break_this() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    // Keys of any bytes, and keys that hold something else.
    let binary = client.ask_bytes(&[b"CL.THROTTLE", b"\xff\xfe\0", b"0", b"1", b"60"]);
    assert_eq!(
        redis::from_redis_value::<Vec<i64>>(binary.unwrap()).unwrap(),
        [0, 1, 0, -1, 60]
    );
    for line in [
        "SET text hello",
        "SET number 42",
        "RPUSH list 1",
        "HSET hash a b",
    ] {
        client.ask(line);
        let key = line.split(' ').nth(1).unwrap();
        let before = client.ask(&format!("DUMP {key}"));
        for quantity in [0, 1] {
            let error = client.refused(&format!("CL.THROTTLE {key} 4 5 5 {quantity}"));
            assert!(error.starts_with("WRONGTYPE "), "{error}");
        }
        assert_eq!(client.ask(&format!("DUMP {key}")), before);
    }
    // High rates are enforced: 50,000 a second without a burst, over a second.
    let mut granted = 0;
    for _ in 0..2_000 {
        granted += 1 - client.decide("CL.THROTTLE fast 0 50000 1")[0];
        clock.advance(Duration::from_micros(10));
    }
    assert_eq!(granted, 1_000);
    // A limited request never has a retry time of 0, and one that can never be granted has -1.
    client.decide("CL.THROTTLE r 0 1000 1");
    assert_eq!(client.decide("CL.THROTTLE r 0 1000 1"), [1, 1, 0, 1, 1]);
    assert_eq!(client.decide("CL.THROTTLE r 0 1000 1 2")[3], -1);
}

#[test]
fn arguments_that_are_refused() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    let max_burst = "ERR max_burst must be an integer from 0 to 4294967294";
    let count = "ERR count_per_period must be an integer from 1 to 4294967295";
    let period = "ERR period must be an integer number of seconds from 1 to 315360000";
    let quantity = "ERR quantity must be an integer from 0 to 4294967295";
    let arity = "ERR wrong number of arguments for 'cl.throttle' command";
    for (line, error) in [
        ("CL.THROTTLE", arity),
        ("CL.THROTTLE k", arity),
        ("CL.THROTTLE k 4 5", arity),
        ("CL.THROTTLE k 4 5 5 1 1", "ERR syntax error"),
        ("CL.THROTTLE k -1 5 5", max_burst),
        ("CL.THROTTLE k x 5 5", max_burst),
        ("CL.THROTTLE k 4294967295 5 5", max_burst),
        ("CL.THROTTLE k 9223372036854775807 5 5", max_burst),
        ("CL.THROTTLE k 4 0 5", count),
        ("CL.THROTTLE k 4 -5 5", count),
        ("CL.THROTTLE k 4 99999999999999999999 5", count),
        (
            "CL.THROTTLE k 4 4294967295 1",
            "ERR count_per_period must be at most one unit per nanosecond of the period",
        ),
        ("CL.THROTTLE k 4 5 0", period),
        ("CL.THROTTLE k 4 5 -5", period),
        ("CL.THROTTLE k 4 5 315360001", period),
        ("CL.THROTTLE k 4 5 5m", period),
        ("CL.THROTTLE k 4 5 5 -1", quantity),
        ("CL.THROTTLE k 4 5 5 1.5", quantity),
        ("CL.THROTTLE k 4 5 5 4294967296", quantity),
        (
            "CL.THROTTLE k 4294967294 1 315360000",
            "ERR max_burst must refill within 100 years ((max_burst + 1) x period / count_per_period)",
        ),
    ] {
        assert_eq!(client.refused(line), error, "{line}");
    }
    assert_eq!(client.ask("DBSIZE"), Value::Int(0));
    assert_eq!(
        client.decide("CL.THROTTLE k 4294967294 4294967295 315360000")[1],
        4_294_967_295
    );
}

#[test]
fn redis_cells_own_keys_go_on_counting() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    // Five at once, one a second; three are in use, the last of them for another 2,400 ms. Such a key expires when
    // whole seconds have passed, or, in the newest release, milliseconds.
    let tat = clock.now() + Duration::from_micros(2_400_000);
    for (key, ttl) in [("floor", 2_000), ("exact", 2_400), ("ceil", 3_000)] {
        client.ask(&format!("SET {key} {} PX {ttl}", tat.as_nanos()));
        let before = client.ask(&format!("DUMP {key}"));
        // It stays as it is if it is only looked at, and after a denial.
        assert_eq!(
            client.decide(&format!("CL.THROTTLE {key} 4 5 5 0")),
            [0, 5, 2, -1, 3],
            "{key}"
        );
        assert_eq!(
            client.decide(&format!("CL.THROTTLE {key} 4 5 5 3")),
            [1, 5, 2, 1, 3],
            "{key}"
        );
        assert_eq!(client.ask(&format!("DUMP {key}")), before, "{key}");
        // The next grant makes it one of ours.
        assert_eq!(
            client.decide(&format!("CL.THROTTLE {key} 4 5 5")),
            [0, 5, 1, -1, 4],
            "{key}"
        );
        assert_eq!(
            client.decide(&format!("RL.PEEK {key}")),
            [1, 5, 1, 0, 3_400],
            "{key}"
        );
        assert_eq!(client.ask(&format!("PTTL {key}")), Value::Int(3_400));
    }
    clock.advance_millis(400);
    assert_eq!(client.decide("CL.THROTTLE exact 4 5 5 2"), [0, 5, 0, -1, 5]);
}

#[test]
fn other_numbers_are_not_taken_for_redis_cells() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let tat = (clock.now() + Duration::from_secs(60)).as_nanos();
    for line in [
        // No expiry; one too far from the number; other lengths; not a number.
        format!("SET k {tat}"),
        format!("SET k {tat} EX 90"),
        format!("SET k {tat} EX 57"),
        format!("SET k {tat}0 EX 60"),
        format!("SET k {} EX 60", tat / 1_000),
        "SET k 170000006000000000x EX 60".to_owned(),
        "SET k 0000000000000000000 EX 60".to_owned(),
    ] {
        client.ask(&line);
        let before = client.ask("DUMP k");
        assert!(
            client
                .refused("CL.THROTTLE k 4 5 5")
                .starts_with("WRONGTYPE "),
            "{line}"
        );
        assert_eq!(client.ask("DUMP k"), before, "{line}");
    }
    // Nor does any other command read redis-cell's.
    client.ask(&format!("SET k {tat} EX 60"));
    for line in [
        "RL.GCRA k 5 5",
        "RL.CHECK k 5 5",
        "RL.PEEK k",
        "RL.INFO k",
        "RL.REFUND k 1",
        "RL.RESET k",
    ] {
        assert!(client.refused(line).starts_with("WRONGTYPE "), "{line}");
    }
}

#[test]
fn it_shares_its_state_with_gcra() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.GCRA k 5 5 COST 2");
    assert_eq!(client.decide("CL.THROTTLE k 4 5 5"), [0, 5, 2, -1, 3]);
    assert_eq!(client.decide("RL.PEEK k"), [1, 5, 2, 0, 3_000]);
    client.decide("RL.CHECK c 5 5");
    assert!(
        client
            .refused("CL.THROTTLE c 4 5 5")
            .starts_with("WRONGTYPE ")
    );
}

#[test]
fn without_it_the_name_is_free() {
    let server = Setup::new().module_arguments(["cl-throttle", "no"]).start();
    let mut client = server.connect();
    assert!(
        client
            .refused("CL.THROTTLE k 4 5 5")
            .starts_with("ERR unknown command")
    );
    assert_eq!(client.decide("RL.CHECK k 5 5")[0], 1);
}
