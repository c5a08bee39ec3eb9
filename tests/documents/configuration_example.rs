//! `redis.conf.example`: a server starts with it, and its users can do what it says.

use std::fs;

use crate::harness::{Ask, Server, Setup, module};
use redis::Connection;

const EXAMPLE: &str = include_str!("../../redis.conf.example");

/// Starts a server with the example, but for its addresses and paths.
fn start() -> Server {
    let setup = Setup::new().without_module();
    let file = setup.dir().join("redis.conf");
    let text: String = EXAMPLE
        .lines()
        .map(|line| match line.split_whitespace().next() {
            Some("loadmodule") => format!("loadmodule {}\n", module().display()),
            Some("port") => "port 0\n".into(),
            Some("dir") => format!("dir {}\n", setup.dir().display()),
            // The harness reads the log there.
            Some("logfile") => "logfile log\n".into(),
            _ => format!("{line}\n"),
        })
        .collect();
    fs::write(&file, text).unwrap();
    setup
        .arguments(["--include", file.to_str().unwrap()])
        .start()
}

/// The password that the example gives to a user.
fn password(user: &str) -> &'static str {
    EXAMPLE
        .lines()
        .find_map(
            |line| match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["requirepass", password] if user == "default" => Some(password),
                ["user", name, "on", password, ..] if name == user => password.strip_prefix('>'),
                _ => None,
            },
        )
        .unwrap_or_else(|| panic!("no password for {user}"))
}

fn connect_as(user: &str, server: &Server) -> Connection {
    let mut client = server.connect();
    client.ask(&format!("AUTH {user} {}", password(user)));
    client
}

fn assert_forbidden(client: &mut Connection, lines: &[&str]) {
    for line in lines {
        let error = client.refused(line);
        assert!(error.starts_with("NOPERM"), "{line}: {error}");
    }
}

#[test]
fn nobody_gets_in_without_a_password() {
    let server = start();
    let mut client = server.connect();
    assert!(client.refused("RL.CHECK rl:k 1 60").starts_with("NOAUTH"));
    assert!(
        client
            .refused("AUTH limiter wrong")
            .starts_with("WRONGPASS")
    );
}

#[test]
fn the_limiter_may_rate_limit_its_keys_and_nothing_else() {
    let server = start();
    let mut limiter = connect_as("limiter", &server);
    limiter.ask("PING");
    assert_eq!(limiter.decide("RL.CHECK rl:k 2 60")[..3], [1, 2, 1]);
    assert_eq!(limiter.decide("RL.GCRA rl:g 2 60")[..3], [1, 2, 1]);
    assert_eq!(limiter.decide("RL.PEEK rl:k COST 2")[..3], [0, 2, 1]);
    assert_eq!(limiter.decide("RL.REFUND rl:k 1")[..3], [1, 2, 2]);
    limiter.ask("RL.MCHECK 2 rl:k rl:l 2 60 2 60");
    limiter.ask("RL.INFO rl:k");
    assert_eq!(limiter.decide("CL.THROTTLE rl:t 1 1 60")[..3], [0, 2, 1]);
    assert_forbidden(
        &mut limiter,
        &[
            "RL.CHECK k 2 60",
            "RL.GCRA r 2 60",
            "RL.PEEK other:rl:k",
            "RL.MCHECK 2 rl:k l 2 60 2 60",
            "RL.RESET rl:k",
            "RL.TOP",
            "GET rl:k",
            "SET rl:k x",
            "DEL rl:k",
            "EXPIRE rl:k 1",
            "KEYS *",
            "FLUSHALL",
            "CONFIG GET *",
            "ACL LIST",
            "PUBLISH channel message",
            "EVAL return 0",
        ],
    );
}

#[test]
fn support_may_look_and_reset_and_nothing_else() {
    let server = start();
    let mut limiter = connect_as("limiter", &server);
    limiter.ask("RL.CHECK rl:k 1 60");
    limiter.ask("RL.CHECK rl:k 1 60");
    let mut support = connect_as("support", &server);
    let top: Vec<redis::Value> = redis::from_redis_value(support.ask("RL.TOP")).unwrap();
    assert_eq!(top.len(), 1);
    assert_eq!(support.decide("RL.PEEK rl:k")[..3], [0, 1, 0]);
    assert_eq!(support.ask("RL.RESET rl:k"), redis::Value::Int(1));
    assert_forbidden(
        &mut support,
        &["RL.CHECK rl:k 1 60", "RL.RESET k", "DEL rl:k"],
    );
}

#[test]
fn the_administrator_may_do_everything_and_finds_the_settings_that_are_used() {
    let server = start();
    let mut administrator = connect_as("default", &server);
    administrator.decide("RL.CHECK any:key 1 60");
    for (setting, value) in [
        ("appendonly", "yes"),
        ("appendfsync", "everysec"),
        ("save", "3600 1 300 100 60 10000"),
        ("maxmemory", "536870912"),
        ("maxmemory-policy", "noeviction"),
        ("protected-mode", "yes"),
        ("replica-read-only", "yes"),
        ("ratelimit.cl-throttle", "yes"),
        ("ratelimit.top-keys", "128"),
        ("ratelimit.top-half-life", "3600"),
    ] {
        let reply = administrator.ask(&format!("CONFIG GET {setting}"));
        let pair: Vec<String> = redis::from_redis_value(reply).unwrap();
        assert_eq!(pair, [setting, value]);
    }
}

#[test]
fn every_command_is_given_to_somebody() {
    let server = start();
    let mut administrator = connect_as("default", &server);
    let reply = administrator.ask("COMMAND LIST FILTERBY MODULE ratelimit");
    let commands: Vec<String> = redis::from_redis_value(reply).unwrap();
    assert!(!commands.is_empty());
    for command in commands {
        let given = EXAMPLE
            .lines()
            .filter(|line| line.starts_with("user "))
            .flat_map(str::split_whitespace)
            .any(|rule| rule.strip_prefix('+') == Some(&command));
        assert!(given, "no user of redis.conf.example may {command}");
    }
}
