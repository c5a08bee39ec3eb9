//! `RL.MCHECK` with a cost for each key, and with `FORCE`.

use crate::harness::clock::Clock;
use crate::harness::{Ask, Server};
use redis::{Connection, Value};

fn rows(client: &mut Connection, line: &str) -> Vec<Vec<i64>> {
    redis::from_redis_value(client.ask(line)).unwrap()
}

#[test]
fn each_key_has_its_own_cost() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let line = "RL.MCHECK 2 requests tokens 5 60 1000 60 COSTS 1 600";
    assert_eq!(
        rows(&mut client, line),
        [[1, 5, 4, 0, 60_000], [600, 1_000, 400, 0, 60_000]]
    );
    clock.advance_millis(1_000);
    for _ in 0..2 {
        assert_eq!(
            rows(&mut client, line),
            [[0, 5, 4, 0, 59_000], [0, 1_000, 400, 59_000, 59_000]]
        );
    }
    // What one can never grant is never granted.
    let line = "RL.MCHECK 2 requests tokens 5 60 1000 60 COSTS 1 1001";
    assert_eq!(rows(&mut client, line)[1][3], -1);
    let info: String = redis::from_redis_value(client.ask("INFO ratelimit")).unwrap();
    assert!(info.contains("ratelimit_units_granted:601\r\n"), "{info}");
}

#[test]
fn a_cost_of_0_needs_a_free_unit_and_takes_none() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let line = "RL.MCHECK 2 requests tokens 9 60 2 30 COSTS 1 0";
    assert_eq!(
        rows(&mut client, line),
        [[1, 9, 8, 0, 60_000], [0, 2, 2, 0, 0]]
    );
    assert_eq!(client.ask("EXISTS tokens"), Value::Int(0));
    // What was used is paid afterwards.
    client.decide("RL.CHECK tokens 2 30 COST 3 FORCE");
    clock.advance_millis(10_000);
    assert_eq!(
        rows(&mut client, line),
        [[0, 9, 8, 0, 50_000], [0, 2, 0, 20_000, 20_000]]
    );
    clock.advance_millis(20_000);
    assert_eq!(
        rows(&mut client, line),
        [[1, 9, 7, 0, 60_000], [0, 2, 2, 0, 0]]
    );
}

#[test]
fn a_key_that_is_charged_nothing_is_stored_only_if_its_parameters_changed() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.CHECK tokens 9 60");
    let state = client.ask("GET tokens");
    rows(&mut client, "RL.MCHECK 2 a tokens 9 60 9 60 COSTS 1 0");
    assert_eq!(client.ask("GET tokens"), state);
    rows(&mut client, "RL.MCHECK 2 a tokens 9 60 5 60 COSTS 1 0");
    assert_eq!(client.decide("RL.PEEK tokens"), [1, 5, 4, 0, 60_000]);
}

#[test]
fn force_charges_all_keys_whatever_room_they_have() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.CHECK a 2 60 COST 2");
    assert_eq!(
        rows(
            &mut client,
            "RL.MCHECK 3 a b c 2 60 9 60 5 60 COSTS 1 4 0 FORCE"
        ),
        [[1, 2, 0, 0, 60_000], [4, 9, 5, 0, 60_000], [0, 5, 5, 0, 0]]
    );
    assert_eq!(
        rows(&mut client, "RL.MCHECK 2 a b 2 60 9 60 COST 7 force"),
        [[7, 2, 0, 0, 60_000], [7, 9, 0, 0, 60_000]]
    );
    // But not through a block.
    client.decide("RL.CHECK a 2 60 BLOCK 1h");
    assert_eq!(
        rows(&mut client, "RL.MCHECK 2 b a 9 60 2 60 FORCE"),
        [[0, 9, 0, 0, 60_000], [0, 2, 0, 3_600_000, 3_600_000]]
    );
}

#[test]
fn what_is_refused() {
    let server = Server::start();
    let mut client = server.connect();
    let costs = "ERR costs must be an integer from 0 to 4294967295 for each key, not all of them 0";
    let syntax = "ERR syntax error";
    for (options, error) in [
        ("COSTS 1", costs),
        ("COSTS", costs),
        ("COSTS 1 2 3", costs),
        ("COSTS 0 0", costs),
        ("COSTS 1 -1", costs),
        ("COSTS 1 x", costs),
        ("COSTS 01 1", costs),
        ("COSTS 1 4294967296", costs),
        ("COSTS 1 FORCE", costs),
        ("COST 1 COSTS 1 1", syntax),
        ("COSTS 1 1 COST 1", syntax),
        ("COSTS 1 1 COSTS 1 1", syntax),
        ("FORCE FORCE", syntax),
        ("FORCE ATMOST", syntax),
        ("BURST 1", syntax),
    ] {
        let line = format!("RL.MCHECK 2 a b 5 60 5 60 {options}");
        assert_eq!(client.refused(&line), error, "{line}");
    }
    for line in ["RL.CHECK k 5 60 COSTS 1", "RL.GCRA k 5 60 COSTS 1"] {
        assert_eq!(client.refused(line), syntax, "{line}");
    }
    assert_eq!(client.ask("DBSIZE"), Value::Int(0));
}
