//! What docs/troubleshooting.md quotes is what a server says.
//!
//! Each text is provoked, and then looked for in the document: in a code span, in which `…` stands for anything. The
//! texts are those of Redis 7.0. Of other servers, only the code of an error has to be the same.

use std::fs;
use std::path::Path;

use crate::harness::features::GLIBC;
use crate::harness::nodes::info;
use crate::harness::{Ask, Server, Setup, eventually, module, server_binary};
use redis::Connection;

/// The code spans of the document.
fn quoted() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/troubleshooting.md");
    let text = fs::read_to_string(path).unwrap().replace("\\|", "|");
    text.lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

/// Whether a quotation is of this text: `…` in it is anything.
fn is_of(quotation: &str, said: &str) -> bool {
    let mut rest = said;
    for (part, number) in quotation.split('…').zip(0..) {
        let part = if number == 0 { part } else { part.trim_start() };
        match rest.find(part.trim_end()) {
            Some(at) => rest = &rest[at + part.trim_end().len()..],
            None => return false,
        }
    }
    true
}

/// Whether the words of the server are those that the document quotes.
fn words_are_those_of_redis_7_0() -> bool {
    let version = std::process::Command::new(server_binary())
        .arg("--version")
        .output()
        .unwrap();
    String::from_utf8_lossy(&version.stdout).contains("Redis server v=7.0.")
}

/// Fails unless the document quotes a text that begins with `start`, and that the server has said.
fn assert_quoted(start: &str, said: &str) {
    let quotations = quoted();
    let found: Vec<&String> = quotations
        .iter()
        .filter(|quotation| quotation.starts_with(start))
        .collect();
    assert!(!found.is_empty(), "the document does not quote {start:?}");
    if words_are_those_of_redis_7_0() {
        assert!(
            found.iter().any(|quotation| is_of(quotation, said)),
            "{found:?} is not: {said}"
        );
    } else {
        let code = start.split(' ').next().unwrap();
        assert!(said.contains(code), "no {code} in: {said}");
    }
}

/// Fails unless the server refuses a command as the document quotes it.
fn refused(client: &mut Connection, line: &str, start: &str) {
    let error = client.refused(line);
    assert_quoted(start, &error);
}

/// The log of a server that cannot start with these arguments.
fn log_of(arguments: &[&str]) -> String {
    Setup::new()
        .without_module()
        .arguments(arguments.iter().copied())
        .start_expecting_exit()
}

#[test]
fn why_a_server_ends_at_its_start_is_quoted_as_it_is_said() {
    let loaded = module().display().to_string();
    let copy = tempfile::tempdir().unwrap();
    let unexecutable = copy.path().join("libredis_ratelimit.so");
    fs::write(&unexecutable, fs::read(&loaded).unwrap()).unwrap();
    let unexecutable = unexecutable.display().to_string();
    let not_there = if GLIBC.is_there() {
        "cannot open shared"
    } else {
        "Error loading shared"
    };
    for (arguments, start) in [
        (&["--loadmodule", "/nowhere.so"][..], not_there),
        (&["--loadmodule", &unexecutable], "It does not have execute"),
        (
            &["--loadmodule", &loaded, "top-kyes", "5"],
            "redis-ratelimit does not load: unknown argument",
        ),
        (
            &["--loadmodule", &loaded, "top-keys", "many"],
            "redis-ratelimit does not load: 'top-keys'",
        ),
        (
            &["--loadmodule", &loaded, "--ratelimit.top-keys", "many"],
            "redis-ratelimit does not load: the server's configuration",
        ),
        (
            &["--ratelimit.top-keys", "5"],
            "Module Configuration detected",
        ),
        (
            &["--loadmodule", &loaded, "--loadmodule", &loaded],
            "Module … initialization failed",
        ),
    ] {
        let log = log_of(arguments);
        let quotations = quoted();
        let quotation = quotations
            .iter()
            .find(|quotation| quotation.starts_with(start))
            .unwrap_or_else(|| panic!("the document does not quote {start:?}"));
        if words_are_those_of_redis_7_0() || start.starts_with("redis-ratelimit") {
            assert!(
                log.lines().any(|line| is_of(quotation, line)),
                "{quotation}: {log}"
            );
        }
    }
}

