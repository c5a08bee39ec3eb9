//! `INFO ratelimit`: what the module has done.

use std::collections::BTreeMap;

use crate::harness::clock::Clock;
use crate::harness::{Ask, Server, Setup, eventually};
use redis::Connection;

fn metrics(client: &mut Connection, section: &str) -> BTreeMap<String, u64> {
    let text: String = redis::from_redis_value(client.ask(&format!("INFO {section}"))).unwrap();
    fields(&text)
}

fn fields(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|line| line.strip_prefix("ratelimit_")?.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

/// The fields that are not 0.
fn counted(client: &mut Connection) -> Vec<(String, u64)> {
    metrics(client, "ratelimit")
        .into_iter()
        .filter(|(_, value)| *value > 0)
        .collect()
}

#[track_caller]
fn assert_counted(client: &mut Connection, expected: &[(&str, u64)]) {
    let mut expected: Vec<_> = expected
        .iter()
        .map(|(name, value)| ((*name).to_owned(), *value))
        .collect();
    expected.sort();
    assert_eq!(counted(client), expected);
}

#[test]
fn every_decision_is_counted_once_by_its_outcome_and_command() {
    let server = Server::start();
    let mut client = server.connect();
    assert_counted(&mut client, &[]);
    for line in [
        "RL.CHECK c 5 1h COST 4",
        "RL.CHECK c 5 1h COST 4",
        "RL.CHECK c 5 1h COST 6",
        "RL.CHECK c 5 1h COST 4 ATMOST",
        "RL.GCRA g 5 1h COST 3",
        "RL.GCRA g 5 1h COST 3",
        "RL.MCHECK 2 a b 5 1h 9 1h COST 5",
        "RL.MCHECK 2 a b 5 1h 9 1h COST 5",
        "RL.MCHECK 2 a b 5 1h 9 1h COST 6",
        "CL.THROTTLE t 1 5 60",
        "CL.THROTTLE t 1 5 60 2",
        "CL.THROTTLE t 1 5 60 3",
        "CL.THROTTLE t 1 5 60 0",
        "RL.PEEK c",
        "RL.PEEK c COST 9",
        "RL.INFO c",
        "RL.REFUND c 2",
        "RL.RESET c g nothing",
        "RL.TOP",
    ] {
        client.ask(line);
    }
    assert_counted(
        &mut client,
        &[
            ("calls", 19),
            ("decisions", 12),
            ("granted", 5),
            ("denied", 4),
            ("impossible", 3),
            ("units_granted", 4 + 1 + 3 + 10 + 1),
            ("units_refunded", 2),
            ("keys_reset", 2),
            ("check_calls", 4),
            ("check_granted", 2),
            ("check_denied", 1),
            ("check_impossible", 1),
            ("gcra_calls", 2),
            ("gcra_granted", 1),
            ("gcra_denied", 1),
            ("mcheck_calls", 3),
            ("mcheck_granted", 1),
            ("mcheck_denied", 1),
            ("mcheck_impossible", 1),
            ("throttle_calls", 4),
            ("throttle_granted", 1),
            ("throttle_denied", 1),
            ("throttle_impossible", 1),
            ("peek_calls", 2),
            ("info_calls", 1),
            ("refund_calls", 1),
            ("reset_calls", 1),
            ("top_calls", 1),
        ],
    );
}

#[test]
fn receipts_and_blocks_that_grow_are_counted_when_something_came_of_them() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let first = client.receipt("RL.CHECK lease 2 1h COST 2 RECEIPT");
    clock.advance_millis(1);
    let renewed = client.receipt(&format!("RL.CHECK lease 2 1h COST 2 RENEW {first}"));
    clock.advance_millis(1);
    for line in [
        // Denied; and of a receipt that is no more, which is an ordinary request.
        &format!("RL.CHECK lease 2 1h COST 3 RENEW {renewed}"),
        &format!("RL.CHECK other 2 1h RENEW {first}"),
        // Something is given back twice, then nothing, and then something without a receipt.
        &format!("RL.REFUND lease 1 RECEIPT {renewed}"),
        &format!("RL.REFUND lease 5 RECEIPT {renewed}"),
        &format!("RL.REFUND lease 1 RECEIPT {renewed}"),
        &format!("RL.REFUND other 1 RECEIPT {first}"),
        "RL.REFUND other 1",
        // The first block, a denial within it, the second, and a plain one.
        "RL.CHECK login 1 1ms COST 1",
        "RL.CHECK login 1 1ms BLOCK 1s UPTO 1h",
        "RL.CHECK login 1 1ms BLOCK 1s UPTO 1h",
    ] {
        client.ask(line);
    }
    for block in ["BLOCK 1s UPTO 1h", "BLOCK 1s"] {
        clock.advance_millis(2_000);
        client.ask("RL.CHECK login 1 1ms");
        client.ask(&format!("RL.CHECK login 1 1ms {block}"));
    }
    let counted = metrics(&mut client, "ratelimit");
    let counted = |name: &str| counted[name];
    assert_eq!(counted("receipts_renewed"), 1);
    assert_eq!(counted("receipts_refunded"), 2);
    assert_eq!(counted("units_refunded"), 3);
    assert_eq!(counted("blocks_grown"), 1);
    assert_eq!(counted("denied"), 4);
    assert_eq!(counted("impossible"), 1);
}

