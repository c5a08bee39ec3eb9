//! `RL.MCHECK` on a real server.

use crate::harness::clock::Clock;
use crate::harness::{Ask, Server, Setup};
use redis::{Connection, Value};

fn rows(client: &mut Connection, line: &str) -> Vec<[i64; 5]> {
    let rows: Vec<Vec<i64>> = redis::from_redis_value(client.ask(line)).unwrap();
    rows.into_iter()
        .map(|row| row.try_into().unwrap())
        .collect()
}

#[test]
fn it_grants_on_all_keys_or_on_none() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let line = "RL.MCHECK 2 ip email 5 60 2 1h";
    assert_eq!(
        rows(&mut client, line),
        [[1, 5, 4, 0, 60_000], [1, 2, 1, 0, 3_600_000]]
    );
    assert_eq!(
        rows(&mut client, line),
        [[1, 5, 3, 0, 60_000], [1, 2, 0, 0, 3_600_000]]
    );
    clock.advance_millis(1_000);
    // Denied by the second: the first had room, says so, and is not charged.
    for _ in 0..3 {
        let denied = [[0, 5, 3, 0, 59_000], [0, 2, 0, 3_599_000, 3_599_000]];
        assert_eq!(rows(&mut client, line), denied);
    }
    assert_eq!(client.decide("RL.PEEK ip"), [1, 5, 3, 0, 59_000]);
}

#[test]
fn the_caller_waits_for_the_largest_retry_after() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.CHECK a 1 10");
    client.decide("RL.CHECK b 1 20");
    let line = "RL.MCHECK 3 a b c 1 10 1 20 1 30";
    let denied = rows(&mut client, line);
    assert_eq!(
        denied.iter().map(|row| row[3]).collect::<Vec<_>>(),
        [10_000, 20_000, 0]
    );
    clock.advance_millis(19_999);
    assert_eq!(rows(&mut client, line)[0][0], 0);
    clock.advance_millis(1);
    assert!(rows(&mut client, line).iter().all(|row| row[0] == 1));
}

#[test]
fn a_cost_above_one_of_the_limits_can_never_be_granted() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.CHECK a 9 60 COST 9");
    assert_eq!(
        rows(&mut client, "RL.MCHECK 3 a b c 9 60 5 60 4 60 COST 5"),
        [[0, 9, 0, 60_000, 60_000], [0, 5, 5, 0, 0], [0, 4, 4, -1, 0]]
    );
    assert_eq!(client.ask("EXISTS b c"), Value::Int(0));
}

#[test]
fn the_cost_is_charged_to_every_key() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    let granted = rows(&mut client, "RL.MCHECK 2 a b 9 60 7 60 COST 3");
    assert_eq!(granted, [[3, 9, 6, 0, 60_000], [3, 7, 4, 0, 60_000]]);
}