#[test]
fn what_a_server_refuses_is_quoted_as_it_is_said() {
    let server = Server::start();
    let mut client = server.connect();
    client.ask("CONFIG SET maxmemory-policy noeviction");
    client.ask("CONFIG SET maxmemory 1");
    refused(&mut client, "RL.CHECK k 5 1m", "OOM ");
    client.ask("CONFIG SET maxmemory 0");

    client.ask("CONFIG SET min-replicas-to-write 1");
    refused(&mut client, "RL.CHECK k 5 1m", "NOREPLICAS ");
    client.ask("CONFIG SET min-replicas-to-write 0");

    client.ask("SET plain x");
    refused(
        &mut client,
        "RL.CHECK plain 5 1m",
        "WRONGTYPE the key holds a value",
    );
    client.decide("RL.CHECK k 5 1m");
    refused(
        &mut client,
        "RL.GCRA k 5 1m",
        "WRONGTYPE the key holds a sliding-window limiter",
    );

    client.ask("ACL SETUSER app on >secret ~rl:* -@all +ping +rl.check");
    let as_app = |line: &str| {
        let url = format!(
            "redis+unix://{}?user=app&pass=secret",
            server.socket().display()
        );
        let mut app = redis::Client::open(url).unwrap().get_connection().unwrap();
        app.refused(line)
    };
    assert_quoted("NOPERM this user has no permissions to run", &{
        client.ask("ACL SETUSER app -rl.check");
        let error = as_app("RL.CHECK rl:k 5 1m");
        client.ask("ACL SETUSER app +rl.check");
        error
    });
    assert_quoted(
        "NOPERM this user has no permissions to access one",
        &as_app("RL.CHECK k 5 1m"),
    );

    client.ask("REPLICAOF 127.0.0.1 1");
    refused(&mut client, "RL.CHECK k 5 1m", "READONLY ");
    client.ask("REPLICAOF NO ONE");

    client.ask("CONFIG SET requirepass secret");
    let mut stranger = server.connect();
    refused(&mut stranger, "RL.CHECK k 5 1m", "NOAUTH ");
}

#[test]
fn a_server_without_the_module_and_one_that_may_not_load_it_say_what_is_quoted() {
    let server = Setup::new().without_module().start();
    let mut client = server.connect();
    refused(&mut client, "rl.check k 5 1m", "ERR unknown command");
    let load = format!("MODULE LOAD {}", module().display());
    refused(&mut client, &load, "ERR MODULE command not allowed.");
}

#[test]
fn a_module_that_stays_loaded_is_quoted_as_it_is_said() {
    let arguments = ["--enable-module-command", "yes", "--io-threads", "2"];
    let server = Setup::new().arguments(arguments).start();
    refused(
        &mut server.connect(),
        "MODULE UNLOAD ratelimit",
        "ERR Error unloading module",
    );
    let log = server.log();
    let said = log.split("# <ratelimit> ").last().unwrap();
    assert_quoted("redis-ratelimit stays loaded", said);
}

#[test]
#[ignore = "long: what the server answers to every write"]
fn a_failed_snapshot_is_quoted_as_it_is_said() {
    let server = Setup::new().arguments(["--save", "3600 1000000"]).start();
    let mut client = server.connect();
    fs::create_dir_all(server.dir().join("dump.rdb").join("in the way")).unwrap();
    client.ask("BGSAVE");
    eventually("a snapshot that failed", || {
        (info(&mut client, "rdb_last_bgsave_status")? == "err").then_some(())
    });
    assert!(quoted().contains(&"rdb_last_bgsave_status:err".into()));
    refused(&mut client, "RL.CHECK k 5 1m", "MISCONF ");
}

#[test]
fn keys_of_several_slots_are_refused_as_it_is_quoted() {
    let server = Server::start_cluster_node(Setup::new);
    let mut client = server.connect();
    refused(&mut client, "RL.MCHECK 2 a b 5 1m 5 1m", "CROSSSLOT ");
}