#[test]
fn every_error_is_counted_once_by_its_kind_and_command() {
    let server = Server::start();
    let mut client = server.connect();
    client.ask("RPUSH list 1");
    client.decide("RL.CHECK newer 5 1h");
    client
        .ask_bytes(&[b"SETRANGE", b"newer", b"2", b"\x07"])
        .unwrap();
    for line in [
        "RL.CHECK k 0 1h",
        "RL.CHECK list 5 1h",
        "RL.GCRA k 5 1h WHAT",
        "RL.GCRA list 5 1h",
        "RL.MCHECK 1 list 5 1h",
        "RL.PEEK newer",
        "RL.INFO list",
        "RL.REFUND k 0",
        "RL.RESET list",
        "RL.TOP x",
        "CL.THROTTLE k 1 0 1",
    ] {
        client.refused(line);
    }
    assert_counted(
        &mut client,
        &[
            ("calls", 12),
            ("decisions", 1),
            ("granted", 1),
            ("units_granted", 1),
            ("errors", 11),
            ("errors_argument", 5),
            ("errors_wrongtype", 5),
            ("errors_version", 1),
            ("check_calls", 3),
            ("check_granted", 1),
            ("check_errors", 2),
            ("gcra_calls", 2),
            ("gcra_errors", 2),
            ("mcheck_calls", 1),
            ("mcheck_errors", 1),
            ("peek_calls", 1),
            ("peek_errors", 1),
            ("info_calls", 1),
            ("info_errors", 1),
            ("refund_calls", 1),
            ("refund_errors", 1),
            ("reset_calls", 1),
            ("reset_errors", 1),
            ("top_calls", 1),
            ("top_errors", 1),
            ("throttle_calls", 1),
            ("throttle_errors", 1),
        ],
    );
}

#[test]
fn transactions_scripts_and_pipelines_count_like_single_calls() {
    let server = Server::start();
    let mut client = server.connect();
    client.ask("MULTI");
    for _ in 0..3 {
        client.ask("RL.CHECK k 4 1h");
    }
    // Queued, but not carried out.
    let mut other = server.connect();
    assert_counted(&mut other, &[]);
    client.ask("EXEC");
    let script = "for i = 1, 3 do redis.call('RL.CHECK', KEYS[1], 4, '1h') end";
    client
        .ask_bytes(&[b"EVAL", script.as_bytes(), b"1", b"k"])
        .unwrap();
    let mut pipeline = redis::pipe();
    for _ in 0..100 {
        pipeline.cmd("RL.CHECK").arg("k").arg(4).arg("1h").ignore();
    }
    pipeline.query::<()>(&mut client).unwrap();
    assert_counted(
        &mut client,
        &[
            ("calls", 106),
            ("decisions", 106),
            ("granted", 4),
            ("denied", 102),
            ("units_granted", 4),
            ("check_calls", 106),
            ("check_granted", 4),
            ("check_denied", 102),
        ],
    );
}

#[test]
fn the_section_is_there_by_its_name_and_among_the_modules() {
    let server = Server::start();
    let mut client = server.connect();
    client.decide("RL.CHECK k 4 1h");
    let by_name = metrics(&mut client, "ratelimit");
    assert_eq!(by_name["granted"], 1);
    assert_eq!(metrics(&mut client, "modules"), by_name);
    assert_eq!(metrics(&mut client, "everything"), by_name);
    assert!(metrics(&mut client, "server").is_empty());
}

#[test]
fn a_crash_report_shows_the_section() {
    let mut server = Setup::new()
        .arguments(["--enable-debug-command", "yes"])
        .start();
    let mut client = server.connect();
    client.decide("RL.CHECK k 4 1h COST 3");
    client.refused("RL.CHECK k 0 1h");
    let before = metrics(&mut client, "ratelimit");
    assert_eq!(before["units_granted"], 3);
    client.refused("DEBUG SEGFAULT");
    eventually("the end of the server", || {
        (!server.is_alive()).then_some(())
    });
    let log = server.log();
    let (_, modules) = log.split_once("MODULES INFO OUTPUT").unwrap();
    assert_eq!(fields(modules), before);
}
