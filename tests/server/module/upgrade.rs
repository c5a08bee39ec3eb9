//! From one build of the module to the next: limits outlive it, and every state that was ever stored stays readable.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::clock::Clock;
use crate::harness::features::{ACL_CATEGORY_OF_A_MODULE, GLIBC, UNLOADING_WHAT_ACL_RULES_NAME};
use crate::harness::nodes::info;
use crate::harness::{
    Ask, Setup, connect_again, copy_module, eventually, exchange, module, other_module,
};
use redis::{Connection, ConnectionLike, Value};
use serde_json::{Value as Json, json};

/// A setup that lets modules come and go.
fn open() -> Setup {
    Setup::new().arguments(["--enable-module-command", "yes"])
}

/// The same library as another file, as a newer build is one.
fn another_build(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    copy_module(&path);
    path
}

#[test]
fn an_upgrade_under_traffic_loses_no_state_and_clients_only_have_to_connect_again() {
    let server = open().start();
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (mut client, stop) = (server.connect(), stop.clone());
            let url = server.url().unwrap();
            std::thread::spawn(move || {
                let [mut granted, mut disconnected] = [0, 0];
                let check = [b"RL.CHECK", b"k".as_slice(), b"4000000000", b"1h"];
                while !stop.load(Ordering::Relaxed) {
                    match client.ask_bytes(&check) {
                        Ok(_) => granted += 1,
                        Err(error) => {
                            assert!(!client.check_connection(), "{error}");
                            client = connect_again(&url);
                            disconnected += 1;
                        }
                    }
                }
                [granted, disconnected]
            })
        })
        .collect();
    let mut client = server.connect();
    let left = |client: &mut Connection| client.decide("RL.PEEK k")[2];
    eventually("traffic", || {
        (client.ask("EXISTS k") == Value::Int(1)).then_some(())
    });
    for build in 0..10 {
        let before = left(&mut client);
        exchange(
            &mut client,
            &another_build(server.dir(), &format!("{build}.so")),
        );
        eventually("traffic that goes on", || {
            (left(&mut client) < before).then_some(())
        });
    }
    stop.store(true, Ordering::Relaxed);
    let [mut granted, mut disconnected] = [0, 0];
    for each in clients {
        let of_one = each.join().unwrap();
        granted += of_one[0];
        disconnected += of_one[1];
    }
    // The last request of a connection may have been granted, and its reply lost.
    let used = 4_000_000_000 - left(&mut client);
    assert!((granted..=granted + disconnected).contains(&used), "{used}");
    assert!(disconnected > 0);
    let list = String::from_utf8(server.cli(&["MODULE", "LIST"]).stdout).unwrap();
    assert!(list.contains("9.so"), "{list}");
}

#[test]
fn an_unloaded_build_leaves_the_server_s_memory() {
    // musl unloads nothing.
    if GLIBC.is_missing("an_unloaded_build_leaves_the_server_s_memory") {
        return;
    }
    let server = open().start();
    let mut client = server.connect();
    client.decide("RL.CHECK k 1 1h");
    let old = another_build(server.dir(), "old.so");
    let new = another_build(server.dir(), "new.so");
    exchange(&mut client, &old);
    exchange(&mut client, &new);
    let maps = fs::read_to_string(format!("/proc/{}/maps", server.pid())).unwrap();
    assert!(maps.contains("/new.so"), "{maps}");
    assert!(!maps.contains("/old.so"), "{maps}");
}

#[test]
fn a_build_that_was_moved_into_place_is_loaded_from_the_same_path() {
    let server = open().start();
    let mut client = server.connect();
    let path = another_build(server.dir(), "module.so");
    exchange(&mut client, &path);
    client.decide("RL.CHECK k 1 1h");
    // Moved, not written over: the server has mapped the old file, and writing to it would change its code.
    fs::rename(another_build(server.dir(), "next.so"), &path).unwrap();
    exchange(&mut client, &path);
    assert_eq!(client.decide("RL.CHECK k 1 1h")[0], 0);
}

