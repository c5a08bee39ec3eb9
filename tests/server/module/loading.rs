//! Loading and unloading the module.

use crate::harness::{Ask, Server, Setup, exchange, module};
use redis::Value;

/// A server that may load and unload modules while it runs.
fn server() -> Server {
    Setup::new()
        .arguments(["--enable-module-command", "yes"])
        .start()
}

#[test]
fn unknown_arguments_are_refused_and_the_log_says_which() {
    let log = Setup::new()
        .without_module()
        .arguments([
            "--loadmodule".into(),
            module().display().to_string(),
            "wat".into(),
        ])
        .start_expecting_exit();
    assert!(
        log.contains("redis-ratelimit does not load: unknown argument 'wat'"),
        "{log}"
    );
}

#[test]
fn limits_survive_an_upgrade_without_a_restart() {
    let server = server();
    let mut client = server.connect();
    client.decide("RL.CHECK k 1 1h");
    client.decide("RL.GCRA g 1 1h");
    exchange(&mut client, &module());
    assert_eq!(client.decide("RL.CHECK k 1 1h")[0], 0);
    assert_eq!(client.decide("RL.GCRA g 1 1h")[0], 0);
}

#[test]
fn without_the_module_the_state_is_a_string_with_an_expiry() {
    let server = server();
    let mut client = server.connect();
    client.decide("RL.CHECK k 1 1h");
    client.ask("MODULE UNLOAD ratelimit");
    assert_eq!(client.ask("TYPE k"), Value::SimpleString("string".into()));
    assert!(matches!(client.ask("PTTL k"), Value::Int(1..)));
    assert!(
        client
            .refused("RL.CHECK k 1 1h")
            .starts_with("ERR unknown command")
    );
}

#[test]
fn loading_twice_is_refused_and_the_first_goes_on() {
    let server = server();
    let mut client = server.connect();
    let error = client.refused(&format!("MODULE LOAD {}", module().display()));
    assert!(
        error.starts_with("ERR Error loading the extension"),
        "{error}"
    );
    assert_eq!(client.decide("RL.CHECK k 1 1h")[0], 1);
}

#[test]
fn the_server_lists_the_module_by_name_and_version() {
    let server = Server::start();
    let text = String::from_utf8(server.cli(&["MODULE", "LIST"]).stdout).unwrap();
    // Some servers have modules of their own.
    let lines = text.lines().skip_while(|line| *line != "ratelimit");
    let three: Vec<_> = lines.take(3).collect();
    assert_eq!(three, ["ratelimit", "ver", "100"]);
}

#[test]
fn what_is_wrong_with_the_arguments_is_logged_as_it_was_written() {
    let log = Setup::new()
        .without_module()
        .arguments([
            "--loadmodule".into(),
            module().display().to_string(),
            "%s%s%n%d".into(),
        ])
        .start_expecting_exit();
    assert!(log.contains("unknown argument '%s%s%n%d'"), "{log}");
}

#[test]
fn a_hundred_exchanges_take_no_memory_of_the_server() {
    let server = server();
    let mut client = server.connect();
    // A slow machine would fill it.
    client.ask("CONFIG SET slowlog-log-slower-than -1");
    let mut used_after_fifty_more = || -> i64 {
        for _ in 0..50 {
            exchange(&mut client, &module());
        }
        let used = crate::harness::nodes::info(&mut client, "used_memory").unwrap();
        used.parse().unwrap()
    };
    let used: Vec<_> = (0..8).map(|_| used_after_fifty_more()).collect();
    // The server's buffers and tables grow now and then. What an exchange leaves behind grows each time.
    let least = used.windows(2).map(|used| used[1] - used[0]).min();
    assert!(least.unwrap() < 1024, "{used:?}");
}

#[test]
fn a_load_logs_nothing_that_looks_like_a_warning() {
    let server = server();
    let mut client = server.connect();
    client.ask("MODULE UNLOAD ratelimit");
    let before = server.log().len();
    client.ask(&format!("MODULE LOAD {}", module().display()));
    let log = server.log().split_off(before);
    assert!(log.contains("Module 'ratelimit' loaded from"), "{log}");
    // `12345:M 01 Dec 2026 12:00:00.000 # text`
    let warnings: Vec<_> = log.lines().filter(|line| line.contains(" # ")).collect();
    assert!(warnings.is_empty(), "{warnings:#?}");
}
