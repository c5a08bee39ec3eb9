//! `ratelimit.*`: what can be configured, where, and what is refused.

use crate::harness::{Ask, Server, Setup, module};
use redis::Connection;

fn settings(client: &mut Connection) -> Vec<String> {
    redis::from_redis_value(client.ask("CONFIG GET ratelimit.*"))
        .map(|mut pairs: Vec<(String, String)>| {
            pairs.sort();
            pairs
                .into_iter()
                .map(|(name, value)| format!("{name} {value}"))
                .collect()
        })
        .unwrap()
}

#[test]
fn the_defaults() {
    let server = Server::start();
    assert_eq!(
        settings(&mut server.connect()),
        [
            "ratelimit.cl-throttle yes",
            "ratelimit.top-half-life 3600",
            "ratelimit.top-keys 128"
        ]
    );
}

#[test]
fn arguments_of_loadmodule() {
    let server = Setup::new()
        .module_arguments(["top-keys", "7", "ratelimit.cl-throttle", "no"])
        .module_arguments(["top-half-life", "60"])
        .start();
    assert_eq!(
        settings(&mut server.connect()),
        [
            "ratelimit.cl-throttle no",
            "ratelimit.top-half-life 60",
            "ratelimit.top-keys 7"
        ]
    );
}

#[test]
fn directives_of_the_configuration_file() {
    let setup = Setup::new().without_module();
    let file = setup.dir().join("redis.conf");
    let text = format!(
        "loadmodule {}\nratelimit.top-keys 9\nratelimit.top-half-life 0\nratelimit.cl-throttle no\n",
        module().display()
    );
    std::fs::write(&file, text).unwrap();
    let server = setup.configuration_file(&file).start();
    assert_eq!(
        settings(&mut server.connect()),
        [
            "ratelimit.cl-throttle no",
            "ratelimit.top-half-life 0",
            "ratelimit.top-keys 9"
        ]
    );
}

#[test]
fn module_loadex() {
    let server = Setup::new()
        .without_module()
        .arguments(["--enable-module-command", "yes"])
        .start();
    let mut client = server.connect();
    let load = format!("MODULE LOADEX {}", module().display());
    // Some servers have modules of their own.
    let before = client.ask("MODULE LIST");
    for wrong in [
        "CONFIG ratelimit.wat 1",
        "CONFIG ratelimit.top-keys 1001",
        "CONFIG ratelimit.top-half-life 2592001",
        "CONFIG ratelimit.cl-throttle maybe",
        "ARGS wat 1",
        "ARGS top-keys",
        "ARGS top-keys 1001",
        "ARGS top-half-life 1h",
        "ARGS cl-throttle 1",
    ] {
        let error = client.refused(&format!("{load} {wrong}"));
        assert!(
            error.starts_with("ERR Error loading the extension"),
            "{wrong}: {error}"
        );
        assert_eq!(client.ask("MODULE LIST"), before, "{wrong}");
    }
    client.ask(&format!(
        "{load} CONFIG ratelimit.top-keys 11 CONFIG ratelimit.top-half-life 5 ARGS cl-throttle no"
    ));
    assert_eq!(
        settings(&mut client),
        [
            "ratelimit.cl-throttle no",
            "ratelimit.top-half-life 5",
            "ratelimit.top-keys 11"
        ]
    );
}

#[test]
fn bad_arguments_are_refused_at_load_with_a_clear_line_in_the_log() {
    for (arguments, why) in [
        (
            ["wat", "1"].as_slice(),
            "unknown argument 'wat': there are 'cl-throttle yes|no', 'top-keys 0-1000' and 'top-half-life 0-2592000'",
        ),
        (&["top-keys"], "the argument 'top-keys' has no value"),
        (
            &["top-keys", "1001"],
            "'top-keys' must be an integer from 0 to 1000",
        ),
        (
            &["top-keys", "-1"],
            "'top-keys' must be an integer from 0 to 1000",
        ),
        (
            &["top-keys", "x"],
            "'top-keys' must be an integer from 0 to 1000",
        ),
        (
            &["top-half-life", "2592001"],
            "'top-half-life' must be an integer from 0 to 2592000",
        ),
        (
            &["top-half-life", "1h"],
            "'top-half-life' must be an integer from 0 to 2592000",
        ),
        (&["cl-throttle", "maybe"], "'cl-throttle' must be yes or no"),
    ] {
        let log = Setup::new()
            .module_arguments(arguments.iter().copied())
            .start_expecting_exit();
        let line = format!("redis-ratelimit does not load: {why}");
        assert!(log.contains(&line), "{arguments:?}:\n{log}");
    }
}

#[test]
fn config_set_refuses_what_cannot_be_and_what_is_fixed_at_load() {
    let server = Server::start();
    let mut client = server.connect();
    for (line, why) in [
        (
            "CONFIG SET ratelimit.top-keys 1001",
            "argument must be between 0 and 1000 inclusive",
        ),
        (
            "CONFIG SET ratelimit.top-keys -1",
            "argument must be between 0 and 1000 inclusive",
        ),
        (
            "CONFIG SET ratelimit.top-keys x",
            "argument couldn't be parsed into an integer",
        ),
        (
            "CONFIG SET ratelimit.top-half-life 2592001",
            "argument must be between 0 and 2592000 inclusive",
        ),
        (
            "CONFIG SET ratelimit.top-half-life -1",
            "argument must be between 0 and 2592000 inclusive",
        ),
        (
            "CONFIG SET ratelimit.cl-throttle no",
            "can't set immutable config",
        ),
    ] {
        let error = client.refused(line);
        assert!(
            error.starts_with("ERR CONFIG SET failed") && error.contains(why),
            "{line}: {error}"
        );
    }
    client.ask("CONFIG SET ratelimit.top-keys 1000");
    client.ask("CONFIG SET ratelimit.top-half-life 2592000");
    assert_eq!(
        settings(&mut client),
        [
            "ratelimit.cl-throttle yes",
            "ratelimit.top-half-life 2592000",
            "ratelimit.top-keys 1000"
        ]
    );
}