#[test]
fn it_shares_its_state_with_check() {
    let (server, _clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.CHECK a 2 60");
    assert_eq!(
        rows(&mut client, "RL.MCHECK 1 a 2 60"),
        [[1, 2, 0, 0, 60_000]]
    );
    assert_eq!(client.decide("RL.CHECK a 2 60")[0], 0);
    // A block that RL.CHECK began denies here, too.
    client.decide("RL.CHECK a 2 60 BLOCK 1h");
    assert_eq!(
        rows(&mut client, "RL.MCHECK 2 b a 5 60 5 60"),
        [[0, 5, 5, 0, 0], [0, 5, 3, 3_600_000, 3_600_000]]
    );
}

#[test]
fn a_wrong_type_in_any_key_changes_none() {
    let server = Server::start();
    let mut client = server.connect();
    client.ask("RPUSH list 1");
    client.ask("SET text a-text-that-is-longer-than-a-limiter");
    client.decide("RL.GCRA gcra 5 60");
    for line in [
        "RL.MCHECK 2 a list 5 60 5 60",
        "RL.MCHECK 2 list a 5 60 5 60",
        "RL.MCHECK 3 a b text 5 60 5 60 5 60",
        "RL.MCHECK 2 a gcra 5 60 5 60",
    ] {
        assert!(client.refused(line).starts_with("WRONGTYPE "), "{line}");
        assert_eq!(client.ask("DBSIZE"), Value::Int(3), "{line}");
    }
}

#[test]
fn what_is_refused() {
    let server = Server::start();
    let mut client = server.connect();
    let numkeys = "ERR numkeys must be an integer from 1 to 128";
    let many: Vec<_> = (0..129).map(|key| format!("k{key}")).collect();
    let cases = [
        ("RL.MCHECK 0 a 5 60".to_owned(), numkeys),
        ("RL.MCHECK -1 a 5 60".to_owned(), numkeys),
        ("RL.MCHECK x a 5 60".to_owned(), numkeys),
        ("RL.MCHECK 01 a 5 60".to_owned(), numkeys),
        ("RL.MCHECK 99999999999999999999 a 5 60".to_owned(), numkeys),
        (
            format!("RL.MCHECK 129 {}{}", many.join(" "), " 5 60".repeat(129)),
            numkeys,
        ),
        ("RL.MCHECK 2 a b 5 60".to_owned(), "ERR syntax error"),
        ("RL.MCHECK 2 a b 5 60 5".to_owned(), "ERR syntax error"),
        ("RL.MCHECK 1 a 5 60 5 60".to_owned(), "ERR syntax error"),
        ("RL.MCHECK 1 a 5 60 ATMOST".to_owned(), "ERR syntax error"),
        ("RL.MCHECK 1 a 5 60 KEEP 1".to_owned(), "ERR syntax error"),
        ("RL.MCHECK 1 a 5 60 RENEW 1".to_owned(), "ERR syntax error"),
        ("RL.MCHECK 1 a 5 60 BLOCK 1".to_owned(), "ERR syntax error"),
        ("RL.MCHECK 1 a 5 60 COST".to_owned(), "ERR syntax error"),
        (
            "RL.MCHECK 1 a 5 60 COST 0".to_owned(),
            "ERR cost must be an integer from 1 to 4294967295",
        ),
        (
            "RL.MCHECK 1 a 0 60".to_owned(),
            "ERR limit must be an integer from 1 to 4294967295",
        ),
        (
            "RL.MCHECK 2 a a 5 60 5 60".to_owned(),
            "ERR key must differ from the other keys named",
        ),
        (
            "RL.MCHECK 3 a b a 5 60 5 60 5 60".to_owned(),
            "ERR key must differ from the other keys named",
        ),
        (
            "RL.MCHECK 1 a".to_owned(),
            "ERR wrong number of arguments for 'rl.mcheck' command",
        ),
    ];
    for (line, error) in cases {
        // The server itself looks at some, to find the keys.
        let refused = client.refused(&line);
        let by_the_server =
            refused.starts_with("ERR Invalid") || refused.starts_with("ERR Number of keys");
        assert!(refused == error || by_the_server, "{line}: {refused}");
    }
    assert_eq!(client.ask("DBSIZE"), Value::Int(0));
    let all = format!(
        "RL.MCHECK 128 {}{}",
        many[..128].join(" "),
        " 5 60".repeat(128)
    );
    assert_eq!(rows(&mut client, &all).len(), 128);
}

#[test]
fn keys_with_other_parameters_store_them_if_denied() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    client.decide("RL.CHECK a 5 60 COST 5");
    client.decide("RL.CHECK b 5 60");
    clock.advance_millis(1_000);
    rows(&mut client, "RL.MCHECK 3 a b c 1 60 3 60 5 60");
    assert_eq!(client.decide("RL.PEEK a"), [0, 1, 0, 59_000, 59_000]);
    assert_eq!(client.decide("RL.PEEK b"), [1, 3, 2, 0, 59_000]);
    assert_eq!(client.ask("EXISTS c"), Value::Int(0));
}

#[test]
fn in_a_cluster_keys_of_different_slots_are_refused_by_the_server() {
    let server = Server::start_cluster_node(Setup::new);
    let mut client = server.connect();
    assert!(
        client
            .refused("RL.MCHECK 2 a b 5 60 5 60")
            .starts_with("CROSSSLOT ")
    );
    assert_eq!(
        rows(&mut client, "RL.MCHECK 2 {u}a {u}b 5 60 5 60").len(),
        2
    );
}