#[test]
fn a_build_begins_with_its_own_counters_and_the_configuration_that_it_is_given() {
    let server = open().start();
    let mut client = server.connect();
    client.ask("CONFIG SET ratelimit.top-keys 7");
    client.decide("RL.CHECK k 1 1h");
    client.decide("RL.CHECK k 1 1h");
    let denied = |client: &mut Connection| info(client, "ratelimit_denied").unwrap();
    assert_eq!(denied(&mut client), "1");
    exchange(&mut client, &module());
    assert_eq!(denied(&mut client), "0");
    assert_eq!(client.ask("RL.TOP"), Value::Array(vec![]));
    let top_keys = |client: &mut Connection| {
        let reply = client.ask("CONFIG GET ratelimit.top-keys");
        redis::from_redis_value::<Vec<String>>(reply).unwrap()[1].clone()
    };
    assert_eq!(top_keys(&mut client), "128");
    client.ask("MODULE UNLOAD ratelimit");
    let path = module().display().to_string();
    client.ask(&format!("MODULE LOADEX {path} CONFIG ratelimit.top-keys 9"));
    assert_eq!(top_keys(&mut client), "9");
}

/// musl unloads nothing, and gives a module back as it was. What is preloaded stays with other C libraries, too.
#[test]
fn a_build_that_stayed_in_memory_begins_anew() {
    let server = open()
        .environment("LD_PRELOAD", &module())
        .module_arguments(["cl-throttle", "no", "top-keys", "7", "top-half-life", "9"])
        .start();
    let mut client = server.connect();
    let text = |client: &mut Connection, line: &str| -> String {
        redis::from_redis_value(client.ask(line)).unwrap()
    };
    let fresh = text(&mut client, "INFO ratelimit");
    for line in [
        "RL.CHECK k 2 1h COST 2",
        "RL.CHECK k 2 1h",
        "RL.CHECK k 2 1h COST 3",
        "RL.REFUND k 1",
        "RL.RESET k",
    ] {
        client.ask(line);
    }
    client.refused("RL.CHECK k 0 1h");
    let used = text(&mut client, "INFO ratelimit");
    for field in ["granted", "denied", "impossible", "errors", "keys_reset"] {
        assert!(used.contains(&format!("ratelimit_{field}:1\r\n")), "{used}");
    }
    exchange(&mut client, &module());
    assert_eq!(text(&mut client, "INFO ratelimit"), fresh);
    assert_eq!(client.ask("RL.TOP"), Value::Array(vec![]));
    assert_eq!(client.decide("CL.THROTTLE g 0 1 3600")[0], 0);
    let reply = client.ask("CONFIG GET ratelimit.*");
    let settings: BTreeMap<String, String> = redis::from_redis_value(reply).unwrap();
    let expected = [
        ("cl-throttle", "yes"),
        ("top-half-life", "3600"),
        ("top-keys", "128"),
    ];
    assert_eq!(
        settings.into_iter().collect::<Vec<_>>(),
        expected.map(|(name, value)| (format!("ratelimit.{name}"), value.to_owned()))
    );
}

/// What the user `app` is told when it asks for a decision after an upgrade.
fn after_an_upgrade(permission: &str) -> Result<Value, String> {
    let server = open().start();
    let mut client = server.connect();
    client.ask(&format!("ACL SETUSER app on nopass ~rl:* {permission}"));
    exchange(&mut client, &another_build(server.dir(), "next.so"));
    let mut app = server.connect();
    app.ask("AUTH app any");
    let error = app.refused("SET rl:k 1");
    assert!(error.starts_with("NOPERM "), "{error}");
    app.ask_bytes(&[b"RL.CHECK", b"rl:k", b"1", b"1h"])
}

#[test]
fn a_user_s_permission_by_name_outlives_an_upgrade() {
    if UNLOADING_WHAT_ACL_RULES_NAME.is_missing("a_user_s_permission_by_name_outlives_an_upgrade") {
        return;
    }
    after_an_upgrade("+rl.check").unwrap();
}

#[test]
fn a_user_s_permission_by_category_outlives_an_upgrade() {
    if ACL_CATEGORY_OF_A_MODULE.is_missing("a_user_s_permission_by_category_outlives_an_upgrade") {
        return;
    }
    after_an_upgrade("+@ratelimit").unwrap();
}

