//! Transactions, scripts, functions, WATCH and client-side caching: the commands behave as core commands do.

use std::sync::mpsc::{Receiver, channel};

use crate::harness::clock::Clock;
use crate::harness::features::CLOCK_OF_THE_SERVER;
use crate::harness::{Ask, Server, Setup, aof};
use redis::{Connection, ConnectionLike, PushInfo, PushKind, Value};

/// Every command, granted, denied and looked at. In order: each may build on those before it.
const LINES: &[&str] = &[
    "RL.CHECK k 2 60 5 1h",
    "RL.CHECK k 2 60 5 1h ATMOST",
    "RL.CHECK k 2 60 5 1h",
    "RL.CHECK k 2 60 5 1h COST 2 FORCE",
    "RL.CHECK k 2 60 5 1h BLOCK 15m",
    "RL.GCRA g 2 60 BURST 3 COST 3",
    "RL.GCRA g 2 60 BURST 3",
    "RL.MCHECK 2 {m}1 {m}2 2 60 1 1h",
    "RL.MCHECK 2 {m}1 {m}2 2 60 1 1h",
    "RL.PEEK k",
    "RL.PEEK nothing",
    "RL.INFO k",
    "RL.INFO g",
    "RL.REFUND g 2",
    "RL.REFUND nothing 2",
    "CL.THROTTLE c 1 30 60",
    "CL.THROTTLE c 1 30 60 2",
    "RL.TOP 3",
    "RL.TOP 3 DB 0",
    "RL.RESET {m}1 {m}2 nothing",
    "RL.CHECK {m}1 1 60",
];

/// How many writes they are, each replicated as one command.
const WRITES: usize = 3 + 1 + 1 + 2 + 1 + 1 + 2 + 1;

fn with_aof() -> Setup {
    Setup::new().arguments(["--appendonly", "yes", "--appendfsync", "always"])
}

/// The replies outside any transaction, and what the keys hold then.
fn plainly() -> (Vec<Value>, Vec<(Value, Value)>) {
    let (server, _clock) = Clock::start_with(with_aof());
    let mut client = server.connect();
    let replies = LINES.iter().map(|line| client.ask(line)).collect();
    assert_eq!(writes(&server), WRITES);
    (replies, keys(&mut client))
}

/// What the keys hold: bytes and expiry.
fn keys(client: &mut Connection) -> Vec<(Value, Value)> {
    ["k", "g", "{m}1", "{m}2", "c"]
        .map(|key| {
            (
                client.ask(&format!("GET {key}")),
                client.ask(&format!("PEXPIRETIME {key}")),
            )
        })
        .to_vec()
}

/// How many writes the append-only file holds; nothing but effects may be there.
fn writes(server: &Server) -> usize {
    let text = aof(server);
    for command in ["RL.", "CL.", "EVAL", "FCALL"] {
        assert!(!text.contains(&format!("\r\n{command}")), "{command}");
    }
    text.matches("\r\nSET\r\n").count() + text.matches("\r\nDEL\r\n").count()
}

#[test]
fn every_command_works_in_a_transaction_and_its_effect_is_replicated_once() {
    let (replies, state) = plainly();
    let (server, _clock) = Clock::start_with(with_aof());
    let mut client = server.connect();
    client.ask("MULTI");
    for line in LINES {
        assert_eq!(client.ask(line), Value::SimpleString("QUEUED".into()));
    }
    assert_eq!(client.ask("EXEC"), Value::Array(replies));
    assert_eq!(keys(&mut client), state);
    assert_eq!(writes(&server), WRITES);
    // All at once, on replicas and after a restart.
    let text = aof(&server);
    assert_eq!(text.matches("\r\nMULTI\r\n").count(), 1);
    assert_eq!(text.matches("\r\nEXEC\r\n").count(), 1);
    assert!(text.ends_with("\r\nEXEC\r\n"));
}

/// The lines as the body of a script that returns all replies. (A script's table ends at a null, and has no maps.)
fn script() -> String {
    let calls: Vec<String> = LINES
        .iter()
        .map(|line| {
            let words: Vec<String> = line.split(' ').map(|word| format!("'{word}'")).collect();
            format!("redis.call({})", words.join(","))
        })
        .collect();
    format!("return {{{}}}", calls.join(","))
}

/// The replies as a script hands them on: a null becomes "false", which is a null again.
fn assert_scripted(client: &mut Connection, words: &[&[u8]], server: &Server) {
    let (replies, state) = plainly();
    assert_eq!(client.ask_bytes(words), Ok(Value::Array(replies)));
    assert_eq!(keys(client), state);
    assert_eq!(writes(server), WRITES);
}

