//! What the commands refuse, and how: every error names the argument and its range, and changes nothing.

use crate::harness::clock::Clock;
use crate::harness::{Ask, Server};
use redis::Value;

const LIMIT: &str = "ERR limit must be an integer from 1 to 4294967295";
const COST: &str = "ERR cost must be an integer from 1 to 4294967295";
const BURST: &str = "ERR burst must be an integer from 1 to 4294967295";
const WINDOW: &str = "ERR window must be from 1ms to 10 years: an integer number of seconds, or with a unit: ms, s, m, h, d, w";
const BLOCK: &str = "ERR block must be from 1ms to 10 years: an integer number of seconds, or with a unit: ms, s, m, h, d, w";
const SYNTAX: &str = "ERR syntax error";
const FAST: &str = "ERR limit must be at most one unit per nanosecond of the window";
const SLOW: &str = "ERR burst must refill within 100 years (burst x window / limit)";

/// What is no integer from 1 to 4294967295 as core commands spell them.
const NOT_UNITS: [&str; 14] = [
    "0",
    "-1",
    "+1",
    "01",
    "00",
    "1.0",
    "1e3",
    "0x10",
    "1_000",
    "x",
    "4294967296",
    "18446744073709551617",
    "99999999999999999999999999",
    "٣",
];

/// What is no window.
const NOT_WINDOWS: [&str; 20] = [
    "0",
    "0s",
    "00",
    "-1",
    "+1s",
    "01s",
    "1.5s",
    "s",
    "ms",
    "x",
    "1S",
    "1M",
    "1us",
    "1min",
    "1y",
    "1mss",
    "315360000001ms",
    "315360001",
    "3651d",
    "522w",
];

fn all_refused(client: &mut redis::Connection, cases: &[(String, &str)]) {
    for (line, error) in cases {
        assert_eq!(&client.refused(line), error, "{line}");
    }
    assert_eq!(
        client.ask("DBSIZE"),
        Value::Int(0),
        "an error stores nothing"
    );
}

#[test]
fn the_number_of_arguments() {
    let server = Server::start();
    let mut client = server.connect();
    for (command, lines) in [
        (
            "rl.check",
            ["RL.CHECK", "RL.CHECK k", "RL.CHECK k 5"].as_slice(),
        ),
        ("rl.gcra", &["RL.GCRA", "RL.GCRA k", "RL.GCRA k 5"]),
        ("rl.peek", &["RL.PEEK"]),
        ("rl.reset", &["RL.RESET"]),
    ] {
        for line in lines {
            let error = format!("ERR wrong number of arguments for '{command}' command");
            assert_eq!(client.refused(line), error, "{line}");
        }
    }
}

#[test]
fn a_limit() {
    let server = Server::start();
    let cases: Vec<_> = NOT_UNITS
        .iter()
        .flat_map(|limit| {
            [
                (format!("RL.CHECK k {limit} 60"), LIMIT),
                (format!("RL.GCRA k {limit} 60"), LIMIT),
            ]
        })
        .chain([("RL.CHECK k 5 60 0 3600".into(), LIMIT)])
        .collect();
    all_refused(&mut server.connect(), &cases);
}

#[test]
fn a_window() {
    let server = Server::start();
    let cases: Vec<_> = NOT_WINDOWS
        .iter()
        .flat_map(|window| {
            [
                (format!("RL.CHECK k 5 {window}"), WINDOW),
                (format!("RL.GCRA k 5 {window}"), WINDOW),
                (format!("RL.CHECK k 5 60 5 {window}"), WINDOW),
            ]
        })
        .collect();
    all_refused(&mut server.connect(), &cases);
}

#[test]
fn a_cost_and_a_burst() {
    let server = Server::start();
    let cases: Vec<_> = NOT_UNITS
        .iter()
        .flat_map(|units| {
            [
                (format!("RL.CHECK k 5 60 COST {units}"), COST),
                (format!("RL.GCRA k 5 60 COST {units}"), COST),
                (format!("RL.PEEK k COST {units}"), COST),
                (format!("RL.GCRA k 5 60 BURST {units}"), BURST),
            ]
        })
        .collect();
    all_refused(&mut server.connect(), &cases);
}

#[test]
fn a_block() {
    let server = Server::start();
    let cases: Vec<_> = NOT_WINDOWS
        .iter()
        .flat_map(|block| {
            [
                (format!("RL.CHECK k 5 60 BLOCK {block}"), BLOCK),
                (format!("RL.GCRA k 5 60 BLOCK {block}"), BLOCK),
            ]
        })
        .collect();
    all_refused(&mut server.connect(), &cases);
}