#[test]
fn limits_go_on_where_they_were_while_the_module_was_away() {
    let (server, clock) = Clock::start_with(open());
    let mut client = server.connect();
    client.decide("RL.CHECK k 2 60 COST 2");
    client.decide("RL.GCRA g 2 60 COST 2");
    client.ask("MODULE UNLOAD ratelimit");
    clock.advance_millis(10_000);
    client.ask(&format!("MODULE LOAD {}", module().display()));
    assert_eq!(client.decide("RL.CHECK k 2 60"), [0, 2, 0, 50_000, 50_000]);
    assert_eq!(client.decide("RL.GCRA g 2 60"), [0, 2, 0, 20_000, 50_000]);
}

#[test]
fn a_load_that_fails_leaves_nothing_behind() {
    let server = open().start();
    let mut client = server.connect();
    client.ask("MODULE UNLOAD ratelimit");
    let load = format!("MODULE LOADEX {}", module().display());
    client.refused(&format!("{load} CONFIG ratelimit.top-keys nonsense"));
    client.refused(&format!("{load} ARGS nonsense"));
    client.ask(&format!("{load} CONFIG ratelimit.top-keys 7"));
    assert_eq!(client.decide("RL.CHECK k 1 1h")[0], 1);
    let name = Value::BulkString(b"ratelimit.top-keys".into());
    let value = Value::BulkString(b"7".into());
    assert_eq!(
        client.ask("CONFIG GET ratelimit.top-keys"),
        Value::Array(vec![name, value])
    );
}

#[test]
fn another_build_is_not_loaded_beside_the_first() {
    let server = open().start();
    let mut client = server.connect();
    let second = another_build(server.dir(), "second.so");
    client.refused(&format!("MODULE LOAD {}", second.display()));
    client.refused(&format!(
        "MODULE LOADEX {} CONFIG ratelimit.top-keys 7",
        second.display()
    ));
    assert_eq!(client.decide("RL.CHECK k 1 1h")[0], 1);
    assert_eq!(client.decide("CL.THROTTLE g 0 1 3600")[0], 0);
}

#[test]
fn if_another_module_has_redis_cells_command_everything_else_works() {
    let setup = open().without_module();
    // It has taken `CL.THROTTLE`.
    let other = other_module(setup.dir(), "module.c").display().to_string();
    let ours = module().display().to_string();
    let server = setup
        .arguments(["--loadmodule", &other, "--loadmodule", &ours])
        .start();
    assert!(server.log().contains("CL.THROTTLE"), "{}", server.log());
    let mut client = server.connect();
    assert_eq!(client.ask("CL.THROTTLE g 0 1 60"), Value::Int(4711));
    assert_eq!(client.decide("RL.CHECK k 1 1h")[0], 1);
    assert_eq!(client.decide("RL.GCRA g 1 1h")[0], 1);
    // After the other one has gone, loading this one again brings the command.
    client.ask("MODULE UNLOAD other");
    exchange(&mut client, &module());
    assert_eq!(client.decide("CL.THROTTLE g 0 1 3600")[0], 1);
}

#[test]
fn another_module_may_have_redis_cells_command_if_this_one_leaves_it_out() {
    let setup = open().module_arguments(["cl-throttle", "no"]);
    let other = other_module(setup.dir(), "module.c").display().to_string();
    let server = setup.start();
    let mut client = server.connect();
    client.ask(&format!("MODULE LOAD {other}"));
    assert_eq!(client.ask("CL.THROTTLE g 0 1 60"), Value::Int(4711));
}