#[test]
fn every_command_works_in_a_script_and_its_effect_is_replicated_once() {
    let (server, _clock) = Clock::start_with(with_aof());
    let mut client = server.connect();
    let script = script();
    let words: &[&[u8]] = &[
        b"EVAL",
        script.as_bytes(),
        b"5",
        b"k",
        b"g",
        b"{m}1",
        b"{m}2",
        b"c",
    ];
    assert_scripted(&mut client, words, &server);
}

#[test]
fn every_command_works_in_a_function_and_its_effect_is_replicated_once() {
    let (server, _clock) = Clock::start_with(with_aof());
    let mut client = server.connect();
    let library = format!(
        "#!lua name=limits\nredis.register_function('all', function(keys, args) {} end)",
        script()
    );
    client
        .ask_bytes(&[b"FUNCTION", b"LOAD", library.as_bytes()])
        .unwrap();
    let words: &[&[u8]] = &[b"FCALL", b"all", b"5", b"k", b"g", b"{m}1", b"{m}2", b"c"];
    assert_scripted(&mut client, words, &server);
}

#[test]
fn scripts_that_may_only_read_may_look_and_not_decide() {
    let server = Server::start();
    let mut client = server.connect();
    client.decide("RL.CHECK k 2 1h");
    let mut eval = |call: &str| {
        let script = format!("return redis.call({call})");
        client.ask_bytes(&[b"EVAL_RO", script.as_bytes(), b"1", b"k"])
    };
    for look in ["'RL.PEEK','k'", "'RL.INFO','k'", "'RL.TOP'"] {
        eval(look).unwrap();
    }
    for write in [
        "'RL.CHECK','k','2','1h'",
        "'RL.GCRA','k','2','1h'",
        "'RL.MCHECK','1','k','2','1h'",
        "'RL.REFUND','k','1'",
        "'RL.RESET','k'",
        "'CL.THROTTLE','k','1','1','60'",
    ] {
        let error = eval(write).unwrap_err();
        assert!(error.contains("read-only script"), "{write}: {error}");
    }
    assert_eq!(client.decide("RL.PEEK k")[2], 1);
}

#[test]
fn an_error_in_a_transaction_or_a_script_is_one_as_of_core_commands() {
    let server = Server::start();
    let mut client = server.connect();
    client.ask("SET text hello");
    client.ask("MULTI");
    client.ask("RL.CHECK k 2 1h");
    client.ask("RL.CHECK text 2 1h");
    client.ask("RL.CHECK k 2 1h");
    let Value::Array(replies) = client.ask("EXEC") else {
        panic!("no transaction");
    };
    // As with core commands: the others have been carried out.
    assert!(matches!(&replies[1], Value::ServerError(error) if error.code() == "WRONGTYPE"));
    assert_eq!(client.decide("RL.PEEK k")[2], 0);
    let script: &[u8] = b"return redis.pcall('RL.CHECK','text','2','1h')['err']";
    let Ok(Value::BulkString(text)) = client.ask_bytes(&[b"EVAL", script, b"1", b"text"]) else {
        panic!("no error");
    };
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("WRONGTYPE "), "{text}");
}

#[test]
fn a_transaction_has_one_time() {
    if CLOCK_OF_THE_SERVER.is_missing("a_transaction_has_one_time") {
        return;
    }
    let server = Setup::new()
        .arguments(["--enable-debug-command", "yes"])
        .start();
    let mut client = server.connect();
    client.ask("MULTI");
    client.ask("RL.CHECK k 9 1h");
    client.ask("DEBUG SLEEP 0.01");
    client.ask("RL.CHECK k 9 1h");
    client.ask("RL.PEEK k");
    let Value::Array(replies) = client.ask("EXEC") else {
        panic!("no transaction");
    };
    // Not a millisecond has passed, and both have been admitted at the same time, as one group.
    assert_eq!(numbers(&replies[3]), [1, 9, 7, 0, 3_600_000]);
    let together = client.ask("STRLEN k");
    client.decide("RL.CHECK apart 9 1h");
    assert_eq!(client.ask("STRLEN apart"), together);
    client.decide("RL.CHECK apart 9 1h");
    assert!(client.ask("STRLEN apart") != together);
}

#[test]
fn a_script_has_one_time() {
    if CLOCK_OF_THE_SERVER.is_missing("a_script_has_one_time") {
        return;
    }
    let server = Server::start();
    let mut client = server.connect();
    let script = b"local x = 0 \
        redis.call('RL.CHECK', KEYS[1], '9', '1h') \
        for i = 1, 1000000 do x = x + i end \
        redis.call('RL.CHECK', KEYS[1], '9', '1h') \
        return redis.call('RL.PEEK', KEYS[1])";
    let reply = client.ask_bytes(&[b"EVAL", script, b"1", b"k"]).unwrap();
    assert_eq!(numbers(&reply), [1, 9, 7, 0, 3_600_000]);
    client.decide("RL.CHECK one 9 1h COST 2");
    assert_eq!(client.ask("STRLEN k"), client.ask("STRLEN one"));
}