#[test]
fn options_that_are_unknown_incomplete_repeated_or_exclusive() {
    let server = Server::start();
    let options = [
        "COST",
        "COSTS 1",
        "WHAT",
        "-1",
        "x",
        "COST 1 COST 1",
        "cost 1 Cost 2",
        "BLOCK",
        "BLOCK 1 BLOCK 1",
        "ATMOST ATMOST",
        "FORCE FORCE",
        "ATMOST FORCE",
        "FORCE ATMOST",
        "FORCE BLOCK 1",
        "BLOCK 1 FORCE",
        "COST 1 2",
    ];
    let mut cases: Vec<_> = options
        .iter()
        .flat_map(|options| {
            [
                (format!("RL.CHECK k 5 60 {options}"), SYNTAX),
                (format!("RL.GCRA k 5 60 {options}"), SYNTAX),
            ]
        })
        .collect();
    cases.extend(
        [
            "RL.CHECK k 5 60 BURST 5",
            "RL.GCRA k 5 60 BURST 5 BURST 5",
            "RL.GCRA k 5 60 BURST",
            "RL.GCRA k 5 60 5 3600",
            "RL.CHECK k 5 60 5",
            "RL.CHECK k 5 60 COST 1 5 3600",
            "RL.PEEK k 1",
            "RL.PEEK k COST",
            "RL.PEEK k COST 1 COST 1",
            "RL.PEEK k ATMOST",
            "RL.PEEK k BLOCK 1",
            "RL.PEEK k BURST 1",
        ]
        .map(|line| (line.to_owned(), SYNTAX)),
    );
    all_refused(&mut server.connect(), &cases);
}

#[test]
fn windows_that_repeat_or_are_too_many() {
    let server = Server::start();
    let nine: Vec<_> = (1..=9).map(|window| format!("5 {window}")).collect();
    let cases = [
        (
            "RL.CHECK k 5 60 6 1m".to_owned(),
            "ERR window must differ from the other windows named",
        ),
        (
            format!("RL.CHECK k {}", nine.join(" ")),
            "ERR window must be named at most 8 times",
        ),
    ];
    let mut client = server.connect();
    all_refused(&mut client, &cases);
    assert_eq!(
        client.decide(&format!("RL.CHECK k {}", nine[..8].join(" ")))[0],
        1
    );
}

#[test]
fn quotas_that_no_clock_can_tell() {
    let server = Server::start();
    let cases = [
        ("RL.GCRA k 1000001 1ms", FAST),
        ("RL.GCRA k 4294967295 4294ms", FAST),
        ("RL.GCRA k 1 10d BURST 3651", SLOW),
        ("RL.GCRA k 1 3650d BURST 11", SLOW),
        ("RL.GCRA k 2 3650d BURST 21", SLOW),
        ("RL.GCRA k 1 1s BURST 3153600001", SLOW),
        ("RL.GCRA k 1 3650d BURST 4294967295", SLOW),
    ]
    .map(|(line, error)| (line.to_owned(), error));
    let mut client = server.connect();
    all_refused(&mut client, &cases);
    for line in [
        "RL.GCRA a 1000000 1ms",
        "RL.GCRA b 4294967295 4295ms",
        "RL.GCRA c 1 10d BURST 3650",
        "RL.GCRA d 1 3650d BURST 10",
        "RL.GCRA e 2 3650d BURST 20",
        "RL.GCRA f 1 1s BURST 3153600000",
    ] {
        assert_eq!(client.decide(line)[0], 1, "{line}");
    }
}

#[test]
fn the_bounds_themselves_are_accepted() {
    let server = Server::start();
    let mut client = server.connect();
    for (at, window) in [
        "1ms",
        "1",
        "1s",
        "1m",
        "1h",
        "1d",
        "1w",
        "315360000000ms",
        "315360000",
        "5256000m",
        "87600h",
        "3650d",
        "521w",
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(
            client.decide(&format!("RL.CHECK w{at} 1 {window} COST 1"))[0],
            1,
            "{window}"
        );
    }
    assert_eq!(
        client.decide("RL.CHECK l 4294967295 1 COST 4294967295")[0],
        4_294_967_295
    );
    assert_eq!(client.decide("RL.CHECK b 1 1 BLOCK 3650d")[0], 1);
    assert_eq!(
        client.decide("RL.CHECK b 1 1 BLOCK 3650d")[3],
        315_360_000_000
    );
}

#[test]
fn units_of_time_are_what_they_say() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    for (window, millis) in [
        ("500ms", 500),
        ("30", 30_000),
        ("30s", 30_000),
        ("5m", 300_000),
        ("1h", 3_600_000),
        ("7d", 604_800_000),
        ("4w", 2_419_200_000),
    ] {
        let [.., reset_after] = client.decide(&format!("RL.CHECK {window} 1 {window}"));
        assert_eq!(reset_after, millis, "{window}");
    }
}

#[test]
fn options_go_in_any_case_and_any_order() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    for line in [
        "RL.GCRA k 5 60 COST 2 BURST 9 ATMOST BLOCK 1",
        "rl.gcra k 5 60 block 1 atmost burst 9 cost 2",
        "Rl.Gcra k 5 60 AtMost Cost 2 Block 1s BuRsT 9",
    ] {
        assert_eq!(client.decide(line)[..2], [2, 9], "{line}");
    }
}

#[test]
fn an_error_repeats_nothing_that_the_client_sent() {
    let server = Server::start();
    let mut client = server.connect();
    for words in [
        ["RL.CHECK", "k", "secret", "60"].as_slice(),
        &["RL.CHECK", "k", "5", "secret"],
        &["RL.CHECK", "k", "5", "60", "secret"],
        &["RL.CHECK", "k", "5", "60", "COST", "secret"],
        &["RL.GCRA", "k", "5", "60", "BURST", "secret"],
        &["RL.PEEK", "k", "secret"],
    ] {
        let words: Vec<_> = words.iter().map(|word| word.as_bytes()).collect();
        let error = client.ask_bytes(&words).unwrap_err();
        assert!(
            error.starts_with("ERR ") && !error.contains("secret"),
            "{error}"
        );
    }
}
