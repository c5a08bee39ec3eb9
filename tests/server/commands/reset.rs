//! `RL.RESET` on a real server.

use crate::harness::{Ask, Server, Setup, aof};
use redis::Value;

#[test]
fn it_forgets_limiters_and_counts_them() {
    let server = Server::start();
    let mut client = server.connect();
    client.decide("RL.CHECK a 1 1h");
    client.decide("RL.GCRA b 1 1h");
    assert_eq!(client.ask("RL.RESET a b nothing a"), Value::Int(2));
    assert_eq!(client.decide("RL.CHECK a 1 1h")[0], 1);
    assert_eq!(client.decide("RL.GCRA b 1 1h")[0], 1);
    assert_eq!(client.ask("RL.RESET nothing"), Value::Int(0));
}

#[test]
fn a_key_that_holds_something_else_keeps_all_of_them() {
    let server = Server::start();
    let mut client = server.connect();
    client.decide("RL.CHECK a 1 1h");
    client.ask("SET text a-value-that-is-longer-than-a-limiter");
    client.ask("RPUSH list 1");
    for line in [
        "RL.RESET a text",
        "RL.RESET text a",
        "RL.RESET a list",
        "RL.RESET a a list",
    ] {
        assert!(client.refused(line).starts_with("WRONGTYPE "), "{line}");
        assert_eq!(client.ask("EXISTS a text list"), Value::Int(3), "{line}");
    }
}

#[test]
fn it_is_replicated_as_deletions_of_what_was_there() {
    let server = Setup::new()
        .arguments(["--appendonly", "yes", "--appendfsync", "always"])
        .start();
    let mut client = server.connect();
    client.decide("RL.CHECK a 1 1h");
    client.ask("RL.RESET nothing a");
    let aof = aof(&server);
    assert!(aof.ends_with("*2\r\n$3\r\nDEL\r\n$1\r\na\r\n"), "{aof:?}");
    assert!(!aof.contains("nothing"), "{aof:?}");
}

#[test]
fn subscribers_hear_of_it_as_of_any_deletion() {
    let server = Server::start();
    let mut client = server.connect();
    client.ask("CONFIG SET notify-keyspace-events KEA");
    client.decide("RL.CHECK a 1 1h");
    let mut listener = server.connect();
    let mut events = listener.as_pubsub();
    events.psubscribe("__keyevent@0__:del").unwrap();
    client.ask("RL.RESET a");
    assert_eq!(
        events
            .get_message()
            .unwrap()
            .get_payload::<String>()
            .unwrap(),
        "a"
    );
}

#[test]
fn at_most_1024_keys_are_forgotten_in_one_call() {
    let server = Server::start();
    let mut client = server.connect();
    let mut keys: Vec<String> = (0..1_024).map(|n| format!("k{n}")).collect();
    for key in &keys {
        client.decide(&format!("RL.CHECK {key} 1 1h"));
    }
    keys.push("k0".into());
    assert_eq!(
        client.refused(&format!("RL.RESET {}", keys.join(" "))),
        "ERR key must be named at most 1024 times"
    );
    assert_eq!(client.ask("DBSIZE"), Value::Int(1_024));
    keys.pop();
    assert_eq!(
        client.ask(&format!("RL.RESET {}", keys.join(" "))),
        Value::Int(1_024)
    );
    assert_eq!(client.ask("DBSIZE"), Value::Int(0));
}