fn numbers(value: &Value) -> Vec<i64> {
    redis::from_redis_value(value.clone()).unwrap()
}

/// What changes one of the keys `k`, `g` and `c`, and what does not, in order.
const CHANGES: &[(&str, bool)] = &[
    ("RL.CHECK k 1 1h", true),
    ("RL.CHECK k 1 1h", false),
    ("RL.CHECK k 1 1h COST 2", false),
    ("RL.CHECK k 1 1h ATMOST", false),
    ("RL.PEEK k", false),
    ("RL.INFO k", false),
    // The parameters are stored, so this is a change.
    ("RL.CHECK k 2 2h COST 2", true),
    ("RL.CHECK k 2 2h COST 2", false),
    ("RL.CHECK k 2 2h FORCE", true),
    ("RL.CHECK k 2 2h BLOCK 3h", true),
    ("RL.CHECK k 2 2h BLOCK 3h", false),
    ("RL.RESET k", true),
    ("RL.RESET k", false),
    ("RL.REFUND k 1", false),
    ("RL.MCHECK 2 k m 1 1h 1 1h", true),
    ("RL.MCHECK 2 k m 1 1h 1 1h", false),
    ("RL.REFUND k 1", true),
    ("RL.GCRA g 1 1h", true),
    ("RL.GCRA g 1 1h", false),
    ("RL.GCRA g 1 1h COST 2", false),
    ("RL.REFUND g 1", true),
    ("RL.REFUND g 1", false),
    ("CL.THROTTLE c 0 1 3600", true),
    ("CL.THROTTLE c 0 1 3600", false),
    ("CL.THROTTLE c 0 1 3600 0", false),
    ("RL.TOP", false),
];

#[test]
fn watch_sees_what_changes_a_limiter_and_nothing_else() {
    let server = Server::start();
    let mut client = server.connect();
    let mut other = server.connect();
    for (line, changes) in CHANGES {
        client.ask("WATCH k g c");
        other.ask(line);
        client.ask("MULTI");
        client.ask("PING");
        let aborted = client.ask("EXEC") == Value::Nil;
        assert_eq!(aborted, *changes, "{line}");
    }
}

/// A client that caches what it reads, and what the server tells it about that.
fn caching(server: &Server, tracking: &str) -> (Connection, Receiver<PushInfo>) {
    let mut client = server.connect_resp3();
    let (sender, receiver) = channel();
    client.set_push_sender(sender);
    client.ask(&format!("CLIENT TRACKING ON {tracking}"));
    (client, receiver)
}

/// The keys that the server has declared invalid since the last time.
fn invalidated(client: &mut Connection, pushes: &Receiver<PushInfo>) -> Vec<String> {
    // What was sent before comes before the reply. In broadcast mode it is sent at the end of the turn of the event
    // loop, so before the reply to the next call.
    for _ in 0..2 {
        client
            .req_packed_command(&redis::cmd("PING").get_packed_command())
            .unwrap();
    }
    let mut keys = Vec::new();
    while let Ok(push) = pushes.try_recv() {
        assert_eq!(push.kind, PushKind::Invalidate);
        for data in push.data {
            keys.extend(redis::from_redis_value::<Vec<String>>(data).unwrap());
        }
    }
    keys.sort();
    keys.dedup();
    keys
}

#[test]
fn client_side_caches_hear_of_what_changes_a_limiter_and_of_nothing_else() {
    let server = Server::start();
    let mut other = server.connect();
    let (mut client, pushes) = caching(&server, "");
    for (line, changes) in CHANGES {
        // What is read is cached: by our commands as by the server's own.
        for look in ["RL.PEEK", "RL.INFO"] {
            for key in ["k", "g", "c"] {
                client.ask(&format!("{look} {key}"));
            }
        }
        invalidated(&mut client, &pushes);
        other.ask(line);
        let key = line
            .split(' ')
            .find(|word| word.len() == 1 && word.parse::<u8>().is_err());
        let expected = if *changes { vec![key.unwrap()] } else { vec![] };
        assert_eq!(invalidated(&mut client, &pushes), expected, "{line}");
    }
}

#[test]
fn broadcasts_tell_of_what_changes_a_limiter_and_of_nothing_else() {
    let server = Server::start();
    let mut other = server.connect();
    let (mut client, pushes) = caching(&server, "BCAST PREFIX k PREFIX g PREFIX c");
    for (line, changes) in CHANGES {
        other.ask(line);
        let key = line
            .split(' ')
            .find(|word| word.len() == 1 && word.parse::<u8>().is_err());
        let expected = if *changes { vec![key.unwrap()] } else { vec![] };
        assert_eq!(invalidated(&mut client, &pushes), expected, "{line}");
    }
}