/// How to make states that together use all of the layout.
const SAMPLES: &[(&str, &[&str])] = &[
    ("one admission", &["RL.CHECK k 5 60"]),
    (
        "ten groups",
        &["10x RL.CHECK k 10 60", "+1s RL.CHECK k 10 60"],
    ),
    ("thirty-two groups", &["100x RL.CHECK k 1000 60"]),
    (
        "units of two, four and eight bytes",
        &[
            "RL.CHECK k 1000 60 COST 300",
            "RL.CHECK k 4294967295 60 1 1h COST 70000 FORCE",
            "RL.CHECK k 4294967295 60 COST 4294967295 FORCE",
        ],
    ),
    (
        "the longest window",
        &["RL.CHECK k 4294967295 3650d COST 4294967295"],
    ),
    ("the shortest window", &["RL.CHECK k 4 1ms COST 3"]),
    (
        "eight windows",
        &["3x RL.CHECK k 9 60 10 70 11 80 12 90 13 100 14 110 15 120 16 130"],
    ),
    (
        "a kept window",
        &["2x RL.CHECK k 9 60", "RL.CHECK k 9 30 20 1h"],
    ),
    (
        "a limit lowered below what is in use",
        &["RL.CHECK k 9 60 COST 8", "RL.CHECK k 3 60"],
    ),
    ("debt", &["RL.CHECK k 9 60 COST 16 FORCE"]),
    ("a block", &["RL.CHECK k 1 60", "RL.CHECK k 1 60 BLOCK 15m"]),
    (
        "a block on several windows",
        &["2x RL.CHECK k 1 60 2 1h BLOCK 15m"],
    ),
    ("after a refund", &["5x RL.CHECK k 9 60", "RL.REFUND k 3"]),
    ("mcheck", &["2x RL.MCHECK 2 k l 9 60 5 1h"]),
    ("a bucket", &["RL.GCRA k 10 60"]),
    ("a bucket of three per second", &["2x RL.GCRA k 3 1s"]),
    ("a burst", &["RL.GCRA k 10 60 BURST 100 COST 77"]),
    (
        "the greatest bucket",
        &["RL.GCRA k 4294967295 3650d COST 4294967295"],
    ),
    ("a bucket's debt", &["RL.GCRA k 10 60 COST 19 FORCE"]),
    (
        "a bucket's block",
        &["RL.GCRA k 1 60", "RL.GCRA k 1 60 BLOCK 15m"],
    ),
    (
        "a lowered burst",
        &[
            "RL.GCRA k 10 60 BURST 20 COST 20",
            "RL.GCRA k 10 60 BURST 2",
        ],
    ),
    ("redis-cell's command", &["3x CL.THROTTLE k 15 30 60"]),
    (
        "growing blocks",
        &[
            "RL.CHECK k 1 60",
            "RL.CHECK k 1 60 BLOCK 1s UPTO 1h",
            "+1s RL.CHECK k 1 60 BLOCK 1s UPTO 1h",
        ],
    ),
    (
        "a bucket's growing blocks",
        &["RL.GCRA k 1 60", "RL.GCRA k 1 60 BLOCK 1s UPTO 1h"],
    ),
    (
        "joined groups of two windows",
        &["40x RL.CHECK k 1000 60 2000 1h"],
    ),
    ("a caller that waits", &["12x RL.GCRA k 10 60 MAXWAIT 1m"]),
];

/// Where the samples of a version of the layout are.
fn file(version: u8) -> PathBuf {
    let name = format!("tests/states/version-{version}.json");
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Makes a sample: sends the lines, some of them several times, and lets some time pass before each call.
fn make(client: &mut Connection, clock: &Clock, lines: &[&str]) -> Json {
    for line in lines {
        let mut line = *line;
        let mut times = 1;
        if let Some(("+1s", rest)) = line.split_once(' ') {
            clock.advance_millis(1_000);
            line = rest;
        } else if let Some((count, rest)) = line.split_once("x ") {
            times = count.parse().unwrap();
            line = rest;
        }
        for _ in 0..times {
            clock.advance(Duration::from_micros(217));
            client.ask(line);
        }
    }
    look(client, clock)
}

/// What the key holds and what is answered about it.
fn look(client: &mut Connection, clock: &Clock) -> Json {
    let Value::BulkString(bytes) = client.ask("GET k") else {
        panic!("nothing is stored");
    };
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let expiry: i64 = redis::from_redis_value(client.ask("PEXPIRETIME k")).unwrap();
    json!({
        "now_us": u64::try_from(clock.now().as_micros()).unwrap(),
        "state": hex,
        "expires_at_ms": expiry,
        "info": plain(client.ask("RL.INFO k")),
        "peek": plain(client.ask("RL.PEEK k")),
    })
}

/// A reply as text that can be compared by eye.
fn plain(value: Value) -> Json {
    match value {
        Value::Array(values) => values.into_iter().map(plain).collect(),
        Value::Int(number) => json!(number),
        Value::BulkString(bytes) => json!(String::from_utf8(bytes).unwrap()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_sample_of_every_version_stays_readable_and_goes_on_counting() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    for version in 1..=redis_ratelimit::limiter::VERSION {
        let samples: Json = serde_json::from_slice(&fs::read(file(version)).unwrap()).unwrap();
        for (name, sample) in samples.as_object().unwrap() {
            client.ask("FLUSHALL");
            clock.set(Duration::from_micros(sample["now_us"].as_u64().unwrap()));
            let hex = sample["state"].as_str().unwrap();
            let bytes: Vec<u8> = (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                .collect();
            // A state that needs nothing of a newer version is written as before.
            assert!((1..=version).contains(&bytes[2]), "{name}");
            let expiry = sample["expires_at_ms"].to_string();
            client
                .ask_bytes(&[b"SET", b"k", &bytes, b"PXAT", expiry.as_bytes()])
                .unwrap();
            assert_eq!(look(&mut client, &clock), *sample, "{name}");
            // It can be written, too: a charge beyond what is there adds to it.
            let gcra = sample["info"][1] == "gcra";
            let command = if gcra { "RL.GCRA" } else { "RL.CHECK" };
            client.decide(&format!("{command} k 4294967295 3650d COST 2 FORCE"));
            client.ask("RL.INFO k");
        }
    }
}

/// On a failure: is this a new version of the layout? Then record it in a file of its own, and leave the others alone.
/// A layout that was released never changes.
#[test]
fn this_release_writes_the_recorded_bytes() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    let start = clock.now();
    let made: serde_json::Map<String, Json> = SAMPLES
        .iter()
        .map(|(name, lines)| {
            client.ask("FLUSHALL");
            clock.set(start);
            ((*name).to_owned(), make(&mut client, &clock, lines))
        })
        .collect();
    let file = file(redis_ratelimit::limiter::VERSION);
    let made = Json::Object(made);
    if std::env::var_os("RECORD_STATES").is_some() && !file.exists() {
        let text = serde_json::to_string_pretty(&made).unwrap();
        fs::write(&file, text + "\n").unwrap();
    }
    let recorded: Json = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert!(
        made == recorded,
        "what is written has changed; now:\n{made:#}"
    );
}

#[test]
fn the_next_grant_sets_the_expiry_right_whatever_a_user_did_to_the_key() {
    let (server, clock) = Clock::start();
    let mut client = server.connect();
    // What the first grant took of a bucket is still in use a millisecond later.
    for (grant, lifetime) in [
        ("RL.CHECK k 9 60", 60_000),
        ("RL.CHECK k 9 60 99 1h", 3_600_000),
        ("RL.MCHECK 1 k 9 60", 60_000),
        ("RL.GCRA k 60 60 COST 5", 9_999),
        ("CL.THROTTLE k 9 60 60 5", 9_999),
    ] {
        for meddle in [
            "PERSIST k",
            "EXPIRE k 100000",
            "EXPIRE k 3",
            "GETEX k PERSIST",
            "COPY",
            "RESTORE",
            "RESTORE ABSTTL",
            "RENAME",
        ] {
            client.ask("RL.RESET k");
            client.ask(grant);
            meddle_with_k(&mut client, meddle);
            clock.advance_millis(1);
            client.ask(grant);
            let ttl = client.ask("PTTL k");
            assert_eq!(ttl, Value::Int(lifetime), "{grant} after {meddle}");
        }
    }
}

fn meddle_with_k(client: &mut Connection, how: &str) {
    match how {
        // From a copy that does not expire.
        "COPY" => {
            client.ask("COPY k copy REPLACE");
            client.ask("PERSIST copy");
            client.ask("COPY copy k REPLACE");
        }
        "RENAME" => {
            client.ask("RENAME k other");
            client.ask("PERSIST other");
            client.ask("RENAME other k");
        }
        "RESTORE" | "RESTORE ABSTTL" => {
            let Value::BulkString(dump) = client.ask("DUMP k") else {
                panic!("no dump");
            };
            let words: &[&[u8]] = if how == "RESTORE" {
                &[b"RESTORE", b"k", b"0", &dump, b"REPLACE"]
            } else {
                let far = b"1999999999999";
                &[b"RESTORE", b"k", far, &dump, b"REPLACE", b"ABSTTL"]
            };
            client.ask_bytes(words).unwrap();
        }
        line => {
            client.ask(line);
        }
    }
}
